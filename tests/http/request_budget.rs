//! How many requests a run takes: the real client against the mock server, which counts them.
use crate::support::paused::HeldClock;
use crate::support::{World, assert_converged, at_any_time, outcomes_of};
use chrono::Utc;
use omni_user_sync::daemon::{Inputs, RunLoop, Status};
use omni_user_sync::model::{ChangeOutcome, Fingerprint, RunRef, RunState, Trigger};
use omni_user_sync::run::{Reconciler, RunOutcome, Stop};
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

/// A run that a change of the roster starts.
async fn on_file(reconciler: &Reconciler) -> RunOutcome {
    reconciler.run(Trigger::File, None, &Stop::default()).await
}

async fn on_schedule(reconciler: &Reconciler) -> RunOutcome {
    let stop = Stop::default();
    reconciler
        .run(at_any_time(Trigger::Schedule), None, &stop)
        .await
}

/// Rows for the mock server's sample users with these numbers; only the names may differ.
fn rows(numbers: Range<usize>, name: impl Fn(usize) -> String) -> String {
    numbers.fold(String::new(), |mut rows, number| {
        let name = name(number);
        writeln!(rows, "upsert,user{number:04}@example.com,{name}").expect("a string grows");
        rows
    })
}

/// The names of the sample users by their numbers, for rosters that change few of them.
fn sample_names(world: &World) -> impl Fn(usize) -> String + use<> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let users = world.org().users();
    let names = users
        .iter()
        .map(|user| (text(&user["userName"]), text(&user["displayName"])));
    let names: HashMap<_, _> = names.collect();
    move |number| names[&format!("user{number:04}@example.com")].clone()
}

fn roster(rows: &str) -> String {
    format!("op,email,display_name\n{rows}")
}

async fn org_of(users: usize) -> World {
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
    assert_converged(&on_schedule(&reconciler).await);
    assert_eq!(world.take_requests(), (61, 50));
    assert_converged(&on_schedule(&reconciler).await);
    assert_eq!(world.take_requests(), (11, 0), "nothing to do");
}

#[tokio::test]
async fn changed_rows_cost_one_request_each() {
    let world = org_of(1000).await.set("policy.prune", "managed");
    let name = sample_names(&world);
    world.roster(&roster(&rows(1..1001, &name)));
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    world.take_requests();

    let other = |number| match number {
        1..=10 => format!("Other {number}"),
        _ => name(number),
    };
    world.roster(&roster(&rows(1..1001, other)));
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(world.take_requests(), (10, 10));

    // Five creations, five updates and five removals, two of them by rows.
    let mut text = roster(&rows(9..999, &name));
    for number in 1..=5 {
        writeln!(text, "upsert,new{number}@example.com,New {number}").expect("a string grows");
    }
    text.push_str(&rows(4..9, &name));
    text.push_str("delete,user0999@example.com,\ndelete,user1000@example.com,\n");
    world.roster(&text);
    let outcome = on_file(&reconciler).await;
    assert_converged(&outcome);
    let counts = outcome.planned().expect("a plan");
    assert_eq!(counts.total(), 17, "{counts:?}");
    assert_eq!(
        world.take_requests(),
        (22, 17),
        "each deletion reads its user first"
    );
    assert_eq!(outcome.users(), Some(1000), "its own writes are in it");

    assert_converged(&on_file(&reconciler).await);
    assert_eq!(
        world.take_requests(),
        (0, 0),
        "those who are gone are known to be"
    );
    assert_converged(&on_schedule(&reconciler).await);
    assert_eq!(
        world.take_requests(),
        (11, 0),
        "the schedule brings the truth back"
    );
}

#[tokio::test]
async fn five_of_each_change_cost_twenty_requests() {
    let world = org_of(1000).await;
    let name = sample_names(&world);
    world.roster(&roster(&rows(1..1001, &name)));
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    world.take_requests();
    let mut text = roster(&rows(11..1001, &name));
    text.push_str(&rows(6..11, |number| format!("Other {number}")));
    for number in 1..=5 {
        writeln!(text, "upsert,new{number}@example.com,New {number}").expect("a string grows");
        writeln!(text, "delete,user{number:04}@example.com,").expect("a string grows");
    }
    world.roster(&text);
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(world.take_requests(), (20, 15));
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
    assert_converged(&on_schedule(&reconciler).await);
    world.take_requests();
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(world.take_requests(), (0, 0));
    world.roster("email,display_name,department\nuser0001@example.com,B,\n");
    assert_converged(&on_file(&reconciler).await);
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
    assert_converged(&on_schedule(&reconciler).await);
    assert_eq!(world.take_requests(), (23, 10));
    // Users that were not listed are looked up once the roster names them.
    let more = rows(1..13, |number| format!("Name {number}"));
    world.roster(&roster(&format!("{more}delete,nobody@example.com,\n")));
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(world.take_requests(), (5, 2));
    assert_converged(&on_file(&reconciler).await);
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
        assert_eq!(world.take_requests(), (23, 1), "{filter:?}: all pages");
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
async fn stale_cached_users_are_corrected() {
    let world = World::new().await;
    for name in ["ann", "bob", "cid", "dan", "eve", "fay"] {
        world.user(&format!("{name}@x.co"), name, json!({ "department": "x" }));
    }
    let (head, same) = (
        "op,email,display_name,department\n",
        "upsert,fay@x.co,fay,x\n",
    );
    let before: String = ["ann", "bob", "cid", "dan", "eve"]
        .map(|name| format!("upsert,{name}@x.co,{name},x\n"))
        .concat();
    world.roster(&format!("{head}{before}{same}"));
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    assert_eq!(world.writes(), Vec::<String>::new());

    // Meanwhile: created again, removed, removed, created again, changed, created by another client.
    for name in ["ann", "bob", "cid", "dan"] {
        world.org().remove_user(&format!("{name}@x.co"));
    }
    world.user("ann@x.co", "ann", json!({ "department": "other" }));
    world.user("dan@x.co", "dan", json!({ "department": "x" }));
    world
        .org()
        .set_attribute("eve@x.co", "department", json!("other"));
    world.user("gus@x.co", "gus", json!({ "department": "other" }));
    world.roster(&format!(
        "{head}upsert,ann@x.co,Ann,x\nupsert,bob@x.co,Bob,x\ndelete,cid@x.co,,\ndelete,dan@x.co,,\n\
         upsert,eve@x.co,Eve,x\nupsert,gus@x.co,Gus,x\n{same}"
    ));
    let outcome = on_file(&reconciler).await;
    assert_converged(&outcome);
    for (email, name) in [
        ("ann", "Ann"),
        ("bob", "Bob"),
        ("eve", "Eve"),
        ("gus", "Gus"),
    ] {
        let user = world.org().user(&format!("{email}@x.co")).expect("there");
        assert_eq!(user["displayName"], json!(name));
        assert_eq!(
            world.attribute(&format!("{email}@x.co"), "department"),
            json!("x")
        );
    }
    assert!(world.org().user("cid@x.co").is_none() && world.org().user("dan@x.co").is_none());
    world.take_requests();
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(
        world.take_requests(),
        (0, 0),
        "what was mended is known too"
    );
    assert_converged(&on_schedule(&reconciler).await);
    assert_eq!(world.take_requests().1, 0, "and true");
}

#[tokio::test]
async fn a_reassigned_id_is_not_pruned() {
    let world = World::with(Options::with_full_lists())
        .await
        .set("policy.prune", "all");
    world.user("ann@x.co", "Ann", json!({}));
    world.user("bob@x.co", "Bob", json!({ "tier": "gold" }));
    world.roster("email,display_name\nann@x.co,Ann\nbob@x.co,Bob\n");
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    world.org().remove_user("bob@x.co");
    world.user("bob@x.co", "Bob again", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let outcome = on_file(&reconciler).await;
    assert!(
        outcome.changes[0].detail.contains("created again since"),
        "{outcome:?}"
    );
    assert!(world.org().user("bob@x.co").is_some());
}

#[tokio::test]
async fn removing_a_recreated_user_is_not_reported_applied() {
    let world = World::with(Options::with_full_lists()).await;
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\n");
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    world.user("bob@x.co", "Bob", json!({ "tier": "gold" }));
    world.take_requests();
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\ndelete,bob@x.co,\n");
    let outcome = on_file(&reconciler).await;
    assert_eq!(outcomes_of(&outcome), ["delete bob@x.co applied"]);
    assert_eq!(world.take_requests(), (3, 1));
}

#[tokio::test]
async fn stale_definitions_reject_no_valid_roster() {
    let world = World::with(Options::with_full_lists()).await;
    world.user("ann@x.co", "Ann", json!({ "tier": "gold" }));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    world.take_requests();
    world
        .org()
        .define(json!({ "name": "squad", "multiple_values": true }));
    world.roster("email,display_name,squad\nann@x.co,Ann,\"[a,b]\"\n");
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(
        world.take_requests(),
        (2, 1),
        "the definitions, and the change"
    );
    assert_eq!(world.attribute("ann@x.co", "squad"), json!(["a", "b"]));
}

/// An address changed in Omni and in the roster: by the cache, one user is removed and another created.
#[tokio::test]
async fn an_old_email_removes_no_renamed_user() {
    let world = World::new().await.set("policy.prune", "managed");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    world.org().set_email("ann@x.co", "ann.lee@x.co");
    world.roster("email,display_name\nann.lee@x.co,Ann\n");
    let run = on_file(&reconciler).await;
    assert_converged(&run);
    assert_eq!(world.writes(), Vec::<String>::new());
    // Other changes are not mistaken for one.
    world.roster("email,display_name\nann.lee@x.co,Ann\nbob@x.co,Bob\n");
    world.take_requests();
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(world.take_requests(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn possibly_changed_users_are_read_again() {
    let clock = HeldClock::new();
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({}));
    world.user("bob@x.co", "Bob", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\nbob@x.co,Bob\n");
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    // Carried out, and neither the answer comes nor any to the question after it.
    world.org().fault(on("PATCH", What::LostReply, 1));
    world.org().fault(on("GET", What::Reset, 6));
    world.roster("email,display_name\nann@x.co,Ann Lee\nbob@x.co,Bob\n");
    let outcome = clock.hasten(on_file(&reconciler)).await;
    assert_eq!(outcome.count(ChangeOutcome::Failed), 1, "{outcome:?}");
    world.take_requests();
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(
        world.take_requests(),
        (1, 0),
        "one look, and nothing is sent twice"
    );
}

fn on(method: &str, what: What, times: usize) -> Fault {
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

#[tokio::test]
async fn an_expired_cache_is_not_used() {
    let world = World::new().await.set("observe.max_age", "0s");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    world.take_requests();
    assert_converged(&on_file(&reconciler).await);
    assert_eq!(world.take_requests(), (2, 0));
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
    assert_converged(&on_file(&reconciler).await);
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

#[tokio::test]
async fn an_approval_does_not_cover_a_recreated_user() {
    let world = World::new().await.set("policy.max_removals", "0%");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("op,email,display_name\ndelete,ann@x.co,\n");
    let reconciler = world.reconciler();
    assert_eq!(on_schedule(&reconciler).await.result().as_str(), "held");
    let db = reconciler.observer().state();
    let approved = db.approve(RunRef::Latest, "somebody", Utc::now(), false);
    approved.await.expect("it is held");
    world.org().remove_user("ann@x.co");
    world.user("ann@x.co", "Another Ann", json!({}));
    let stop = Stop::default();
    let outcome = reconciler.run(Trigger::Approval, None, &stop).await;
    assert_eq!(outcomes_of(&outcome), ["delete ann@x.co failed"]);
    assert!(world.org().user("ann@x.co").is_some());
    assert_eq!(
        on_schedule(&reconciler).await.result().as_str(),
        "held",
        "by itself"
    );
}

#[tokio::test]
async fn the_cache_does_not_confirm_a_change() {
    let options = Options {
        patch_answer: PatchAnswer::Empty,
        ..Options::default()
    };
    let world = World::with(options).await;
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email,display_name\nann@x.co,Ann Lee\n");
    world.org().fault(on("PATCH", What::IgnoreWrite, 9));
    let reconciler = world.reconciler();
    assert_converged(&on_schedule(&reconciler).await);
    assert_converged(&on_file(&reconciler).await);
    let again = on_schedule(&reconciler).await;
    assert_eq!(outcomes_of(&again), ["update ann@x.co not_kept"]);
}
