//! Which path leads where, and through whose hands.

use super::refusal::{Form, Refusal};
use super::server::{Answering, HEAD_TIME};
use super::site::{AppState, ServerConfig};
use super::{api, assets, auth, pages};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The log-in form is the largest body.
const MOST_BODY_BYTES: usize = 16 * 1024;

/// How long an answer may take, with the body that it waits for.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Nothing but what this server itself serves, and nothing inline; in nobody's frame. With no referrer
/// at all a browser would send no origin with a form either.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// All routes of a server that listens there.
pub(super) fn router(site: ServerConfig, address: SocketAddr) -> Router {
    let probes = site.probes.clone();
    let shared = Arc::new(AppState::new(site, address));
    let reads = from_fn_with_state(Arc::clone(&shared), auth::reads);
    let acts = from_fn_with_state(Arc::clone(&shared), auth::acts);
    let identify = from_fn_with_state(Arc::clone(&shared), auth::identify);
    let guarded = Router::new()
        .merge(reading().route_layer(reads))
        .merge(acting().route_layer(acts))
        .merge(open())
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn(in_form))
        .layer(identify)
        .with_state(shared);
    guarded
        .merge(probes.router())
        .layer(from_fn(whole))
        .layer(from_fn(in_time))
        .layer(from_fn(with_headers))
}

fn reading() -> Router<Arc<AppState>> {
    Router::new()
        .route("/", get(pages::overview))
        .route("/runs", get(pages::runs))
        .route("/runs/{run}", get(pages::run))
        .route("/users", get(pages::find))
        .route("/users/{email}", get(pages::user).post(pages::user))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/runs", get(api::runs))
        .route("/api/v1/runs/{run}", get(api::run))
        .route("/api/v1/users/{email}", get(api::user))
        .route("/api/v1/users/{email}/explain", post(api::explain))
}

fn acting() -> Router<Arc<AppState>> {
    Router::new()
        .route("/reconcile", post(pages::reconcile))
        .route("/runs/{run}/approve", post(pages::approve))
        .route("/api/v1/reconcile", post(api::reconcile))
        .route("/api/v1/runs/{run}/approve", post(api::approve))
}

/// What is needed to become somebody who may.
fn open() -> Router<Arc<AppState>> {
    Router::new()
        .route("/login", get(pages::form).post(pages::log_in))
        .route("/logout", post(pages::log_out))
        .route("/assets/{file}", get(assets::asset))
}

async fn nothing_here(uri: Uri) -> Response {
    let said = "This server has no such page.";
    Refusal::new(Form::of(uri.path()), StatusCode::NOT_FOUND, said).answer()
}

async fn not_so(uri: Uri) -> Response {
    let said = "This page can't be asked for in this way (see the method).";
    Refusal::new(Form::of(uri.path()), StatusCode::METHOD_NOT_ALLOWED, said).answer()
}

async fn in_time(request: Request, next: Next) -> Response {
    let form = Form::of(request.uri().path());
    match tokio::time::timeout(ANSWER_TIME, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let said = "The answer took too long; try again.";
            Refusal::new(form, StatusCode::SERVICE_UNAVAILABLE, said).answer()
        }
    }
}

/// What the framework refuses in a plain text (a query or a path that can't be read) is told in the form
/// of all other refusals.
async fn in_form(request: Request, next: Next) -> Response {
    let form = Form::of(request.uri().path());
    let answer = next.run(request).await;
    let kind = answer.headers().get(CONTENT_TYPE);
    let is_plain = kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let status = answer.status();
    if !is_plain || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let said = to_bytes(answer.into_body(), MOST_BODY_BYTES).await;
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    let said = match said.trim().trim_end_matches('.') {
        "" => status.canonical_reason().unwrap_or("This can't be done"),
        said => said,
    };
    Refusal::new(form, status, format!("{said}.")).answer()
}

/// Waits for the whole request before it counts as being answered: who sends slowly makes way for others.
async fn whole(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let refused =
        |status, said: &str| Refusal::new(Form::of(head.uri.path()), status, said).answer();
    let body = match tokio::time::timeout(HEAD_TIME, to_bytes(body, MOST_BODY_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_broken(&error) => {
            return refused(StatusCode::BAD_REQUEST, "The body can't be read.");
        }
        Ok(Err(_)) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "The body took too long."),
    };
    let answering = head.extensions.get::<Answering>().cloned();
    let _counted = answering.as_ref().map(Answering::begin);
    next.run(Request::from_parts(head, Body::from(body))).await
}

/// Whether the connection is at fault, not the body's length.
fn is_broken(error: &axum::Error) -> bool {
    let mut chain = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    chain.any(|error| error.is::<hyper::Error>())
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        if name != CACHE_CONTROL || !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    answer
}
