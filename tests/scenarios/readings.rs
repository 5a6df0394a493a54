//! The readings of Omni's documentation that the mock server offers: each scenario draws its own.

use crate::invariants::{email_of, whose};
use crate::record::user_history;
use crate::scenario::{Kind, chance, pick};
use crate::support::World;
use fastrand::Rng;
use omni_user_sync::sandbox::{
    Changed, ClearMode, Filter, Ids, Inactive, LargerCount, LastModified, Limiter, ListedGroups,
    Lists, Options, Origins, OtherIds, PatchAnswer, PutMode, Repeated,
};
use std::collections::BTreeSet;

/// Draws one of each disputed reading. Every invariant holds under every combination.
pub(crate) fn draw_options(random: &mut Rng, kind: Kind) -> Options {
    let keys = random.usize(1..=3);
    let pages = [
        (3, LargerCount::Capped),
        (5, LargerCount::Capped),
        (8, LargerCount::Capped),
        (100, LargerCount::Capped),
        (100, LargerCount::Refused),
        (1000, LargerCount::Capped),
    ];
    let (max_page, larger_count) = *pick(random, &pages);
    Options {
        requests_per_minute: if chance(random, 20) { 60 } else { 10_000 },
        limiter: *pick(random, &[Limiter::Sliding, Limiter::Fixed, Limiter::Bucket]),
        keys: (0..keys).map(|key| format!("key-{key}")).collect(),
        max_page,
        larger_count,
        inactive: *pick(random, &[Inactive::Keep, Inactive::Revoke]),
        clear: *pick(random, &[ClearMode::Null, ClearMode::Default]),
        lists: *pick(random, &[Lists::Full, Lists::OmitAttributes]),
        listed_groups: *pick(random, &[ListedGroups::Shown, ListedGroups::Omitted]),
        repeated: *pick(
            random,
            &[
                Repeated::Refused,
                Repeated::Added,
                Repeated::Removed,
                Repeated::Accepted,
            ],
        ),
        max_members: *pick(random, &[100, 2]),
        group_filter: *pick(
            random,
            &[Filter::AnyCase, Filter::ExactCase, Filter::Ignored],
        ),
        ids: *pick(random, &[Ids::Uuid, Ids::Uuid, Ids::Short]),
        other_ids: match kind {
            Kind::Faults => *pick(
                random,
                &[OtherIds::Refused, OtherIds::Ignored, OtherIds::Removed],
            ),
            // The reference expects that members can be removed.
            Kind::NoFaults => OtherIds::Removed,
        },
        origins: *pick(random, &[Origins::Live, Origins::Document]),
        list_lag: *pick(random, &[0, 0, 0, 2, 10]),
        last_modified: *pick(random, &[LastModified::Moves, LastModified::Stays]),
        patch_answer: *pick(
            random,
            &[PatchAnswer::User, PatchAnswer::Partial, PatchAnswer::Empty],
        ),
        put: *pick(random, &[PutMode::Replace, PutMode::Merge]),
        filter: *pick(
            random,
            &[
                Filter::AnyCase,
                Filter::AnyCase,
                Filter::ExactCase,
                Filter::Ignored,
            ],
        ),
        history: true,
        ..Options::default()
    }
}

/// The emails of created users that lists do not show yet.
pub(crate) fn hidden(world: &World, list_lag: u64) -> BTreeSet<String> {
    let next = world.org().requests().len() as u64 + 1;
    let history = user_history(world.org());
    let is_hidden = |change: &&Changed| {
        let made = change.request.filter(|_| change.before.is_none());
        list_lag > 0 && made.is_some_and(|request| request + list_lag >= next)
    };
    let hidden = history.iter().filter(is_hidden);
    hidden.map(|change| email_of(whose(change))).collect()
}
