//! `check`: settings, roster, connection, rights. It reads only.

mod doc;
mod host;
mod show;

use super::{Exit, out};
use crate::metrics::Metrics;
use crate::model::{Desired, Problem, Schema};
use crate::omni::Client;
use crate::roster::{self, SourceError};
use crate::run::RunError;
use crate::settings::{Settings, SourceSettings};
use crate::util::text::plural;
use annotate_snippets::{Level, Renderer};
use doc::CheckDoc;
use host::Host;
use std::path::{Path, PathBuf};
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
    let roster = roster::read_stable(
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
        host: host::look(&settings),
    };
    if arguments.json {
        out::result(&(serde_json::to_string_pretty(&CheckDoc::new(&found))? + "\n"));
    } else {
        found.show(&settings.source, &target.path);
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
    let client = Client::new(&settings.omni, &settings.state.dir, Metrics::new())?;
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
    /// What the machine has to offer.
    host: Host,
}

impl Found<'_> {
    fn problems(&self) -> Vec<&Problem> {
        match self.roster {
            Ok(desired) => desired.problems(),
            Err(error) => error.problems().iter().collect(),
        }
    }

    fn is_fine(&self) -> bool {
        self.roster.is_ok()
            && self.problems().is_empty()
            && self.host.problems.is_empty()
            && !matches!(self.omni, Some(Err(_)))
    }

    fn notes(&self) -> &[Problem] {
        self.roster.as_ref().map_or(&[], |desired| &desired.notes)
    }

    fn show(&self, settings: &SourceSettings, path: &Path) {
        out::result("settings    fine\n");
        self.show_host();
        self.show_omni();
        let (problems, notes) = (self.problems(), self.notes());
        out::result(&match self.roster {
            Ok(desired) => {
                let rows = plural(desired.rows, "row");
                let said = plural(problems.len(), "problem");
                match notes.len() {
                    0 => format!("roster      {rows}, {said}\n"),
                    count => format!("roster      {rows}, {said}, {}\n", plural(count, "note")),
                }
            }
            Err(_) => "roster      can't be used\n".to_owned(),
        });
        if let Err(error) = self.roster
            && problems.is_empty()
        {
            out::problem(&error.to_string());
        }
        let notes: Vec<_> = notes.iter().collect();
        for (level, problems) in [(Level::WARNING, notes), (Level::ERROR, problems)] {
            let renderer = Renderer::styled();
            if let Some(report) = show::report(level, &problems, settings, path, &renderer) {
                out::diagnostics(&report);
            }
        }
    }

    fn show_host(&self) {
        let Host { problems, warnings } = &self.host;
        let said = match problems.len() {
            0 => "fine".into(),
            count => plural(count, "problem"),
        };
        out::result(&format!("machine     {said}\n"));
        problems.iter().for_each(|problem| out::problem(problem));
        warnings.iter().for_each(|warning| out::warning(warning));
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
}
