//! What earlier runs left behind, as values.

use super::{
    Approvals, ByEmail, Change, ChangeKey, ClockStep, DueLeaver, DueUpdate, Email, FileRead,
    Fingerprint, GroupId, GroupName, RoleUpdate, RunNumber, RunTime, StatedRole, UserId,
};
use chrono::{DateTime, NaiveDate, Utc};
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};

/// What earlier runs left behind, loaded once at the start of a run. The planner and the guard have no clock; the time
/// of the run is in here.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The time of the run.
    pub now: DateTime<Utc>,
    /// The same on the clock of recorded runs.
    pub run_time: RunTime,
    /// The day of the run, in the time zone of the schedule. The state database does not know that zone, and loads the
    /// day in UTC.
    pub today: NaiveDate,
    /// How far the wall clock is from the last run's, if that is worth a warning.
    pub clock_step: Option<ClockStep>,
    /// The managed users.
    pub managed: HashSet<Email>,
    /// Managed users whose removal Omni confirmed. They are no longer managed once a read shows that they are gone.
    pub confirmed_removals: HashMap<Email, UserId>,
    /// The digests of the emails of all users that we ever removed.
    pub removed: HashSet<[u8; 32]>,
    /// Users that we deactivated, by id: a user that was deleted and created again is not one of them.
    pub deactivated: HashMap<UserId, Email>,
    /// Managed users that are missing from the roster, and since when; also those whose removal Omni confirmed.
    pub missing_since: HashMap<Email, RunTime>,
    /// Users whose day of leaving has come.
    pub due: HashMap<Email, DueLeaver>,
    /// The ids of the users of the API keys in use, as far as Omni was asked. The state database does not load them: it
    /// does not know which keys are in use.
    pub key_users: HashSet<UserId>,
    /// The number of API keys in use of which Omni names no user.
    pub unnamed_keys: usize,
    /// Why the user of an API key in use is not known, if Omni may name it later: no user is removed, leaves a group or
    /// gets a lower role until then.
    pub key_doubt: Option<String>,
    /// What was sent in the last 24 hours.
    pub recent: RecentChanges,
    /// The managed groups.
    pub groups: GroupMemory,
    /// The rows of `source.roles` that an accepted roster stated.
    pub stated_roles: HashSet<StatedRole>,
    /// The base of the removal limit at the last whole listing.
    pub last_base: Option<usize>,
    /// Approved changes that are not applied yet.
    pub approved: Approvals,
    /// Quarantine entries, some of which may have expired.
    pub quarantined: HashMap<ChangeKey, Quarantined>,
    /// The content that the last finished run read, accepted or not.
    pub last_read: Option<Fingerprint>,
    /// The start of the first run that read it. Loaded only where the list of users is read in parts.
    pub last_read_since: Option<DateTime<Utc>>,
    /// The last accepted roster.
    pub last_accepted: Option<AcceptedRoster>,
    /// The run that first saw each file of a folder of which only the newest is read.
    pub seen_files: HashMap<FileRead, RunNumber>,
}

impl Memory {
    /// The memory of a first run.
    #[must_use]
    pub fn empty(now: DateTime<Utc>) -> Self {
        Self {
            now,
            run_time: RunTime::first(now),
            today: now.date_naive(),
            clock_step: None,
            managed: HashSet::new(),
            confirmed_removals: HashMap::new(),
            removed: HashSet::new(),
            deactivated: HashMap::new(),
            missing_since: HashMap::new(),
            due: HashMap::new(),
            key_users: HashSet::new(),
            unnamed_keys: 0,
            key_doubt: None,
            recent: RecentChanges::default(),
            groups: GroupMemory::default(),
            stated_roles: HashSet::new(),
            last_base: None,
            approved: Approvals::default(),
            quarantined: HashMap::new(),
            last_read: None,
            last_read_since: None,
            last_accepted: None,
            seen_files: HashMap::new(),
        }
    }

    /// The quarantine entry of what a change is about.
    #[must_use]
    pub fn quarantine_of(&self, change: &Change) -> Option<&Quarantined> {
        match self.quarantined.is_empty() {
            true => None,
            false => self.quarantined.get(&change.key()),
        }
    }

    /// Whether this program knew a user with this email.
    #[must_use]
    pub fn knew(&self, email: &Email) -> bool {
        self.managed.contains(email) || self.removed.contains(&email.digest())
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

/// What earlier runs left behind about groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMemory {
    /// The managed groups.
    pub managed: HashMap<GroupId, ManagedGroup>,
    /// Memberships that an accepted roster stated, or that this program added, by user.
    pub stated: ByEmail<HashSet<GroupId, RandomState>>,
}

impl GroupMemory {
    /// Whether an accepted roster stated a membership, or this program added it.
    #[must_use]
    pub fn states(&self, user: &Email, group: &GroupId) -> bool {
        let groups = self.stated.get(user);
        groups.is_some_and(|groups| groups.contains(group))
    }

    /// Records a membership.
    pub fn state(&mut self, user: Email, group: GroupId) {
        self.stated.entry(user).or_default().insert(group);
    }
}

/// A group whose memberships an accepted roster has stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedGroup {
    /// The name at that time.
    pub name: GroupName,
    /// Whether members may leave within the limits, because the leaves of the first contact were approved, or there
    /// were none.
    pub is_confirmed: bool,
}

/// The users whose changes were sent in the last 24 hours, whatever Omni answered. A change counts from the moment it
/// is sent, because an answer can be lost, or show the state from before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentChanges {
    /// Removed users.
    pub removed: HashMap<UserId, RecentRemoval>,
    /// Created users, unless Omni rejected the creation.
    pub created: HashSet<Email>,
    /// Users updated without approval.
    pub updated: HashSet<UserId>,
    /// Those of the updated users who lost a value.
    pub cleared: HashSet<UserId>,
    /// Memberships that ended without approval.
    pub left: HashSet<(UserId, GroupId)>,
}

/// A removal of the last 24 hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentRemoval {
    /// The user's email.
    pub email: Email,
    /// Whether every removal of this user was approved.
    pub approved: bool,
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
    /// How many runs running found the change undone that they had applied.
    pub undone: u32,
    /// Identifies the change; see [`quarantine`](crate::plan).
    pub fingerprint: [u8; 32],
    /// The reason, as a sentence.
    pub reason: String,
}

/// What a roster or a change does to the records of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupUpdate {
    /// Groups that become managed, or are remembered with another name or confirmation.
    pub managed: Vec<(GroupId, ManagedGroup)>,
    /// Memberships that become stated.
    pub stated: Vec<(GroupId, Email)>,
    /// Memberships that are no longer stated.
    pub not_stated: Vec<(GroupId, Email)>,
    /// Groups that this program created.
    pub created: Vec<(GroupId, GroupName)>,
}

/// What a roster or a change does to the records of managed and deactivated users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnershipUpdate {
    /// Users that become managed.
    pub managed: Vec<Email>,
    /// Users that are no longer managed.
    pub forgotten: Vec<Email>,
    /// Users whose removal Omni confirmed.
    pub removed: Vec<(UserId, Email)>,
    /// Users whose removal Omni confirmed and did not keep.
    pub not_removed: Vec<Email>,
    /// Managed users that the roster no longer names.
    pub missing: Vec<Email>,
    /// Managed users that the roster names again.
    pub found: Vec<Email>,
    /// Users that we deactivated.
    pub deactivated: Vec<(UserId, Email)>,
    /// Users that no longer count as deactivated by us.
    pub not_deactivated: Vec<UserId>,
    /// Updates to the records of groups.
    pub groups: GroupUpdate,
    /// Updates to the records of roles.
    pub roles: RoleUpdate,
    /// Updates to the records of users whose day of leaving has come.
    pub due: DueUpdate,
    /// Users that others have deactivated, as the roster asks: they count as removed, also once they are gone.
    pub removed_by_others: Vec<Email>,
}
