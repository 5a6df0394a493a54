//! Problems of a roster: what kinds there are, and where they are.

use super::Email;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Where something stands in the roster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file's name as a person would say it.
    pub file: Arc<str>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// The cell's number in its row, from 1, and its column's header, where one cell is meant.
    pub column: Option<(usize, Arc<str>)>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if let Some((number, name)) = &self.column {
                write!(f, ":{number} ({name})")?;
            }
        }
        Ok(())
    }
}

/// Something in the roster that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing it is.
    pub kind: ProblemKind,
    /// Where it stands.
    pub place: Location,
    /// What is wrong, as a clause for a person.
    pub what: String,
    /// What to do, as a clause for a person.
    pub remedy: String,
    /// Whose row it is, where that could be read.
    pub email: Option<Email>,
}

impl Problem {
    /// The same, said of a user's row.
    pub(crate) fn of(self, email: &Email) -> Self {
        Self {
            email: Some(email.clone()),
            ..self
        }
    }

    /// The order of the roster.
    pub(crate) fn in_order(&self, other: &Self) -> Ordering {
        fn key(place: &Location) -> (&str, u64, Option<usize>) {
            (
                &place.file,
                place.line,
                place.column.as_ref().map(|column| column.0),
            )
        }
        key(&self.place).cmp(&key(&other.place))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.remedy)
    }
}

/// What kind of thing a problem is: what is alike is shown together, and machines go by it. None
/// tells a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// A file that is not there, can't be read, or is too large.
    File,
    /// A workbook instead of a CSV.
    Workbook,
    /// Bytes that are no text in the expected encoding.
    Encoding,
    /// A file without rows.
    Empty,
    /// More of something than a roster has.
    TooMuch,
    /// A quote that is missing or too many.
    Quote,
    /// A column that can't be.
    Column,
    /// A row of another length than the header.
    RowLength,
    /// A cell with whole rows in it.
    SwallowedRows,
    /// Rows of one user that say different things.
    RowsDiffer,
    /// No op, or an unknown one.
    Op,
    /// No address, or not one.
    Email,
    /// A user to be made who has no name.
    NoName,
    /// A list where there is one value, the other way round, or one that is written wrong.
    List,
    /// No decimal number where there must be one.
    Number,
    /// A note: a row that stands twice.
    RowRepeated,
    /// A note: a row of a user that is left alone.
    RowNotFollowed,
    /// A note: a column without a value in it.
    BlankColumn,
    /// A note: a list with marks in it that may be meant to separate or to enclose.
    DoubtfulList,
    /// A note: a value that a spreadsheet may have made of another one.
    Mangled,
    /// A note: a number that may have lost the zeros before it.
    LostZeros,
    /// A note: a character that nobody sees.
    Invisible,
}

impl ProblemKind {
    /// Its name for machines: fixed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.names().0
    }

    /// What several of it are called.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::File => ("file", "files that can't be used"),
            Self::Workbook => ("workbook", "workbooks instead of CSV files"),
            Self::Encoding => ("encoding", "files that are not the text that was expected"),
            Self::Empty => ("empty", "files without rows"),
            Self::TooMuch => ("too_much", "more than a roster has"),
            Self::Quote => ("quote", "quotes that are missing or too many"),
            Self::Column => ("column", "columns that can't be"),
            Self::RowLength => ("row_length", "rows of another length than the header"),
            Self::SwallowedRows => ("swallowed_rows", "cells with whole rows in them"),
            Self::RowsDiffer => ("rows_differ", "rows that differ about one user"),
            Self::Op => ("op", "unknown or blank ops"),
            Self::Email => ("email", "cells that are not one address"),
            Self::NoName => ("no_name", "users to be made who have no name"),
            Self::List => (
                "list",
                "cells that are not written as their attribute is defined",
            ),
            Self::Number => ("number", "cells that are no decimal number"),
            Self::RowRepeated => ("row_repeated", "rows that stand there twice"),
            Self::RowNotFollowed => ("row_not_followed", "rows that are not followed"),
            Self::BlankColumn => ("blank_column", "columns with nothing in them"),
            Self::DoubtfulList => ("doubtful_list", "lists that may be meant otherwise"),
            Self::Mangled => ("mangled", "values that a spreadsheet may have changed"),
            Self::LostZeros => ("lost_zeros", "zeros that may be lost"),
            Self::Invisible => ("invisible", "characters that nobody sees"),
        }
    }
}
