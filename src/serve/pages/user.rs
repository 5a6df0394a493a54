//! One user, as far as the journal and the last run know them: Omni is not asked.

use super::{Frame, unreadable};
use crate::desired::Problem;
use crate::serve::auth::Visitor;
use crate::serve::refusal::{Form, Refusal, render, see_other};
use crate::serve::rows::{ChangeRow, When, encoded};
use crate::serve::site::Shared;
use crate::serve::standing::{self, Standing};
use crate::user::Email;
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use chrono::Utc;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "user.html")]
struct Page {
    frame: Frame,
    email: String,
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

fn no_email(error: &crate::user::EmailError) -> Response {
    let said = format!("A user is found by their whole email, and {error}.");
    Refusal::new(Form::Page, StatusCode::BAD_REQUEST, said).answer()
}

pub(in crate::serve) async fn user(
    State(shared): State<Arc<Shared>>,
    Extension(visitor): Extension<Visitor>,
    Path(email): Path<String>,
    uri: Uri,
) -> Response {
    let look = match Email::parse(&email) {
        Ok(email) => shared.user(email).await,
        Err(error) => return no_email(&error),
    };
    let look = match look {
        Ok(look) => look,
        Err(error) => return unreadable(error),
    };
    let now = Utc::now();
    let managed = look.state.managed.as_ref();
    render(&Page {
        frame: Frame::new("user", &shared, &visitor, &uri),
        email: look.email.as_str().into(),
        email_words: shell_words(look.email.as_str()),
        standing: standing::of_user(&look, now),
        managed: managed.map(|managed| When::new(managed.since, now)),
        missing: managed
            .and_then(|managed| managed.missing_since)
            .map(|at| When::new(at, now)),
        deactivated: look
            .state
            .deactivated
            .iter()
            .map(|(id, at)| Deactivated {
                id: id.as_str().into(),
                at: When::new(*at, now),
            })
            .collect(),
        changes: look
            .changes
            .iter()
            .map(|one| ChangeRow::new(one, now))
            .collect(),
        problems: look.problems,
    })
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
