//! A cell of the `groups` column → the names of the user's groups.

use super::cell::{self, CellCache};
use super::text::{Issue, quoted};
use crate::model::{GroupName, GroupNameError, ProblemKind, nfc, trim};
use std::collections::HashSet;

/// The groups that a cell names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupList {
    /// Each once. Omni may have groups whose names differ in letter case alone.
    pub(super) names: Vec<GroupName>,
    /// Whether the cell names a group twice.
    pub(super) has_repeats: bool,
}

/// Reads the cells of the column.
#[derive(Debug)]
pub(super) struct GroupsReader(CellCache<GroupList>);

impl GroupsReader {
    /// `columns` is the number of columns that share the cache, at least one.
    pub(super) fn new(columns: usize) -> Self {
        Self(CellCache::new(columns))
    }

    pub(super) fn read(&mut self, cell: &str) -> Result<GroupList, Issue> {
        let read = self.0.get(cell, list);
        read.map_err(|issue| issue.kind(ProblemKind::Group))
    }
}

fn list(cell: &str) -> Result<GroupList, Issue> {
    let cell = &*nfc(trim(cell));
    let items = match cell.as_bytes().first() {
        None => Vec::new(),
        Some(b'[') => cell::items(cell)?,
        Some(_) => return Err(cell::no_list(cell)),
    };
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for item in &items {
        let name = GroupName::parse(item).map_err(|error| invalid(item, error))?;
        if seen.insert(name.clone()) {
            names.push(name);
        }
    }
    Ok(GroupList {
        has_repeats: names.len() < items.len(),
        names,
    })
}

fn invalid(name: &str, error: GroupNameError) -> Issue {
    let message = format!("{}: {error}", quoted(name));
    Issue::new(message, "write the name as Omni shows it")
}

/// Whether two lists have the same names, in any order.
pub(super) fn same_groups(a: &[GroupName], b: &[GroupName]) -> bool {
    let set = |names: &[GroupName]| names.iter().cloned().collect::<HashSet<_>>();
    a == b || (a.len() == b.len() && set(a) == set(b))
}
