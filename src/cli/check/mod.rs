//! `check`: settings, roster, connection, rights. It reads only.

use super::{Exit, out};
use crate::desired::{self, Desired, Problem, SourceError};
use crate::metrics::Metrics;
use crate::omni::Client;
use crate::reconcile::RunError;
use crate::reconcile::render::{ProblemDoc, plural};
use crate::settings::Settings;
use crate::user::Schema;
use serde::Serialize;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The roster, a file or a folder [default: source.path]
    csv: Option<PathBuf>,
    /// Doesn't ask Omni: column names and types can't be checked then
    #[arg(long)]
    offline: bool,
    /// Prints what was found as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let target = super::target(&settings, arguments.csv)?;
    let omni = match arguments.offline {
        true => None,
        false => Some(look_at_omni(&settings).await),
    };
    let (schema, omni) = match omni {
        Some(Ok((schema, seen))) => (schema, Some(Ok(seen))),
        Some(Err(error)) => (Schema::unknown(), Some(Err(error))),
        None => (Schema::unknown(), None),
    };
    // A wrong setting is not something that was found: it has an exit code of its own.
    if let Some(Err(RunError::Settings(error))) = omni {
        return Err(error.into());
    }
    let roster = desired::read_settled(
        &settings.source,
        &target.path,
        target.is_source,
        &schema,
        None,
    )
    .await;
    let found = Found {
        roster: &roster,
        omni: &omni,
        checked: schema.is_known(),
    };
    if arguments.json {
        out::result(&(serde_json::to_string_pretty(&found.doc())? + "\n"));
    } else {
        found.show();
    }
    Ok(if found.is_fine() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// What Omni says, with each key.
struct Seen {
    base_url: String,
    keys: usize,
    users: u64,
    attributes: Option<usize>,
}

async fn look_at_omni(settings: &Settings) -> Result<(Schema, Seen), RunError> {
    let base_url = settings.omni.base_url()?.to_string();
    let keys = settings.omni.keys.read()?;
    let client = Client::new(&settings.omni, Metrics::new())?;
    let reader = client.reader(&CancellationToken::new());
    let mut users = 0;
    for key in keys.each() {
        client.begin(&key);
        users = reader.page(1).await?.total;
    }
    let definitions = reader.definitions().await?.into_schema();
    let attributes = definitions
        .is_known()
        .then(|| definitions.definitions().count());
    Ok((
        definitions,
        Seen {
            base_url,
            keys: keys.as_slice().len(),
            users,
            attributes,
        },
    ))
}

struct Found<'a> {
    roster: &'a Result<Desired, SourceError>,
    /// `None` where Omni was not asked.
    omni: &'a Option<Result<Seen, RunError>>,
    /// Whether columns and types were checked.
    checked: bool,
}

impl Found<'_> {
    fn problems(&self) -> Vec<&Problem> {
        match self.roster {
            Ok(desired) => desired.problems(),
            Err(error) => error.problems().iter().collect(),
        }
    }

    fn is_fine(&self) -> bool {
        self.roster.is_ok() && self.problems().is_empty() && !matches!(self.omni, Some(Err(_)))
    }

    fn show(&self) {
        out::result("settings    fine\n");
        self.show_omni();
        match self.roster {
            Ok(desired) => {
                let rows = plural(usize::try_from(desired.rows).unwrap_or(usize::MAX), "row");
                let problems = plural(self.problems().len(), "problem");
                out::result(&format!("roster      {rows}, {problems}\n"));
                desired
                    .notes
                    .iter()
                    .for_each(|note| out::warning(&note.to_string()));
                self.problems()
                    .iter()
                    .for_each(|problem| out::problem(&problem.to_string()));
            }
            Err(error) => {
                out::result("roster      can't be used\n");
                out::problem(&error.to_string());
            }
        }
    }

    fn show_omni(&self) {
        match self.omni {
            None => out::result("omni        not asked (--offline)\n"),
            Some(Err(error)) => {
                out::result("omni        can't be used\n");
                out::problem(&error.to_string());
            }
            Some(Ok(seen)) => {
                let Seen {
                    base_url,
                    keys,
                    users,
                    attributes,
                } = seen;
                let keys = plural(*keys, "key");
                out::result(&format!(
                    "omni        {base_url} answers: {keys}, {users} users; that the key may write \
                     is only seen when it does\n"
                ));
                match attributes {
                    Some(count) => out::result(&format!("attributes  {count} defined\n")),
                    None => {
                        out::warning("Omni does not show its attribute definitions to this key")
                    }
                }
            }
        }
        if !self.checked {
            out::warning("columns and types were not checked against Omni's definitions");
        }
    }

    fn doc(&self) -> CheckDoc<'_> {
        let desired = self.roster.as_ref().ok();
        let seen = self.omni.as_ref().and_then(|omni| omni.as_ref().ok());
        CheckDoc {
            ok: self.is_fine(),
            roster: RosterDoc {
                rows: desired.map(|desired| desired.rows),
                checked_against_definitions: self.checked,
                problems: self.problems().into_iter().map(Into::into).collect(),
                notes: desired
                    .map(|desired| desired.notes.iter().map(Into::into).collect())
                    .unwrap_or_default(),
                error: self.roster.as_ref().err().map(ToString::to_string),
            },
            omni: self.omni.as_ref().map(|omni| OmniDoc {
                base_url: seen.map(|seen| seen.base_url.as_str()),
                users: seen.map(|seen| seen.users),
                attributes: seen.and_then(|seen| seen.attributes),
                error: omni.as_ref().err().map(ToString::to_string),
            }),
        }
    }
}

#[derive(Serialize)]
struct CheckDoc<'a> {
    ok: bool,
    roster: RosterDoc<'a>,
    omni: Option<OmniDoc<'a>>,
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
struct OmniDoc<'a> {
    base_url: Option<&'a str>,
    users: Option<u64>,
    attributes: Option<usize>,
    error: Option<String>,
}
