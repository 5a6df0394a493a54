//! Removals of users who own schedules or personal tokens: the real client against the mock server.

use crate::support::{World, assert_converged, command, on, outcomes_of};
use omni_user_sync::model::{ChangeOutcome, Field, GuardRule, RunRef};
use omni_user_sync::run::RunOutcome;
use omni_user_sync::sandbox::{Endpoint, Fault, Options, Org, What, When};
use serde_json::json;
use std::time::Duration;

/// An organisation with twenty users `u0@x.co`… and a roster that names them all.
async fn world_with(options: Options) -> World {
    let world = World::with(options)
        .await
        .set("policy.max_removals", "100%");
    for number in 0..20 {
        let email = format!("u{number}@x.co");
        world.user(&email, "A user", json!({ "region": ["north"] }));
    }
    keep_all_but(&world, &[]);
    world
}

async fn world() -> World {
    world_with(Options::with_full_lists()).await
}

/// Writes a roster that deletes these users and names the others.
fn keep_all_but(world: &World, leavers: &[usize]) {
    let row = |number: usize| {
        let op = if leavers.contains(&number) {
            "delete"
        } else {
            "upsert"
        };
        format!("{op},u{number}@x.co,A user\n")
    };
    let rows: String = (0..20).map(row).collect();
    world.roster(&format!("op,email,display_name\n{rows}"));
}

pub(crate) fn held_by(outcome: &RunOutcome) -> Vec<(GuardRule, usize)> {
    let held = outcome.held().iter();
    held.map(|held| (held.rule, held.count)).collect()
}

async fn approve_latest(world: &World) {
    let reconciler = world.reconciler();
    let state = reconciler.observer().state();
    let approved = state.approve(RunRef::Latest, "ann", chrono::Utc::now(), false);
    approved.await.expect("it is approved");
}

/// The requests about what users own, and the writes, as `METHOD path`.
fn take_owned_requests(world: &World) -> Vec<String> {
    let requests = world.org().requests();
    let is_owned = |path: &str| {
        ["schedules", "api-keys", "documents"]
            .iter()
            .any(|part| path.contains(part))
    };
    let found = requests.iter().filter(|one| is_owned(&one.path));
    let found = found
        .map(|one| format!("{} {}", one.method, one.path))
        .collect();
    world.org().clear_requests();
    found
}

/// A fault of all requests of this path.
fn always(code: u16, path: &str) -> Fault {
    let when = When {
        path: Some(path.into()),
        ..When::default()
    };
    let what = What::Status {
        code,
        retry_after: None,
        body: None,
    };
    Fault {
        when,
        what,
        times: 100,
    }
}

#[tokio::test]
async fn a_removal_with_schedules_is_held() {
    let world = world().await;
    world
        .org()
        .add_schedule("u1@x.co", "daily revenue", Some(4));
    keep_all_but(&world, &[1, 2]);
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["delete u2@x.co applied"]);
    assert_eq!(held_by(&outcome), [(GuardRule::OwnedSchedules, 1)]);
    let reason = &outcome.held()[0].reason;
    assert_eq!(
        reason,
        "1 removal that deletes schedules for good: u1@x.co owns 1 schedule (daily revenue)"
    );
    assert!(world.org().user("u1@x.co").is_some());
    assert!(world.org().lost_schedules().is_empty());
}

#[tokio::test]
async fn an_approval_covers_only_shown_schedules() {
    let world = world().await;
    world.org().add_schedule("u1@x.co", "daily", None);
    keep_all_but(&world, &[1]);
    assert_eq!(
        held_by(&world.run().await),
        [(GuardRule::OwnedSchedules, 1)]
    );
    approve_latest(&world).await;
    let later = world.org().add_schedule("u1@x.co", "weekly", None);
    assert_eq!(
        held_by(&world.apply().await),
        [(GuardRule::OwnedSchedules, 1)]
    );
    world.org().remove_schedule(&later);
    let outcome = world.apply().await;
    assert_eq!(outcomes_of(&outcome), ["delete u1@x.co applied"]);
    assert_eq!(world.org().lost_schedules().len(), 1);
}

/// One run over a roster with one leaver, in which the list of tokens is answered after 1.1 s. `new` is the number
/// of the request before which the leaver gets a schedule.
async fn slow_run(max_age: &str, new: Option<u64>) -> (World, RunOutcome) {
    let world = world().await.set("observe.max_age", max_age);
    keep_all_but(&world, &[1]);
    let when = When {
        path: Some("/api/v1/api-keys".into()),
        ..When::default()
    };
    let what = What::Late(Duration::from_millis(1100));
    world.org().fault(Fault {
        when,
        ..Fault::next(what)
    });
    if let Some(new) = new {
        let add = |org: &Org| drop(org.add_schedule("u1@x.co", "weekly", None));
        world.org().before(new, add);
    }
    let outcome = world.run().await;
    (world, outcome)
}

/// What was read is used for `observe.max_age`. A removal that is sent later reads it again.
#[tokio::test]
async fn a_slow_run_reads_schedules_again() {
    let (world, outcome) = slow_run("1s", None).await;
    assert_eq!(outcomes_of(&outcome), ["delete u1@x.co applied"]);
    let requests = world.org().requests();
    let is_tokens = |path: &str| path == "/api/v1/api-keys";
    let tokens = requests.iter().find(|one| is_tokens(&one.path));
    let number = tokens.expect("a request for tokens").number;
    let read = "GET /api/v1/schedules";
    let tokens = "GET /api/v1/api-keys";
    assert_eq!(take_owned_requests(&world), [read, tokens, read]);

    let (world, outcome) = slow_run("1s", Some(number)).await;
    assert_eq!(outcomes_of(&outcome), ["delete u1@x.co failed"]);
    let detail = "not removed: the user owns a schedule that was not shown: weekly";
    assert_eq!(outcome.changes[0].detail, detail);
    assert!(world.org().lost_schedules().is_empty());
    let held = held_by(&world.apply().await);
    assert_eq!(held, [(GuardRule::OwnedSchedules, 1)], "now it is shown");

    let (world, outcome) = slow_run("1h", None).await;
    assert_eq!(outcomes_of(&outcome), ["delete u1@x.co applied"]);
    assert_eq!(take_owned_requests(&world), [read, tokens]);
}

#[tokio::test]
async fn ignored_schedules_are_recorded_and_lost() {
    let world = world().await.set("policy.owned_schedules", "ignore");
    world.org().add_schedule("u1@x.co", "daily", None);
    keep_all_but(&world, &[1]);
    assert_converged(&world.run().await);
    let state = world.state_db();
    let run = state.runs(1).await.expect("runs").remove(0).number;
    let changes = state.changes(run).await.expect("changes");
    let lost = changes[0]
        .intent
        .fields
        .iter()
        .filter_map(|one| match &one.field {
            Field::Schedule(_) => one.from.as_ref().map(ToString::to_string),
            _ => None,
        });
    assert_eq!(lost.collect::<Vec<_>>(), ["'daily'"]);
}

#[tokio::test]
async fn schedules_go_to_the_successor_first() {
    let world = world()
        .await
        .set("policy.owned_schedules", "transfer")
        .set("policy.transfer_to", "u9@x.co");
    for name in ["daily", "weekly"] {
        world.org().add_schedule("u1@x.co", name, Some(2));
    }
    keep_all_but(&world, &[1, 2]);
    let outcome = world.run().await;
    assert_converged(&outcome);
    assert_eq!(
        outcomes_of(&outcome),
        [
            "delete u1@x.co applied",
            "delete u2@x.co applied",
            "transfer u1@x.co applied",
            "transfer u1@x.co applied",
        ]
    );
    assert!(world.org().lost_schedules().is_empty());
    let owners: Vec<_> = world
        .org()
        .schedules()
        .into_iter()
        .map(|one| one.2)
        .collect();
    assert_eq!(owners, ["u9@x.co", "u9@x.co"]);
    let writes = world.writes();
    assert!(
        writes[0].starts_with("PUT") && writes[1].starts_with("PUT"),
        "{writes:?}"
    );
}

#[tokio::test]
async fn a_successor_with_other_access_needs_approval() {
    let world = world()
        .await
        .set("policy.owned_schedules", "transfer")
        .set("policy.transfer_to", "boss@x.co");
    world.user("boss@x.co", "Boss", json!({ "region": ["all"] }));
    world.org().add_schedule("u1@x.co", "daily", Some(12));
    keep_all_but(&world, &[1]);
    let outcome = world.run().await;
    assert_eq!(held_by(&outcome), [(GuardRule::Transfers, 2)]);
    let reason = &outcome.held()[0].reason;
    assert_eq!(
        reason,
        "schedules of 1 user would run with other access: 1 schedule of u1@x.co (daily, 12 recipients) to boss@x.co, \
         who differs in region"
    );
    approve_latest(&world).await;
    let outcome = world.apply().await;
    assert_eq!(
        outcomes_of(&outcome),
        ["delete u1@x.co applied", "transfer u1@x.co applied"]
    );
    assert!(world.org().lost_schedules().is_empty());
}

/// An approval of transfers is for the user and the differences that were shown.
#[tokio::test]
async fn an_approval_covers_the_shown_successor() {
    type Edit<'a> = &'a dyn Fn(&World);
    let boss = || json!({ "region": ["all"] });
    let recreate = |world: &World| {
        world.org().remove_user("boss@x.co");
        world.user("boss@x.co", "Boss", boss());
    };
    let upgrade = |world: &World| {
        world
            .org()
            .set_attribute("boss@x.co", "tier", json!("gold"))
    };
    let keep = |_: &World| {};
    let changes: [(Edit<'_>, bool); 3] = [(&recreate, false), (&upgrade, false), (&keep, true)];
    for (change, is_covered) in changes {
        let world = world()
            .await
            .set("policy.owned_schedules", "transfer")
            .set("policy.transfer_to", "boss@x.co");
        world.user("boss@x.co", "Boss", boss());
        world.org().add_schedule("u1@x.co", "daily", None);
        keep_all_but(&world, &[1]);
        assert_eq!(held_by(&world.run().await), [(GuardRule::Transfers, 2)]);
        approve_latest(&world).await;
        change(&world);
        let outcome = world.run().await;
        let held: &[_] = match is_covered {
            true => &[],
            false => &[(GuardRule::Transfers, 2)],
        };
        assert_eq!(held_by(&outcome), held);
        assert_eq!(world.org().user("u1@x.co").is_none(), is_covered);
    }
}

#[tokio::test]
async fn an_unusable_successor_holds_the_removal() {
    let world = world()
        .await
        .set("policy.owned_schedules", "transfer")
        .set("policy.transfer_to", "nobody@x.co");
    world.org().add_schedule("u1@x.co", "daily", None);
    keep_all_but(&world, &[1]);
    let outcome = world.run().await;
    assert_eq!(held_by(&outcome), [(GuardRule::OwnedSchedules, 1)]);
    let reason = &outcome.held()[0].reason;
    assert!(
        reason.ends_with("the successor nobody@x.co is not in Omni"),
        "{reason}"
    );
    let world = world.set("policy.transfer_to", "u2@x.co");
    keep_all_but(&world, &[1, 2]);
    let outcome = world.run().await;
    let reason = &outcome.held()[0].reason;
    assert!(
        reason.ends_with("the successor u2@x.co is to be removed as well"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_failed_transfer_keeps_the_user() {
    let world = world()
        .await
        .set("policy.owned_schedules", "transfer")
        .set("policy.transfer_to", "u9@x.co");
    let id = world.org().add_schedule("u1@x.co", "daily", None);
    world.org().add_schedule("u1@x.co", "weekly", None);
    world.org().hide_schedule(&id, "u9@x.co");
    keep_all_but(&world, &[1]);
    let outcome = world.run().await;
    assert_eq!(
        outcomes_of(&outcome),
        [
            "delete u1@x.co failed",
            "transfer u1@x.co applied",
            "transfer u1@x.co failed"
        ]
    );
    assert!(world.org().user("u1@x.co").is_some());
    assert!(world.org().lost_schedules().is_empty());
    let run = outcome.number.expect("a number");
    let recorded = world.state_db().changes(run).await.expect("read");
    let removal = recorded
        .iter()
        .find(|change| change.intent.operation.is_removal());
    let detail = &removal
        .expect("recorded")
        .settled
        .as_ref()
        .expect("settled")
        .detail;
    assert!(detail.contains("could not be transferred"), "{detail}");
}

#[tokio::test]
async fn a_lost_transfer_is_read_back() {
    for what in [What::Reset, What::LostReply, What::CutJson] {
        let world = world()
            .await
            .set("policy.owned_schedules", "transfer")
            .set("policy.transfer_to", "u9@x.co");
        world.org().add_schedule("u1@x.co", "daily", None);
        keep_all_but(&world, &[1]);
        world.org().fault(on("PUT", what));
        assert_converged(&world.run().await);
        assert_eq!(world.org().transfers().len(), 1);
        assert!(world.org().lost_schedules().is_empty());
    }
}

#[tokio::test]
async fn a_key_without_the_right_removes_users() {
    let options = Options {
        schedules: Endpoint::Forbidden,
        ..Options::with_full_lists()
    };
    let world = world_with(options).await;
    keep_all_but(&world, &[1, 2]);
    let outcome = world.run().await;
    assert_converged(&outcome);
    let unchecked = outcome
        .warnings
        .iter()
        .filter(|text| text.contains("were not checked"));
    assert_eq!(unchecked.count(), 1);
    assert!(
        outcome
            .changes
            .iter()
            .all(|one| one.detail == "schedules not checked")
    );
}

#[tokio::test]
async fn unread_tokens_are_reported_once() {
    let options = Options {
        personal_tokens: Endpoint::Forbidden,
        ..Options::with_full_lists()
    };
    let failing = world().await;
    failing.org().fault(always(400, "/api/v1/api-keys"));
    for (world, why) in [
        (
            world_with(options).await,
            "Omni does not show personal tokens",
        ),
        (failing, "400 Bad Request"),
    ] {
        keep_all_but(&world, &[1, 2]);
        let plan = command(&world, &["plan"]).await;
        let said =
            "the personal tokens of 2 users to be removed (u1@x.co, u2@x.co) were not checked: ";
        assert_eq!(plan.err.matches(said).count(), 1, "{}", plan.err);
        assert!(plan.err.contains(why), "{why}: {}", plan.err);
        let removal = "    owns no schedules; personal tokens ";
        assert_eq!(plan.out.matches(removal).count(), 2, "{}", plan.out);
        let outcome = world.run().await;
        assert_converged(&outcome);
        let warnings = outcome.warnings.iter();
        assert_eq!(warnings.filter(|text| text.starts_with(said)).count(), 1);
    }
}

#[tokio::test]
async fn unreadable_schedules_keep_the_user() {
    let world = world().await;
    keep_all_but(&world, &[1]);
    world.org().fault(always(500, "/api/v1/schedules"));
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["delete u1@x.co failed"]);
    assert_eq!(outcome.count(ChangeOutcome::Failed), 1);
    assert!(world.org().user("u1@x.co").is_some());
}

#[tokio::test]
async fn reading_schedules_takes_few_requests() {
    let world = world().await;
    assert_converged(&world.run().await);
    assert_eq!(take_owned_requests(&world), [""; 0]);
    for number in 0..5 {
        world
            .org()
            .add_schedule(&format!("u{number}@x.co"), "daily", None);
    }
    keep_all_but(&world, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let outcome = world.run().await;
    assert_eq!(held_by(&outcome), [(GuardRule::OwnedSchedules, 5)]);
    let owned = take_owned_requests(&world);
    assert_eq!(owned.len(), 2, "{owned:?}");
}

#[tokio::test]
async fn plan_shows_what_a_leaver_owns() {
    let world = world().await;
    world
        .org()
        .add_schedule("u1@x.co", "daily revenue", Some(4));
    world.org().add_personal_token("u1@x.co", "laptop");
    keep_all_but(&world, &[1]);
    let plan = command(&world, &["plan"]).await;
    assert_eq!(plan.code, 4, "{}", plan.err);
    assert!(
        plan.out
            .contains("owns 1 schedule: daily revenue; 1 personal token"),
        "{}",
        plan.out
    );
}

#[tokio::test]
async fn check_warns_of_hidden_schedules() {
    for (schedules, is_shown) in [(Endpoint::Served, true), (Endpoint::Missing, false)] {
        let options = Options {
            schedules,
            ..Options::with_full_lists()
        };
        let world = world_with(options).await;
        let check = command(&world, &["check"]).await;
        assert_eq!(check.code, 0, "{}", check.err);
        let is_named = check.err.contains("does not show schedules");
        assert_eq!(is_named, !is_shown, "{}", check.err);
    }
}

/// Undo creates the user again, with groups, and names what it can't restore.
#[tokio::test]
async fn undo_restores_a_leaver_with_groups() {
    let world = world().await.set("policy.owned_schedules", "ignore");
    let id = world.org().add_schedule("u1@x.co", "daily revenue", None);
    world.org().add_group("Board", &["u1@x.co", "u2@x.co"]);
    let groups = world.folder.path().join("groups.csv");
    std::fs::write(&groups, "op,email,group_name\n+,u2@x.co,Board\n").expect("a file");
    let world = world.set("source.groups", &groups.display().to_string());
    keep_all_but(&world, &[1]);
    assert_converged(&world.run().await);
    assert_eq!(world.org().lost_schedules()[0].0, id);
    let undo = command(&world, &["history", "latest", "--undo"]).await;
    assert_eq!(undo.code, 0, "{}", undo.err);
    assert!(undo.out.contains("upsert,u1@x.co,A user"), "{}", undo.out);
    assert!(
        undo.err.contains("lost schedules: daily revenue"),
        "{}",
        undo.err
    );
    let undo = command(&world, &["history", "latest", "--undo", "--groups"]).await;
    assert_eq!(undo.out.lines().last(), Some("+,u1@x.co,Board"));
}
