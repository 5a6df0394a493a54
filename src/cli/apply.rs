//! `apply`: one run now.

use super::{Exit, out, plan};
use crate::metrics::Metrics;
use crate::reconcile::render::{about, plural};
use crate::reconcile::{Applied, End, Outcome, Prepared, Reconciler, RunOutcome, Trigger};
use crate::settings::Settings;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

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
    let target = super::target(&settings, arguments.csv)?;
    let reconciler = Reconciler::new(settings.into(), Metrics::new())?;
    let mut outcome = reconciler.start(Trigger::Command);
    let prepared = reconciler.prepare(&target, &stop).await?;
    let cost = reconciler.cost(&prepared);
    plan::show(&prepared, cost);
    prepared.tell(&mut outcome);

    let changes = prepared.verdict.passed().len();
    if changes > 0 && !arguments.yes && out::can_ask() && !out::ask("Carry this out?") {
        out::note("nothing was changed");
        return Ok(Exit::Failed);
    }
    let progress = Progress::new(changes);
    reconciler
        .carry_out(&prepared, &stop, &mut outcome, |applied| {
            progress.tell(applied)
        })
        .await;
    progress.finish();
    let outcome = reconciler.finish(outcome);
    summarise(&prepared, &outcome);
    Ok(Exit::of_run(&outcome))
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

    fn tell(&self, applied: &Applied) {
        match &self.bar {
            Some(bar) => {
                if applied.outcome != Outcome::Done {
                    bar.suspend(|| out::problem(&line(applied)));
                }
                bar.inc(1);
            }
            None if applied.outcome == Outcome::Done => out::note(&line(applied)),
            None => out::problem(&line(applied)),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(applied: &Applied) -> String {
    let Applied {
        email,
        kind,
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
        Outcome::Done => format!("{kind} {email}: done{detail}"),
        Outcome::NotKept => format!("{kind} {email}: not kept{detail}"),
        Outcome::Failed => format!("{kind} {email}: failed{detail}"),
        Outcome::Unsent => format!("{kind} {email}: not sent{detail}"),
    }
}

fn summarise(prepared: &Prepared, outcome: &RunOutcome) {
    match &outcome.end {
        End::Failed(error) => out::problem(&format!("the run ended early: {error}")),
        End::Stopped => out::problem("the run was stopped; the next one goes on from here"),
        End::Complete | End::PlanOnly => {}
    }
    let counts = [
        (outcome.count(Outcome::Done), "done"),
        (outcome.count(Outcome::NotKept), "not kept"),
        (outcome.count(Outcome::Failed), "failed"),
        (outcome.count(Outcome::Unsent), "not sent"),
        (
            prepared
                .verdict
                .held()
                .iter()
                .map(|(held, _)| held.count)
                .sum(),
            "held",
        ),
        (
            outcome
                .roster
                .as_ref()
                .map_or(0, |roster| roster.bad_rows.len()),
            "problems in rows",
        ),
    ];
    let said: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let said = if said.is_empty() {
        "nothing to do".to_owned()
    } else {
        said.join(", ")
    };
    let requests = plural(
        usize::try_from(outcome.requests).unwrap_or(usize::MAX),
        "request",
    );
    out::note(&format!("{said}; {requests} in {}", about(outcome.took)));
}
