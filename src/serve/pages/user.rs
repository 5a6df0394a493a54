//! A user, as far as the journal and the last run know them; and, where somebody presses for it, as the roster
//! and Omni have them now.

use super::{Frame, unreadable};
use crate::model::{Email, ObservedUser, Problem};
use crate::run::{Explanation, Next};
use crate::serve::auth::Principal;
use crate::serve::look::UserLook;
use crate::serve::refusal::{Form, Refusal, render, see_other};
use crate::serve::rows::{ChangeRow, FieldRow, When, encoded};
use crate::serve::site::AppState;
use crate::serve::standing::{self, Severity, Standing};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "user.html")]
struct Page {
    frame: Frame,
    email: String,
    link: String,
    /// What was found just now, or why nothing was; `None` where nobody asked.
    now: Option<Result<Now, String>>,
    /// The email as arguments for a shell.
    email_words: String,
    standing: Vec<Standing>,
    managed: Option<When>,
    missing: Option<When>,
    deactivated: Vec<Deactivated>,
    problems: Vec<Problem>,
    changes: Vec<ChangeRow>,
}

struct Deactivated {
    id: String,
    at: When,
}

/// What roster and Omni say of a user now, and what a run would do.
struct Now {
    clock: String,
    tone: Severity,
    next: String,
    fields: Vec<FieldRow>,
    roster: Vec<String>,
    omni: Option<InOmni>,
}

/// A user in Omni.
struct InOmni {
    name: String,
    state: &'static str,
    id: String,
    values: Vec<(String, String)>,
}

#[derive(Deserialize)]
pub(in crate::serve) struct Sought {
    #[serde(default)]
    email: String,
}

/// Where the search form leads to.
pub(in crate::serve) async fn find(Query(sought): Query<Sought>) -> Response {
    match Email::parse(&sought.email) {
        Ok(email) => see_other(&format!("/users/{}", encoded(email.as_str()))),
        Err(error) => no_email(&error),
    }
}

fn no_email(error: &crate::model::EmailError) -> Response {
    let said = format!("A user is found by their whole email, and {error}.");
    Refusal::new(Form::Page, StatusCode::BAD_REQUEST, said).answer()
}

/// A user; where somebody presses for it (`POST`), with what the roster and Omni say now.
pub(in crate::serve) async fn user(
    State(shared): State<Arc<AppState>>,
    Extension(visitor): Extension<Principal>,
    Path(email): Path<String>,
    method: Method,
    uri: Uri,
) -> Response {
    let email = match Email::parse(&email) {
        Ok(email) => email,
        Err(error) => return no_email(&error),
    };
    let explained = match method {
        Method::POST => Some(shared.explain(&email).await),
        _ => None,
    };
    let look = match shared.user(email).await {
        Ok(look) => look,
        Err(error) => return unreadable(error),
    };
    let frame = Frame::new("user", &shared, &visitor, &uri);
    match explained {
        Some(Err(why)) => {
            let whole = render(&page(frame, look, Some(Err(why.sentence()))));
            why.refusal(Form::Page).told_in(whole)
        }
        Some(Ok(found)) => {
            let now = Now::new(&found, Utc::now());
            render(&page(frame, look, Some(Ok(now))))
        }
        None => render(&page(frame, look, None)),
    }
}

fn page(frame: Frame, look: UserLook, found: Option<Result<Now, String>>) -> Page {
    let now = Utc::now();
    let managed = look.state.managed.as_ref();
    let deactivated = look.state.deactivated.iter().map(|(id, at)| Deactivated {
        id: id.as_str().into(),
        at: When::new(*at, now),
    });
    let changes = look.changes.iter().map(|one| ChangeRow::new(one, now));
    Page {
        frame,
        email: look.email.as_str().into(),
        link: encoded(look.email.as_str()),
        now: found,
        email_words: shell_words(look.email.as_str()),
        standing: standing::of_user(&look, now),
        managed: managed.map(|managed| When::new(managed.since, now)),
        missing: managed
            .and_then(|managed| managed.missing_since)
            .map(|at| When::new(at, now)),
        deactivated: deactivated.collect(),
        changes: changes.collect(),
        problems: look.problems,
    }
}

impl Now {
    fn new(explanation: &Explanation, now: DateTime<Utc>) -> Self {
        let Explanation {
            email: _,
            roster,
            user,
            next,
        } = explanation;
        let (tone, said) = match next {
            Next::Change(change) => (
                Severity::Busy,
                format!("A run would {} them.", change.operation()),
            ),
            Next::Limited(change) => {
                let operation = change.operation();
                let said = format!(
                    "A run would {operation} them, unless the guard holds that, which counts everybody's."
                );
                (Severity::Busy, said)
            }
            Next::Held(why, change) => {
                let operation = change.operation();
                let said = format!("A run would {operation} them, were it not held: {why}.");
                (Severity::Warn, said)
            }
            Next::Nothing(Some(why)) => {
                let why = why.trim_end_matches('.');
                (Severity::Plain, format!("A run would do nothing: {why}."))
            }
            Next::Nothing(None) => (Severity::Good, "A run has nothing to do with them.".into()),
        };
        Self {
            clock: When::new(now, now).clock,
            tone,
            next: said,
            fields: next.change().map(FieldRow::all_of).unwrap_or_default(),
            roster: roster.clone(),
            omni: user.as_deref().map(InOmni::new),
        }
    }
}

impl InOmni {
    fn new(user: &ObservedUser) -> Self {
        let values = user.attributes.iter();
        Self {
            name: user.display_name.to_string(),
            state: if user.active { "active" } else { "inactive" },
            id: user.id.as_str().into(),
            values: values
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        }
    }
}

/// An email as it stands in a command that is there to be copied: it may hold `$(…)`, and may begin as an
/// option does.
fn shell_words(email: &str) -> String {
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
    use super::shell_words;

    #[test]
    fn a_shell_takes_an_email_as_it_is() {
        for (email, words) in [
            ("a.b+c-d_e@x.co", "a.b+c-d_e@x.co"),
            ("$(id)@x.co", "'$(id)@x.co'"),
            ("o'hara@x.co", r"'o'\''hara@x.co'"),
            ("-odd@x.co", "-- -odd@x.co"),
            ("--json=$x@x.co", "-- '--json=$x@x.co'"),
        ] {
            assert_eq!(shell_words(email), words);
        }
    }
}
