//! The page of a user, from the state database and the last run; on demand also the current state in
//! the roster and in Omni.

use super::held::owned;
use super::rows::{ChangeRow, FieldRow, Timestamp};
use super::{Frame, PageResult, bad_request, state_error};
use crate::model::{Email, EmailError, ObservedUser, OwnedDetails, Problem};
use crate::run::{Explanation, Next};
use crate::serve::auth::Principal;
use crate::serve::queries::UserView;
use crate::serve::response::{ErrorResponse, Format, render, url_encode};
use crate::serve::state::AppState;
use crate::serve::summary::{Severity, Summary, user_summaries};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{Method, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};
use std::sync::Arc;

#[derive(Template)]
#[template(path = "user.html")]
struct UserPage {
    frame: Frame,
    email: String,
    /// The email, encoded for use in a URL.
    path: String,
    /// The current state or an error; `None` if it was not requested.
    current: Option<Result<CurrentState, String>>,
    /// The email as arguments for a shell.
    shell_arguments: String,
    summaries: Vec<Summary>,
    managed: Option<Timestamp>,
    missing: Option<Timestamp>,
    deactivated: Vec<DeactivatedUser>,
    /// A held removal with what it deletes: `delete: owns 2 schedules: daily, weekly`.
    held: Option<String>,
    problems: Vec<Problem>,
    changes: Vec<ChangeRow>,
}

struct DeactivatedUser {
    id: String,
    at: Timestamp,
}

/// The current state of a user in the roster and in Omni, and what a run would do.
struct CurrentState {
    at: Timestamp,
    next: Summary,
    fields: Vec<FieldRow>,
    /// The schedules, memberships and roles that a run would change.
    access: Vec<String>,
    roster: Vec<String>,
    groups: String,
    present_roles: Vec<String>,
    /// What the user owns.
    owned: Vec<(&'static str, String)>,
    /// The user in Omni, or why there is not exactly one.
    omni: Result<OmniUser, String>,
}

/// A user in Omni.
struct OmniUser {
    name: String,
    state: &'static str,
    id: String,
    attributes: Vec<(String, String)>,
}

fn invalid_email(error: &EmailError) -> ErrorResponse {
    bad_request(format!("Invalid email: {error}."))
}

/// Shows a user. A `POST` also shows the current state in the roster and in Omni.
pub(in crate::serve) async fn user(
    State(state): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(email): Path<String>,
    method: Method,
    uri: Uri,
) -> PageResult {
    let email = Email::known(&email).map_err(|error| invalid_email(&error))?;
    let explainer = &state.config.explainer;
    let explained = match method {
        Method::POST => Some(state.explain_limiter.explain(explainer, &email).await),
        _ => None,
    };
    let view = state.user(email).await.map_err(state_error)?;
    let frame = Frame::new("user", &state, &principal, &uri);
    Ok(match explained {
        None => page(frame, view, None),
        Some(Ok(explanation)) => {
            let current = CurrentState::new(&explanation, Utc::now());
            page(frame, view, Some(Ok(current)))
        }
        Some(Err(error)) => {
            let page = page(frame, view, Some(Err(error.message())));
            error.response(Format::Html).apply_to(page)
        }
    })
}

fn page(frame: Frame, view: UserView, current: Option<Result<CurrentState, String>>) -> Response {
    let now = Utc::now();
    let managed = view.state.managed.as_ref();
    let missing = managed.and_then(|managed| managed.missing_since);
    let deactivated = view.state.deactivated.iter();
    let deactivated = deactivated.map(|(id, at)| DeactivatedUser {
        id: id.as_str().into(),
        at: Timestamp::new(*at, now),
    });
    let changes = view.changes.iter().map(|one| ChangeRow::new(one, now));
    render(&UserPage {
        frame,
        email: view.email.as_str().into(),
        path: url_encode(view.email.as_str()),
        current,
        shell_arguments: shell_arguments(view.email.as_str()),
        summaries: user_summaries(&view, now),
        managed: managed.map(|managed| Timestamp::new(managed.since, now)),
        missing: missing.map(|at| Timestamp::new(at, now)),
        deactivated: deactivated.collect(),
        held: view
            .held()
            .and_then(|(.., change)| Some(format!("{}: {}", change.operation, owned(change)?))),
        changes: changes.collect(),
        problems: view.problems,
    })
}

impl CurrentState {
    fn new(explanation: &Explanation, now: DateTime<Utc>) -> Self {
        let Explanation {
            email: _,
            roster,
            leaving: _,
            found: _,
            next,
            transfers,
            memberships,
            roles,
            stated,
            groups,
            present_roles,
            owned,
        } = explanation;
        let owned = owned.iter().flat_map(OwnedDetails::texts);
        Self {
            at: Timestamp::new(now, now),
            next: next_summary(next),
            fields: next.change().map(FieldRow::of_pending).unwrap_or_default(),
            access: transfers
                .iter()
                .chain(memberships)
                .chain(roles)
                .map(ToString::to_string)
                .collect(),
            roster: roster.iter().chain(stated).cloned().collect(),
            groups: groups.join(", "),
            present_roles: present_roles.iter().map(ToString::to_string).collect(),
            owned: ["Schedules", "Personal tokens", "Documents"]
                .into_iter()
                .zip(owned.map(|(_, names)| names))
                .collect(),
            omni: explanation.user().map(OmniUser::new),
        }
    }
}

/// Says what a run would do.
fn next_summary(next: &Next) -> Summary {
    let (severity, text) = match next {
        Next::Change(change) => {
            let text = format!("A run would {} this user.", change.operation());
            (Severity::Busy, text)
        }
        Next::Limited(change) => {
            let text = format!(
                "A run would {} this user, unless a safety limit holds the change. Safety limits count the \
                 changes of all users.",
                change.operation()
            );
            (Severity::Busy, text)
        }
        Next::Held(reason, change) => {
            let text = format!(
                "A run would {} this user, but the change is {reason}.",
                change.operation()
            );
            (Severity::Warning, text)
        }
        Next::Nothing(Some(reason)) => {
            let text = format!("No change: {}.", reason.trim_end_matches('.'));
            (Severity::Idle, text)
        }
        Next::Nothing(None) => (Severity::Ok, "In sync: no change needed.".into()),
    };
    Summary::new(severity, text)
}

impl OmniUser {
    fn new(user: &ObservedUser) -> Self {
        Self {
            name: user.display_name.to_string(),
            state: user.state_text(),
            id: user.id.as_str().into(),
            attributes: user
                .values()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        }
    }
}

/// Quotes an email for a command to copy: it may contain `$(…)`, and may start like an option.
fn shell_arguments(email: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+@-".contains(&byte);
    let word = match email.bytes().all(is_plain) {
        true => email.into(),
        false => format!("'{}'", email.replace('\'', r"'\''")),
    };
    match email.starts_with('-') {
        true => format!("-- {word}"),
        false => word,
    }
}

#[cfg(test)]
mod tests {
    use super::shell_arguments;

    #[test]
    fn emails_are_quoted_for_a_shell() {
        for (email, arguments) in [
            ("a.b+c-d_e@x.co", "a.b+c-d_e@x.co"),
            ("$(id)@x.co", "'$(id)@x.co'"),
            ("o'hara@x.co", r"'o'\''hara@x.co'"),
            ("-odd@x.co", "-- -odd@x.co"),
            ("--json=$x@x.co", "-- '--json=$x@x.co'"),
        ] {
            assert_eq!(shell_arguments(email), arguments);
        }
    }
}
