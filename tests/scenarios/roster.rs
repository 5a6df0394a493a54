//! Rosters, their text, and whether a user matches a row, without any of the program's types.

use crate::invariants::ATTRIBUTES;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The attributes that a roster may have columns of.
pub(crate) const COLUMNS: [&str; 4] = ["department", "cost_center", "region", "tier"];
pub(crate) const NUMBER: usize = 1;
pub(crate) const LIST: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Upsert,
    Delete,
    Deactivate,
}

/// An error in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Op,
    Number,
    Short,
    /// The email is unreadable.
    Email,
    /// There are two rows that contradict each other.
    Doubled,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) op: Op,
    pub(crate) email: String,
    /// Blank leaves the present one.
    pub(crate) name: String,
    /// One for each of [`COLUMNS`], whether the roster has that column or not.
    pub(crate) cells: [String; 4],
    /// The cell of the `groups` column, whether the roster has one or not; `None` if it is blank.
    pub(crate) groups: Option<Vec<&'static str>>,
    /// The cell of the column `successor`, whether the roster has it or not.
    pub(crate) successor: String,
    pub(crate) flaw: Option<Flaw>,
    /// Whether the email is in capitals.
    pub(crate) is_upper_case: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// Of [`COLUMNS`].
    pub(crate) columns: Vec<usize>,
    /// Whether it has a `groups` column.
    pub(crate) has_groups: bool,
    /// Whether it has the column `successor`.
    pub(crate) has_successor: bool,
    pub(crate) rows: Vec<Row>,
}

/// The state of the file. Only a whole one is readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    Whole,
    Gone,
    Empty,
    Header,
    UnknownColumn,
    OpenQuote,
}

/// What a roster states about a user.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    Nothing,
    /// An invalid row names the user.
    Frozen,
    Row(&'a Row),
}

impl Roster {
    /// The text of the file; `None` if there is no file.
    pub(crate) fn file(&self, state: FileState) -> Option<String> {
        let text = match state {
            FileState::Whole => self.text(""),
            FileState::Gone => return None,
            FileState::Empty => String::new(),
            FileState::Header => "op,email,display_name\n".to_owned(),
            FileState::UnknownColumn => self.text(",shoe_size"),
            FileState::OpenQuote => self.text("") + "upsert,\"quoted@x.co,Quoted\n",
        };
        Some(text)
    }

    /// The number of data rows.
    pub(crate) fn row_count(&self) -> usize {
        let lines = |row: &Row| 1 + usize::from(row.flaw == Some(Flaw::Doubled));
        self.rows.iter().map(lines).sum()
    }

    /// Whether a user has the name and the attributes of a row.
    pub(crate) fn matches(&self, row: &Row, user: &Value, keeps_blanks: bool) -> bool {
        let name = row.name.trim();
        (name.is_empty() || user["displayName"] == name)
            && self.columns.iter().all(|&at| {
                let value = &user[ATTRIBUTES][COLUMNS[at]];
                is_as_wanted(at, &row.cells[at], value, keeps_blanks)
            })
    }

    fn text(&self, more: &str) -> String {
        let names: String = self
            .columns
            .iter()
            .map(|&at| format!(",{}", COLUMNS[at]))
            .collect();
        let groups = if self.has_groups { ",groups" } else { "" };
        let successor = if self.has_successor { ",successor" } else { "" };
        let mut text = format!("op,email,display_name{names}{groups}{successor}{more}\n");
        for row in &self.rows {
            self.write(row, more, &mut text);
        }
        text
    }

    fn write(&self, row: &Row, more: &str, text: &mut String) {
        let op = match row.op {
            Op::Upsert => "upsert",
            Op::Delete => "delete",
            Op::Deactivate => "deactivate",
        };
        let email = match (row.flaw, row.is_upper_case) {
            (Some(Flaw::Email), _) => row.email.replace('@', " at "),
            (_, true) => row.email.to_uppercase(),
            (_, false) => row.email.clone(),
        };
        let cells: String = self
            .columns
            .iter()
            .map(|&at| match row.flaw {
                Some(Flaw::Number) if at == NUMBER => ",twelve".to_owned(),
                _ => format!(",\"{}\"", row.cells[at]),
            })
            .collect();
        let groups = match &row.groups {
            _ if !self.has_groups => String::new(),
            Some(names) => format!(",\"[{}]\"", names.join(",")),
            None => ",".to_owned(),
        };
        let successor = match self.has_successor {
            true => format!(",{}", row.successor),
            false => String::new(),
        };
        let more = if more.is_empty() { "" } else { ",1" };
        let rest = format!("{cells}{groups}{successor}{more}");
        let name = &row.name;
        let other = if row.op == Op::Delete {
            "deactivate"
        } else {
            "delete"
        };
        match row.flaw {
            Some(Flaw::Op) => writeln!(text, "upsret,{email},{name}{rest}"),
            Some(Flaw::Short) => writeln!(text, "{op},{email}"),
            Some(Flaw::Doubled) => {
                writeln!(
                    text,
                    "{op},{email},{name}{rest}\n{other},{email},{name}{rest}"
                )
            }
            None | Some(Flaw::Number | Flaw::Email) => {
                writeln!(text, "{op},{email},{name}{rest}")
            }
        }
        .expect("a String takes every write");
    }

    pub(crate) fn want(&self, email: &str) -> Wanted<'_> {
        // An unreadable email freezes the user that it probably means.
        match self.rows.iter().find(|row| row.email == email) {
            None => Wanted::Nothing,
            Some(Row { flaw: Some(_), .. }) => Wanted::Frozen,
            Some(row) => Wanted::Row(row),
        }
    }

    /// Whether it may remove users that it does not name. An unreadable email and a row that is too short, which may
    /// be about any user, block pruning.
    pub(crate) fn may_prune(&self) -> bool {
        let is_unreadable = |row: &Row| matches!(row.flaw, Some(Flaw::Email | Flaw::Short));
        let upserts = |row: &Row| row.flaw.is_none() && row.op == Op::Upsert;
        !self.rows.iter().any(is_unreadable) && self.rows.iter().any(upserts)
    }

    pub(crate) fn upserts(&self) -> impl Iterator<Item = &str> {
        let upserts = |row: &&Row| row.flaw.is_none() && row.op == Op::Upsert;
        self.rows
            .iter()
            .filter(upserts)
            .map(|row| row.email.as_str())
    }
}

/// The value that one reading shows for `tier` after it was cleared. No scenario sets it.
const DEFAULT_TIER: &str = "standard";

/// Whether this is "no value".
pub(crate) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty() || text == DEFAULT_TIER,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Whether an attribute has the value of a cell.
pub(crate) fn is_as_wanted(column: usize, cell: &str, value: &Value, keeps_blanks: bool) -> bool {
    let cell = cell.trim();
    if cell.is_empty() {
        return keeps_blanks || is_blank(value);
    }
    if is_blank(value) {
        return cell == "[]";
    }
    match column {
        NUMBER => {
            let number = |text: &str| text.parse::<f64>().ok();
            value
                .as_str()
                .is_some_and(|value| number(value) == number(cell))
        }
        LIST => {
            let items = cell.trim_matches(['[', ']']).split(',').map(str::trim);
            let wanted: BTreeSet<_> = items.collect();
            let there = value.as_array().into_iter().flatten();
            there.filter_map(Value::as_str).collect::<BTreeSet<_>>() == wanted
        }
        _ => value.as_str() == Some(cell),
    }
}
