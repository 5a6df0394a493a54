//! Whether a user with a cached id still has the address that a change is about. Addresses can be changed in Omni, even
//! swapped.

use super::attempt::Attempt;
use super::worker::Worker;
use crate::model::{Action, Change, ChangeOutcome, FieldChange, ObservedUser, Subject};
use crate::omni::OmniError;
use crate::run::cache::Effect;

const NOT_READ_AGAIN: &str = "the user could not be read again; the next run handles this";

impl Worker<'_> {
    /// Reads the user of a removal if the id is cached, or fields are, such as the one that protects admins. Returns
    /// how the change ends if it must not be sent. Without the users of all keys, no removal is sent.
    pub(super) async fn recheck_removal(
        &self,
        change: &Change,
    ) -> Result<Option<Attempt>, OmniError> {
        let id = change.user_id().filter(|_| change.operation().is_removal());
        if let Some(doubtful) = self.may_be_key_user(change) {
            return Ok(Some(doubtful));
        }
        let Some(id) = id.filter(|_| self.work.prepared.cache.rechecks_removals()) else {
            return Ok(None);
        };
        let key_users = &self.work.prepared.memory.key_users;
        Ok(match self.reader().get(id).await? {
            None => Some(self.on_not_found(change).await?),
            Some(now) if change.subject != now.email => Some(Attempt::moved(now)),
            Some(now) if self.work.policy.protects(&now, key_users) => {
                Some(Attempt::protected(now))
            }
            Some(_) => None,
        })
    }

    /// How a membership, a role or a transfer ends of which a user may have another address by now.
    pub(super) fn may_be_another(&self, change: &Change) -> Option<Attempt> {
        let (cache, started) = (&self.work.prepared.cache, self.work.started);
        let mut users = change.unseen_users().into_iter();
        let is_another = users.any(|(_, id)| cache.may_be_another(id, started));
        is_another.then(|| Attempt::skipped(NOT_READ_AGAIN))
    }

    /// How a change ends that takes access from a user, if that user may be the user of an API key.
    pub(super) fn may_be_key_user(&self, change: &Change) -> Option<Attempt> {
        let doubt = self.work.prepared.memory.key_doubt.as_ref()?;
        change.user_losing_access()?;
        Some(Attempt::doubtful(doubt))
    }

    /// Writes the former values back to a user that got an update meant for another address, with a record of its own.
    pub(super) async fn take_back(&self, change: &Change, user: &ObservedUser) -> Attempt {
        let back = |one: FieldChange| FieldChange::new(one.field, one.to, one.from);
        let fields: Vec<_> = change.fields().into_iter().map(back).collect();
        let update = Change {
            subject: Subject::from(&user.email),
            action: Action::Update(user.clone().into(), fields),
            location: None,
        };
        let attempt = self.recorded(&update).await;
        let moved = format!("the address was changed in Omni to {}", user.email);
        let was_applied = attempt.outcome == ChangeOutcome::Applied;
        let text = |error: &str| match was_applied {
            true => format!("{moved}; that user has the former values again"),
            false => format!(
                "{moved}; that user got this update, and the former values can't be written back: {error}"
            ),
        };
        Attempt {
            logged: text(&attempt.logged),
            effect: attempt
                .effect
                .or_else(|| Some(Effect::Is(user.clone().into()))),
            ..Attempt::new(ChangeOutcome::Failed, text(&attempt.detail))
        }
    }
}
