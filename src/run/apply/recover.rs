//! What turned out to be other than was thought, mended in the same run.

use super::attempt::{Attempt, FollowUp};
use super::worker::Worker;
use super::{Change, Ended};
use crate::model::{
    ChangeOutcome, DesiredUser, Email, Observed, ObservedUser, UserMatch, UserSpec,
};
use crate::omni::{self, OmniError};
use crate::plan::differences;
use crate::plan::quarantine::Cause;
use crate::plan::{Action, FieldChange};
use crate::run::observe::Effect;
use std::sync::Arc;

impl Worker<'_> {
    /// Does what is needed after a change that ended so, if anything is.
    pub(super) async fn mend(&self, change: &Change, mut ending: Attempt) -> Ended {
        match (ending.instead.take(), self.spec_of(change)) {
            (Some(FollowUp::Update(user, why)), Some(spec)) if self.updates_are_free() => {
                self.update_instead(change, spec, &user, why).await
            }
            (Some(FollowUp::Create), Some(spec)) if spec.display_name.is_some() => {
                let create = change.with(Action::Create(spec.clone()));
                let mut ending = self.recorded(&create).await;
                ending.effect.get_or_insert(Effect::Gone);
                ending.of(&create)
            }
            // An approval is of a user's id, and of nobody who comes after them.
            (Some(FollowUp::Remove(user)), _) if self.work.ledger.is_approved(change) => {
                let another = "has another id by now; the next run rules on it";
                let ending = Attempt::new(ChangeOutcome::Failed, another);
                ending.with(Effect::Is(user)).of(change)
            }
            (Some(FollowUp::Remove(user)), _) => {
                let found: Arc<ObservedUser> = user.into();
                let remove = change.with(match change.action {
                    Action::Deactivate(_) => Action::Deactivate(found.clone()),
                    _ => Action::Delete(found.clone()),
                });
                let mut ending = self.recorded(&remove).await;
                ending.effect.get_or_insert_with(|| is(&found));
                ending.of(&remove)
            }
            _ => ending.of(change),
        }
    }

    /// What the roster wants of the user of a change.
    fn spec_of(&self, change: &Change) -> Option<&UserSpec> {
        match &self.work.prepared.desired.users.get(&change.email)?.want {
            DesiredUser::Upsert(spec) => Some(spec),
            DesiredUser::Delete | DesiredUser::Deactivate => None,
        }
    }

    /// An update of its own, with its own lines in the ledger. It clears nothing: clears are for the
    /// guard to count, and this update has not been before it.
    async fn update_instead(
        &self,
        change: &Change,
        spec: &UserSpec,
        user: &ObservedUser,
        why: &str,
    ) -> Ended {
        let (clears, sets): (Vec<_>, Vec<_>) = differences(spec, user, self.schema())
            .into_iter()
            .partition(FieldChange::is_clear);
        let is_empty = sets.is_empty();
        let update = change.with(Action::Update(user.clone().into(), sets));
        let mut ending = match is_empty {
            true => Attempt::done(is(user)),
            false => self.recorded(&update).await,
        };
        // Refused or not sent: they are as they were seen.
        ending.effect.get_or_insert_with(|| is(user));
        let left = match (clears.is_empty(), user.active) {
            (false, _) => {
                Some("some of their values are to be cleared, which is left to the next run")
            }
            (true, false) => Some("they are inactive, which is left to the next run"),
            (true, true) => None,
        };
        if ending.outcome == ChangeOutcome::Done {
            let effect = ending.effect.take();
            ending = match left {
                Some(left) => Attempt::new(ChangeOutcome::Failed, format!("{why}; {left}")),
                None => Attempt::new(
                    ChangeOutcome::Done,
                    format!("{why}, and are as the roster says"),
                ),
            };
            ending.effect = effect;
        }
        ending.of(&update)
    }

    /// Who has the email of somebody who was to be made.
    pub(super) async fn on_conflict(&self, email: &Email) -> Result<Attempt, OmniError> {
        let exists = |user| {
            let instead = FollowUp::Update(user, "they existed already");
            Attempt::stale("they exist already (409); the next run sees to it", instead)
        };
        Ok(match self.find(email).await? {
            Some(user) => exists(user),
            None => Attempt {
                cause: Cause::Refused,
                ..Attempt::new(
                    ChangeOutcome::Failed,
                    "Omni says that this user exists already (409) and shows nobody with this email; \
                     ask Omni's support who has it",
                )
            },
        })
    }

    /// What to do about somebody who is gone by an id that was kept: they may have been made again.
    pub(super) async fn on_not_found(&self, change: &Change) -> Result<Attempt, OmniError> {
        let now = self.find(&change.email).await?;
        Ok(match (&change.action, now) {
            (Action::Create(_), _) => Attempt::vanished(),
            (Action::Update(..), Some(user)) => {
                let instead = FollowUp::Update(user, "they were made again since");
                Attempt::stale("has another id by now", instead)
            }
            (Action::Update(..), None) => Attempt {
                instead: Some(FollowUp::Create),
                ..Attempt::vanished()
            },
            (Action::Delete(_) | Action::Deactivate(_), None) => Attempt::gone(),
            (Action::Delete(_) | Action::Deactivate(_), Some(user)) if change.place.is_some() => {
                Attempt::stale("has another id by now", FollowUp::Remove(user))
            }
            // Nobody asked for the removal of this one by name.
            (Action::Delete(_) | Action::Deactivate(_), Some(user)) => {
                let again = "was gone already; somebody has made them again since";
                Attempt::new(ChangeOutcome::Done, again).with(Effect::Is(user))
            }
        })
    }

    /// Looks a user up by email. Where that shows nobody, though Omni's filter may mind case and not
    /// everybody was listed just now, it lists everybody, once.
    async fn find(&self, email: &Email) -> Result<Option<Box<ObservedUser>>, OmniError> {
        let mut now = self.reader().find(email).await?.sighting()?;
        if now.is_none() && self.may_be_overlooked() {
            let everybody = self.everybody().await?;
            now = everybody.get(email).cloned();
            if now.is_none() && everybody.doubt().is_some() {
                return Err(OmniError::UnreliableLookup);
            }
        }
        match now {
            Some(UserMatch::One(user)) => Ok(Some(Arc::unwrap_or_clone(user).into())),
            Some(UserMatch::Several(count)) => Err(OmniError::Ambiguous { count }),
            None => Ok(None),
        }
    }

    async fn everybody(&self) -> Result<&Observed, OmniError> {
        self.everybody
            .get_or_try_init(|| omni::list(self.reader()))
            .await
    }

    /// The answer to an update may show more than what was asked for: since Omni was read, somebody
    /// else has changed what the roster names too.
    pub(super) fn drifted(&self, change: &Change, ending: Attempt) -> Attempt {
        let (ChangeOutcome::Done, Some(Effect::Is(now)), Action::Update(..), Some(spec), true) = (
            ending.outcome,
            &ending.effect,
            &change.action,
            self.spec_of(change),
            self.may_be_stale(),
        ) else {
            return ending;
        };
        if differences(spec, now, self.schema()).is_empty() {
            return ending;
        }
        let why = "they had been changed since Omni was read";
        let instead = Some(FollowUp::Update(now.clone(), why));
        Attempt { instead, ..ending }
    }
}

fn is(user: &ObservedUser) -> Effect {
    Effect::Is(user.clone().into())
}
