//! Roles of `source.roles`: the real client against the mock server.

use crate::serve::support::until;
use crate::support::{World, assert_converged, at_any_time, on, outcomes_of};
use omni_user_sync::model::{ChangeOutcome, GuardRule, RunRef, Trigger};
use omni_user_sync::run::{RunOutcome, Stop};
use omni_user_sync::sandbox::{Fault, Options, Request, What, When};
use serde_json::{Value, json};
use std::time::Duration;

/// An organisation with three users, the group `Analysts`, and the connection `Warehouse` with two models.
pub(crate) struct RoleWorld {
    pub(crate) world: World,
    warehouse: String,
    sales: String,
    finance: String,
}

const ROSTER: &str = "email,display_name\nann@x.co,Ann\nben@x.co,Ben\ncy@x.co,Cy\n";

impl RoleWorld {
    pub(crate) async fn new() -> Self {
        let world = World::with(Options::with_full_lists()).await;
        let path = world.folder.path().join("roles.csv");
        let world = world
            .set("source.roles", &path.display().to_string())
            .set("observe.budget", "100%");
        for (email, name) in [("ann@x.co", "Ann"), ("ben@x.co", "Ben"), ("cy@x.co", "Cy")] {
            world.user(email, name, json!({}));
        }
        world.roster(ROSTER);
        let org = world.org();
        org.add_group("Analysts", &["ann@x.co"]);
        let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
        let sales = org.add_model(&warehouse, "Sales", "SHARED");
        let finance = org.add_model(&warehouse, "Finance", "SHARED_EXTENSION");
        let world = Self {
            world,
            warehouse,
            sales,
            finance,
        };
        world.rows("");
        assert_converged(&world.run().await);
        world.world.org().clear_requests();
        world
    }

    pub(crate) fn set(self, key: &str, value: &str) -> Self {
        Self {
            world: self.world.set(key, value),
            ..self
        }
    }

    /// Writes the file.
    pub(crate) fn rows(&self, rows: &str) {
        let text = format!("subject,connection,model,role\n{rows}");
        let path = self.world.folder.path().join("roles.csv");
        std::fs::write(path, text).expect("the file is written");
    }

    pub(crate) async fn run(&self) -> RunOutcome {
        self.world.run().await
    }

    /// The direct roles of a user or group: the name of the model or connection, and the role.
    pub(crate) fn roles(&self, holder: &str) -> Vec<(&'static str, String)> {
        let names = [
            (&self.warehouse, "Warehouse"),
            (&self.sales, "Sales"),
            (&self.finance, "Finance"),
        ];
        let roles = self.world.org().roles(holder).into_iter();
        let named = |id: &str| names.iter().find(|(one, _)| *one == id).expect("known").1;
        let mut roles: Vec<_> = roles.map(|(id, role)| (named(&id), role)).collect();
        roles.sort();
        roles
    }

    /// The number of requests since the last call, and how many of them are writes.
    fn take_requests(&self) -> (usize, usize) {
        self.world.take_requests()
    }
}

pub(crate) fn role(model: &'static str, role: &str) -> (&'static str, String) {
    (model, role.to_owned())
}

fn details(outcome: &RunOutcome) -> Vec<&str> {
    let changes = outcome.changes.iter();
    changes.map(|one| one.detail.as_str()).collect()
}

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
    // Users and definitions, the names of groups, the roles of the group and of one user, who is read back. The role on
    // the whole connection is remembered.
    assert_converged(&world.run().await);
    assert_eq!(world.take_requests(), (5, 0));
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
    // The roles of the new user, and two assignments.
    assert_eq!(world.take_requests(), (3, 2));
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

/// The file states all that is known to be meant, and no more.
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

/// 20 ordinary assignments pass, or four sensitive ones; of more, all are held until they are approved.
#[tokio::test]
async fn more_role_changes_than_allowed_are_held() {
    let world = RoleWorld::new().await.set("policy.max_role_changes", "6");
    world.rows("ann@x.co,Warehouse,Sales,MODELER\nben@x.co,Warehouse,Sales,VIEWER\n");
    assert_converged(&world.run().await);
    world.rows(
        "ann@x.co,Warehouse,Sales,VIEWER\nben@x.co,Warehouse,Sales,QUERIER\ncy@x.co,Warehouse,Sales,VIEWER\n",
    );
    let outcome = world.run().await;
    let held: Vec<_> = outcome
        .held()
        .iter()
        .map(|held| (held.rule, held.count))
        .collect();
    assert_eq!(held, [(GuardRule::MaxRoleChanges, 3)]);
    insta::assert_snapshot!(outcome.held()[0].reason, @"3 assignments (1 of them may lower a role, or grants MODELER or CONNECTION_ADMIN, and counts fivefold) exceed the limit of 6 (max_role_changes)");
    assert_eq!(world.roles("ann@x.co"), [role("Sales", "MODELER")]);
    let run = outcome.number.expect("it is recorded");
    let reconciler = world.world.reconciler();
    let scope = omni_user_sync::model::RunRef::Number(run);
    let approved = reconciler
        .observer()
        .state()
        .approve(scope, "me", chrono::Utc::now(), false);
    assert_eq!(approved.await.expect("approved").changes.len(), 3);
    drop(reconciler);
    assert_converged(&world.run().await);
    assert_eq!(world.roles("ann@x.co"), [role("Sales", "VIEWER")]);
}

#[tokio::test]
async fn a_protected_user_gets_no_lower_role() {
    let world = RoleWorld::new().await.set("policy.protect", "ann@x.co");
    let org = world.world.org();
    org.set_role("ann@x.co", &world.sales, "MODELER");
    org.set_role("ben@x.co", &world.sales, "MODELER");
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\nben@x.co,Warehouse,Sales,VIEWER\nann@x.co,Warehouse,Finance,VIEWER\n");
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        ["assign ann@x.co applied", "assign ben@x.co applied"]
    );
    assert_eq!(
        world.roles("ann@x.co"),
        [role("Finance", "VIEWER"), role("Sales", "MODELER")]
    );
}

/// The roles of a user wait while the user's own change is held.
#[tokio::test]
async fn roles_wait_for_the_held_user() {
    let world = RoleWorld::new().await.set("policy.max_updates", "0");
    world
        .world
        .roster("email,display_name\nann@x.co,Anna\nben@x.co,Ben\ncy@x.co,Cy\n");
    world.rows("ann@x.co,Warehouse,Sales,VIEWER\nben@x.co,Warehouse,Sales,VIEWER\n");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["assign ben@x.co applied"]);
    assert_eq!(world.roles("ann@x.co"), []);
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

/// What was compared with the limits and the protected users is the change of another role.
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

/// A row that is gone leaves the role as it is, which is said once.
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
    let undo = omni_user_sync::report::undo_roles(&changes, source);
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

/// A new group is created by a join. Until one passes, its roles wait.
#[tokio::test]
async fn roles_wait_for_the_joins_of_their_group() {
    let world = RoleWorld::new().await;
    let world = world
        .set("policy.create_groups", "true")
        .set("policy.max_joins", "0");
    world.world.roster(
        "email,display_name,groups\nann@x.co,Ann,[Explorers]\nben@x.co,Ben,[]\ncy@x.co,Cy,[]\n",
    );
    world.rows("group:Explorers,Warehouse,Sales,QUERIER\n");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), [""; 0]);
    assert!(
        outcome
            .warnings
            .iter()
            .any(|one| one.starts_with("1 role is waiting") && one.contains("group:Explorers")),
        "{:#?}",
        outcome.warnings
    );
    let reports = world.world.reports();
    let report = &reports.last().expect("one").1;
    assert!(
        report.contains("waits for the new group, because all its joins are held or in quarantine"),
        "{report}"
    );
    let run = RunRef::Number(outcome.number.expect("it is recorded"));
    {
        let reconciler = world.world.reconciler();
        let state = reconciler.observer().state();
        let approved = state.approve(run, "me", chrono::Utc::now(), false);
        assert_eq!(approved.await.expect("approved").changes.len(), 1);
    }
    assert_eq!(
        outcomes_of(&world.run().await),
        ["assign group:Explorers applied", "join ann@x.co applied"]
    );
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
