//! What a roster and `source.groups` state about memberships, without any of the program's types.

use crate::access::{Access, GroupsFile, MemberRow};
use crate::roster::{Op, Roster, Row, Wanted};
use crate::scenario::Scenario;
use std::collections::BTreeSet;

/// What is stated about one membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stated {
    /// It must not change.
    Nothing,
    Join(Source),
    Leave(Source),
    /// The cell does not name the group, which is only managed for memberships that earlier rosters stated.
    LeaveIfRecorded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Cell,
    Row,
}

/// A roster with `source.groups` and the settings, for groups with certain names.
#[derive(Clone, Copy)]
pub(crate) struct Statements<'a> {
    access: &'a Access,
    keeps_blanks: bool,
    roster: &'a Roster,
    /// `None` if the setting is empty or the file can't be read.
    file: Option<&'a GroupsFile>,
    /// Whether the file can't be read.
    has_unreadable_file: bool,
    /// The names of all groups in Omni.
    names: &'a BTreeSet<String>,
    /// The former names of renamed groups, in lower case. None of them is created again.
    renamed: &'a BTreeSet<String>,
}

/// No renamed groups.
pub(crate) static NONE: BTreeSet<String> = BTreeSet::new();

/// The group that a name stands for.
enum Resolved<'a> {
    Group(&'a str),
    New(String),
    Unusable,
}

impl<'a> Statements<'a> {
    /// `None` if the scenario has no groups.
    pub(crate) fn new(
        scenario: &'a Scenario,
        roster: &'a Roster,
        file: Option<&'a GroupsFile>,
        names: &'a BTreeSet<String>,
        renamed: &'a BTreeSet<String>,
    ) -> Option<Self> {
        let is_readable = file.is_none_or(GroupsFile::is_readable);
        Some(Self {
            access: scenario.access.as_ref()?,
            keeps_blanks: scenario.policy.keeps_blanks,
            roster,
            file: file.filter(|_| is_readable),
            has_unreadable_file: !is_readable,
            names,
            renamed,
        })
    }

    /// Whether users may leave groups.
    pub(crate) fn may_leave(self) -> bool {
        !self.has_unreadable_file
    }

    /// Exactly, else without regard to letter case. No two groups differ in letter case alone.
    fn resolve(self, name: &str) -> Resolved<'a> {
        let same = |other: &&String| other.eq_ignore_ascii_case(name);
        if let Some(group) = self
            .names
            .get(name)
            .or_else(|| self.names.iter().find(same))
        {
            return Resolved::Group(group);
        }
        let is_near = |other: &String| edits(&other.to_lowercase(), &name.to_lowercase()) <= 2;
        let is_renamed = |name: &str| self.renamed.contains(&name.to_lowercase());
        let mut joined = self.joined_names();
        let may_be_new =
            joined.any(|joined| joined.eq_ignore_ascii_case(name)) && !is_renamed(name);
        let others = self.joined_names().filter(|other| {
            let is_known = self
                .names
                .iter()
                .any(|group| group.eq_ignore_ascii_case(other));
            !is_known && !is_renamed(other) && !other.eq_ignore_ascii_case(name)
        });
        let mut near = self.names.iter().cloned().chain(others.map(str::to_owned));
        match self.access.creates && may_be_new && !near.any(|other| is_near(&other)) {
            true => Resolved::New(name.to_lowercase()),
            false => Resolved::Unusable,
        }
    }

    /// The names in cells and rows.
    fn stated_names(self) -> impl Iterator<Item = &'a str> {
        self.names_in(|_| true)
    }

    /// The names of groups that a join may create. An invalid row may be one.
    fn joined_names(self) -> impl Iterator<Item = &'a str> {
        self.names_in(|row| row.joins || row.is_invalid)
    }

    fn names_in(self, counts: impl Fn(&MemberRow) -> bool) -> impl Iterator<Item = &'a str> {
        let cells = self
            .roster
            .rows
            .iter()
            .filter_map(move |row| self.cell(row));
        let rows = self.file.into_iter().flat_map(|file| &file.rows);
        let rows = rows.filter(move |row| counts(row));
        cells.flatten().copied().chain(rows.map(|row| row.group))
    }

    /// Whether a name stands for a group; a group to be created is its name.
    fn is(self, name: &str, group: &str) -> bool {
        match self.resolve(name) {
            Resolved::Group(found) => found == group,
            Resolved::New(new) => !self.names.contains(group) && new == group.to_lowercase(),
            Resolved::Unusable => false,
        }
    }

    /// The cell of a user; `None` if nothing is stated.
    fn cell(self, row: &'a Row) -> Option<&'a [&'static str]> {
        if !self.roster.has_groups || row.op != Op::Upsert || row.flaw.is_some() {
            return None;
        }
        match &row.groups {
            Some(names) => Some(names),
            None if self.keeps_blanks => None,
            None => Some(&[]),
        }
    }

    /// Whether a cell of any user names a group, or the pattern covers it.
    pub(crate) fn manages(self, group: &str) -> bool {
        let mut cells = self.roster.rows.iter().filter_map(|row| self.cell(row));
        self.access.covers(group)
            || cells.any(|names| names.iter().any(|name| self.is(name, group)))
    }

    /// The names in cells and rows, with those of all groups.
    pub(crate) fn groups(self) -> BTreeSet<String> {
        let named = self
            .stated_names()
            .filter_map(|name| match self.resolve(name) {
                Resolved::Group(group) => Some(group.to_owned()),
                Resolved::New(new) => Some(new),
                Resolved::Unusable => None,
            });
        named.chain(self.names.iter().cloned()).collect()
    }

    /// Whether the roster or the file states anything about memberships.
    pub(crate) fn is_empty(self) -> bool {
        let mut cells = self.roster.rows.iter().filter_map(|row| self.cell(row));
        cells.next().is_none()
            && !self
                .file
                .is_some_and(|file| file.rows.iter().any(|row| !row.is_invalid))
    }

    /// Whether the cell of a user states a membership.
    pub(crate) fn names_in_cell(self, email: &str, group: &str) -> bool {
        match self.roster.want(email) {
            Wanted::Row(row) => self
                .cell(row)
                .is_some_and(|names| names.iter().any(|name| self.is(name, group))),
            Wanted::Nothing | Wanted::Frozen => false,
        }
    }

    /// Whether something is stated about a membership that may be a leave, and is not clear.
    pub(crate) fn is_unclear(self, email: &str, group: &str) -> bool {
        let has_cell = match self.roster.want(email) {
            Wanted::Row(row) => self.cell(row).is_some(),
            Wanted::Nothing | Wanted::Frozen => false,
        };
        let rows = self.file.into_iter().flat_map(|file| &file.rows);
        let has_row = rows.into_iter().any(|row| row.email == email);
        (has_cell || has_row) && self.about(email, group) == Stated::Nothing
    }

    /// What is stated about a membership.
    pub(crate) fn about(self, email: &str, group: &str) -> Stated {
        let cell = match self.roster.want(email) {
            Wanted::Frozen => return Stated::Nothing,
            Wanted::Row(row) if row.op != Op::Upsert => return Stated::Nothing,
            Wanted::Row(row) => self.cell(row),
            Wanted::Nothing => None,
        };
        let is_unusable = |name: &&str| matches!(self.resolve(name), Resolved::Unusable);
        if cell.is_some_and(|names| names.iter().any(is_unusable)) {
            return Stated::Nothing;
        }
        let rows = self.file.into_iter().flat_map(|file| &file.rows);
        let mut rows_of_user = rows.clone().filter(|row| row.email == email);
        if rows_of_user.any(|row| is_unusable(&row.group)) {
            return Stated::Nothing;
        }
        let is_in_cell = cell.is_some_and(|names| names.iter().any(|name| self.is(name, group)));
        let about = |row: &&MemberRow| row.email == email && self.is(row.group, group);
        let rows: Vec<_> = rows.filter(about).collect();
        let same = |row: &&MemberRow| row.joins == rows[0].joins && !row.is_invalid;
        match rows.first().map(|row| row.joins) {
            // Invalid rows, and rows that contradict each other, freeze the membership.
            Some(_) if !rows.iter().all(same) => Stated::Nothing,
            Some(true) => Stated::Join(Source::Row),
            // The row contradicts the cell.
            Some(false) if is_in_cell => Stated::Nothing,
            Some(false) => Stated::Leave(Source::Row),
            None if is_in_cell => Stated::Join(Source::Cell),
            None if cell.is_none() => Stated::Nothing,
            None if self.manages(group) => Stated::Leave(Source::Cell),
            None => Stated::LeaveIfRecorded,
        }
    }
}

/// The number of characters to insert, remove, replace or swap with the next one.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = least;
        }
    }
    table[a.len()][b.len()]
}
