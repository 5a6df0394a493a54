//! Answers and rejections.

use serde_json::{Value, json};

const ERROR_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// An answer before it becomes HTTP.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Empty,
    Json(Value),
    /// Sent unchanged; its type is in the headers.
    Text(String),
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Content::Json(body),
        }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Content::Empty,
        }
    }

    pub(super) fn text(status: u16, kind: &str, body: String) -> Self {
        Self::empty(status)
            .with("content-type", kind)
            .with_body(Content::Text(body))
    }

    /// A SCIM error (RFC 7644, 3.12), with the status as a string.
    pub(super) fn error(status: u16, detail: &str) -> Self {
        let body =
            json!({"schemas": [ERROR_SCHEMA], "status": status.to_string(), "detail": detail});
        Self::json(status, body)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn with_body(mut self, body: Content) -> Self {
        self.body = body;
        self
    }
}

/// Why a request is rejected.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) detail: String,
    /// Whether only an incorrect client sends such a request.
    pub(super) misuse: bool,
    /// The allowed methods, for a 405.
    allow: Option<&'static str>,
}

impl Refusal {
    /// A rejection that a correct client can get.
    pub(super) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            misuse: false,
            allow: None,
        }
    }

    /// A rejection of a request that a correct client never sends.
    pub(super) fn misuse(status: u16, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            misuse: true,
            allow: None,
        }
    }

    /// A rejection of a method.
    pub(super) fn method_not_allowed(method: &str, methods: &'static str) -> Self {
        Self {
            allow: Some(methods),
            ..Self::misuse(
                405,
                format!("method {method} is not allowed; allowed are {methods}"),
            )
        }
    }

    pub(super) fn reply(&self) -> Reply {
        let reply = Reply::error(self.status, &self.detail);
        match self.allow {
            Some(methods) => reply.with("allow", methods),
            None => reply,
        }
    }
}
