//! `history RUN --undo`: a roster that takes a run's changes back.
//!
//! Every cell is filled from an observation made now, and changed only where that run changed it: what
//! others did since stays.

use super::{Exit, out};
use crate::desired::export::{self, Line};
use crate::journal::{ChangeRecord, Field, RunRecord};
use crate::metrics::Metrics;
use crate::omni::{self, Client, Observed, Sighting};
use crate::reconcile::{Kind, Outcome, RunError};
use crate::settings::Settings;
use crate::user::{AttributeName, ObservedUser, Schema, Value};
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
    let Undo { csv, rows, notes } = undo(changes, &observed, &schema);
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

fn undo(changes: &[ChangeRecord], observed: &Observed, schema: &Schema) -> Undo {
    let done: Vec<_> = changes.iter().filter(|change| is_done(change)).collect();
    let columns: BTreeSet<_> = done.iter().flat_map(|change| attributes(change)).collect();
    let columns: Vec<_> = columns
        .into_iter()
        .filter(|name| export::is_ours(name, schema))
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
        let (mut line, mut note) = take_back(change, &columns, observed);
        if line
            .as_ref()
            .is_some_and(|line| !export::can_be_read_again(line, &columns, schema))
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
        csv: export::write(&columns, &lines),
        rows: lines.len(),
        notes,
    }
}

fn is_done(change: &ChangeRecord) -> bool {
    change
        .settled
        .as_ref()
        .is_some_and(|settled| settled.outcome == Outcome::Done)
}

fn attributes(change: &ChangeRecord) -> impl Iterator<Item = &AttributeName> {
    // A user who was made goes: nothing of them needs a column.
    let fields = change
        .intent
        .fields
        .iter()
        .filter(|_| change.intent.kind != Kind::Create);
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
) -> (Option<Line>, Option<String>) {
    let intent = &change.intent;
    let user = match observed.get(&intent.email) {
        Some(Sighting::Several(_)) => {
            return (
                None,
                Some("several users answer to this email; left out".into()),
            );
        }
        Some(Sighting::One(user)) => Some(user.as_ref()),
        None => None,
    };
    let row = |op: &'static str| Line {
        op,
        email: intent.email.clone(),
        display_name: before(change, &Field::DisplayName).map_or_else(
            || user.and_then(|user| Value::one(&user.display_name)),
            Clone::clone,
        ),
        values: columns
            .iter()
            .map(|name| value(change, name, user))
            .collect(),
    };
    let is_other = |user: &ObservedUser| intent.user_id.as_ref().is_some_and(|id| *id != user.id);
    if intent.kind != Kind::Delete && user.is_some_and(is_other) {
        return (None, Some("was made again since; left out".into()));
    }
    match (intent.kind, user) {
        (Kind::Create, Some(_)) => (Some(Line::removal(&intent.email, columns.len())), None),
        (Kind::Create, None) => (None, Some("is gone already".into())),
        (Kind::Delete, None) if before(change, &Field::Active).is_some() => (
            None,
            Some("was inactive, and would come back active; left out".into()),
        ),
        (Kind::Delete, None) => (
            Some(row("upsert")),
            Some("comes back with a new id, without groups, roles and content".into()),
        ),
        (Kind::Delete, Some(_)) => (None, Some("was made again already; left out".into())),
        (Kind::Deactivate, Some(_)) => (Some(row("upsert")), None),
        (Kind::Update, Some(_)) => {
            let was_inactive = before(change, &Field::Active).is_some();
            (
                Some(row(if was_inactive { "deactivate" } else { "upsert" })),
                None,
            )
        }
        (Kind::Deactivate | Kind::Update, None) => {
            (None, Some("is no longer in Omni; left out".into()))
        }
    }
}

/// What a field was before the change, where the change is of it.
fn before<'a>(change: &'a ChangeRecord, field: &Field) -> Option<&'a Option<Value>> {
    change
        .intent
        .fields
        .iter()
        .find(|one| one.field == *field)
        .map(|one| &one.from)
}

fn value(
    change: &ChangeRecord,
    name: &AttributeName,
    user: Option<&ObservedUser>,
) -> Option<Value> {
    match before(change, &Field::Attribute(name.clone())) {
        Some(before) => before.clone(),
        None => user.and_then(|user| user.attributes.get(name).cloned()),
    }
}
