//! The command line: arguments, one file per command, exit codes.
//!
//! The rules of the room:
//!
//! - What a command is for goes to standard output; what is said about it goes to standard error.
//! - Every end has an exit code ([`Exit`]), the highest of all that apply.
//! - Errors are told once, here, with their whole chain and never as a Debug dump.
//!
//! To add a command: a file with `pub(super) async fn run(…) -> anyhow::Result<Exit>`, a variant in
//! `Command`, an arm in `dispatch`, a test in `tests/cli/`, a line in the README.

mod apply;
mod approve;
mod check;
#[cfg(feature = "sandbox")]
mod demo;
mod exit;
mod explain;
mod export;
mod health;
mod history;
mod manual;
mod out;
mod plan;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod undo;

pub use exit::Exit;

use crate::run::{RunError, Target};
use crate::settings::{self, Environment, KeyError, Settings, SettingsError};
use crate::shutdown::Signals;
use crate::state::{Access, StateDb, StateLock};
use crate::telemetry::{self, FilterError};
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Keeps the users of an Omni organisation and their attributes as a CSV says.
#[derive(Debug, Parser)]
#[command(name = "omni-user-sync", version = crate::version::VERSION, arg_required_else_help = true, propagate_version = true)]
struct Arguments {
    /// The settings file [default: $OMNI_USER_SYNC_CONFIG, else
    /// /etc/omni-user-sync/config.toml if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// What is logged, such as `debug` or `omni_user_sync=debug,warn` [default: log.filter for the
    /// daemon, `warn` for the other commands]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon: it watches the roster and keeps Omni as it says
    #[command(
        after_help = "Examples:\n  omni-user-sync --config /etc/omni-user-sync/config.toml run\n  omni-user-sync run --plan-only        # only watches and tells"
    )]
    Run(run::Arguments),
    /// Does one run now
    #[command(
        after_help = "Examples:\n  omni-user-sync apply users.csv        # shows the plan, asks, and carries it out\n  omni-user-sync apply --yes            # source.path, without a question"
    )]
    Apply(apply::Arguments),
    /// Shows what a run would change, how many requests it takes and how long; writes nothing
    #[command(
        after_help = "Examples:\n  omni-user-sync plan users.csv\n  omni-user-sync plan --json | jq .counts"
    )]
    Plan(plan::Arguments),
    /// Looks at settings, roster, connection and rights; writes nothing
    #[command(after_help = "Examples:
  omni-user-sync check users.csv
  omni-user-sync check --offline        # without asking Omni

Places: above a line, `users.csv:2:8` is the line and the character in it, as the line is shown. In
JSON (`column`), the log and other commands, `users.csv:2:3 (seats)` is the line and the cell.")]
    Check(check::Arguments),
    /// Writes the organisation's users as a roster
    #[command(after_help = "Examples:\n  omni-user-sync export -o users.csv")]
    Export(export::Arguments),
    /// Tells all about one user: where the roster names them, what Omni has, what would be done, and
    /// what was
    #[command(after_help = "Examples:\n  omni-user-sync explain ann@example.com")]
    Explain(explain::Arguments),
    /// Lists the runs, or tells of one with its changes
    #[command(
        after_help = "Examples:\n  omni-user-sync history                # the last 50 runs\n  omni-user-sync history latest         # the last one, change by change\n  omni-user-sync history 12 --undo > undo.csv"
    )]
    History(history::Arguments),
    /// Lets what a run held through, once
    #[command(
        after_help = "Examples:\n  omni-user-sync approve latest --dry   # whom it would let through\n  omni-user-sync approve 12"
    )]
    Approve(approve::Arguments),
    /// Asks a running daemon whether it is ready
    #[command(
        after_help = "Examples:\n  omni-user-sync health                 # asks serve.listen\n  omni-user-sync health http://127.0.0.1:8080"
    )]
    Health(health::Arguments),
    /// Serves a stand-in for Omni, to try things on
    #[cfg(feature = "sandbox")]
    #[command(
        after_help = "Examples:\n  omni-user-sync sandbox --users 200\n  OMNI_BASE_URL=http://127.0.0.1:<port> OMNI_API_KEY=sandbox-key omni-user-sync check users.csv"
    )]
    Sandbox(sandbox::Arguments),
    /// Shows the main job on an embedded stand-in for Omni; Ctrl-C ends it
    #[cfg(feature = "sandbox")]
    #[command(after_help = "Examples:\n  omni-user-sync demo")]
    Demo,
    /// Prints what a shell loads to complete commands
    #[command(
        after_help = "Examples:\n  omni-user-sync completions bash > /etc/bash_completion.d/omni-user-sync"
    )]
    Completions(manual::Arguments),
    /// Prints the manual, for `man`
    #[command(
        after_help = "Examples:\n  omni-user-sync man > omni-user-sync.1 && man ./omni-user-sync.1"
    )]
    Man,
}

/// Runs the command that the process's arguments name. At the first SIGTERM or SIGINT it stops
/// where that is safe; the second ends it at once.
pub async fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help) => {
            // Help and version are no errors; a broken pipe while printing them is none either.
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
        .unwrap_or_else(|error| tell(&error));
    if out::was_cut_off() {
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
            let settings = logged(load()?, log)?;
            run::run(settings, &arguments).await
        }
        #[cfg(feature = "sandbox")]
        Command::Demo => demo::run(log).await,
        Command::Health(arguments) => health::run(load, arguments).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(arguments) => until_stopped(|stop| sandbox::run(arguments, stop)).await,
        Command::Completions(arguments) => manual::completions(Arguments::command(), &arguments),
        Command::Man => manual::man(&Arguments::command()),
        Command::Apply(arguments) => {
            let settings = quiet(load()?, log)?;
            until_stopped(|stop| apply::run(settings, arguments, stop)).await
        }
        Command::Plan(arguments) => plan::run(quiet(load()?, log)?, arguments).await,
        Command::Check(arguments) => check::run(quiet(load()?, log)?, arguments).await,
        Command::Export(arguments) => export::run(quiet(load()?, log)?, arguments).await,
        Command::Explain(arguments) => explain::run(quiet(load()?, log)?, arguments).await,
        Command::History(arguments) => history::run(quiet(load()?, log)?, arguments).await,
        Command::Approve(arguments) => approve::run(quiet(load()?, log)?, arguments).await,
    }
}

/// Commands that tell what they do themselves log only what is wrong.
fn quiet(settings: Settings, log: Option<&str>) -> anyhow::Result<Settings> {
    let own = format!("warn,{}=off", crate::run::CHANGES);
    logged(settings, Some(log.unwrap_or(&own)))
}

/// Starts the log, before which no secret was read.
fn logged(settings: Settings, filter: Option<&str>) -> anyhow::Result<Settings> {
    telemetry::init(&settings.log, filter)?;
    if let Err(error) = settings::disable_core_dumps() {
        warn!(%error, "should this crash, its core may hold the API key");
    }
    Ok(settings)
}

/// Runs a command that stops where that is safe at the first SIGTERM or SIGINT, and at once at the
/// second.
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

/// Tells an error, once, with its chain. Wrong settings have an exit code of their own.
#[must_use]
pub fn tell(error: &anyhow::Error) -> Exit {
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

/// The journal, open to write: nobody else may be running.
fn journal_to_write(settings: &Settings, what: &str) -> anyhow::Result<StateDb> {
    let base_url = settings.omni.base_url()?.to_string();
    let lock = StateLock::acquire(&settings.state.dir, what)?;
    Ok(StateDb::open(&base_url, Access::Write(lock))?)
}

/// The journal, open to read, beside whoever writes it.
fn journal_to_read(settings: &Settings) -> anyhow::Result<StateDb> {
    let base_url = settings.omni.base_url()?.to_string();
    Ok(StateDb::open(&base_url, Access::Read(&settings.state.dir))?)
}

/// The roster that a command is about: the one it names, else `source.path`.
fn target(settings: &Settings, named: Option<PathBuf>) -> Result<Target, SettingsError> {
    let is_same = |path: &PathBuf| {
        let whole = |path: &std::path::Path| std::fs::canonicalize(path).ok();
        let source = settings.source.path.as_deref().and_then(whole);
        source.is_some() && source == whole(path)
    };
    match named {
        Some(path) => Ok(Target {
            is_source: is_same(&path),
            path,
            stable_fingerprint: None,
        }),
        None => Target::source(settings, None),
    }
}
