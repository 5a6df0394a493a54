//! What earlier runs left behind, as a value.

use super::roster::Accepted;
use super::sql::{Count, Time};
use super::{Journal, JournalError, Kind, Outcome, Quarantined, held, managed, past, quarantine};
use crate::desired::{FileRead, Fingerprint};
use crate::user::{Email, UserId};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Connection;
use std::collections::{HashMap, HashSet};

/// How far back removals count for the guard.
pub(super) const GUARDED: TimeDelta = TimeDelta::hours(24);

/// What is known of earlier runs, read once at the start of a run. The planner and the guard have no
/// clock: the time is in here.
#[derive(Clone, Debug)]
pub struct Memory {
    /// When the run is.
    pub now: DateTime<Utc>,
    /// Users whom we made, or whom a roster of `source.path` once named.
    pub managed: HashSet<Email>,
    /// Users whom we deactivated, by id: one who was removed and made again is somebody else's doing.
    pub deactivated: HashSet<UserId>,
    /// Since when users have been missing from the roster.
    pub missing_since: HashMap<Email, DateTime<Utc>>,
    /// How many users were removed in the last 24 hours without a person's approval, or may have
    /// been: what became of it is not known.
    pub removed_lately: usize,
    /// How many of them are no longer in Omni, and those who were deleted with an approval: the guard's
    /// base has them too. Who was deactivated is still there to be counted.
    pub removed_base: usize,
    /// Changes that a person approved, and that are not yet done.
    pub approved: HashSet<(UserId, Kind)>,
    /// Users of whom a person approved that values are cleared.
    pub approved_clears: HashSet<UserId>,
    /// Users whose changes failed, and until when they are left alone; some of that may be over.
    pub quarantined: HashMap<Email, Quarantined>,
    /// What the last run read that has ended, accepted or not.
    pub last_read: Option<Fingerprint>,
    /// What the last accepted roster was.
    pub last_fingerprint: Option<Fingerprint>,
    /// How many rows the last accepted roster had.
    pub last_rows: Option<u64>,
    /// The files of the last accepted roster, by name.
    pub last_files: Vec<FileRead>,
}

impl Memory {
    /// Nothing is known.
    #[must_use]
    pub fn empty(now: DateTime<Utc>) -> Self {
        Self {
            now,
            managed: HashSet::new(),
            deactivated: HashSet::new(),
            missing_since: HashMap::new(),
            removed_lately: 0,
            removed_base: 0,
            approved: HashSet::new(),
            approved_clears: HashSet::new(),
            quarantined: HashMap::new(),
            last_read: None,
            last_fingerprint: None,
            last_rows: None,
            last_files: Vec::new(),
        }
    }
}

impl Journal {
    /// What the planner and the guard need to know, all of one moment.
    ///
    /// # Errors
    /// When it can't be read; then nothing may be planned.
    pub async fn memory(&self, now: DateTime<Utc>) -> Result<Memory, JournalError> {
        self.read(move |db| memory(db, now)).await
    }
}

fn memory(db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<Memory> {
    let managed: Vec<(Email, _)> = managed::all(db)?;
    let missing = managed
        .iter()
        .filter_map(|(email, since)| Some((email.clone(), (*since)?)));
    let missing_since = missing.collect();
    let deactivated: Vec<(UserId, Email)> = managed::all_deactivated(db)?;
    let (removed_lately, removed_base) = removed(db, now)?;
    let last = Accepted::load(db)?;
    Ok(Memory {
        now,
        managed: managed.into_iter().map(|(email, _)| email).collect(),
        deactivated: deactivated.into_iter().map(|(id, _)| id).collect(),
        missing_since,
        removed_lately,
        removed_base,
        approved: held::approvals(db, now)?,
        approved_clears: held::approved_clears(db, now)?,
        quarantined: quarantine::all(db)?,
        last_read: past::last_content(db)?,
        last_fingerprint: last.as_ref().map(|last| last.fingerprint),
        last_rows: last.as_ref().map(|last| last.rows),
        last_files: last.map_or_else(Vec::new, |last| last.files),
    })
}

/// How many users were removed lately, or may have been: without approval, and in all. A user who
/// is removed twice, since a lost answer made us try again, is one. A time in the future is one
/// too: the clock was put back.
fn removed(db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<(usize, usize)> {
    db.prepare_cached(
        "SELECT count(DISTINCT CASE WHEN approved = 0 THEN coalesce(user_id, email_key) END),
                count(DISTINCT CASE WHEN kind = 'delete' THEN coalesce(user_id, email_key) END)
         FROM changes
         WHERE kind IN ('delete', 'deactivate') AND coalesce(settled, intended) > ?1
            AND (settled IS NULL OR outcome = ?2)",
    )?
    .query_row((Time(now - GUARDED), Outcome::Done), |row| {
        let count = |at| {
            row.get(at)
                .map(|Count(count)| usize::try_from(count).unwrap_or(usize::MAX))
        };
        Ok((count(0)?, count(1)?))
    })
}
