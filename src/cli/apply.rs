//! `apply`: one run now.

use super::{Exit, out, plan};
use crate::metrics::Metrics;
use crate::model::{ChangeOutcome, Trigger};
use crate::run::{
    self, Applied, AppliedChange, Completion, Prepared, Reconciler, RunOutcome, Stop,
};
use crate::settings::Settings;
use crate::util::text::{about, plural};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The roster, a file or a folder [default: source.path]
    csv: Option<PathBuf>,
    /// Doesn't ask before it writes
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(
    settings: Settings,
    arguments: Arguments,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let applied = one_run(settings, arguments, stop);
    applied.instrument(run::span(None)).await
}

async fn one_run(
    settings: Settings,
    arguments: Arguments,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let target = super::target(&settings, arguments.csv)?;
    let max_age = settings.max_age;
    let journal = super::journal_to_write(&settings, "apply")?;
    let reconciler = Reconciler::new(settings.into(), Metrics::new(), journal)?;
    let stop = Stop::when(&stop);
    let mut run = reconciler.begin(Trigger::Command, target).await?;
    let prepared = match reconciler.prepare(&mut run, &stop).await {
        Ok(prepared) => prepared,
        Err(error) => {
            return Ok(ended(
                reconciler.finish(run, None, Applied::nothing(error)).await,
            ));
        }
    };
    plan::show(reconciler.observer().view(&prepared));
    if !may_go_on(&prepared, arguments.yes, max_age, &stop.now).await {
        let completion = match stop.now.is_cancelled() {
            true => Completion::Stopped,
            false => Completion::Declined,
        };
        let outcome = reconciler
            .finish(run, None, Applied::nothing(completion))
            .await;
        if let Completion::Failed(error) = outcome.completion {
            return Err(error.into());
        }
        out::note("nothing was changed");
        return Ok(Exit::Failed);
    }
    if let Err(error) = reconciler.accept(&prepared).await {
        return Ok(ended(
            reconciler.finish(run, None, Applied::nothing(error)).await,
        ));
    }
    let progress = Progress::new(prepared.assessment.verdict.passed().len());
    let (applied, _) = reconciler
        .apply(&run, &prepared, &stop, |applied| progress.tell(applied))
        .await;
    progress.finish();
    let outcome = reconciler.finish(run, Some(&prepared), applied).await;
    // What was known before was told before.
    outcome
        .warnings
        .iter()
        .skip(prepared.assessment.warnings.len())
        .for_each(|warning| out::warning(warning));
    summarise(&outcome);
    Ok(Exit::of_run(&outcome))
}

fn ended(outcome: RunOutcome) -> Exit {
    summarise(&outcome);
    Exit::of_run(&outcome)
}

/// Asks, where somebody can be asked and there is something to ask about. What was seen is no longer
/// good for writing when the answer takes too long, and a stop is a no.
async fn may_go_on(
    prepared: &Prepared,
    yes: bool,
    max_age: Duration,
    stop: &CancellationToken,
) -> bool {
    if yes || prepared.assessment.verdict.passed().is_empty() || !out::can_ask() {
        return !stop.is_cancelled();
    }
    let answer = tokio::task::spawn_blocking(|| out::ask("Carry this out?"));
    tokio::select! {
        answer = answer => answer.unwrap_or(false) && !stop.is_cancelled(),
        () = stop.cancelled() => false,
        () = tokio::time::sleep(max_age) => {
            out::problem("\nno answer for too long: Omni may have changed; run apply again");
            false
        }
    }
}

/// A bar with the time left where there is a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(changes: usize) -> Self {
        let shown = changes > 0 && std::io::stderr().is_terminal();
        let style = "{bar:30} {pos}/{len} changes, {eta} left {msg}";
        let style = ProgressStyle::with_template(style).expect("the template is a constant");
        let target = ProgressDrawTarget::stderr();
        let bar = || ProgressBar::with_draw_target(Some(changes as u64), target).with_style(style);
        Self {
            bar: shown.then(bar),
        }
    }

    fn tell(&self, applied: &AppliedChange) {
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

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(applied: &AppliedChange) -> String {
    let AppliedChange {
        email,
        operation,
        outcome,
        detail,
        refused: _,
    } = applied;
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!(" ({detail})")
    };
    match outcome {
        ChangeOutcome::Applied => format!("{operation} {email}: done{detail}"),
        ChangeOutcome::NotKept => format!("{operation} {email}: not kept{detail}"),
        ChangeOutcome::Failed => format!("{operation} {email}: failed{detail}"),
        ChangeOutcome::Skipped => format!("{operation} {email}: not sent{detail}"),
    }
}

fn summarise(outcome: &RunOutcome) {
    match &outcome.completion {
        Completion::Failed(error) => out::problem(&format!("error: {error}")),
        Completion::Stopped => out::problem("the run was stopped; the next one goes on from here"),
        Completion::Complete | Completion::DryRun | Completion::Declined => {}
    }
    let counts = [
        (outcome.count(ChangeOutcome::Applied), "done"),
        (outcome.count(ChangeOutcome::NotKept), "not kept"),
        (outcome.count(ChangeOutcome::Failed), "failed"),
        (outcome.count(ChangeOutcome::Skipped), "not sent"),
        (outcome.held_count(), "held"),
    ];
    let mut said: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let problems = outcome.roster().map_or(0, |roster| roster.bad_rows.len());
    if problems > 0 {
        said.push(plural(problems, "row problem"));
    }
    let rejected = outcome.roster().map_or(0, |roster| roster.rejected.len());
    if rejected > 0 {
        said.push(format!(
            "{} rejected, and nobody removed for that",
            plural(rejected, "file")
        ));
    }
    let said = if said.is_empty() {
        match outcome.completion {
            Completion::Failed(_) => "nothing was changed".to_owned(),
            Completion::Complete
            | Completion::DryRun
            | Completion::Declined
            | Completion::Stopped => "nothing to do".to_owned(),
        }
    } else {
        said.join(", ")
    };
    let requests = plural(outcome.requests, "request");
    out::note(&format!(
        "{said}; {requests} in {}",
        about(outcome.duration)
    ));
}
