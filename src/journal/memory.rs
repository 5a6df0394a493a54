//! What earlier runs left behind, as a value.

use crate::user::Email;
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
    /// Users whom we deactivated.
    pub deactivated: HashSet<Email>,
    /// Since when users have been missing from the roster.
    pub missing_since: HashMap<Email, DateTime<Utc>>,
    /// How many users were removed in the last 24 hours.
    pub removed_lately: usize,
    /// How many rows the last accepted roster had.
    pub last_rows: Option<u64>,
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
            last_rows: None,
        }
    }
}
