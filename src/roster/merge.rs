//! The rows of all files → one entry per user. If the rows of a user conflict, it is unknown which
//! one is right, so all of them are bad and the user is frozen.

use super::budget::{MAX_LISTED_LINTS, MAX_PROBLEMS, limit_lints};
use super::entries::{Entries, RowEntry};
use super::groups_cell::same_groups;
use super::groups_file::GroupsFile;
use super::parse::ParsedFile;
use super::text::{Issue, quoted};
use crate::model::{
    ByEmail, Desired, DesiredMemberships, DesiredRoles, DesiredUser, Email, Entry, FileRead,
    Fingerprint, GroupsCell, Leaving, Location, Problem, ProblemKind, Schema, UserSpec,
};

/// The result of reading the files, apart from their rows.
pub(super) struct ReadMeta {
    pub(super) rejected: Vec<Problem>,
    pub(super) files: Vec<FileRead>,
    pub(super) folder: Vec<FileRead>,
    /// The rows of `source.groups`.
    pub(super) groups: GroupsFile,
    /// The rows of `source.roles`.
    pub(super) roles: Option<DesiredRoles>,
    /// Lints on the files themselves.
    pub(super) lints: Vec<Problem>,
    pub(super) fingerprint: Fingerprint,
    pub(super) is_source: bool,
}

/// Merges the files. An error rejects all of them.
pub(super) fn merge(
    parsed: Vec<ParsedFile>,
    meta: ReadMeta,
    schema: &Schema,
) -> Result<Desired, Vec<Problem>> {
    let mut desired = Desired {
        users: ByEmail::default(),
        doubtful: Vec::new(),
        leavers: ByEmail::default(),
        frozen: ByEmail::default(),
        bad_rows: Vec::new(),
        unnamed: 0,
        memberships: DesiredMemberships::default(),
        roles: meta.roles,
        rejected: meta.rejected,
        lints: meta.lints,
        rows: 0,
        files: meta.files,
        folder: meta.folder,
        fingerprint: meta.fingerprint,
        is_source: meta.is_source,
        only: None,
    };
    let mut entries = Entries::default();
    for file in parsed {
        entries.append(file.entries);
        desired.rows += file.count;
        desired.unnamed += file.unnamed;
        desired.bad_rows.extend(file.bad);
        desired.doubtful.extend(file.doubtful);
        desired.lints.extend(file.lints);
        for (email, location) in file.frozen {
            desired.frozen.entry(email).or_insert(location);
        }
    }
    desired.users = entries.first;
    desired.memberships = DesiredMemberships {
        cells: entries.groups,
        rows: meta.groups.rows,
        frozen: meta.groups.frozen,
        doubtful: meta.groups.doubtful,
        unnamed: meta.groups.unnamed,
        count: meta.groups.count,
        unreadable: meta.groups.unreadable,
    };
    let mut dropped_lints = meta.groups.dropped_lints;
    for (email, others) in entries.repeated {
        match desired.merge_repeated(email, others, schema) {
            Ok(dropped) => dropped_lints += dropped,
            Err(too_many) => {
                desired.rejected.push(too_many);
                return Err(desired.rejected);
            }
        }
    }
    desired.lints.extend(meta.groups.lints);
    desired.bad_rows.extend(meta.groups.bad_rows);
    if let Some(roles) = &mut desired.roles {
        desired.lints.append(&mut roles.lints);
        desired.bad_rows.extend(roles.bad_rows.iter().cloned());
    }
    desired.drop_frozen();
    desired.bad_rows.sort_by(Problem::in_order);
    limit_lints(&mut desired.lints, dropped_lints, more_notes);
    Ok(desired)
}

impl Desired {
    /// Decides on the doubtful rows: a row counts if `is_known` says that a user has exactly its address,
    /// and is bad otherwise.
    pub fn settle_doubtful(&mut self, schema: &Schema, is_known: impl Fn(&Email) -> bool) {
        if self.doubtful.is_empty() && self.memberships.doubtful.is_empty() {
            return;
        }
        self.bad_rows
            .extend(self.memberships.settle_doubtful(&is_known));
        for row in std::mem::take(&mut self.doubtful) {
            if !is_known(&row.email) {
                let location = &row.entry.location;
                for email in row.meant {
                    self.frozen.entry(email).or_insert(location.clone());
                }
                self.bad_rows.push(row.problem);
                self.unnamed += 1;
                continue;
            }
            let (entry, groups) = (row.entry, row.groups);
            if self.users.contains_key(&row.email) {
                let others = vec![RowEntry { entry, groups }];
                if let Err(too_many) = self.merge_repeated(row.email, others, schema) {
                    self.bad_rows.push(too_many);
                }
            } else {
                let cells = &mut self.memberships.cells;
                cells.extend(groups.map(|groups| (row.email.clone(), groups)));
                self.users.insert(row.email, entry);
            }
        }
        self.drop_frozen();
        self.bad_rows.sort_by(Problem::in_order);
        self.lints.sort_by(Problem::in_order);
    }

    /// Merges the rows of one user: equal rows become one with a lint, otherwise all of them are
    /// invalid. Returns the number of lints that are dropped because of the limit.
    fn merge_repeated(
        &mut self,
        email: Email,
        others: Vec<RowEntry>,
        schema: &Schema,
    ) -> Result<usize, Problem> {
        let Some(first) = self.users.get(&email) else {
            return Ok(0);
        };
        let groups = self.memberships.cells.get(&email);
        let is_like_first = |other: &RowEntry| {
            same(&first.want, &other.entry.want, schema) && same_cell(groups, other.groups.as_ref())
        };
        let Some(different) = others.iter().find(|other| !is_like_first(other)) else {
            let kept = others
                .len()
                .min(MAX_LISTED_LINTS.saturating_sub(self.lints.len()));
            let duplicate = |other: &RowEntry| duplicate(&email, &other.entry, first);
            self.lints.extend(others[..kept].iter().map(duplicate));
            return Ok(others.len() - kept);
        };
        if self.bad_rows.len() + others.len() >= MAX_PROBLEMS {
            return Err(too_many(first));
        }
        self.bad_rows
            .push(conflict(&email, first, &different.entry));
        for other in &others {
            let against = if is_like_first(other) {
                &different.entry
            } else {
                first
            };
            self.bad_rows.push(conflict(&email, &other.entry, against));
        }
        let location = first.location.clone();
        self.frozen.entry(email).or_insert(location);
        Ok(0)
    }

    /// Removes all rows of frozen users.
    fn drop_frozen(&mut self) {
        for (email, reason) in &self.frozen {
            self.memberships.cells.swap_remove(email);
            if let Some(entry) = self.users.swap_remove(email)
                && entry.location != *reason
            {
                self.lints.push(skipped(email, entry.location, reason));
            }
        }
        let rows = &mut self.memberships.rows;
        for row in rows.extract_if(.., |row| self.frozen.contains_key(&row.email)) {
            let reason = &self.frozen[&row.email];
            self.lints.push(skipped(&row.email, row.location, reason));
        }
    }
}

fn more_notes(more: usize) -> Issue {
    Issue::new(
        format!("{more} more rows, in this file or others, are repeated or skipped"),
        "write one row per user",
    )
}

fn too_many(first: &Entry) -> Problem {
    let issue = Issue::new(
        format!(
            "the roster has more than {MAX_PROBLEMS} problems in its rows, such as the conflicting rows of this user"
        ),
        "check that this file is the roster and how it was exported",
    );
    issue
        .kind(ProblemKind::LimitExceeded)
        .at(first.location.clone())
}

fn duplicate(email: &Email, other: &Entry, first: &Entry) -> Problem {
    let issue = Issue::new(
        format!("repeats {} for {}", first.location, quoted(email.as_str())),
        "remove one of the two rows",
    );
    issue
        .kind(ProblemKind::DuplicateRow)
        .at(other.location.clone())
        .of(email)
}

fn conflict(email: &Email, one: &Entry, other: &Entry) -> Problem {
    let issue = Issue::new(
        format!(
            "conflicts with {} for {}",
            other.location,
            quoted(email.as_str())
        ),
        "keep only the correct row; until then this user is frozen",
    );
    issue
        .kind(ProblemKind::ConflictingRows)
        .at(one.location.clone())
        .of(email)
}

fn skipped(email: &Email, location: Location, reason: &Location) -> Problem {
    let issue = Issue::new(
        format!(
            "this row is skipped: {} is frozen because of {reason}",
            quoted(email.as_str())
        ),
        "correct that row",
    );
    issue.kind(ProblemKind::SkippedRow).at(location).of(email)
}

fn same(a: &DesiredUser, b: &DesiredUser, schema: &Schema) -> bool {
    match (a, b) {
        (DesiredUser::Upsert(a), DesiredUser::Upsert(b)) => same_spec(a, b, schema),
        (DesiredUser::Delete(a), DesiredUser::Delete(b))
        | (DesiredUser::Deactivate(a), DesiredUser::Deactivate(b)) => same_leaving(a, b, schema),
        _ => false,
    }
}

fn same_leaving(a: &Leaving, b: &Leaving, schema: &Schema) -> bool {
    let is_same_day = match (&a.on, &b.on) {
        (Some(a), Some(b)) => a.date == b.date && same_spec(&a.until, &b.until, schema),
        (None, None) => true,
        _ => false,
    };
    is_same_day && a.successor == b.successor
}

fn same_cell(a: Option<&GroupsCell>, b: Option<&GroupsCell>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_groups(&a.names, &b.names),
        (None, None) => true,
        _ => false,
    }
}

fn same_spec(a: &UserSpec, b: &UserSpec, schema: &Schema) -> bool {
    let mut pairs = a.attributes.iter().zip(&b.attributes);
    a.display_name == b.display_name
        && a.attributes.len() == b.attributes.len()
        && pairs.all(|((name_a, a), (name_b, b))| {
            name_a == name_b && schema.same(name_a, a.as_ref(), b.as_ref())
        })
}
