//! Pages for people. They are whole without the script, which only keeps them fresh.

mod log_in;
mod overview;
mod run;
mod user;

pub(super) use log_in::{form, log_in, log_out};
pub(super) use overview::{overview, reconcile, runs};
pub(super) use run::{Asked, approve, named, run, run_ref, told};
pub(super) use user::{find, user};

use super::auth::Principal;
use super::refusal::{Form, Refusal};
use super::rows::{Person, When, encoded};
use super::site::AppState;
use crate::model::{HeldRecord, RunNumber};
use crate::state::APPROVAL_VALID;
use crate::util::text::plural;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};

/// So many held users of one rule are named.
const NAMED: usize = 200;

/// What stands round a page.
#[derive(Debug)]
pub(super) struct Frame {
    here: &'static str,
    is_admin: bool,
    has_session: bool,
    can_log_in: bool,
    /// This page, as a part of an address.
    address: String,
}

impl Frame {
    fn new(here: &'static str, shared: &AppState, visitor: &Principal, uri: &Uri) -> Self {
        let address = uri.path_and_query().map_or("/", |address| address.as_str());
        Self {
            here,
            is_admin: visitor.is_admin,
            has_session: visitor.has_session,
            can_log_in: shared.admin_token.is_set(),
            address: encoded(address),
        }
    }
}

/// What is held, and what somebody can do about it.
#[derive(Debug)]
struct HeldCard {
    run: u64,
    count: usize,
    approves: String,
    rules: Vec<RuleCard>,
    approved: Option<Approved>,
}

#[derive(Debug)]
struct RuleCard {
    rule: String,
    why: String,
    people: Vec<Person>,
    more: usize,
}

/// Who approved, when, and until when it is good.
#[derive(Debug)]
struct Approved {
    by: String,
    at: When,
    until: When,
}

impl Approved {
    fn new((by, at): &(String, DateTime<Utc>), now: DateTime<Utc>) -> Self {
        Self {
            by: by.clone(),
            at: When::new(*at, now),
            until: When::new(*at + APPROVAL_VALID, now),
        }
    }
}

impl HeldCard {
    /// `None` where nothing is held.
    fn new(
        run: RunNumber,
        held: &[HeldRecord],
        approval: Option<&(String, DateTime<Utc>)>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let count: usize = held.iter().map(|record| record.users.len()).sum();
        (count > 0).then(|| Self {
            run: run.0,
            count,
            approves: plural(count, "change"),
            rules: held.iter().map(RuleCard::new).collect(),
            approved: approval.map(|approval| Approved::new(approval, now)),
        })
    }
}

impl RuleCard {
    fn new(held: &HeldRecord) -> Self {
        let mut users: Vec<_> = held.users.iter().collect();
        users.sort_by(|a, b| (a.operation, &a.email).cmp(&(b.operation, &b.email)));
        let people = users.iter().take(NAMED).map(|user| Person {
            email: user.email.as_str().into(),
            link: encoded(user.email.as_str()),
            what: user.operation.as_str().into(),
        });
        Self {
            rule: held.rule.as_str().into(),
            why: held.reason.clone(),
            people: people.collect(),
            more: held.users.len().saturating_sub(NAMED),
        }
    }
}

/// What is said once, after an action.
fn said(word: Option<&str>) -> Option<&'static str> {
    match word? {
        "asked" => Some("A run is asked for; it starts at once, or after the one under way."),
        "approved" => Some("Approved. The next run acts on it, within seconds."),
        _ => None,
    }
}

fn unreadable(error: String) -> Response {
    let said = format!("What is remembered can't be read: {error}.");
    Refusal::new(Form::Page, StatusCode::SERVICE_UNAVAILABLE, said).answer()
}

fn not_found(said: &str) -> Response {
    Refusal::new(Form::Page, StatusCode::NOT_FOUND, said).answer()
}
