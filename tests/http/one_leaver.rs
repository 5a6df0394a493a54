//! Runs about one user who owns schedules: they depend on the successor, who is another user.

use crate::support::{World, command};
use omni_user_sync::model::{Email, GuardRule, Trigger};
use omni_user_sync::run::{Stop, Target};
use omni_user_sync::sandbox::Options;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const LEAVER: &str = "leaver@x.co";
const HEIR: &str = "heir@x.co";

/// A leaver with a schedule and a successor whose row has this op.
async fn world(attributes_of_heir: serde_json::Value, op_of_heir: &str) -> World {
    let world = World::with(Options::with_full_lists())
        .await
        .set("policy.max_removals", "100%")
        .set("policy.owned_schedules", "transfer");
    world.user(LEAVER, "Leaver", json!({ "region": ["north"] }));
    world.user(HEIR, "Heir", attributes_of_heir);
    world.user("other@x.co", "Other", json!({}));
    world.org().add_schedule(LEAVER, "daily", None);
    world.roster(&format!(
        "op,email,display_name,successor\nupsert,other@x.co,Other,\ndelete,{LEAVER},Leaver,{HEIR}\n\
         {op_of_heir},{HEIR},Another name,\n"
    ));
    world
}

/// The plan of a run about one user.
async fn planned(world: &World, email: &str) -> Vec<(GuardRule, usize)> {
    let target = Target {
        only: Some(Email::parse(email).expect("an email")),
        ..world.target()
    };
    let reconciler = world.reconciler();
    let run = reconciler.begin(Trigger::Command, target).await;
    let (mut run, stop) = (run.expect("a run"), Stop::default());
    let prepared = reconciler.prepare(&mut run, &stop).await.expect("a plan");
    let held = prepared.assessment.verdict.held().iter();
    held.map(|held| (held.rule, held.changes.len())).collect()
}

async fn next_of(world: &World, email: &str) -> String {
    let email = Email::parse(email).expect("an email");
    let reconciler = world.reconciler();
    let stop = CancellationToken::new();
    let explained = reconciler.observer().explain(&email, &stop).await;
    explained.expect("explained").next.to_string()
}

#[tokio::test]
async fn the_successor_of_one_leaver_is_found() {
    let world = world(json!({ "region": ["north"] }), "upsert").await;
    assert_eq!(planned(&world, LEAVER).await, []);
    let next = next_of(&world, LEAVER).await;
    assert!(next.starts_with("a run would apply"), "{next}");
    assert!(
        world.org().writes().is_empty(),
        "only the leaver is compared"
    );
}

#[tokio::test]
async fn other_access_of_the_successor_holds() {
    let world = world(json!({ "region": ["south"] }), "upsert").await;
    assert_eq!(planned(&world, LEAVER).await, [(GuardRule::Transfers, 2)]);
    let next = next_of(&world, LEAVER).await;
    assert!(next.contains("transfers"), "{next}");
}

#[tokio::test]
async fn a_successor_who_leaves_too_holds() {
    let world = world(json!({ "region": ["north"] }), "delete").await;
    assert_eq!(
        planned(&world, LEAVER).await,
        [(GuardRule::OwnedSchedules, 1)]
    );
    let next = next_of(&world, LEAVER).await;
    assert!(next.contains("owned_schedules"), "{next}");
}

/// The leaver owns a schedule that goes to the successor, and no text may read as if it were lost.
#[tokio::test]
async fn explain_names_the_successor_of_schedules() {
    let world = world(json!({ "region": ["north"] }), "upsert").await;
    let text = command(&world, &["explain", LEAVER]).await.out;
    let transfer = format!("~ transfer   {LEAVER}  (users.csv:3)\n    schedule daily: to {HEIR}");
    assert!(text.contains(&transfer), "{text}");
    let doc = command(&world, &["explain", LEAVER, "--json"]).await.out;
    let doc: serde_json::Value = serde_json::from_str(&doc).expect("JSON");
    let transfer = &doc["transfers"][0];
    assert_eq!(transfer["reason"], json!(null));
    assert_eq!(transfer["change"]["operation"], "transfer");
    assert_eq!(transfer["change"]["fields"][0]["to"], HEIR);
}

#[tokio::test]
async fn explain_says_why_a_transfer_is_held() {
    let world = world(json!({ "region": ["south"] }), "upsert").await;
    let text = command(&world, &["explain", LEAVER]).await.out;
    let reason = format!(
        "next: held by the rule transfers: schedules of 1 user would run with other access: 1 schedule of {LEAVER} \
         (daily) to {HEIR}, who differs in region\n"
    );
    assert!(text.contains(&reason), "{text}");
    let held = "access of heir@x.co from then on: held by the rule transfers\n";
    assert!(text.contains(held), "{text}");
}

#[tokio::test]
async fn explain_says_why_owned_schedules_hold() {
    let world = world(json!({ "region": ["north"] }), "delete").await;
    let next = next_of(&world, LEAVER).await;
    let reason =
        "leaver@x.co owns 1 schedule (daily); the successor heir@x.co is to be removed as well\n";
    assert!(next.contains(reason), "{next}");
}
