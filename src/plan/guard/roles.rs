//! The limit of role changes. It counts the assignments of one run; those that may lower a role, or may grant `MODELER`
//! or `CONNECTION_ADMIN`, count fivefold.

use super::{Guard, Verdict};
use crate::model::{Change, GuardRule};
use crate::util::text::{agree, plural};

impl Guard<'_> {
    pub(super) fn roles(&self, verdict: &mut Verdict) {
        let (rule, limit) = (GuardRule::MaxRoleChanges, self.policy.max_role_changes);
        let counted = self.counted(verdict, rule).filter_map(Change::assignment);
        let (risky, plain): (Vec<_>, Vec<_>) = counted.partition(|one| one.is_risky());
        let sum: u64 = plain.iter().chain(&risky).map(|one| one.weight()).sum();
        if sum <= limit {
            return;
        }
        let assignments = plural(plain.len() + risky.len(), "assignment");
        let exceed = agree(plain.len() + risky.len(), "exceeds", "exceed");
        let apart = match risky.len() {
            0 => String::new(),
            count => format!(
                " ({count} of them may lower a role, or {} MODELER or CONNECTION_ADMIN, and {} fivefold)",
                agree(count, "grants", "grant"),
                agree(count, "counts", "count")
            ),
        };
        let reason = format!("{assignments}{apart} {exceed} the limit of {limit} ({rule})");
        verdict.hold(rule, reason, self.memory);
    }
}
