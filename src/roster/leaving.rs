//! The cells of a user who leaves: the successor, and the day.

use super::address;
use super::text::{Issue, quoted};
use crate::model::{Email, ProblemKind, trim};
use chrono::{Datelike, NaiveDate};

/// Reads a cell of the `successor` column that is not blank.
pub(super) fn successor(cell: &str) -> Result<Email, Issue> {
    let form = "write one email address, or clear the cell";
    Email::parse(cell).map_err(|error| address::issue(cell, error, form))
}

/// Reads a cell of the `leave_on` column that is not blank.
pub(super) fn date(cell: &str) -> Result<NaiveDate, Issue> {
    const FORM: &str = "dddd-dd-dd";
    let text = trim(cell);
    let has_form = text.len() == FORM.len()
        && text
            .bytes()
            .zip(FORM.bytes())
            .all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            });
    if !has_form {
        let message = format!("expected a date, found {}", quoted(text));
        return Err(issue(
            message,
            "write the day as YYYY-MM-DD, such as 2026-12-24",
        ));
    }
    let date = text.parse::<NaiveDate>().ok();
    // A typo in the year must not remove a user now.
    let date = date.filter(|date| date.year() >= FIRST_YEAR);
    date.ok_or_else(|| {
        issue(
            format!("no user can leave on {}", quoted(text)),
            "correct the date",
        )
    })
}

const FIRST_YEAR: i32 = 2000;

/// The issue of a date in the row of a user who stays.
pub(super) fn date_of_upsert(_: &str) -> Result<NaiveDate, Issue> {
    Err(issue(
        "a user with the op upsert does not leave".into(),
        "write delete or deactivate as op (until that day, the row upserts its user), or clear the cell",
    ))
}

fn issue(message: String, remedy: &str) -> Issue {
    Issue::new(message, remedy).kind(ProblemKind::LeaveOn)
}
