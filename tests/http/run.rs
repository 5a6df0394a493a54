//! Whole runs: the real client against the mock server, over HTTP.
use crate::support::paused::HeldClock;
use crate::support::{World, assert_converged, at_any_time, on, outcomes_of};
use omni_user_sync::model::{ChangeOutcome, Trigger};
use omni_user_sync::run::{Completion, RunEvent, Stop};
use omni_user_sync::sandbox::{ClearMode, Fault, Inactive, Options, PatchAnswer, What, When};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn converges_and_then_has_nothing_to_do() {
    let world = World::with(Options::with_full_lists()).await;
    world.user(
        "ann@x.co",
        "Ann",
        json!({ "region": ["north"], "department": "sales" }),
    );
    world.user("bob@x.co", "Bob", json!({}));
    world.user("stranger@x.co", "Stranger", json!({ "tier": "gold" }));
    world.roster(
        "op,email,display_name,region,cost_center\n\
         upsert,ANN@x.co,Ann Lee,\"[south, north]\",7.50\n\
         delete,bob@x.co,,,\n\
         upsert,eve@x.co,Eve,[east],\n\
         delete,gone@x.co,,,\n",
    );
    let outcome = world.run().await;
    assert_converged(&outcome);
    assert_eq!(
        outcomes_of(&outcome),
        [
            "create eve@x.co applied",
            "delete bob@x.co applied",
            "update ANN@x.co applied"
        ]
    );
    assert_eq!(
        world.attribute("ann@x.co", "region"),
        json!(["south", "north"])
    );
    assert_eq!(world.attribute("ann@x.co", "cost_center"), json!("7.50"));
    assert_eq!(
        world.attribute("ann@x.co", "department"),
        json!("sales"),
        "it has no column"
    );
    assert_eq!(world.attribute("stranger@x.co", "tier"), json!("gold"));
    assert!(world.org().user("bob@x.co").is_none());
    // Two requests read the schedules and tokens of the user to be removed.
    assert_eq!(outcome.requests, 2 + 3 + 2);

    let writes = world.writes().len();
    let again = world.run().await;
    assert_converged(&again);
    assert_eq!(
        (
            again.planned().expect("a plan").total(),
            world.writes().len()
        ),
        (0, writes)
    );
    assert_eq!(again.requests, 2);
}

#[tokio::test]
async fn sends_removals_then_updates_then_creations() {
    let world = World::new().await;
    world.user("u@x.co", "U", json!({ "region": ["a"], "department": "x" }));
    world.user("d@x.co", "D", json!({}));
    world.roster(
        "op,email,display_name,region,department\n\
         upsert,c@x.co,C,,\nupsert,u@x.co,U,[a],y\ndelete,d@x.co,,,\n",
    );
    let outcome = world.run().await;
    assert_converged(&outcome);
    let methods: Vec<_> = world
        .org()
        .writes()
        .into_iter()
        .map(|write| write.method)
        .collect();
    assert_eq!(methods, ["DELETE", "PATCH", "POST"]);
    assert_eq!(
        world.bodies()[0]["Operations"],
        json!([{ "op": "replace", "value": { crate::support::ATTRIBUTES: { "department": "y" } } }])
    );
}

#[tokio::test]
async fn attributes_without_a_column_survive_every_update_method() {
    for (method, answer) in [
        ("patch", PatchAnswer::User),
        ("patch", PatchAnswer::Empty),
        ("put", PatchAnswer::User),
    ] {
        let world = World::with(Options {
            patch_answer: answer,
            ..Options::default()
        })
        .await;
        let world = world.set("omni.update_method", method);
        world.user(
            "ann@x.co",
            "Ann",
            json!({ "region": ["n"], "department": " spaced ", "cost_center": "9007199254740993.10" }),
        );
        world.org().set_active("ann@x.co", false);
        let groups = json!([{ "display": "Analysts", "value": "g1" }]);
        world.org().add_user(json!({
            "userName": "bob@x.co", "displayName": "Bob", "groups": groups,
            "urn:omni:params:1.0:UserAttribute": { "region": ["n"] },
        }));
        world.roster("email,region\nann@x.co,[s]\nbob@x.co,[s]\n");
        let outcome = world.run().await;
        assert_converged(&outcome);
        assert_eq!(world.attribute("ann@x.co", "region"), json!(["s"]));
        assert_eq!(
            world.attribute("ann@x.co", "department"),
            json!(" spaced "),
            "{method}"
        );
        assert_eq!(
            world.attribute("ann@x.co", "cost_center"),
            json!("9007199254740993.10")
        );
        assert_eq!(
            world.org().user("ann@x.co").expect("there")["active"],
            json!(false)
        );
        assert_eq!(
            world.org().user("ann@x.co").expect("there")["displayName"],
            json!("Ann")
        );
        let bob = world.org().user("bob@x.co").expect("there");
        assert_eq!(world.attribute("bob@x.co", "region"), json!(["s"]));
        assert_eq!(bob["groups"], groups, "{method}");
    }
}

#[tokio::test]
async fn clearing_converges_with_and_without_a_default() {
    for clear in [ClearMode::Null, ClearMode::Default] {
        let world = World::with(Options {
            clear,
            ..Options::default()
        })
        .await;
        world.user(
            "ann@x.co",
            "Ann",
            json!({ "tier": "gold", "region": ["n"] }),
        );
        world.roster("email,tier,region\nann@x.co,,\n");
        assert_converged(&world.run().await);
        assert_eq!(world.attribute("ann@x.co", "region"), json!(null));
        let again = world.run().await;
        assert_eq!(again.planned().expect("a plan").total(), 0, "{clear:?}");
    }
}

#[tokio::test]
async fn a_change_not_kept_is_reported() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({ "tier": "gold" }));
    world.roster("email,department,tier\nann@x.co,sales,silver\n");
    let unchanged = world.org().user("ann@x.co").expect("there").to_string();
    let answer = What::Status {
        code: 200,
        retry_after: None,
        body: Some(unchanged),
    };
    world.org().fault(on("PATCH", answer));
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["update ann@x.co not_kept"]);
    // What the response does not show, the department, counts as sent.
    assert!(
        outcome.changes[0].detail.ends_with("did not keep: tier"),
        "{outcome:?}"
    );
    assert_eq!(outcome.result().as_str(), "partial");
}

#[tokio::test]
async fn the_next_run_finds_a_falsely_confirmed_change() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({}));
    world.org().fault(on("PATCH", What::IgnoreWrite));
    world.roster("email,department\nann@x.co,sales\n");
    assert_eq!(outcomes_of(&world.run().await), ["update ann@x.co applied"]);
    assert_eq!(world.run().await.planned().expect("a plan").total(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_listing_prunes_no_users() {
    let clock = HeldClock::new();
    let unavailable = What::Status {
        code: 503,
        retry_after: Some(0),
        body: None,
    };
    for (what, page, times) in [
        (unavailable, "startIndex=4", 99),
        (What::SkipUser, "startIndex=7", 99),
        (What::TotalOff(3), "startIndex=1", 99),
        (What::TotalOff(-3), "startIndex=", 99),
        (What::TotalOff(3), "startIndex=", 99),
        (What::RepeatUser, "startIndex=4", 99),
    ] {
        let options = Options {
            users: 7,
            max_page: 3,
            ..Options::default()
        };
        let world = World::with(options)
            .await
            .set("policy.prune", "all")
            .set("policy.max_removals", "100%");
        world.roster("email,display_name\nuser0001@example.com,\n");
        let query = Some(page.to_owned());
        let when = When {
            query,
            ..When::default()
        };
        world.org().fault(Fault {
            when,
            times,
            ..Fault::next(what.clone())
        });
        let outcome = clock.hasten(world.run()).await;
        assert_eq!(world.org().users().len(), 7, "{what:?}: {outcome:#?}");
        assert_ne!(
            outcome.result().as_str(),
            "converged",
            "{what:?}: it says so"
        );
    }
}

#[tokio::test]
async fn prunes_users_missing_from_a_complete_roster() {
    let options = Options {
        users: 7,
        max_page: 3,
        ..Options::default()
    };
    let world = World::with(options)
        .await
        .set("policy.prune", "all")
        .set("policy.max_removals", "100%")
        .set("policy.protect", "user0007@*")
        .with_history()
        .await;
    world.roster("email,display_name\nuser0001@example.com,\nUSER0002@example.com,\n");
    let outcome = world.run().await;
    assert_eq!(outcome.count(ChangeOutcome::Applied), 4, "{outcome:#?}");
    let left: Vec<_> = world
        .org()
        .users()
        .iter()
        .map(|user| user["userName"].clone())
        .collect();
    assert_eq!(
        left,
        [
            json!("user0001@example.com"),
            json!("user0002@example.com"),
            json!("user0007@example.com")
        ]
    );
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("protected")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn held_removals_do_not_block_other_changes() {
    let world = World::with(Options {
        users: 20,
        ..Options::default()
    })
    .await
    .set("policy.max_removals", "2");
    world.roster(
        "op,email,display_name\ndelete,user0001@example.com,\ndelete,user0002@example.com,\n\
         delete,user0003@example.com,\nupsert,new@x.co,New\n",
    );
    let outcome = world.run().await;
    assert_eq!(outcome.result().as_str(), "held");
    assert_eq!(outcome.held()[0].count, 3);
    assert_eq!(outcomes_of(&outcome), ["create new@x.co applied"]);
    assert_eq!(world.org().users().len(), 21);
}

#[tokio::test]
async fn users_sharing_an_email_are_not_changed() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({}));
    world.user("ANN@x.co", "Ann too", json!({}));
    world.roster("op,email,display_name\nupsert,ann@x.co,New\n");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["update ann@x.co failed"]);
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn deactivates_users_and_keeps_inactive_users_inactive() {
    let world = World::with(Options {
        inactive: Inactive::Keep,
        ..Options::default()
    })
    .await;
    world.user("a@x.co", "A", json!({}));
    world.user("b@x.co", "B", json!({}));
    world.org().set_active("b@x.co", false);
    world
        .roster("op,email,display_name\ndeactivate,a@x.co,\nupsert,b@x.co,B\ndeactivate,somebody.else@x.co,\n");
    let outcome = world.run().await;
    assert_converged(&outcome);
    let active = |email: &str| world.org().user(email).expect("there")["active"].clone();
    assert_eq!(
        (active("a@x.co"), active("b@x.co")),
        (json!(false), json!(false))
    );
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("inactive")),
        "{outcome:?}"
    );
    assert_eq!(world.run().await.planned().expect("a plan").total(), 0);

    let world = world.set("policy.reactivate", "true");
    assert_converged(&world.run().await);
    assert_eq!(
        world.org().user("b@x.co").expect("there")["active"],
        json!(true)
    );
}

#[tokio::test]
async fn a_dry_run_sends_only_get_requests() {
    let world = World::with(Options {
        users: 50,
        ..Options::default()
    })
    .await;
    world.roster("op,email,display_name\ndelete,user0001@example.com,\nupsert,new@x.co,N\n");
    world.plan().await.expect("a plan");
    let planning = world.set("policy.mode", "plan");
    let outcome = planning.run().await;
    assert!(
        matches!(outcome.completion, Completion::DryRun)
            && outcome.planned().expect("a plan").total() == 2
    );
    assert_eq!(planning.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn stops_between_two_changes() {
    let world = World::new().await.set("omni.max_in_flight", "1");
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\nc@x.co,C\n");
    let (reconciler, stop) = (world.reconciler(), Stop::default());
    let mut run = reconciler
        .begin(Trigger::Command, world.target())
        .await
        .expect("begins");
    let prepared = reconciler.prepare(&mut run, &stop).await.expect("a plan");
    let (applied, _) = reconciler
        .apply(&run, &prepared, &stop, |_| stop.now.cancel())
        .await;
    let outcome = reconciler.finish(run, Some(&prepared), applied).await;
    assert!(
        matches!(outcome.completion, Completion::Stopped),
        "{outcome:?}"
    );
    assert_eq!(
        (
            outcome.count(ChangeOutcome::Applied),
            outcome.count(ChangeOutcome::Skipped)
        ),
        (1, 2)
    );
    assert_eq!(world.org().users().len(), 1);
}

#[tokio::test]
async fn the_plan_is_reported_before_changes() {
    let world = World::new().await;
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\nno email,Bad\n");
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&events);
    let reconciler = world.reconciler().with_event_handler(move |what| {
        let what = match what {
            RunEvent::Planned(_, plan) => {
                let bad = plan.roster.bad_rows.len();
                format!("{} pending, {bad} bad", plan.pending.total())
            }
            RunEvent::Change(applied) => {
                format!("{} {}", applied.operation, applied.outcome.as_str())
            }
        };
        heard.lock().expect("no panic").push(what);
    });
    let outcome = reconciler
        .run(Trigger::Command, None, &Stop::default())
        .await;
    assert_eq!(outcome.result().as_str(), "partial");
    let events = events.lock().expect("no panic");
    assert_eq!(
        *events,
        ["2 pending, 1 bad", "create applied", "create applied"]
    );
}

#[tokio::test]
async fn missing_definitions_cause_only_a_warning() {
    let world = World::with(Options {
        definitions: false,
        ..Options::default()
    })
    .await;
    world.user("ann@x.co", "Ann", json!({ "department": "x" }));
    world.roster("email,department\nann@x.co,y\n");
    let outcome = world.run().await;
    assert_converged(&outcome);
    assert!(
        outcome.warnings[0].contains("definitions (403"),
        "{:?}",
        outcome.warnings
    );
    assert_eq!(world.attribute("ann@x.co", "department"), json!("y"));
}

#[tokio::test]
async fn one_unreadable_entry_ends_no_run() {
    for (field, value) in [
        ("userName", json!(null)),
        ("active", json!("True")),
        ("displayName", json!({})),
        ("id", json!(7)),
    ] {
        let world = World::new()
            .await
            .set("policy.prune", "all")
            .set("policy.max_removals", "100%")
            .with_history()
            .await;
        for name in ["ann", "bob", "cid"] {
            world.user(&format!("{name}@x.co"), name, json!({}));
        }
        world.org().show_field("bob@x.co", field, value);
        world.roster("email,display_name\nann@x.co,Ann\nbob@x.co,Bob\n");
        let reconciler = world.reconciler();
        let run = reconciler
            .run(at_any_time(Trigger::Schedule), None, &Stop::default())
            .await;
        assert_eq!(
            outcomes_of(&run),
            [
                "create bob@x.co failed",
                "delete cid@x.co applied",
                "update ann@x.co applied"
            ],
            "{field}"
        );
        let create = run
            .changes
            .iter()
            .find(|one| one.subject.to_string() == "bob@x.co");
        let detail = &create.expect("there").detail;
        assert!(detail.contains("can't be read (1)"), "{field}: {detail}");
        let warnings = &run.plan.as_ref().expect("a plan").warnings;
        assert!(
            warnings.iter().any(|text| text.contains("can't be read")),
            "{field}: {warnings:?}"
        );
        assert_eq!(run.users(), Some(3), "{field}");
        // A row that names the user is looked up, and ends no run either.
        world.roster("op,email,display_name\nupsert,ann@x.co,Ann\ndelete,bob@x.co,\n");
        let run = reconciler.run(Trigger::File, None, &Stop::default()).await;
        assert_eq!(outcomes_of(&run), Vec::<String>::new(), "{field}");
        assert_eq!(run.result().as_str(), "converged", "{field}: {run:?}");
        assert_eq!(world.org().users().len(), 2, "{field}");
    }
}
