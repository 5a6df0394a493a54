//! `history RUN --undo`: a roster that takes a run's changes back.
//!
//! Every cell is filled from an observation made now, and changed only where that run changed it and where it is
//! still as that run left it: what others did since stays.

use super::{Exit, out};
use crate::metrics::Metrics;
use crate::model::{
    AttributeName, ChangeOutcome, ChangeRecord, Field, FieldChange, Observed, ObservedUser,
    Operation, RunRecord, Schema, UserMatch, Value,
};
use crate::omni::{self, Client};
use crate::roster::export::{self, ExportRow};
use crate::run::RunError;
use crate::settings::{BlankCells, Settings, SourceSettings};
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

pub(super) async fn run(
    settings: &Settings,
    run: &RunRecord,
    changes: &[ChangeRecord],
) -> anyhow::Result<Exit> {
    let client =
        Client::new(&settings.omni, &settings.state.dir, Metrics::new()).map_err(RunError::from)?;
    client.begin(&settings.omni.keys.read()?);
    let reader = client.reader(&CancellationToken::new());
    let schema = reader
        .definitions()
        .await
        .map_err(RunError::from)?
        .into_schema();
    let observed = omni::list(&reader).await.map_err(RunError::from)?;
    let Undo { csv, rows, notes } = undo(changes, &observed, &schema, &settings.source);
    notes.iter().for_each(|note| out::warning(note));
    if rows == 0 {
        out::note(&format!(
            "run {} did nothing that can be taken back",
            run.number
        ));
        return Ok(Exit::Ok);
    }
    out::result(&csv);
    out::note(&format!(
        "a roster that takes run {} back; look at it with `plan` first",
        run.number
    ));
    Ok(Exit::Ok)
}

struct Undo {
    csv: String,
    rows: usize,
    notes: Vec<String>,
}

fn undo(
    changes: &[ChangeRecord],
    observed: &Observed,
    schema: &Schema,
    source: &SourceSettings,
) -> Undo {
    let done: Vec<_> = changes.iter().filter(|change| is_done(change)).collect();
    let columns: BTreeSet<_> = done.iter().flat_map(|change| attributes(change)).collect();
    let columns: Vec<_> = columns
        .into_iter()
        .filter(|name| export::is_settable(name, schema))
        .cloned()
        .collect();
    let mut notes: Vec<_> = changes
        .iter()
        .filter(|change| change.settled.is_none())
        .map(|change| {
            format!(
                "{}: what became of its change is not known; it is left out",
                change.intent.email
            )
        })
        .collect();
    let mut lines = Vec::new();
    for change in done {
        let (mut line, mut note) = take_back(change, &columns, observed, schema);
        if let Some(line) = &line {
            let kept = left(change, line, &columns, observed, source);
            notes.extend(kept.map(|note| format!("{}: {note}", change.intent.email)));
        }
        if line
            .as_ref()
            .is_some_and(|line| !export::row_round_trips(line, &columns, schema))
        {
            (line, note) = (
                None,
                Some("has a value that no cell can say; left out".to_owned()),
            );
        }
        lines.extend(line);
        notes.extend(note.map(|note| format!("{}: {note}", change.intent.email)));
    }
    Undo {
        csv: export::write(&columns, &lines, source.into()),
        rows: lines.len(),
        notes,
    }
}

fn is_done(change: &ChangeRecord) -> bool {
    change
        .settled
        .as_ref()
        .is_some_and(|settled| settled.outcome == ChangeOutcome::Applied)
}

fn attributes(change: &ChangeRecord) -> impl Iterator<Item = &AttributeName> {
    // A user who was made goes: nothing of them needs a column.
    let fields = change
        .intent
        .fields
        .iter()
        .filter(|_| change.intent.operation != Operation::Create);
    fields.filter_map(|one| match &one.field {
        Field::Attribute(name) => Some(name),
        Field::DisplayName | Field::Active => None,
    })
}

/// The row that takes one change back, and what it can't bring back.
fn take_back(
    change: &ChangeRecord,
    columns: &[AttributeName],
    observed: &Observed,
    schema: &Schema,
) -> (Option<ExportRow>, Option<String>) {
    let intent = &change.intent;
    let user = match observed.get(&intent.email) {
        Some(UserMatch::Several(_)) => {
            return (
                None,
                Some("several users answer to this email; left out".into()),
            );
        }
        Some(UserMatch::One(user)) => Some(user.as_ref()),
        None => None,
    };
    let row = |op: &'static str| ExportRow {
        op,
        email: intent.email.clone(),
        display_name: cell(change, &Field::DisplayName, user, schema),
        values: columns
            .iter()
            .map(|name| cell(change, &Field::Attribute(name.clone()), user, schema))
            .collect(),
    };
    let is_other = |user: &ObservedUser| intent.user_id.as_ref().is_some_and(|id| *id != user.id);
    if intent.operation != Operation::Delete && user.is_some_and(is_other) {
        return (None, Some("was made again since; left out".into()));
    }
    match (intent.operation, user) {
        (Operation::Create, Some(_)) => {
            (Some(ExportRow::removal(&intent.email, columns.len())), None)
        }
        (Operation::Create, None) => (None, Some("is gone already".into())),
        (Operation::Delete, None) if before(change, &Field::Active).is_some() => (
            None,
            Some("was inactive, and would come back active; left out".into()),
        ),
        (Operation::Delete, None) => (
            Some(row("upsert")),
            Some("comes back with a new id, without groups, roles and content".into()),
        ),
        (Operation::Delete, Some(_)) => (None, Some("was made again already; left out".into())),
        (Operation::Deactivate, Some(_)) => (Some(row("upsert")), None),
        (Operation::Update, Some(_)) => {
            let was_inactive = before(change, &Field::Active).is_some();
            (
                Some(row(if was_inactive { "deactivate" } else { "upsert" })),
                None,
            )
        }
        (Operation::Deactivate | Operation::Update, None) => {
            (None, Some("is no longer in Omni; left out".into()))
        }
    }
}

/// What a field was before the change, where the change is of it.
fn before<'a>(change: &'a ChangeRecord, field: &Field) -> Option<&'a Option<Value>> {
    of(change, field).map(|one| &one.from)
}

fn of<'a>(change: &'a ChangeRecord, field: &Field) -> Option<&'a FieldChange> {
    change.intent.fields.iter().find(|one| one.field == *field)
}

/// What a user has in a field that a roster has a cell for.
fn present(user: &ObservedUser, field: &Field) -> Option<Value> {
    match field {
        Field::DisplayName => Value::one(&user.display_name),
        Field::Attribute(name) => user.attributes.get(name).cloned(),
        Field::Active => None,
    }
}

/// What a cell is to say: what was there before, or what is there now where others have changed it since, or
/// the run did not.
fn cell(
    change: &ChangeRecord,
    field: &Field,
    user: Option<&ObservedUser>,
    schema: &Schema,
) -> Option<Value> {
    let now = user.and_then(|user| present(user, field));
    match of(change, field) {
        Some(one) if user.is_none() || is_left(one, now.as_ref(), schema) => one.from.clone(),
        _ => now,
    }
}

/// Whether a field is still as the change left it.
fn is_left(one: &FieldChange, now: Option<&Value>, schema: &Schema) -> bool {
    match &one.field {
        Field::Attribute(name) => schema.converged(name, one.to.as_ref(), now),
        Field::DisplayName | Field::Active => one.to.as_ref() == now,
    }
}

/// What a row leaves as it is, though the run changed it, and why.
fn left<'a>(
    change: &'a ChangeRecord,
    line: &'a ExportRow,
    columns: &'a [AttributeName],
    observed: &'a Observed,
    source: &'a SourceSettings,
) -> impl Iterator<Item = String> + 'a {
    let user = match observed.get(&change.intent.email) {
        Some(UserMatch::One(user)) if change.intent.operation == Operation::Update => Some(user),
        _ => None,
    };
    let fields = user.into_iter().flat_map(move |user| {
        let fields = change.intent.fields.iter();
        fields.filter_map(move |one| Some((one, said(&one.field, line, columns)?, user)))
    });
    fields.filter_map(move |(one, cell, user)| {
        let (name, now) = (one.field.name(), present(user, &one.field));
        if *cell != one.from {
            Some(format!("{name} was changed since; it is left as it is"))
        } else if cell.is_none() && now.is_some() && source.blank_cells == BlankCells::Keep {
            Some(format!(
                "{name} was empty, and a blank cell leaves it as it is (source.blank_cells = \"keep\")"
            ))
        } else {
            None
        }
    })
}

/// The cell of a field, where the row has one.
fn said<'a>(
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
        Field::Active => None,
    }
}
