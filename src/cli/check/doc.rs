//! What `check --json` prints. Its shape is documented in the README: fields are added, and none is
//! renamed or taken away.

use super::Found;
use super::host::Host;
use crate::model::Problem;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct CheckDoc<'a> {
    ok: bool,
    roster: RosterDoc<'a>,
    omni: Option<OmniDoc<'a>>,
    machine: &'a Host,
}

#[derive(Serialize)]
struct RosterDoc<'a> {
    rows: Option<u64>,
    checked_against_definitions: bool,
    problems: Vec<ProblemDoc<'a>>,
    notes: Vec<ProblemDoc<'a>>,
    error: Option<String>,
}

#[derive(Serialize)]
struct ProblemDoc<'a> {
    kind: &'static str,
    file: &'a str,
    line: u64,
    column: Option<usize>,
    column_name: Option<&'a str>,
    email: Option<&'a str>,
    message: &'a str,
    remedy: &'a str,
}

#[derive(Serialize)]
struct OmniDoc<'a> {
    base_url: Option<&'a str>,
    users: Option<u64>,
    attributes: Option<usize>,
    error: Option<String>,
}

impl<'a> From<&'a Problem> for ProblemDoc<'a> {
    fn from(problem: &'a Problem) -> Self {
        let Problem {
            kind,
            place,
            message,
            remedy,
            email,
        } = problem;
        let column = place.column.as_ref();
        Self {
            kind: kind.as_str(),
            file: &place.file,
            line: place.line,
            column: column.map(|(number, _)| *number),
            column_name: column.map(|(_, name)| &**name),
            email: email.as_ref().map(|email| email.as_str()),
            message,
            remedy,
        }
    }
}

impl<'a> CheckDoc<'a> {
    pub(super) fn new(found: &'a Found<'_>) -> Self {
        let roster = found.roster.as_ref();
        let seen = found.omni.as_ref().and_then(|omni| omni.as_ref().ok());
        Self {
            ok: found.is_fine(),
            roster: RosterDoc {
                rows: roster.ok().map(|desired| desired.rows),
                checked_against_definitions: found.checked,
                problems: found.problems().into_iter().map(Into::into).collect(),
                notes: found.notes().iter().map(Into::into).collect(),
                error: roster.err().map(ToString::to_string),
            },
            omni: found.omni.as_ref().map(|omni| OmniDoc {
                base_url: seen.map(|seen| seen.base_url.as_str()),
                users: seen.map(|seen| seen.users),
                attributes: seen.and_then(|seen| seen.attributes),
                error: omni.as_ref().err().map(ToString::to_string),
            }),
            machine: &found.host,
        }
    }
}
