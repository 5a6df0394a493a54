//! Creates groups.

use super::attempt::Attempt;
use super::worker::{MAX_ATTEMPTS, Worker};
use crate::model::{Change, ChangeOutcome, GroupId, GroupName, GroupRef, ObservedGroups};
use crate::omni::{Groups, OmniError};
use crate::plan::NameIndex;
use crate::run::effects::GroupEffect;

impl Worker<'_> {
    /// The id of a group, which is created for these changes if it has none.
    ///
    /// # Errors
    /// How the changes end that can't be sent.
    pub(super) async fn id_of(
        &self,
        group: &GroupRef,
        changes: &[&Change],
    ) -> Result<GroupId, Attempt> {
        if let Some(id) = &group.id {
            return Ok(id.clone());
        }
        let (id, is_created) = self.create_group(&group.name).await?;
        let recorder = self.work.recorder;
        let recorded = recorder.record_group(&id, &group.name, changes, is_created);
        recorded.await.map_err(|error| {
            let attempt = Attempt::skipped(format!("not sent: {error}"));
            self.end_run(error.into());
            attempt
        })?;
        Ok(id)
    }

    /// Creates a group. Returns its id, and whether it is certainly new. If a group has the name by now, that one is
    /// meant.
    async fn create_group(&self, name: &GroupName) -> Result<(GroupId, bool), Attempt> {
        let mut losses = 0;
        loop {
            let (error, found) = match self.work.writer.create_group(name).await {
                Ok(Some(group)) => {
                    self.note_answer();
                    let id = group.id.clone();
                    self.note_group(GroupEffect::Created(group));
                    return Ok((id, true));
                }
                // The response is empty.
                Ok(None) => (None, self.find_group(name).await),
                Err(error @ OmniError::Conflict { .. }) => {
                    (Some(error), self.find_group(name).await)
                }
                Err(OmniError::OutcomeUnknown(failure)) => {
                    losses += 1;
                    match self.find_after_loss(name, losses).await {
                        Ok(None) if losses < MAX_ATTEMPTS => continue,
                        Ok(None) => return Err(not_created(self.give_up(losses, failure))),
                        found => (None, found),
                    }
                }
                Err(error) => {
                    let error = self.checked(error).await;
                    return Err(not_created(self.conclude(error)));
                }
            };
            self.note_answer();
            return match (found, error) {
                (Ok(Some(id)), _) => Ok((id, false)),
                (Ok(None), Some(conflict)) if losses == 0 => {
                    Err(not_created(Attempt::failed(&conflict)))
                }
                (Ok(None), _) => {
                    let detail = "Omni does not show the new group yet; the next run handles this";
                    Err(Attempt::new(ChangeOutcome::Failed, detail))
                }
                (Err(error), _) => Err(not_created(self.conclude(error))),
            };
        }
    }

    async fn find_after_loss(
        &self,
        name: &GroupName,
        losses: u32,
    ) -> Result<Option<GroupId>, OmniError> {
        tracing::info!(group = %name, "the response to the creation of a group was lost; listing the groups");
        self.reader().back_off(losses).await?;
        self.find_group(name).await
    }

    /// The id of the group with a name, in any letter case.
    async fn find_group(&self, name: &GroupName) -> Result<Option<GroupId>, OmniError> {
        let groups = match self.reader().groups_for(name).await? {
            Groups::Known(groups) => ObservedGroups::new(groups),
            Groups::Rejected(status) => {
                let detail = String::new();
                return Err(OmniError::Rejected { status, detail });
            }
        };
        let groups = NameIndex::of_groups(&groups);
        let Ok(group) = groups.get(name.as_str()) else {
            return Ok(None);
        };
        self.note_group(GroupEffect::Seen((*group).clone()));
        Ok(Some(group.id.clone()))
    }
}

/// The end of a membership whose group can't be created.
fn not_created(attempt: Attempt) -> Attempt {
    let text = |error: &str| format!("the group was not created: {error}");
    Attempt {
        logged: text(&attempt.logged),
        detail: text(&attempt.detail),
        effect: None,
        ..attempt
    }
}
