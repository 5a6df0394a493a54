//! How long the pages of the list are: as long as Omni gives them.

use crate::support::{World, assert_converged};
use chrono::Utc;
use omni_user_sync::model::Readings;
use omni_user_sync::omni::{Reader, list};
use omni_user_sync::sandbox::{Fault, LargerCount, Options, What, When};
use rusqlite::Connection;
use std::fmt::Write;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn org_of(users: usize, max_page: usize, larger_count: LargerCount) -> World {
    World::with(Options {
        users,
        max_page,
        larger_count,
        ..Options::default()
    })
    .await
}

/// Lists all users. Returns the start and the count of each request since the last call.
async fn listed(world: &World, reader: &Reader) -> Vec<(u64, u64)> {
    let observed = list(reader).await.expect("a listing");
    let users = world.org().users().len();
    assert_eq!((observed.count(), observed.doubt()), (users, None));
    let requests = world.org().requests();
    world.org().clear_requests();
    let number = |query: &str, name: &str| {
        let found = query.split('&').find_map(|one| one.strip_prefix(name));
        found.and_then(|text| text.parse().ok()).expect(query)
    };
    let queries = requests.iter().map(|request| &request.query);
    queries
        .map(|query| (number(query, "startIndex="), number(query, "count=")))
        .collect()
}

fn at(start: u64, count: u64, what: What) -> Fault {
    Fault {
        when: When {
            query: Some(format!("count={count}&startIndex={start}")),
            ..When::default()
        },
        ..Fault::next(what)
    }
}

fn status(code: u16) -> What {
    What::Status {
        code,
        retry_after: None,
        body: None,
    }
}

#[tokio::test]
async fn a_run_asks_for_the_longest_pages() {
    const USERS: usize = 10_000;
    for (max_page, larger_count, budget) in [
        (1000, LargerCount::Capped, 12),
        (100, LargerCount::Capped, 102),
        (100, LargerCount::Refused, 103),
    ] {
        let world = org_of(USERS, max_page, larger_count).await;
        let world = world.set("policy.prune", "all");
        let mut roster = "email,display_name\n".to_owned();
        for user in world.org().users() {
            let (email, name) = (&user["userName"], &user["displayName"]);
            writeln!(roster, "{email},{name}").expect("a string grows");
        }
        world.roster(&roster);
        assert_converged(&world.run().await);
        let requests = world.org().requests().len();
        assert!(requests <= budget, "{requests} > {budget}");
        assert_eq!(world.writes(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn paging_follows_the_received_pages() {
    for max_page in [1, 3, 7, 100] {
        let world = org_of(21, max_page, LargerCount::Capped).await;
        let requests = listed(&world, &world.reader()).await;
        assert_eq!(requests.len(), 21_usize.div_ceil(max_page));
    }
}

#[tokio::test]
async fn a_page_size_can_be_set() {
    let world = org_of(250, 1000, LargerCount::Capped).await;
    let world = world.set("omni.page_size", "120");
    let requests = listed(&world, &world.reader()).await;
    assert_eq!(requests, [(1, 120), (121, 120), (241, 120)]);
}

#[tokio::test]
async fn a_probed_page_size_is_used() {
    let world = org_of(500, 1000, LargerCount::Capped).await;
    let readings = Readings {
        max_page: Some(250),
        ..Readings::default()
    };
    let client = world.client();
    client.follow(&readings);
    let reader = client.reader(&CancellationToken::new());
    assert_eq!(listed(&world, &reader).await, [(1, 250), (251, 250)]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_page_is_remembered_for_a_day() {
    let world = org_of(150, 100, LargerCount::Refused).await;
    let reader = world.reader();
    assert_eq!(
        listed(&world, &reader).await,
        [(1, 1000), (1, 100), (101, 100)]
    );
    assert_eq!(listed(&world, &reader).await, [(1, 100), (101, 100)]);
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    assert_eq!(listed(&world, &reader).await.len(), 3, "tried again");
}

/// The `count` of each request of a run by a new process.
async fn counts_of_a_run(world: &World) -> Vec<u64> {
    world.org().clear_requests();
    assert_converged(&world.run().await);
    let requests = world.org().requests();
    let counts = requests.iter().filter_map(|request| {
        let (_, count) = request.query.split_once("count=")?;
        count.split('&').next()?.parse().ok()
    });
    counts.collect()
}

#[tokio::test]
async fn a_refused_page_outlasts_a_restart() {
    let world = org_of(150, 100, LargerCount::Refused).await;
    let world = world.set("policy.prune", "managed");
    world.roster("email,display_name\nuser0001@example.com,\n");
    assert_eq!(counts_of_a_run(&world).await, [1000, 100, 100]);
    assert_eq!(counts_of_a_run(&world).await, [100, 100]);

    let db = Connection::open(world.state_db().path()).expect("the database");
    let day = 24 * 3600 * 1000;
    let aged = db.execute("UPDATE refused_page SET at = at - ?1", [day]);
    assert_eq!(aged, Ok(1));
    drop(db);
    assert_eq!(
        counts_of_a_run(&world).await,
        [1000, 100, 100],
        "tried again"
    );

    let readings = Readings {
        max_page: Some(90),
        ..Readings::default()
    };
    let reconciler = world.reconciler();
    let state = reconciler.observer().state();
    let recorded = state.record_readings(&readings, Utc::now()).await;
    recorded.expect("recorded");
    drop(reconciler);
    assert_eq!(counts_of_a_run(&world).await, [90, 90], "as probed");
}

/// Omni takes longer pages by now, as a later probe has found.
#[tokio::test]
async fn a_probe_goes_before_a_refused_page() {
    let world = org_of(150, 1000, LargerCount::Capped).await;
    let world = world.set("policy.prune", "managed");
    world.roster("email,display_name\nuser0001@example.com,\n");
    let (refused, probed) = (
        Utc::now(),
        Readings {
            max_page: Some(140),
            ..Readings::default()
        },
    );
    let reconciler = world.reconciler();
    let state = reconciler.observer().state();
    state.record_refused_page(refused).await.expect("recorded");
    drop(reconciler);
    assert_eq!(counts_of_a_run(&world).await, [100, 100]);
    let reconciler = world.reconciler();
    let state = reconciler.observer().state();
    state
        .record_readings(&probed, refused)
        .await
        .expect("recorded");
    drop(reconciler);
    assert_eq!(counts_of_a_run(&world).await, [140, 140]);
}

#[tokio::test(start_paused = true)]
async fn failing_pages_are_read_shorter() {
    let hang = What::Hang(Duration::from_secs(3600));
    for what in [status(413), status(503), What::Html { code: 200 }, hang] {
        let world = org_of(150, 1000, LargerCount::Capped).await;
        let reader = world.reader();
        world.org().fault(at(1, 1000, what.clone()));
        let shorter = [(1, 1000), (1, 100), (101, 100)];
        assert_eq!(listed(&world, &reader).await, shorter, "{what:?}");
        assert_eq!(listed(&world, &reader).await, shorter[1..], "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_shorten_pages() {
    let world = org_of(150, 1000, LargerCount::Capped).await;
    let reader = world.reader();
    world.org().fault(at(1, 1000, status(503)));
    world.org().fault(at(1, 100, status(503)));
    let tried = listed(&world, &reader).await;
    assert_eq!(tried, [(1, 1000), (1, 100), (1, 100), (101, 1000)]);
    assert_eq!(listed(&world, &reader).await, [(1, 1000)]);
}

#[tokio::test(start_paused = true)]
async fn one_failing_page_among_long_ones_is_no_rule() {
    let world = org_of(3050, 1000, LargerCount::Capped).await;
    let world = world.set("omni.max_in_flight", "1");
    let reader = world.reader();
    world.org().fault(at(1001, 1000, status(502)));
    let once = [
        (1, 1000),
        (1001, 1000),
        (1001, 100),
        (1101, 1000),
        (2101, 1000),
    ];
    assert_eq!(listed(&world, &reader).await, once);
    world.org().fault(at(1, 1000, status(502)));
    world.org().fault(at(101, 1000, status(502)));
    let requests = listed(&world, &reader).await;
    assert_eq!(
        requests[..4],
        [(1, 1000), (1, 100), (101, 1000), (101, 100)]
    );
    assert!(
        requests[4..].iter().all(|(_, count)| *count == 100),
        "{requests:?}"
    );
}
