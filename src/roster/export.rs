//! Users → a roster that says what they are: read again, it asks for nothing.

use super::cell::{self, Shape};
use crate::model::{AttributeName, Email, ObservedUser, Schema, Texts, Value};
use crate::settings::{Encoding, SourceSettings};
use std::collections::{BTreeMap, BTreeSet};

/// A roster that was written.
#[derive(Debug)]
pub struct Exported {
    /// The CSV.
    pub csv: String,
    /// How many users are in it.
    pub users: usize,
    /// What could not be written, and so is not in it, in plain words.
    pub left_out: Vec<String>,
}

/// Writes users as a roster, sorted by email.
///
/// An attribute has a column where somebody has a value: a column is a claim on everybody's, and a
/// blank cell clears. An attribute with a value that no cell can say is left out whole, for the same
/// reason. Inactive users are written as `deactivate`, so that the roster wakes nobody.
#[must_use]
pub fn export<'a>(
    users: impl IntoIterator<Item = &'a ObservedUser>,
    schema: &Schema,
    dialect: Dialect,
) -> Exported {
    let mut users: Vec<_> = users.into_iter().collect();
    users.sort_by(|a, b| a.email.cmp(&b.email));
    let (columns, left_out) = columns(&users, schema);
    let lines: Vec<_> = users.iter().map(|user| Line::of(user, &columns)).collect();
    let csv = write(&columns, &lines, dialect);
    Exported {
        csv,
        users: users.len(),
        left_out,
    }
}

/// How a roster is written, so that the settings read it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    delimiter: u8,
    /// Whether it begins with the mark of UTF-8, since it would be taken for another encoding.
    mark: bool,
}

impl Default for Dialect {
    /// What is read under every setting that finds out by itself.
    fn default() -> Self {
        Self {
            delimiter: b',',
            mark: false,
        }
    }
}

impl From<&SourceSettings> for Dialect {
    fn from(settings: &SourceSettings) -> Self {
        Self {
            delimiter: settings.delimiter.unwrap_or(b','),
            mark: settings.encoding != Encoding::Auto,
        }
    }
}

/// One row of a roster.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it asks for.
    pub op: &'static str,
    /// Whose it is.
    pub email: Email,
    /// The name to show.
    pub display_name: Option<Value>,
    /// A value for each column.
    pub values: Vec<Option<Value>>,
}

impl Line {
    /// A user as they are.
    fn of(user: &ObservedUser, columns: &[AttributeName]) -> Self {
        Self {
            op: if user.active { "upsert" } else { "deactivate" },
            email: user.email.clone(),
            display_name: Value::one(&user.display_name),
            values: columns
                .iter()
                .map(|name| user.attributes.get(name).cloned())
                .collect(),
        }
    }

    /// That a user is to go.
    #[must_use]
    pub fn removal(email: &Email, columns: usize) -> Self {
        Self {
            op: "delete",
            email: email.clone(),
            display_name: None,
            values: vec![None; columns],
        }
    }
}

/// Writes rows as a roster with these attributes.
#[must_use]
pub fn write(columns: &[AttributeName], lines: &[Line], dialect: Dialect) -> String {
    let mark = if dialect.mark { "\u{feff}" } else { "" };
    let mut writer = csv::WriterBuilder::new()
        .delimiter(dialect.delimiter)
        .from_writer(Vec::from(mark));
    let mut record = |cells: Vec<String>| {
        writer
            .write_record(cells)
            .expect("a Vec takes every write, and all rows are of one length");
    };
    let header = ["op", "email", "display_name"].into_iter();
    record(
        header
            .chain(columns.iter().map(AttributeName::as_str))
            .map(Into::into)
            .collect(),
    );
    for Line {
        op,
        email,
        display_name,
        values,
    } in lines
    {
        let cell = |value: &Option<Value>| value.as_ref().map(text).unwrap_or_default();
        let row = [(*op).to_owned(), email.to_string(), cell(display_name)];
        record(row.into_iter().chain(values.iter().map(cell)).collect());
    }
    let bytes = writer.into_inner().expect("a Vec takes every write");
    String::from_utf8(bytes).expect("texts between commas are a text")
}

/// The attributes that get a column, and those that can't have one.
fn columns(users: &[&ObservedUser], schema: &Schema) -> (Vec<AttributeName>, Vec<String>) {
    let mut columns = BTreeSet::new();
    let mut left_out = BTreeMap::new();
    for user in users {
        for (name, value) in &user.attributes {
            if is_ours(name, schema) {
                columns.insert(name);
                if !can_be_said(name, value, schema) {
                    left_out.entry(name).or_insert(&user.email);
                }
            }
        }
    }
    let kept = columns
        .into_iter()
        .filter(|name| !left_out.contains_key(name))
        .cloned()
        .collect();
    let said = left_out.iter().map(|(name, email)| {
        format!("no column for {name}: the value that {email} has can't be written in a cell")
    });
    (kept, said.collect())
}

/// Whether a roster may have a column for an attribute.
#[must_use]
pub fn is_ours(name: &AttributeName, schema: &Schema) -> bool {
    if schema.is_known() {
        schema
            .get(name)
            .is_some_and(|definition| !definition.system)
    } else {
        !name.as_str().starts_with("omni_user_")
    }
}

/// Whether every cell of a row, read again, is its value.
#[must_use]
pub fn can_be_read_again(line: &Line, columns: &[AttributeName], schema: &Schema) -> bool {
    let values = columns.iter().zip(&line.values);
    values
        .filter_map(|(name, value)| Some((name, value.as_ref()?)))
        .all(|(name, value)| can_be_said(name, value, schema))
}

/// Whether the cell of a value, read again, is that value.
fn can_be_said(name: &AttributeName, value: &Value, schema: &Schema) -> bool {
    let shape = schema.get(name).map(Shape::of);
    cell::value(&text(value), shape).is_ok_and(|read| schema.same(name, read.as_ref(), Some(value)))
}

/// A value as a cell says it.
fn text(value: &Value) -> String {
    match value.texts() {
        Texts::One(text) => text.to_string(),
        Texts::Many(items) if items.iter().all(|item| is_plain(item)) => {
            format!("[{}]", items.join(","))
        }
        Texts::Many(items) => serde_json::to_string(items).expect("texts are JSON"),
    }
}

/// Whether an item says itself between commas, with nothing to be mistaken for.
fn is_plain(item: &str) -> bool {
    !item.contains(|c: char| c.is_control() || [',', '"', '[', ']', '\\'].contains(&c))
}
