//! Changes that others make in Omni after it was read: the same run finds them, and corrects what it does.
use crate::request_budget::on;
use crate::support::paused::HeldClock;
use crate::support::{World, assert_converged, outcomes_of, started_by};
use chrono::Utc;
use omni_user_sync::model::{ChangeOutcome, RunRef, Trigger};
use omni_user_sync::run::Stop;
use omni_user_sync::sandbox::{Options, PatchAnswer, What};
use serde_json::json;

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
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
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
    let outcome = started_by(Trigger::File, &reconciler).await;
    // The schedules of the new dan were not read.
    let failed = outcome
        .changes
        .iter()
        .filter(|one| one.outcome == ChangeOutcome::Failed);
    let failed: Vec<_> = failed.map(|one| one.subject.to_string()).collect();
    assert_eq!(failed, ["dan@x.co"]);
    assert_converged(&started_by(Trigger::File, &reconciler).await);
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
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(
        world.take_requests(),
        (0, 0),
        "what was mended is known too"
    );
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
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
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.org().remove_user("bob@x.co");
    world.user("bob@x.co", "Bob again", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let outcome = started_by(Trigger::File, &reconciler).await;
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
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.user("bob@x.co", "Bob", json!({ "tier": "gold" }));
    world.take_requests();
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\ndelete,bob@x.co,\n");
    let outcome = started_by(Trigger::File, &reconciler).await;
    assert_eq!(outcomes_of(&outcome), ["delete bob@x.co applied"]);
    assert_eq!(world.take_requests(), (5, 1));
}

#[tokio::test]
async fn stale_definitions_reject_no_valid_roster() {
    let world = World::with(Options::with_full_lists()).await;
    world.user("ann@x.co", "Ann", json!({ "tier": "gold" }));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.take_requests();
    world
        .org()
        .define(json!({ "name": "squad", "multiple_values": true }));
    world.roster("email,display_name,squad\nann@x.co,Ann,\"[a,b]\"\n");
    assert_converged(&started_by(Trigger::File, &reconciler).await);
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
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.org().set_email("ann@x.co", "ann.lee@x.co");
    world.roster("email,display_name\nann.lee@x.co,Ann\n");
    let run = started_by(Trigger::File, &reconciler).await;
    assert_converged(&run);
    assert_eq!(world.writes(), Vec::<String>::new());
    // Other changes are not mistaken for one.
    world.roster("email,display_name\nann.lee@x.co,Ann\nbob@x.co,Bob\n");
    world.take_requests();
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(world.take_requests(), (1, 1));
}

/// Two users have swapped their addresses since Omni was read.
#[tokio::test]
async fn access_goes_to_the_present_address_owner() {
    let world = World::with(Options::with_full_lists()).await;
    let at = |name| world.roster_path().with_file_name(name);
    let (groups, roles) = (at("groups.csv"), at("roles.csv"));
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).expect("the folder is writable");
    };
    let world = world
        .set("source.groups", &groups.to_string_lossy())
        .set("source.roles", &roles.to_string_lossy());
    let ids: Vec<_> = ["ann@x.co", "bob@x.co", "cy@x.co"]
        .map(|email| {
            world.user(email, "N", json!({}));
            world.org().user(email).expect("there")["id"].clone()
        })
        .into();
    let org = world.org();
    org.add_group("Sales", &["cy@x.co"]);
    let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
    org.add_model(&warehouse, "Orders", "SHARED");
    world.roster("email,display_name\nann@x.co,N\nbob@x.co,N\ncy@x.co,N\n");
    write(&groups, "op,email,group_name\n+,cy@x.co,Sales\n");
    write(&roles, "subject,connection,model,role\n");
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    for (from, to) in [
        ("ann@x.co", "x@x.co"),
        ("bob@x.co", "ann@x.co"),
        ("x@x.co", "bob@x.co"),
    ] {
        org.set_email(from, to);
    }
    write(&groups, "op,email,group_name\n+,ann@x.co,Sales\n");
    let rows = "subject,connection,model,role\nann@x.co,Warehouse,Orders,MODELER\n";
    write(&roles, rows);
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(org.user("ann@x.co").expect("there")["id"], ids[1]);
    let members = org.members("Sales").expect("the group");
    assert_eq!(members, ["ann@x.co", "cy@x.co"]);
    assert_eq!(org.roles("bob@x.co"), []);
    assert_eq!(org.roles("ann@x.co").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn possibly_changed_users_are_read_again() {
    let clock = HeldClock::new();
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({}));
    world.user("bob@x.co", "Bob", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\nbob@x.co,Bob\n");
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    // Carried out, and neither the answer comes nor any to the question after it.
    world.org().fault(on("PATCH", What::LostReply, 1));
    world.org().fault(on("GET", What::Reset, 6));
    world.roster("email,display_name\nann@x.co,Ann Lee\nbob@x.co,Bob\n");
    let outcome = clock.hasten(started_by(Trigger::File, &reconciler)).await;
    assert_eq!(outcome.count(ChangeOutcome::Failed), 1, "{outcome:?}");
    world.take_requests();
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(
        world.take_requests(),
        (1, 0),
        "one look, and nothing is sent twice"
    );
}

#[tokio::test]
async fn an_expired_cache_is_not_used() {
    let world = World::new().await.set("observe.max_age", "0s");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let reconciler = world.reconciler();
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    world.take_requests();
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    assert_eq!(world.take_requests(), (2, 0));
}

#[tokio::test]
async fn an_approval_does_not_cover_a_recreated_user() {
    let world = World::new().await.set("policy.max_removals", "0%");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("op,email,display_name\ndelete,ann@x.co,\n");
    let reconciler = world.reconciler();
    assert_eq!(
        started_by(Trigger::Schedule, &reconciler)
            .await
            .result()
            .as_str(),
        "held"
    );
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
        started_by(Trigger::Schedule, &reconciler)
            .await
            .result()
            .as_str(),
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
    assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
    assert_converged(&started_by(Trigger::File, &reconciler).await);
    let again = started_by(Trigger::Schedule, &reconciler).await;
    assert_eq!(outcomes_of(&again), ["update ann@x.co not_kept"]);
}
