//! Responses that pages and the API share: errors, redirects and rendered templates.

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::http::header::{
    CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;
use std::time::Duration;

/// The format of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Html,
    Json,
}

impl Format {
    /// The format of responses at this path.
    pub(super) fn of(path: &str) -> Self {
        match path == "/api" || path.starts_with("/api/") {
            true => Self::Json,
            false => Self::Html,
        }
    }
}

/// A response that reports an error.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    format: Format,
    status: StatusCode,
    message: String,
    retry_after: Option<Duration>,
}

/// The content of an error page.
#[derive(Clone, Debug)]
pub(super) struct ErrorContent {
    pub(super) heading: &'static str,
    pub(super) message: String,
    pub(super) offers_login: bool,
}

/// An error page without the navigation, which names the organisation.
#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    error: &'a ErrorContent,
}

impl ErrorResponse {
    /// `message` is a sentence.
    pub(super) fn new(format: Format, status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            format,
            status,
            message: message.into(),
            retry_after: None,
        }
    }

    /// An error of the state database.
    pub(super) fn state_error(format: Format, error: &str) -> Self {
        let message = format!("The state database can't be read: {error}.");
        Self::new(format, StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// Sets the status and the headers of a response that shows the error in its body.
    pub(super) fn apply_to(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        response
    }

    /// The page, with its content as an extension, for [`pages::frame_errors`](super::pages::frame_errors).
    fn page(&self) -> Response {
        let heading = match self.status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
            StatusCode::SERVICE_UNAVAILABLE => "Temporarily unavailable",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "Access denied",
            StatusCode::TOO_MANY_REQUESTS => "Too many requests",
            _ => "Request failed",
        };
        let error = ErrorContent {
            heading,
            message: self.message.clone(),
            offers_login: self.status == StatusCode::UNAUTHORIZED,
        };
        let mut page = render(&ErrorPage { error: &error });
        page.extensions_mut().insert(error);
        page
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let response = match self.format {
            Format::Json => Json(json!({ "error": self.message })).into_response(),
            Format::Html => self.page(),
        };
        self.apply_to(response)
    }
}

/// Redirects a browser to another page.
pub(super) fn redirect(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Redirects to the login form, which leads back to `next`.
pub(super) fn redirect_to_login(next: &str) -> Response {
    redirect(&format!("/login?next={}", url_encode(next)))
}

/// Renders a page from its template.
pub(super) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "can't render a page");
            let message = "This page can't be rendered; see the log.\n";
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

/// A file that browsers store under a name of letters, digits, dots and hyphens.
pub(super) fn attachment(name: &str, content_type: &'static str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_DISPOSITION, &disposition),
    ];
    (headers, body).into_response()
}

/// Encodes a text for use in a URL.
pub(super) fn url_encode(text: &str) -> String {
    let Ok(encoded) = askama::filters::urlencode_strict(text);
    encoded.to_string()
}

#[cfg(test)]
mod tests {
    use super::url_encode;

    #[test]
    fn encodes_reserved_characters() {
        assert_eq!(url_encode("a/b+c@x.co"), "a%2Fb%2Bc%40x.co");
    }
}
