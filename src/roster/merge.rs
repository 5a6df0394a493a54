//! The rows of all files → one entry per user. Where rows differ nobody can say which is meant, so
//! all of them are bad and their user is frozen.

use super::budget::{MAX_NOTES, MAX_PROBLEMS};
use super::csv::ParsedFile;
use super::words::{Issue, shown};
use crate::model::{
    ByEmail, Desired, DesiredUser, Email, Entry, FileRead, Fingerprint, Location, Problem,
    ProblemKind, Schema, UserSpec,
};
use indexmap::map::Entry as Slot;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

/// What is known of the reading beside the rows.
pub(super) struct About {
    pub(super) rejected: Vec<Problem>,
    pub(super) files: Vec<FileRead>,
    pub(super) fingerprint: Fingerprint,
    pub(super) is_source: bool,
}

/// Brings the files together; an error rejects them all.
pub(super) fn merge(
    sheets: Vec<ParsedFile>,
    about: About,
    schema: &Schema,
) -> Result<Desired, Vec<Problem>> {
    let mut desired = Desired {
        users: ByEmail::default(),
        frozen: ByEmail::default(),
        bad_rows: Vec::new(),
        unnamed: 0,
        rejected: about.rejected,
        notes: Vec::new(),
        rows: 0,
        files: about.files,
        fingerprint: about.fingerprint,
        is_source: about.is_source,
    };
    let mut entries = Entries::default();
    for sheet in sheets {
        entries.take(sheet.entries);
        desired.rows += sheet.count;
        desired.unnamed += sheet.unnamed;
        desired.bad_rows.extend(sheet.bad);
        desired.notes.extend(sheet.notes);
        for (email, place) in sheet.frozen {
            desired.frozen.entry(email).or_insert(place);
        }
    }
    desired.users = entries.first;
    let mut untold = 0;
    for (email, others) in entries.repeated {
        match desired.settle_repeated(email, others, schema) {
            Ok(more) => untold += more,
            Err(too_many) => {
                desired.rejected.push(too_many);
                return Err(desired.rejected);
            }
        }
    }
    desired.drop_frozen();
    desired.bad_rows.sort_by(Problem::in_order);
    desired.finish_notes(untold);
    Ok(desired)
}

/// Rows that can be followed, by user: each once, so that no second list of them is ever needed.
#[derive(Debug, Default)]
pub(super) struct Entries {
    first: ByEmail<Entry>,
    /// The further rows of those who have several.
    repeated: BTreeMap<Email, Vec<Entry>>,
}

/// Hands rows on, so many at once that handing them on costs nothing.
pub(super) struct RowSender {
    batch: Vec<(Email, Entry)>,
    to: SyncSender<Vec<(Email, Entry)>>,
}

impl RowSender {
    const SIZE: usize = 1_000;

    pub(super) fn push(&mut self, email: Email, entry: Entry) {
        self.batch.push((email, entry));
        if self.batch.len() == Self::SIZE {
            self.send();
        }
    }

    fn send(&mut self) {
        // Nobody takes them only where the other thread has panicked, which shows when it is joined.
        let _ = self.to.send(std::mem::take(&mut self.batch));
    }
}

impl Entries {
    /// Takes what `read` hands on, on a thread of its own: finding a user's place among a million
    /// is waiting for memory, while the other thread reads. Of about so many rows: room for them is
    /// made at once, since making it later moves all that is there.
    pub(super) fn gather<T>(
        rows: usize,
        read: impl FnOnce(&mut RowSender) -> Result<T, Vec<Problem>>,
    ) -> Result<(T, Self), Vec<Problem>> {
        let (to, batches) = mpsc::sync_channel(16);
        let mut good = RowSender {
            batch: Vec::new(),
            to,
        };
        thread::scope(|scope| {
            let gathering = scope.spawn(move || {
                let mut entries = Self::default();
                // Only a guess: without it there is room for as many as come.
                let _ = entries.first.try_reserve(rows);
                for (email, entry) in batches.into_iter().flatten() {
                    entries.push(email, entry);
                }
                entries
            });
            let read = read(&mut good);
            good.send();
            drop(good);
            let entries = gathering
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

    /// Takes the rows of the next file.
    fn take(&mut self, next: Self) {
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

impl Desired {
    /// Rows of one user: alike, they are one with a note; otherwise all of them are bad. Says how
    /// many notes were not made since there are so many already.
    fn settle_repeated(
        &mut self,
        email: Email,
        others: Vec<Entry>,
        schema: &Schema,
    ) -> Result<usize, Problem> {
        let Some(first) = self.users.get(&email) else {
            return Ok(0);
        };
        let like_first = |other: &Entry| same(&first.want, &other.want, schema);
        let Some(differing) = others.iter().find(|other| !like_first(other)) else {
            let told = others.len().min(MAX_NOTES.saturating_sub(self.notes.len()));
            let alike = |other: &Entry| alike(&email, other, first);
            self.notes.extend(others[..told].iter().map(alike));
            return Ok(others.len() - told);
        };
        if self.bad_rows.len() + others.len() >= MAX_PROBLEMS {
            return Err(too_many(first));
        }
        self.bad_rows.push(differs(&email, first, differing));
        for other in &others {
            let against = if like_first(other) { differing } else { first };
            self.bad_rows.push(differs(&email, other, against));
        }
        let place = first.place.clone();
        self.frozen.entry(email).or_insert(place);
        Ok(0)
    }

    /// Whatever other rows say of a frozen user, nothing is done.
    fn drop_frozen(&mut self) {
        for (email, why) in &self.frozen {
            if let Some(entry) = self.users.swap_remove(email)
                && entry.place != *why
            {
                self.notes.push(left_alone(email, entry.place, why));
            }
        }
    }

    /// The first notes, and how many there are beside.
    fn finish_notes(&mut self, untold: usize) {
        self.notes.sort_by(Problem::in_order);
        let more = untold + self.notes.len().saturating_sub(MAX_NOTES);
        self.notes.truncate(MAX_NOTES);
        if let (1.., Some(last)) = (more, self.notes.last()) {
            let file = last.place.file.clone();
            self.notes.push(more_notes(more, file));
        }
    }
}

fn more_notes(more: usize, file: Arc<str>) -> Problem {
    let flaw = Issue::new(
        format!("{more} more rows, here or in other files, are repeated or not followed"),
        "write one row for each user",
    );
    flaw.kind(ProblemKind::RowRepeated).at(Location {
        file,
        line: 0,
        column: None,
    })
}

fn too_many(first: &Entry) -> Problem {
    let flaw = Issue::new(
        format!(
            "the roster has more than {MAX_PROBLEMS} problems in its rows, such as rows that differ about one user, here"
        ),
        "check that this is the roster and how it was exported",
    );
    flaw.kind(ProblemKind::TooMuch).at(first.place.clone())
}

fn alike(email: &Email, other: &Entry, first: &Entry) -> Problem {
    let flaw = Issue::new(
        format!(
            "this row says the same of {} as {}",
            shown(email.as_str()),
            first.place
        ),
        "one of the two rows can go",
    );
    flaw.kind(ProblemKind::RowRepeated)
        .at(other.place.clone())
        .of(email)
}

fn differs(email: &Email, one: &Entry, other: &Entry) -> Problem {
    let flaw = Issue::new(
        format!(
            "this row says something else of {} than {}",
            shown(email.as_str()),
            other.place
        ),
        "keep only the row that is right; until then this user is left alone",
    );
    flaw.kind(ProblemKind::RowsDiffer)
        .at(one.place.clone())
        .of(email)
}

fn left_alone(email: &Email, place: Location, why: &Location) -> Problem {
    let flaw = Issue::new(
        format!(
            "this row is not followed: {} is left alone because of {why}",
            shown(email.as_str())
        ),
        "correct that row",
    );
    flaw.kind(ProblemKind::RowNotFollowed).at(place).of(email)
}

fn same(a: &DesiredUser, b: &DesiredUser, schema: &Schema) -> bool {
    match (a, b) {
        (DesiredUser::Upsert(a), DesiredUser::Upsert(b)) => same_spec(a, b, schema),
        (DesiredUser::Delete, DesiredUser::Delete)
        | (DesiredUser::Deactivate, DesiredUser::Deactivate) => true,
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
