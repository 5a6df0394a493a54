//! Logging in with the admin token, and out.

use crate::serve::auth::{Denied, Principal};
use crate::serve::refusal::{Form, render, see_other};
use crate::serve::session::SESSION_TIME;
use crate::serve::site::AppState;
use crate::serve::token::Token;
use askama::Template;
use axum::Extension;
use axum::extract::{self, Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::sync::Arc;
use tracing::info;

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    next: String,
    problem: Option<&'static str>,
}

#[derive(Deserialize)]
pub(in crate::serve) struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(in crate::serve) struct LogIn {
    token: SecretString,
    #[serde(default)]
    next: String,
}

pub(in crate::serve) async fn form(
    State(shared): State<Arc<AppState>>,
    Query(query): Query<Next>,
) -> Response {
    match shared.token().await {
        Token::NotSet => Denied::NotSet.refusal(Form::Page).answer(),
        Token::Unreadable => Denied::Unreadable.refusal(Form::Page).answer(),
        Token::Is(_) => page(&query.next, None),
    }
}

fn page(next: &str, problem: Option<&'static str>) -> Response {
    let next = own(next).to_owned();
    render(&Page { next, problem })
}

pub(in crate::serve) async fn log_in(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
    extract::Form(LogIn { token, next }): extract::Form<LogIn>,
) -> Response {
    let (visit, token) = (&visitor.visit, token.expose_secret().trim());
    match shared.check(visit, token).await {
        Ok(()) => {}
        Err(denied @ Denied::Wrong) => {
            let status = denied.refusal(Form::Page).answer().status();
            let mut again = page(&next, Some("This is not the admin token."));
            *again.status_mut() = status;
            return again;
        }
        Err(denied) => return denied.refusal(Form::Page).answer(),
    }
    info!(by = visit.who(), "somebody logged in");
    let id = shared.sessions.open(shared.sessions.hash(token));
    let mut answer = see_other(own(&next));
    let cookie = shared.cookie(&id, SESSION_TIME.as_secs(), visit.is_https);
    set_cookie(&mut answer, &cookie);
    answer
}

pub(in crate::serve) async fn log_out(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
    headers: HeaderMap,
) -> Response {
    if let Some(id) = shared.session_id(&headers) {
        shared.sessions.close(id);
    }
    let mut answer = see_other("/");
    let cookie = shared.cookie("", 0, visitor.visit.is_https);
    set_cookie(&mut answer, &cookie);
    answer
}

impl AppState {
    fn cookie(&self, id: &str, seconds: u64, is_https: bool) -> String {
        let (name, secure) = (&self.cookie_name, if is_https { "; Secure" } else { "" });
        format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
    }
}

fn set_cookie(answer: &mut Response, cookie: &str) {
    if let Ok(mut cookie) = HeaderValue::from_str(cookie) {
        cookie.set_sensitive(true);
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// A place on this server, or the first page: a link must not lead elsewhere by way of the form.
fn own(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path && is_plain { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn a_log_in_leads_nowhere_else() {
        assert_eq!(
            own("/runs/12?kind=delete#held"),
            "/runs/12?kind=delete#held"
        );
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\tb",
            "/é",
        ] {
            assert_eq!(own(foreign), "/", "{foreign}");
        }
    }
}
