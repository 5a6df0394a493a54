//! Random scenarios against the mock server, under accelerated time: roster edits, outside edits, runs, plans,
//! restarts, kills, approvals, faults and clock jumps.
//!
//! One generator (`scenario.rs`), one driver (`driver.rs`), one oracle (`invariants.rs`), which reads the mock
//! server's own record. In a scenario without faults each run is also compared with a small reference.
//!
//! `CAMPAIGN=2000` sets the number of scenarios with faults, `MODEL=1000` of those without; `CAMPAIGN_FROM=` and
//! `MODEL_FROM=` the first seed. `CAMPAIGN_SEED=7` or `MODEL_SEED=7` with `-- --nocapture` plays one scenario and
//! prints its requests. A failure is reported with its seed and in its smallest form.
#![allow(clippy::print_stdout)] // the seeds and totals

mod access;
mod assignments;
mod clock;
mod comparison;
mod convergence;
mod driver;
mod duplicates;
mod files;
mod history_checks;
mod invariants;
mod limits;
mod membership_history;
mod membership_limits;
mod memberships;
mod outside;
mod readings;
mod record;
mod reference;
mod reference_groups;
mod reference_roles;
mod regressions;
mod role_history;
mod roles;
mod roster;
mod scenario;
mod schedule_checks;
mod schedules;
mod stated;
mod stated_roles;
#[path = "../support/mod.rs"]
mod support;
mod trouble;

use driver::play;
use record::Totals;
use scenario::{Kind, Scenario};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of scenarios that are played at once: most of their time they wait.
const AT_ONCE: usize = 12;
/// The stack size in bytes. Nested futures need more than usual in a debug build.
const STACK: usize = 8 << 20;
/// The number of smaller scenarios to try after a failure.
const MAX_SHRINKS: usize = 100;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Plays a scenario and returns what was wrong.
fn check(scenario: &Scenario, is_shown: bool) -> (Totals, Vec<String>) {
    let played = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let play = thread.spawn_scoped(scope, || clock::hurried(play(scenario, is_shown)));
        play.expect("a thread").join()
    });
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let wrong = format!("a panic: {}", text.unwrap_or_default());
        (Totals::default(), vec![wrong])
    })
}

/// Removes what a failure does not need.
fn shrink(mut scenario: Scenario, mut wrong: Vec<String>) -> (Scenario, Vec<String>) {
    let mut tries = 0;
    'smaller: loop {
        for smaller in scenario.smaller() {
            tries += 1;
            if tries > MAX_SHRINKS {
                return (scenario, wrong);
            }
            let (_, still) = check(&smaller, false);
            if !still.is_empty() {
                (scenario, wrong) = (smaller, still);
                continue 'smaller;
            }
        }
        return (scenario, wrong);
    }
}

/// Plays scenarios of one kind. `name` begins the names of the environment variables.
fn campaign(name: &str, kind: Kind, default_count: u64) {
    let seed = variable(&format!("{name}_SEED"));
    let (first, count) = match seed {
        Some(seed) => (seed, 1),
        None => (
            variable(&format!("{name}_FROM")).unwrap_or(0),
            variable(name).unwrap_or(default_count),
        ),
    };
    println!("{name}_FROM={first} {name}={count}");
    let next = AtomicU64::new(first);
    let all = Mutex::new((Totals::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let this = next.fetch_add(1, Ordering::Relaxed);
                    if this >= first + count {
                        return;
                    }
                    let (one, wrong) = check(&Scenario::new(kind, this), seed.is_some());
                    let (totals, failed) = &mut *all.lock().expect("no panic");
                    totals.add(&one);
                    if !wrong.is_empty() {
                        println!("{name}_SEED={this}: {}", wrong[0]);
                        failed.push((this, wrong));
                    }
                }
            });
        }
    });
    let (totals, failed) = all.into_inner().expect("no panic");
    println!("{totals:#?}");
    let Some((seed, wrong)) = failed.first() else {
        return;
    };
    let seeds: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    let (smallest, still) = shrink(Scenario::new(kind, *seed), wrong.clone());
    panic!(
        "{} of {count} scenarios failed, with the seeds {seeds:?}.\n{name}_SEED={seed}: {wrong:#?}\n\
         The smallest scenario that fails: {smallest:#?}\n{still:#?}",
        failed.len()
    );
}

#[test]
fn every_scenario_converges_without_harm() {
    campaign("CAMPAIGN", Kind::Faults, 12);
}

#[test]
fn every_run_matches_the_reference_model() {
    campaign("MODEL", Kind::NoFaults, 12);
}
