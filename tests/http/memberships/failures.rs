//! Members, requests and users that fail.

use super::{
    Planned, count, ends, full, group_requests, managed, members, of_groups, rows, run_with,
    status, user, users,
};
use crate::support::{World, assert_converged};
use omni_user_sync::model::ChangeOutcome;
use omni_user_sync::run::RunOutcome;
use omni_user_sync::sandbox::{Fault, Options, PatchAnswer, What, When};

#[tokio::test]
async fn one_refused_member_does_not_affect_others() {
    let world = managed(full(), 40, &[("Sales", 0..0)]).await;
    // The user is gone, which the group does not show.
    let outcome = run_with(&world, &rows(40, &[("Sales", 0..40)]), |org| {
        org.remove_user(&user(17));
    })
    .await;
    let counts = [ChangeOutcome::Applied, ChangeOutcome::Failed].map(|one| count(&outcome, one));
    assert_eq!(counts, [39, 1]);
    let failed = outcome
        .changes
        .iter()
        .find(|one| one.outcome == ChangeOutcome::Failed);
    let failed = failed.expect("one");
    assert!(
        failed.rejected && failed.subject.to_string() == user(17),
        "{failed:?}"
    );
    let requests = group_requests(&world);
    let reads = requests.iter().filter(|method| *method == "GET").count();
    assert!(reads == 1 && requests.len() <= 14, "{requests:?}");
    assert_eq!(members(&world, "Sales").len(), 39);
}

#[tokio::test]
async fn a_rejected_member_goes_to_quarantine() {
    let world = managed(full(), 3, &[("Sales", 0..0)]).await;
    world.org().fault(of_groups("PATCH", status(422), 1));
    world.roster(&rows(3, &[("Sales", 1..2)]));
    let outcome = world.run().await;
    assert_eq!(count(&outcome, ChangeOutcome::Failed), 1, "{outcome:#?}");
    world.org().clear_requests();
    let second = world.run().await;
    assert_eq!((second.quarantined(), world.writes().len()), (1, 0));
    assert_converged(&world.apply().await);
}

/// A run that can't compare memberships does not show that they need no change.
#[tokio::test(start_paused = true)]
async fn unknown_memberships_stay_in_quarantine() {
    let roster = rows(3, &[("Sales", 1..2)]);
    let misspelt = roster.replace("[Sales]", "\"[Sales,Sale]\"");
    let invalid = roster.replace(",U,\"[Sales]\"", ",\"[Sales]\"");
    let as_it_is = roster.clone();
    for (code, meanwhile) in [
        (Some(403), &as_it_is),
        (Some(500), &as_it_is),
        (None, &misspelt),
        (None, &invalid),
    ] {
        let world = managed(full(), 3, &[("Sales", 0..0)]).await;
        let world = world.set("policy.create_groups", "false");
        world.org().fault(of_groups("PATCH", status(422), 1));
        world.roster(&roster);
        let outcome = world.run().await;
        assert_eq!(count(&outcome, ChangeOutcome::Failed), 1, "{outcome:#?}");
        world.org().clear_faults();
        if let Some(code) = code {
            world.org().fault(of_groups("GET", status(code), 99));
        }
        world.roster(meanwhile);
        let outcome = world.run().await;
        assert_eq!(outcome.changes.len(), 0, "{outcome:#?}");
        world.org().clear_faults();
        world.roster(&roster);
        let outcome = world.run().await;
        let sent = outcome.changes.len();
        assert_eq!(
            (outcome.quarantined(), sent),
            (1, 0),
            "{code:?} {meanwhile}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_is_read_back() {
    for what in [What::LostReply, What::CutJson, What::Reset, status(502)] {
        let world = managed(full(), 20, &[("Sales", 0..10)]).await;
        world.org().fault(of_groups("PATCH", what.clone(), 3));
        world.roster(&rows(20, &[("Sales", 5..20)]));
        let planned = Planned::new(&world).await;
        let outcome = planned.apply().await;
        assert_converged(&outcome);
        assert_eq!(members(&world, "Sales"), users(5..20), "{what:?}");
        let patches = match what {
            What::LostReply | What::CutJson => 2,
            _ => 5,
        };
        let requests = group_requests(&world);
        let sent = requests.iter().filter(|method| *method == "PATCH").count();
        assert_eq!(sent, patches, "{what:?}: {requests:?}");
        assert_eq!(
            settled(&world, &outcome).await,
            [Some(ChangeOutcome::Applied); 15]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_any_response_fails() {
    let world = managed(full(), 3, &[("Sales", 0..0), ("Board", 0..0)]).await;
    world.org().fault(Fault {
        when: When {
            method: Some("PATCH".into()),
            ..When::default()
        },
        what: What::Reset,
        times: 6,
    });
    let world = world.set("omni.max_in_flight", "1");
    let roster = rows(3, &[("Sales", 0..3), ("Board", 1..2)]);
    let outcome = run_with(&world, &roster, |_| {}).await;
    let counts = [ChangeOutcome::Applied, ChangeOutcome::Failed].map(|one| count(&outcome, one));
    assert_eq!(counts, [3, 1], "{outcome:#?}");
    assert!(outcome.is_success());
    assert_converged(&world.run().await);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_resolved_by_the_group() {
    for (what, outcome) in [
        (What::LostReply, ChangeOutcome::Applied),
        (What::Reset, ChangeOutcome::Failed),
    ] {
        let world = managed(full(), 4, &[("Sales", 0..2)]).await;
        world.org().fault(of_groups("PATCH", what.clone(), 1));
        world.org().fault(of_groups("GET", status(401), 9));
        let roster = rows(4, &[("Sales", 1..4)]);
        // The plan has no fault.
        world.org().clear_faults();
        world.roster(&roster);
        let planned = Planned::new(&world).await;
        world.org().fault(of_groups("PATCH", what, 1));
        world.org().fault(of_groups("GET", status(401), 9));
        let first = planned.apply().await;
        assert!(!first.is_success(), "{first:#?}");
        assert_eq!(
            settled(&world, &first).await,
            [None],
            "the leave; no join was sent"
        );
        world.org().clear_faults();
        assert_converged(&world.run().await);
        assert_eq!(settled(&world, &first).await, [Some(outcome)]);
        assert_eq!(members(&world, "Sales"), users(1..4));
    }
}

/// The outcomes in the state database; `None` if unknown.
async fn settled(world: &World, run: &RunOutcome) -> Vec<Option<ChangeOutcome>> {
    let number = run.number.expect("a run");
    let changes = world.state_db().changes(number).await.expect("read");
    let settled = changes.into_iter().map(|change| change.settled);
    settled.map(|settled| Some(settled?.outcome)).collect()
}

#[tokio::test]
async fn a_forbidden_write_fails_its_group_alone() {
    let world = managed(full(), 4, &[("Sales", 0..0), ("Support", 0..0)]).await;
    let world = world.set("omni.max_in_flight", "1");
    world.org().fault(of_groups("PATCH", status(403), 1));
    let roster = rows(4, &[("Sales", 0..2), ("Support", 1..4)]);
    let outcome = run_with(&world, &roster, |_| {}).await;
    assert_eq!(count(&outcome, ChangeOutcome::Failed), 2, "{outcome:#?}");
    assert_eq!(members(&world, "Support").len(), 3);
    let unread = run_with(
        &world,
        &rows(4, &[("Sales", 2..3), ("Support", 1..4)]),
        |org| {
            org.fault(of_groups("PATCH", status(400), 1));
            org.fault(of_groups("GET", status(403), 1));
        },
    )
    .await;
    assert!(unread.is_success(), "{unread:#?}");
    assert_eq!(count(&unread, ChangeOutcome::Failed), 1);
}

#[tokio::test]
async fn users_whose_own_change_fails_join_no_group() {
    let world = managed(full(), 2, &[("Sales", 0..0)]).await;
    let world = world.set("omni.max_in_flight", "1");
    for method in ["PATCH", "POST"] {
        world.org().fault(Fault {
            when: When {
                method: Some(method.into()),
                path: Some("/api/scim/v2/Users".into()),
                ..When::default()
            },
            what: status(400),
            times: 1,
        });
    }
    let roster = "email,display_name,groups\nu000@x.co,New,[Sales]\nu001@x.co,U,[Sales]\n\
                  u002@x.co,U,[Sales]\nu003@x.co,U,[Sales]\n";
    let outcome = run_with(&world, roster, |_| {}).await;
    assert_eq!(
        ends(&outcome),
        [
            ("applied", ""),
            ("skipped", "the user was not created"),
            ("skipped", "the user's own change failed"),
        ]
    );
    assert_eq!(members(&world, "Sales"), [user(1), user(3)]);
}

#[tokio::test]
async fn a_membership_not_kept_is_quarantined() {
    let answers = [PatchAnswer::User, PatchAnswer::Empty];
    for patch_answer in answers {
        let options = Options {
            patch_answer,
            ..full()
        };
        let world = managed(options, 3, &[("Sales", 0..1)]).await;
        world.org().fault(of_groups("PATCH", What::IgnoreWrite, 99));
        world.roster(&rows(3, &[("Sales", 1..3)]));
        let mut words = Vec::new();
        for _ in 0..4 {
            let outcome = world.run().await;
            words.push(
                ends(&outcome)
                    .first()
                    .map_or("nothing", |end| end.0)
                    .to_owned(),
            );
        }
        assert_eq!(
            words,
            ["applied", "not_kept", "nothing", "nothing"],
            "{patch_answer:?}"
        );
        let reads = group_requests(&world);
        assert_eq!(
            reads.iter().filter(|method| *method == "PATCH").count(),
            4,
            "{patch_answer:?}"
        );
    }
}
