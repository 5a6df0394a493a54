//! Memberships are sent by group: the real client against the mock server.

use crate::support::{World, assert_converged, at_any_time, started_by};
use omni_user_sync::model::{ChangeOutcome, GuardRule, Trigger};
use omni_user_sync::run::{AppliedChange, Prepared, Reconciler, Run, RunOutcome, Stop};
use omni_user_sync::sandbox::{Fault, Options, Org, PatchAnswer, Repeated, What, When};
use serde_json::json;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

/// Members of groups, by number.
type Members<'a> = &'a [(&'a str, Range<usize>)];

fn user(number: usize) -> String {
    format!("u{number:03}@x.co")
}

/// A roster of this many users, with their groups.
fn rows(users: usize, groups: Members<'_>) -> String {
    let mut text = "email,display_name,groups\n".to_owned();
    for number in 0..users {
        let names = groups
            .iter()
            .filter(|(_, members)| members.contains(&number));
        let names: Vec<_> = names.map(|(name, _)| *name).collect();
        writeln!(text, "{},U,\"[{}]\"", user(number), names.join(",")).expect("a text");
    }
    text
}

/// An organisation with users and groups that the roster manages. Limits hold nothing.
async fn managed(options: Options, users: usize, groups: Members<'_>) -> World {
    let world = World::with(options).await;
    let world = world
        .set("policy.max_leaves", "100%")
        .set("policy.max_joins", "100%")
        .set("policy.create_groups", "true")
        .set("observe.budget", "100%");
    for number in 0..users {
        world.user(&user(number), "U", json!({}));
    }
    for (name, members) in groups {
        let members: Vec<_> = members.clone().map(user).collect();
        let members: Vec<_> = members.iter().map(String::as_str).collect();
        world.org().add_group(name, &members);
    }
    world.roster(&rows(users, groups));
    assert_converged(&world.run().await);
    assert_eq!(world.writes(), [""; 0]);
    world.org().clear_requests();
    world
}

fn full() -> Options {
    Options::with_full_lists()
}

fn members(world: &World, group: &str) -> Vec<String> {
    world.org().members(group).expect("the group exists")
}

fn users(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(user).collect()
}

/// A fault of requests about groups.
fn of_groups(method: &str, what: What, times: usize) -> Fault {
    let when = When {
        method: Some(method.into()),
        path: Some("/api/scim/v2/Groups".into()),
        ..When::default()
    };
    Fault { when, what, times }
}

fn status(code: u16) -> What {
    What::Status {
        code,
        retry_after: None,
        body: None,
    }
}

/// `METHOD` of each request about groups since the plan.
fn group_requests(world: &World) -> Vec<String> {
    let requests = world.org().requests().into_iter();
    let of_groups = requests.filter(|one| one.path.starts_with("/api/scim/v2/Groups"));
    of_groups.map(|one| one.method).collect()
}

/// The outcomes and details of memberships, each once, sorted.
fn ends(outcome: &RunOutcome) -> Vec<(&str, &str)> {
    let of_groups = outcome.changes.iter().filter(|one| one.group.is_some());
    let mut ends: Vec<_> = of_groups
        .map(|one| (one.outcome.as_str(), &*one.detail))
        .collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

fn count(outcome: &RunOutcome, ended: ChangeOutcome) -> usize {
    let is_it = |one: &&AppliedChange| one.group.is_some() && one.outcome == ended;
    outcome.changes.iter().filter(is_it).count()
}

/// A run that has planned.
struct Planned {
    reconciler: Reconciler,
    run: Run,
    prepared: Arc<Prepared>,
}

impl Planned {
    async fn new(world: &World) -> Self {
        let reconciler = world.reconciler();
        let options = at_any_time(Trigger::Schedule);
        let mut run = reconciler
            .begin(options, world.target())
            .await
            .expect("a run");
        let stop = Stop::default();
        let prepared = reconciler.prepare(&mut run, &stop).await.expect("a plan");
        reconciler.accept(&prepared).await.expect("it is written");
        world.org().clear_requests();
        Self {
            reconciler,
            run,
            prepared,
        }
    }

    /// What the plan says about requests.
    fn requests(&self) -> usize {
        self.reconciler.observer().cost(&self.prepared).requests
    }

    async fn apply(self) -> RunOutcome {
        self.apply_until(&Stop::default(), |_| {}).await
    }

    async fn apply_until(
        self,
        stop: &Stop,
        on_change: impl FnMut(&AppliedChange) + Send,
    ) -> RunOutcome {
        let Self {
            reconciler,
            run,
            prepared,
        } = self;
        let (applied, effects) = reconciler.apply(&run, &prepared, stop, on_change).await;
        let outcome = reconciler.finish(run, Some(&prepared), applied).await;
        reconciler.keep(prepared, effects, &outcome).await;
        outcome
    }
}

/// A run after a change of the roster; another client acts between its plan and its first change.
async fn run_with(world: &World, roster: &str, meanwhile: impl FnOnce(&Org)) -> RunOutcome {
    world.roster(roster);
    let planned = Planned::new(world).await;
    meanwhile(world.org());
    planned.apply().await
}

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
    // What was applied is known, so a file event reads nothing. These changes have one direction.
    world.roster(&rows(40, &with(8..40)));
    let outcome = started_by(Trigger::File, &world.reconciler()).await;
    assert_converged(&outcome);
    assert_eq!(outcome.changes.len(), 12 * 11);
    assert_eq!(world.take_requests(), (12, 12));
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

#[tokio::test]
async fn a_large_request_is_halved() {
    let world = managed(full(), 10, &[("Sales", 0..0)]).await;
    world.org().fault(of_groups("PATCH", status(413), 2));
    let roster = rows(10, &[("Sales", 0..10)]);
    assert_converged(&run_with(&world, &roster, |_| {}).await);
    assert_eq!(group_requests(&world), ["PATCH"; 5], "10, 5, 2, 3, 5");
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
