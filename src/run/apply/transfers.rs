//! Transfers the schedules of users who are removed in the same run, each with one request.
//!
//! - If a response is lost, the schedules of the owner are read, and the transfer is sent again if the schedule is
//!   among them.
//! - The removal does not delete a schedule that the owner no longer has, so its transfer counts as applied.
//! - If one transfer fails, its owner is not removed.

use super::EndedChange;
use super::attempt::Attempt;
use super::worker::{MAX_ATTEMPTS, Worker};
use crate::model::{
    Change, ChangeOutcome, ObservedUser, OwnedSchedule, OwnedSchedules, OwnedSchedulesPolicy,
    ScheduleId, Transfer, UserId,
};
use crate::omni::OmniError;
use crate::run::cache::Effect;
use chrono::Utc;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Users who are not removed, because a schedule of theirs was not transferred.
#[derive(Debug, Default)]
pub(super) struct Kept(HashSet<UserId>);

impl Kept {
    /// The owners of transfers that were not applied.
    pub(super) fn new(ended: &[EndedChange]) -> Self {
        let failed = ended.iter().filter(|one| {
            one.change.transfer().is_some() && one.applied.outcome != ChangeOutcome::Applied
        });
        Self(
            failed
                .filter_map(|one| one.change.user_id().cloned())
                .collect(),
        )
    }

    /// Why a removal is not sent.
    pub(super) fn reason(&self, removal: &Change) -> Option<&'static str> {
        let is_kept = self.0.contains(removal.user_id()?);
        is_kept.then_some("not removed: a schedule of this user could not be transferred")
    }
}

impl Worker<'_> {
    /// Removes a user, unless a transfer has failed, or the user's schedules are unknown.
    pub(super) async fn remove(&self, change: &Change, kept: &Kept) -> EndedChange {
        if self.has_ended() {
            return Attempt::not_sent().end(change);
        }
        let why = match kept.reason(change) {
            Some(why) => Ok(Some(why.to_owned())),
            None => self.why_unchecked(change).await,
        };
        match why {
            Ok(None) => self.apply(change).await,
            Ok(Some(why)) => self.unsent(change, why).await.end(change),
            Err(error) => self.conclude(error).end(change),
        }
    }

    /// Why the user's schedules prevent a removal. They are read again if the last reading is too old.
    async fn why_unchecked(&self, change: &Change) -> Result<Option<String>, OmniError> {
        let ignores = self.work.policy.owned_schedules == OwnedSchedulesPolicy::Ignore;
        let Some(user) = change.removed().filter(|_| !ignores) else {
            return Ok(None);
        };
        let Some(owned) = user.owned.as_deref() else {
            return Ok(Some(
                "not removed: the user's schedules were not read".to_owned(),
            ));
        };
        let is_old = owned.read + self.work.max_age < Utc::now();
        let now = match &owned.schedules {
            OwnedSchedules::Failed(why) => {
                return Ok(Some(format!(
                    "not removed: the user's schedules can't be read: {why}"
                )));
            }
            OwnedSchedules::Read(_) if is_old => self.reader().schedules_of(&user.id).await?,
            OwnedSchedules::Read(_) | OwnedSchedules::NotShown => return Ok(None),
        };
        let OwnedSchedules::Read(now) = now else {
            return Ok(Some(
                "not removed: Omni no longer shows the user's schedules".to_owned(),
            ));
        };
        let is_new = |one: &&OwnedSchedule| user.schedules().iter().all(|known| known.id != one.id);
        let new: Vec<_> = now
            .iter()
            .filter(is_new)
            .map(OwnedSchedule::label)
            .collect();
        Ok((!new.is_empty()).then(|| {
            format!(
                "not removed: the user owns a schedule that was not shown: {}",
                new.join(", ")
            )
        }))
    }

    /// Sends a transfer until its outcome is known. The owner's schedules are read again before they are used.
    pub(super) async fn transfer(&self, change: &Change, transfer: &Transfer) -> Attempt {
        if let Some(unsent) = self.may_be_another(change) {
            return unsent;
        }
        let owner = ObservedUser {
            owned: None,
            ..transfer.owner.as_ref().clone()
        };
        let attempt = self.send_transfer(change, transfer).await;
        Attempt {
            effect: Some(Effect::Is(owner.into())),
            ..attempt
        }
    }

    async fn send_transfer(&self, change: &Change, transfer: &Transfer) -> Attempt {
        let Transfer {
            owner,
            schedule,
            successor,
            ..
        } = transfer;
        let mut losses = 0;
        loop {
            let sent = self
                .work
                .writer
                .transfer_schedule(&schedule.id, &successor.id)
                .await;
            let failure = match sent {
                Ok(()) => {
                    self.note_answer();
                    return Attempt::new(ChangeOutcome::Applied, "");
                }
                Err(OmniError::OutcomeUnknown(failure)) => failure,
                Err(error) => {
                    return match self.refusal(error, losses > 0).await {
                        ControlFlow::Break(attempt) => attempt,
                        ControlFlow::Continue(error) => {
                            self.refused(owner, &schedule.id, &error).await
                        }
                    };
                }
            };
            losses += 1;
            tracing::info!(
                user = %change.subject, failure = %failure.redacted(),
                "the response to the transfer of a schedule was lost; reading the schedules"
            );
            let has_it = match self.reader().back_off(losses).await {
                Ok(()) => self.has_schedule(owner, &schedule.id).await,
                Err(error) => Err(error),
            };
            match has_it {
                Ok(Some(false)) => return Attempt::new(ChangeOutcome::Applied, ""),
                Ok(_) if losses < MAX_ATTEMPTS => {}
                Ok(has_it) => {
                    return Attempt {
                        known: has_it.is_some(),
                        ..self.give_up(losses, failure)
                    };
                }
                Err(error) => return self.unresolved(error),
            }
        }
    }

    /// The end of a transfer that Omni refused. The schedule may be gone, or have the new owner already.
    async fn refused(&self, owner: &ObservedUser, id: &ScheduleId, error: &OmniError) -> Attempt {
        match self.has_schedule(owner, id).await {
            Ok(Some(false)) => Attempt::new(
                ChangeOutcome::Applied,
                "the user no longer has the schedule",
            ),
            _ => Attempt::failed(error),
        }
    }

    /// Whether a user has a schedule; `None` if Omni does not show it.
    async fn has_schedule(
        &self,
        owner: &ObservedUser,
        id: &ScheduleId,
    ) -> Result<Option<bool>, OmniError> {
        Ok(match self.reader().schedules_of(&owner.id).await? {
            OwnedSchedules::Read(schedules) => Some(schedules.iter().any(|one| one.id == *id)),
            OwnedSchedules::NotShown | OwnedSchedules::Failed(_) => None,
        })
    }
}
