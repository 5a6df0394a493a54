//! The roster that undoes the changes of a run.
//!
//! Every cell has the current value in Omni. It gets the value from before the run only if the run changed
//! it and it has not changed since, so that later changes by others are kept. Changes that the run itself has
//! reverted are left out.

use crate::model::{
    AttributeName, ChangeOutcome, ChangeRecord, Field, FieldChange, Observed, ObservedUser,
    Operation, Schema, UserMatch, Value, reverting,
};
use crate::roster::export::{self, ExportRow};
use crate::settings::{BlankCells, SourceSettings};
use crate::util::text::plural_are;
use std::collections::BTreeSet;

/// An undo roster.
#[derive(Debug)]
pub struct Undo {
    /// The roster.
    pub csv: String,
    /// The number of its rows.
    pub rows: usize,
    /// What it does not restore, and what follows from it: a line for each.
    pub notes: Vec<String>,
}

/// The roster that undoes these changes of a run.
#[must_use]
pub fn undo(
    changes: &[ChangeRecord],
    observed: &Observed,
    schema: &Schema,
    source: &SourceSettings,
) -> Undo {
    let reverting = reverting(changes);
    let is_kept = |change: &&ChangeRecord| is_applied(change) && !reverting.contains(&change.id);
    let applied: Vec<_> = changes.iter().filter(is_kept).collect();
    let columns: BTreeSet<_> = applied
        .iter()
        .flat_map(|change| attributes(change))
        .collect();
    let columns: Vec<_> = columns
        .into_iter()
        .filter(|name| export::is_settable(name, schema))
        .cloned()
        .collect();
    let mut notes: Vec<_> = changes
        .iter()
        .filter(|change| change.is_unknown())
        .map(|change| {
            format!(
                "{}: the outcome of its change is unknown; skipped",
                change.intent.subject
            )
        })
        .collect();
    notes.extend(elsewhere(&applied));
    let mut lines = Vec::new();
    for change in applied {
        let (mut line, mut note) = undo_change(change, &columns, observed, schema);
        if let Some(line) = &line {
            let kept = unchanged_fields(change, line, &columns, observed, source);
            notes.extend(kept.map(|note| format!("{}: {note}", change.intent.subject)));
        }
        if line
            .as_ref()
            .is_some_and(|line| !export::row_round_trips(line, &columns, schema))
        {
            (line, note) = (
                None,
                Some("has a value that a CSV cell can't represent; skipped".to_owned()),
            );
        }
        lines.extend(line);
        note = note.map(|note| note + &lost_schedules(change));
        notes.extend(note.map(|note| format!("{}: {note}", change.intent.subject)));
    }
    Undo {
        csv: export::write(&columns, &lines, source.into()),
        rows: lines.len(),
        notes,
    }
}

/// Where the memberships and roles that changed can be undone.
fn elsewhere(applied: &[&ChangeRecord]) -> Vec<String> {
    let count = |is_it: fn(Operation) -> bool| {
        let operations = applied.iter().map(|change| change.intent.operation);
        operations.filter(|operation| is_it(*operation)).count()
    };
    // What removals took besides the user.
    let taken = |is_it: fn(&Field) -> bool| {
        let fields = applied.iter().flat_map(|change| &change.intent.fields);
        fields.filter(|one| is_it(&one.field)).count()
    };
    let elsewhere = [
        (
            count(Operation::is_membership) + taken(|field| matches!(field, Field::Group(_))),
            "membership",
            "groups",
        ),
        (
            count(Operation::is_role) + taken(|field| matches!(field, Field::Role(_))),
            "role",
            "roles",
        ),
    ];
    let elsewhere = elsewhere.into_iter().filter(|(count, ..)| *count > 0);
    let note = |(count, noun, file)| {
        format!(
            "{} not part of a roster; `history RUN --undo --{file}` writes rows of source.{file} for them",
            plural_are(count, noun)
        )
    };
    elsewhere.map(note).collect()
}

/// The schedules that a removal deleted.
fn lost_schedules(change: &ChangeRecord) -> String {
    let is_removal = change.intent.operation.is_removal();
    let fields = change.intent.fields.iter().filter(|_| is_removal);
    let lost = fields.filter(|one| one.schedule().is_some());
    let names: Vec<_> = lost
        .filter_map(|one| Some(one.from.as_ref()?.first().as_str()))
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; lost schedules: {}", names.join(", ")),
    }
}

fn is_applied(change: &ChangeRecord) -> bool {
    change
        .settled
        .as_ref()
        .is_some_and(|settled| settled.outcome == ChangeOutcome::Applied)
}

fn attributes(change: &ChangeRecord) -> impl Iterator<Item = &AttributeName> {
    // A created user is deleted, which needs no columns.
    let fields = change
        .intent
        .fields
        .iter()
        .filter(|_| change.intent.operation != Operation::Create);
    fields.filter_map(|one| match &one.field {
        Field::Attribute(name) => Some(name),
        Field::DisplayName
        | Field::Active
        | Field::Schedule(_)
        | Field::Group(_)
        | Field::Role(_) => None,
    })
}

/// The row that undoes one change, and a note on what it can't restore.
fn undo_change(
    change: &ChangeRecord,
    columns: &[AttributeName],
    observed: &Observed,
    schema: &Schema,
) -> (Option<ExportRow>, Option<String>) {
    let intent = &change.intent;
    // A roster has no rows for groups.
    let Some(email) = intent.subject.email() else {
        return (None, None);
    };
    let user = match observed.get(email) {
        Some(UserMatch::Several(_)) => {
            return (None, Some("several users have this email; skipped".into()));
        }
        Some(UserMatch::One(user)) => Some(user.as_ref()),
        None => None,
    };
    let row = |op: &'static str| ExportRow {
        op,
        email: email.clone(),
        display_name: cell(change, &Field::DisplayName, user, schema),
        values: columns
            .iter()
            .map(|name| cell(change, &Field::Attribute(name.clone()), user, schema))
            .collect(),
        groups: None,
    };
    let is_other = |user: &ObservedUser| intent.user_id.as_ref().is_some_and(|id| *id != user.id);
    if intent.operation != Operation::Delete && user.is_some_and(is_other) {
        return (None, Some("was recreated since; skipped".into()));
    }
    if matches!(intent.operation, Operation::Update | Operation::Deactivate)
        && user.is_some_and(|user| !user.is_read())
    {
        return (
            None,
            Some("its current fields are not known; skipped".into()),
        );
    }
    match (intent.operation, user) {
        (Operation::Create, Some(_)) => (Some(ExportRow::removal(email, columns.len())), None),
        (Operation::Create, None) => (None, Some("is already removed".into())),
        (Operation::Delete, None) if before(change, &Field::Active).is_some() => (
            None,
            Some("was inactive and would be recreated as active; skipped".into()),
        ),
        (Operation::Delete, None) => (
            Some(row("upsert")),
            Some("is recreated with a new id, without groups, roles and content".into()),
        ),
        (Operation::Delete, Some(_)) => (None, Some("was already recreated; skipped".into())),
        (Operation::Deactivate, Some(_)) => (
            Some(row("upsert")),
            Some("is activated again, which Omni may not allow".into()),
        ),
        (Operation::Update, Some(_)) => {
            let was_inactive = before(change, &Field::Active).is_some();
            (
                Some(row(if was_inactive { "deactivate" } else { "upsert" })),
                None,
            )
        }
        (Operation::Deactivate, None) => (
            None,
            Some("is gone for good since it was deactivated; skipped".into()),
        ),
        (Operation::Update, None) => (None, Some("is no longer in Omni; skipped".into())),
        // Rows of `source.groups` and `source.roles` undo them.
        (Operation::Leave | Operation::Join | Operation::Assign, _) => (None, None),
        (Operation::Transfer, _) => (
            None,
            Some("a transfer of a schedule can't be undone; skipped".into()),
        ),
    }
}

/// The value of a field before the change, if the change contains the field.
fn before<'a>(change: &'a ChangeRecord, field: &Field) -> Option<&'a Option<Value>> {
    field_of(change, field).map(|one| &one.from)
}

fn field_of<'a>(change: &'a ChangeRecord, field: &Field) -> Option<&'a FieldChange> {
    change.intent.fields.iter().find(|one| one.field == *field)
}

/// The current value of a field that has a cell in a roster.
fn current(user: &ObservedUser, field: &Field) -> Option<Value> {
    match field {
        Field::DisplayName => Value::one(&user.display_name),
        Field::Attribute(name) => user.value(name).cloned(),
        Field::Active | Field::Schedule(_) | Field::Group(_) | Field::Role(_) => None,
    }
}

/// The value of a cell: the one before the change, or the current one if the run did not change the field
/// or others have changed it since.
fn cell(
    change: &ChangeRecord,
    field: &Field,
    user: Option<&ObservedUser>,
    schema: &Schema,
) -> Option<Value> {
    let now = user.and_then(|user| current(user, field));
    match field_of(change, field) {
        Some(one) if user.is_none() || is_unchanged(one, now.as_ref(), schema) => one.from.clone(),
        _ => now,
    }
}

/// Whether a field still has the value that the change set.
fn is_unchanged(one: &FieldChange, now: Option<&Value>, schema: &Schema) -> bool {
    match &one.field {
        Field::Attribute(name) => schema.converged(name, one.to.as_ref(), now),
        Field::DisplayName
        | Field::Active
        | Field::Schedule(_)
        | Field::Group(_)
        | Field::Role(_) => one.to.as_ref() == now,
    }
}

/// The fields that the run changed and the row does not restore, with the reason.
fn unchanged_fields<'a>(
    change: &'a ChangeRecord,
    line: &'a ExportRow,
    columns: &'a [AttributeName],
    observed: &'a Observed,
    source: &'a SourceSettings,
) -> impl Iterator<Item = String> + 'a {
    let email = change.intent.subject.email();
    let user = match email.and_then(|email| observed.get(email)) {
        Some(UserMatch::One(user)) if change.intent.operation == Operation::Update => Some(user),
        _ => None,
    };
    let fields = user.into_iter().flat_map(move |user| {
        let fields = change.intent.fields.iter();
        fields.filter_map(move |one| Some((one, cell_of(&one.field, line, columns)?, user)))
    });
    fields.filter_map(move |(one, cell, user)| {
        let (name, now) = (one.field.name(), current(user, &one.field));
        if *cell != one.from {
            Some(format!("{name} was changed since; left unchanged"))
        } else if cell.is_none() && now.is_some() && source.blank_cells == BlankCells::Keep {
            Some(format!(
                "{name} was empty, and a blank cell does not clear it (source.blank_cells = \"keep\")"
            ))
        } else {
            None
        }
    })
}

/// The cell of a field, if the row has one.
fn cell_of<'a>(
    field: &Field,
    line: &'a ExportRow,
    columns: &[AttributeName],
) -> Option<&'a Option<Value>> {
    match field {
        Field::DisplayName => Some(&line.display_name),
        Field::Attribute(name) => {
            let at = columns.iter().position(|column| column == name)?;
            line.values.get(at)
        }
        Field::Active | Field::Schedule(_) | Field::Group(_) | Field::Role(_) => None,
    }
}
