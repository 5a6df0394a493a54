//! Changes that Omni refuses or does not keep, or that another client reverts.

use super::{on, status};
use crate::support::{World, assert_converged, outcomes_of};
use omni_user_sync::model::Trigger;
use omni_user_sync::run::Stop;
use omni_user_sync::sandbox::{Inactive, Options, What};
use serde_json::json;

#[tokio::test]
async fn quarantine_ends_when_the_change_differs() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.user("b@x.co", "B", json!({}));
    world.org().fault(on("PATCH", status(400), 1));
    world.roster("email,display_name\na@x.co,New\nb@x.co,New\n");
    let world = world.set("omni.max_in_flight", "1");
    assert_eq!(
        outcomes_of(&world.run().await),
        ["update a@x.co failed", "update b@x.co applied"]
    );
    let writes = world.writes().len();
    let second = world.run().await;
    assert_eq!(world.writes().len(), writes, "it is not sent every run");
    assert!(
        second
            .warnings
            .iter()
            .any(|warning| warning.contains("quarantine")),
        "{second:?}"
    );
    assert_eq!(world.metrics.quarantined_users.get(), 1);
    // Another wish is another change.
    world.roster("email,display_name\na@x.co,Newer\nb@x.co,New\n");
    assert_eq!(outcomes_of(&world.run().await), ["update a@x.co applied"]);
    // Out of it is who is seen to need nothing any more.
    world.run().await;
    assert_eq!(world.metrics.quarantined_users.get(), 0);
}

#[tokio::test]
async fn a_command_retries_quarantined_changes() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.org().fault(on("PATCH", status(400), 1));
    world.roster("email,display_name\na@x.co,New\n");
    assert_eq!(outcomes_of(&world.run().await), ["update a@x.co failed"]);
    assert_eq!(outcomes_of(&world.apply().await), ["update a@x.co applied"]);
}

#[tokio::test]
async fn a_change_not_kept_is_quarantined() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.org().fault(on("PATCH", What::IgnoreWrite, 99));
    world.roster("email,department\na@x.co,sales\n");
    assert_eq!(
        outcomes_of(&world.run().await),
        ["update a@x.co applied"],
        "Omni says so"
    );
    assert_eq!(
        outcomes_of(&world.run().await),
        ["update a@x.co not_kept"],
        "it is looked at"
    );
    for _ in 0..3 {
        world.run().await;
    }
    assert_eq!(world.writes().len(), 2);
}

#[tokio::test]
async fn a_reverted_value_is_set_again_at_once() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({ "department": "old" }));
    world.roster("email,department\na@x.co,sales\n");
    for _ in 0..3 {
        assert_converged(&world.run().await);
        assert_eq!(world.attribute("a@x.co", "department"), json!("sales"));
        world
            .org()
            .set_attribute("a@x.co", "department", json!("old"));
    }
}

#[tokio::test]
async fn a_deletion_not_kept_is_reported() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.org().fault(on("DELETE", What::IgnoreWrite, 99));
    world.roster("op,email\ndelete,a@x.co\n");
    assert_eq!(
        outcomes_of(&world.run().await),
        ["delete a@x.co applied"],
        "Omni says so"
    );
    assert_eq!(outcomes_of(&world.run().await), ["delete a@x.co not_kept"]);
    world.run().await;
    assert_eq!(world.writes().len(), 2);
}

#[tokio::test]
async fn a_reactivation_not_kept_is_not_repeated() {
    let world = World::with(Options {
        inactive: Inactive::Keep,
        ..Options::default()
    })
    .await;
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("op,email\ndeactivate,ann@x.co\n");
    assert_converged(&world.run().await);
    world.roster("op,email\nupsert,ann@x.co\n");
    world.org().fault(on("PATCH", What::IgnoreWrite, 9));
    world.org().clear_requests();
    assert_eq!(
        outcomes_of(&world.run().await),
        ["update ann@x.co not_kept"]
    );
    assert_eq!(world.writes().len(), 1);
    let again = world.run().await;
    assert_eq!(again.result().as_str(), "partial", "{again:?}");
    assert_eq!(world.writes().len(), 1, "it waits in quarantine");
}

#[tokio::test]
async fn a_vanished_deactivated_user_counts_as_removed() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({}));
    world.user("anna@x.co", "Anna", json!({}));
    world.roster("op,email,display_name\ndeactivate,ann@x.co,\n");
    assert_converged(&world.run().await);
    assert_eq!(
        world.org().user("ann@x.co"),
        None,
        "the membership is revoked"
    );
    let plan = world.plan().await.expect("a plan").assessment;
    assert_eq!((plan.unchanged, plan.not_found.len()), (1, 0));
    assert_converged(&world.run().await);
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\n");
    let run = world.run().await;
    assert_eq!(outcomes_of(&run), ["create ann@x.co applied"]);
    let lint = "Omni will create a new user: ";
    let is_lint = |warning: &String| warning.starts_with(lint) && warning.ends_with("ann@x.co");
    assert!(run.warnings.iter().any(is_lint), "{:?}", run.warnings);
}

async fn with_inactive(inactive: Inactive) -> World {
    let options = Options {
        inactive,
        ..Options::default()
    };
    let world = World::with(options).await;
    world.user("ann@x.co", "Ann", json!({}));
    world.user("bob@x.co", "Bob", json!({}));
    world
}

#[tokio::test]
async fn deactivation_converges_kept_or_revoked() {
    for (inactive, operation) in [(Inactive::Keep, "update"), (Inactive::Revoke, "create")] {
        let world = with_inactive(inactive).await;
        world.roster("op,email,display_name\ndeactivate,ann@x.co,Ann\n");
        for expected in [&["deactivate ann@x.co applied"][..], &[]] {
            let run = world.run().await;
            assert_converged(&run);
            assert_eq!(outcomes_of(&run), expected, "{inactive:?}");
        }
        world.roster("op,email,display_name\nupsert,ann@x.co,Ann\n");
        let run = world.run().await;
        assert_converged(&run);
        assert_eq!(outcomes_of(&run), [format!("{operation} ann@x.co applied")]);
        let ann = world.org().user("ann@x.co").expect("there");
        assert_eq!(ann["active"], json!(true), "{inactive:?}");
    }
}

#[tokio::test]
async fn pruning_by_deactivation_converges_kept_or_revoked() {
    for inactive in [Inactive::Keep, Inactive::Revoke] {
        let world = with_inactive(inactive).await;
        let world = world
            .set("policy.removal", "deactivate")
            .set("policy.prune", "all");
        world.roster("email,display_name\nann@x.co,Ann\nbob@x.co,Bob\n");
        assert_converged(&world.run().await);
        world.roster("email,display_name\nann@x.co,Ann\n");
        for expected in [&["deactivate bob@x.co applied"][..], &[], &[]] {
            let run = world.run().await;
            assert_converged(&run);
            assert_eq!(outcomes_of(&run), expected, "{inactive:?}");
        }
    }
}

#[tokio::test]
async fn a_cached_revoked_user_is_created_anew() {
    let world = with_inactive(Inactive::Revoke).await;
    let world = world.set("policy.max_removals", "100%");
    world.roster("op,email,display_name\ndeactivate,ann@x.co,Ann\n");
    let reconciler = world.reconciler();
    let run = async || {
        let stop = Stop::default();
        reconciler.run(Trigger::File, None, &stop).await
    };
    world.org().fault(on("PATCH", What::LostReply, 1));
    assert_eq!(outcomes_of(&run().await), ["deactivate ann@x.co applied"]);
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\ndeactivate,bob@x.co,\n");
    assert_converged(&run().await);
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\nupsert,bob@x.co,Bob\n");
    assert_converged(&run().await);
    for email in ["ann@x.co", "bob@x.co"] {
        let user = world.org().user(email).expect("there");
        assert_eq!(user["active"], json!(true), "{email}");
    }
}

#[tokio::test]
async fn reactivates_only_users_it_deactivated() {
    let world = World::with(Options {
        inactive: Inactive::Keep,
        ..Options::default()
    })
    .await;
    world.user("ours@x.co", "O", json!({}));
    world.user("theirs@x.co", "T", json!({}));
    world.roster("op,email\ndeactivate,ours@x.co\n");
    assert_converged(&world.run().await);
    world.org().set_active("theirs@x.co", false);
    world.roster("op,email\nupsert,ours@x.co\nupsert,theirs@x.co\n");
    assert_eq!(
        outcomes_of(&world.run().await),
        ["update ours@x.co applied"]
    );
    let active = |email: &str| world.org().user(email).expect("there")["active"].clone();
    assert_eq!(
        (active("ours@x.co"), active("theirs@x.co")),
        (json!(true), json!(false))
    );
}
