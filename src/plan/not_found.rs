//! Rows that ask for the removal of a user that Omni does not have, and that this program never removed: the address
//! may be misspelt, and its user may still be there.

use crate::model::{Email, Location, Observed, Problem, ProblemKind};
use crate::util::letter_counts::LetterCounts;
use crate::util::text::is_within_edits;
use std::borrow::Cow;

/// The maximum number of rows that are compared with all users.
const MAX_COMPARED: usize = 100;
/// The maximum number of edits between a misspelt address and the right one.
const MAX_EDITS: usize = 2;
/// The maximum number of such rows in a warning.
const MAX_SHOWN: usize = 5;

/// A row that asks for the removal of a user that Omni does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound {
    /// The email.
    pub email: Email,
    /// The row.
    pub location: Location,
    /// The nearest email of a user in Omni, if one is near.
    pub nearest: Option<Email>,
}

impl NotFound {
    /// Why nothing was removed, as a clause.
    #[must_use]
    pub fn detail(&self) -> String {
        match &self.nearest {
            Some(nearest) => format!(
                "Omni has no such user and this program never removed one; did you mean {nearest}?"
            ),
            None => "Omni has no such user and this program never removed one".into(),
        }
    }

    fn problem(&self) -> Option<Problem> {
        let nearest = self.nearest.as_ref()?;
        Some(Problem {
            kind: ProblemKind::NotFound,
            location: self.location.clone(),
            message: "the user to be removed is not in Omni, and this program never removed one with this email".into(),
            remedy: format!("write {nearest} if that user is meant, else remove the row"),
            email: Some(self.email.clone()),
        })
    }
}

/// Finds the nearest users of the first rows.
pub(super) fn find_nearest(rows: &mut [NotFound], observed: &Observed) {
    rows.sort_by(|a, b| {
        let key = |row: &NotFound| (row.location.file.clone(), row.location.line);
        key(a).cmp(&key(b))
    });
    if rows.is_empty() {
        return;
    }
    let users: Vec<_> = observed
        .users()
        .map(|user| (LetterCounts::of(&user.email.folded()), &user.email))
        .collect();
    for row in rows.iter_mut().take(MAX_COMPARED) {
        row.nearest = nearest(&row.email.folded(), &users);
    }
}

/// The email nearest to another one, if one is near.
pub(crate) fn nearest_email(wanted: &Email, emails: &[Email]) -> Option<Email> {
    let emails = emails.iter();
    let emails: Vec<_> = emails
        .map(|email| (LetterCounts::of(&email.folded()), email))
        .collect();
    nearest(&wanted.folded(), &emails)
}

/// Whether two folded emails are near each other.
pub(crate) fn is_near(one: &str, other: &str) -> bool {
    is_within_edits(one, other, MAX_EDITS)
}

fn nearest(wanted: &str, users: &[(LetterCounts, &Email)]) -> Option<Email> {
    let counts = LetterCounts::of(wanted);
    let similar = users
        .iter()
        .filter(|(other, _)| counts.may_be_within(other, MAX_EDITS));
    let folded: Vec<(Cow<'_, str>, &Email)> =
        similar.map(|(_, email)| (email.folded(), *email)).collect();
    (1..=MAX_EDITS).find_map(|edits| {
        let near = folded
            .iter()
            .filter(|(folded, _)| is_within_edits(wanted, folded, edits));
        near.map(|(_, email)| *email).min().cloned()
    })
}

/// The problems of rows with a near user.
pub(super) fn problems(rows: &[NotFound]) -> impl Iterator<Item = Problem> + '_ {
    rows.iter().filter_map(NotFound::problem)
}

/// A warning about the rows without a near user.
pub(super) fn warning(rows: &[NotFound]) -> Option<String> {
    let unknown: Vec<_> = rows.iter().filter(|row| row.nearest.is_none()).collect();
    let shown = unknown.iter().take(MAX_SHOWN);
    let mut names = shown
        .map(|row| row.email.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    if unknown.len() > MAX_SHOWN {
        names += &format!(" and {} more", unknown.len() - MAX_SHOWN);
    }
    let (count, ask) = match unknown.len() {
        0 => return None,
        1 => ("1 row".to_owned(), "asks"),
        count => (format!("{count} rows"), "ask"),
    };
    Some(format!(
        "{count} {ask} to remove users that Omni does not have and that this program never removed: {names}"
    ))
}
