//! `plan`: shows what a run would change. It has no writer.

use super::roster_input::RosterInput;
use super::{Exit, out};
use crate::metrics::Metrics;
use crate::model::DocumentsByCreator;
use crate::plan::markdown;
use crate::plan::render::{self, PlanView};
use crate::plan::{PlanDoc, ProblemDoc};
use crate::run::{Observer, Prepared, RunError, Target};
use crate::settings::{EMPTY_PROTECT, Settings};
use crate::util::text::{about, plural};
use anstyle::{AnsiColor, Style};
use serde_json::json;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Roster: a file or folder, or `-` for standard input [default: source.path]
    csv: Option<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
    /// Print the plan as Markdown, for a comment on a pull request
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Also name the documents of users to be removed, with one request per user
    #[arg(long)]
    details: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let input = RosterInput::of(&settings, arguments.csv)?;
    let state = super::readable_state(&settings)?;
    if settings.policy.protect.is_empty() {
        out::warning(EMPTY_PROTECT);
    }
    let observer = Observer::new(settings.into(), Metrics::new(), state)?;
    let planned = plan(&observer, &input.target, arguments.details).await;
    let (prepared, documents) = planned.inspect_err(|error| {
        if arguments.json {
            out::result(&format!("{:#}\n", failure_doc(error)));
        }
    })?;
    let view = observer.view(&prepared);
    let view = match &documents {
        Some(documents) => view.with_documents(documents),
        None => view,
    };
    match (arguments.json, arguments.markdown) {
        (true, _) => out::json(&PlanDoc::new(view)),
        (_, true) => out::result(&markdown(view)),
        _ => show(view),
    }
    Ok(Exit::of_plan(&prepared))
}

/// Plans, and reads the documents of users to be removed if details are requested.
async fn plan(
    observer: &Observer,
    target: &Target,
    with_details: bool,
) -> Result<(Prepared, Option<DocumentsByCreator>), RunError> {
    let stop = CancellationToken::new();
    let prepared = observer.plan(target, &stop).await?;
    if !with_details {
        return Ok((prepared, None));
    }
    let removed = prepared.removed();
    if !removed.is_empty() {
        let (users, time) = (removed.len(), observer.reading_time(removed.len()));
        out::note(&format!(
            "reading the documents of {}: {}, {}",
            plural(users, "user"),
            plural(users, "request"),
            about(time),
        ));
    }
    let documents = observer.documents_of(&removed, &stop).await?;
    Ok((prepared, Some(documents)))
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
fn show(view: PlanView<'_>) {
    show_problems(view);
    out::result(&painted(&render::text(view)));
}

/// Prints problems and warnings to standard error.
pub(super) fn show_problems(view: PlanView<'_>) {
    let assessment = view.assessment;
    for problem in view.problems() {
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
}

/// A plan in colours: green for what is added, yellow for what changes, red for what goes away, bold for what is held.
/// [`out::result`] drops them unless they are supported.
pub(super) fn painted(plan: &str) -> String {
    let lines = plan.split_inclusive('\n');
    lines.map(painted_line).collect()
}

fn painted_line(line: &str) -> String {
    let colour = |colour: AnsiColor| colour.on_default();
    let style = match line.as_bytes() {
        [b'+', ..] => colour(AnsiColor::Green),
        [b'~', ..] => colour(AnsiColor::Yellow),
        [b'-', ..] => colour(AnsiColor::Red),
        _ if line.starts_with("held by ") || line.starts_with("blocked: ") => Style::new().bold(),
        _ => return line.to_owned(),
    };
    format!("{style}{line}{style:#}")
}
