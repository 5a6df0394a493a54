//! Problems of a roster: their kinds and locations.

use super::Email;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A location in the roster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The name of the file.
    pub file: Arc<str>,
    /// The line, from 1; 0 for the whole file.
    pub line: u64,
    /// The number of the cell in its row, from 1, and the header of its column; `None` for a whole row.
    pub column: Option<(usize, Arc<str>)>,
}

impl Location {
    /// A line of a file; 0 for the whole file.
    #[must_use]
    pub(crate) fn line(file: &Arc<str>, line: u64) -> Self {
        Self {
            file: file.clone(),
            line,
            column: None,
        }
    }
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

/// A problem in the roster, and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// The location.
    pub location: Location,
    /// The problem, as a clause.
    pub message: String,
    /// What to do, as a clause.
    pub remedy: String,
    /// The user of the row, if the email can be read.
    pub email: Option<Email>,
}

impl Problem {
    /// Adds the user of the row.
    pub(crate) fn of(self, email: &Email) -> Self {
        Self {
            email: Some(email.clone()),
            ..self
        }
    }

    /// The order by location.
    pub(crate) fn in_order(&self, other: &Self) -> Ordering {
        fn key(location: &Location) -> (&str, u64, Option<usize>) {
            (
                &location.file,
                location.line,
                location.column.as_ref().map(|column| column.0),
            )
        }
        key(&self.location).cmp(&key(&other.location))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.location, self.message, self.remedy)
    }
}

/// The kind of a problem. Problems of one kind are shown together. Names and titles contain no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// A file that is missing, unreadable or too large.
    File,
    /// A workbook, or another file that is not CSV.
    Workbook,
    /// Bytes that are not text in the expected encoding.
    Encoding,
    /// A file without rows.
    Empty,
    /// More rows, values or problems than a roster may have.
    LimitExceeded,
    /// A missing or misplaced quote.
    Quote,
    /// An unknown, duplicate or missing column.
    Column,
    /// A row with more or fewer cells than the header.
    RowLength,
    /// A cell that contains whole rows.
    SwallowedRows,
    /// Rows of one user that conflict.
    ConflictingRows,
    /// A blank or unknown op.
    Op,
    /// A cell that is not one email address.
    Email,
    /// A user to remove that is not in Omni, while one with nearly the same email is.
    NotFound,
    /// A user to create without a display name.
    MissingName,
    /// A list for a single value, a single value for a list, or an invalid list.
    List,
    /// A cell that is not a decimal number.
    Number,
    /// A role, its subject or its model that can't be used.
    Role,
    /// A successor who can't get schedules.
    Successor,
    /// A group that Omni does not have or show, or a contradiction about a membership.
    Group,
    /// A cell that is not the day on which a user leaves.
    LeaveOn,
    /// A lint: a row that repeats another row.
    DuplicateRow,
    /// A lint: a row of a frozen user.
    SkippedRow,
    /// A lint: a group that a cell names twice.
    RepeatedGroup,
    /// A lint: a cell without effect.
    NoEffect,
    /// A lint: a column in which every cell is blank.
    BlankColumn,
    /// A lint: a word of another program for an op.
    OpSynonym,
    /// A lint: a list with unusual separators or quotes.
    SuspiciousList,
    /// A lint: a value that a spreadsheet may have reformatted.
    Reformatted,
    /// A lint: a number that may have lost its leading zeros.
    LeadingZeros,
    /// A lint: an invisible character.
    InvisibleCharacter,
    /// A lint: a word for "no value".
    WordForNothing,
    /// A lint: text that was decoded in the wrong encoding.
    DecodedTwice,
    /// A lint: a character that was lost in an encoding.
    LostCharacter,
    /// A lint: an HTML entity.
    HtmlEntity,
    /// A lint: a line break in a cell.
    LineBreak,
    /// A lint: letters and accents apart.
    Decomposed,
    /// A lint: `TRUE` where Omni has `true`.
    Boolean,
    /// A lint: values that differ from Omni's in letter case alone.
    LetterCase,
    /// A lint: a new domain that is nearly one that many users have.
    NewDomain,
    /// A lint: a file that was replaced outside, while its mount shows the old one.
    ReplacedFile,
    /// A lint: a file dated in the future.
    FutureFile,
    /// A file dated in the future because of which later files are not read.
    ShadowedFiles,
    /// A lint: a workbook in the folder of the roster.
    PassedOver,
}

impl ProblemKind {
    /// Whether a problem of a row concerns a group, a role or a successor alone, and does not freeze the user.
    #[must_use]
    pub fn is_of_part(self) -> bool {
        matches!(self, Self::Group | Self::Role | Self::Successor)
    }

    /// The name in JSON, which does not change.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.names().0
    }

    /// The title of several problems of this kind.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::File => ("file", "unusable files"),
            Self::Workbook => ("workbook", "files that are not CSV"),
            Self::Encoding => ("encoding", "files with an unexpected encoding"),
            Self::Empty => ("empty", "files without rows"),
            Self::LimitExceeded => ("limit_exceeded", "exceeded limits"),
            Self::Quote => ("quote", "missing or misplaced quotes"),
            Self::Column => ("column", "invalid columns"),
            Self::RowLength => ("row_length", "rows with the wrong number of cells"),
            Self::SwallowedRows => ("swallowed_rows", "cells that contain whole rows"),
            Self::ConflictingRows => ("conflicting_rows", "conflicting rows for one user"),
            Self::Op => ("op", "blank or unknown ops"),
            Self::Email => ("email", "invalid email addresses"),
            Self::NotFound => ("not_found", "unknown users to be removed"),
            Self::MissingName => ("missing_name", "new users without a display name"),
            Self::List => ("list", "cells that don't match the attribute's definition"),
            Self::Number => ("number", "invalid numbers"),
            Self::Role => ("role", "invalid roles"),
            Self::Successor => ("successor", "unusable successors"),
            Self::Group => ("group", "unusable groups"),
            Self::LeaveOn => ("leave_on", "invalid days of leaving"),
            Self::DuplicateRow => ("duplicate_row", "duplicate rows"),
            Self::SkippedRow => ("skipped_row", "skipped rows"),
            Self::RepeatedGroup => ("repeated_group", "groups that are named twice"),
            Self::NoEffect => ("no_effect", "cells without effect"),
            Self::BlankColumn => ("blank_column", "blank columns"),
            Self::OpSynonym => ("op_synonym", "ops of other programs"),
            Self::SuspiciousList => ("suspicious_list", "lists that may be written wrong"),
            Self::Reformatted => ("reformatted", "values that a spreadsheet may have changed"),
            Self::LeadingZeros => ("leading_zeros", "numbers that may have lost leading zeros"),
            Self::InvisibleCharacter => ("invisible_character", "invisible characters"),
            Self::WordForNothing => ("word_for_nothing", "words for 'no value'"),
            Self::DecodedTwice => ("decoded_twice", "texts in the wrong encoding"),
            Self::LostCharacter => ("lost_character", "characters lost in an encoding"),
            Self::HtmlEntity => ("html_entity", "HTML entities"),
            Self::LineBreak => ("line_break", "line breaks in cells"),
            Self::Decomposed => ("decomposed", "decomposed letters"),
            Self::Boolean => ("boolean", "booleans that a spreadsheet may have changed"),
            Self::LetterCase => ("letter_case", "changes of letter case alone"),
            Self::NewDomain => ("new_domain", "new domains that may be misspelt"),
            Self::ReplacedFile => ("replaced_file", "files that were replaced outside"),
            Self::FutureFile => ("future_file", "files dated in the future"),
            Self::ShadowedFiles => ("shadowed_files", "files that hide later ones"),
            Self::PassedOver => ("passed_over", "files that are not read"),
        }
    }
}
