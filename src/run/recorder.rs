//! Records the changes of one run in the state database: before they are sent, and once their outcome is known.

use super::Prepared;
use crate::model::{
    Change, ChangeId, ChangeIntent, ChangeOutcome, FieldChange, GroupId, GroupName, Memory, NewIds,
    Observed, Operation, RoleHolder, RunNumber, Settled, UserId,
};
use crate::plan::ownership;
use crate::plan::quarantine::{self, Cause};
use crate::state::{StateDb, StateError};
use chrono::Utc;

/// Records the changes of one run.
#[derive(Debug)]
pub struct ChangeRecorder<'a> {
    state: &'a StateDb,
    run: RunNumber,
    memory: &'a Memory,
    observed: &'a Observed,
    is_source: bool,
}

/// A change that is recorded and may be sent.
pub(super) struct Recorded {
    id: ChangeId,
    intent: ChangeIntent,
}

/// What a confirmed change says about earlier ones of the same kind whose outcome is unknown.
fn replaces(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Create => {
            Some("the response was lost; a later creation shows that it was not applied")
        }
        Operation::Assign => Some(
            "the response was lost, so the outcome is unknown; a later assignment has replaced it",
        ),
        _ => None,
    }
}

impl<'a> ChangeRecorder<'a> {
    pub(super) fn new(state: &'a StateDb, run: RunNumber, prepared: &'a Prepared) -> Self {
        Self {
            state,
            run,
            memory: &prepared.memory,
            observed: &prepared.cache.observed,
            is_source: prepared.desired.is_source,
        }
    }

    /// Whether exactly this change is approved.
    pub(super) fn is_approved(&self, change: &Change) -> bool {
        self.memory.approved.covers(change)
    }

    /// Records a change that is about to be sent. It is on disk once this returns.
    pub(super) async fn intend(&self, change: &Change) -> Result<Recorded, StateError> {
        let intent = ChangeIntent {
            intended: Utc::now(),
            subject: change.subject.clone(),
            user_id: change.user_id().cloned(),
            operation: change.operation(),
            group: change.group().cloned(),
            role: change.role().cloned(),
            fields: self.fields(change),
            approved: self.is_approved(change),
        };
        let id = self.state.intend(self.run, &intent).await?;
        Ok(Recorded { id, intent })
    }

    /// The fields of a change. A removal has the memberships and direct roles that it ends as well, as far as they are
    /// known.
    fn fields(&self, change: &Change) -> Vec<FieldChange> {
        let mut fields = change.fields();
        if let Some(user) = change.removed() {
            let groups = self.observed.groups().of_user(&user.id);
            let groups = groups.filter_map(|group| GroupName::parse(&group.name).ok());
            let mut groups: Vec<_> = groups.collect();
            groups.sort();
            fields.extend(groups.iter().map(FieldChange::lost_group));
            let holder = RoleHolder::User(user.id.clone());
            let roles = self.observed.roles().holders.get(&holder);
            let direct = roles.iter().flat_map(|known| known.direct_roles());
            fields.extend(direct.map(|(scope, role)| FieldChange::lost_role(scope, role)));
        }
        fields
    }

    /// Records the outcome of a change. `created` is the id of a created user. The change has the id of its group, if
    /// that is known by now.
    pub(super) async fn settle(
        &self,
        recorded: Recorded,
        change: &Change,
        outcome: ChangeOutcome,
        detail: &str,
        cause: Cause,
        created: Option<&UserId>,
    ) -> Result<(), StateError> {
        let Recorded { id, intent } = recorded;
        let settled = Settled {
            at: Utc::now(),
            outcome,
            detail: detail.to_owned(),
        };
        let ids = NewIds {
            user: created.cloned(),
            group: change.group().and_then(|group| group.id.clone()),
        };
        let intent = intent.with(&ids);
        let ownership = ownership::by_change(&intent, outcome, self.is_source);
        let quarantined = quarantine::after(change, &settled, cause, self.memory);
        let put = async {
            match &quarantined {
                Some(quarantined) => {
                    let put = self.state.quarantine_put(change.key(), quarantined);
                    put.await
                }
                None => Ok(()),
            }
        };
        let earlier = async {
            match replaces(intent.operation).filter(|_| outcome == ChangeOutcome::Applied) {
                Some(detail) => self.state.settle_earlier(id, detail, settled.at).await,
                None => Ok(()),
            }
        };
        // All at once, so that they share one commit.
        let settle = self.state.settle(id, &settled, &ids, ownership);
        tokio::try_join!(settle, put, earlier).map(drop)
    }

    /// Records a group that was created for these changes, or found with their name.
    pub(super) async fn record_group(
        &self,
        id: &GroupId,
        name: &GroupName,
        changes: &[&Change],
        is_created: bool,
    ) -> Result<(), StateError> {
        let ownership = ownership::by_new_group(id, name, changes, is_created, self.is_source);
        self.state.record_roster(ownership, None, Utc::now()).await
    }

    /// Whether the same change was tried or applied before.
    pub(super) fn is_repeat(&self, change: &Change) -> bool {
        quarantine::is_repeat(change, self.memory)
    }
}
