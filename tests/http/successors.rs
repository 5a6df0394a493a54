//! The successors that rows name: the users who get the schedules of users who leave.

use crate::leaving::held_by;
use crate::support::{World, assert_converged, command};
use omni_user_sync::model::{GuardRule, ProblemKind};
use omni_user_sync::sandbox::{Lists, Options};
use serde_json::{Value, json};

/// An organisation with eight users `u0@x.co`… and one inactive user. `u1@x.co` owns a schedule.
async fn world() -> World {
    let world = World::with(Options::with_full_lists())
        .await
        .set("policy.max_removals", "100%")
        .set("policy.owned_schedules", "transfer")
        .set("policy.transfer_to", "u7@x.co");
    for number in 0..8 {
        world.user(&format!("u{number}@x.co"), "A user", json!({}));
    }
    world.org().add_user(json!({
        "userName": "idle@x.co", "displayName": "A user", "active": false,
    }));
    world.org().add_schedule("u1@x.co", "daily", None);
    world
}

/// A roster in which `u1@x.co` leaves and names this successor, `u2@x.co` leaves too, and the row of `u3@x.co` is
/// invalid.
fn name_successor(world: &World, successor: &str) {
    let others: String = (4..8)
        .map(|number| format!("upsert,u{number}@x.co,A user,\n"))
        .collect();
    world.roster(&format!(
        "op,email,display_name,successor\nupsert,u0@x.co,A user,\ndelete,u1@x.co,,{successor}\n\
         delete,u2@x.co,,\nupsrt,u3@x.co,A user,\n{others}"
    ));
}

#[tokio::test]
async fn a_wrong_successor_is_a_cell_problem() {
    for (successor, why) in [
        ("nobody@x.co", "is not in Omni"),
        ("idle@x.co", "is not active"),
        ("u1@x.co", "is to be removed as well"),
        ("u2@x.co", "is to be removed as well"),
        ("u3@x.co", "has an invalid row"),
    ] {
        let world = world().await;
        name_successor(&world, successor);
        let plan = command(&world, &["plan", "--json"]).await;
        let why = format!("the successor {successor} {why}");
        let problem = format!("users.csv:3:4 (successor): {why}; name an active user who stays");
        let text = command(&world, &["plan"]).await.err;
        assert!(text.contains(&problem), "{problem}\n{text}");
        let doc: Value = serde_json::from_str(&plan.out).expect("JSON");
        let problems = doc["problems"].as_array().expect("a list").iter();
        let mut ours = problems.filter(|one| one["kind"] == "successor");
        let ours = ours.next().expect("a problem");
        assert_eq!((&ours["line"], &ours["column"]), (&json!(3), &json!(4)));
        assert_eq!(ours["email"], "u1@x.co");

        let outcome = world.run().await;
        let held: Vec<_> = outcome.held().iter().collect();
        assert_eq!(held_by(&outcome), [(GuardRule::OwnedSchedules, 1)]);
        assert!(held[0].reason.ends_with(&why), "{}", held[0].reason);
        let roster = &outcome.plan.as_ref().expect("a plan").roster;
        let of_cell = |kind| kind == ProblemKind::Successor;
        let problems = roster.bad_rows.iter().filter(|one| of_cell(one.kind));
        assert_eq!(problems.count(), 1, "{:?}", roster.bad_rows);
        assert!(world.org().user("u1@x.co").is_some());
        assert!(world.org().user("u2@x.co").is_none(), "others go on");
        assert_eq!(
            world.org().transfers().len() + world.org().lost_schedules().len(),
            0
        );
        let report = world.reports().pop().expect("a report").1;
        let row = report.lines().nth(2).expect("a row");
        assert!(row.contains("held"), "{row}");
    }
}

#[tokio::test]
async fn the_successor_of_the_row_comes_first() {
    let world = world().await;
    name_successor(&world, "u5@x.co");
    let roster = std::fs::read_to_string(world.roster_path()).expect("a roster");
    world.roster(&roster.replace("upsrt", "upsert"));
    assert_converged(&world.run().await);
    let transfers = world.org().transfers();
    assert_eq!((&*transfers[0].1, &*transfers[0].2), ("u1@x.co", "u5@x.co"));
}

/// A user without schedules needs no successor.
#[tokio::test]
async fn an_unused_successor_holds_no_removal() {
    let world = world().await;
    let id = world.org().schedules()[0].0.clone();
    world.org().remove_schedule(&id);
    name_successor(&world, "nobody@x.co");
    let outcome = world.run().await;
    assert!(outcome.held().is_empty(), "{:?}", outcome.held());
    assert!(world.org().user("u1@x.co").is_none());
}

/// A schedule runs with the access of its owner, so a plan says so also for a transfer that nothing holds.
#[tokio::test]
async fn a_plan_names_the_access_after_transfers() {
    let world = world().await;
    name_successor(&world, "u5@x.co");
    let text = command(&world, &["plan"]).await.out;
    let line = "    schedule daily: to u5@x.co, with the access of u5@x.co from then on\n";
    assert!(text.contains(line), "{text}");
    let note = "A transferred schedule runs with the access of its new owner.";
    let markdown = command(&world, &["plan", "--markdown"]).await.out;
    assert_eq!(markdown.matches(note).count(), 1, "{markdown}");

    let id = world.org().schedules()[0].0.clone();
    world.org().remove_schedule(&id);
    let markdown = command(&world, &["plan", "--markdown"]).await.out;
    assert!(!markdown.contains(note), "{markdown}");
}

/// The successor has the leaver's attributes, and gets others in the same run.
#[tokio::test]
async fn access_that_the_run_changes_is_compared() {
    let world = world().await;
    world.roster(
        "op,email,display_name,successor,region\nupsert,u0@x.co,A user,,\ndelete,u1@x.co,,u4@x.co,\n\
         upsert,u4@x.co,A user,,[north]\n",
    );
    let outcome = world.run().await;
    assert_eq!(held_by(&outcome), [(GuardRule::Transfers, 2)]);
    let reason = &outcome.held()[0].reason;
    assert!(reason.ends_with("differs in region"), "{reason}");
}

/// The roster does not name the successor, whom pruning removes once the grace is over.
#[tokio::test]
async fn a_successor_to_be_pruned_later_holds() {
    let world = world()
        .await
        .set("policy.prune", "all")
        .set("policy.prune_grace", "30d");
    let rows: String = (2..7)
        .map(|number| format!("upsert,u{number}@x.co,A user,\n"))
        .collect();
    let header = "op,email,display_name,successor\n";
    world.roster(&format!(
        "{header}upsert,u0@x.co,A user,\ndelete,u1@x.co,,u7@x.co\n{rows}"
    ));
    let outcome = world.run().await;
    assert_eq!(held_by(&outcome), [(GuardRule::OwnedSchedules, 1)]);
    let reason = &outcome.held()[0].reason;
    assert!(
        reason.ends_with("u7@x.co is to be removed as well"),
        "{reason}"
    );
}

/// One reading of a successor does for all schedules.
#[tokio::test]
async fn a_successor_is_read_once() {
    let options = Options {
        lists: Lists::OmitAttributes,
        ..Options::default()
    };
    let world = World::with(options)
        .await
        .set("policy.max_removals", "100%")
        .set("policy.owned_schedules", "transfer");
    for email in ["heir@x.co", "leaver@x.co", "other@x.co"] {
        world.user(email, "A user", json!({ "tier": "gold" }));
    }
    for number in 0..5 {
        let name = format!("report {number}");
        world.org().add_schedule("leaver@x.co", &name, None);
    }
    let rows = "upsert,other@x.co,A user,\ndelete,leaver@x.co,,heir@x.co\n";
    world.roster(&format!("op,email,display_name,successor\n{rows}"));
    assert_converged(&world.run().await);
    let heir = world.org().user("heir@x.co").expect("a user");
    let path = format!("/Users/{}", heir["id"].as_str().expect("an id"));
    let requests = world.org().requests();
    let reads = requests.iter().filter(|one| one.path.ends_with(&path));
    assert_eq!(reads.count(), 1);
}

/// What the approval is about: the recipients, and the access that differs.
#[tokio::test]
async fn approve_shows_why_a_transfer_is_held() {
    let world = world().await;
    world.org().add_schedule("u1@x.co", "weekly", Some(4));
    world.user("heir@x.co", "A user", json!({ "region": ["south"] }));
    name_successor(&world, "heir@x.co");
    world.run().await;
    let reason = "held by the rule transfers (3): schedules of 1 user would run with other access: 2 schedules of \
                  u1@x.co (daily, weekly, 4 recipients) to heir@x.co, who differs in region\n";
    let shown = command(&world, &["approve", "latest", "--dry-run"]).await;
    assert!(shown.out.contains(reason), "{}", shown.out);
    let one = ["approve", "latest", "--dry-run", "--only", "u1@x.co"];
    let shown = command(&world, &one).await;
    assert!(shown.out.starts_with(reason), "{}", shown.out);
}
