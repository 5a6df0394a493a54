//! Memberships and roles are only sent for users whose ids this run has seen with their addresses.
use crate::kept_observation::org;
use crate::support::{World, assert_converged};
use omni_user_sync::model::{ReadingTime, RunOptions, Trigger};
use omni_user_sync::run::{Reconciler, RunOutcome, Stop};
use omni_user_sync::sandbox::{Fault, Lists, What, When};
use std::fmt::Write;
use std::time::Duration;

const USERS: usize = 200;

fn user(number: usize) -> String {
    format!("user{number:04}@example.com")
}

/// All users except one, of whom these are in `Sales`, and more rows.
fn roster(members: &[usize], without: Option<usize>, more: &str) -> String {
    let mut text = "op,email,display_name,groups\n".to_owned();
    for number in (1..=USERS).filter(|number| Some(*number) != without) {
        let groups = if members.contains(&number) {
            "[Sales]"
        } else {
            "[]"
        };
        writeln!(text, ",{},Name {number},{groups}", user(number)).expect("a string grows");
    }
    text.replace("\n,", "\nupsert,") + more
}

/// An organisation of 200 users on 40 pages, of which a run reads 15, with an empty group.
async fn world() -> (World, Reconciler) {
    let world = org(USERS, Lists::Full).await;
    let world = world.set("omni.page_size", "5");
    world.org().add_group("Sales", &[]);
    world.roster(&roster(&[], None, ""));
    assert_converged(&world.run().await);
    let world = world.set("observe.budget", "1%");
    let reconciler = world.reconciler();
    (world, reconciler)
}

/// A run after a change of the roster, with a budget of 16 requests: 1% of those of one second.
async fn run(reconciler: &Reconciler) -> RunOutcome {
    let options = RunOptions {
        reading_time: ReadingTime::Within(Duration::from_secs(1)),
        ..Trigger::File.into()
    };
    reconciler.run(options, None, &Stop::default()).await
}

/// Two users swap their addresses in Omni.
fn swap(world: &World, one: usize, other: usize) {
    let org = world.org();
    org.set_email(&user(one), "swap@example.com");
    org.set_email(&user(other), &user(one));
    org.set_email("swap@example.com", &user(other));
}

fn members(world: &World) -> Vec<String> {
    world.org().members("Sales").expect("the group")
}

/// Filtered lists have an entry that can't be read.
fn make_look_ups_unreliable(world: &World) {
    let when = When {
        query: Some("filter".into()),
        ..When::default()
    };
    let body = r#"{"totalResults":1,"startIndex":1,"itemsPerPage":1,"Resources":[{"id":"x"}]}"#;
    let what = What::Status {
        code: 200,
        retry_after: None,
        body: Some(body.into()),
    };
    world.org().fault(Fault {
        when,
        what,
        times: 999,
    });
}

fn details(outcome: &RunOutcome) -> Vec<String> {
    let changes = outcome.changes.iter().filter(|one| one.group.is_some());
    let show = |one: &omni_user_sync::run::AppliedChange| {
        format!("{} {} {}", one.subject, one.outcome.as_str(), one.detail)
    };
    let mut details: Vec<_> = changes.map(show).collect();
    details.sort();
    details
}

#[tokio::test]
async fn unreliable_lookups_add_no_stranger() {
    let (world, reconciler) = world().await;
    swap(&world, 150, 151);
    make_look_ups_unreliable(&world);
    let joining = [150, 160, 170, 180, 190];
    world.roster(&roster(&joining, None, ""));
    let outcome = run(&reconciler).await;
    let verified = joining[1..].iter().map(|number| user(*number));
    assert_eq!(
        members(&world),
        verified.collect::<Vec<_>>(),
        "{outcome:#?}"
    );
    let expected = format!(
        "{} skipped the user could not be read again; the next run handles this",
        user(150)
    );
    assert_eq!(details(&outcome)[0], expected);
    assert_eq!(outcome.result().as_str(), "partial");
    world.org().clear_faults();
    assert_converged(&run(&reconciler).await);
    assert_eq!(members(&world), joining.map(user));
}

/// A removal and a creation with the same name: all users are listed, and the budget ends the list early.
#[tokio::test]
async fn a_partial_list_adds_no_stranger() {
    let (world, reconciler) = world().await;
    swap(&world, 150, 151);
    let more = format!(
        "delete,{},,\nupsert,new@example.com,Name 149,[]\n",
        user(149)
    );
    world.roster(&roster(&[150], Some(149), &more));
    let outcome = run(&reconciler).await;
    assert_eq!(members(&world), [user(150)], "{outcome:#?}");
}

/// The roster is replaced between the two times that a run reads it.
#[tokio::test]
async fn a_replaced_roster_adds_no_stranger() {
    let (world, reconciler) = world().await;
    swap(&world, 150, 151);
    let delete = format!("delete,{},,\n", user(140));
    world.roster(&roster(&[160], Some(140), &delete));
    let (path, next) = (world.roster_path(), roster(&[150, 160], Some(140), &delete));
    let at = world.org().requests().len() as u64 + 1;
    world.org().before(at, move |_| {
        std::fs::write(path, next).expect("the roster is written");
    });
    let outcome = run(&reconciler).await;
    assert_eq!(members(&world), [user(150), user(160)], "{outcome:#?}");
}

/// A schedule goes to the present owner of the successor's address.
#[tokio::test]
async fn a_transfer_goes_to_no_stranger() {
    let (world, _) = world().await;
    let world = world
        .set("observe.budget", "100%")
        .set("policy.owned_schedules", "transfer")
        .set("policy.transfer_to", &user(150));
    for number in [140, 150, 151] {
        for name in ["cost_center", "department", "region", "tier"] {
            let org = world.org();
            org.set_attribute(&user(number), name, serde_json::Value::Null);
        }
    }
    assert_converged(&world.run().await);
    let reconciler = world.reconciler();
    world.org().add_schedule(&user(140), "daily", None);
    swap(&world, 150, 151);
    let delete = format!("delete,{},,\n", user(140));
    world.roster(&roster(&[], Some(140), &delete));
    let outcome = run(&reconciler).await;
    let schedules = world.org().schedules();
    let owners: Vec<_> = schedules.iter().map(|one| one.2.as_str()).collect();
    assert_eq!(owners, [user(150)], "{outcome:#?}");
}
