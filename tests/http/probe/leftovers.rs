//! What broken probes leave behind, and what later ones make of it.

use super::{assert_clean, email, present, probe, probe_until, state, world_with};
use crate::support::World;
use omni_user_sync::model::{ProbeUser, UserId};
use omni_user_sync::probe::{MAX_REQUESTS, ProbeFailure, UnfinishedProbe};
use omni_user_sync::sandbox::{Fault, Filter, Inactive, Options, What, When};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// Aborts a probe at this request, which Omni carries out or not. Returns whether there was such a request.
async fn abort_at(world: &Arc<World>, at: u64, is_carried_out: bool) -> bool {
    let number = world.org().requests().last().map_or(0, |last| last.number) + at;
    let probing = tokio::spawn({
        let world = world.clone();
        async move { probe(&world, "first@x.co").await }
    });
    let abort = probing.abort_handle();
    world.org().before(number, move |_| abort.abort());
    if !is_carried_out {
        let when = When {
            from: Some(number),
            ..When::default()
        };
        world.org().fault(Fault {
            when,
            ..Fault::next(What::Reset)
        });
    }
    let ended = probing.await;
    world.org().clear_actions();
    world.org().clear_faults();
    ended.is_err()
}

/// The next probe removes the user of the killed one first, even if it is then refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_probe_leaves_nothing_to_the_next() {
    for (inactive, is_carried_out) in [(Inactive::Revoke, true), (Inactive::Keep, false)] {
        let options = Options {
            users: 3,
            inactive,
            ..Options::default()
        };
        let world = Arc::new(World::with(options).await);
        world.user("bob@x.co", "Bob", json!({}));
        let before = present(&world);
        let (mut at, mut deleted) = (1, 0);
        while abort_at(&world, at, is_carried_out).await {
            let probed = probe(&world, "bob@x.co").await;
            assert_eq!(present(&world), before, "{at}: {probed:#?}");
            let left = world.state_db().probe_user().await.expect("read");
            assert_eq!(left, None);
            let first = email("first@x.co");
            deleted += usize::from(probed.unfinished == Some(UnfinishedProbe::Deleted(first)));
            at += 1;
        }
        assert!(
            at > 20 && deleted > 15,
            "{at} requests, {deleted} left behind"
        );
        assert_eq!(present(&world), before);
    }
}

#[tokio::test]
async fn an_email_of_a_user_is_refused() {
    for filter in [Filter::AnyCase, Filter::ExactCase, Filter::Ignored] {
        let options = Options {
            users: 150,
            filter,
            ..Options::default()
        };
        let world = World::with(options).await;
        world.user("Ann@x.co", "Ann", json!({ "department": "Sales" }));
        let before = present(&world);
        let probed = probe(&world, "ann@x.co").await;
        let taken = matches!(probed.error, Some(ProbeFailure::EmailTaken(_)));
        assert!(taken, "{filter:?} {probed:#?}");
        assert_eq!(present(&world), before);
        let left = world.state_db().probe_user().await.expect("read");
        assert_eq!(left, None);
        let probed = probe(&world, "bob@x.co").await;
        assert_clean(&world, &before, &probed).await;
    }
}

/// The email of a killed probe may have been given to a person since.
#[tokio::test]
async fn another_user_with_the_email_is_unchanged() {
    let world = World::new().await;
    let first = email("first@x.co");
    let unfinished = ProbeUser {
        email: first.clone(),
        display_name: "omni-user-sync probe 1".into(),
        id: None,
    };
    let begun = state(&world).begin_probe(&unfinished).await;
    begun.expect("written");
    world.user("first@x.co", "Fay First", json!({}));
    let before = present(&world);
    let probed = probe(&world, "second@x.co").await;
    assert_eq!(probed.unfinished, Some(UnfinishedProbe::Another(first)));
    assert_clean(&world, &before, &probed).await;
}

/// Omni may have created the user again, with another id, when it was activated.
#[tokio::test]
async fn a_recreated_user_of_a_probe_is_removed() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let before = present(&world);
    let first = email("first@x.co");
    let name = "omni-user-sync probe 1";
    let unfinished = ProbeUser {
        email: first.clone(),
        display_name: name.into(),
        id: UserId::parse("gone"),
    };
    let begun = state(&world).begin_probe(&unfinished).await;
    begun.expect("written");
    world.user("first@x.co", name, json!({}));
    let probed = probe(&world, "second@x.co").await;
    assert_eq!(probed.unfinished, Some(UnfinishedProbe::Deleted(first)));
    assert_clean(&world, &before, &probed).await;
}

/// The group of an interrupted probe has exactly the name of its user. Others are not its own.
#[tokio::test]
async fn the_group_of_a_broken_probe_is_found() {
    for group_filter in [Filter::AnyCase, Filter::ExactCase, Filter::Ignored] {
        let world = World::with(Options {
            group_filter,
            ..Options::default()
        })
        .await;
        for number in 0..120 {
            world.org().add_group(&format!("Group {number}"), &[]);
        }
        let name = "omni-user-sync probe 1";
        world.org().add_group("omni-user-sync probe 10", &[]);
        let before = present(&world);
        let unfinished = ProbeUser {
            email: email("first@x.co"),
            display_name: name.into(),
            id: UserId::parse("gone"),
        };
        let begun = state(&world).begin_probe(&unfinished).await;
        begun.expect("written");
        world.user("member@x.co", "Member", json!({}));
        world.org().add_group(name, &["member@x.co"]);
        let probed = probe(&world, "member@x.co").await;
        assert!(probed.deleted_group, "{group_filter:?} {probed:#?}");
        let taken = matches!(probed.error, Some(ProbeFailure::EmailTaken(_)));
        assert!(taken, "{probed:#?}");
        assert_eq!(world.org().groups(), before[1]);
        let left = world.state_db().probe_user().await.expect("read");
        assert_eq!(left, None);
    }
}

/// The user is deleted all the same, and the next probe deletes the group.
#[tokio::test]
async fn a_group_that_stays_is_reported() {
    let world = World::new().await;
    world.org().fault(Fault {
        times: 1,
        when: When {
            path: Some("/api/scim/v2/Groups/".into()),
            method: Some("DELETE".into()),
            ..When::default()
        },
        what: What::Status {
            code: 403,
            retry_after: None,
            body: None,
        },
    });
    let probed = probe(&world, "probe@x.co").await;
    let stays = matches!(probed.error, Some(ProbeFailure::GroupNotDeleted { .. }));
    assert!(stays, "{probed:#?}");
    assert_eq!(world.org().users(), Vec::<Value>::new());
    assert_eq!(world.org().groups().len(), 1);
    let probed = probe(&world, "probe@x.co").await;
    assert!(probed.deleted_group, "{probed:#?}");
    assert_clean(&world, &[Vec::new(), Vec::new()], &probed).await;
}

/// Creates the probe's user again, with another id, once it was activated.
fn recreate_after_activation(world: &World, address: &'static str) {
    let was_inactive = Arc::new(AtomicBool::new(false));
    for number in 1..=MAX_REQUESTS {
        let was_inactive = was_inactive.clone();
        world.org().before(number, move |org| {
            let Some(user) = org.user(address) else {
                return;
            };
            if user["active"] == json!(false) {
                was_inactive.store(true, Ordering::Relaxed);
            } else if was_inactive.swap(false, Ordering::Relaxed) {
                org.remove_user(address);
                org.add_user(json!({ "userName": address, "displayName": user["displayName"] }));
            }
        });
    }
}

#[tokio::test]
async fn a_user_recreated_on_activation_is_deleted() {
    for filter in [Filter::AnyCase, Filter::ExactCase, Filter::Ignored] {
        let options = Options {
            users: 2500,
            max_page: 1000,
            inactive: Inactive::Keep,
            filter,
            ..Options::default()
        };
        let world = world_with(options).await;
        let before = present(&world);
        recreate_after_activation(&world, "probe@x.co");
        let probed = probe(&world, "probe@x.co").await;
        assert_clean(&world, &before, &probed).await;
        assert_eq!(probed.readings.inactive_revokes, Some(true), "{filter:?}");
    }
}

#[tokio::test]
async fn a_stopped_probe_deletes_its_user() {
    for at in 3..9 {
        let world = World::new().await;
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        world.org().before(at, move |_| stopping.cancel());
        let probed = probe_until(&world, "probe@x.co", &stop).await;
        assert!(probed.error.is_some(), "{probed:#?}");
        assert_eq!(present(&world), [Vec::<Value>::new(), Vec::new()]);
        let left = world.state_db().probe_user().await.expect("read");
        assert_eq!(left, None);
    }
}
