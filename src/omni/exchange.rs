//! One request and its response, as bytes.

use super::error::Failure;
use super::limiter::Priority;
use crate::util::http::retry_after;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use std::time::Duration;

/// The size limit of a response: 1,000 users take about 1 MB.
pub(super) const MAX_BODY: usize = 32 * 1024 * 1024;

/// A request without its key.
pub(super) struct ApiRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Vec<u8>>,
    /// Whether 403 is about the endpoint rather than the key.
    pub(super) optional: bool,
    pub(super) priority: Priority,
}

impl ApiRequest {
    pub(super) fn get(url: Url) -> Self {
        Self::without_body(Method::GET, url)
    }

    /// A `GET` of an endpoint that this key may have no access to.
    pub(super) fn get_optional(url: Url) -> Self {
        Self {
            optional: true,
            ..Self::get(url)
        }
    }

    pub(super) fn without_body(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            body: None,
            optional: false,
            priority: Priority::Urgent,
        }
    }

    pub(super) fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    pub(super) fn with_body(method: Method, url: Url, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("maps of texts, numbers and lists are JSON");
        Self {
            body: Some(body),
            ..Self::without_body(method, url)
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.method == Method::GET
    }
}

/// A response with any status.
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl ApiResponse {
    /// Receives the body.
    pub(super) async fn receive(mut response: Response) -> Result<Self, Failure> {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                    return Err(Failure::TooLarge(MAX_BODY));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) if status.is_success() => return Err(Failure::of(&error)),
                // The status of an error is enough. A part of its body adds nothing, and might end
                // within a key, which redaction would not find.
                Err(_) => {
                    body.clear();
                    break;
                }
            }
        }
        Ok(Self {
            status,
            retry_after,
            body,
        })
    }
}
