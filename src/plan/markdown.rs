//! A plan as Markdown, for a comment on a pull request.

use super::HeldChanges;
use super::render::{PlanView, documents_text};
use crate::model::{Action, Change, GroupRef, Leaver, Value};
use crate::util::text::{about, plural};
use std::fmt::{self, Write};

/// The maximum number of changes in a table: comments have a limited length.
const MAX_CHANGES: usize = 200;

/// What a transfer changes beside the owner.
const TRANSFERS: &str = "A transferred schedule runs with the access of its new owner.";

/// The plan as Markdown: a summary, a table of the changes, and one for each rule that holds changes.
#[must_use]
pub fn markdown(view: PlanView<'_>) -> String {
    let mut out = String::new();
    write_plan(&mut out, view).expect("writing to a String can't fail");
    out
}

fn write_plan(out: &mut String, view: PlanView<'_>) -> fmt::Result {
    let PlanView {
        assessment, cost, ..
    } = view;
    let verdict = &assessment.verdict;
    writeln!(out, "### Plan: {}\n", view.counted())?;
    writeln!(
        out,
        "{}, {} unchanged; {}, {}\n",
        view.inputs(),
        assessment.unchanged,
        plural(cost.requests, "request"),
        about(cost.time)
    )?;
    write_table(out, verdict.passed())?;
    for HeldChanges {
        rule,
        reason,
        changes,
    } in verdict.held()
    {
        writeln!(
            out,
            "#### Held by {}: {}\n",
            code(&rule.label()),
            plural(changes.len(), "change")
        )?;
        writeln!(out, "{}\n", code(reason))?;
        write_table(out, changes)?;
    }
    if verdict.sendable().any(|change| change.transfer().is_some()) {
        writeln!(out, "{TRANSFERS}\n")?;
    }
    write_leavers(out, &assessment.leaving)?;
    write_documents(out, view)?;
    write_notes(out, view)
}

fn write_leavers(out: &mut String, leaving: &[Leaver]) -> fmt::Result {
    if leaving.is_empty() {
        return Ok(());
    }
    writeln!(out, "#### Leaving within two weeks\n")?;
    writeln!(out, "| operation | user | |")?;
    writeln!(out, "| --- | --- | --- |")?;
    for leaver in leaving.iter().take(MAX_CHANGES) {
        let email = code(&leaver.email.to_string());
        writeln!(
            out,
            "| {} | {email} | {} |",
            leaver.operation,
            leaver.detail()
        )?;
    }
    write_more(out, leaving.len())
}

fn write_documents(out: &mut String, view: PlanView<'_>) -> fmt::Result {
    let changes = view.assessment.verdict.sendable();
    let removed = changes.filter_map(|change| {
        let documents = view.documents_of(change)?;
        Some((&change.subject, documents_text(documents)))
    });
    let removed: Vec<_> = removed.collect();
    if removed.is_empty() {
        return Ok(());
    }
    writeln!(out, "#### Documents of users to be removed\n")?;
    writeln!(out, "| user | |")?;
    writeln!(out, "| --- | --- |")?;
    for (user, documents) in removed.iter().take(MAX_CHANGES) {
        writeln!(out, "| {} | {} |", code(&user.to_string()), code(documents))?;
    }
    write_more(out, removed.len())
}

/// The end of a table: how many entries it leaves out.
fn write_more(out: &mut String, entries: usize) -> fmt::Result {
    match entries.saturating_sub(MAX_CHANGES) {
        0 => writeln!(out),
        more => writeln!(out, "\n… and {more} more\n"),
    }
}

fn write_table(out: &mut String, changes: &[Change]) -> fmt::Result {
    if changes.is_empty() {
        return Ok(());
    }
    writeln!(out, "| operation | user | field | from | to |")?;
    writeln!(out, "| --- | --- | --- | --- | --- |")?;
    for change in changes.iter().take(MAX_CHANGES) {
        write_change(out, change)?;
    }
    write_more(out, changes.len())
}

fn write_change(out: &mut String, change: &Change) -> fmt::Result {
    let fields = match &change.action {
        Action::Membership(_) | Action::Role(_) => Vec::new(),
        Action::Delete(_) | Action::Deactivate(_) => change.lost_schedules(),
        Action::Update(..) | Action::Create(_) | Action::Transfer(_) => change.fields(),
    };
    write!(
        out,
        "| {} | {} |",
        change.operation(),
        code(&change.subject.to_string())
    )?;
    if let Some(membership) = change.membership() {
        let GroupRef { id, name } = &membership.group;
        let new = if id.is_none() { "new " } else { "" };
        return writeln!(out, " {new}group {} | | |", code(name.as_str()));
    }
    if let Some(role) = change.role() {
        let (scope, from) = (code(&role.scope.to_string()), role.from.as_ref());
        let from = from.map_or_else(String::new, |from| code(from.as_str()));
        let mark = role
            .risk
            .map_or_else(String::new, |_| code(role.mark().trim()));
        return writeln!(
            out,
            " role on {scope}{mark} | {from} | {} |",
            code(role.to.as_str())
        );
    }
    if fields.is_empty() {
        return writeln!(out, " | | |");
    }
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            write!(out, "| | |")?;
        }
        let (from, to) = (shown(field.from.as_ref()), shown(field.to.as_ref()));
        writeln!(out, " {} | {from} | {to} |", code(&field.field.to_string()))?;
    }
    Ok(())
}

fn write_notes(out: &mut String, view: PlanView<'_>) -> fmt::Result {
    let assessment = view.assessment;
    let problems = view.problems().into_iter().map(ToString::to_string);
    let blocked = assessment.blocked.iter().map(ToString::to_string);
    let warnings = assessment.warnings.iter().cloned();
    let notes: Vec<_> = problems.chain(blocked).chain(warnings).collect();
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(out, "#### Problems and warnings\n")?;
    for note in notes.iter().take(MAX_CHANGES) {
        writeln!(out, "- {}", code(note))?;
    }
    match notes.len().saturating_sub(MAX_CHANGES) {
        0 => Ok(()),
        more => writeln!(out, "\n… and {more} more"),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(String::new, |value| code(&value.to_string()))
}

/// A text as a code span, which shows it as it is: a value may contain Markdown, links and mentions.
fn code(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ").replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    match longest {
        0 => format!("{fence}{text}{fence}"),
        _ => format!("{fence} {text} {fence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_spans_show_any_text() {
        for (text, span) in [
            ("ann@x.co", "`ann@x.co`"),
            ("a|b", "`a\\|b`"),
            ("`x`", "`` `x` ``"),
            ("two\nlines", "`two lines`"),
        ] {
            assert_eq!(code(text), span);
        }
    }
}
