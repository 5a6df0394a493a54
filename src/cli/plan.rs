//! `plan`: what a run would change. It has no writer.

use super::{Exit, out};
use crate::metrics::Metrics;
use crate::plan::render::{self, PlanDoc, PlanView, ProblemDoc};
use crate::run::{Observer, RunError};
use crate::settings::Settings;
use serde_json::json;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The roster, a file or a folder [default: source.path]
    csv: Option<PathBuf>,
    /// Prints the plan as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let target = super::target(&settings, arguments.csv)?;
    let journal = super::journal_to_read(&settings)?;
    let observer = Observer::new(settings.into(), Metrics::new(), journal)?;
    let planned = observer.plan(&target, &CancellationToken::new()).await;
    let prepared = planned.inspect_err(|error| {
        if arguments.json {
            out::result(&format!("{:#}\n", failure_doc(error)));
        }
    })?;
    if arguments.json {
        let doc = serde_json::to_string_pretty(&PlanDoc::new(observer.view(&prepared)))?;
        out::result(&(doc + "\n"));
    } else {
        show(observer.view(&prepared));
    }
    Ok(Exit::of_plan(&prepared))
}

/// Why there is no plan, for machines.
fn failure_doc(error: &RunError) -> serde_json::Value {
    let problems = match error {
        RunError::Source(error) => error.problems(),
        _ => &[],
    };
    let problems: Vec<_> = problems.iter().map(ProblemDoc::from).collect();
    json!({ "error": error.to_string(), "problems": problems })
}

/// The plan on standard output, and what is wrong or worth knowing on standard error.
pub(super) fn show(view: PlanView<'_>) {
    let PlanView {
        desired,
        assessment,
        ..
    } = view;
    for problem in desired.problems().into_iter().chain(&assessment.problems) {
        out::problem(&problem.to_string());
    }
    for email in &assessment.ambiguous {
        out::problem(&format!(
            "{email}: several users in Omni answer to this email; none is touched"
        ));
    }
    for warning in &assessment.warnings {
        out::warning(warning);
    }
    out::result(&render::text(view));
}
