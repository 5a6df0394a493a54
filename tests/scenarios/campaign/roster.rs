//! Rosters as they are meant, their text, and whether a user is as a row wants them: told without any
//! of the program's own types.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The attributes that a roster may have columns of.
pub const COLUMNS: [&str; 4] = ["department", "cost_center", "region", "tier"];
pub const NUMBER: usize = 1;
pub const LIST: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Upsert,
    Delete,
    Deactivate,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    Op,
    Number,
    Short,
    /// Who it is about can't be read.
    Email,
    /// It stands there twice, and says different things.
    Doubled,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub op: Op,
    pub email: String,
    /// Blank leaves the present one.
    pub name: String,
    /// One for each of [`COLUMNS`], whether the sheet has that column or not.
    pub cells: [String; 4],
    pub flaw: Option<Flaw>,
    /// Whether the address is written in capitals.
    pub loud: bool,
}

#[derive(Clone, Debug)]
pub struct Sheet {
    /// Of [`COLUMNS`].
    pub columns: Vec<usize>,
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug)]
pub enum File {
    Sheet(Sheet),
    Gone,
    Empty,
    Header,
    /// With a column that Omni does not know.
    Column(Sheet),
    /// A quote that is not closed.
    Quote(Sheet),
}

/// What a roster says of somebody.
#[derive(Clone, Copy, Debug)]
pub enum DesiredUser<'a> {
    Nothing,
    /// A bad row names them.
    Frozen,
    Row(&'a Row),
}

impl File {
    /// The sheet, if the file can be read.
    pub fn sheet(&self) -> Option<&Sheet> {
        match self {
            Self::Sheet(sheet) if !sheet.rows.is_empty() => Some(sheet),
            _ => None,
        }
    }

    /// The text of the file; `None` where there is none.
    pub fn text(&self) -> Option<String> {
        let text = match self {
            Self::Sheet(sheet) => sheet.text(""),
            Self::Gone => return None,
            Self::Empty => String::new(),
            Self::Header => "op,email,display_name\n".to_owned(),
            Self::Column(sheet) => sheet.text(",shoe_size"),
            Self::Quote(sheet) => sheet.text("") + "upsert,\"quoted@x.co,Quoted\n",
        };
        Some(text)
    }
}

impl Sheet {
    fn text(&self, more: &str) -> String {
        let names: String = self
            .columns
            .iter()
            .map(|&at| format!(",{}", COLUMNS[at]))
            .collect();
        let mut text = format!("op,email,display_name{names}{more}\n");
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
        let email = match (row.flaw, row.loud) {
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
        let rest = format!("{cells}{}", if more.is_empty() { "" } else { ",1" });
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

    pub fn want(&self, email: &str) -> DesiredUser<'_> {
        let named = |row: &&Row| row.flaw != Some(Flaw::Email) && row.email == email;
        match self.rows.iter().find(named) {
            None => DesiredUser::Nothing,
            Some(Row { flaw: Some(_), .. }) => DesiredUser::Frozen,
            Some(row) => DesiredUser::Row(row),
        }
    }

    /// Whether its silence may remove anybody. Of a row that is too short it can't be told which of its
    /// cells are missing, so that it may be anybody's, and an unreadable email switches off pruning.
    pub fn may_prune(&self) -> bool {
        let is_unreadable = |row: &Row| matches!(row.flaw, Some(Flaw::Email | Flaw::Short));
        let upserts = |row: &Row| row.flaw.is_none() && row.op == Op::Upsert;
        !self.rows.iter().any(is_unreadable) && self.rows.iter().any(upserts)
    }

    pub fn upserts(&self) -> impl Iterator<Item = &str> {
        let upserts = |row: &&Row| row.flaw.is_none() && row.op == Op::Upsert;
        self.rows
            .iter()
            .filter(upserts)
            .map(|row| row.email.as_str())
    }
}

/// Whether this is "no value".
pub fn is_none(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Whether an attribute is as a cell wants it.
pub fn is_as_wanted(column: usize, cell: &str, value: &Value, keeps_blanks: bool) -> bool {
    let cell = cell.trim();
    if cell.is_empty() {
        return keeps_blanks || is_none(value);
    }
    if is_none(value) {
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
