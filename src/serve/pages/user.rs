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
    /// The email as a shell takes it.
    email_word: String,
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
        email_word: shell_word(look.email.as_str()),
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

/// One word for a shell: the command is there to be copied, and an email may hold `$(…)`.
fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+@-".contains(&byte);
    match text.bytes().all(is_plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn a_shell_takes_an_email_as_one_word() {
        assert_eq!(shell_word("a.b+c-d_e@x.co"), "a.b+c-d_e@x.co");
        assert_eq!(shell_word("$(id)@x.co"), "'$(id)@x.co'");
        assert_eq!(shell_word("o'hara@x.co"), r"'o'\''hara@x.co'");
    }
}
