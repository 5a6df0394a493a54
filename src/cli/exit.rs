//! Exit codes.

use crate::model::ChangeOutcome;
use crate::plan::Assessment;
use crate::run::{Completion, Prepared, RunError, RunOutcome};
use std::process::{ExitCode, Termination};

/// An exit code. Scripts depend on these numbers. If several apply, the highest of
/// 64 > 1 > 4 > 3 > 2 > 0 is used, which is the order of the variants here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Converged, or nothing to do.
    Ok,
    /// There are changes (`plan`).
    Changes,
    /// Some rows are invalid, or some changes failed.
    Partial,
    /// Changes are held.
    Held,
    /// The command failed.
    Failed,
    /// Invalid usage or settings.
    Usage,
}

impl Exit {
    /// The numeric code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Changes => 2,
            Self::Partial => 3,
            Self::Held => 4,
            Self::Failed => 1,
            Self::Usage => 64,
        }
    }

    /// The exit code of a run.
    #[must_use]
    pub fn of_run(outcome: &RunOutcome) -> Self {
        let roster = outcome.roster();
        highest([
            (
                matches!(
                    outcome.completion,
                    Completion::Failed(RunError::Settings(_) | RunError::Keys(_))
                ),
                Self::Usage,
            ),
            (
                !matches!(
                    outcome.completion,
                    Completion::Complete | Completion::DryRun
                ),
                Self::Failed,
            ),
            (
                roster.is_some_and(|roster| roster.unreadable().next().is_some()),
                Self::Failed,
            ),
            (
                !outcome.held().is_empty() || !outcome.blocked().is_empty(),
                Self::Held,
            ),
            (
                roster.is_some_and(|roster| !roster.bad_rows.is_empty()),
                Self::Partial,
            ),
            (
                outcome.plan.as_ref().is_some_and(|plan| plan.unread > 0),
                Self::Partial,
            ),
            (outcome.quarantined() > 0, Self::Partial),
            (!outcome.unlisted.is_empty(), Self::Partial),
            (
                outcome
                    .changes
                    .iter()
                    .any(|one| one.outcome != ChangeOutcome::Applied),
                Self::Partial,
            ),
        ])
    }

    /// The exit code of a plan.
    #[must_use]
    pub fn of_plan(prepared: &Prepared) -> Self {
        let desired = &prepared.desired;
        let Assessment {
            verdict,
            problems,
            ambiguous,
            unread,
            unread_roles,
            blocked,
            ..
        } = &prepared.assessment;
        let is_partial = !desired.bad_rows.is_empty()
            || !problems.is_empty()
            || !ambiguous.is_empty()
            || !unread.is_empty()
            || !unread_roles.is_empty();
        highest([
            (!desired.rejected.is_empty(), Self::Failed),
            (desired.memberships.unreadable.is_some(), Self::Failed),
            (desired.unreadable_roles().is_some(), Self::Failed),
            (
                !verdict.held().is_empty() || !blocked.is_empty(),
                Self::Held,
            ),
            (is_partial, Self::Partial),
            (!verdict.passed().is_empty(), Self::Changes),
        ])
    }
}

fn highest<const N: usize>(causes: [(bool, Exit); N]) -> Exit {
    let holding = causes
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, exit)| exit);
    holding.max().unwrap_or(Exit::Ok)
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_exit_code_is_used() {
        let order = [
            Exit::Usage,
            Exit::Failed,
            Exit::Held,
            Exit::Partial,
            Exit::Changes,
            Exit::Ok,
        ];
        assert_eq!(order.map(Exit::code), [64, 1, 4, 3, 2, 0]);
        assert!(order.is_sorted_by(|a, b| a > b));
        assert_eq!(
            highest([(true, Exit::Partial), (true, Exit::Held)]),
            Exit::Held
        );
        assert_eq!(highest([(false, Exit::Failed)]), Exit::Ok);
    }
}
