//! `apply`: one run now.

use super::apply_doc::ApplyDoc;
use super::approve::approver;
use super::roster_input::RosterInput;
use super::{Exit, out, plan};
use crate::metrics::Metrics;
use crate::model::{
    Change, ChangeOutcome, Counts, DesiredRoles, Email, Escaped, RunOptions, Trigger,
};
use crate::plan::PlanDoc;
use crate::plan::Verdict;
use crate::plan::render::{self, counted, how_to_approve};
use crate::run::{
    self, Applied, AppliedChange, Completion, Effects, Prepared, Progress, Reconciler, Run,
    RunError, RunOutcome, Stop, Target,
};
use crate::settings::Settings;
use crate::util::text::{about, plural};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Roster: a file or folder, or `-` for standard input [default: source.path]
    csv: Option<PathBuf>,
    /// Skip the confirmation prompt; required without a terminal
    #[arg(long, short)]
    yes: bool,
    /// Also retry changes in quarantine; implied on a terminal
    #[arg(long)]
    retry: bool,
    /// Apply only this user's changes, and look up no other user; all safety limits still apply
    #[arg(long, value_name = "EMAIL", value_parser = Email::known)]
    only: Option<Email>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Whether the run is confirmed, or somebody can confirm it.
    pub(super) fn is_confirmable(&self) -> bool {
        self.yes || out::can_ask()
    }
}

pub(super) async fn run(
    settings: Settings,
    arguments: Arguments,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let run = apply(settings, arguments, stop);
    run.instrument(run::span(None)).await
}

async fn apply(
    settings: Settings,
    arguments: Arguments,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let input = RosterInput::of(&settings, arguments.csv)?;
    let only = arguments.only;
    let target = Target {
        only: only.clone(),
        ..input.target.clone()
    };
    let max_age = settings.observe.max_age;
    let state = super::writable_state(&settings, "apply")?;
    let reconciler = Reconciler::new(settings.into(), Metrics::new(), state)?;
    let stop = Stop::when(&stop);
    let options = RunOptions {
        ignore_quarantine: arguments.retry || out::can_ask(),
        ..Trigger::Command.into()
    };
    let printer = Printer {
        reconciler: &reconciler,
        json: arguments.json,
    };
    let mut run = reconciler.begin(options, target).await?;
    let prepared = match reconciler.prepare(&mut run, &stop).await {
        Ok(prepared) => prepared,
        Err(error) => return Ok(printer.failed(run, error).await),
    };
    printer.plan(&prepared);
    let unnamed = only.filter(|email| !names(&prepared, email));
    if let Some(email) = &unnamed {
        out::problem(&format!("error: the roster has no row for {email}"));
    }
    let organisation = reconciler.observer().organisation();
    let asked = Instant::now();
    let answer = confirm(&prepared, &organisation, arguments.yes, max_age, &stop.now).await;
    run.leave_out(asked.elapsed());
    if answer == Confirmation::Decline {
        return printer.declined(run, &prepared, &stop).await;
    }
    let prepared = match accept(&reconciler, &mut run, prepared, answer, &stop).await {
        Ok(prepared) => prepared,
        Err(error) => return Ok(printer.failed(run, error).await),
    };
    let is_about_one = run.is_about_one();
    let (outcome, effects) = send(&reconciler, run, &prepared, &stop).await;
    let exit = printer.end(&outcome, Some(&prepared));
    if !is_about_one {
        reconciler.keep(prepared, effects, &outcome).await;
    }
    Ok(match unnamed {
        None => exit,
        Some(_) => exit.max(Exit::Failed),
    })
}

/// Whether the roster, `source.groups` or `source.roles` has a row about a user.
fn names(prepared: &Prepared, email: &Email) -> bool {
    let desired = &prepared.desired;
    let memberships = &desired.memberships;
    let in_roles = |roles: &DesiredRoles| {
        let unclear = roles.unclear.iter().map(|row| &row.subject);
        let mut subjects = roles.rows.iter().map(|row| &row.subject).chain(unclear);
        subjects.any(|subject| *subject == *email)
    };
    desired.users.contains_key(email)
        || desired.frozen.contains_key(email)
        || memberships.named_rows().any(|row| row.email == *email)
        || memberships.frozen.iter().any(|key| key.subject == *email)
        || desired.roles.as_ref().is_some_and(in_roles)
}

/// Sends the changes that passed, and ends the run.
async fn send(
    reconciler: &Reconciler,
    run: Run,
    prepared: &Arc<Prepared>,
    stop: &Stop,
) -> (RunOutcome, Effects) {
    let progress = ChangeProgress::new(prepared.assessment.verdict.passed().len());
    let applying = reconciler.apply(&run, prepared, stop, |applied| progress.advance(applied));
    let (applied, effects) = tokio::select! {
        applied = applying => applied,
        never = progress.follow(reconciler.observer().progress()) => match never {},
    };
    progress.finish();
    let outcome = reconciler.finish(run, Some(prepared), applied).await;
    // The plan has printed the earlier warnings.
    outcome
        .warnings
        .iter()
        .skip(prepared.assessment.warnings.len())
        .for_each(|warning| out::warning(warning));
    (outcome, effects)
}

/// Prints the plan and the result. With `--json` standard output has only the document.
struct Printer<'a> {
    reconciler: &'a Reconciler,
    json: bool,
}

impl Printer<'_> {
    fn plan(&self, prepared: &Prepared) {
        let view = self.reconciler.observer().view(prepared);
        plan::show_problems(view);
        let text = plan::painted(&render::text(view));
        match self.json {
            true => out::diagnostics(&text),
            false => out::result(&text),
        }
    }

    fn end(&self, outcome: &RunOutcome, prepared: Option<&Prepared>) -> Exit {
        print_summary(outcome);
        self.json(outcome, prepared);
        Exit::of_run(outcome)
    }

    fn json(&self, outcome: &RunOutcome, prepared: Option<&Prepared>) {
        if self.json {
            let observer = self.reconciler.observer();
            let plan = prepared.map(|prepared| PlanDoc::new(observer.view(prepared)));
            out::json(&ApplyDoc::new(outcome, plan));
        }
    }

    /// Ends a run of which nothing was sent because of an error.
    async fn failed(&self, run: Run, error: RunError) -> Exit {
        let nothing = Applied::nothing(error);
        let outcome = self.reconciler.finish(run, None, nothing).await;
        self.end(&outcome, None)
    }

    /// Ends a run that was not confirmed.
    async fn declined(&self, run: Run, prepared: &Prepared, stop: &Stop) -> anyhow::Result<Exit> {
        let completion = match stop.now.is_cancelled() {
            true => Completion::Stopped,
            false => Completion::Declined,
        };
        let nothing = Applied::nothing(completion);
        let outcome = self.reconciler.finish(run, None, nothing).await;
        self.json(&outcome, Some(prepared));
        if let Completion::Failed(error) = outcome.completion {
            return Err(error.into());
        }
        out::note("no changes were made");
        Ok(Exit::Failed)
    }
}

/// Approves what the run holds, if that was the answer, and accepts the roster.
async fn accept(
    reconciler: &Reconciler,
    run: &mut Run,
    prepared: Arc<Prepared>,
    answer: Confirmation,
    stop: &Stop,
) -> Result<Arc<Prepared>, RunError> {
    let prepared = match answer {
        Confirmation::Approve => {
            let by = approver();
            reconciler.approve_held(run, prepared, &by, stop).await?
        }
        Confirmation::Apply | Confirmation::Decline => prepared,
    };
    reconciler.accept(&prepared).await?;
    Ok(prepared)
}

/// The answer to the prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmation {
    Decline,
    Apply,
    /// Also what the plan holds.
    Approve,
}

/// Offers to approve what the plan holds, and prompts if there are changes. A late answer and a stop decline: after
/// `max_age` the observation is too old to write from. `--yes` never approves.
async fn confirm(
    prepared: &Prepared,
    organisation: &str,
    yes: bool,
    max_age: Duration,
    stop: &CancellationToken,
) -> Confirmation {
    let verdict = &prepared.assessment.verdict;
    let offer = offer(verdict, organisation).filter(|_| !yes && out::can_ask());
    let must_ask = !yes && !verdict.passed().is_empty();
    let ask = move || {
        let approves = offer.is_some_and(|offer| out::ask(&offer));
        match (approves, !must_ask || out::ask("Apply these changes?")) {
            (_, false) => Confirmation::Decline,
            (false, true) => Confirmation::Apply,
            (true, true) => Confirmation::Approve,
        }
    };
    let answer = tokio::select! {
        answer = out::answer(ask) => answer.unwrap_or(Confirmation::Decline),
        () = stop.cancelled() => Confirmation::Decline,
        () = tokio::time::sleep(max_age) => {
            out::problem("\nno answer in time, the plan may be outdated; run `apply` again");
            Confirmation::Decline
        }
    };
    if stop.is_cancelled() {
        return Confirmation::Decline;
    }
    answer
}

/// `Also approve the 9 held changes (9 to delete) in acme.omniapp.co?`
fn offer(verdict: &Verdict, organisation: &str) -> Option<String> {
    let held = verdict.held().iter().flat_map(|held| &held.changes);
    let counts = Counts::of(held.map(Change::operation));
    (counts.total() > 0).then(|| {
        let (changes, counts) = (plural(counts.total(), "held change"), counted(&counts));
        format!("Also approve the {changes} ({counts}) in {organisation}?")
    })
}

/// The interval of new texts beside the progress bar.
const REFRESH: Duration = Duration::from_millis(250);

/// A progress bar with the time left on a terminal, one line per change elsewhere.
struct ChangeProgress {
    bar: Option<ProgressBar>,
}

impl ChangeProgress {
    fn new(changes: usize) -> Self {
        let shown = changes > 0 && std::io::stderr().is_terminal();
        let style = "{bar:30} {msg}";
        let style = ProgressStyle::with_template(style).expect("the template is a constant");
        let target = ProgressDrawTarget::stderr();
        let bar = || ProgressBar::with_draw_target(Some(changes as u64), target).with_style(style);
        Self {
            bar: shown.then(bar),
        }
    }

    fn advance(&self, applied: &AppliedChange) {
        match &self.bar {
            Some(bar) => {
                if applied.outcome != ChangeOutcome::Applied {
                    bar.suspend(|| out::problem(&line(applied)));
                }
                bar.inc(1);
            }
            None if applied.outcome == ChangeOutcome::Applied => out::note(&line(applied)),
            None => out::problem(&line(applied)),
        }
    }

    /// Shows how far the run is, until it is dropped.
    async fn follow(&self, progress: &Progress) -> Infallible {
        loop {
            if let (Some(bar), Some(report)) = (&self.bar, progress.report()) {
                bar.set_message(report.text());
            }
            tokio::time::sleep(REFRESH).await;
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(applied: &AppliedChange) -> String {
    let AppliedChange {
        subject,
        operation,
        group,
        role,
        schedule,
        outcome,
        detail,
        rejected: _,
    } = applied;
    let schedule = schedule.as_deref().map(Escaped);
    let about = match (role, group, schedule) {
        (Some(role), ..) => format!(": {role}"),
        (None, Some(group), _) => format!(": {group}"),
        (None, None, Some(schedule)) => format!(": {schedule}"),
        (None, None, None) => String::new(),
    };
    let change = format!("{operation} {subject}{about}");
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!(" ({detail})")
    };
    match outcome {
        ChangeOutcome::Applied => format!("{change}: applied{detail}"),
        ChangeOutcome::NotKept => format!("{change}: not kept{detail}"),
        ChangeOutcome::Failed => format!("{change}: failed{detail}"),
        ChangeOutcome::Skipped => format!("{change}: skipped{detail}"),
    }
}

fn print_summary(outcome: &RunOutcome) {
    match &outcome.completion {
        Completion::Failed(error) => out::problem(&format!("error: {error}")),
        Completion::Stopped => out::problem("run stopped; the next run continues"),
        Completion::Complete | Completion::DryRun | Completion::Declined => {}
    }
    let counts = [
        (outcome.count(ChangeOutcome::Applied), "applied"),
        (outcome.count(ChangeOutcome::NotKept), "not kept"),
        (outcome.count(ChangeOutcome::Failed), "failed"),
        (outcome.count(ChangeOutcome::Skipped), "skipped"),
        (outcome.held_count(), "held"),
    ];
    let mut parts: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, outcome)| format!("{count} {outcome}"))
        .collect();
    if let Some(roster) = outcome.roster() {
        if !roster.bad_rows.is_empty() {
            parts.push(plural(roster.bad_rows.len(), "problem") + " in rows");
        }
        if !roster.rejected.is_empty() {
            let files = plural(roster.rejected.len(), "file");
            parts.push(format!("{files} rejected, so no users were removed"));
        }
        if roster.groups.is_some() {
            parts.push("source.groups can't be read, so no users left a group".into());
        }
        if roster.roles.is_some() {
            parts.push("source.roles can't be read, so no role was assigned".into());
        }
    }
    let summary = match (parts.is_empty(), &outcome.completion) {
        (false, _) => parts.join(", "),
        (true, Completion::Failed(_)) => "no changes were made".to_owned(),
        (true, _) => "nothing to do".to_owned(),
    };
    let requests = plural(outcome.requests, "request");
    out::note(&format!(
        "{summary}; {requests} in {}",
        about(outcome.duration)
    ));
    if let Some(run) = outcome.number.filter(|_| outcome.held_count() > 0) {
        out::note(&how_to_approve(run));
    }
}
