//! The arithmetic of limits, in integers.

use crate::model::{GuardRule, Limit};
use crate::util::text::{agree, plural};

/// What a limit compares.
pub(super) struct Tally {
    /// The users of planned changes that are not approved.
    pub(super) planned: usize,
    /// The other users whose changes were sent in the last 24 hours.
    pub(super) lately: usize,
    pub(super) base: usize,
    /// The largest sum that passes.
    pub(super) allowed: u128,
}

impl Tally {
    pub(super) fn is_exceeded(&self) -> bool {
        self.planned > 0 && (self.planned + self.lately) as u128 > self.allowed
    }

    /// ` (plus 8 in the last 24 h)`, unless there are none.
    pub(super) fn lately(&self) -> String {
        match self.lately {
            0 => String::new(),
            lately => format!(" (plus {lately} in the last 24 h)"),
        }
    }

    pub(super) fn verb(&self) -> &'static str {
        agree(self.planned, "exceeds", "exceed")
    }
}

/// The largest number that a limit allows. A percentage above 0 allows at least the floor, so that small organisations
/// can work.
pub(super) fn allowed(limit: Limit, floor: u64, base: usize) -> u128 {
    match limit {
        Limit::Count(count) => count.into(),
        Limit::Percent(0) => 0,
        // No limit, even if the base lacks users who are new.
        Limit::Percent(100..) => u128::MAX,
        Limit::Percent(percent) => share(percent, base).max(floor.into()),
    }
}

fn share(percent: u64, base: usize) -> u128 {
    u128::from(percent) * base as u128 / 100
}

/// `the limit of 20 (max_removals = 10% of 200 users)`. Below `minimum`, the percentage does not matter.
pub(super) fn describe(
    rule: GuardRule,
    limit: Limit,
    minimum: &str,
    tally: &Tally,
    of: &str,
) -> String {
    let Tally { base, allowed, .. } = tally;
    match limit {
        Limit::Percent(percent) => {
            let of = plural(*base, of);
            match share(percent, *base) {
                share if share < *allowed => format!(
                    "the limit of {allowed} ({minimum}, since {rule} = {percent}% of {of} is {share})"
                ),
                _ => format!("the limit of {allowed} ({rule} = {percent}% of {of})"),
            }
        }
        Limit::Count(_) => format!("the limit of {allowed} ({rule})"),
    }
}
