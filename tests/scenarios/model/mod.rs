//! A model of the world: random sequences of what people do to the roster and in Omni, of runs, kills,
//! restarts and approvals, held against a small reference that says what must be in Omni then.
//!
//! `MODEL=3000 cargo test --test scenarios model::` takes so many sequences, `MODEL_SEED=7` others. One that fails is
//! told in its smallest form, which becomes a test in `regressions.rs`: a seed means something else once a
//! strategy changes.
#![allow(unreachable_pub)] // nothing is reached from outside a test

mod drive;
mod reference;
mod regressions;

use crate::clock;
use drive::{Driver, File, Outside, Step};
use omni_user_sync::model::Trigger;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use reference::{Limit, Policy, Prune, Row};

const USERS: usize = 9;
/// So many sequences are taken at once: most of their time they wait for a disk.
const LANES: u64 = 6;

fn policy() -> impl Strategy<Value = Policy> {
    let prune = select(vec![
        Prune::Never,
        Prune::Managed,
        Prune::Managed,
        Prune::All,
    ]);
    let limit = select(vec![
        Limit::Count(0),
        Limit::Count(2),
        Limit::Percent(10),
        Limit::Percent(100),
        Limit::Percent(100),
    ]);
    (prune, any::<bool>(), any::<bool>(), limit).prop_map(
        |(prune, deactivates, reactivates, max_removals)| Policy {
            prune,
            deactivates,
            reactivates,
            max_removals,
        },
    )
}

fn row() -> impl Strategy<Value = Option<Row>> {
    let upsert = (
        select(vec!["Ada", "Boris", ""]),
        select(vec!["Sales", "Finance", ""]),
    )
        .prop_map(|(name, department)| Row::Upsert(name, department));
    prop_oneof![
        8 => upsert.prop_map(Some),
        2 => Just(Some(Row::Delete)),
        1 => Just(Some(Row::Deactivate)),
        1 => Just(Some(Row::Bad)),
        3 => Just(None),
    ]
}

fn outside() -> impl Strategy<Value = Outside> {
    prop_oneof![
        2 => Just(Outside::Remove),
        2 => Just(Outside::Remake),
        1 => select(vec!["Ada", "Zoë"]).prop_map(Outside::Name),
        1 => select(vec!["Sales", "Theirs"]).prop_map(Outside::Department),
        2 => any::<bool>().prop_map(Outside::Active),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let file = select(vec![
        File::Whole,
        File::Whole,
        File::Whole,
        File::Gone,
        File::Empty,
        File::Broken,
    ]);
    prop_oneof![
        12 => (0..USERS, row()).prop_map(|(user, row)| Step::Row(user, row)),
        1 => Just(Step::Shrink),
        2 => file.prop_map(Step::File),
        5 => (0..USERS, outside()).prop_map(|(user, outside)| Step::Outside(user, outside)),
        4 => Just(Step::Run(Trigger::Schedule)),
        4 => Just(Step::Run(Trigger::File)),
        1 => Just(Step::Plan),
        3 => (2..12_u64).prop_map(Step::Kill),
        1 => Just(Step::Restart),
        2 => Just(Step::Approve),
    ]
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn config(lane: u64) -> ProptestConfig {
    let cases = number("MODEL").unwrap_or(24).div_ceil(LANES);
    ProptestConfig {
        cases: u32::try_from(cases).expect("not so many"),
        rng_seed: RngSeed::Fixed(number("MODEL_SEED").unwrap_or(1) * LANES + lane),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn play(policy: Policy, first: Vec<Option<Row>>, steps: &[Step]) {
    clock::hurried(async {
        let mut driver = Driver::new(policy).await;
        for (user, row) in first.into_iter().enumerate() {
            driver.take(&Step::Row(user, row)).await;
        }
        for step in steps {
            driver.take(step).await;
        }
        driver.end().await;
    });
}

fn lane(lane: u64) -> Result<(), String> {
    let first = prop::collection::vec(row(), USERS);
    let steps = prop::collection::vec(step(), 10..50);
    let mut runner = TestRunner::new(config(lane));
    let played = runner.run(&(policy(), first, steps), |(policy, first, steps)| {
        play(policy, first, &steps);
        Ok(())
    });
    played.map_err(|error| error.to_string())
}

#[test]
fn every_run_matches_the_reference_model() {
    let lanes = std::thread::scope(|scope| {
        let started: Vec<_> = (0..LANES).map(|at| scope.spawn(move || lane(at))).collect();
        let ended = started
            .into_iter()
            .map(|one| one.join().expect("it catches panics"));
        ended.collect::<Vec<_>>()
    });
    let failed: Vec<_> = lanes.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
