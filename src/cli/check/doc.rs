//! The JSON document of `check --json`. Its shape is documented and stable: fields are only added.

use super::Checked;
use super::host::Host;
use crate::plan::render::ProblemDoc;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct CheckDoc<'a> {
    ok: bool,
    roster: RosterDoc<'a>,
    omni: Option<OmniDoc<'a>>,
    host: &'a Host,
}

#[derive(Serialize)]
struct RosterDoc<'a> {
    rows: Option<u64>,
    checked_against_definitions: bool,
    problems: Vec<ProblemDoc<'a>>,
    lints: Vec<ProblemDoc<'a>>,
    error: Option<String>,
}

#[derive(Serialize)]
struct OmniDoc<'a> {
    base_url: Option<&'a str>,
    users: Option<u64>,
    attributes: Option<usize>,
    error: Option<String>,
}

impl<'a> CheckDoc<'a> {
    pub(super) fn new(checked: &'a Checked<'_>) -> Self {
        let roster = checked.roster.as_ref();
        let omni = checked.connection.as_ref().map(|connection| {
            let ok = connection.as_ref().ok();
            OmniDoc {
                base_url: ok.map(|ok| ok.base_url.as_str()),
                users: ok.map(|ok| ok.users),
                attributes: ok.and_then(|ok| ok.attributes),
                error: connection.as_ref().err().map(ToString::to_string),
            }
        });
        Self {
            ok: checked.is_ok(),
            roster: RosterDoc {
                rows: roster.ok().map(|desired| desired.rows),
                checked_against_definitions: checked.with_definitions,
                problems: checked.problems().into_iter().map(Into::into).collect(),
                lints: checked.lints().iter().map(Into::into).collect(),
                error: roster.err().map(ToString::to_string),
            },
            omni,
            host: &checked.host,
        }
    }
}
