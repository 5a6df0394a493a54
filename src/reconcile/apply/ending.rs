//! How a change ended, and how that is told.

use super::super::observe::Effect;
use crate::omni::OmniError;
use crate::reconcile::quarantine::Cause;
use crate::reconcile::{Applied, Change, Outcome};
use crate::user::ObservedUser;

/// How a change ended, told twice: in full, and without what Omni said of it, which may hold values,
/// for the log.
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    pub(super) logged: String,
    /// Why it was not done, where it was not.
    pub(super) cause: Cause,
    /// Whether it is known that it was done, or that it was not.
    pub(super) known: bool,
    /// How the user is now, where that is not as before.
    pub(super) effect: Option<Effect>,
    /// What turned out to be needed instead, or besides.
    pub(super) instead: Option<Instead>,
}

/// What is needed of a user who turned out to be other than was thought.
pub(super) enum Instead {
    /// They are there: to be updated, and why that was not known.
    Update(Box<ObservedUser>, &'static str),
    /// They are not there: to be made.
    Create,
    /// They are there with another id: to be removed.
    Remove(Box<ObservedUser>),
}

impl Ending {
    pub(super) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            outcome,
            logged: detail.clone(),
            detail,
            cause: Cause::Other,
            known: true,
            effect: None,
            instead: None,
        }
    }

    pub(super) fn done(effect: Effect) -> Self {
        Self::new(Outcome::Done, "").with(effect)
    }

    /// It was not done, and something else is needed.
    pub(super) fn stale(detail: &str, instead: Instead) -> Self {
        Self {
            instead: Some(instead),
            ..Self::new(Outcome::Failed, detail).with(Effect::Unsure)
        }
    }

    pub(super) fn with(self, effect: Effect) -> Self {
        Self {
            effect: Some(effect),
            ..self
        }
    }

    pub(super) fn vanished() -> Self {
        let vanished = "is no longer in Omni; the next run sees to it";
        Self::new(Outcome::Failed, vanished).with(Effect::Gone)
    }

    pub(super) fn gone() -> Self {
        Self::new(Outcome::Done, "was gone already").with(Effect::Gone)
    }

    pub(super) fn failed(error: &OmniError) -> Self {
        let is_plain_no = error.is_refusal()
            && !matches!(
                error,
                OmniError::NotFound { .. }
                    | OmniError::Conflict { .. }
                    | OmniError::Ambiguous { .. }
            );
        Self {
            logged: error.without_detail(),
            cause: match error.is_refusal() {
                true => Cause::Refused,
                false => Cause::Other,
            },
            effect: (!is_plain_no).then_some(Effect::Unsure),
            ..Self::new(Outcome::Failed, error.to_string())
        }
    }

    /// The answer was lost, and so was the look at what became of it.
    pub(super) fn unknown(error: &OmniError) -> Self {
        let said = |what: &str| format!("whether this was done is not known: {what}");
        Self {
            logged: said(&error.without_detail()),
            known: false,
            ..Self::new(Outcome::Failed, said(&error.to_string())).with(Effect::Unsure)
        }
    }

    /// The same as told of a change.
    pub(super) fn of(self, change: &Change) -> super::Ended {
        let applied = Applied {
            email: change.email.clone(),
            kind: change.kind(),
            outcome: self.outcome,
            detail: self.detail,
            refused: self.cause == Cause::Refused,
        };
        log(&applied, &self.logged);
        super::Ended {
            change: change.clone(),
            applied,
            effect: self.effect,
        }
    }
}

/// The log's own name for these lines, so that a command that tells its changes itself can leave
/// them out.
pub const CHANGES: &str = "omni_user_sync::change";

fn log(applied: &Applied, detail: &str) {
    let (user, kind, outcome) = (&applied.email, applied.kind, applied.outcome.as_str());
    match applied.outcome {
        Outcome::Done => tracing::info!(target: CHANGES, %user, %kind, outcome, detail, "change"),
        Outcome::Unsent => {
            tracing::debug!(target: CHANGES, %user, %kind, outcome, detail, "change")
        }
        Outcome::NotKept | Outcome::Failed => {
            tracing::warn!(target: CHANGES, %user, %kind, outcome, detail, "change");
        }
    }
}
