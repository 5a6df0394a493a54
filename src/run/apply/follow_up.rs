//! Corrects a stale observation in the same run.

use super::EndedChange;
use super::attempt::{Attempt, FollowUp};
use super::worker::Worker;
use crate::model::{
    Action, Change, ChangeOutcome, DesiredUser, Email, FieldChange, Observed, ObservedUser,
    UserMatch, UserSpec,
};
use crate::omni::{self, Lookup, OmniError};
use crate::plan::differences;
use crate::plan::quarantine::Cause;
use crate::run::cache::Effect;
use crate::util::sync::lock;
use std::sync::Arc;

impl Worker<'_> {
    /// Does what is needed after an attempt, if anything is.
    pub(super) async fn follow_up(&self, change: &Change, mut attempt: Attempt) -> EndedChange {
        match (attempt.follow_up.take(), self.spec_of(change)) {
            (Some(FollowUp::Update(user, reason)), Some(spec)) if self.may_update(change) => {
                self.update_instead(change, spec, &user, reason).await
            }
            (Some(FollowUp::Create), Some(spec)) if spec.display_name.is_some() => {
                let create = change.with(Action::Create(spec.clone()));
                let mut attempt = self.recorded(&create).await;
                attempt.effect.get_or_insert(Effect::Gone);
                attempt.end(&create)
            }
            (Some(FollowUp::TakeBack(user)), _) => self.take_back(change, &user).await.end(change),
            _ => attempt.end(change),
        }
    }

    /// What the roster states for the user of a change.
    fn spec_of(&self, change: &Change) -> Option<&UserSpec> {
        match &self.work.prepared.desired.users.get(change.email()?)?.want {
            DesiredUser::Upsert(spec) => Some(spec),
            DesiredUser::Delete(_) | DesiredUser::Deactivate(_) => None,
        }
    }

    /// An update with a record of its own. It clears no values, because the guard counts these and has not seen this
    /// update.
    async fn update_instead(
        &self,
        change: &Change,
        spec: &UserSpec,
        user: &ObservedUser,
        reason: &str,
    ) -> EndedChange {
        let (clears, sets): (Vec<_>, Vec<_>) = differences(spec, user, self.schema())
            .into_iter()
            .partition(FieldChange::is_clear);
        let is_empty = sets.is_empty();
        let update = change.with(Action::Update(user.clone().into(), sets));
        let mut attempt = match is_empty {
            true => Attempt::applied(is(user)),
            false => self.recorded(&update).await,
        };
        // If the update was rejected or not sent, the user is as observed.
        attempt.effect.get_or_insert_with(|| is(user));
        let left = match (clears.is_empty(), user.is_inactive()) {
            (false, _) => Some("the next run clears some of the values"),
            (true, true) => Some("the user is inactive; the next run handles this"),
            (true, false) => None,
        };
        if attempt.outcome == ChangeOutcome::Applied {
            let effect = attempt.effect.take();
            attempt = match left {
                Some(left) => Attempt::new(ChangeOutcome::Failed, format!("{reason}; {left}")),
                None => Attempt::new(
                    ChangeOutcome::Applied,
                    format!("{reason}, and now matches the roster"),
                ),
            };
            attempt.effect = effect;
        }
        attempt.end(&update)
    }

    /// Creates the user of a change.
    pub(super) async fn create(
        &self,
        change: &Change,
        spec: &UserSpec,
        fields: &[FieldChange],
    ) -> Result<Attempt, OmniError> {
        let Some(email) = change.email() else {
            return Ok(Attempt::vanished());
        };
        Ok(match self.work.writer.create(email, spec).await? {
            Some(user) => self.compare(fields, user),
            // The id is unknown.
            None => Attempt::applied(Effect::Uncertain),
        })
    }

    /// Looks the user of a change up by email.
    pub(super) async fn find_subject(&self, change: &Change) -> Result<Lookup, OmniError> {
        match change.email() {
            Some(email) => self.reader().find(email).await,
            None => Ok(Lookup::NotFound),
        }
    }

    /// Finds the user that has the email of a user to be created. If the creation was `sent_before` and its response
    /// was lost, this user may be the created one.
    pub(super) async fn on_conflict(
        &self,
        change: &Change,
        sent_before: bool,
    ) -> Result<Attempt, OmniError> {
        let Some(email) = change.email() else {
            return Ok(Attempt::vanished());
        };
        let found = match self.find(email).await {
            Err(OmniError::UnreliableLookup) if self.unreadable() > 0 => None,
            found => found?,
        };
        if let Some(user) = found {
            if self.work.prepared.cache.is_new_list() {
                lock(&self.unlisted).push(email.clone());
            }
            return Ok(Attempt::stale(
                "the user exists already (409); the next run handles this",
                FollowUp::Update(user, "the user existed already"),
            ));
        }
        if sent_before || self.work.prepared.memory.recent.created.contains(email) {
            let detail = "Omni's list lags: this program created the user recently, and Omni reports that it exists \
                          (409) but does not list it yet; a later run looks it up again";
            return Ok(Attempt {
                known: !sent_before,
                ..Attempt::new(ChangeOutcome::Failed, detail)
            });
        }
        let detail = match self.unreadable() {
            0 => "Omni says that the user exists (409), but shows no user with this email; ask Omni's support who \
                  has it"
                .to_owned(),
            count => format!(
                "Omni says that the user exists (409); it is probably one of the users in Omni that can't be \
                 read ({count})"
            ),
        };
        Ok(Attempt {
            cause: Cause::Rejected,
            ..Attempt::new(ChangeOutcome::Failed, detail)
        })
    }

    /// The number of entries in Omni's list that can't be read.
    fn unreadable(&self) -> usize {
        let listed = self.everybody.get();
        let observed = listed.unwrap_or(&self.work.prepared.cache.observed);
        observed.unreadable().len()
    }

    /// Decides what to do about a user that is gone by its cached id and may have been created again.
    pub(super) async fn on_not_found(&self, change: &Change) -> Result<Attempt, OmniError> {
        let Some(email) = change.email() else {
            return Ok(Attempt::vanished());
        };
        let now = self.find(email).await?;
        Ok(match (&change.action, now) {
            (
                Action::Create(_) | Action::Membership(_) | Action::Role(_) | Action::Transfer(_),
                _,
            ) => Attempt::vanished(),
            (Action::Update(..), Some(user)) => {
                let follow_up = FollowUp::Update(user, "the user was created again");
                Attempt::stale("the user has another id by now", follow_up)
            }
            (Action::Update(..), None) => Attempt {
                follow_up: Some(FollowUp::Create),
                ..Attempt::vanished()
            },
            (Action::Delete(_) | Action::Deactivate(_), None) => Attempt::gone(),
            (Action::Delete(_) | Action::Deactivate(_), Some(user)) if !change.is_pruning() => {
                // The schedules of this user were not read, and no approval is for this id.
                let detail = "the user has another id by now; the next run plans again";
                Attempt::new(ChangeOutcome::Failed, detail).with(Effect::Is(user))
            }
            // The roster does not ask for the removal of the new user by name.
            (Action::Delete(_) | Action::Deactivate(_), Some(user)) => {
                let detail = "was already gone; the user was created again since";
                Attempt::new(ChangeOutcome::Applied, detail).with(Effect::Is(user))
            }
        })
    }

    /// Looks a user up by email. If that finds no user, but Omni's filter may depend on letter case or not all users
    /// were seen, all users are listed, once per run.
    async fn find(&self, email: &Email) -> Result<Option<Box<ObservedUser>>, OmniError> {
        let mut now = self.reader().find(email).await?.into_match()?;
        if now.is_none() && self.may_be_overlooked() {
            let everybody = self.everybody().await?;
            now = everybody.get(email).cloned();
            if now.is_none() && everybody.doubt().is_some() {
                return Err(OmniError::UnreliableLookup);
            }
        }
        match now {
            Some(UserMatch::One(user)) => {
                let user = self.complete(Arc::unwrap_or_clone(user)).await?;
                Ok(user.map(Box::new))
            }
            Some(UserMatch::Several(count)) => Err(OmniError::Ambiguous { count }),
            None => Ok(None),
        }
    }

    async fn everybody(&self) -> Result<&Observed, OmniError> {
        self.everybody
            .get_or_try_init(|| omni::list(self.reader()))
            .await
    }

    /// Checks the response to an update for drift: since Omni was read, a field that the roster states may have
    /// changed.
    pub(super) fn recheck_drift(&self, change: &Change, attempt: Attempt) -> Attempt {
        let (ChangeOutcome::Applied, Some(Effect::Is(now)), Action::Update(..), Some(spec), true) = (
            attempt.outcome,
            &attempt.effect,
            &change.action,
            self.spec_of(change),
            self.may_be_stale(),
        ) else {
            return attempt;
        };
        if differences(spec, now, self.schema()).is_empty() {
            return attempt;
        }
        let reason = "the user had changed since Omni was read";
        let follow_up = Some(FollowUp::Update(now.clone(), reason));
        Attempt {
            follow_up,
            ..attempt
        }
    }
}

fn is(user: &ObservedUser) -> Effect {
    Effect::Is(user.clone().into())
}
