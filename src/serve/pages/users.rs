//! The list of users by state, and the search by the beginning of an email.

use super::rows::{SubjectLink, Timestamp};
use super::{Frame, PAGE_SIZE, PageResult, bad_request, state_error};
use crate::model::{Email, Subject, UserFilter};
use crate::serve::auth::Principal;
use crate::serve::params::UserParams;
use crate::serve::response::{redirect, render, url_encode};
use crate::serve::state::AppState;
use crate::state::{ListedUser, UserState};
use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage {
    frame: Frame,
    tabs: Vec<Tab>,
    /// The word of the state, unless it is that of all users.
    state: Option<&'static str>,
    prefix: String,
    users: Vec<UserRow>,
    /// A link to the page of the address that was searched for, if no user has it.
    address: Option<SubjectLink>,
    nearest: Option<SubjectLink>,
    first: Option<String>,
    next: Option<String>,
}

/// A link to the users in one state.
struct Tab {
    name: &'static str,
    count: usize,
    link: String,
    is_current: bool,
}

/// A user in the list.
struct UserRow {
    user: SubjectLink,
    name: String,
    states: Vec<StateBadge>,
}

/// A state of a user, and since or until when.
struct StateBadge {
    word: &'static str,
    preposition: &'static str,
    at: Option<Timestamp>,
}

#[derive(Deserialize)]
pub(in crate::serve) struct FindParams {
    /// What the search form of all pages sends.
    email: Option<String>,
}

/// Lists users. The search form leads to the page of a user with exactly this email, else to the list.
pub(in crate::serve) async fn users(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Query(FindParams { email }): Query<FindParams>,
    Query(params): Query<UserParams>,
    uri: Uri,
) -> PageResult {
    if let Some(text) = email {
        return find(&state, &text).await;
    }
    let query = params.query(PAGE_SIZE, PAGE_SIZE).map_err(bad_request)?;
    let (filter, is_later_page) = (query.filter, !query.after.is_empty());
    let page = state.users(query).await.map_err(state_error)?;
    let now = Utc::now();
    let address = match page.users.is_empty() && !is_later_page {
        true => Email::known(&params.prefix).ok(),
        false => None,
    };
    let nearest = match &address {
        Some(address) => state.nearest_email(address).await.map_err(state_error)?,
        None => None,
    };
    let tabs = page.counts.iter().map(|(one, count)| Tab {
        name: tab_name(*one),
        count: *count,
        link: params.link(*one, ""),
        is_current: *one == filter,
    });
    let next = page.next.as_ref();
    Ok(render(&UsersPage {
        frame: Frame::new("users", &state, &principal, &uri),
        tabs: tabs.collect(),
        state: (filter != UserFilter::All).then_some(filter.as_str()),
        prefix: params.prefix.trim().to_owned(),
        users: page
            .users
            .iter()
            .map(|user| UserRow::new(user, now))
            .collect(),
        address: address.map(|email| SubjectLink::new(&email.into(), "")),
        nearest: nearest.map(|email| SubjectLink::new(&email.into(), "")),
        first: is_later_page.then(|| params.link(filter, "")),
        next: next.map(|email| params.link(filter, email.as_str())),
    }))
}

async fn find(state: &AppState, text: &str) -> PageResult {
    if let Ok(email) = Email::known(text) {
        let path = format!("/users/{}", url_encode(email.as_str()));
        let user = state.user(email).await.map_err(state_error)?;
        let is_observed = user.state.observed.is_some();
        let is_named = !user.problems.is_empty() || user.held().is_some();
        if user.is_known() || is_observed || is_named {
            return Ok(redirect(&path));
        }
    }
    let list = UserParams::of_prefix(text);
    list.query(PAGE_SIZE, PAGE_SIZE).map_err(bad_request)?;
    Ok(redirect(&list.link(UserFilter::All, "")))
}

fn tab_name(filter: UserFilter) -> &'static str {
    match filter {
        UserFilter::All => "All",
        UserFilter::Managed => "Managed",
        UserFilter::Protected => "Protected",
        UserFilter::Missing => "Missing from the roster",
        UserFilter::Deactivated => "Deactivated",
        UserFilter::Quarantined => "In quarantine",
    }
}

impl UserRow {
    fn new(user: &ListedUser, now: DateTime<Utc>) -> Self {
        let name = user.state.observed.as_ref();
        Self {
            user: SubjectLink::new(&Subject::from(&user.email), ""),
            name: name.map_or_else(String::new, |user| user.display_name.to_string()),
            states: states(&user.state, user.is_protected, now),
        }
    }
}

fn states(state: &UserState, is_protected: bool, now: DateTime<Utc>) -> Vec<StateBadge> {
    let badge = |word, preposition, at| StateBadge {
        word,
        preposition,
        at: Some(Timestamp::new(at, now)),
    };
    let managed = state.managed.as_ref();
    let missing = managed.and_then(|managed| managed.missing_since);
    let quarantined = state.quarantined.as_ref();
    let quarantined = quarantined.filter(|quarantined| quarantined.until > now);
    let protected = is_protected.then_some(StateBadge {
        word: "protected",
        preposition: "",
        at: None,
    });
    let timed = [
        managed.map(|managed| badge("managed", "since", managed.since)),
        missing.map(|at| badge("missing from the roster", "since", at)),
        state
            .deactivated
            .last()
            .map(|(_, at)| badge("deactivated", "since", *at)),
        quarantined.map(|one| badge("in quarantine", "until", one.until)),
    ];
    timed.into_iter().flatten().chain(protected).collect()
}
