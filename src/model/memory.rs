//! What earlier runs left behind, as a value.

use super::{Email, FileRead, Fingerprint, Operation, UserId};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};

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
    pub approved: HashSet<(UserId, Operation)>,
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

/// Why a user is left alone, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Until when.
    pub until: DateTime<Utc>,
    /// How often in a row it failed.
    pub failures: u32,
    /// What was wanted of the user and what was there when it failed, hashed: when that is another,
    /// it may work.
    pub mark: [u8; 32],
    /// Why it failed the last time, in plain words.
    pub reason: String,
}
