//! Assignments and their outcomes.

use super::{ROSTER, RoleWorld, details, role};
use crate::serve::support::until;
use crate::support::{assert_converged, at_any_time, on, outcomes_of};
use omni_user_sync::model::{ChangeOutcome, Trigger};
use omni_user_sync::plan::RoleCatalogue;
use omni_user_sync::report::undo_roles;
use omni_user_sync::run::Stop;
use omni_user_sync::sandbox::{Fault, Request, What, When};
use serde_json::{Value, json};
use std::time::Duration;

/// A fault of assignments.
fn of_assignments(what: What, times: usize) -> Fault {
    let when = When {
        method: Some("POST".into()),
        ..When::default()
    };
    Fault { when, what, times }
}

#[tokio::test]
async fn roles_are_assigned_and_converge() {
    let world = RoleWorld::new().await;
    world.rows(
        "group:analysts,Warehouse,Sales,QUERIER\nann@x.co,warehouse,Finance,VIEWER\nben@x.co,Warehouse,,CONNECTION_ADMIN\n",
    );
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        [
            "assign ann@x.co applied",
            "assign ben@x.co applied",
            "assign group:Analysts applied",
        ]
    );
    assert_converged(&outcome);
    assert_eq!(world.roles("Analysts"), [role("Sales", "QUERIER")]);
    assert_eq!(world.roles("ann@x.co"), [role("Finance", "VIEWER")]);
    assert_eq!(
        world.roles("ben@x.co"),
        [role("Warehouse", "CONNECTION_ADMIN")]
    );
    let (_, writes) = world.take_requests();
    assert_eq!(writes, 3);
    // Users and definitions, the names of groups, connections and models, the roles of the group and of one user, who is
    // read back. The role on the whole connection is remembered.
    assert_converged(&world.run().await);
    assert_eq!(world.take_requests(), (8, 0));
}

/// A run with a cached observation asks nothing about roles.
#[tokio::test]
async fn a_cached_run_reads_no_roles() {
    let world = RoleWorld::new().await;
    world.rows("group:Analysts,Warehouse,Sales,QUERIER\nann@x.co,Warehouse,Finance,VIEWER\n");
    assert_converged(&world.run().await);
    world.take_requests();
    world.rows(
        "group:Analysts,Warehouse,Sales,VIEWER\nann@x.co,Warehouse,Finance,VIEWER\ncy@x.co,Warehouse,Finance,VIEWER\n",
    );
    let reconciler = world.world.reconciler();
    let options = at_any_time(Trigger::File);
    let outcome = reconciler.run(options, None, &Stop::default()).await;
    assert_converged(&outcome);
    // The new user, and the user's roles, and two assignments.
    assert_eq!(world.take_requests(), (4, 2));
    assert_eq!(world.roles("Analysts"), [role("Sales", "VIEWER")]);
}

/// Users and groups that a run creates get their roles in this run.
#[tokio::test]
async fn new_users_and_groups_get_their_roles() {
    let world = RoleWorld::new().await.set("policy.create_groups", "true");
    world.world.roster(
        "email,display_name,groups\nann@x.co,Ann,[]\nben@x.co,Ben,[]\ncy@x.co,Cy,[]\ndan@x.co,Dan,[Explorers]\n",
    );
    world.rows("dan@x.co,Warehouse,Sales,VIEWER\ngroup:explorers,Warehouse,Sales,QUERIER\n");
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        [
            "assign dan@x.co applied",
            "assign group:Explorers applied",
            "create dan@x.co applied",
            "join dan@x.co applied",
        ]
    );
    assert_eq!(world.roles("dan@x.co"), [role("Sales", "VIEWER")]);
    assert_eq!(world.roles("Explorers"), [role("Sales", "QUERIER")]);
}

/// A user that others create after the list was read may have a role already.
#[tokio::test]
async fn a_user_that_existed_keeps_an_unread_role() {
    let world = RoleWorld::new().await;
    let org = world.world.org();
    world.world.roster(&format!("{ROSTER}dan@x.co,Daniel\n"));
    world.rows("dan@x.co,Warehouse,Sales,VIEWER\n");
    // The list is read when it is asked for, and answered later.
    org.fault(Fault {
        when: When {
            query: Some("startIndex".into()),
            ..When::default()
        },
        what: What::Late(Duration::from_secs(2)),
        times: 1,
    });
    org.clear_requests();
    let others = async {
        let is_list = |request: &Request| request.query.contains("startIndex");
        until("the list is read", async || {
            org.requests().iter().any(is_list)
        })
        .await;
        world.world.user("dan@x.co", "Dan", json!({}));
        org.set_role("dan@x.co", &world.sales, "MODELER");
    };
    let (outcome, ()) = tokio::join!(world.run(), others);
    assert_eq!(
        outcomes_of(&outcome),
        ["assign dan@x.co skipped", "update dan@x.co applied"]
    );
    assert!(
        details(&outcome).contains(&"the user existed already; the next run compares the roles"),
        "{outcome:#?}"
    );
    assert_eq!(world.roles("dan@x.co"), [role("Sales", "MODELER")]);
}

/// An assignment rests on a reading that is not older than `observe.max_age`.
#[tokio::test]
async fn a_role_is_read_again_before_it_changes() {
    let world = RoleWorld::new()
        .await
        .set("policy.max_role_changes", "1000")
        .set("policy.protect", "u29@x.co")
        .set("observe.max_age", "0s");
    let rows = |last: &str| -> String {
        let role = |user| if user == 29 { last } else { "VIEWER" };
        let rows = (0..30).map(|user| format!("u{user}@x.co,Warehouse,Sales,{}\n", role(user)));
        rows.collect()
    };
    for user in 0..30 {
        world.world.user(&format!("u{user}@x.co"), "U", json!({}));
    }
    world.rows(&rows("VIEWER"));
    assert_converged(&world.run().await);
    let org = world.world.org();
    org.set_role("u29@x.co", &world.sales, "MODELER");
    world.rows(&rows("QUERIER"));
    world.run().await;
    assert_eq!(world.roles("u29@x.co"), [role("Sales", "MODELER")]);
}

/// A lost response is read back, where Omni shows the role; an assignment may be sent again.
#[tokio::test]
async fn a_lost_assignment_is_read_back() {
    for (row, subject, writes) in [
        ("group:Analysts,Warehouse,Sales,VIEWER\n", "Analysts", 1),
        ("ann@x.co,Warehouse,Sales,VIEWER\n", "ann@x.co", 1),
        ("ann@x.co,Warehouse,,CONNECTION_ADMIN\n", "ann@x.co", 2),
    ] {
        let world = RoleWorld::new().await;
        world.rows(row);
        world.world.org().fault(on("POST", What::LostReply));
        assert_converged(&world.run().await);
        assert_eq!(world.roles(subject).len(), 1);
        assert_eq!(world.take_requests().1, writes, "{row}");
    }
}

/// The limits and the protection of users were evaluated for a change of another role.
#[tokio::test]
async fn a_lost_assignment_overwrites_no_third_role() {
    let world = RoleWorld::new().await.set("policy.protect", "ann@x.co");
    let sales = world.sales.clone();
    world.world.org().set_role("ann@x.co", &sales, "VIEWER");
    world.rows("ann@x.co,Warehouse,Sales,QUERIER\n");
    let org = world.world.org();
    org.fault(on("POST", What::Reset));
    let sent = async {
        let is_sent = |request: &Request| request.method == "POST";
        until("the assignment is sent", async || {
            org.requests().iter().any(is_sent)
        })
        .await;
        org.set_role("ann@x.co", &sales, "MODELER");
    };
    let (outcome, ()) = tokio::join!(world.run(), sent);
    assert_eq!(outcomes_of(&outcome), ["assign ann@x.co failed"]);
    assert_eq!(world.roles("ann@x.co"), [role("Sales", "MODELER")]);
    insta::assert_snapshot!(details(&outcome)[0], @"something else has assigned another role; the next run compares the roles");
    assert_converged(&world.run().await);
}

/// If the roles can't be read after a lost response, the next run does it.
#[tokio::test]
async fn an_unknown_assignment_is_resolved_later() {
    let world = RoleWorld::new().await;
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\n");
    let reading = When {
        method: Some("GET".into()),
        path: Some("/api/v1/users".into()),
        ..When::default()
    };
    let org = world.world.org();
    let run = {
        let reconciler = world.world.reconciler();
        let mut run = reconciler
            .begin(at_any_time(Trigger::Schedule), world.world.target())
            .await
            .expect("a run");
        let stop = Stop::default();
        let prepared = reconciler.prepare(&mut run, &stop).await.expect("a plan");
        org.fault(on("POST", What::LostReply));
        org.fault(Fault {
            when: reading,
            what: What::Status {
                code: 401,
                retry_after: None,
                body: None,
            },
            times: 9,
        });
        let (applied, _) = reconciler.apply(&run, &prepared, &stop, |_| {}).await;
        assert_eq!(applied.changes[0].outcome, ChangeOutcome::Failed);
        run.number()
    };
    org.clear_faults();
    let state = world.world.state_db();
    assert_eq!(state.unknown().await.expect("read").len(), 1);
    world.take_requests();
    assert_converged(&world.run().await);
    assert_eq!(world.take_requests().1, 0, "it was applied");
    let changes = state.changes(run).await.expect("read");
    assert_eq!(changes[0].outcome_word(), "applied");
}

/// Omni's reason is shown, and the others go on.
#[tokio::test]
async fn a_refused_role_concerns_its_row_alone() {
    let world = RoleWorld::new().await;
    world.rows("ann@x.co,Warehouse,Sales,Unheard\nben@x.co,Warehouse,Sales,VIEWER\n");
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        ["assign ann@x.co failed", "assign ben@x.co applied"]
    );
    let details = details(&outcome);
    assert!(
        details.iter().any(|detail| detail.contains("422")),
        "{details:?}"
    );
    world.take_requests();
    let again = world.run().await;
    assert_eq!(again.quarantined(), 1);
    assert_eq!(world.take_requests().1, 0);
}

#[tokio::test]
async fn quarantine_of_an_unstated_role_ends() {
    let world = RoleWorld::new().await;
    world.rows("ann@x.co,Warehouse,Sales,Unheard\nben@x.co,Warehouse,Sales,VIEWER\n");
    world.run().await;
    world.rows("ben@x.co,Warehouse,Sales,VIEWER\n");
    assert_converged(&world.run().await);
    let state = world.world.state_db();
    let left = state.quarantined(chrono::Utc::now(), 9).await;
    assert_eq!(left.expect("read").0, 0);
}

/// What others change is found and overwritten; if it is undone in three consecutive runs, it goes to quarantine.
#[tokio::test]
async fn a_role_that_is_undone_goes_to_quarantine() {
    let world = RoleWorld::new().await;
    world.rows("group:Analysts,Warehouse,Sales,QUERIER\n");
    let undo = || {
        world
            .world
            .org()
            .set_role("Analysts", &world.sales, "VIEWER")
    };
    undo();
    for _ in 0..4 {
        assert_converged(&world.run().await);
        undo();
    }
    world.take_requests();
    let outcome = world.run().await;
    assert_eq!((outcome.quarantined(), world.take_requests().1), (1, 0));
    let (_, some) = world
        .world
        .state_db()
        .quarantined(chrono::Utc::now(), 9)
        .await
        .expect("read");
    assert!(some[0].1.reason.contains("something else manages it"));
}

/// `NO_ACCESS` for a group is stored with both roles in history, and can be undone.
#[tokio::test]
async fn history_has_both_roles() {
    let world = RoleWorld::new().await;
    world
        .world
        .org()
        .set_role("Analysts", &world.sales, "QUERIER");
    world.rows("group:Analysts,Warehouse,Sales,NO_ACCESS\nann@x.co,Warehouse,Sales,VIEWER\n");
    let outcome = world.run().await;
    let changes = world
        .world
        .state_db()
        .changes(outcome.number.expect("recorded"))
        .await;
    let changes = changes.expect("read");
    let docs: Vec<_> = changes
        .iter()
        .map(omni_user_sync::state::render::change_doc)
        .collect();
    let group = docs
        .iter()
        .find(|doc| doc["email"] == Value::Null)
        .expect("the group");
    assert_eq!(group["group"]["name"], "Analysts");
    assert_eq!(group["role"]["from"], "QUERIER");
    assert_eq!(group["role"]["to"], "NO_ACCESS");
    assert_eq!(group["role"]["model"]["name"], "Sales");
    let source = &world.world.settings().source;
    let catalogue = RoleCatalogue::default();
    let observed = world
        .world
        .plan()
        .await
        .expect("a plan")
        .cache
        .observed
        .clone();
    let undo = undo_roles(&changes, &observed, &catalogue, |_| false, source);
    let mut lines: Vec<_> = undo.csv.lines().collect();
    lines.sort_unstable();
    let (connection, model) = (&world.warehouse, &world.sales);
    assert_eq!(
        lines,
        [
            &format!("ann@x.co,{connection},{model},NO_ACCESS"),
            &format!("group:Analysts,{connection},{model},QUERIER"),
            "subject,connection,model,role",
        ]
    );
    assert_eq!(undo.notes.len(), 1);
}

/// Faults that are answered later are retried.
#[tokio::test]
async fn a_failing_server_is_retried() {
    let world = RoleWorld::new().await;
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\n");
    let unavailable = What::Status {
        code: 503,
        retry_after: Some(0),
        body: None,
    };
    world.world.org().fault(of_assignments(unavailable, 2));
    assert_converged(&world.run().await);
    assert_eq!(world.roles("ann@x.co"), [role("Sales", "VIEWER")]);
}

/// Omni shows a group's `CONNECTION_ADMIN` for each model. Without a model, it is remembered as assigned.
#[tokio::test]
async fn an_invisible_connection_admin_is_remembered() {
    let world = RoleWorld::new().await;
    let empty = world.world.org().add_connection("Empty", "NO_ACCESS");
    world.rows("group:Analysts,Empty,,CONNECTION_ADMIN\n");
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        ["assign group:Analysts applied"],
        "{outcome:#?}"
    );
    for _ in 0..2 {
        let outcome = world.run().await;
        assert_converged(&outcome);
        assert_eq!(outcome.changes.len(), 0);
    }
    // With a model, Omni shows what is there.
    world.world.org().add_model(&empty, "First", "SHARED");
    let world = world.set("observe.max_age", "0s");
    assert_eq!(world.run().await.changes.len(), 0);
}
