//! What a probe learns.

use super::{assert_clean, assert_learned, expected, present, probe, world_with};
use crate::support::{World, on};
use futures_util::stream::{self, StreamExt};
use omni_user_sync::model::{PatchForm, Readings};
use omni_user_sync::probe::MAX_REQUESTS;
use omni_user_sync::sandbox::{
    ClearBy, ClearMode, Fault, Filter, Ids, Inactive, LargerCount, LastModified, ListedGroups,
    Lists, Options, OtherIds, PatchAnswer, PatchForms, PutMode, Repeated, What, When,
};
use serde_json::json;

fn one_of<T: Copy>(random: &mut fastrand::Rng, options: &[T]) -> T {
    options[random.usize(..options.len())]
}

/// All combinations of the readings with two or three values, each with some of the others.
fn combinations() -> Vec<Options> {
    let random = &mut fastrand::Rng::with_seed(7);
    let flags = 0..16;
    let filters = [Filter::AnyCase, Filter::ExactCase, Filter::Ignored];
    let pairs = flags.flat_map(|flags| filters.map(|filter| (flags, filter)));
    pairs
        .map(|(flags, filter)| {
            let forms = [PatchForms::Both, PatchForms::NoPath, PatchForms::Path];
            let clears = [ClearBy::Null, ClearBy::Empty, ClearBy::Remove];
            let answers = [PatchAnswer::User, PatchAnswer::Partial, PatchAnswer::Empty];
            let (max_page, users) =
                one_of(random, &[(100, 12), (100, 150), (250, 260), (1000, 1020)]);
            Options {
                lists: [Lists::Full, Lists::OmitAttributes][flags & 1],
                put: [PutMode::Replace, PutMode::Merge][(flags >> 1) & 1],
                inactive: [Inactive::Revoke, Inactive::Keep][(flags >> 2) & 1],
                last_modified: [LastModified::Moves, LastModified::Stays][(flags >> 3) & 1],
                filter,
                patch_forms: one_of(random, &forms),
                clears_by: clears.into_iter().filter(|_| random.bool()).collect(),
                patch_answer: one_of(random, &answers),
                clear: one_of(random, &[ClearMode::Null, ClearMode::Default]),
                larger_count: one_of(random, &[LargerCount::Capped, LargerCount::Refused]),
                max_page,
                users,
                listed_groups: one_of(random, &[ListedGroups::Shown, ListedGroups::Omitted]),
                repeated: one_of(
                    random,
                    &[
                        Repeated::Refused,
                        Repeated::Added,
                        Repeated::Removed,
                        Repeated::Accepted,
                    ],
                ),
                max_members: one_of(random, &[1000, 100, 60]),
                group_filter: one_of(random, &filters),
                ..Options::default()
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_readings_is_learned() {
    let probes = combinations().into_iter().map(|options| async move {
        let world = world_with(options.clone()).await;
        let before = present(&world);
        let probed = probe(&world, "Probe@x.co").await;
        assert_learned(&probed, &options, "");
        assert_clean(&world, &before, &probed).await;
        let remembered = world.state_db().readings().await.expect("read");
        assert_eq!(remembered, probed.readings);
    });
    stream::iter(probes)
        .buffer_unordered(8)
        .collect::<()>()
        .await;
}

/// A failure says nothing about a reading, whatever request it hits.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_failure_changes_no_reading() {
    let strict = Options {
        users: 12,
        clears_by: vec![ClearBy::Null, ClearBy::Remove],
        ..Options::default()
    };
    let lenient = Options {
        users: 150,
        inactive: Inactive::Keep,
        put: PutMode::Merge,
        last_modified: LastModified::Stays,
        listed_groups: ListedGroups::Shown,
        repeated: Repeated::Accepted,
        group_filter: Filter::AnyCase,
        ..Options::with_full_lists()
    };
    let error = What::Status {
        code: 500,
        retry_after: None,
        body: None,
    };
    let failures = [error, What::LostReply];
    let probes = [strict, lenient].into_iter().flat_map(|options| {
        let failures = failures.clone();
        let numbered = (1..=MAX_REQUESTS).flat_map(move |number| {
            let failures = failures.clone();
            failures.map(|what| (number, what))
        });
        numbered.map(move |(number, what)| (options.clone(), number, what))
    });
    let probes = probes.map(|(options, number, what)| async move {
        let world = world_with(options.clone()).await;
        let before = present(&world);
        let when = When {
            from: Some(number),
            ..When::default()
        };
        world.org().fault(Fault {
            when,
            ..Fault::next(what.clone())
        });
        let probed = probe(&world, "probe@x.co").await;
        assert_learned(&probed, &options, &format!("{what:?} at {number}:"));
        assert_clean(&world, &before, &probed).await;
    });
    stream::iter(probes)
        .buffer_unordered(32)
        .collect::<()>()
        .await;
}

/// Without definitions there is no attribute to try.
#[tokio::test]
async fn hidden_definitions_leave_readings_unknown() {
    let options = Options {
        users: 3,
        definitions: false,
        ..Options::default()
    };
    let world = World::with(options.clone()).await;
    let before = present(&world);
    let probed = probe(&world, "probe@x.co").await;
    let known = Readings {
        lists_carry_attributes: None,
        put_replaces: None,
        last_modified_moves: None,
        clears_by: None,
        patch_forms: None,
        ..expected(&options)
    };
    assert_eq!(probed.readings, known);
    assert_clean(&world, &before, &probed).await;
}

#[tokio::test]
async fn removals_by_other_ids_are_tried() {
    for other_ids in [OtherIds::Refused, OtherIds::Ignored, OtherIds::Removed] {
        for repeated in [Repeated::Refused, Repeated::Accepted] {
            let options = Options {
                users: 3,
                ids: Ids::Short,
                other_ids,
                repeated,
                ..Options::default()
            };
            let world = world_with(options.clone()).await;
            let before = present(&world);
            let probed = probe(&world, "probe@x.co").await;
            assert_learned(&probed, &options, "");
            assert_clean(&world, &before, &probed).await;
        }
    }
}

/// With one attribute, each clear takes a read of its own, so not all can be tried.
#[tokio::test]
async fn one_attribute_is_enough_for_most_readings() {
    for inactive in [Inactive::Revoke, Inactive::Keep] {
        let options = Options {
            users: 150,
            inactive,
            ..Options::default()
        };
        let world = World::with(options.clone()).await;
        // The only other text without a list.
        world
            .org()
            .define(json!({ "name": "tier", "type": "Number" }));
        let before = present(&world);
        let probed = probe(&world, "probe@x.co").await;
        let known = Readings {
            clears_by: None,
            max_members_per_request: None,
            ..expected(&options)
        };
        assert_eq!(probed.readings, known, "{probed:#?}");
        assert_clean(&world, &before, &probed).await;
    }
}

/// If Omni refuses values of several attributes, one of them may be the cause.
#[tokio::test]
async fn refused_attributes_are_tried_alone() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let before = present(&world);
    let (code, retry_after, body) = (400, None, None);
    let what = What::Status {
        code,
        retry_after,
        body,
    };
    world.org().fault(Fault {
        times: 2,
        ..on("PATCH", what)
    });
    let probed = probe(&world, "probe@x.co").await;
    let forms = probed.readings.patch_forms.as_deref();
    assert_eq!(forms, Some(&PatchForm::ALL[..]), "{probed:#?}");
    assert_eq!(probed.readings.put_replaces, Some(true));
    assert_eq!(probed.readings.inactive_revokes, Some(true));
    assert_clean(&world, &before, &probed).await;
}

/// A limit below all numbers that are tried says nothing.
#[tokio::test]
async fn few_members_per_request_are_unknown() {
    for (max_members, expected) in [(99, Some(50)), (50, Some(50)), (20, Some(20)), (19, None)] {
        let world = world_with(Options {
            max_members,
            ..Options::default()
        })
        .await;
        let probed = probe(&world, "probe@x.co").await;
        let max = probed.readings.max_members_per_request;
        assert_eq!(max, expected, "{max_members}: {probed:#?}");
    }
}

#[tokio::test]
async fn refused_groups_leave_readings_unknown() {
    for code in [403, 404] {
        let options = Options {
            users: 3,
            ..Options::default()
        };
        let world = world_with(options.clone()).await;
        let before = present(&world);
        world.org().fault(Fault {
            times: 99,
            when: When {
                path: Some("/api/scim/v2/Groups".into()),
                ..When::default()
            },
            what: What::Status {
                code,
                retry_after: None,
                body: None,
            },
        });
        let probed = probe(&world, "probe@x.co").await;
        let known = Readings {
            lists_carry_groups: None,
            adds_present_member: None,
            removes_absent_member: None,
            max_members_per_request: None,
            group_filter_ignores_case: None,
            ..expected(&options)
        };
        assert_eq!(probed.readings, known);
        assert_clean(&world, &before, &probed).await;
    }
}

/// Another user in a group may gain access.
#[tokio::test]
async fn no_other_user_joins_the_group() {
    let world = world_with(Options {
        users: 12,
        ..Options::default()
    })
    .await;
    let others = world.org().users();
    let others: Vec<_> = others
        .iter()
        .filter_map(|user| user["id"].as_str())
        .collect();
    let probed = probe(&world, "probe@x.co").await;
    assert!(probed.error.is_none(), "{probed:#?}");
    let writes = world.org().writes();
    let of_groups = writes.iter().filter(|write| write.path.contains("/Groups"));
    let bodies: Vec<_> = of_groups.filter_map(|write| write.body.as_ref()).collect();
    assert!(bodies.len() > 4, "{bodies:?}");
    for body in bodies {
        let body = body.to_string();
        assert!(!others.iter().any(|id| body.contains(id)), "{body}");
    }
}

/// Retries count, and the last requests are kept for the deletion.
#[tokio::test]
async fn failures_stay_within_the_limit_of_requests() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let before = present(&world);
    for at in [5, 11, 17] {
        world.org().before(at, |org| {
            let (code, retry_after, body) = (503, None, None);
            let what = What::Status {
                code,
                retry_after,
                body,
            };
            org.fault(Fault {
                times: 3,
                ..on("GET", what)
            });
        });
    }
    let probed = probe(&world, "probe@x.co").await;
    assert_clean(&world, &before, &probed).await;
    let requests = world.org().requests().len() as u64;
    assert!(requests <= MAX_REQUESTS, "{requests}");
    assert_eq!(
        probed.readings.inactive_revokes, None,
        "no requests were left"
    );
}
