//! `plan`: shows what a run would change. It has no writer.

use super::{Exit, out};
use crate::metrics::Metrics;
use crate::plan::render::{self, PlanDoc, PlanView, ProblemDoc};
use crate::run::{Observer, RunError};
use crate::settings::{EMPTY_PROTECT, Settings};
use serde_json::json;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Roster, a file or folder [default: source.path]
    csv: Option<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let target = super::target(&settings, arguments.csv)?;
    let state = super::readable_state(&settings)?;
    if settings.policy.protect.is_empty() {
        out::warning(EMPTY_PROTECT);
    }
    let observer = Observer::new(settings.into(), Metrics::new(), state)?;
    let planned = observer.plan(&target, &CancellationToken::new()).await;
    let prepared = planned.inspect_err(|error| {
        if arguments.json {
            out::result(&format!("{:#}\n", failure_doc(error)));
        }
    })?;
    if arguments.json {
        out::json(&PlanDoc::new(observer.view(&prepared)));
    } else {
        show(observer.view(&prepared));
    }
    Ok(Exit::of_plan(&prepared))
}

/// The JSON document if there is no plan.
fn failure_doc(error: &RunError) -> serde_json::Value {
    let problems = match error {
        RunError::Source(error) => error.problems(),
        _ => &[],
    };
    let problems: Vec<_> = problems.iter().map(ProblemDoc::from).collect();
    json!({ "error": error.to_string(), "problems": problems })
}

/// Prints the plan to standard output, and problems and warnings to standard error.
pub(super) fn show(view: PlanView<'_>) {
    let PlanView {
        desired,
        assessment,
        ..
    } = view;
    let problems = desired.problems().into_iter();
    for problem in problems.chain(&assessment.problems) {
        out::problem(&problem.to_string());
    }
    for email in &assessment.ambiguous {
        out::problem(&format!(
            "{email}: several users in Omni have this email; all are skipped"
        ));
    }
    for warning in &assessment.warnings {
        out::warning(warning);
    }
    out::result(&render::text(view));
}
