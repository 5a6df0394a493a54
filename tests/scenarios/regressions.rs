//! Defects that scenarios found, each in its smallest form.

use crate::check;
use crate::limits::Allowance;
use crate::outside::Outside;
use crate::roster::{Op, Roster, Row};
use crate::scenario::{Kind, Scenario, Step};
use crate::support::{World, assert_converged, on, outcomes_of};
use crate::trouble::Trouble;
use chrono::Utc;
use omni_user_sync::model::{RunRef, Trigger};
use omni_user_sync::run::RunOutcome;
use omni_user_sync::sandbox::{Fault, Lists, Options, What, When};
use omni_user_sync::state::{Access, StateDb};
use serde_json::json;

async fn approve(world: &World) {
    let dir = world.settings().state.dir;
    let db = StateDb::open(&world.sandbox.url(), Access::Approve(&dir)).expect("a state database");
    let approved = db.approve(RunRef::Latest, "ann", Utc::now(), false).await;
    approved.expect("something is held");
}

#[tokio::test]
async fn approved_updates_with_clears_are_applied() {
    let world = World::new().await.set("policy.max_updates", "1");
    for name in ["a", "b", "c"] {
        world.user(&format!("{name}@x.co"), name, json!({ "department": "x" }));
    }
    world.roster("email,department\na@x.co,\nb@x.co,y\nc@x.co,y\n");
    let outcome = world.run().await;
    assert_eq!(outcome.held()[0].rule.as_str(), "max_updates");
    approve(&world).await;
    assert_converged(&world.run().await);
    assert_eq!(world.write_counts()["PATCH"], 3);
}

#[tokio::test]
async fn a_pruning_not_kept_is_reported() {
    let world = World::new().await.set("policy.prune", "managed");
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    assert_converged(&world.run().await);
    world.roster("email,display_name\na@x.co,A\n");
    world.org().fault(Fault {
        what: What::IgnoreWrite,
        when: When::default(),
        times: 99,
    });
    let omni_says_so = ["delete b@x.co applied"];
    assert_eq!(outcomes_of(&world.run().await), omni_says_so);
    assert_eq!(outcomes_of(&world.run().await), ["delete b@x.co not_kept"]);
    assert_eq!(outcomes_of(&world.run().await), [""; 0], "in quarantine");
    world.org().clear_faults();
    assert_eq!(outcomes_of(&world.apply().await), ["delete b@x.co applied"]);
    assert_eq!(world.org().users().len(), 1);
}

/// The user that is still there differs from the one that was to be removed.
#[tokio::test]
async fn a_pruning_after_a_lost_update_is_reported() {
    let options = Options {
        lists: Lists::OmitAttributes,
        ..Options::default()
    };
    let world = World::with(options).await.set("policy.prune", "managed");
    world.user("b@x.co", "B", json!({ "department": "x" }));
    world.roster("email,display_name,department\na@x.co,A,\nb@x.co,B,y\n");
    world.org().fault(always("PATCH", What::IgnoreWrite));
    world.org().fault(always("DELETE", What::IgnoreWrite));
    let omni_says_so = ["create a@x.co applied", "update b@x.co applied"];
    assert_eq!(outcomes_of(&world.run().await), omni_says_so);
    world.roster("email,display_name\na@x.co,A\n");
    assert_eq!(outcomes_of(&world.run().await), ["delete b@x.co applied"]);
    let found = world.run().await;
    assert_eq!(outcomes_of(&found), ["delete b@x.co not_kept"]);
    let result = |outcome: &RunOutcome| outcome.result().as_str();
    assert_eq!(result(&found), "partial");
    let waiting = world.run().await;
    assert_eq!(outcomes_of(&waiting), [""; 0]);
    assert_eq!(result(&waiting), "partial", "in quarantine");
    world.org().clear_faults();
    assert_eq!(outcomes_of(&world.apply().await), ["delete b@x.co applied"]);
}

#[tokio::test]
async fn a_row_removal_not_kept_is_pruned_later() {
    let world = World::new().await.set("policy.prune", "managed");
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    assert_converged(&world.run().await);
    let when = When {
        method: Some("DELETE".into()),
        ..When::default()
    };
    let (what, times) = (What::IgnoreWrite, 1);
    world.org().fault(Fault { when, what, times });
    world.roster("op,email,display_name\nupsert,a@x.co,A\ndelete,b@x.co,\n");
    assert_eq!(outcomes_of(&world.run().await), ["delete b@x.co applied"]);
    world.roster("op,email,display_name\nupsert,a@x.co,A\n");
    assert_eq!(outcomes_of(&world.run().await), ["delete b@x.co applied"]);
    assert_eq!(world.org().users().len(), 1);
}

#[tokio::test]
async fn a_user_recreated_after_pruning_is_not_managed() {
    let world = World::new().await.set("policy.prune", "managed");
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    assert_converged(&world.run().await);
    world.roster("email,display_name\na@x.co,A\n");
    assert_converged(&world.run().await);
    world.user("b@x.co", "B", json!({}));
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 2);
}

#[tokio::test]
async fn a_failed_delete_row_does_not_cause_pruning() {
    let world = World::new().await.set("policy.prune", "managed");
    world.user("b@x.co", "B", json!({}));
    world.roster("op,email,display_name\nupsert,a@x.co,A\ndelete,b@x.co,\n");
    let when = When {
        method: Some("DELETE".into()),
        ..When::default()
    };
    let (what, times) = (What::IgnoreWrite, 1);
    world.org().fault(Fault { when, what, times });
    assert_eq!(
        outcomes_of(&world.run().await),
        ["create a@x.co applied", "delete b@x.co applied"]
    );
    world.roster("op,email,display_name\nupsert,a@x.co,A\n");
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 2);
}

/// A fault of every request of a method.
fn always(method: &str, what: What) -> Fault {
    let when = When {
        method: Some(method.into()),
        ..When::default()
    };
    let times = 99;
    Fault { when, what, times }
}

const FORBIDDEN: What = What::Status {
    code: 403,
    retry_after: None,
    body: None,
};

#[tokio::test]
async fn a_refused_removal_adds_no_managed_user() {
    let world = World::new().await.set("policy.prune", "all");
    let world = world.with_history().await;
    world.user("b@x.co", "B", json!({}));
    world.roster("email,display_name\na@x.co,A\n");
    world.org().fault(always("DELETE", FORBIDDEN));
    let refused = ["create a@x.co applied", "delete b@x.co failed"];
    assert_eq!(outcomes_of(&world.run().await), refused);
    world.org().clear_faults();
    let world = world.set("policy.prune", "managed");
    assert_converged(&world.apply().await);
    assert_eq!(world.org().users().len(), 2);
}

#[tokio::test]
async fn a_refused_removal_does_not_shorten_later_grace() {
    let world = World::new().await.set("policy.prune", "managed");
    let both = "email,display_name\na@x.co,A\nb@x.co,B\n";
    world.roster(both);
    assert_converged(&world.run().await);
    world.roster("email,display_name\na@x.co,A\n");
    world.org().fault(always("DELETE", FORBIDDEN));
    assert_eq!(outcomes_of(&world.run().await), ["delete b@x.co failed"]);
    world.org().clear_faults();
    // They are back, in a listing that does not add up, by which no quarantine ends.
    world.org().fault(always("GET", What::TotalOff(1)));
    world.roster(both);
    assert_eq!(outcomes_of(&world.run().await), [""; 0]);
    world.org().clear_faults();
    world.roster("email,display_name\na@x.co,A\n");
    let world = world.set("policy.prune_grace", "1h");
    assert_eq!(outcomes_of(&world.apply().await), [""; 0]);
    assert_eq!(world.org().users().len(), 2);
}

#[test]
fn recreation_after_a_kill_matches_the_reference() {
    let mut scenario = Scenario::new(Kind::NoFaults, 0);
    scenario.policy.prune = "managed";
    scenario.policy.deactivates = false;
    scenario.policy.limits.removals = Allowance::Count(0);
    scenario.users.clear();
    scenario.access = None;
    scenario.roles = None;
    // Which of the created users a list hides would depend on the order of requests.
    scenario.options.list_lag = 0;
    let row = |at: usize| Row {
        op: if at == 2 { Op::Delete } else { Op::Upsert },
        email: format!("u{at}@x.co"),
        name: if at == 4 { "" } else { "Ada" }.to_owned(),
        cells: ["Sales", "7", "[east]", "gold"].map(str::to_owned),
        groups: None,
        successor: String::new(),
        flaw: None,
        is_upper_case: false,
    };
    let roster = |rows: Vec<Row>| {
        let columns = vec![0];
        let has_groups = false;
        Step::Roster(Roster {
            columns,
            has_groups,
            has_successor: false,
            rows,
        })
    };
    let last = "u8@x.co".to_owned();
    scenario.steps = vec![
        roster((0..9).map(row).collect()),
        Step::Trouble(8, Trouble::Killed),
        Step::Run(Trigger::Schedule),
        roster((0..3).map(row).collect()),
        Step::Outside(Outside::Remove(last.clone())),
        Step::Run(Trigger::File),
        Step::Outside(Outside::Recreate(last)),
        Step::Run(Trigger::Schedule),
    ];
    let (_, wrong) = check(&scenario, false);
    assert_eq!(wrong, [""; 0]);
}

/// A repeated creation is read back, and lists may lag behind it.
#[tokio::test]
async fn a_repeated_creation_under_lag_is_applied() {
    let world = World::with(Options {
        list_lag: 10,
        ..Options::default()
    })
    .await;
    world.user("a@x.co", "A", json!({}));
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    let refused = What::Status {
        code: 400,
        retry_after: None,
        body: None,
    };
    world.org().fault(on("POST", refused));
    assert_eq!(outcomes_of(&world.apply().await), ["create b@x.co failed"]);
    assert_eq!(outcomes_of(&world.apply().await), ["create b@x.co applied"]);
    let plan = world.plan().await.expect("a plan").assessment;
    assert_eq!(plan.verdict.all().count(), 0, "{plan:#?}");
}

/// A row is not right because it spells a name in another way than rows that contradict each other, or than an invalid
/// one.
#[tokio::test]
async fn contradicted_roles_are_unclear_in_any_spelling() {
    let world = World::with(Options::with_full_lists()).await;
    let path = world.folder.path().join("roles.csv");
    let world = world.set("source.roles", &path.display().to_string());
    for name in ["a", "b", "c"] {
        world.user(&format!("{name}@x.co"), name, json!({}));
    }
    let lake = world.org().add_connection("Lake", "NO_ACCESS");
    world.org().add_model(&lake, "Sales", "SHARED");
    world.roster("email\na@x.co\nb@x.co\nc@x.co\n");
    let rows = "subject,connection,model,role\na@x.co,Lake,Sales,VIEWER\na@x.co,Lake,Sales,QUERIER\n\
                a@x.co,lake,SALES,MODELER\nb@x.co,Lake,Sales,viewer\nb@x.co,Lake,sales,MODELER\nc@x.co,Lake,Sales,VIEWER\n";
    std::fs::write(path, rows).expect("the file is written");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["assign c@x.co applied"]);
    let skipped = [
        "roles.csv:4: this row is skipped, because roles.csv:3 is about the same and is invalid; correct that row",
        "roles.csv:6: this row is skipped, because roles.csv:5 is about the same and is invalid; correct that row",
    ];
    assert_eq!(outcome.warnings, skipped);
}
