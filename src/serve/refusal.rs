//! What is said to whoever does not get what they asked for: a page to people, JSON to machines.

use super::rows::encoded;
use askama::Template;
use axum::Json;
use axum::http::header::{LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;
use std::time::Duration;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Page,
    Api,
}

impl Form {
    /// How whoever asks for this path reads.
    pub(super) fn of(path: &str) -> Self {
        match path == "/api" || path.starts_with("/api/") {
            true => Self::Api,
            false => Self::Page,
        }
    }
}

/// Why somebody does not get what they asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    form: Form,
    status: StatusCode,
    said: String,
    retry_after: Option<Duration>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    heading: &'a str,
    said: &'a str,
    offers_log_in: bool,
}

impl Refusal {
    pub(super) fn new(form: Form, status: StatusCode, said: impl Into<String>) -> Self {
        Self {
            form,
            status,
            said: said.into(),
            retry_after: None,
        }
    }

    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// Sends a person to the log-in form, and back to what they wanted.
    pub(super) fn log_in(back: &str) -> Response {
        see_other(&format!("/login?next={}", encoded(back)))
    }

    pub(super) fn answer(self) -> Response {
        let answer = match self.form {
            Form::Api => Json(json!({ "error": self.said })).into_response(),
            Form::Page => self.page(),
        };
        self.told_in(answer)
    }

    /// Marks an answer that tells it as what it is: by its status, and when to come back.
    pub(super) fn told_in(self, mut answer: Response) -> Response {
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        answer
    }

    fn page(&self) -> Response {
        let heading = match self.status {
            StatusCode::NOT_FOUND => "There is nothing here",
            StatusCode::SERVICE_UNAVAILABLE => "This can't be told now",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "This is not open to you",
            StatusCode::TOO_MANY_REQUESTS => "Too many tries",
            _ => "This can't be done",
        };
        render(&Message {
            heading,
            said: &self.said,
            offers_log_in: self.status == StatusCode::UNAUTHORIZED,
        })
    }
}

/// Sends a browser to another page.
pub(super) fn see_other(place: &str) -> Response {
    match HeaderValue::from_str(place) {
        Ok(place) => (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// A page from its template.
pub(super) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            let said = "This page could not be made; the log says why.\n";
            (StatusCode::INTERNAL_SERVER_ERROR, said).into_response()
        }
    }
}
