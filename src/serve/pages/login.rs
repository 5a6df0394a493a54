//! Login with the admin token, and logout.

use super::PageResult;
use crate::serve::auth::{AuthError, Principal};
use crate::serve::response::{Format, redirect, render};
use crate::serve::session::SESSION_LIFETIME;
use crate::serve::state::AppState;
use crate::serve::token::Token;
use askama::Template;
use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::sync::Arc;
use tracing::info;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    next: String,
    error: Option<&'static str>,
}

#[derive(Deserialize)]
pub(in crate::serve) struct LoginParams {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(in crate::serve) struct LoginForm {
    token: SecretString,
    #[serde(default)]
    next: String,
}

pub(in crate::serve) async fn login_form(
    State(state): State<Arc<AppState>>,
    Query(params): Query<LoginParams>,
) -> PageResult {
    match state.token().await {
        Token::NotSet => Err(AuthError::NoToken.response(Format::Html)),
        Token::Unreadable => Err(AuthError::UnreadableToken.response(Format::Html)),
        Token::Is(_) => Ok(page(&params.next, None)),
    }
}

fn page(next: &str, error: Option<&'static str>) -> Response {
    let next = own_path(next).to_owned();
    render(&LoginPage { next, error })
}

pub(in crate::serve) async fn log_in(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Form(LoginForm { token, next }): Form<LoginForm>,
) -> PageResult {
    let (origin, token) = (&principal.origin, token.expose_secret().trim());
    if let Err(error) = state.check_token(origin, token).await {
        let response = error.response(Format::Html);
        return match error {
            AuthError::WrongToken => {
                let page = page(&next, Some("Wrong admin token."));
                Ok(response.apply_to(page))
            }
            _ => Err(response),
        };
    }
    info!(by = origin.describe(), "logged in");
    let id = state.sessions.open(state.sessions.hash(token));
    let cookie = state.cookie(&id, SESSION_LIFETIME.as_secs(), origin.is_https);
    Ok(with_cookie(redirect(own_path(&next)), &cookie))
}

pub(in crate::serve) async fn log_out(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
) -> Response {
    if let Some(id) = state.session_id(&headers) {
        state.sessions.close(id);
    }
    let cookie = state.cookie("", 0, principal.origin.is_https);
    with_cookie(redirect("/"), &cookie)
}

impl AppState {
    fn cookie(&self, id: &str, seconds: u64, is_https: bool) -> String {
        let (name, secure) = (&self.cookie_name, if is_https { "; Secure" } else { "" });
        format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
    }
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(mut cookie) = HeaderValue::from_str(cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The path if it is on this server, otherwise `/`, so that the login form can't redirect to another
/// site.
fn own_path(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path && is_plain { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn login_redirects_to_own_paths_only() {
        let own = "/runs/12?operation=delete#held";
        assert_eq!(own_path(own), own);
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\tb",
            "/é",
        ] {
            assert_eq!(own_path(foreign), "/", "{foreign}");
        }
    }
}
