//! Memberships: which of them are sent, and for which users. They are sent by group.

use super::attempt::Attempt;
use super::group_write::GroupWrite;
use super::members::{Batch, completed};
use super::worker::Worker;
use super::{EndedChange, OnEnd};
use crate::model::{
    Change, ChangeOutcome, GroupRef, Membership, MembershipChange, ObservedUser, Operation, Subject,
};
use crate::run::cache::Effect;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The changes of one group in one direction.
pub(super) struct GroupChanges<'a> {
    group: &'a GroupRef,
    direction: MembershipChange,
    changes: Vec<&'a Change>,
}

impl<'a> GroupChanges<'a> {
    /// The changes in one direction, by group, in the order of their names.
    pub(super) fn all(changes: &'a [Change], direction: MembershipChange) -> Vec<Self> {
        let mut groups: BTreeMap<_, Self> = BTreeMap::new();
        for change in changes {
            let Some(Membership {
                change: of, group, ..
            }) = change.membership()
            else {
                continue;
            };
            if *of == direction {
                let new = || Self {
                    group,
                    direction,
                    changes: Vec::new(),
                };
                let group = groups.entry((&group.name, &group.id)).or_insert_with(new);
                group.changes.push(change);
            }
        }
        groups.into_values().collect()
    }
}

/// A user after the change of the user in this run.
struct OwnChange {
    operation: Operation,
    outcome: ChangeOutcome,
    /// The user, if the state is known.
    user: Option<Arc<ObservedUser>>,
}

impl From<&EndedChange> for OwnChange {
    fn from(ended: &EndedChange) -> Self {
        Self {
            operation: ended.applied.operation,
            outcome: ended.applied.outcome,
            user: match &ended.effect {
                Some(Effect::Is(user)) => Some(Arc::new((**user).clone())),
                Some(Effect::Gone | Effect::Uncertain) | None => None,
            },
        }
    }
}

/// The users that were changed in this run.
pub(super) struct OwnChanges(HashMap<Subject, OwnChange>);

const NOT_CREATED: &str = "the user was not created";
const CHANGE_FAILED: &str = "the user's own change failed";
const EXISTED: &str = "the user existed already; the next run compares the roles";
const NO_ID: &str = "the id of the created user is not known yet; the next run handles this";
const OTHER_ID: &str = "the user has another id by now; the next run handles this";

impl OwnChanges {
    pub(super) fn new(ended: &[EndedChange]) -> Self {
        let of_users = ended.iter().filter(|one| one.applied.group.is_none());
        let own = of_users.map(|one| (one.applied.subject.clone(), one.into()));
        Self(own.collect())
    }

    /// The user of a role, or why the change is not sent. A user that the plan creates and that turns out to exist may
    /// have a role that nothing was compared with.
    pub(super) fn user_with_known_roles(
        &self,
        change: &Change,
    ) -> Result<Arc<ObservedUser>, &'static str> {
        let own = self.0.get(&change.subject);
        let existed = own.is_some_and(|own| own.operation != Operation::Create);
        match self.user_of(change) {
            Ok(_) if existed && change.user().is_none() => Err(EXISTED),
            user => user,
        }
    }

    /// The user of a membership, or why the change is not sent.
    pub(super) fn user_of(&self, change: &Change) -> Result<Arc<ObservedUser>, &'static str> {
        let planned = change.user();
        let Some(own) = self.0.get(&change.subject) else {
            return planned.cloned().ok_or(NOT_CREATED);
        };
        match (planned, &own.user) {
            _ if own.outcome != ChangeOutcome::Applied => match own.operation {
                Operation::Create => Err(NOT_CREATED),
                _ => Err(CHANGE_FAILED),
            },
            (None, Some(user)) => Ok(user.clone()),
            (None, None) => Err(NO_ID),
            (Some(planned), Some(user)) if planned.id != user.id => Err(OTHER_ID),
            (Some(planned), _) => Ok(planned.clone()),
        }
    }
}

impl Worker<'_> {
    /// The user of a membership, or how the change ends without being sent.
    fn user_of(&self, change: &Change, own: &OwnChanges) -> Result<Arc<ObservedUser>, Attempt> {
        if self.has_ended() {
            return Err(Attempt::not_sent());
        }
        if let Some(unclear) = self.may_be_another(change) {
            return Err(unclear);
        }
        own.user_of(change).map_err(Attempt::skipped)
    }

    /// Sends the changes of one group in one direction, as many at once as a request may have.
    pub(super) async fn apply_group(
        &self,
        changes: &GroupChanges<'_>,
        own: &OwnChanges,
        on_end: OnEnd<'_>,
    ) {
        let mut members = Vec::new();
        for change in &changes.changes {
            match self.user_of(change, own) {
                Ok(user) => members.push((*change, user)),
                Err(not_sent) => on_end(not_sent.end(change)),
            }
        }
        let mut group = changes.group.clone();
        let mut write = None;
        for some in members.chunks(self.reader().group_rules().max_members()) {
            let closed = match &write {
                None => self.has_ended().then(Attempt::not_sent),
                Some(write) => GroupWrite::closed(write, 0),
            };
            if let Some(closed) = closed {
                let changes = some.iter().map(|(change, _)| *change);
                changes.for_each(|change| on_end(closed.clone().end(change)));
                continue;
            }
            let some = some.iter();
            let some = some.map(|(change, user)| (completed(change, &group, user), user.clone()));
            let members = self.record_members(some.collect(), on_end).await;
            if members.is_empty() {
                continue;
            }
            // All of them join, or all of them leave.
            let doubtful = changes
                .changes
                .first()
                .and_then(|one| self.may_be_key_user(one));
            let id = match doubtful {
                Some(doubtful) => Err(doubtful),
                None => self.id_of(&group, &changes.changes).await,
            };
            match id {
                Ok(id) => {
                    let name = group.name.clone();
                    group.id = Some(id.clone());
                    let write = write.get_or_insert_with(|| {
                        GroupWrite::new(self, id, name, changes.direction, on_end)
                    });
                    let members = members.into_iter().map(|member| member.of(&group));
                    write.send(members.collect()).await;
                }
                Err(failure) => {
                    let failed = Batch::new(members).end(&failure);
                    self.settle_members(failed.ended, on_end).await;
                }
            }
        }
    }
}
