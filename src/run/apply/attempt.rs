//! How a change ended, and how that is told.

use crate::model::{ChangeOutcome, ObservedUser};
use crate::omni::OmniError;
use crate::plan::Change;
use crate::plan::quarantine::Cause;
use crate::run::AppliedChange;
use crate::run::observe::Effect;

/// How a change ended, told twice: in full, and without what Omni said of it, which may hold values,
/// for the log.
pub(super) struct Attempt {
    pub(super) outcome: ChangeOutcome,
    pub(super) detail: String,
    pub(super) logged: String,
    /// Why it was not done, where it was not.
    pub(super) cause: Cause,
    /// Whether it is known that it was done, or that it was not.
    pub(super) known: bool,
    /// How the user is now, where that is not as before.
    pub(super) effect: Option<Effect>,
    /// What turned out to be needed instead, or besides.
    pub(super) instead: Option<FollowUp>,
}

/// What is needed of a user who turned out to be other than was thought.
pub(super) enum FollowUp {
    /// They are there: to be updated, and why that was not known.
    Update(Box<ObservedUser>, &'static str),
    /// They are not there: to be made.
    Create,
    /// They are there with another id: to be removed.
    Remove(Box<ObservedUser>),
}

impl Attempt {
    pub(super) fn new(outcome: ChangeOutcome, detail: impl Into<String>) -> Self {
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
        Self::new(ChangeOutcome::Done, "").with(effect)
    }

    /// It was not done, and something else is needed.
    pub(super) fn stale(detail: &str, instead: FollowUp) -> Self {
        Self {
            instead: Some(instead),
            ..Self::new(ChangeOutcome::Failed, detail).with(Effect::Unsure)
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
        Self::new(ChangeOutcome::Failed, vanished).with(Effect::Gone)
    }

    pub(super) fn gone() -> Self {
        Self::new(ChangeOutcome::Done, "was gone already").with(Effect::Gone)
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
            ..Self::new(ChangeOutcome::Failed, error.to_string())
        }
    }

    /// The answer was lost, and so was the look at what became of it.
    pub(super) fn unknown(error: &OmniError) -> Self {
        let said = |what: &str| format!("whether this was done is not known: {what}");
        Self {
            logged: said(&error.without_detail()),
            known: false,
            ..Self::new(ChangeOutcome::Failed, said(&error.to_string())).with(Effect::Unsure)
        }
    }

    /// The same as told of a change.
    pub(super) fn of(self, change: &Change) -> super::Ended {
        let applied = AppliedChange {
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

fn log(applied: &AppliedChange, detail: &str) {
    let (user, kind, outcome) = (&applied.email, applied.kind, applied.outcome.as_str());
    match applied.outcome {
        ChangeOutcome::Done => {
            tracing::info!(target: CHANGES, %user, %kind, outcome, detail, "change")
        }
        ChangeOutcome::Unsent => {
            tracing::debug!(target: CHANGES, %user, %kind, outcome, detail, "change")
        }
        ChangeOutcome::NotKept | ChangeOutcome::Failed => {
            tracing::warn!(target: CHANGES, %user, %kind, outcome, detail, "change");
        }
    }
}
