//! What earlier runs left behind, as a value.

use super::Kind;
use crate::desired::Fingerprint;
use crate::user::{Email, UserId};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};

/// What is known of earlier runs.
#[derive(Clone, Debug)]
pub struct Memory {
    /// When the run is.
    pub now: DateTime<Utc>,
    /// Users whom we made, or whom a roster of `source.path` once named.
    pub managed: HashSet<Email>,
    /// Users whom we deactivated, by id.
    pub deactivated: HashSet<UserId>,
    /// Since when users have been missing from the roster.
    pub missing_since: HashMap<Email, DateTime<Utc>>,
    /// How many users were removed in the last 24 hours without an approval.
    pub removed_lately: usize,
    /// How many users were removed in the last 24 hours.
    pub removed_base: usize,
    /// How many rows the last accepted roster had.
    pub last_rows: Option<u64>,
    /// What the last accepted roster was.
    pub last_fingerprint: Option<Fingerprint>,
    /// What was approved and not yet done.
    pub approved: HashSet<(UserId, Kind)>,
    /// Users whose change is not to be sent for a while.
    pub quarantined: HashMap<Email, Quarantined>,
}

/// Quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Until.
    pub until: DateTime<Utc>,
    /// Failures.
    pub failures: u32,
    /// Mark.
    pub mark: String,
    /// Reason.
    pub reason: String,
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
            last_rows: None,
            last_fingerprint: None,
            approved: HashSet::new(),
            quarantined: HashMap::new(),
        }
    }
}
