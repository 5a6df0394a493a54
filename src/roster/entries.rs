//! The valid rows, by user.

use crate::model::{ByEmail, Email, Entry, GroupsCell, Problem};
use indexmap::map::Entry as Slot;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

/// Valid rows by user. Each row is stored once, so that no second list is needed.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) first: ByEmail<Entry>,
    /// The cells of these rows in the `groups` column.
    pub(super) groups: ByEmail<GroupsCell>,
    /// The further rows of users with several rows.
    pub(super) repeated: BTreeMap<Email, Vec<RowEntry>>,
}

/// A valid row of a user.
#[derive(Debug)]
pub(super) struct RowEntry {
    pub(super) entry: Entry,
    /// The cell in the `groups` column.
    pub(super) groups: Option<GroupsCell>,
}

/// Sends rows to another thread, in batches, because sending each row would cost too much.
pub(super) struct RowSender {
    batch: Vec<(Email, RowEntry)>,
    to: SyncSender<Vec<(Email, RowEntry)>>,
}

impl RowSender {
    const BATCH: usize = 1_000;

    pub(super) fn push(&mut self, email: Email, row: RowEntry) {
        self.batch.push((email, row));
        if self.batch.len() == Self::BATCH {
            self.send();
        }
    }

    fn send(&mut self) {
        // Fails only if the other thread panicked, which the join reports.
        let next = Vec::with_capacity(Self::BATCH);
        let _ = self.to.send(std::mem::replace(&mut self.batch, next));
    }
}

impl Entries {
    /// Collects the rows that `read` sends, on a thread of its own: inserting into a map of a million
    /// users mostly waits for memory, and `read` goes on meanwhile. Room for `row_estimate` rows is
    /// reserved at once, since growing the map moves every row.
    pub(super) fn collect<T>(
        row_estimate: usize,
        read: impl FnOnce(&mut RowSender) -> Result<T, Vec<Problem>>,
    ) -> Result<(T, Self), Vec<Problem>> {
        let (to, batches) = mpsc::sync_channel(16);
        let mut rows = RowSender {
            batch: Vec::new(),
            to,
        };
        thread::scope(|scope| {
            let collector = scope.spawn(move || {
                let mut entries = Self::default();
                // The estimate is only an optimisation, so a failed allocation is no error.
                let _ = entries.first.try_reserve(row_estimate);
                for (email, row) in batches.into_iter().flatten() {
                    entries.push(email, row);
                }
                entries
            });
            let read = read(&mut rows);
            rows.send();
            drop(rows);
            let entries = collector
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic));
            read.map(|read| (read, entries))
        })
    }

    fn push(&mut self, email: Email, row: RowEntry) {
        match self.first.entry(email) {
            Slot::Vacant(slot) => {
                if let Some(groups) = row.groups {
                    self.groups.insert(slot.key().clone(), groups);
                }
                slot.insert(row.entry);
            }
            Slot::Occupied(slot) => {
                let others = self.repeated.entry(slot.key().clone());
                others.or_default().push(row);
            }
        }
    }

    /// Adds the rows of the next file.
    pub(super) fn append(&mut self, mut next: Self) {
        if self.first.is_empty() {
            *self = next;
            return;
        }
        for (email, entry) in next.first {
            let groups = next.groups.swap_remove(&email);
            self.push(email, RowEntry { entry, groups });
        }
        for (email, others) in next.repeated {
            self.repeated.entry(email).or_default().extend(others);
        }
    }
}
