//! Approvals of held roles and memberships: what they are for, and when they end.

use super::{RoleWorld, role};
use crate::support::{on, outcomes_of};
use omni_user_sync::model::{GuardRule, RunNumber, RunRef, Subject};
use omni_user_sync::run::RunOutcome;
use omni_user_sync::sandbox::{Fault, What, When};
use omni_user_sync::state::ApprovalScope;
use serde_json::json;

/// A world that holds every assignment.
async fn strict() -> RoleWorld {
    let world = RoleWorld::new().await;
    let world = world.set("policy.max_role_changes", "0");
    world.set("policy.create_groups", "true")
}

fn number(outcome: &RunOutcome) -> RunNumber {
    outcome.number.expect("it is recorded")
}

/// Approves what a run held, or a part of it. Returns the number of changes.
async fn approve(world: &RoleWorld, run: RunNumber, only: Option<&str>) -> usize {
    let reconciler = world.world.reconciler();
    let scope = ApprovalScope {
        run: RunRef::Number(run),
        only: only.map(|subject| Subject::known(subject).expect("a subject")),
    };
    let state = reconciler.observer().state();
    let approval = state.approve(scope, "me", chrono::Utc::now(), false).await;
    approval.expect("approved").changes().len()
}

async fn open_approvals(world: &RoleWorld) -> usize {
    let approvals = world.world.state_db().approvals(chrono::Utc::now()).await;
    approvals.expect("read").iter().count()
}

fn held(outcome: &RunOutcome) -> Vec<(GuardRule, usize)> {
    let held = outcome.held().iter();
    held.map(|held| (held.rule, held.count)).collect()
}

const WITH_DAN: &str = "email,display_name,groups\nann@x.co,Ann,[]\nben@x.co,Ben,[]\ncy@x.co,Cy,[]\ndan@x.co,Dan,[Explorers]\n";

/// The held run creates the user and the group, so the approval of their roles is for these.
#[tokio::test]
async fn roles_of_created_subjects_pass_once_approved() {
    let world = strict().await;
    world.world.roster(WITH_DAN);
    world.rows("dan@x.co,Warehouse,Sales,VIEWER\ngroup:explorers,Warehouse,Sales,QUERIER\n");
    let first = world.run().await;
    assert_eq!(held(&first), [(GuardRule::MaxRoleChanges, 2)]);
    assert_eq!(
        outcomes_of(&first),
        ["create dan@x.co applied", "join dan@x.co applied"]
    );
    assert_eq!(approve(&world, number(&first), None).await, 2);
    let second = world.run().await;
    assert_eq!(
        outcomes_of(&second),
        ["assign dan@x.co applied", "assign group:Explorers applied"]
    );
    assert_eq!(open_approvals(&world).await, 0, "each once");
}

/// An approval before the creation is for the user and the group that this program creates later.
#[tokio::test]
async fn roles_pass_though_the_creation_came_later() {
    let world = strict().await;
    world.world.roster(WITH_DAN);
    world.rows("dan@x.co,Warehouse,Sales,VIEWER\n");
    world.world.org().fault(on(
        "POST",
        What::Status {
            code: 400,
            retry_after: None,
            body: None,
        },
    ));
    let first = world.run().await;
    assert_eq!(world.world.org().user("dan@x.co"), None, "{first:#?}");
    approve(&world, number(&first), None).await;
    let second = world.world.apply().await;
    assert!(
        outcomes_of(&second).contains(&"assign dan@x.co applied".to_owned()),
        "{second:#?}"
    );
}

/// What others create under the same name may have access already, which the approval did not show.
#[tokio::test]
async fn subjects_that_others_create_need_another_approval() {
    let world = strict().await;
    world.world.roster(WITH_DAN);
    world.rows("dan@x.co,Warehouse,Sales,VIEWER\ngroup:explorers,Warehouse,Sales,QUERIER\n");
    world.world.org().fault(on(
        "POST",
        What::Status {
            code: 400,
            retry_after: None,
            body: None,
        },
    ));
    let first = world.run().await;
    assert_eq!(held(&first), [(GuardRule::MaxRoleChanges, 2)]);
    world.world.user("dan@x.co", "Dan", json!({}));
    world.world.org().add_group("Explorers", &["dan@x.co"]);
    approve(&world, number(&first), None).await;
    let second = world.run().await;
    assert_eq!(held(&second), [(GuardRule::MaxRoleChanges, 2)]);
    assert_eq!(outcomes_of(&second), [""; 0]);
}

/// The first approved join creates the group; the approval of the other is for the same group.
#[tokio::test]
async fn joins_of_a_created_group_pass_once_approved() {
    let world = strict().await.set("policy.max_joins", "0");
    let roster = "email,display_name,groups\nann@x.co,Ann,[Explorers]\nben@x.co,Ben,[Explorers]\ncy@x.co,Cy,[]\n";
    world.world.roster(roster);
    let first = world.run().await;
    assert_eq!(held(&first), [(GuardRule::MaxJoins, 2)]);
    assert_eq!(approve(&world, number(&first), Some("ann@x.co")).await, 1);
    assert_eq!(outcomes_of(&world.run().await), ["join ann@x.co applied"]);
    assert_eq!(approve(&world, number(&first), None).await, 1);
    assert_eq!(outcomes_of(&world.run().await), ["join ben@x.co applied"]);
}

/// The roles of one group can be approved alone, in any letter case.
#[tokio::test]
async fn one_group_can_be_approved_alone() {
    let world = strict().await;
    world.rows("group:Analysts,Warehouse,Sales,QUERIER\nann@x.co,Warehouse,Sales,VIEWER\n");
    let first = world.run().await;
    assert_eq!(
        approve(&world, number(&first), Some("GROUP:analysts")).await,
        1
    );
    let second = world.run().await;
    assert_eq!(outcomes_of(&second), ["assign group:Analysts applied"]);
    assert_eq!(world.roles("Analysts"), [role("Sales", "QUERIER")]);
}

/// A fault of reads below a path, for as long as it stays.
fn refused(path: &str) -> Fault {
    Fault {
        when: When {
            method: Some("GET".into()),
            path: Some(path.into()),
            ..When::default()
        },
        what: What::Status {
            code: 403,
            retry_after: None,
            body: None,
        },
        times: 99,
    }
}

/// An approval of roles stays while Omni does not show what it needs, and ends once the rows are gone.
#[tokio::test]
async fn role_approvals_outlast_what_cannot_be_read() {
    for path in [
        "/api/v1/connections",
        "/api/v1/models",
        "/api/scim/v2/Groups",
        "/api/v1/user-groups",
    ] {
        let world = strict().await.set("observe.max_age", "0s");
        world.rows("group:analysts,Warehouse,Sales,QUERIER\n");
        let first = world.run().await;
        approve(&world, number(&first), None).await;
        world.world.org().fault(refused(path));
        assert_eq!(outcomes_of(&world.run().await), [""; 0], "{path}");
        assert_eq!(open_approvals(&world).await, 1, "{path}");
        world.world.org().clear_faults();
        assert_eq!(
            outcomes_of(&world.run().await),
            ["assign group:Analysts applied"],
            "{path}"
        );
    }
    let world = strict().await;
    world.rows("group:analysts,Warehouse,Sales,QUERIER\nann@x.co,Warehouse,Sales,VIEWER\n");
    let first = world.run().await;
    approve(&world, number(&first), Some("group:Analysts")).await;
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\n");
    world.run().await;
    assert_eq!(open_approvals(&world).await, 0, "the row is gone");
}

/// An invalid row, or a name that leads nowhere, may be about the approved role.
#[tokio::test]
async fn role_approvals_outlast_invalid_rows() {
    for rows in [
        "group:Analysts,Warehouse,Sale,QUERIER\n",
        "group:Analysts,Warehouse,Sales,Querier\n",
    ] {
        let world = strict().await;
        world.rows("group:Analysts,Warehouse,Sales,QUERIER\n");
        let first = world.run().await;
        approve(&world, number(&first), None).await;
        world.rows(rows);
        world.run().await;
        assert_eq!(open_approvals(&world).await, 1, "{rows}");
    }
}

/// The same for memberships, while Omni does not show its groups.
#[tokio::test]
async fn membership_approvals_outlast_unreadable_groups() {
    let world = strict().await.set("policy.max_joins", "0");
    let roster = |cell: &str| {
        format!(
            "email,display_name,groups\nann@x.co,Ann,[Analysts]\nben@x.co,Ben,{cell}\ncy@x.co,Cy,[]\n"
        )
    };
    world.world.roster(&roster("[Analysts]"));
    let first = world.run().await;
    approve(&world, number(&first), None).await;
    world.world.org().fault(refused("/api/scim/v2/Groups"));
    world.run().await;
    assert_eq!(open_approvals(&world).await, 1, "no group is shown");
    world.world.org().clear_faults();
    world.world.roster(&roster("\"[Analysts,Analyst]\""));
    world.run().await;
    assert_eq!(open_approvals(&world).await, 1, "the cell has a problem");
    world.world.roster(&roster("[]"));
    world.run().await;
    assert_eq!(open_approvals(&world).await, 0, "the cell is another one");
}
