//! Permissions.
//!
//! | | from this machine | from elsewhere |
//! | --- | --- | --- |
//! | probes, metrics | open | open |
//! | pages and reads of the API | open | the admin token |
//! | actions | the admin token | the admin token |
//!
//! *From this machine* means: the server listens on a loopback address, and the request names a
//! loopback host and came through no proxy. The token comes with the request (`Authorization: Bearer`)
//! or once with the login form, which opens a session. The token file is read again when needed, at
//! most once a second, so that the token can be replaced; that ends the sessions of the old token.

use super::origin::{self, RequestOrigin};
use super::response::{ErrorResponse, Format, redirect_to_login};
use super::state::{AppState, ServerConfig};
use super::token::Token;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

const NO_TOKEN: &str = "No admin token is configured, and actions require one. Write a long random line \
    to a file that only the service user can read, and set serve.admin_token_file to its path.";

/// The client of a request.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    pub(super) origin: RequestOrigin,
    /// Whether the client has presented the admin token.
    pub(super) is_admin: bool,
    /// Whether the client has a session that it can end.
    pub(super) has_session: bool,
    /// Whether the client may read pages.
    pub(super) may_read: bool,
}

impl AppState {
    pub(super) async fn token(&self) -> Token {
        self.admin_token.now(&self.sessions).await
    }

    /// Checks a token. After too many wrong tokens from one source, its tokens are rejected without reading the token
    /// file.
    pub(super) async fn check_token(
        &self,
        origin: &RequestOrigin,
        given: &str,
    ) -> Result<(), AuthError> {
        let source = origin.login_source();
        let allowed = self.login_attempts.check(source);
        allowed.map_err(AuthError::TooManyAttempts)?;
        let expected = match self.token().await {
            Token::NotSet => return Err(AuthError::NoToken),
            Token::Unreadable => return Err(AuthError::UnreadableToken),
            Token::Is(expected) => expected,
        };
        let given = self.sessions.hash(given);
        match self.login_attempts.compare(source, given, expected) {
            Ok(true) => Ok(()),
            Ok(false) => {
                warn!(peer = %source.address, "wrong admin token");
                self.config.probes.metrics.login_failures.inc();
                Err(AuthError::WrongToken)
            }
            Err(wait) => Err(AuthError::TooManyAttempts(wait)),
        }
    }

    async fn has_session(&self, headers: &HeaderMap) -> bool {
        let Some(id) = self.session_id(headers) else {
            return false;
        };
        match self.token().await {
            Token::Is(token) => self.sessions.is_open(id, token),
            Token::NotSet | Token::Unreadable => false,
        }
    }

    /// The session ID in the cookies of a request.
    pub(super) fn session_id<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(COOKIE).iter();
        let pairs = cookies
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'));
        let mut named = pairs.filter_map(|pair| pair.trim().split_once('='));
        named
            .find(|(name, _)| *name == self.cookie_name)
            .map(|(_, id)| id)
    }
}

/// Why access is denied.
#[derive(Debug)]
pub(super) enum AuthError {
    NoToken,
    UnreadableToken,
    MissingToken,
    WrongToken,
    TooManyAttempts(Duration),
}

impl AuthError {
    pub(super) fn response(&self, format: Format) -> ErrorResponse {
        let (status, message) = match self {
            Self::NoToken => (StatusCode::FORBIDDEN, NO_TOKEN),
            Self::UnreadableToken => (
                StatusCode::FORBIDDEN,
                "The file in serve.admin_token_file can't be read; see the log.",
            ),
            Self::MissingToken => (
                StatusCode::UNAUTHORIZED,
                "The admin token is required: log in, or send it as `Authorization: Bearer …`.",
            ),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "Wrong admin token."),
            Self::TooManyAttempts(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong tokens from this address or from this machine. Try again in a minute.",
            ),
        };
        let response = ErrorResponse::new(format, status, message);
        match self {
            Self::TooManyAttempts(wait) => response.retry_after(*wait),
            _ => response,
        }
    }
}

/// Identifies the client. Rejects requests that [`origin`] rejects, and wrong tokens.
pub(super) async fn identify(
    State(state): State<Arc<AppState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    match principal(&state, peer, &head).await {
        Ok(principal) => {
            head.extensions.insert(principal);
            next.run(Request::from_parts(head, body)).await
        }
        Err(error) => error.into_response(),
    }
}

async fn principal(
    state: &AppState,
    peer: SocketAddr,
    head: &Parts,
) -> Result<Principal, ErrorResponse> {
    let format = Format::of(head.uri.path());
    let ServerConfig {
        hosts, user_header, ..
    } = &state.config;
    let origin = origin::check(
        head,
        peer.ip().to_canonical(),
        hosts,
        user_header.as_deref(),
    )
    .map_err(|error| ErrorResponse::new(format, error.status, error.message))?;
    let has_token = match bearer_token(&head.headers) {
        None => false,
        Some(given) => {
            let checked = state.check_token(&origin, given).await;
            checked.map_err(|error| error.response(format))?;
            true
        }
    };
    let has_session = state.has_session(&head.headers).await;
    let is_admin = has_token || has_session;
    Ok(Principal {
        is_admin,
        has_session,
        may_read: is_admin || (state.is_local && origin.is_local),
        origin,
    })
}

/// Requires the permission to read.
pub(super) async fn require_read(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    require(&state, request, next, |principal| principal.may_read).await
}

/// Requires the admin token.
pub(super) async fn require_admin(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    require(&state, request, next, |principal| principal.is_admin).await
}

async fn require(
    state: &AppState,
    request: Request,
    next: Next,
    is_allowed: impl Fn(&Principal) -> bool,
) -> Response {
    let principal = request.extensions().get::<Principal>();
    if principal.is_some_and(is_allowed) {
        return next.run(request).await;
    }
    let format = Format::of(request.uri().path());
    let error = match state.token().await {
        Token::NotSet => AuthError::NoToken,
        Token::Unreadable => AuthError::UnreadableToken,
        Token::Is(_) if format == Format::Html => {
            let back = match request.uri().path_and_query() {
                Some(path) if request.method().is_safe() => path.as_str(),
                _ => "/",
            };
            return redirect_to_login(back);
        }
        Token::Is(_) => AuthError::MissingToken,
    };
    error.response(format).into_response()
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
