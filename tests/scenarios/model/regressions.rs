//! What the sequences have found, each in its smallest form.

use super::drive::{Outside, Step};
use super::play;
use super::reference::{Limit, Policy, Prune, Row};
use omni_user_sync::model::Trigger;

#[test]
fn recreation_after_a_kill_matches_the_reference() {
    let policy = Policy {
        prune: Prune::Managed,
        deactivates: false,
        reactivates: false,
        max_removals: Limit::Count(0),
    };
    let mut first = vec![Some(Row::Upsert("Ada", "Sales")); 9];
    for unnamed in [0, 4, 7] {
        first[unnamed] = Some(Row::Upsert("", "Sales"));
    }
    first[2] = Some(Row::Delete);
    let steps = [
        Step::Kill(8),
        Step::Shrink,
        Step::Outside(8, Outside::Remove),
        Step::Run(Trigger::File),
        Step::Outside(8, Outside::Remake),
        Step::Run(Trigger::Schedule),
    ];
    play(policy, first, &steps);
}
