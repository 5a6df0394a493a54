//! The valid rows, by user.

use crate::model::{ByEmail, Email, Entry, Problem};
use indexmap::map::Entry as Slot;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

/// Valid rows by user. Each row is stored once, so that no second list is needed.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) first: ByEmail<Entry>,
    /// The further rows of users with several rows.
    pub(super) repeated: BTreeMap<Email, Vec<Entry>>,
}

/// Sends rows to another thread, in batches, because sending each row would cost too much.
pub(super) struct RowSender {
    batch: Vec<(Email, Entry)>,
    to: SyncSender<Vec<(Email, Entry)>>,
}

impl RowSender {
    const BATCH: usize = 1_000;

    pub(super) fn push(&mut self, email: Email, entry: Entry) {
        self.batch.push((email, entry));
        if self.batch.len() == Self::BATCH {
            self.send();
        }
    }

    fn send(&mut self) {
        // Fails only if the other thread panicked, which the join reports.
        let _ = self.to.send(std::mem::take(&mut self.batch));
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
                for (email, entry) in batches.into_iter().flatten() {
                    entries.push(email, entry);
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

    fn push(&mut self, email: Email, entry: Entry) {
        match self.first.entry(email) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(slot) => {
                let others = self.repeated.entry(slot.key().clone());
                others.or_default().push(entry);
            }
        }
    }

    /// Adds the rows of the next file.
    pub(super) fn append(&mut self, next: Self) {
        if self.first.is_empty() {
            *self = next;
            return;
        }
        for (email, entry) in next.first {
            self.push(email, entry);
        }
        for (email, others) in next.repeated {
            self.repeated.entry(email).or_default().extend(others);
        }
    }
}
