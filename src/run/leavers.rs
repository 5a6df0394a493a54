//! Reads what the guard needs for changes that pass the other limits and take access away: the fields of the users, as
//! far as they are not known, and for removals also their schedules and personal tokens, and the successors. A run
//! without such changes sends no such request.

use super::Prepared;
use super::cache::ObservationCache;
use crate::model::{
    Email, GroupsUnknown, ObservedUser, Owned, OwnedSchedules, OwnedSchedulesPolicy, Policy,
    UserId, UserMatch,
};
use crate::omni::{self, OmniError, Reader};
use crate::plan;
use crate::state::StateDb;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What to read next.
#[derive(Debug)]
pub(super) enum Missing {
    /// The fields of users: admins may be protected, and the history keeps the values of removed users.
    Fields(Vec<Arc<ObservedUser>>),
    /// What users own.
    Owned(Vec<UserId>),
    /// Whether successors exist.
    Successors(Vec<Email>),
    /// The groups, because access depends on them.
    Groups,
}

impl Missing {
    /// What a plan lacks; `None` if it lacks nothing. What users own is read again if it was read before `oldest`, or
    /// if reading it failed before `started`.
    pub(super) fn of(
        prepared: &Prepared,
        policy: &Policy,
        started: DateTime<Utc>,
        oldest: DateTime<Utc>,
    ) -> Option<Self> {
        let verdict = &prepared.assessment.verdict;
        let unread = verdict.unread();
        if !unread.is_empty() {
            return Some(Self::Fields(unread.into_values().cloned().collect()));
        }
        let is_known = |owned: &Owned| match owned.schedules {
            OwnedSchedules::Failed(_) => owned.read >= started,
            OwnedSchedules::Read(_) | OwnedSchedules::NotShown => owned.read >= oldest,
        };
        let leavers: Vec<_> = verdict.leavers().collect();
        let unlooked = leavers
            .iter()
            .filter(|user| !user.owned.as_deref().is_some_and(is_known));
        let unlooked: Vec<_> = unlooked.map(|user| user.id.clone()).collect();
        if !unlooked.is_empty() {
            return Some(Self::Owned(unlooked));
        }
        match policy.owned_schedules {
            OwnedSchedulesPolicy::Transfer => Self::for_transfers(prepared, policy, started),
            OwnedSchedulesPolicy::Hold | OwnedSchedulesPolicy::Ignore => None,
        }
    }

    /// What is missing about the users who get schedules. A cached id may belong to another address by now, and a
    /// cached attribute may have another value.
    fn for_transfers(prepared: &Prepared, policy: &Policy, started: DateTime<Utc>) -> Option<Self> {
        let Prepared { desired, cache, .. } = prepared;
        let owners = prepared.assessment.verdict.owners();
        let emails = owners.filter_map(|user| plan::successor_of(desired, policy, &user.email));
        let emails: BTreeSet<_> = emails.collect();
        if emails.is_empty() {
            return None;
        }
        let shows_all = cache.is_new_list() && !cache.observed.is_of_one();
        let is_unknown = |email: &&&Email| match cache.observed.get(email) {
            Some(UserMatch::One(user)) => cache.may_be_another(&user.id, started),
            Some(UserMatch::Several(_)) => false,
            None => !cache.knows(email) && !shows_all,
        };
        let unknown: Vec<_> = emails.iter().filter(is_unknown).copied().cloned().collect();
        if !unknown.is_empty() {
            return Some(Self::Successors(unknown));
        }
        let found = emails
            .iter()
            .filter_map(|email| match cache.observed.get(email)? {
                UserMatch::One(user) => Some(user),
                UserMatch::Several(_) => None,
            });
        let unread: Vec<_> = found.filter(|user| !user.is_read()).cloned().collect();
        if !unread.is_empty() {
            return Some(Self::Fields(unread));
        }
        let groups = cache.observed.groups().why_unknown();
        (groups == Some(&GroupsUnknown::NotRead)).then_some(Self::Groups)
    }

    /// Reads the missing part into the cache.
    pub(super) async fn read(
        self,
        cache: &mut ObservationCache,
        reader: &Reader,
        keep_in: Option<&StateDb>,
    ) -> Result<(), OmniError> {
        match self {
            Self::Fields(users) => cache.read(reader, users, keep_in).await,
            Self::Owned(ids) => {
                let owned = omni::read_owned(reader, &ids).await?;
                cache.observed.note_owned(owned);
                Ok(())
            }
            Self::Successors(emails) => {
                let found = |email: Email, user| cache.looked_up(&email, user);
                omni::look_up_each(reader, emails, found).await
            }
            Self::Groups => cache.read_groups(reader).await,
        }
    }
}
