//! The JSON document of `check --json`. Its shape is documented and stable: fields are only added.

use super::host::Host;
use super::{Checked, KeyCheck};
use crate::model::{Email, Readings};
use crate::omni::Whoami;
use crate::plan::ProblemDoc;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct CheckDoc<'a> {
    ok: bool,
    roster: RosterDoc<'a>,
    omni: Option<OmniDoc<'a>>,
    host: &'a Host,
    /// What probes have learned.
    readings: &'a Readings,
}

#[derive(Serialize)]
struct RosterDoc<'a> {
    rows: Option<u64>,
    /// Of `source.groups` and `source.roles`.
    group_rows: Option<u64>,
    role_rows: Option<u64>,
    checked_against_definitions: bool,
    problems: Vec<ProblemDoc<'a>>,
    lints: Vec<ProblemDoc<'a>>,
    error: Option<String>,
}

#[derive(Serialize)]
struct OmniDoc<'a> {
    base_url: Option<&'a str>,
    users: Option<u64>,
    keys: Vec<KeyDoc<'a>>,
    attributes: Option<usize>,
    /// Whether Omni shows schedules; `None` if there is no connection.
    schedules: Option<bool>,
    error: Option<String>,
}

/// A key, in the order of the key file.
#[derive(Serialize)]
struct KeyDoc<'a> {
    /// `organisation` or `personal`; null if Omni does not say.
    scope: Option<&'static str>,
    organisation_admin: Option<bool>,
    user: Option<&'a str>,
}

impl<'a> From<&'a KeyCheck> for KeyDoc<'a> {
    fn from(key: &'a KeyCheck) -> Self {
        let identity = match &key.whoami {
            Whoami::Known(identity) => Some(identity),
            Whoami::Refused | Whoami::Unknown => None,
        };
        Self {
            scope: identity.map(|identity| identity.scope.as_str()),
            organisation_admin: identity.map(|identity| identity.is_admin),
            user: key.email.as_ref().map(Email::as_str),
        }
    }
}

impl<'a> CheckDoc<'a> {
    pub(super) fn new(checked: &'a Checked<'_>) -> Self {
        let roster = checked.roster.as_ref();
        let (group_rows, role_rows) = checked.rows_beside();
        let omni = checked.connection.as_ref().map(|connection| {
            let ok = connection.as_ref().ok();
            OmniDoc {
                base_url: ok.map(|ok| ok.base_url.as_str()),
                users: ok.map(|ok| ok.users),
                keys: ok
                    .map_or(&[][..], |ok| &ok.keys)
                    .iter()
                    .map(Into::into)
                    .collect(),
                attributes: ok.and_then(|ok| ok.attributes),
                schedules: ok.map(|ok| ok.schedules),
                error: connection.as_ref().err().map(ToString::to_string),
            }
        });
        Self {
            ok: checked.is_ok(),
            roster: RosterDoc {
                rows: roster.ok().map(|desired| desired.rows),
                group_rows,
                role_rows,
                checked_against_definitions: checked.with_definitions,
                problems: checked.problems().into_iter().map(Into::into).collect(),
                lints: checked.lints().iter().map(Into::into).collect(),
                error: roster.err().map(ToString::to_string),
            },
            omni,
            host: &checked.host,
            readings: &checked.readings,
        }
    }
}
