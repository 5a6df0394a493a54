//! What earlier runs left behind, as values.

use super::{Email, FileRead, Fingerprint, Operation, UserId};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};

/// What earlier runs left behind, loaded once at the start of a run. The planner and the guard have no clock; the time
/// of the run is in here.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The time of the run.
    pub now: DateTime<Utc>,
    /// The managed users.
    pub managed: HashSet<Email>,
    /// Users that we deactivated, by id: a user that was deleted and created again is not one of them.
    pub deactivated: HashMap<UserId, Email>,
    /// Managed users that are missing from the roster, and since when.
    pub missing_since: HashMap<Email, DateTime<Utc>>,
    /// The number of users removed in the last 24 hours without approval. Removals with an unknown outcome count too.
    pub removed_lately: usize,
    /// The number of users deleted in the last 24 hours, with or without approval. They belong to the base of the
    /// guard's percentage; deactivated users are still in Omni and are counted there.
    pub removed_base: usize,
    /// Approved changes that are not applied yet.
    pub approved: HashSet<(UserId, Operation)>,
    /// Users for whom clearing values is approved.
    pub approved_clears: HashSet<UserId>,
    /// Quarantine entries, some of which may have expired.
    pub quarantined: HashMap<Email, Quarantined>,
    /// The content that the last finished run read, accepted or not.
    pub last_read: Option<Fingerprint>,
    /// The last accepted roster.
    pub last_accepted: Option<AcceptedRoster>,
}

impl Memory {
    /// The memory of a first run.
    #[must_use]
    pub fn empty(now: DateTime<Utc>) -> Self {
        Self {
            now,
            managed: HashSet::new(),
            deactivated: HashMap::new(),
            missing_since: HashMap::new(),
            removed_lately: 0,
            removed_base: 0,
            approved: HashSet::new(),
            approved_clears: HashSet::new(),
            quarantined: HashMap::new(),
            last_read: None,
            last_accepted: None,
        }
    }

    /// Whether a managed user has this email, letter for letter.
    #[must_use]
    pub fn manages_exactly(&self, email: &Email) -> bool {
        let managed = self.managed.get(email);
        managed.is_some_and(|managed| managed.as_str() == email.as_str())
    }

    /// The number of rows of the last accepted roster.
    #[must_use]
    pub fn last_rows(&self) -> Option<u64> {
        Some(self.last_accepted.as_ref()?.rows)
    }

    /// The files of the last accepted roster, by name.
    #[must_use]
    pub fn last_files(&self) -> &[FileRead] {
        self.last_accepted
            .as_ref()
            .map_or(&[], |accepted| &accepted.files)
    }
}

/// A roster with which later ones are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedRoster {
    /// The content.
    pub fingerprint: Fingerprint,
    /// The number of data rows.
    pub rows: u64,
    /// The files, by name.
    pub files: Vec<FileRead>,
}

/// A user whose change is in quarantine, or was and has not converged since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// When the change may be tried again.
    pub until: DateTime<Utc>,
    /// The number of failures.
    pub failures: u32,
    /// Identifies the change; see [`quarantine`](crate::plan).
    pub fingerprint: [u8; 32],
    /// The reason, as a sentence.
    pub reason: String,
}

/// What a roster or a change does to the records of managed and deactivated users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnershipUpdate {
    /// Users that become managed.
    pub managed: Vec<Email>,
    /// Users that are no longer managed.
    pub forgotten: Vec<Email>,
    /// Managed users that the roster no longer names.
    pub missing: Vec<Email>,
    /// Managed users that the roster names again.
    pub found: Vec<Email>,
    /// Users that we deactivated.
    pub deactivated: Vec<(UserId, Email)>,
    /// Users that no longer count as deactivated by us.
    pub not_deactivated: Vec<UserId>,
}
