//! Who may do what.
//!
//! | | from this machine itself | from elsewhere |
//! | --- | --- | --- |
//! | probes, metrics | open | open |
//! | pages and what the API tells | open | the admin token |
//! | actions | the admin token | the admin token |
//!
//! *From this machine itself* means: the server listens on loopback, and the request has come by a loopback
//! name and through nobody else. The token comes with a request (`Authorization: Bearer`), or once
//! with the log-in form, which opens a session. It is read anew, once a second at most, so that it can
//! be exchanged; that ends the sessions that it opened.

use super::guard::{self, RequestOrigin};
use super::refusal::{Form, Refusal};
use super::site::AppState;
use super::token::Token;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// What to say where there is no token.
const SET_A_TOKEN: &str = "Actions take a token, and none is set: write a long random line into a \
    file that only this program's user can read, and name the file in serve.admin_token_file.";

/// Whoever asks, as far as that is known.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    pub(super) visit: RequestOrigin,
    /// Whether they have shown the token.
    pub(super) is_admin: bool,
    /// Whether they have a session that they may end.
    pub(super) has_session: bool,
    /// Whether the pages are open to them without the token.
    pub(super) may_read: bool,
}

impl AppState {
    pub(super) async fn token(&self) -> Token {
        self.admin_token.now(&self.sessions).await
    }

    /// Compares a token that somebody gives with the right one. Who has guessed too often causes no
    /// read of the file.
    pub(super) async fn check(&self, visit: &RequestOrigin, given: &str) -> Result<(), Denied> {
        let may = self.attempts.may_guess(visit.guesser());
        may.map_err(Denied::TooOften)?;
        let right = match self.token().await {
            Token::NotSet => return Err(Denied::NotSet),
            Token::Unreadable => return Err(Denied::Unreadable),
            Token::Is(right) => right,
        };
        let given = self.sessions.hash(given);
        match self.attempts.compare(visit.guesser(), given, right) {
            Ok(true) => Ok(()),
            Ok(false) => {
                warn!(peer = %visit.guesser().address, "a wrong admin token was given");
                Err(Denied::Wrong)
            }
            Err(wait) => Err(Denied::TooOften(wait)),
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

    /// The session's id that a browser sends.
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

/// Why somebody is not let through.
#[derive(Debug)]
pub(super) enum Denied {
    NotSet,
    Unreadable,
    Missing,
    Wrong,
    TooOften(Duration),
}

impl Denied {
    pub(super) fn refusal(self, form: Form) -> Refusal {
        let (status, said) = match &self {
            Self::NotSet => (StatusCode::FORBIDDEN, SET_A_TOKEN),
            Self::Unreadable => (
                StatusCode::FORBIDDEN,
                "The file of serve.admin_token_file can't be read; the log says why.",
            ),
            Self::Missing => (
                StatusCode::UNAUTHORIZED,
                "This takes the admin token: log in, or send it as `Authorization: Bearer …`.",
            ),
            Self::Wrong => (StatusCode::UNAUTHORIZED, "This is not the admin token."),
            Self::TooOften(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong tokens came from this address, or from this machine; try again in a minute.",
            ),
        };
        let refusal = Refusal::new(form, status, said);
        match self {
            Self::TooOften(wait) => refusal.retry_after(wait),
            _ => refusal,
        }
    }
}

/// Finds out who asks; refuses whom the [`guard`] refuses, and who gives a wrong token.
pub(super) async fn identify(
    State(shared): State<Arc<AppState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    match visitor(&shared, peer, &head).await {
        Ok(visitor) => {
            head.extensions.insert(visitor);
            next.run(Request::from_parts(head, body)).await
        }
        Err(refusal) => refusal.answer(),
    }
}

async fn visitor(shared: &AppState, peer: SocketAddr, head: &Parts) -> Result<Principal, Refusal> {
    let form = Form::of(head.uri.path());
    let visit = guard::let_in(head, peer.ip().to_canonical(), &shared.site.hosts)
        .map_err(|(status, said)| Refusal::new(form, status, said))?;
    let has_token = match bearer(&head.headers) {
        None => false,
        Some(given) => {
            let checked = shared.check(&visit, given).await;
            checked.map_err(|denied| denied.refusal(form))?;
            true
        }
    };
    let has_session = shared.has_session(&head.headers).await;
    let is_admin = has_token || has_session;
    Ok(Principal {
        is_admin,
        has_session,
        may_read: is_admin || (shared.is_local && visit.is_local),
        visit,
    })
}

/// Lets those through who may read.
pub(super) async fn reads(
    State(shared): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    let may = |visitor: &Principal| visitor.may_read;
    let_through(&shared, request, next, may).await
}

/// Lets those through who may act.
pub(super) async fn acts(
    State(shared): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    let may = |visitor: &Principal| visitor.is_admin;
    let_through(&shared, request, next, may).await
}

async fn let_through(
    shared: &AppState,
    request: Request,
    next: Next,
    may: impl Fn(&Principal) -> bool,
) -> Response {
    if request.extensions().get::<Principal>().is_some_and(may) {
        return next.run(request).await;
    }
    let form = Form::of(request.uri().path());
    match shared.token().await {
        Token::NotSet => Denied::NotSet.refusal(form).answer(),
        Token::Unreadable => Denied::Unreadable.refusal(form).answer(),
        Token::Is(_) if form == Form::Page => {
            let back = match request.uri().path_and_query() {
                Some(wanted) if request.method().is_safe() => wanted.as_str(),
                _ => "/",
            };
            Refusal::log_in(back)
        }
        Token::Is(_) => Denied::Missing.refusal(form).answer(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
