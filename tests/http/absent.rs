//! Fields that Omni does not show in lists or in the responses to writes are not known, and nothing rests on them.
use crate::support::{World, assert_converged, outcomes_of, started_by};
use omni_user_sync::model::Trigger;
use omni_user_sync::run::{ObservationCache, Stop};
use omni_user_sync::sandbox::{LastModified, Lists, Options, PatchAnswer};
use serde_json::json;
use std::fmt::Write;

async fn omitting(patch_answer: PatchAnswer, users: usize) -> World {
    let options = Options {
        lists: Lists::OmitAttributes,
        patch_answer,
        users,
        ..Options::default()
    };
    World::with(options).await.set("policy.max_updates", "")
}

fn roster(departments: impl Fn(usize) -> &'static str) -> String {
    (1..=30).fold("email,department\n".to_owned(), |mut text, number| {
        let department = departments(number);
        writeln!(text, "user{number:04}@example.com,{department}").expect("a string grows");
        text
    })
}

#[tokio::test]
async fn omitted_attributes_are_not_rewritten() {
    for answer in [PatchAnswer::User, PatchAnswer::Partial, PatchAnswer::Empty] {
        let world = omitting(answer, 100).await;
        world.roster(&roster(|_| "Sales"));
        let reconciler = world.reconciler();
        assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
        let (all, writes) = world.take_requests();
        // After an empty response, one user is read to learn whether `lastModified` moves.
        let learning = usize::from(answer == PatchAnswer::Empty);
        assert_eq!(
            all,
            2 + 30 + writes + learning,
            "{answer:?}: each user is read once"
        );
        assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
        // Only a full response shows when the user was changed.
        let read = if answer == PatchAnswer::User { 10 } else { 30 };
        let (all, writes) = world.take_requests();
        assert!(
            all <= 2 + read && writes == 0,
            "{answer:?}: {all}, {writes}"
        );
        assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
        assert_eq!(world.take_requests(), (2 + 10, 0), "{answer:?}: a part");
    }
}

#[tokio::test]
async fn a_changed_user_is_read_again() {
    let world = omitting(PatchAnswer::User, 100).await;
    world.roster(&roster(|_| "Sales"));
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    let stray = "user0030@example.com";
    let changed = json!("Finance");
    world.org().set_attribute(stray, "department", changed);
    world.take_requests();
    let outcome = started_by(Trigger::Schedule, &reconciler).await;
    assert_eq!(outcomes_of(&outcome), [format!("update {stray} applied")]);
    assert_eq!(world.attribute(stray, "department"), json!("Sales"));
}

#[tokio::test]
async fn a_partial_response_keeps_known_values() {
    let world = omitting(PatchAnswer::Partial, 1).await;
    world.user(
        "ann@x.co",
        "Ann",
        json!({ "department": "x", "tier": "gold" }),
    );
    let text = |tier: &str| format!("email,display_name,department,tier\nann@x.co,Ann,y,{tier}\n");
    world.roster(&text("gold"));
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.roster(&text("silver"));
    let stop = Stop::default();
    assert_converged(&reconciler.run(Trigger::File, None, &stop).await);
    let sent = world.bodies().pop().expect("an update");
    let sent = &sent["Operations"][0]["value"];
    assert_eq!(
        *sent,
        json!({ "urn:omni:params:1.0:UserAttribute": { "tier": "silver" } }),
        "the department is as sent before"
    );
}

#[tokio::test]
async fn an_unread_admin_is_not_pruned() {
    let world = omitting(PatchAnswer::User, 3)
        .await
        .set("policy.prune", "all");
    let world = world
        .set("policy.max_removals", "100%")
        .with_history()
        .await;
    world.user("boss@x.co", "Boss", json!({ "omni_is_org_admin": true }));
    world.roster("email\nuser0001@example.com\nuser0002@example.com\n");
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        ["delete user0003@example.com applied"]
    );
    assert!(world.org().user("boss@x.co").is_some());
    let db = world.state_db();
    let changes = db
        .changes(outcome.number.expect("a run"))
        .await
        .expect("changes");
    assert!(
        changes[0].intent.fields.len() > 1,
        "values are kept: {changes:?}"
    );
}

/// The attributes that were read once say nothing about who is an admin now.
#[tokio::test]
async fn a_new_admin_is_not_pruned() {
    let world = omitting(PatchAnswer::User, 2).await;
    let world = world
        .set("policy.prune", "managed")
        .set("policy.max_removals", "100%")
        .with_history()
        .await;
    let admin = json!({ "omni_is_org_admin": true });
    world.user("key@x.co", "The user of the key", admin);
    world.user("boss@x.co", "Boss", json!({}));
    let row = "boss@x.co,Sales\n";
    let others = "email,department\nuser0001@example.com,Sales\nuser0002@example.com,Sales\n";
    world.roster(&format!("{others}{row}"));
    assert_converged(&world.run().await);
    let admin = json!(true);
    world
        .org()
        .set_attribute("boss@x.co", "omni_is_org_admin", admin);
    world.roster(others);
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["delete boss@x.co failed"]);
    assert!(
        outcome.changes[0].detail.contains("protected"),
        "{outcome:?}"
    );
    assert!(world.org().user("boss@x.co").is_some());
}

/// Until a probe finds out. An empty response shows nothing, so one user is read after it.
#[tokio::test]
async fn own_updates_show_whether_last_modified_moves() {
    for (last_modified, moves) in [(LastModified::Moves, true), (LastModified::Stays, false)] {
        for patch_answer in [PatchAnswer::User, PatchAnswer::Empty] {
            let options = Options {
                users: 3,
                lists: Lists::Full,
                last_modified,
                patch_answer,
                ..Options::default()
            };
            let world = World::with(options).await.set("policy.max_updates", "");
            world.roster("email,department\nuser0001@example.com,x\nuser0002@example.com,x\n");
            assert_converged(&world.run().await);
            assert_eq!(learned(&world).await, Some(moves), "{patch_answer:?}");
            let reads = reads_by_id(&world);
            assert_eq!(reads, usize::from(patch_answer == PatchAnswer::Empty));
            // The list does not forget it, and an update of a name says nothing of attributes.
            world.roster("email,display_name,department\nuser0003@example.com,New,x\n");
            assert_converged(&world.run().await);
            assert_eq!(learned(&world).await, Some(moves), "{patch_answer:?}");
            assert_eq!(reads_by_id(&world), reads, "{patch_answer:?}");
        }
    }
}

fn reads_by_id(world: &World) -> usize {
    let requests = world.org().requests();
    let is_read = |path: &str| path.to_lowercase().contains("/users/");
    let reads = requests
        .iter()
        .filter(|request| request.method == "GET" && is_read(&request.path));
    reads.count()
}

async fn learned(world: &World) -> Option<bool> {
    let stored = ObservationCache::stored(&world.state_db()).await;
    stored.expect("is stored").observed.last_modified_moves()
}
