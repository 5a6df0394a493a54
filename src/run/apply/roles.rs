//! Assigns roles, each with one request. An assignment overwrites the present role, so sending one again does no harm.
//!
//! - If a response is lost, the roles are read, if Omni shows this role. The assignment is sent again if the role is
//!   still the former one: the limits and the protection of users were evaluated for that one.
//! - Omni may accept an assignment and not keep it. The roles are read back if the response shows that, or if the same
//!   assignment was sent in an earlier run.
//! - A user or group that this run creates gets its roles in this run.

use super::EndedChange;
use super::attempt::Attempt;
use super::memberships::OwnChanges;
use super::worker::{MAX_ATTEMPTS, Worker};
use crate::model::{
    Action, Assignment, AssignmentHolder, Change, ChangeOutcome, GroupId, GroupName, GroupRef,
    KnownRoles, ObservedGroup, RoleHolder, RoleName,
};
use crate::omni::{Available, OmniError};
use chrono::Utc;
use std::collections::HashMap;
use std::ops::ControlFlow;

const OTHER_ROLE: &str =
    "something else has assigned another role; the next run compares the roles";
const NO_GROUP: &str = "no join of this run created the group; the next run compares the roles";

/// The groups that this run has created. One that turned out to exist may have a role that nothing was compared with.
pub(super) struct OwnGroups(HashMap<GroupName, GroupId>);

impl OwnGroups {
    pub(super) fn new(created: Vec<ObservedGroup>) -> Self {
        let named = created
            .into_iter()
            .filter_map(|group| Some((GroupName::parse(&group.name).ok()?, group.id)));
        Self(named.collect())
    }
}

impl Worker<'_> {
    /// Sends one assignment. The users and groups that this run has created have ids by now.
    pub(super) async fn apply_role(
        &self,
        change: &Change,
        own: &OwnChanges,
        groups: &OwnGroups,
    ) -> EndedChange {
        if self.has_ended() {
            return Attempt::not_sent().end(change);
        }
        if let Some(unclear) = self.may_be_another(change) {
            return unclear.end(change);
        }
        match with_ids(change, own, groups) {
            Ok(change) => self.recorded(&change).await.end(&change),
            Err(why) => Attempt::skipped(why).end(change),
        }
    }

    /// Sends an assignment until its outcome is known. It changes no field of a user.
    pub(super) async fn assign(&self, change: &Change, assignment: &Assignment) -> Attempt {
        let Some(holder) = assignment.holder.id() else {
            return Attempt::skipped(NO_GROUP);
        };
        if let Some(doubtful) = self.may_be_key_user(change) {
            return doubtful;
        }
        let attempt = self.send_role(change, assignment, &holder).await;
        Attempt {
            effect: None,
            ..attempt
        }
    }

    async fn send_role(
        &self,
        change: &Change,
        assignment: &Assignment,
        holder: &RoleHolder,
    ) -> Attempt {
        let mut losses = 0;
        loop {
            let (scope, to) = (&assignment.role.scope.ids, &assignment.role.to);
            let failure = match self.work.writer.assign_role(holder, scope, to).await {
                Ok(shown) => {
                    self.note_answer();
                    return self.assigned(change, assignment, holder, shown).await;
                }
                Err(OmniError::OutcomeUnknown(failure)) => failure,
                Err(error) => {
                    return match self.refusal(error, losses > 0).await {
                        ControlFlow::Break(attempt) => attempt,
                        ControlFlow::Continue(error) => Attempt::failed(&error),
                    };
                }
            };
            losses += 1;
            tracing::info!(
                subject = %change.subject, failure = %failure.redacted(),
                "the response to an assignment of a role was lost; reading the roles"
            );
            let now = match self.reader().back_off(losses).await {
                Ok(()) => self.read_role(assignment, holder).await,
                Err(error) => Err(error),
            };
            match now {
                Ok(Some(Some(now))) if now == *to => {
                    return Attempt::new(ChangeOutcome::Applied, "");
                }
                Ok(Some(now)) if now != assignment.role.from => {
                    return Attempt::new(ChangeOutcome::Failed, OTHER_ROLE);
                }
                Ok(_) if losses < MAX_ATTEMPTS => {}
                Ok(now) => {
                    return Attempt {
                        known: now.is_some(),
                        ..self.give_up(losses, failure)
                    };
                }
                Err(error) => return self.unresolved(error),
            }
        }
    }

    /// Compares the role in a response with the one that was sent.
    async fn assigned(
        &self,
        change: &Change,
        assignment: &Assignment,
        holder: &RoleHolder,
        shown: Option<RoleName>,
    ) -> Attempt {
        let to = &assignment.role.to;
        let applied = Attempt::new(ChangeOutcome::Applied, "");
        let other = shown.filter(|shown| shown != to);
        if other.is_none() && !self.work.recorder.is_repeat(change) {
            return applied;
        }
        match (self.read_role(assignment, holder).await, other) {
            (Ok(Some(now)), _) if now.as_ref() != Some(to) => Attempt::not_kept(&match now {
                Some(now) => format!("the role is {now}"),
                None => "there is no such role".to_owned(),
            }),
            (Ok(None) | Err(_), Some(other)) => {
                Attempt::not_kept(&format!("the response shows the role {other}"))
            }
            (Ok(_) | Err(_), _) => applied,
        }
    }

    /// The present direct role, `Some(None)` if there is none; `None` if Omni does not show it.
    async fn read_role(
        &self,
        assignment: &Assignment,
        holder: &RoleHolder,
    ) -> Result<Option<Option<RoleName>>, OmniError> {
        let scope = &assignment.role.scope.ids;
        let scopes = &self.work.prepared.cache.observed.roles().scopes;
        let scopes = scopes.as_ref().ok();
        if !scopes.is_some_and(|scopes| scopes.shows(holder, scope)) {
            return Ok(None);
        }
        let Available::Known(roles) = self.reader().roles(holder).await? else {
            return Ok(None);
        };
        let mut known = KnownRoles::default();
        known.was_read(holder, roles, scopes, Utc::now());
        let now = known.direct(holder, scope);
        Ok(now.map(|role| role.cloned()))
    }
}

/// The change with the ids that are known by now, or why it is not sent.
fn with_ids(change: &Change, own: &OwnChanges, groups: &OwnGroups) -> Result<Change, &'static str> {
    let Some(assignment) = change.assignment() else {
        return Ok(change.clone());
    };
    let holder = match &assignment.holder {
        AssignmentHolder::User(_) => {
            AssignmentHolder::User(Some(own.user_with_known_roles(change)?))
        }
        AssignmentHolder::Group(group) => {
            let known = group
                .id
                .clone()
                .or_else(|| groups.0.get(&group.name).cloned());
            AssignmentHolder::Group(GroupRef {
                id: Some(known.ok_or(NO_GROUP)?),
                name: group.name.clone(),
            })
        }
    };
    Ok(change.with(Action::Role(Assignment {
        holder,
        ..assignment.clone()
    })))
}
