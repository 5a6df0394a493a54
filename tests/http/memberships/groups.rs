//! Groups that are created, deleted or renamed.

use super::{
    Planned, count, ends, full, managed, members, of_groups, rows, run_with, status, user, users,
};
use crate::support::assert_converged;
use omni_user_sync::model::{ChangeOutcome, Email, GuardRule, Observed, ObservedUser, UserId};
use omni_user_sync::report::undo_groups;
use omni_user_sync::sandbox::What;

#[tokio::test]
async fn a_group_deleted_meanwhile() {
    let world = managed(full(), 10, &[("Sales", 0..4), ("Board", 0..4)]).await;
    let roster = rows(10, &[("Sales", 2..8), ("Board", 2..8)]);
    let outcome = run_with(&world, &roster, |org| org.remove_group("Sales")).await;
    assert_eq!(
        ends(&outcome),
        [
            ("applied", ""),
            ("applied", "the group was already gone"),
            ("failed", "the group is no longer in Omni"),
        ]
    );
    assert_eq!(members(&world, "Board"), users(2..8));
    assert!(
        world.org().members("Sales").is_none(),
        "it is not created again"
    );
}

#[tokio::test]
async fn a_group_renamed_meanwhile_keeps_its_members() {
    let world = managed(full(), 10, &[("Sales", 0..4), ("Board", 0..4)]).await;
    let roster = rows(10, &[("Sales", 2..8), ("Board", 2..8)]);
    let outcome = run_with(&world, &roster, |org| org.rename_group("Sales", "Payroll")).await;
    let renamed = "the group is named Payroll in Omni by now, so the change was reverted";
    assert_eq!(ends(&outcome), [("applied", ""), ("failed", renamed)]);
    assert_eq!(
        members(&world, "Payroll"),
        users(0..4),
        "nobody joined or left"
    );
    assert_eq!(members(&world, "Board"), users(2..8));
    let history = world
        .state_db()
        .changes(outcome.number.expect("a run"))
        .await;
    assert_eq!(
        history.expect("read").len(),
        6 + 2 * 6,
        "with the reverted ones"
    );
}

/// What the run itself has reverted is as it was, so only the changes of the other group are undone.
#[tokio::test]
async fn reverted_memberships_are_not_undone() {
    let world = managed(full(), 10, &[("Sales", 0..4), ("Board", 0..4)]).await;
    let roster = rows(10, &[("Sales", 2..8), ("Board", 2..8)]);
    let outcome = run_with(&world, &roster, |org| org.rename_group("Sales", "Payroll")).await;
    let number = outcome.number.expect("a run");
    let changes = world.state_db().changes(number).await.expect("read");
    let cached = world.reconciler().observer().undo(&changes).await;
    assert_eq!(cached.expect("an observation").undo.rows, 0);
    let users = world.org().users();
    let observed = users.iter().map(|user| ObservedUser {
        id: UserId::parse(user["id"].as_str().expect("an id")).expect("an id"),
        email: Email::parse(user["userName"].as_str().expect("an email")).expect("an email"),
        display_name: "U".into(),
        active: Some(true),
        attributes: None,
        modified: None,
        owned: None,
    });
    let observed = Observed::new(observed, 0);
    let undo = undo_groups(&changes, &observed, |_| false, &world.settings().source);
    assert!(!undo.csv.contains("Sales"), "{}", undo.csv);
    assert_eq!((undo.rows, undo.notes.len()), (6, 0), "{}", undo.csv);
}

#[tokio::test]
async fn a_group_is_created_before_its_first_join() {
    let world = managed(full(), 150, &[]).await;
    world.roster(&rows(150, &[("Board", 0..150), ("New", 1..2)]));
    let planned = Planned::new(&world).await;
    assert_eq!(planned.requests(), 2 + 3);
    let outcome = planned.apply().await;
    assert_converged(&outcome);
    assert_eq!(world.take_requests(), (5, 5));
    assert_eq!(members(&world, "Board").len(), 150);
    let changes = world
        .state_db()
        .changes(outcome.number.expect("a run"))
        .await
        .expect("read");
    assert!(changes.iter().all(|one| {
        let group = one.intent.group.as_ref();
        group.is_some_and(|group| group.id.is_some())
    }));
    // The program added these members, so they leave once the roster drops the group.
    world.roster(&rows(150, &[("Board", 0..150)]));
    assert_converged(&world.run().await);
    assert_eq!(members(&world, "New"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_created_once() {
    for what in [What::LostReply, What::CutJson, What::Reset] {
        let world = managed(full(), 2, &[]).await;
        world.org().fault(of_groups("POST", what.clone(), 1));
        let outcome = run_with(&world, &rows(2, &[("Board", 0..2)]), |_| {}).await;
        assert_converged(&outcome);
        assert_eq!(world.org().groups().len(), 1, "{what:?}");
        assert_eq!(members(&world, "Board"), users(0..2));
    }
    let world = managed(full(), 2, &[]).await;
    let outcome = run_with(&world, &rows(2, &[("Board", 0..2)]), |org| {
        org.add_group("BOARD", &[&user(1)]);
    })
    .await;
    assert_converged(&outcome);
    assert_eq!(world.org().groups().len(), 1, "another client created it");
    assert_eq!(members(&world, "board"), users(0..2));
    // Whose members these are is not certain, so their leaves need an approval.
    world.roster(&rows(2, &[]));
    let held = world.run().await;
    assert_eq!(
        (held.held_count(), held.held()[0].rule),
        (2, GuardRule::NewGroups)
    );
}

#[tokio::test]
async fn a_refused_group_fails_its_joins() {
    let world = managed(full(), 2, &[]).await;
    world.org().fault(of_groups("POST", status(403), 1));
    let outcome = run_with(&world, &rows(2, &[("Board", 0..2)]), |_| {}).await;
    assert_eq!(count(&outcome, ChangeOutcome::Failed), 2);
    assert!(
        outcome.changes[0]
            .detail
            .starts_with("the group was not created: "),
        "{outcome:#?}"
    );
    assert_eq!(world.org().groups().len(), 0);
}

#[tokio::test]
async fn a_dry_run_reports_new_groups() {
    let world = managed(full(), 2, &[]).await;
    world.roster(&rows(2, &[("Board", 0..1)]));
    let world = world.set("policy.mode", "dry-run");
    world.run().await;
    let reports = world.reports();
    let planned = reports.iter().find(|(name, _)| name.contains("-planned"));
    let (_, report) = planned.expect("a report on the dry run");
    assert!(report.contains("join: Board (new group)"), "{report}");
}
