//! How many requests are sent, and with which members.

use super::{
    Planned, count, ends, full, group_requests, managed, members, of_groups, rows, run_with,
    status, user, users,
};
use crate::support::{assert_converged, started_by};
use omni_user_sync::model::{ChangeOutcome, Trigger};
use omni_user_sync::run::Stop;
use omni_user_sync::sandbox::{Options, Repeated};
use serde_json::json;
use std::fmt::Write;
use std::ops::Range;

#[tokio::test]
async fn one_request_per_group_and_direction() {
    let names: Vec<_> = (0..12).map(|number| format!("Group {number}")).collect();
    let with = |members: Range<usize>| {
        let groups = names.iter().map(move |name| (&**name, members.clone()));
        groups.collect::<Vec<_>>()
    };
    let world = managed(full(), 40, &with(0..20)).await;
    world.roster(&rows(40, &with(8..29)));
    let planned = Planned::new(&world).await;
    assert_eq!(planned.requests(), 24);
    let outcome = planned.apply().await;
    assert_converged(&outcome);
    assert_eq!(count(&outcome, ChangeOutcome::Applied), 12 * 17);
    assert_eq!(world.take_requests(), (24, 24));
    for name in &names {
        assert_eq!(members(&world, name), users(8..29));
    }
    // The applied changes are known, so a file event only checks the addresses of the users: one page of users, and the
    // groups with it. These changes have one direction.
    world.roster(&rows(40, &with(8..40)));
    let outcome = started_by(Trigger::File, &world.reconciler()).await;
    assert_converged(&outcome);
    assert_eq!(outcome.changes.len(), 12 * 11);
    assert_eq!(world.take_requests(), (14, 12));
    let again = world.run().await;
    assert_converged(&again);
    assert_eq!(again.changes.len(), 0);
}

#[tokio::test]
async fn created_users_join_in_the_same_run() {
    let groups = ["A", "B", "C", "D", "E"];
    let none = groups.map(|name| (name, 0..0));
    let world = managed(full(), 1, &none).await;
    let mut text = rows(1, &none);
    for number in 1..=10 {
        let of_user = [0, 1, 2].map(|step| groups[(number + step) % 5]);
        writeln!(text, "{},U,\"[{}]\"", user(number), of_user.join(",")).expect("a text");
    }
    world.roster(&text);
    let planned = Planned::new(&world).await;
    assert_eq!(planned.requests(), 15);
    assert_converged(&planned.apply().await);
    assert_eq!(world.take_requests(), (15, 15));
    for name in groups {
        assert_eq!(members(&world, name).len(), 6);
    }
    assert_eq!(world.run().await.changes.len(), 0);
}

#[tokio::test]
async fn many_members_take_several_requests() {
    let world = managed(full(), 250, &[("All", 0..0)]).await;
    world.roster(&rows(250, &[("All", 0..250)]));
    let planned = Planned::new(&world).await;
    assert_eq!(planned.requests(), 3);
    assert_converged(&planned.apply().await);
    assert_eq!(
        (members(&world, "All").len(), world.take_requests().1),
        (250, 3)
    );
}

#[tokio::test]
async fn changes_of_others_count_as_applied() {
    for repeated in [Repeated::Refused, Repeated::Accepted] {
        let options = Options { repeated, ..full() };
        let world = managed(options, 20, &[("Sales", 0..10)]).await;
        let outcome = run_with(&world, &rows(20, &[("Sales", 5..20)]), |org| {
            org.leave("Sales", &user(0));
            org.join("Sales", &user(10));
        })
        .await;
        assert_converged(&outcome);
        let (expected, requests) = match repeated {
            Repeated::Accepted => (vec![("applied", "")], 2),
            _ => {
                let ends = vec![
                    ("applied", ""),
                    ("applied", "was already a member"),
                    ("applied", "was no longer a member"),
                ];
                (ends, 2 * 3)
            }
        };
        assert_eq!(ends(&outcome), expected);
        assert_eq!(
            group_requests(&world).len(),
            requests,
            "refused, read, sent"
        );
        assert_eq!(members(&world, "Sales"), users(5..20));
    }
}

#[tokio::test]
async fn a_large_request_is_halved() {
    let world = managed(full(), 10, &[("Sales", 0..0)]).await;
    world.org().fault(of_groups("PATCH", status(413), 2));
    let roster = rows(10, &[("Sales", 0..10)]);
    assert_converged(&run_with(&world, &roster, |_| {}).await);
    assert_eq!(group_requests(&world), ["PATCH"; 5], "10, 5, 2, 3, 5");
}

#[tokio::test]
async fn other_members_are_kept() {
    const EMBED_USER: &str = "00000000-0000-4000-8000-0000000000e1";
    let world = managed(full(), 6, &[("Sales", 0..3)]).await;
    world.org().join_embed_user("Sales", EMBED_USER);
    world.user("other@x.co", "Other", json!({}));
    world.org().join("Sales", "other@x.co");
    assert_converged(&run_with(&world, &rows(6, &[("Sales", 2..6)]), |_| {}).await);
    let mut expected = vec![EMBED_USER.to_owned(), "other@x.co".to_owned()];
    expected.extend(users(2..6));
    assert_eq!(members(&world, "Sales"), expected);
}

#[tokio::test]
async fn a_run_stops_between_two_requests() {
    let groups = ["A", "B", "C"].map(|name| (name, 0..0));
    let world = managed(full(), 4, &groups).await;
    let world = world.set("omni.max_in_flight", "1");
    world.roster(&rows(4, &["A", "B", "C"].map(|name| (name, 0..4))));
    let planned = Planned::new(&world).await;
    let stop = Stop::default();
    let outcome = planned.apply_until(&stop, |_| stop.for_next.cancel()).await;
    assert_eq!(outcome.result().as_str(), "stopped");
    let counts = [ChangeOutcome::Applied, ChangeOutcome::Skipped].map(|one| count(&outcome, one));
    assert_eq!(counts, [4, 8], "{outcome:#?}");
    assert_eq!(world.writes().len(), 1);
    assert_converged(&world.run().await);
}
