//! The desired state, as a roster states it.

use super::{
    ByEmail, DesiredMemberships, DesiredRoles, Email, GroupName, GroupsCell, LeaveState, Leaver,
    Leaving, Location, Problem, UserSpec,
};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The desired state of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesiredUser {
    /// Exists, with these values.
    Upsert(UserSpec),
    /// Removed, as `policy.removal` says.
    Delete(Leaving),
    /// Inactive, whatever `policy.removal` says.
    Deactivate(Leaving),
}

impl DesiredUser {
    /// How the user leaves; `None` if the user stays.
    #[must_use]
    pub fn leaving(&self) -> Option<&Leaving> {
        match self {
            Self::Upsert(_) => None,
            Self::Delete(leaving) | Self::Deactivate(leaving) => Some(leaving),
        }
    }

    /// What the row states about the user, now or until the user leaves.
    #[must_use]
    pub fn spec(&self) -> Option<&UserSpec> {
        match self {
            Self::Upsert(spec) => Some(spec),
            Self::Delete(leaving) | Self::Deactivate(leaving) => Some(&leaving.on.as_ref()?.until),
        }
    }
}

/// A user in the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The desired state.
    pub want: DesiredUser,
    /// The row that states it.
    pub location: Location,
}

/// A valid row, apart from an address that breaks the rule for new users. It counts if a user has exactly
/// this address, which the roster can't know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtfulRow {
    /// The address, letter for letter.
    pub email: Email,
    /// The row.
    pub entry: Entry,
    /// Its cell in the `groups` column.
    pub groups: Option<GroupsCell>,
    /// The problem, if no user has the address.
    pub problem: Problem,
    /// The addresses that are probably meant.
    pub meant: Vec<Email>,
}

/// The desired state of all users.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The desired state by user. Frozen users are not included.
    pub users: ByEmail<Entry>,
    /// Rows that count only if a user has exactly their address.
    pub doubtful: Vec<DoubtfulRow>,
    /// Users whose rows have a day of leaving, once it is settled what these rows state today.
    pub leavers: ByEmail<Leaver>,
    /// Users that are not changed in this run, because their row is invalid or their rows conflict, with the
    /// location of that row.
    pub frozen: ByEmail<Location>,
    /// All problems of rows. A row may have several, and its user is frozen.
    pub bad_rows: Vec<Problem>,
    /// The number of invalid rows without a readable email. They may belong to any user, so pruning is off.
    pub unnamed: u64,
    /// Problems of files that were rejected, vanished or could not be read, while others could. They
    /// switch off removals. They contain no attribute values, so that they can be logged.
    pub rejected: Vec<Problem>,
    /// Lints.
    pub lints: Vec<Problem>,
    /// What the roster and `source.groups` state about memberships.
    pub memberships: DesiredMemberships,
    /// What `source.roles` states; `None` if it is not set.
    pub roles: Option<DesiredRoles>,
    /// The number of rows, with invalid rows and without blank ones.
    pub rows: u64,
    /// The accepted files, by name.
    pub files: Vec<FileRead>,
    /// All CSV files of a folder of which only the newest is read.
    pub folder: Vec<FileRead>,
    /// The fingerprint of the content.
    pub fingerprint: Fingerprint,
    /// Whether this is the roster of `source.path`. Another roster never prunes.
    pub is_source: bool,
    /// The only user to be compared, if not all are. Rows of other users only say what this one depends on.
    pub only: Option<Email>,
}

impl Desired {
    /// All problems of rows and files, by location.
    #[must_use]
    pub fn problems(&self) -> Vec<&Problem> {
        let doubtful = self.doubtful.iter().map(|row| &row.problem);
        let memberships = self.memberships.doubtful.iter().map(|row| &row.problem);
        let files = self.rejected.iter().chain(&self.memberships.unreadable);
        let known = files.chain(&self.bad_rows);
        // Invalid rows are among the others.
        let roles = self.roles.iter().flat_map(|roles| &roles.rejected);
        let mut all: Vec<_> = known
            .chain(doubtful)
            .chain(memberships)
            .chain(roles)
            .collect();
        all.sort_by(|a, b| a.in_order(b));
        all
    }

    /// The groups whose roles `source.roles` states.
    pub fn role_groups(&self) -> impl Iterator<Item = &GroupName> {
        let rows = self.roles.iter().flat_map(|roles| &roles.rows);
        rows.filter_map(|row| row.subject.group())
    }

    /// Why `source.roles` can't be read. No role is assigned then.
    #[must_use]
    pub fn unreadable_roles(&self) -> Option<&Problem> {
        self.roles.as_ref()?.rejected.first()
    }

    /// The users that valid and doubtful rows name, with the state that these ask for.
    pub fn named(&self) -> impl Iterator<Item = (&Email, &DesiredUser)> {
        let doubtful = self
            .doubtful
            .iter()
            .map(|row| (&row.email, &row.entry.want));
        let users = self.users.iter();
        users
            .map(|(email, entry)| (email, &entry.want))
            .chain(doubtful)
    }

    /// The cells of the `groups` column in valid and doubtful rows.
    pub fn groups_cells(&self) -> impl Iterator<Item = (&Email, &GroupsCell)> {
        let doubtful = self.doubtful.iter();
        let doubtful = doubtful.filter_map(|row| Some((&row.email, row.groups.as_ref()?)));
        self.memberships.cells.iter().chain(doubtful)
    }

    /// Users whose day of leaving has not come.
    pub fn upcoming_leavers(&self) -> impl Iterator<Item = &Leaver> {
        let leavers = self.leavers.values();
        leavers.filter(|leaver| leaver.state == LeaveState::Upcoming)
    }

    /// Compares only one user. Of the other rows, those stay that decide about this user: the row of the successor,
    /// which says whether the successor stays, and one upsert, without which a missing user is not pruned.
    #[must_use]
    pub(crate) fn about(mut self, email: &Email, successor: Option<&Email>) -> Self {
        let mut upserts = 0;
        self.users.retain(|of, entry| {
            let is_upsert = matches!(entry.want, DesiredUser::Upsert(_));
            upserts += usize::from(is_upsert);
            of == email || Some(of) == successor || (is_upsert && upserts == 1)
        });
        self.memberships = self.memberships.about(email);
        if let Some(roles) = &mut self.roles {
            roles.rows.retain(|row| row.subject == *email);
        }
        self.only = Some(email.clone());
        self
    }

    /// Whether a user is to be compared.
    #[must_use]
    pub fn compares(&self, email: &Email) -> bool {
        self.only.as_ref().is_none_or(|only| only == email)
    }

    /// Whether this roster may remove users, by `op` or by pruning.
    ///
    /// # Errors
    /// The reason why not, as a sentence.
    pub fn removals_allowed(&self) -> Result<(), String> {
        let Some(first) = self.rejected.first() else {
            return Ok(());
        };
        let more = match self.rejected.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(format!(
            "A file of the roster could not be read ({}{more}), so no user is removed.",
            first.location
        ))
    }

    /// Whether users that are not in this roster may be removed.
    ///
    /// # Errors
    /// The reason why not, as a sentence.
    pub fn pruning_allowed(&self) -> Result<(), String> {
        self.removals_allowed()?;
        // A roster of leavers states nothing about the users that it does not name.
        let upserts = || {
            self.users.iter().any(|(email, entry)| {
                matches!(entry.want, DesiredUser::Upsert(_)) && !self.leavers.contains_key(email)
            })
        };
        let unnamed = self.unnamed + self.doubtful.len() as u64;
        if !self.is_source {
            Err("This is not the roster of source.path, so no user is pruned.".into())
        } else if unnamed > 0 {
            let rows = if unnamed == 1 { "row" } else { "rows" };
            Err(format!(
                "{unnamed} {rows} of the roster without a readable email may belong to any user, so no user is pruned."
            ))
        } else if !upserts() {
            Err("The roster has no row that upserts a user, so no user is pruned.".into())
        } else {
            Ok(())
        }
    }
}

/// A clock that is ahead by less is usual.
const MAX_AHEAD: Duration = Duration::from_mins(2);

/// A file, to compare the age of rosters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileRead {
    /// The name, as in [`Location::file`](crate::model::Location::file).
    pub name: Arc<str>,
    /// The modification time.
    pub modified: SystemTime,
}

impl FileRead {
    /// Whether the file is dated in the future.
    #[must_use]
    pub fn is_in_future(&self, now: SystemTime) -> bool {
        self.modified > now + MAX_AHEAD
    }

    /// Whether another file is newer, by time, then name.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        (self.modified, &self.name) < (other.modified, &other.name)
    }
}

/// A digest of the roster's files, equal for equal names and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
