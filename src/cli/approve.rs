//! `approve`: approves the changes that a run held.

use super::history::held_text;
use super::{Exit, out};
use crate::model::{Counts, Mode, RunNumber, RunRef, Subject};
use crate::plan::render::counted;
use crate::settings::Settings;
use crate::state::{Access, Approval, ApprovalScope, StateDb};
use crate::util::text::plural;
use chrono::{SecondsFormat, Utc};
use std::str::FromStr;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Run that held the changes: its number, or `latest` (the last run that planned the whole roster)
    run: RunName,
    /// Approve only the changes of this user (an email), or the roles of this group (`group:<name>`)
    #[arg(long, value_name = "SUBJECT", value_parser = Subject::known)]
    only: Option<Subject>,
    /// Skip the confirmation prompt; required without a terminal
    #[arg(long, short)]
    yes: bool,
    /// Show the changes without approving them
    #[arg(long, alias = "dry")]
    dry_run: bool,
    /// End the approval of changes that are not applied yet
    #[arg(long, conflicts_with_all = ["dry_run", "only"])]
    revoke: bool,
}

impl Arguments {
    /// Whether no confirmation is needed, or somebody can give it.
    pub(super) fn is_confirmable(&self) -> bool {
        self.yes || self.dry_run || self.revoke || out::can_ask()
    }
}

/// A run on the command line.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunName(pub(super) RunRef);

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(number) => Ok(Self(RunRef::Number(RunNumber(number)))),
            Err(_) if text.eq_ignore_ascii_case("latest") => Ok(Self(RunRef::Latest)),
            Err(_) => Err("expected a run number or `latest`".into()),
        }
    }
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let base_url = settings.omni.base_url()?.to_string();
    let state = StateDb::open(&base_url, Access::Approve(&settings.state.dir))?;
    let run = match arguments.run.0 {
        // The last run with a plan: a running or failed run does not say what is held now, and changes
        // that an earlier run held may come from a roster that was wrong.
        RunRef::Latest => match state.last_held().await? {
            Some(last) => RunRef::Number(last.run),
            None => RunRef::Latest,
        },
        numbered @ RunRef::Number(_) => numbered,
    };
    if arguments.revoke {
        let (run, revoked) = state.revoke(run, Utc::now()).await?;
        let changes = plural(revoked, "change");
        out::note(&format!("Approval of {changes} of run {run} revoked."));
        return Ok(Exit::Ok);
    }
    let only = arguments.only.clone();
    let scope = ApprovalScope { run, only };
    let by = approver();
    let shown = state.approve(scope.clone(), &by, Utc::now(), true).await?;
    show(&shown);
    if arguments.dry_run {
        out::note(&format!(
            "Dry run: {} would be approved.",
            described(&shown)
        ));
        return Ok(Exit::Ok);
    }
    let question = format!("Approve {} in {base_url}?", described(&shown));
    if !arguments.yes && !out::ask(&question) {
        out::note("nothing was approved");
        return Ok(Exit::Failed);
    }
    let run = RunRef::Number(shown.run);
    let scope = ApprovalScope { run, ..scope };
    let is_part = scope.only.is_some();
    let approval = state.approve(scope, &by, Utc::now(), false).await?;
    report(&approval, settings.policy.mode);
    if is_part {
        out::note(
            "The next run applies the other held changes too if they alone do not exceed the limit.",
        );
    }
    Ok(Exit::Ok)
}

/// Prints the changes with their fields, and what holds them.
fn show(approval: &Approval) {
    out::result(&approval.held.iter().map(held_text).collect::<String>());
}

/// `9 changes of run 7 (8 to delete, 1 to update)`, or the place of the roster.
fn described(approval: &Approval) -> String {
    let Approval { run, place, .. } = approval;
    let changes = approval.changes();
    match place {
        Some(place) => format!("the roster on {place} (run {run})"),
        None => {
            let counts = Counts::of(changes.iter().map(|change| change.operation));
            let changes = plural(changes.len(), "change");
            format!("{changes} of run {run} ({})", counted(&counts))
        }
    }
}

fn report(approval: &Approval, mode: Mode) {
    if let Some(place) = &approval.place {
        out::note(&format!("The roster on {place} is accepted from now on."));
        return;
    }
    let until = approval.expires.to_rfc3339_opts(SecondsFormat::Secs, true);
    let next = match mode {
        Mode::Apply => {
            "A running daemon applies them within 5 s; without a daemon, run `omni-user-sync apply` again with the same roster."
        }
        Mode::DryRun => {
            "policy.mode is \"dry-run\", so they are applied only after you change it to \"apply\"."
        }
    };
    let (changes, run) = (plural(approval.changes().len(), "change"), approval.run);
    out::note(&format!(
        "{changes} of run {run} approved once, until {until}. {next}"
    ));
}

/// The approver for the history: the user behind sudo, else the user.
pub(super) fn approver() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
