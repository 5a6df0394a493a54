//! Error pages with the navigation of all pages.

use super::Frame;
use crate::serve::auth::Principal;
use crate::serve::response::{ErrorContent, render};
use crate::serve::state::AppState;
use askama::Template;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "framed_error.html")]
struct FramedErrorPage {
    frame: Frame,
    error: ErrorContent,
}

/// Adds the navigation to error pages for clients that may read pages. It names the organisation, so all other clients
/// receive the page without it.
pub(in crate::serve) async fn frame_errors(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    let principal = request.extensions().get::<Principal>().cloned();
    // After a log-in, a browser can't repeat an action.
    let uri = match request.method().is_safe() {
        true => request.uri().clone(),
        false => Uri::from_static("/"),
    };
    let mut response = next.run(request).await;
    let error = response.extensions_mut().remove::<ErrorContent>();
    let (Some(error), Some(principal)) = (error, principal.filter(|one| one.may_read)) else {
        return response;
    };
    let frame = Frame::new("", &state, &principal, &uri);
    let framed = render(&FramedErrorPage { frame, error });
    let (mut head, _) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, framed.into_body())
}
