//! The HTTP server, and the effects of faults on connections.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::admin;
use super::answer::{Content, Reply};
use super::call::Call;
use super::faults::What;
use super::options::Options;
use super::org::Org;
use super::signals::Moment;

/// The target of log lines about requests.
pub const REQUESTS: &str = "omni_user_sync::sandbox";

/// The number of pieces of a slow body.
const SLOW_PIECES: usize = 10;

#[derive(Debug, Clone)]
struct Server {
    org: Org,
    latency: Duration,
    stop: CancellationToken,
}

/// One handler for all of Omni, so that axum never answers a path or method itself.
pub(super) fn router(
    options: &Options,
    address: SocketAddr,
    org: Org,
    stop: CancellationToken,
) -> Router {
    let server = Server {
        org: org.clone(),
        latency: options.latency,
        stop,
    };
    let omni = Router::new().fallback(serve).with_state(server);
    if options.admin {
        omni.merge(admin::router(org, address))
    } else {
        omni
    }
}

async fn serve(State(server): State<Server>, request: Request) -> Response {
    let stop = server.stop.clone();
    tokio::select! {
        biased;
        () = stop.cancelled_owned() => broken(),
        response = exchange(server, request) => response,
    }
}

async fn exchange(server: Server, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let call = Call::read(parts, body).await;
    let Server { org, latency, .. } = server;
    org.run_due_actions();
    let arrival = org.arrive(&call);
    let number = arrival.number;
    wait(latency).await;
    if let Some(What::Hang(pause)) = arrival.fault {
        wait(pause).await;
    }
    org.send_signals(number, Moment::Before);
    let fault = arrival.fault.as_ref();
    let reply = arrival
        .early_reply
        .unwrap_or_else(|| org.execute(&call, number, fault));
    org.send_signals(number, Moment::After);
    if let Some(What::Late(pause)) = fault {
        wait(*pause).await;
    }
    let silent = matches!(fault, Some(What::Reset | What::LostReply));
    let status = if silent { 0 } else { reply.status };
    org.answered(number, status);
    let query = (!call.query.is_empty()).then_some(&*call.query);
    tracing::debug!(target: REQUESTS, status, query, "{} {}", call.method, call.path);
    if silent {
        broken()
    } else {
        respond(reply, fault)
    }
}

/// `sleep` rounds up to a millisecond, even from zero.
async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn respond(reply: Reply, fault: Option<&What>) -> Response {
    let (kind, text) = match reply.body {
        Content::Empty => (None, String::new()),
        Content::Json(value) => (Some("application/json"), value.to_string()),
        Content::Text(text) => (None, text),
    };
    let length = text.len();
    let body = match fault {
        Some(What::CutJson) if text.is_empty() => return broken(),
        Some(What::CutJson) => Body::from_stream(cut(text.into_bytes())),
        Some(What::SlowBody(over)) => Body::from_stream(slowly(text.into_bytes(), *over)),
        _ => Body::from(text),
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if length > 0 {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

type Chunk = Result<Vec<u8>, BrokenOff>;

/// Closes the connection in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("injected fault")]
struct BrokenOff;

/// An answer that fails before its headers are sent: the connection closes.
fn broken() -> Response {
    Response::new(Body::from_stream(stream::iter([Chunk::Err(BrokenOff)])))
}

/// Half of a body. The pause allows this half to be sent before the connection breaks.
fn cut(mut body: Vec<u8>) -> impl Stream<Item = Chunk> {
    body.truncate(body.len() / 2);
    stream::iter([Ok(body)]).chain(stream::once(async {
        tokio::task::yield_now().await;
        Err(BrokenOff)
    }))
}

fn slowly(body: Vec<u8>, over: Duration) -> impl Stream<Item = Chunk> {
    let pieces: Vec<Vec<u8>> = body
        .chunks(body.len().div_ceil(SLOW_PIECES).max(1))
        .map(<[u8]>::to_vec)
        .collect();
    let pause = over / u32::try_from(pieces.len().max(1)).unwrap_or(u32::MAX);
    stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok(piece)
    })
}
