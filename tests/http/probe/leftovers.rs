//! `check --probe` learns how Omni answers under every reading, leaves nothing behind and touches no other user.

use crate::support::{World, assert_converged, on};
use chrono::Utc;
use futures_util::stream::{self, StreamExt};
use omni_user_sync::model::{ClearForm, Email, PatchForm, ProbeUser, Readings, UserId};
use omni_user_sync::omni::WriteClient;
use omni_user_sync::probe::{self, MAX_REQUESTS, ProbeFailure, Probed, UnfinishedProbe};
use omni_user_sync::sandbox::{
    ClearBy, ClearMode, Fault, Filter, Inactive, LargerCount, LastModified, Lists, Options,
    PatchAnswer, PatchForms, PutMode, What, When,
};
use omni_user_sync::state::{Access, StateDb, StateLock};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

fn email(text: &str) -> Email {
    Email::parse(text).expect("an email")
}

fn state(world: &World) -> StateDb {
    let lock = StateLock::acquire(&world.settings().state.dir, "test").expect("it is free");
    StateDb::open(&world.sandbox.url(), Access::Write(lock)).expect("a state database")
}

async fn probe_until(world: &World, address: &str, stop: &CancellationToken) -> Probed {
    let settings = world.settings();
    let state = state(world);
    let metrics = world.metrics.clone();
    let client = WriteClient::new(&settings.omni, &settings.state.dir, metrics).expect("a client");
    let keys = settings.omni.keys.read().expect("a key");
    client.client().begin(&keys);
    probe::probe(&client, &state, &email(address), Utc::now(), stop).await
}

async fn probe(world: &World, address: &str) -> Probed {
    probe_until(world, address, &CancellationToken::new()).await
}

fn users(world: &World) -> Vec<Value> {
    world.org().users()
}

/// Panics unless the probe has ended well and the organisation is as before.
async fn assert_clean(world: &World, before: &[Value], probed: &Probed) {
    assert!(probed.error.is_none(), "{probed:#?}");
    assert_eq!(users(world), before);
    assert!(probed.requests <= MAX_REQUESTS, "{probed:#?}");
    let left = world.state_db().probe_user().await.expect("read");
    assert_eq!(left, None);
}

fn expected(options: &Options) -> Readings {
    let clears = [
        (ClearBy::Null, ClearForm::Null),
        (ClearBy::Empty, ClearForm::Empty),
        (ClearBy::Remove, ClearForm::Remove),
    ];
    let has_paths = options.patch_forms != PatchForms::NoPath;
    let clears = clears.into_iter().filter(|(by, form)| {
        options.clears_by.contains(by) && (*form != ClearForm::Remove || has_paths)
    });
    let patch_forms = match options.patch_forms {
        PatchForms::Both => PatchForm::ALL.to_vec(),
        PatchForms::NoPath => vec![PatchForm::NoPath],
        PatchForms::Path => vec![PatchForm::Path],
    };
    let is_refused = options.larger_count == LargerCount::Refused && options.max_page < 1000;
    let max_page = match (is_refused, options.users + 1 > options.max_page) {
        (true, _) => Some(100),
        (false, true) => u32::try_from(options.max_page).ok(),
        (false, false) => None,
    };
    Readings {
        lists_carry_attributes: Some(options.lists == Lists::Full),
        put_replaces: Some(options.put == PutMode::Replace),
        inactive_revokes: Some(options.inactive == Inactive::Revoke),
        filter_ignores_case: match options.filter {
            Filter::AnyCase => Some(true),
            Filter::ExactCase => Some(false),
            Filter::Ignored => None,
        },
        last_modified_moves: Some(options.last_modified == LastModified::Moves),
        max_page,
        clears_by: Some(clears.map(|(_, form)| form).collect()),
        patch_forms: Some(patch_forms),
    }
}

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
                ..Options::default()
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_readings_is_learned() {
    let probes = combinations().into_iter().map(|options| async move {
        let world = World::with(options.clone()).await;
        let before = users(&world);
        let probed = probe(&world, "Probe@x.co").await;
        assert_eq!(
            probed.readings,
            expected(&options),
            "{options:#?}\n{probed:#?}"
        );
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
        let world = World::with(options.clone()).await;
        let before = users(&world);
        let when = When {
            from: Some(number),
            ..When::default()
        };
        world.org().fault(Fault {
            when,
            ..Fault::next(what.clone())
        });
        let probed = probe(&world, "probe@x.co").await;
        assert_eq!(
            probed.readings,
            expected(&options),
            "{what:?} at {number}: {probed:#?}"
        );
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
    let world = World::with(options).await;
    let before = users(&world);
    let probed = probe(&world, "probe@x.co").await;
    let known = Readings {
        inactive_revokes: Some(true),
        filter_ignores_case: Some(true),
        ..Readings::default()
    };
    assert_eq!(probed.readings, known);
    assert_clean(&world, &before, &probed).await;
}

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
        let before = users(&world);
        let (mut at, mut deleted) = (1, 0);
        while abort_at(&world, at, is_carried_out).await {
            let probed = probe(&world, "bob@x.co").await;
            assert_eq!(users(&world), before, "{at}: {probed:#?}");
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
        assert_eq!(users(&world), before);
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
        let before = users(&world);
        let probed = probe(&world, "ann@x.co").await;
        let taken = matches!(probed.error, Some(ProbeFailure::EmailTaken(_)));
        assert!(taken, "{filter:?} {probed:#?}");
        assert_eq!(users(&world), before);
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
    let before = users(&world);
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
    let before = users(&world);
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
        let world = World::with(options).await;
        let before = users(&world);
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
        assert_eq!(users(&world), Vec::<Value>::new());
        let left = world.state_db().probe_user().await.expect("read");
        assert_eq!(left, None);
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
    let before = users(&world);
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

/// If the usual forms do not work, runs use those that do.
#[tokio::test]
async fn runs_use_the_forms_that_work() {
    for clears_by in [ClearBy::Null, ClearBy::Empty, ClearBy::Remove] {
        let world = World::with(Options {
            patch_forms: PatchForms::Path,
            clears_by: vec![clears_by],
            ..Options::default()
        })
        .await;
        let attributes = json!({ "department": "Sales", "region": ["north"], "tier": "gold" });
        world.user("ann@x.co", "Ann", attributes);
        let probed = probe(&world, "probe@x.co").await;
        assert!(probed.error.is_none(), "{probed:#?}");
        world.roster("email,display_name,department,region,tier\nann@x.co,Ann Lee,,,silver\n");
        assert_converged(&world.apply().await);
        let shown = ["department", "region"].map(|name| world.attribute("ann@x.co", name));
        assert!(
            shown
                .iter()
                .all(|value| *value == Value::Null || *value == ""),
            "{shown:?}"
        );
        assert_eq!(world.attribute("ann@x.co", "tier"), "silver");
        world.org().clear_requests();
        assert_converged(&world.run().await);
        assert_eq!(world.writes(), Vec::<String>::new());
    }
}
