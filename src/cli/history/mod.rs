//! `history`: lists runs, shows one run with its changes, or writes a roster that undoes it.

use super::approve::RunName;
use super::{Exit, organisation, out};
use crate::model::{
    ChangeRecord, FieldChange, FieldCount, GroupRef, HeldChange, HeldRecord, Observed, RoleChange,
    RunRecord, RunState, Subject, Value,
};
use crate::plan::RoleCatalogue;
use crate::report::{Undo, undo, undo_groups, undo_roles};
use crate::settings::Settings;
use crate::state::StateDb;
use crate::state::render::{change_doc, held_doc, run_doc};
use crate::util::text::{agree, plural};
use anyhow::Context;
use chrono::SecondsFormat;
use serde_json::json;
use std::collections::HashSet;
use std::fmt::Write;

/// The number of runs listed.
const MAX_RUNS: usize = 50;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Run to show: its number, or `latest` [default: list the last 50 runs]
    run: Option<RunName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a roster that undoes the changes of the run; standard error lists those it can't undo
    #[arg(long, requires = "run", conflicts_with = "json")]
    undo: bool,
    /// With --undo: write rows of source.groups that undo the memberships of the run
    #[arg(long, requires = "undo", conflicts_with = "roles")]
    groups: bool,
    /// With --undo: write rows of source.roles that restore the roles from before the run
    #[arg(long, requires = "undo")]
    roles: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let state = super::readable_state(&settings)?;
    let Some(name) = arguments.run else {
        let runs = state.runs(MAX_RUNS).await?;
        if runs.is_empty() {
            let dir = settings.state.dir.display();
            out::note(&format!("no runs recorded in {dir} (state.dir)"));
        }
        out::result(&list(&runs, arguments.json));
        return Ok(Exit::Ok);
    };
    let run = state
        .run(name.0)
        .await?
        .context("no such run; `omni-user-sync history` lists the runs")?;
    let changes = state.changes(run.number).await?;
    if arguments.undo {
        let of = match (arguments.groups, arguments.roles) {
            (true, _) => UndoOf::Groups,
            (false, true) => UndoOf::Roles,
            (false, false) => UndoOf::Users,
        };
        return print_undo(&settings, &state, &run, &changes, of).await;
    }
    out::result(&one(&state, &run, &changes, arguments.json).await?);
    Ok(Exit::Ok)
}

/// What to undo.
#[derive(Clone, Copy)]
enum UndoOf {
    Users,
    Groups,
    Roles,
}

async fn print_undo(
    settings: &Settings,
    state: &StateDb,
    run: &RunRecord,
    changes: &[ChangeRecord],
    of: UndoOf,
) -> anyhow::Result<Exit> {
    let source = &settings.source;
    let Undo { csv, rows, notes } = match of {
        UndoOf::Roles => {
            let known = state.observed_roles().await?;
            let catalogue = known.scopes.map(|(scopes, _)| RoleCatalogue::new(&scopes));
            let protected = protected(settings, state, changes).await?;
            let catalogue = catalogue.unwrap_or_default();
            let mut of_users = changes.iter().map(|change| &change.intent);
            let mut observed = match of_users.any(|one| one.role.is_some() && one.user_id.is_some())
            {
                true => organisation::users(settings).await?,
                false => Observed::default(),
            };
            observed.roles_mut().holders = known.holders;
            undo_roles(
                changes,
                &observed,
                &catalogue,
                |subject| protected.contains(subject),
                source,
            )
        }
        UndoOf::Groups => {
            let observed = organisation::users(settings).await?;
            let protected = protected(settings, state, changes).await?;
            undo_groups(
                changes,
                &observed,
                |subject| protected.contains(subject),
                source,
            )
        }
        UndoOf::Users => {
            let (definitions, observed) = organisation::fetch(settings).await?;
            undo(changes, &observed, &definitions.into_schema(), source)
        }
    };
    notes.iter().for_each(|note| out::warning(note));
    if rows == 0 {
        out::note(&format!("run {} has no changes to undo", run.number));
        return Ok(Exit::Ok);
    }
    out::result(&csv);
    let run = run.number;
    out::note(&match of {
        UndoOf::Groups => format!(
            "rows that undo the memberships of run {run}; add them to the file of source.groups, and remove from \
             the cells of the roster the groups that they take users out of"
        ),
        UndoOf::Roles => format!(
            "rows that restore the roles from before run {run}; put them into the file of source.roles in place of \
             those of the same subject, connection and model"
        ),
        UndoOf::Users => format!("roster that undoes run {run}; review it with `plan` first"),
    });
    Ok(Exit::Ok)
}

/// The users of changes that are protected now.
async fn protected(
    settings: &Settings,
    state: &StateDb,
    changes: &[ChangeRecord],
) -> anyhow::Result<HashSet<Subject>> {
    let subjects: HashSet<_> = changes.iter().map(|one| &one.intent.subject).collect();
    let mut protected = HashSet::new();
    for subject in subjects {
        if let Some(email) = subject.email()
            && state.is_protected(email, &settings.policy).await?
        {
            protected.insert(subject.clone());
        }
    }
    Ok(protected)
}

fn list(runs: &[RunRecord], as_json: bool) -> String {
    if as_json {
        return pretty(&runs.iter().map(run_doc).collect());
    }
    if runs.is_empty() {
        return "no runs yet\n".into();
    }
    runs.iter().map(line).collect()
}

/// `   12  2026-11-23T15:00:00Z  schedule  converged   3 applied, 5 requests`
pub(super) fn line(run: &RunRecord) -> String {
    let started = run.start.started.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (result, details) = match &run.state {
        RunState::Open => ("running", String::new()),
        RunState::Interrupted => ("interrupted", String::new()),
        RunState::Ended(end) => {
            let counts = [
                (end.applied, "applied"),
                (end.failed, "failed"),
                (end.held, "held"),
                (
                    end.bad_rows,
                    agree(end.bad_rows, "invalid row", "invalid rows"),
                ),
            ];
            let counts = counts.iter().filter(|(count, _)| *count > 0);
            let mut details: Vec<_> = counts
                .map(|(count, outcome)| format!("{count} {outcome}"))
                .collect();
            let requests = usize::try_from(end.requests).unwrap_or(usize::MAX);
            details.push(plural(requests, "request"));
            details.extend(end.detail.lines().next().map(ToOwned::to_owned));
            (end.result.as_str(), details.join(", "))
        }
    };
    let trigger = run.start.trigger.as_str();
    format!(
        "{:>6}  {started}  {trigger:<9} {result:<11} {details}\n",
        run.number.0
    )
    .trim_end()
    .to_owned()
        + "\n"
}

async fn one(
    state: &StateDb,
    run: &RunRecord,
    changes: &[ChangeRecord],
    as_json: bool,
) -> anyhow::Result<String> {
    let held = state.held(run.number).await?;
    if as_json {
        let mut doc = run_doc(run);
        doc["changes"] = changes.iter().map(change_doc).collect();
        doc["held"] = held.iter().map(held_doc).collect();
        let approvals = state.approvals_of(run.number).await?;
        doc["approvals"] = approvals
            .iter()
            .map(|(by, at)| json!({ "by": by, "at": at }))
            .collect();
        return Ok(pretty(&doc));
    }
    let mut text = line(run);
    if let Some(end) = run.end()
        && !end.detail.is_empty()
    {
        writeln!(text, "        {}", end.detail)?;
    }
    for change in changes {
        text.push_str(&change_text(change));
    }
    for (by, at) in state.approvals_of(run.number).await? {
        let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        writeln!(text, "approved by {by} at {at}")?;
    }
    text.extend(held.iter().map(held_text));
    Ok(text)
}

/// A change with its outcome and its fields, old => new.
pub(super) fn change_text(change: &ChangeRecord) -> String {
    let intent = &change.intent;
    let at = intent.intended.to_rfc3339_opts(SecondsFormat::Secs, true);
    let outcome = change.outcome_word();
    let detail = match &change.settled {
        Some(settled) => settled.detail.as_str(),
        None if change.is_planned => "",
        None => "outcome not known yet",
    };
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!(" ({detail})")
    };
    let approved = if intent.approved { ", approved" } else { "" };
    let text = format!(
        "  {at}  {:<10} {}: {outcome}{approved}{detail}\n",
        intent.operation.as_str(),
        intent.key()
    );
    text + &role_text(intent.role.as_ref()) + &fields_text(&intent.fields)
}

/// A limit and its reason, with the counts by field, and the changes with their fields.
pub(super) fn held_text(held: &HeldRecord) -> String {
    let HeldRecord {
        rule,
        reason,
        changes,
    } = held;
    let (rule, count) = (rule.label(), changes.len());
    let rule = format!("held by {rule} ({count}): {reason}\n");
    let counts = FieldCount::of(changes);
    let counts = counts.iter().map(|count| format!("  {count}\n"));
    let changes = HeldChange::sorted(changes).into_iter().map(|change| {
        let (operation, key) = (change.operation.as_str(), change.key());
        let is_new = |group: &GroupRef| group.id.is_none();
        let new = match change.group.as_ref().is_some_and(is_new) {
            true => " (new group)",
            false => "",
        };
        let fields = role_text(change.role.as_ref()) + &fields_text(&change.fields);
        format!("  {operation:<10} {key}{new}\n") + &fields
    });
    std::iter::once(rule).chain(counts).chain(changes).collect()
}

/// The role, old => new.
fn role_text(role: Option<&RoleChange>) -> String {
    role.map_or_else(String::new, |role| format!("      {role}\n"))
}

/// Fields, old => new.
fn fields_text(fields: &[FieldChange]) -> String {
    let shown = |value: &Option<Value>| {
        let text = value.as_ref().map(Value::to_string);
        text.unwrap_or_else(|| "(none)".to_owned())
    };
    let line = |one: &FieldChange| {
        let (field, from, to) = (&one.field, shown(&one.from), shown(&one.to));
        format!("      {field}: {from} => {to}\n")
    };
    fields.iter().map(line).collect()
}

fn pretty(doc: &serde_json::Value) -> String {
    format!("{doc:#}\n")
}
