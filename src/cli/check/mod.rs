//! `check`: checks settings, roster, host, connection and permissions. It only reads, except with `--probe`.

mod doc;
mod host;
mod learned;
mod names;
mod probe;
mod show;

use super::roster_input::RosterInput;
use super::{Exit, out};
use crate::metrics::Metrics;
use crate::model::{Desired, Email, Problem, Readings, Schema};
use crate::omni::{Client, OmniError, Reader, Whoami, diagnose};
use crate::plan::shadowed_files;
use crate::roster::{self, SourceError};
use crate::run::{RunError, check_place};
use crate::settings::{Settings, SourceSettings};
use crate::state::{Access, StateDb};
use crate::util::text::plural;
use annotate_snippets::{Level, Renderer};
use doc::CheckDoc;
use host::Host;
use learned::Learned;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Roster: a file or folder, or `-` for standard input [default: source.path]
    csv: Option<PathBuf>,
    /// Skip checks against Omni, including those of column names and types
    #[arg(long)]
    offline: bool,
    /// Learn how this organisation answers where Omni's documents are unclear: creates a user of this email, changes it
    /// and deletes it
    #[arg(long, value_name = "EMAIL", value_parser = email, conflicts_with_all = ["csv", "offline"])]
    probe: Option<Email>,
    /// Skip the confirmation prompt of --probe
    #[arg(long, short, requires = "probe")]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn email(text: &str) -> Result<Email, String> {
    Email::parse(text).map_err(|error| error.to_string())
}

pub(super) async fn run(
    settings: Settings,
    arguments: Arguments,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    if let Some(email) = arguments.probe {
        return probe::run(settings, email, arguments.yes, arguments.json, stop).await;
    }
    let input = RosterInput::of(&settings, arguments.csv)?;
    let target = &input.target;
    let (schema, connection) = if arguments.offline {
        (Schema::unknown(), None)
    } else {
        match connect(&settings).await {
            Ok((schema, connection)) => (schema, Some(Ok(connection))),
            // Invalid settings are not a result of the check: they have their own exit code.
            Err(RunError::Settings(error)) => return Err(error.into()),
            Err(error) => (Schema::unknown(), Some(Err(error))),
        }
    };
    let mut roster = roster::read_stable(
        &settings.source,
        &target.path,
        target.is_source,
        &schema,
        None,
    )
    .await;
    let mut host = host::check(&settings);
    if target.is_source {
        host.problems.extend(moved(&settings, &target.path).await);
        if let Ok(desired) = &mut roster {
            let shadowed = shadowed(&settings, desired).await;
            desired.bad_rows.extend(shadowed);
        }
    }
    if let Ok(desired) = &mut roster {
        match &connection {
            Some(Ok(_)) => host
                .warnings
                .extend(names::check(&settings, desired).await?),
            _ => names::check_offline(&settings, desired),
        }
    }
    let learned = Learned::load(&settings, &schema, roster.as_mut().ok()).await;
    host.warnings.extend(learned.warnings);
    let checked = Checked {
        roster: &roster,
        readings: learned.readings,
        connection: &connection,
        with_definitions: schema.is_known(),
        host,
    };
    if arguments.json {
        out::result(&(serde_json::to_string_pretty(&CheckDoc::new(&checked))? + "\n"));
    } else {
        checked.show(&settings.source, &target.path);
    }
    Ok(if checked.is_ok() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

fn open_state(settings: &Settings) -> Option<StateDb> {
    let base_url = settings.omni.base_url().ok()?.to_string();
    StateDb::open(&base_url, Access::Read(&settings.state.dir)).ok()
}

/// The problem of a file dated in the future that hides later ones.
async fn shadowed(settings: &Settings, desired: &Desired) -> Option<Problem> {
    let seen = open_state(settings)?.seen_files().await.ok()?;
    shadowed_files(desired, &seen, SystemTime::now())
}

/// The problem of a roster that lies on another file system than the last accepted one.
async fn moved(settings: &Settings, path: &Path) -> Option<String> {
    let state = open_state(settings)?;
    match check_place(&state, path, None, &CancellationToken::new()).await {
        Err(error @ RunError::Source(SourceError::Moved { .. })) => Some(error.to_string()),
        _ => None,
    }
}

/// The warning if Omni does not show schedules.
const NO_SCHEDULES: &str = "Omni does not show schedules to this key (403 or 404), so removals may delete \
    schedules that were not shown; use an organisation key of an admin";

/// A connection that works, with all keys.
pub(super) struct ConnectionCheck {
    base_url: String,
    keys: Vec<KeyCheck>,
    pub(super) users: u64,
    pub(super) attributes: Option<usize>,
    /// Whether Omni shows schedules, which are read before removals.
    pub(super) schedules: bool,
}

impl ConnectionCheck {
    /// The email of the first key's user, if it can be read.
    pub(super) fn own_email(&self) -> Option<&Email> {
        self.keys.first()?.email.as_ref()
    }
}

/// What Omni says of one key.
struct KeyCheck {
    whoami: Whoami,
    /// The email of the key's user, if it can be read.
    email: Option<Email>,
}

impl KeyCheck {
    /// Asks Omni about the key in use.
    async fn of(reader: &Reader) -> Result<Self, OmniError> {
        let whoami = reader.whoami().await?;
        let mut email = None;
        if let Whoami::Known(identity) = &whoami {
            for id in &identity.user_ids {
                if email.is_none() {
                    let user = reader.get(id).await.ok().flatten();
                    email = user.map(|user| user.email);
                }
            }
        }
        Ok(Self { whoami, email })
    }

    /// The kind of key and its user.
    fn describe(&self) -> String {
        let Whoami::Known(identity) = &self.whoami else {
            return "unknown kind of key (this version of Omni does not report it)".into();
        };
        let of = match &self.email {
            Some(email) => format!(" of {email}"),
            None => String::new(),
        };
        let role = match identity.is_admin {
            true => "organisation admin",
            false => "not an organisation admin",
        };
        format!("{}{of} ({role})", identity.scope)
    }
}

/// Connects with each key.
pub(super) async fn connect(settings: &Settings) -> Result<(Schema, ConnectionCheck), RunError> {
    let base_url = settings.omni.base_url()?.to_string();
    let keys = settings.omni.keys.read()?;
    let client = Client::new(&settings.omni, &settings.state.dir, Metrics::new())?;
    let reader = client.reader(&CancellationToken::new());
    let (mut users, mut checks) = (0, Vec::new());
    for key in keys.each() {
        client.begin(&key);
        users = match reader.page(1).await {
            Ok(page) => page.total,
            Err(error) => return Err(diagnose(&reader, &key, error).await.into()),
        };
        checks.push(KeyCheck::of(&reader).await?);
    }
    let schema = reader.definitions().await?.into_schema();
    let attributes = schema.is_known().then(|| schema.definitions().count());
    let schedules = reader.shows_schedules().await?;
    let connection = ConnectionCheck {
        base_url,
        keys: checks,
        users,
        attributes,
        schedules,
    };
    Ok((schema, connection))
}

/// The results of the check.
struct Checked<'a> {
    roster: &'a Result<Desired, SourceError>,
    /// `None` if Omni was not contacted.
    connection: &'a Option<Result<ConnectionCheck, RunError>>,
    /// Whether columns and types were checked.
    with_definitions: bool,
    /// What probes have learned.
    readings: Readings,
    host: Host,
}

impl Checked<'_> {
    fn problems(&self) -> Vec<&Problem> {
        match self.roster {
            Ok(desired) => desired.problems(),
            Err(error) => error.problems().iter().collect(),
        }
    }

    fn is_ok(&self) -> bool {
        self.roster.is_ok()
            && self.problems().is_empty()
            && self.host.problems.is_empty()
            && !matches!(self.connection, Some(Err(_)))
    }

    fn lints(&self) -> &[Problem] {
        self.roster.as_ref().map_or(&[], |desired| &desired.lints)
    }

    fn show(&self, settings: &SourceSettings, path: &Path) {
        out::result("settings:   OK\n");
        self.show_host();
        self.show_connection();
        if self.readings != Readings::default() {
            out::result(&format!(
                "readings, as probed:\n{}",
                probe::text(&self.readings)
            ));
        }
        let (problems, lints) = (self.problems(), self.lints());
        out::result(&match self.roster {
            Ok(desired) => {
                let rows = plural(usize::try_from(desired.rows).unwrap_or(usize::MAX), "row");
                let problems = plural(problems.len(), "problem");
                match lints.len() {
                    0 => format!("roster:     {rows}, {problems}\n"),
                    count => format!(
                        "roster:     {rows}, {problems}, {}\n",
                        plural(count, "lint")
                    ),
                }
            }
            Err(_) => "roster:     failed\n".to_owned(),
        });
        self.show_files_beside();
        if let Err(error) = self.roster
            && problems.is_empty()
        {
            out::problem(&error.to_string());
        }
        let lints: Vec<_> = lints.iter().collect();
        for (level, problems) in [(Level::WARNING, lints), (Level::ERROR, problems)] {
            let renderer = Renderer::styled();
            if let Some(report) = show::report(level, &problems, settings, path, &renderer) {
                out::diagnostics(&report);
            }
        }
    }

    /// The numbers of rows of `source.groups` and `source.roles`, if they belong to the roster.
    fn rows_beside(&self) -> (Option<u64>, Option<u64>) {
        let desired = self.roster.as_ref().ok();
        let groups = desired.and_then(|desired| desired.memberships.count);
        let roles = desired.and_then(|desired| desired.roles.as_ref()?.count);
        (groups, roles)
    }

    fn show_files_beside(&self) {
        let Ok(desired) = self.roster else {
            return;
        };
        let (groups, roles) = self.rows_beside();
        let has_groups = groups.is_some() || desired.memberships.unreadable.is_some();
        let files = [
            (has_groups, "groups:     ", groups),
            (desired.roles.is_some(), "roles:      ", roles),
        ];
        for (_, label, rows) in files.into_iter().filter(|(is_set, ..)| *is_set) {
            let rows = rows.map_or_else(|| "failed".into(), |rows| plural(rows, "row"));
            out::result(&format!("{label}{rows}\n"));
        }
    }

    fn show_host(&self) {
        let Host { problems, warnings } = &self.host;
        let result = match problems.len() {
            0 => "OK".into(),
            count => plural(count, "problem"),
        };
        out::result(&format!("host:       {result}\n"));
        problems.iter().for_each(|problem| out::problem(problem));
        warnings.iter().for_each(|warning| out::warning(warning));
    }

    fn show_connection(&self) {
        match self.connection {
            None => out::result("connection: not checked (--offline)\n"),
            Some(Err(error)) => {
                out::result("connection: failed\n");
                out::problem(&error.to_string());
            }
            Some(Ok(connection)) => {
                let ConnectionCheck {
                    base_url,
                    keys,
                    users,
                    attributes,
                    schedules,
                } = connection;
                let count = plural(keys.len(), "key");
                out::result(&format!(
                    "connection: OK ({base_url}, {count}, {}; write permission can't be \
                     checked without writing)\n",
                    plural(*users, "user")
                ));
                for (at, key) in keys.iter().enumerate() {
                    out::result(&format!("key {}:      {}\n", at + 1, key.describe()));
                }
                match attributes {
                    Some(count) => out::result(&format!("attributes: {count} defined\n")),
                    None => out::warning("this key can't read the attribute definitions of Omni"),
                }
                if !schedules {
                    out::warning(NO_SCHEDULES);
                }
            }
        }
        if !self.with_definitions {
            out::warning("columns and types were not checked against the attribute definitions");
        }
    }
}
