//! The fields of a change, and how they are kept: as JSON, which a person can read in the file too.

use crate::model::{AttributeName, Field, FieldRecord, Texts, Value};
use rusqlite::types::{FromSqlError, FromSqlResult, ValueRef};
use serde::{Deserialize, Serialize};

/// One field as it is kept: written with values as they are, read as [`Texts`].
#[derive(Serialize, Deserialize)]
struct Stored<V> {
    field: StoredField,
    from: Option<V>,
    to: Option<V>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredField {
    DisplayName,
    Active,
    Attribute(Box<str>),
}

pub(super) fn to_json(fields: &[FieldRecord]) -> String {
    let stored: Vec<_> = fields.iter().map(Stored::from).collect();
    serde_json::to_string(&stored).expect("texts and lists of them are always JSON")
}

pub(super) fn from_json(json: ValueRef<'_>) -> FromSqlResult<Vec<FieldRecord>> {
    let stored: Vec<Stored<Texts>> = serde_json::from_str(json.as_str()?)
        .map_err(|_| FromSqlError::Other("not the fields of a change".into()))?;
    Ok(stored.into_iter().map(FieldRecord::from).collect())
}

impl<'a> From<&'a FieldRecord> for Stored<&'a Value> {
    fn from(record: &'a FieldRecord) -> Self {
        let FieldRecord { field, from, to } = record;
        Self {
            field: match field {
                Field::DisplayName => StoredField::DisplayName,
                Field::Active => StoredField::Active,
                Field::Attribute(name) => StoredField::Attribute(name.as_str().into()),
            },
            from: from.as_ref(),
            to: to.as_ref(),
        }
    }
}

impl From<Stored<Texts>> for FieldRecord {
    fn from(stored: Stored<Texts>) -> Self {
        let Stored { field, from, to } = stored;
        Self {
            field: match field {
                StoredField::DisplayName => Field::DisplayName,
                StoredField::Active => Field::Active,
                StoredField::Attribute(name) => Field::Attribute(AttributeName::new(&name)),
            },
            from: from.map(Value::stored),
            to: to.map(Value::stored),
        }
    }
}
