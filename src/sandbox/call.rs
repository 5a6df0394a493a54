//! A request that was read completely.

use axum::body::Body;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderName, header};
use futures_util::StreamExt;
use serde_json::Value;

use super::answer::Refusal;
use super::json::Object;

/// Maximum length of a body.
const BODY_BYTES: usize = 1024 * 1024;

// No `Debug`: it contains a key.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    /// The decoded names and values of the query.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) authorization: Option<String>,
    content_type: Option<String>,
    /// `None` if it was too long.
    body: Option<Vec<u8>>,
}

impl Call {
    pub(super) async fn read(parts: Parts, body: Body) -> Self {
        let header = |name: HeaderName| {
            parts
                .headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let parameters = Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs);
        Self {
            authorization: header(header::AUTHORIZATION),
            content_type: header(header::CONTENT_TYPE),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            // Any query parses as pairs of text.
            parameters: parameters.unwrap_or_default(),
            body: read(body).await,
        }
    }

    /// The first value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn is_write(&self) -> bool {
        self.method != "GET"
    }

    /// The body for the log: JSON, else text.
    pub(super) fn logged_body(&self) -> Option<Value> {
        let bytes = self.body.as_deref().filter(|bytes| !bytes.is_empty())?;
        let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
        Some(serde_json::from_slice(bytes).unwrap_or_else(|_| text()))
    }

    /// The body of a write, which must be a JSON object.
    pub(super) fn object(&self) -> Result<Object, Refusal> {
        let Some(bytes) = &self.body else {
            return Err(Refusal::misuse(
                413,
                format!("the body is longer than {BODY_BYTES} bytes"),
            ));
        };
        let kind = self.content_type.as_deref().unwrap_or_default();
        let essence = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if essence != "application/json" && essence != "application/scim+json" {
            return Err(Refusal::misuse(
                415,
                format!("Content-Type is `{kind}`, not JSON"),
            ));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Refusal::misuse(400, format!("the body is not UTF-8: {error}")))?;
        Object::parse(text).map_err(|error| Refusal::misuse(400, format!("the body: {error}")))
    }
}

/// Reads a body and drops it if it is too long. It is still read to its end: if the connection closed
/// earlier, the client would not see the 413.
async fn read(body: Body) -> Option<Vec<u8>> {
    let mut stream = body.into_data_stream();
    let mut kept = Vec::new();
    let mut bytes = 0;
    while let Some(Ok(chunk)) = stream.next().await {
        bytes += chunk.len();
        if bytes <= BODY_BYTES {
            kept.extend_from_slice(&chunk);
        }
    }
    (bytes <= BODY_BYTES).then_some(kept)
}
