//! Rows and answers of Omni that prevent an assignment, and lints.

use super::{RoleWorld, role};
use crate::support::{assert_converged, outcomes_of};
use omni_user_sync::model::{ChangeOutcome, RunRef};
use omni_user_sync::run::RunOutcome;
use omni_user_sync::sandbox::{Fault, What, When};

/// Rows with unknown or ambiguous names assign nothing. The other rows do.
#[tokio::test]
async fn names_that_lead_nowhere_are_problems() {
    let world = RoleWorld::new().await;
    world.world.org().add_connection("Twin", "NO_ACCESS");
    world.world.org().add_connection("Twin", "NO_ACCESS");
    world.rows(
        "anne@x.co,Warehouse,Sales,VIEWER\ngroup:Analyst,Warehouse,Sales,VIEWER\nann@x.co,Warehous,Sales,VIEWER\n\
         ann@x.co,Warehouse,Sale,VIEWER\nann@x.co,Twin,Sales,VIEWER\nben@x.co,Warehouse,Sales,VIEWER\n",
    );
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["assign ben@x.co applied"]);
    let problems = &outcome.roster().expect("it was read").bad_rows;
    let mut problems: Vec<_> = problems.iter().map(|one| one.message.as_str()).collect();
    problems.sort_unstable();
    insta::assert_snapshot!(problems.join("\n"), @r"
    Omni has 2 connections with the name 'Twin'
    Omni has no connection 'Warehous' (did you mean 'Warehouse'?)
    Omni has no group 'Analyst' (did you mean 'Analysts'?)
    Omni has no user anne@x.co (did you mean 'ann@x.co'?), and the roster does not create one
    this connection has no shared model 'Sale' (did you mean 'Sales'?)
    ");
    assert_eq!(outcome.result().as_str(), "partial");
}

/// A file that can't be read stops nothing but roles.
#[tokio::test]
async fn a_missing_file_assigns_no_role() {
    let world = RoleWorld::new().await;
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\n");
    std::fs::remove_file(world.world.folder.path().join("roles.csv")).expect("it is there");
    world.world.roster("email,display_name\nann@x.co,Anna\n");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["update ann@x.co applied"]);
    let roster = outcome.roster().expect("it was read");
    assert!(roster.roles.is_some() && roster.unreadable().count() == 1);
    assert_eq!(outcome.result().as_str(), "partial");
    let run = world.world.state_db().run(RunRef::Latest).await;
    let run = run.expect("it is read").expect("a run");
    assert_eq!(
        run.end().expect("it has ended").detail,
        "source.roles could not be read (roles.csv), so no role is assigned."
    );
}

#[tokio::test]
async fn a_misspelt_role_is_linted() {
    let world = RoleWorld::new().await;
    world.rows("ann@x.co,Warehouse,Sales,QUERRIER\n");
    let plan = world.world.plan().await.expect("it is planned");
    let warnings = plan.assessment.warnings.join("\n");
    assert!(
        warnings.contains("roles.csv:2:4 (role): no user or group is known to have the role QUERRIER; did you mean QUERIER?"),
        "{warnings}"
    );
}

/// A row that is gone leaves the role as it is, which is reported once.
#[tokio::test]
async fn a_row_that_is_gone_changes_nothing() {
    let world = RoleWorld::new().await;
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\nben@x.co,Warehouse,Sales,VIEWER\n");
    assert_converged(&world.run().await);
    world.rows("ben@x.co,Warehouse,Sales,VIEWER\n");
    let said = |outcome: &RunOutcome| {
        let warnings = outcome.warnings.iter();
        warnings
            .filter(|one| one.contains("gone from source.roles"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let first = world.run().await;
    insta::assert_snapshot!(said(&first).join("\n"), @"1 role is gone from source.roles; Omni can't delete a role, so nothing changes (to take access away, state a lower role or NO_ACCESS): ann@x.co on Warehouse / Sales");
    assert_eq!(said(&world.run().await), [""; 0]);
    assert_eq!(world.roles("ann@x.co"), [role("Sales", "VIEWER")]);
}

/// A direct role that another source outranks has no effect, and `NO_ACCESS` revokes nothing.
#[tokio::test]
async fn outranked_roles_are_linted() {
    let world = RoleWorld::new().await;
    world
        .world
        .org()
        .set_role("Analysts", &world.sales, "QUERIER");
    world.rows("ann@x.co,Warehouse,Sales,NO_ACCESS\nben@x.co,Warehouse,Sales,VIEWER\n");
    let outcome = world.run().await;
    assert_converged(&outcome);
    let warnings = outcome.warnings.iter().filter(|one| one.contains("grants"));
    let warnings: Vec<_> = warnings.map(String::as_str).collect();
    insta::assert_snapshot!(warnings.join("\n"), @"roles.csv:2:4 (role): NO_ACCESS of ann@x.co on Warehouse / Sales revokes nothing: the group 'Analysts' grants QUERIER; take that role away at its source if no access is meant");
}

/// Roles that can't be read are not assigned, also if an earlier run has read them.
#[tokio::test]
async fn roles_that_cannot_be_read_are_a_problem() {
    let world = RoleWorld::new().await;
    world.rows("group:Analysts,Warehouse,Sales,VIEWER\n");
    assert_converged(&world.run().await);
    let when = When {
        path: Some("/api/v1/user-groups".into()),
        ..When::default()
    };
    world.world.org().fault(Fault {
        when,
        what: What::Status {
            code: 403,
            retry_after: None,
            body: None,
        },
        times: 9,
    });
    world.rows("group:Analysts,Warehouse,Sales,QUERIER\nann@x.co,Warehouse,Sales,VIEWER\n");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["assign ann@x.co applied"]);
    let problems = &outcome.roster().expect("it was read").bad_rows;
    insta::assert_snapshot!(problems[0].to_string(), @"roles.csv:2:1 (subject): the roles of group:Analysts can't be read: Omni refuses them (403); use a key that may read them; until then the role is not assigned");
}

/// Without the right to read connections, one problem names the first row.
#[tokio::test]
async fn a_key_without_the_right_assigns_no_role() {
    let world = RoleWorld::new().await;
    let refused = What::Status {
        code: 403,
        retry_after: None,
        body: None,
    };
    let when = When {
        path: Some("/api/v1/connections".into()),
        ..When::default()
    };
    let world = world.set("observe.max_age", "0s");
    world.world.org().fault(Fault {
        when,
        what: refused,
        times: 9,
    });
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\n");
    let outcome = world.run().await;
    let problems = &outcome.roster().expect("it was read").bad_rows;
    insta::assert_snapshot!(problems[0].to_string(), @"roles.csv:2:2 (connection): Omni does not show its connections and models to this key (403), so no role is assigned; use a key that may read connections and models");
    assert_eq!(outcome.count(ChangeOutcome::Applied), 0);
}

/// What was not read is read by the next run; another key helps only if Omni refuses.
#[tokio::test]
async fn unread_roles_name_their_remedy() {
    let world = RoleWorld::new().await;
    let world = world.set("observe.max_age", "0s");
    world.rows("group:Analysts,Warehouse,Sales,VIEWER\n");
    for (path, remedy) in [
        ("/api/v1/connections", "the next run reads them again"),
        (
            "/api/v1/user-groups",
            "the next run reads them again; until then the role is not assigned",
        ),
    ] {
        let when = When {
            path: Some(path.into()),
            ..When::default()
        };
        world.world.org().fault(Fault {
            when,
            what: What::Status {
                code: 400,
                retry_after: None,
                body: None,
            },
            times: 9,
        });
        let outcome = world.run().await;
        let problems = &outcome.roster().expect("it was read").bad_rows;
        assert_eq!(problems[0].remedy, remedy, "{problems:?}");
        world.world.org().clear_faults();
    }
}
