//! Memberships are sent by group: the real client against the mock server.

mod failures;
mod groups;
mod requests;

use crate::support::{World, assert_converged, at_any_time};
use omni_user_sync::model::{ChangeOutcome, Trigger};
use omni_user_sync::run::{AppliedChange, Prepared, Reconciler, Run, RunOutcome, Stop};
use omni_user_sync::sandbox::{Fault, Options, Org, What, When};
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
    // Full lists show that they have attributes.
    for number in 0..users {
        world.user(&user(number), "U", json!({ "department": "Sales" }));
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
