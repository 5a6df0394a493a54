//! Addresses that are changed in Omni while the cache is in use: the wrong user is never removed or changed.
use crate::support::{World, on, outcomes_of, started_by};
use omni_user_sync::model::Trigger;
use omni_user_sync::run::Reconciler;
use omni_user_sync::sandbox::{Options, Org, PatchAnswer, What};
use serde_json::{Value, json};

const HEAD: &str = "op,email,display_name,department\n";

/// A world with ann (north) and bob (south) that a run has cached.
async fn cached(answer: PatchAnswer) -> (World, Reconciler) {
    let options = Options {
        patch_answer: answer,
        ..Options::default()
    };
    let world = World::with(options)
        .await
        .set("policy.max_removals", "100%");
    world.user("ann@x.co", "Ann", json!({ "department": "north" }));
    world.user("bob@x.co", "Bob", json!({ "department": "south" }));
    world.roster(&format!(
        "{HEAD}upsert,ann@x.co,Ann,north\nupsert,bob@x.co,Bob,south\n"
    ));
    let reconciler = world.reconciler();
    started_by(Trigger::File, &reconciler).await;
    world.org().clear_requests();
    (world, reconciler)
}

fn swap(org: &Org) {
    org.set_email("ann@x.co", "swap@x.co");
    org.set_email("bob@x.co", "ann@x.co");
    org.set_email("swap@x.co", "bob@x.co");
}

fn names(world: &World) -> Vec<Value> {
    let users = world.org().users();
    users
        .iter()
        .map(|user| user["displayName"].clone())
        .collect()
}

#[tokio::test]
async fn a_changed_address_is_not_removed() {
    for op in ["delete", "deactivate"] {
        let (world, reconciler) = cached(PatchAnswer::User).await;
        world.org().set_email("ann@x.co", "owner@x.co");
        world.roster(&format!(
            "{HEAD}{op},ann@x.co,,\nupsert,bob@x.co,Bob,south\n"
        ));
        let run = started_by(Trigger::File, &reconciler).await;
        assert_eq!(outcomes_of(&run), [format!("{op} ann@x.co failed")]);
        assert!(run.changes[0].detail.contains("owner@x.co"), "{run:?}");
        assert_eq!(world.writes(), Vec::<String>::new());
        let run = started_by(Trigger::File, &reconciler).await;
        assert_eq!(
            outcomes_of(&run),
            Vec::<String>::new(),
            "nobody has the address"
        );
        assert_eq!(
            world.org().user("owner@x.co").expect("there")["active"],
            true
        );
    }
}

#[tokio::test]
async fn a_swapped_address_removes_its_present_user() {
    let (world, reconciler) = cached(PatchAnswer::User).await;
    swap(world.org());
    world.roster(&format!(
        "{HEAD}delete,ann@x.co,,\nupsert,bob@x.co,Ann,north\n"
    ));
    let run = started_by(Trigger::File, &reconciler).await;
    assert!(
        outcomes_of(&run).contains(&"delete ann@x.co failed".to_owned()),
        "{run:?}"
    );
    assert_eq!(names(&world), ["Ann", "Bob"]);
    let run = started_by(Trigger::File, &reconciler).await;
    assert_eq!(outcomes_of(&run), ["delete ann@x.co applied"]);
    assert_eq!(names(&world), ["Ann"]);
}

#[tokio::test]
async fn a_misdirected_update_is_taken_back() {
    for answer in [PatchAnswer::User, PatchAnswer::Empty] {
        let (world, reconciler) = cached(answer).await;
        swap(world.org());
        world.roster(&format!(
            "{HEAD}upsert,ann@x.co,Ann Lee,\nupsert,bob@x.co,Bob,south\n"
        ));
        let run = started_by(Trigger::File, &reconciler).await;
        assert_eq!(outcomes_of(&run), ["update ann@x.co failed"], "{answer:?}");
        assert!(run.changes[0].detail.contains("former values"), "{run:?}");
        assert_eq!(names(&world), ["Ann", "Bob"], "{answer:?}");
        assert_eq!(world.attribute("bob@x.co", "department"), json!("north"));
        let number = run.number.expect("recorded");
        let recorded = world.state_db().changes(number).await.expect("changes");
        let emails: Vec<_> = recorded
            .iter()
            .map(|one| one.intent.subject.to_string())
            .collect();
        assert_eq!(
            emails,
            ["ann@x.co", "bob@x.co"],
            "both writes are in the history"
        );
        let undo = reconciler.observer().undo(&recorded).await;
        let undo = undo.expect("an observation").undo;
        assert_eq!(undo.rows, 0, "it is as before: {}", undo.csv);
        // Both addresses are looked up by now, and each gets what the roster states for it.
        started_by(Trigger::File, &reconciler).await;
        assert_eq!(names(&world), ["Bob", "Ann Lee"], "{answer:?}");
        assert_eq!(world.attribute("bob@x.co", "department"), json!("south"));
    }
}

#[tokio::test]
async fn a_lost_response_is_compared_too() {
    let (world, reconciler) = cached(PatchAnswer::User).await;
    world.org().set_email("ann@x.co", "owner@x.co");
    world.org().fault(on("PATCH", What::LostReply));
    world.roster(&format!(
        "{HEAD}upsert,ann@x.co,Ann Lee,north\nupsert,bob@x.co,Bob,south\n"
    ));
    let run = started_by(Trigger::File, &reconciler).await;
    assert_eq!(outcomes_of(&run), ["update ann@x.co failed"]);
    assert_eq!(
        world.org().user("owner@x.co").expect("there")["displayName"],
        "Ann"
    );
}
