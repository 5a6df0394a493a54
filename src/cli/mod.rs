//! The command line: arguments, one file per command, exit codes.
//!
//! Rules of this module:
//!
//! - Results go to standard output; messages go to standard error.
//! - Every command ends with an exit code ([`Exit`]), the highest of those that apply.
//! - Errors are printed once, here, with their chain of causes and never as a Debug dump.
//!
//! To add a command: a file with `pub(super) async fn run(…) -> anyhow::Result<Exit>`, a variant in
//! `Command`, an arm in `dispatch`, a test, and a line in the documentation.

mod apply;
mod apply_doc;
mod approve;
mod check;
mod completions;
mod config;
#[cfg(feature = "sandbox")]
mod demo;
mod exit;
mod explain;
mod export;
mod health;
mod history;
mod init;
mod man;
mod organisation;
mod out;
mod pause;
mod plan;
mod roster_input;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod status;

pub use exit::Exit;

use crate::omni::ATTEMPTS;
use crate::run::RunError;
use crate::settings::{self, Environment, KeyError, LogFormat, Settings, SettingsError};
use crate::shutdown::Signals;
use crate::state::{Access, StateDb, StateLock};
use crate::telemetry::{self, FilterError};
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Sync users and user attributes in an Omni organisation from a CSV file.
#[derive(Debug, Parser)]
#[command(name = "omni-user-sync", version = crate::version::VERSION, arg_required_else_help = true, propagate_version = true)]
#[command(after_help = "Examples:
  omni-user-sync init    # asks for address, API key and roster, and writes a settings file
  omni-user-sync apply   # shows what would change, asks, and changes it

The roster is the CSV file, or the folder of CSV files, with the desired users. Held changes exceed a safety limit and \
wait for `approve`. Users are in quarantine for a while after their changes failed.")]
struct Arguments {
    /// Settings file [default: $OMNI_USER_SYNC_CONFIG, else /etc/omni-user-sync/config.toml if it
    /// exists]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: Option<PathBuf>,

    /// Log filter, such as `debug` or `omni_user_sync=debug,warn` [default: log.filter for the
    /// daemon, `warn` for other commands]
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        help_heading = "Global options"
    )]
    log: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon, which watches the roster and keeps Omni in sync with it
    #[command(
        after_help = "Examples:\n  omni-user-sync --config /etc/omni-user-sync/config.toml run\n  omni-user-sync run --dry-run          # reports changes, applies none"
    )]
    Run(run::Arguments),
    /// Apply the roster once: show what would change, ask, and change it in Omni
    #[command(
        after_help = "Examples:\n  omni-user-sync apply users.csv        # shows the plan, asks, and applies it\n  omni-user-sync apply --yes            # uses source.path, without a prompt\n  omni-user-sync apply --only ann@example.com"
    )]
    Apply(apply::Arguments),
    /// Show what `apply` would change, with the number of requests and the time; changes nothing in Omni
    #[command(
        after_help = "Examples:\n  omni-user-sync plan users.csv\n  omni-user-sync plan - < users.csv\n  omni-user-sync plan --json | jq .pending\n  omni-user-sync plan --markdown users.csv > plan.md   # for a pull request"
    )]
    Plan(plan::Arguments),
    /// Check settings, roster, host, connection and permissions; changes nothing in Omni, except with --probe
    #[command(after_help = "Examples:
  omni-user-sync check users.csv
  omni-user-sync check --offline        # without a connection to Omni
  omni-user-sync check --probe probe@example.com   # learns how Omni answers, on a user of its own

Positions: above an excerpt, `users.csv:2:8` is line 2, character 8. In JSON (`column`), in the log and \
in other commands, `users.csv:2:3 (seats)` is line 2, cell 3.")]
    Check(check::Arguments),
    /// Write the organisation's users as a roster, or its roles
    #[command(
        after_help = "Examples:\n  omni-user-sync export -o users.csv\n  omni-user-sync export -o users.csv --force   # overwrites the file\n  omni-user-sync export --roles -o roles.csv   # a file for source.roles"
    )]
    Export(export::Arguments),
    /// Explain one user: roster rows, state in Omni, next change, last changes
    #[command(after_help = "Examples:\n  omni-user-sync explain ann@example.com")]
    Explain(explain::Arguments),
    /// Show the last runs, what is pending and held, and whether the daemon runs; asks only the state database
    #[command(
        after_help = "Examples:\n  omni-user-sync status\n  omni-user-sync status --json | jq .held"
    )]
    Status(status::Arguments),
    /// Show the settings in force, as a settings file; secrets are masked
    #[command(
        after_help = "Examples:\n  omni-user-sync config\n  omni-user-sync config --origin        # where each setting comes from"
    )]
    Config(config::Arguments),
    /// Ask for address, API key and roster, test them, and write a settings file
    #[command(
        after_help = "Examples:\n  omni-user-sync init\n  omni-user-sync --config /etc/omni-user-sync/config.toml init

The settings file is FILE of --config, else /etc/omni-user-sync/config.toml for root, and omni-user-sync.toml in this \
folder for other users. The key is written beside it. Existing files are not overwritten."
    )]
    Init,
    /// Pause the daemon: it starts no runs until `resume`
    #[command(after_help = "Examples:\n  omni-user-sync pause\n  omni-user-sync pause --for 2h")]
    Pause(pause::Arguments),
    /// Resume the daemon after `pause`
    #[command(after_help = "Examples:\n  omni-user-sync resume")]
    Resume,
    /// List the runs, or show one run with its changes
    #[command(
        after_help = "Examples:\n  omni-user-sync history                # the last 50 runs\n  omni-user-sync history latest         # the last run with its changes\n  omni-user-sync history 12 --undo > undo.csv"
    )]
    History(history::Arguments),
    /// Approve changes that a safety limit holds, so that the next run applies them
    #[command(
        after_help = "Examples:\n  omni-user-sync approve latest --dry-run   # shows the changes, approves none\n  omni-user-sync approve 12                 # shows the changes, asks, and approves them\n  omni-user-sync approve 12 --only ann@example.com"
    )]
    Approve(approve::Arguments),
    /// Ask a running daemon whether it is ready, or alive
    #[command(
        after_help = "Examples:\n  omni-user-sync health                 # asks serve.listen\n  omni-user-sync health http://127.0.0.1:8080"
    )]
    Health(health::Arguments),
    /// Run a mock Omni server for tests and experiments
    #[cfg(feature = "sandbox")]
    #[command(
        after_help = "Examples:\n  omni-user-sync sandbox --users 200\n  OMNI_BASE_URL=http://127.0.0.1:<port> OMNI_API_KEY=sandbox-key omni-user-sync check users.csv"
    )]
    Sandbox(sandbox::Arguments),
    /// Run the daemon on an embedded mock Omni server with sample data; Ctrl-C stops it
    #[cfg(feature = "sandbox")]
    #[command(after_help = "Examples:\n  omni-user-sync demo")]
    Demo,
    /// Print a completion script for a shell
    #[command(
        after_help = "Examples:\n  omni-user-sync completions bash > /etc/bash_completion.d/omni-user-sync"
    )]
    Completions(completions::Arguments),
    /// Print the man page
    #[command(
        after_help = "Examples:\n  omni-user-sync man > omni-user-sync.1 && man ./omni-user-sync.1"
    )]
    Man,
}

/// Runs the command given by the process's arguments. The first SIGTERM or SIGINT stops it at a safe
/// point; the second ends it immediately.
pub async fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help) => {
            // Help and version are not errors, and neither is a broken pipe while printing them.
            let _ = help.print();
            return if help.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
        }
    };
    let exit = dispatch(arguments)
        .await
        .unwrap_or_else(|error| report_error(&error));
    if out::is_incomplete() {
        exit.max(Exit::Failed)
    } else {
        exit
    }
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments {
        config,
        log,
        command,
    } = arguments;
    let load = || settings::load(config.as_deref(), &Environment::of_process());
    let log = log.as_deref();
    match command {
        Command::Run(arguments) => {
            let load = || load().map(|settings| with_filter(settings, log));
            let settings = logged(load()?, log)?;
            let reload = || {
                let settings = load()?;
                telemetry::reload_filter(&settings.log, log)?;
                Ok(settings)
            };
            run::run(settings, &arguments, reload).await
        }
        #[cfg(feature = "sandbox")]
        Command::Demo => demo::run(log).await,
        Command::Health(arguments) => health::run(load, arguments).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(arguments) => {
            telemetry::init(&sandbox::log_settings(), log)?;
            until_stopped(|stop| sandbox::run(arguments, stop)).await
        }
        Command::Completions(arguments) => completions::run(Arguments::command(), &arguments),
        Command::Man => man::run(&Arguments::command()),
        // Before anything is read.
        Command::Apply(arguments) if !arguments.is_confirmable() => Ok(unconfirmed("apply")),
        Command::Approve(arguments) if !arguments.is_confirmable() => Ok(unconfirmed("approve")),
        Command::Apply(arguments) => {
            let settings = quiet(load()?, log)?;
            until_stopped(|stop| apply::run(settings, arguments, stop)).await
        }
        Command::Plan(arguments) => plan::run(quiet(load()?, log)?, arguments).await,
        Command::Check(arguments) => {
            let settings = quiet(load()?, log)?;
            until_stopped(|stop| check::run(settings, arguments, stop)).await
        }
        Command::Export(arguments) => export::run(quiet(load()?, log)?, arguments).await,
        Command::Explain(arguments) => explain::run(quiet(load()?, log)?, arguments).await,
        Command::Status(arguments) => status::run(quiet(load()?, log)?, arguments).await,
        Command::Config(arguments) => config::run(&load()?, &arguments),
        Command::Init => {
            let environment = Environment::of_process();
            until_stopped(|stop| init::run(config, &environment, log, stop)).await
        }
        Command::Pause(arguments) => pause::pause(quiet(load()?, log)?, arguments).await,
        Command::Resume => pause::resume(quiet(load()?, log)?).await,
        Command::History(arguments) => history::run(quiet(load()?, log)?, arguments).await,
        Command::Approve(arguments) => approve::run(quiet(load()?, log)?, arguments).await,
    }
}

/// The settings that the daemon shows, with the filter of the command line.
fn with_filter(mut settings: Settings, filter: Option<&str>) -> Settings {
    if let Some(filter) = filter {
        settings.overridden_by("--log", "log.filter", filter);
    }
    settings
}

/// Reports that a command needs a confirmation, and nobody can give it.
fn unconfirmed(command: &str) -> Exit {
    out::problem(&format!(
        "error: `{command}` needs confirmation: run it on a terminal, or add --yes"
    ));
    Exit::Usage
}

/// Commands print their own progress, so they log only warnings, errors and failed attempts to reach Omni; as text,
/// because the format of the settings is the daemon's.
fn quiet(mut settings: Settings, log: Option<&str>) -> anyhow::Result<Settings> {
    let own = format!("warn,{}=off,{ATTEMPTS}=info", crate::run::CHANGES);
    settings.log.format = LogFormat::Text;
    logged(settings, Some(log.unwrap_or(&own)))
}

/// Starts logging. No secret has been read before.
fn logged(settings: Settings, filter: Option<&str>) -> anyhow::Result<Settings> {
    telemetry::init(&settings.log, filter)?;
    if let Err(error) = settings::disable_core_dumps() {
        warn!(%error, "can't disable core dumps; a crash may write the API key to disk");
    }
    Ok(settings)
}

/// Runs a command that the first SIGTERM or SIGINT stops at a safe point, and the second immediately.
async fn until_stopped<F>(command: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<Exit>>,
{
    let stop = CancellationToken::new();
    let mut signals = Signals::listen()?;
    tokio::select! {
        ended = command(stop.clone()) => ended,
        () = signals.follow(&stop, || {}) => Ok(Exit::Failed),
    }
}

/// Prints an error with its chain of causes. Invalid settings have their own exit code.
#[must_use]
pub fn report_error(error: &anyhow::Error) -> Exit {
    out::problem(&format!("error: {error:#}"));
    let is_settings = error.chain().any(|cause| {
        cause.is::<SettingsError>()
            || cause.is::<KeyError>()
            || cause.is::<FilterError>()
            || matches!(
                cause.downcast_ref(),
                Some(RunError::Settings(_) | RunError::Keys(_))
            )
    });
    if is_settings {
        Exit::Usage
    } else {
        Exit::Failed
    }
}

/// The program as it was called, for commands to copy.
fn program() -> String {
    let name = std::env::args_os().next();
    let name = name.filter(|name| !name.is_empty());
    name.map_or_else(
        || "omni-user-sync".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The state database, opened for writing. Fails if another process writes.
fn writable_state(settings: &Settings, command: &str) -> anyhow::Result<StateDb> {
    let base_url = settings.omni.base_url()?.to_string();
    let lock = StateLock::acquire(&settings.state.dir, command)?;
    Ok(StateDb::open(&base_url, Access::Write(lock))?)
}

/// The state database, opened for reading. Another process may write at the same time.
fn readable_state(settings: &Settings) -> anyhow::Result<StateDb> {
    let base_url = settings.omni.base_url()?.to_string();
    Ok(StateDb::open(&base_url, Access::Read(&settings.state.dir))?)
}
