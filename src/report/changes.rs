//! The changes of a run as CSV, for spreadsheets: one row for each field, and one for a membership, a role or a
//! removal.

use super::cells::{MARK, write_row};
use crate::model::{ChangeRecord, FieldChange, Operation, RoleName, UserId, Value};
use crate::roster::export;
use chrono::SecondsFormat;
use std::io;

const HEADER: [&str; 12] = [
    "run",
    "at",
    "email",
    "id",
    "operation",
    "approved",
    "outcome",
    "detail",
    "field",
    "from",
    "to",
    "default",
];

/// Writes the changes of a run in memory.
struct ChangesCsv(csv::Writer<Vec<u8>>);

/// The beginning of the file: the byte order mark and the header.
///
/// # Errors
/// Never in practice, because it is written in memory.
pub fn begin() -> io::Result<Vec<u8>> {
    let mut csv = ChangesCsv(csv::Writer::from_writer(MARK.into()));
    write_row(&mut csv.0, HEADER)?;
    csv.end()
}

/// The rows of some changes.
///
/// # Errors
/// Never in practice, because they are written in memory.
pub fn rows(changes: &[ChangeRecord]) -> io::Result<Vec<u8>> {
    let mut csv = ChangesCsv(csv::Writer::from_writer(Vec::new()));
    for change in changes {
        match &change.intent.fields[..] {
            [] => csv.row(change, None)?,
            fields => fields
                .iter()
                .try_for_each(|field| csv.row(change, Some(field)))?,
        }
    }
    csv.end()
}

impl ChangesCsv {
    fn row(&mut self, change: &ChangeRecord, field: Option<&FieldChange>) -> io::Result<()> {
        let intent = &change.intent;
        let settled = change.settled.as_ref();
        let value = |of: fn(&FieldChange) -> &Option<Value>| {
            let value = field.and_then(|one| of(one).as_ref());
            value.map_or_else(String::new, export::cell_text)
        };
        let group = intent.group.as_ref().map(|group| group.name.as_str());
        let role = intent.role.as_ref();
        let scope = role.map(|role| format!("role on {}", role.scope));
        let from_role = role.and_then(|role| role.from.as_ref());
        let group_if = |operation| group.filter(|_| intent.operation == operation);
        let (from, to) = (value(|one| &one.from), value(|one| &one.to));
        let cells: [&str; HEADER.len()] = [
            &change.run.to_string(),
            &intent.intended.to_rfc3339_opts(SecondsFormat::Secs, true),
            &intent.subject.to_string(),
            intent.user_id.as_ref().map_or("", UserId::as_str),
            intent.operation.as_str(),
            if intent.approved { "true" } else { "false" },
            change.outcome_word(),
            settled.map_or("", |settled| &settled.detail),
            match (field, &scope) {
                (Some(one), _) => one.field.name(),
                (None, Some(scope)) => scope,
                (None, None) => group.map_or("", |_| "group"),
            },
            from_role.map_or(
                group_if(Operation::Leave).unwrap_or(&from),
                RoleName::as_str,
            ),
            role.map_or(group_if(Operation::Join).unwrap_or(&to), |role| {
                role.to.as_str()
            }),
            &value(|one| &one.default),
        ];
        Ok(write_row(&mut self.0, cells)?)
    }

    fn end(self) -> io::Result<Vec<u8>> {
        self.0.into_inner().map_err(|error| error.into_error())
    }
}
