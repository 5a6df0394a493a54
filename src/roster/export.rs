//! Users → a roster that states them as they are, so that planning with it yields no change.

use super::cell::{self, Shape};
use super::header::GROUPS;
use super::header::is_own;
use crate::model::{
    AttributeName, Email, Escaped, GroupName, ObservedGroups, ObservedUser, Schema, Text, Texts,
    UserId, Value,
};
use crate::settings::{Encoding, SourceSettings};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// An exported roster.
#[derive(Debug)]
pub struct Exported {
    /// The text of the CSV file.
    pub csv: String,
    /// The number of users.
    pub users: usize,
    /// A sentence for each attribute or group that can't be exported.
    pub left_out: Vec<String>,
}

/// Writes users as a roster, sorted by email.
///
/// An attribute has a column only if a user has a value: a column applies to all users, and a blank
/// cell clears. For the same reason, an attribute is left out if one of its values can't be written
/// as a cell. Inactive users are written as `deactivate`, so that the roster activates no user. With groups, it has a
/// `groups` column, which makes these groups managed.
#[must_use]
pub fn export<'a>(
    users: impl IntoIterator<Item = &'a ObservedUser>,
    schema: &Schema,
    groups: Option<&ObservedGroups>,
    format: ExportFormat,
) -> Exported {
    let mut users: Vec<_> = users.into_iter().collect();
    users.sort_by(|a, b| a.email.cmp(&b.email));
    let (columns, mut left_out) = columns(&users, schema);
    let groups = groups.map(|groups| names_by_user(groups, &mut left_out));
    let row = |user: &&ObservedUser| {
        let mut row = ExportRow::of(user, &columns);
        if let Some(groups) = groups.as_ref().filter(|_| !user.is_inactive()) {
            row.groups = Some(groups.get(&user.id).cloned().unwrap_or_default());
        }
        row
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    let csv = write(&columns, &rows, format);
    Exported {
        csv,
        users: users.len(),
        left_out,
    }
}

/// The format of an exported roster, which must match the settings that read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportFormat {
    delimiter: u8,
    /// Whether it starts with a byte order mark, if it would be read in another encoding otherwise.
    byte_order_mark: bool,
}

impl Default for ExportFormat {
    /// The format that is detected with the default settings.
    fn default() -> Self {
        Self {
            delimiter: b',',
            byte_order_mark: false,
        }
    }
}

impl From<&SourceSettings> for ExportFormat {
    fn from(settings: &SourceSettings) -> Self {
        Self {
            delimiter: settings.delimiter.unwrap_or(b','),
            byte_order_mark: settings.encoding != Encoding::Auto,
        }
    }
}

/// One row of a roster.
#[derive(Clone, Debug)]
pub struct ExportRow {
    /// The op.
    pub op: &'static str,
    /// The email of the user.
    pub email: Email,
    /// The display name; `None` for a blank cell.
    pub display_name: Option<Value>,
    /// A value for each column.
    pub values: Vec<Option<Value>>,
    /// The groups of the user; `None` for a blank cell, and for no column if no row has groups.
    pub groups: Option<Vec<Text>>,
}

impl ExportRow {
    /// The row that states a user unchanged.
    fn of(user: &ObservedUser, columns: &[AttributeName]) -> Self {
        Self {
            op: if user.is_inactive() {
                "deactivate"
            } else {
                "upsert"
            },
            email: user.email.clone(),
            display_name: Value::one(&user.display_name),
            values: columns
                .iter()
                .map(|name| user.value(name).cloned())
                .collect(),
            groups: None,
        }
    }

    /// The row that deletes a user.
    #[must_use]
    pub fn removal(email: &Email, columns: usize) -> Self {
        Self {
            op: "delete",
            email: email.clone(),
            display_name: None,
            values: vec![None; columns],
            groups: None,
        }
    }
}

/// Writes rows as a roster with these attributes.
#[must_use]
pub fn write(columns: &[AttributeName], rows: &[ExportRow], format: ExportFormat) -> String {
    let has_groups = rows.iter().any(|row| row.groups.is_some());
    let groups_header = has_groups.then_some(GROUPS);
    let header = ["op", "email", "display_name"]
        .into_iter()
        .chain(groups_header);
    let header = header.chain(columns.iter().map(AttributeName::as_str));
    let header = header.map(Into::into).collect::<Vec<_>>();
    let cells = |row: &ExportRow| {
        let ExportRow {
            op,
            email,
            display_name,
            values,
            groups,
        } = row;
        let cell = |value: &Option<Value>| value.as_ref().map(cell_text).unwrap_or_default();
        let row = [(*op).to_owned(), email.to_string(), cell(display_name)];
        let groups = groups.as_deref().map(list_text).unwrap_or_default();
        let groups = has_groups.then_some(groups);
        let row = row.into_iter().chain(groups);
        row.chain(values.iter().map(cell)).collect()
    };
    csv_text(
        format,
        std::iter::once(header).chain(rows.iter().map(cells)),
    )
}

/// Writes records of the same length as CSV.
pub(crate) fn csv_text<R>(format: ExportFormat, records: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item: AsRef<[u8]>>,
{
    let mark = match format.byte_order_mark {
        true => "\u{feff}",
        false => "",
    };
    let mut writer = csv::WriterBuilder::new()
        .delimiter(format.delimiter)
        .from_writer(Vec::from(mark));
    for record in records {
        let written = writer.write_record(record);
        written.expect("writing to memory succeeds, and all records have the same length");
    }
    let bytes = writer.into_inner().expect("writing to memory succeeds");
    String::from_utf8(bytes).expect("the cells are valid UTF-8")
}

/// The attributes that get a column, and a sentence for each attribute that can't have one.
fn columns(users: &[&ObservedUser], schema: &Schema) -> (Vec<AttributeName>, Vec<String>) {
    let (mut columns, mut own) = (BTreeSet::new(), BTreeSet::new());
    let mut left_out = BTreeMap::new();
    for user in users {
        for (name, value) in user.values() {
            if is_own(name) {
                own.insert(name);
            } else if is_settable(name, schema) {
                columns.insert(name);
                if !round_trips(name, value, schema) {
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
    let sentences = left_out.iter().map(|(name, email)| {
        format!("no column for {name}: the value of {email} can't be written as a cell")
    });
    let own = own.into_iter().map(|name| {
        format!("no column for {name}: a column of this name has another meaning in a roster")
    });
    (kept, sentences.chain(own).collect())
}

/// Whether a roster may have a column for an attribute.
#[must_use]
pub fn is_settable(name: &AttributeName, schema: &Schema) -> bool {
    if is_own(name) {
        false
    } else if schema.is_known() {
        schema
            .get(name)
            .is_some_and(|definition| !definition.system)
    } else {
        !name.as_str().starts_with("omni_user_")
    }
}

/// Whether every cell of a row is read again as the same value.
#[must_use]
pub fn row_round_trips(row: &ExportRow, columns: &[AttributeName], schema: &Schema) -> bool {
    let values = columns.iter().zip(&row.values);
    values
        .filter_map(|(name, value)| Some((name, value.as_ref()?)))
        .all(|(name, value)| round_trips(name, value, schema))
}

/// Whether the cell of a value is read again as the same value.
fn round_trips(name: &AttributeName, value: &Value, schema: &Schema) -> bool {
    let shape = schema.get(name).map(Shape::of);
    cell::value(&cell_text(value), shape)
        .is_ok_and(|read| schema.same(name, read.as_ref(), Some(value)))
}

/// The cell of a value.
#[must_use]
pub fn cell_text(value: &Value) -> String {
    match value.texts() {
        Texts::One(text) => text.to_string(),
        Texts::Many(items) => list_text(items),
    }
}

/// The cell of a list.
fn list_text(items: &[Text]) -> String {
    match items.iter().all(|item| is_plain(item)) {
        true => format!("[{}]", items.join(",")),
        false => serde_json::to_string(items).expect("texts serialize to JSON"),
    }
}

/// The names of each user's groups, sorted, and a sentence for each group that a cell can't name.
fn names_by_user<'a>(
    groups: &'a ObservedGroups,
    left_out: &mut Vec<String>,
) -> HashMap<&'a UserId, Vec<Text>> {
    let mut groups: Vec<_> = groups.iter().collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    let mut by_user: HashMap<_, Vec<Text>> = HashMap::new();
    for group in groups {
        let name = GroupName::parse(&group.name);
        let why = why_unwritable(&group.name, name.as_ref().map(GroupName::as_str));
        let shown = Escaped(&group.name);
        match (&group.members, why) {
            (Some(members), None) => {
                for user in members {
                    by_user.entry(user).or_default().push(group.name.clone());
                }
            }
            (None, _) => left_out.push(format!("Omni does not show the members of {shown}")),
            (Some(_), Some(why)) => {
                left_out.push(format!("a cell can't name the group {shown}: {why}"));
            }
        }
    }
    by_user
}

/// Why a file can't state a name exactly: `read` is the name as it would be read from the file.
pub(crate) fn why_unwritable<E: fmt::Display>(name: &str, read: Result<&str, E>) -> Option<String> {
    match read {
        Ok(read) if read == name => None,
        Ok(_) => Some("it has blanks at its ends, or letters that are not composed (NFC)".into()),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether an item can be written between commas without quotes.
fn is_plain(item: &str) -> bool {
    !item.contains(|c: char| c.is_control() || [',', '"', '[', ']', '\\'].contains(&c))
}
