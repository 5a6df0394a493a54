//! Routes, and the middleware around them.

use super::connections::{ActiveRequests, READ_TIMEOUT};
use super::response::{ErrorResponse, Format};
use super::state::{AppState, ServerConfig};
use super::{api, assets, auth, downloads, pages};
use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The largest body. The login form is the longest one, apart from uploads.
const MAX_BODY: BodyLimit = BodyLimit {
    bytes: 16 * 1024,
    time: READ_TIMEOUT,
};

/// The largest upload: a file of 16 MiB, in a form.
const MAX_UPLOAD: BodyLimit = BodyLimit {
    bytes: (16 * 1024 + 4) * 1024,
    time: Duration::from_secs(30),
};

/// The paths that take an upload.
const UPLOADS: [&str; 2] = ["/preview/file", "/api/v1/preview/file"];

/// The time limit for a response, including the body of its request. An upload has the time of its body in addition.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Pages load only what this server serves, have nothing inline, and can't be framed. The referrer
/// policy is not `no-referrer`, because browsers would then omit the origin of forms too.
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

/// The limits of a body.
#[derive(Clone, Copy)]
struct BodyLimit {
    bytes: usize,
    time: Duration,
}

/// All routes of a server that listens on `address`.
pub(super) fn router(config: ServerConfig, address: SocketAddr) -> Router {
    let probes = config.probes.clone();
    let state = Arc::new(AppState::new(config, address));
    let require_read = from_fn_with_state(Arc::clone(&state), auth::require_read);
    let require_admin = from_fn_with_state(Arc::clone(&state), auth::require_admin);
    let identify = from_fn_with_state(Arc::clone(&state), auth::identify);
    let read_upload = from_fn_with_state(Arc::clone(&state), read_upload);
    let actions = action_routes().merge(upload_routes().route_layer(read_upload));
    let frame_errors = from_fn_with_state(Arc::clone(&state), pages::frame_errors);
    let guarded = Router::new()
        .merge(read_routes().route_layer(require_read))
        .merge(actions.route_layer(require_admin))
        .merge(public_routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(format_errors));
    // The errors of these limits have the frame of a page too.
    let guarded = limited(guarded).layer(frame_errors).layer(identify);
    guarded
        .with_state(state)
        .merge(limited(probes.router()))
        .layer(from_fn(add_headers))
}

/// Routes with limits of the size and the time of a request.
fn limited<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes
        .layer(from_fn(read_whole_request))
        .layer(from_fn(limit_time))
}

fn read_routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/", get(pages::overview))
        .route("/runs", get(pages::runs))
        .route("/runs/{run}", get(pages::run))
        .route("/preview", get(pages::preview))
        .route("/runs/{run}/run.json", get(downloads::json))
        .route("/runs/{run}/changes.csv", get(downloads::csv))
        .route("/runs/{run}/row-report.csv", get(downloads::row_report))
        .route("/runs/{run}/undo", get(pages::undo))
        .route("/runs/{run}/undo.csv", get(pages::undo_csv))
        .route("/changes", get(pages::changes))
        .route("/users", get(pages::users))
        .route("/users/{email}", get(pages::user).post(pages::user))
        .route("/settings", get(pages::settings))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/settings", get(api::settings))
        .route("/api/v1/users", get(api::users))
        .route("/api/v1/runs", get(api::runs))
        .route("/api/v1/runs/{run}", get(api::run))
        .route("/api/v1/preview", get(api::preview))
        .route("/api/v1/changes", get(api::changes))
        .route("/api/v1/users/{email}", get(api::user))
        .route("/api/v1/users/{email}/explain", post(api::explain))
}

fn action_routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/reconcile", post(pages::reconcile))
        .route("/stop", post(pages::stop))
        .route("/pause", post(pages::pause))
        .route("/resume", post(pages::resume))
        .route(
            "/runs/{run}/approve",
            get(pages::confirm_approval).post(pages::approve),
        )
        .route("/api/v1/reconcile", post(api::reconcile))
        .route("/api/v1/stop", post(api::stop))
        .route("/api/v1/pause", post(api::pause))
        .route("/api/v1/resume", post(api::resume))
        .route("/api/v1/runs/{run}/approve", post(api::approve))
}

/// The routes of [`UPLOADS`].
fn upload_routes() -> Router<Arc<AppState>> {
    let [page, api] = UPLOADS;
    Router::new()
        .route(page, post(pages::preview_file))
        .route(api, post(api::preview_file))
        // `read_upload` limits the body.
        .layer(DefaultBodyLimit::disable())
}

/// The routes that a client needs to log in.
fn public_routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/login", get(pages::login_form).post(pages::log_in))
        .route("/logout", post(pages::log_out))
        .route("/assets/{file}", get(assets::asset))
}

async fn not_found(uri: Uri) -> ErrorResponse {
    let message = "This path does not exist.";
    ErrorResponse::new(Format::of(uri.path()), StatusCode::NOT_FOUND, message)
}

async fn method_not_allowed(uri: Uri) -> ErrorResponse {
    let message = "This path does not support the method of the request.";
    let status = StatusCode::METHOD_NOT_ALLOWED;
    ErrorResponse::new(Format::of(uri.path()), status, message)
}

async fn limit_time(request: Request, next: Next) -> Response {
    let format = Format::of(request.uri().path());
    let limit = match is_upload(&request) {
        true => RESPONSE_TIMEOUT + MAX_UPLOAD.time,
        false => RESPONSE_TIMEOUT,
    };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = "The response took too long. Try again.";
            ErrorResponse::new(format, StatusCode::SERVICE_UNAVAILABLE, message).into_response()
        }
    }
}

/// Gives the plain-text errors of the framework (for a query or path that can't be parsed) the format
/// of all other errors.
async fn format_errors(request: Request, next: Next) -> Response {
    let format = Format::of(request.uri().path());
    let response = next.run(request).await;
    let content_type = response.headers().get(CONTENT_TYPE);
    let is_plain = content_type.is_none_or(|it| it.as_bytes().starts_with(b"text/plain"));
    let status = response.status();
    if !is_plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let body = to_bytes(response.into_body(), MAX_BODY.bytes).await;
    let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    let message = match body.trim().trim_end_matches('.') {
        "" => status.canonical_reason().unwrap_or("The request failed"),
        message => message,
    };
    ErrorResponse::new(format, status, format!("{message}.")).into_response()
}

fn is_upload(request: &Request) -> bool {
    UPLOADS.contains(&request.uri().path())
}

/// Reads the whole body before the request counts as active, so that slow clients give way to others. An upload is read
/// after the permission is checked.
async fn read_whole_request(request: Request, next: Next) -> Response {
    match is_upload(&request) {
        true => next.run(request).await,
        false => with_body(request, next, MAX_BODY).await,
    }
}

/// Reads an upload, one at a time: the bodies of all connections together could fill the memory.
async fn read_upload(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let _permit = state.upload_permit.acquire().await;
    with_body(request, next, MAX_UPLOAD).await
}

/// Continues with a request once its body has arrived.
async fn with_body(request: Request, next: Next, limit: BodyLimit) -> Response {
    let (head, body) = request.into_parts();
    let failed = |status, message: &str| {
        ErrorResponse::new(Format::of(head.uri.path()), status, message).into_response()
    };
    let too_large = || {
        let message = "The request body is too large.";
        failed(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if body.size_hint().lower() > limit.bytes as u64 {
        return too_large();
    }
    let body = match tokio::time::timeout(limit.time, to_bytes(body, limit.bytes)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_connection_error(&error) => {
            return failed(StatusCode::BAD_REQUEST, "The request body can't be read.");
        }
        Ok(Err(_)) => return too_large(),
        Err(_) => {
            let message = "The request body took too long to arrive.";
            return failed(StatusCode::REQUEST_TIMEOUT, message);
        }
    };
    let active = head.extensions.get::<ActiveRequests>().cloned();
    let _guard = active.as_ref().map(ActiveRequests::begin);
    next.run(Request::from_parts(head, Body::from(body))).await
}

/// Whether the connection failed, rather than the length limit of the body.
fn is_connection_error(error: &axum::Error) -> bool {
    let mut chain = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    chain.any(|error| error.is::<hyper::Error>())
}

async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        if name != CACHE_CONTROL || !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
