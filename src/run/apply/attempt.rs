//! The end of one attempt, and how it is reported.

use super::EndedChange;
use crate::model::{Change, ChangeOutcome, ObservedUser};
use crate::omni::OmniError;
use crate::plan::quarantine::Cause;
use crate::run::AppliedChange;
use crate::run::cache::Effect;

/// The end of one attempt.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) outcome: ChangeOutcome,
    /// Details for history and reports.
    pub(super) detail: String,
    /// Details for the log: without Omni's words, which may hold values.
    pub(super) logged: String,
    /// Why the change was not applied.
    pub(super) cause: Cause,
    /// Whether the outcome is known.
    pub(super) known: bool,
    /// The user's new state, if it changed.
    pub(super) effect: Option<Effect>,
    /// What is needed as well or instead.
    pub(super) follow_up: Option<FollowUp>,
}

/// What is needed for a user whose state was not as observed.
#[derive(Clone)]
pub(super) enum FollowUp {
    /// The user exists and needs an update. Says why this was not known.
    Update(Box<ObservedUser>, &'static str),
    /// The user does not exist and must be created.
    Create,
    /// This user was changed instead, and must get its former values back.
    TakeBack(Box<ObservedUser>),
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
            follow_up: None,
        }
    }

    /// The change was not sent.
    pub(super) fn skipped(detail: impl Into<String>) -> Self {
        Self::new(ChangeOutcome::Skipped, detail)
    }

    /// The run ended before the change was sent.
    pub(super) fn not_sent() -> Self {
        Self::skipped("not sent: the run ended before")
    }

    pub(super) fn applied(effect: Effect) -> Self {
        Self::new(ChangeOutcome::Applied, "").with(effect)
    }

    /// Adds a detail.
    pub(super) fn add_detail(&mut self, text: &str) {
        for detail in [&mut self.detail, &mut self.logged] {
            let separator = if detail.is_empty() { "" } else { "; " };
            *detail = format!("{detail}{separator}{text}");
        }
    }

    /// The change was not applied, and something else is needed.
    pub(super) fn stale(detail: &str, follow_up: FollowUp) -> Self {
        Self {
            follow_up: Some(follow_up),
            ..Self::new(ChangeOutcome::Failed, detail).with(Effect::Uncertain)
        }
    }

    pub(super) fn with(self, effect: Effect) -> Self {
        Self {
            effect: Some(effect),
            ..self
        }
    }

    /// The answer to a removal may show the state from before, so the user is looked up by the next run.
    pub(super) fn distrust_unless_applied(self) -> Self {
        match self.outcome {
            ChangeOutcome::Applied => self,
            ChangeOutcome::NotKept | ChangeOutcome::Failed | ChangeOutcome::Skipped => {
                self.with(Effect::Uncertain)
            }
        }
    }

    /// The user to be updated is gone.
    pub(super) fn vanished() -> Self {
        let vanished = "the user is no longer in Omni; the next run handles this";
        Self::new(ChangeOutcome::Failed, vanished).with(Effect::Gone)
    }

    /// The user with the cached id has another address by now. Nothing was sent.
    pub(super) fn moved(now: ObservedUser) -> Self {
        let detail = format!(
            "skipped: this user's address in Omni is now {}; the next run looks up both addresses",
            now.email
        );
        Self::new(ChangeOutcome::Failed, detail).with(Effect::Is(now.into()))
    }

    /// The user to be removed is protected, which was not known when the removal was planned.
    pub(super) fn protected(now: ObservedUser) -> Self {
        let detail = "skipped: the user turned out to be protected";
        Self::new(ChangeOutcome::Failed, detail).with(Effect::Is(now.into()))
    }

    /// The user with the cached id was changed, and the response shows another address.
    pub(super) fn misdirected(now: ObservedUser) -> Self {
        let detail = format!(
            "this user's address in Omni is now {}, so the update is reverted",
            now.email
        );
        Self {
            follow_up: Some(FollowUp::TakeBack(now.clone().into())),
            ..Self::new(ChangeOutcome::Failed, detail).with(Effect::Is(now.into()))
        }
    }

    /// The user who loses access may be the user of an API key.
    pub(super) fn doubtful(doubt: &str) -> Self {
        Self::new(ChangeOutcome::Failed, format!("skipped: {doubt}"))
    }

    /// The user to be removed is gone.
    pub(super) fn gone() -> Self {
        Self::new(ChangeOutcome::Applied, "was already gone").with(Effect::Gone)
    }

    /// Omni accepted the change and did not keep it.
    pub(super) fn not_kept(what: &str) -> Self {
        Self::new(
            ChangeOutcome::NotKept,
            format!("Omni accepted the change and did not keep: {what}"),
        )
    }

    pub(super) fn failed(error: &OmniError) -> Self {
        let leaves_user_as_is = error.is_rejection()
            && !matches!(
                error,
                OmniError::NotFound { .. }
                    | OmniError::Conflict { .. }
                    | OmniError::Ambiguous { .. }
            );
        Self {
            logged: error.redacted(),
            cause: match error.is_rejection() {
                true => Cause::Rejected,
                false => Cause::Other,
            },
            effect: (!leaves_user_as_is).then_some(Effect::Uncertain),
            ..Self::new(ChangeOutcome::Failed, error.to_string())
        }
    }

    /// The response was lost, and the lookup after it failed.
    pub(super) fn unknown(error: &OmniError) -> Self {
        let text = |error: &str| format!("unknown whether the change was applied: {error}");
        Self {
            logged: text(&error.redacted()),
            known: false,
            ..Self::new(ChangeOutcome::Failed, text(&error.to_string())).with(Effect::Uncertain)
        }
    }

    /// Ends a change with this attempt.
    pub(super) fn end(self, change: &Change) -> EndedChange {
        let applied = AppliedChange {
            subject: change.subject.clone(),
            operation: change.operation(),
            group: change.group().map(|group| group.name.clone()),
            role: change.role().cloned(),
            schedule: change.schedule_label(),
            outcome: self.outcome,
            detail: self.detail,
            rejected: self.cause == Cause::Rejected,
        };
        log(&applied, &self.logged);
        EndedChange {
            change: change.clone(),
            applied,
            effect: self.effect,
        }
    }
}

/// The log target of changes, so that a command that prints its changes can leave them out of the log.
pub const CHANGES: &str = "omni_user_sync::change";

fn log(applied: &AppliedChange, detail: &str) {
    let (user, operation) = (&applied.subject, applied.operation);
    let group = applied.group.as_ref().map(tracing::field::display);
    // Without the roles themselves: logs have no values.
    let scope = applied.role.as_ref();
    let scope = scope.map(|role| tracing::field::display(&role.scope));
    let outcome = applied.outcome.as_str();
    let detail = (!detail.is_empty()).then_some(detail);
    match applied.outcome {
        ChangeOutcome::Applied => {
            tracing::info!(target: CHANGES, %user, %operation, group, scope, outcome, detail, "change");
        }
        ChangeOutcome::Skipped => {
            tracing::debug!(target: CHANGES, %user, %operation, group, scope, outcome, detail, "change");
        }
        ChangeOutcome::NotKept | ChangeOutcome::Failed => {
            tracing::warn!(target: CHANGES, %user, %operation, group, scope, outcome, detail, "change");
        }
    }
}
