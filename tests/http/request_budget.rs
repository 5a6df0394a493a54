//! How many requests a run takes: the real client against the mock server, which counts them.
use crate::support::{World, assert_converged, outcomes_of, started_by};
use omni_user_sync::daemon::{Inputs, RunLoop, Status};
use omni_user_sync::model::{ChangeOutcome, Fingerprint, RunState, Trigger};
use omni_user_sync::run::Stop;
use omni_user_sync::sandbox::{Fault, Filter, Options, PatchAnswer, What, When};
use omni_user_sync::trigger::Wake;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// An upper bound for the next write.
const GENEROUS: Duration = Duration::from_secs(30);

/// Rows for the mock server's sample users with these numbers; only the names may differ.
pub(crate) fn rows(numbers: Range<usize>, name: impl Fn(usize) -> String) -> String {
    numbers.fold(String::new(), |mut rows, number| {
        let name = name(number);
        writeln!(rows, "upsert,user{number:04}@example.com,{name}").expect("a string grows");
        rows
    })
}

/// The names of the sample users by their numbers, for rosters that change few of them.
pub(crate) fn sample_names(world: &World) -> impl Fn(usize) -> String + use<> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let users = world.org().users();
    let names = users
        .iter()
        .map(|user| (text(&user["userName"]), text(&user["displayName"])));
    let names: HashMap<_, _> = names.collect();
    move |number| names[&format!("user{number:04}@example.com")].clone()
}

pub(crate) fn roster(rows: &str) -> String {
    format!("op,email,display_name\n{rows}")
}

pub(crate) async fn org_of(users: usize) -> World {
    let options = Options {
        users,
        ..Options::with_full_lists()
    };
    World::with(options)
        .await
        .set("policy.max_removals", "100%")
        .set("policy.max_updates", "")
        .set("omni.requests_per_minute", "100000")
}

#[tokio::test]
async fn a_listing_costs_its_pages_and_the_definitions() {
    let world = org_of(1000).await.set("policy.prune", "managed");
    let sample_name = sample_names(&world);
    let name = |number| match number {
        1..=50 => format!("Name {number}"),
        _ => sample_name(number),
    };
    world.roster(&roster(&rows(1..1001, name)));
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    assert_eq!(world.take_requests(), (61, 50));
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    assert_eq!(world.take_requests(), (11, 0), "nothing to do");
}

#[tokio::test]
async fn changed_rows_cost_one_request_each() {
    let world = org_of(1000).await.set("policy.prune", "managed");
    let name = sample_names(&world);
    world.roster(&roster(&rows(1..1001, &name)));
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.take_requests();

    let other = |number| match number {
        1..=10 => format!("Other {number}"),
        _ => name(number),
    };
    world.roster(&roster(&rows(1..1001, other)));
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(world.take_requests(), (10, 10));

    // Five creations, five updates and five removals, two of them by rows.
    let mut text = roster(&rows(9..999, &name));
    for number in 1..=5 {
        writeln!(text, "upsert,new{number}@example.com,New {number}").expect("a string grows");
    }
    text.push_str(&rows(4..9, &name));
    text.push_str("delete,user0999@example.com,\ndelete,user1000@example.com,\n");
    world.roster(&text);
    let outcome = started_by(Trigger::File, &reconciler).await;
    assert_converged(&outcome);
    let counts = outcome.planned().expect("a plan");
    assert_eq!(counts.total(), 17, "{counts:?}");
    assert_eq!(
        world.take_requests(),
        (24, 17),
        "each deletion reads its user first, and two requests read their schedules and tokens"
    );
    assert_eq!(outcome.users(), Some(1000), "its own writes are in it");

    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(
        world.take_requests(),
        (0, 0),
        "those who are gone are known to be"
    );
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    assert_eq!(
        world.take_requests(),
        (11, 0),
        "the schedule brings the truth back"
    );
}

#[tokio::test]
async fn five_of_each_change_cost_few_requests() {
    let world = org_of(1000).await;
    let name = sample_names(&world);
    world.roster(&roster(&rows(1..1001, &name)));
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.take_requests();
    let mut text = roster(&rows(11..1001, &name));
    text.push_str(&rows(6..11, |number| format!("Other {number}")));
    for number in 1..=5 {
        writeln!(text, "upsert,new{number}@example.com,New {number}").expect("a string grows");
        writeln!(text, "delete,user{number:04}@example.com,").expect("a string grows");
    }
    world.roster(&text);
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    // Each deletion reads its user first, and two requests read their schedules and tokens.
    assert_eq!(world.take_requests(), (22, 15));
}

#[tokio::test]
async fn empty_update_responses_still_fill_the_cache() {
    let options = Options {
        users: 3,
        patch_answer: PatchAnswer::Empty,
        ..Options::default()
    };
    let world = World::with(options).await;
    let reconciler = world.reconciler();
    world.roster("email,display_name,department\nuser0001@example.com,A,x\n");
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.take_requests();
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(world.take_requests(), (0, 0));
    world.roster("email,display_name,department\nuser0001@example.com,B,\n");
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(
        world.take_requests(),
        (2, 1),
        "the address is compared all the same"
    );
    assert_eq!(
        world.attribute("user0001@example.com", "department"),
        json!(null)
    );
}

#[tokio::test]
async fn few_rows_in_a_large_organisation_use_lookups() {
    let world = org_of(2_000).await;
    world.roster(&roster(&rows(1..11, |number| format!("Name {number}"))));
    let plan = world.plan().await.expect("a plan");
    assert_eq!(plan.cache.observed.count(), 2_000);
    assert_eq!(plan.assessment.unnamed, 1_990);
    assert_eq!(
        world.take_requests(),
        (13, 0),
        "the total, the definitions, case, ten users"
    );
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    assert_eq!(world.take_requests(), (23, 10));
    // Users that were not listed are looked up once the roster names them.
    let more = rows(1..13, |number| format!("Name {number}"));
    world.roster(&roster(&format!("{more}delete,nobody@example.com,\n")));
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(world.take_requests(), (5, 2));
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(world.take_requests(), (0, 0));
}

#[tokio::test]
async fn an_unreliable_filter_falls_back_to_the_list() {
    for filter in [Filter::ExactCase, Filter::Ignored] {
        let options = Options {
            users: 2_000,
            filter,
            ..Options::with_full_lists()
        };
        let world = World::with(options).await;
        world.roster("op,email,display_name\ndelete,USER1999@example.com,\n");
        let outcome = world.run().await;
        assert_converged(&outcome);
        assert_eq!(
            outcomes_of(&outcome),
            ["delete USER1999@example.com applied"]
        );
        assert_eq!(
            world.take_requests(),
            (25, 1),
            "{filter:?}: all pages, and what the user owns"
        );
    }
}

#[tokio::test]
async fn pruning_reads_the_whole_listing() {
    let world = org_of(2_000).await.set("policy.prune", "all");
    world.roster(&roster(&rows(1..11, |number| format!("User {number}"))));
    let plan = world.plan().await.expect("a plan");
    assert!(plan.cache.observed.shows_everybody());
    assert_eq!(world.take_requests(), (21, 0));
}

#[tokio::test]
async fn a_superseded_run_makes_progress() {
    let world = World::new().await.set("omni.max_in_flight", "1");
    let reconciler = world.reconciler();
    let superseded = || {
        let stop = Stop::default();
        stop.for_next.cancel();
        stop
    };
    let text = rows(1..4, |number| format!("User {number}"));
    world.roster(&roster(&text));
    let first = reconciler.run(Trigger::Start, None, &superseded()).await;
    assert_eq!(first.result().as_str(), "stopped", "{first:?}");
    assert_eq!(
        world.take_requests(),
        (3, 1),
        "definitions, listing, one change"
    );
    for made in [2, 3] {
        let next = reconciler.run(Trigger::File, None, &superseded()).await;
        assert_eq!(next.count(ChangeOutcome::Applied), 1, "{next:?}");
        assert_eq!(world.org().users().len(), made);
        assert_eq!(world.take_requests(), (1, 1));
    }
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(world.take_requests(), (0, 0));
}

#[tokio::test]
async fn a_superseded_run_with_only_rejections_ends() {
    let world = World::new().await.set("omni.max_in_flight", "1");
    world.roster(&roster(&rows(1..40, |number| format!("User {number}"))));
    let refused = What::Status {
        code: 400,
        retry_after: None,
        body: None,
    };
    world.org().fault(on("POST", refused, 99));
    let stop = Stop::default();
    stop.for_next.cancel();
    let run = world.reconciler().run(Trigger::Start, None, &stop).await;
    assert_eq!(
        (run.result().as_str(), world.take_requests().1),
        ("stopped", 1),
        "{run:?}"
    );
}

#[tokio::test]
async fn a_listing_that_changes_is_read_again() {
    let skipped = |times| Fault {
        when: When {
            query: Some("startIndex=101".into()),
            ..When::default()
        },
        times,
        ..Fault::next(What::SkipUser)
    };
    let world = org_of(300).await.set("policy.prune", "all");
    world.roster(&roster(&rows(1..300, |number| format!("User {number}"))));
    world.org().fault(skipped(1));
    let plan = world.plan().await.expect("a plan");
    assert!(plan.cache.observed.shows_everybody());
    assert_eq!(plan.assessment.pending.total(), 300, "one of them removed");
    world.org().clear_requests();
    world.org().fault(skipped(2));
    let plan = world.plan().await.expect("a plan");
    assert!(plan.cache.observed.doubt().is_some());
    assert_eq!(
        plan.assessment.blocked.len(),
        1,
        "{:?}",
        plan.assessment.blocked
    );
}

/// A loop with the real runner: its roster is replaced again and again while it works.
#[tokio::test]
async fn a_constantly_replaced_roster_converges() {
    const USERS: usize = 20;
    let options = Options {
        latency: Duration::from_millis(5),
        ..Options::default()
    };
    let world = World::with(options).await.set("omni.max_in_flight", "1");
    let (publish, still) = watch::channel(None);
    let (wake, stop) = (Wake::default(), CancellationToken::new());
    let inputs = Inputs {
        wake: wake.clone(),
        stable: still,
        stop: stop.clone(),
    };
    let cycle = RunLoop::new(
        world.reconciler(),
        inputs,
        Status::new(None),
        world.metrics.clone(),
    );
    let going_round = tokio::spawn(cycle.run());
    let mut round = 0;
    while world.org().users().len() < USERS {
        round += 1;
        assert!(
            round < 1000,
            "it does not converge: {}",
            world.org().users().len()
        );
        // Another content each time, which says the same of all but the last user.
        let name = |number: usize| match number {
            USERS => format!("Name {round}"),
            number => format!("Name {number}"),
        };
        world.roster(&roster(&rows(1..USERS + 1, name)));
        publish.send_replace(Some(Fingerprint([round as u8; 32])));
        wake.wake(Trigger::File);
        let writes = world.org().writes().len();
        let next_write = async {
            while world.org().writes().len() == writes {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(GENEROUS, next_write).await.expect("a write");
    }
    stop.cancel();
    going_round.await.expect("no panic");
    assert!(round > 2, "it was replaced under way");
    let runs = world.state_db().runs(1000).await.expect("runs");
    for run in &runs[1..] {
        let RunState::Ended(end) = &run.state else {
            panic!("{run:?}");
        };
        assert!(end.applied >= 1, "each run makes a change: {run:?}");
    }
    let listings = world.org().requests();
    let listings = listings
        .iter()
        .filter(|one| one.query.contains("startIndex"));
    assert_eq!(listings.count(), 1, "what was seen is kept");
}

pub(crate) fn on(method: &str, what: What, times: usize) -> Fault {
    let method = Some(method.to_owned());
    let when = When {
        method,
        ..When::default()
    };
    Fault {
        when,
        times,
        ..Fault::next(what)
    }
}
