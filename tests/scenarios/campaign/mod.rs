//! Random stories of rosters, people and things that go wrong, played by the program's own parts over
//! HTTP against the mock server; what must hold is told from the mock server's record alone.
//!
//! `CAMPAIGN=2000 cargo test --test scenarios campaign:: -- --nocapture` plays so many, and says of which seeds;
//! `CAMPAIGN_SEED=7 cargo test --test scenarios campaign:: -- --nocapture` plays one and shows it. A story that
//! fails is told again in its smallest form that still does.
#![allow(clippy::print_stdout)] // the seeds and figures
#![allow(unreachable_pub)] // nothing is reached from outside a test

mod ending;
mod history_checks;
mod limits;
mod play;
mod regressions;
mod roster;
mod story;
mod twice;
mod witness;

use crate::clock;
use play::{Figures, play};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use story::Story;

/// How many stories are played at once: most of their time they wait.
const AT_ONCE: usize = 12;
/// How often a smaller story is tried.
const SHRINKS: usize = 100;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// What was wrong in a story; nothing if all was well.
fn told(story: &Story, shows: bool) -> (Figures, Vec<String>) {
    let played = catch_unwind(AssertUnwindSafe(|| clock::hurried(play(story, shows))));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (
            Figures::default(),
            vec![format!("a panic: {}", text.unwrap_or_default())],
        )
    })
}

/// Leaves out what a failure does not need.
fn shrunk(mut story: Story, mut wrong: Vec<String>) -> (Story, Vec<String>) {
    let mut tries = 0;
    'smaller: loop {
        for smaller in story.smaller() {
            tries += 1;
            if tries > SHRINKS {
                return (story, wrong);
            }
            let (_, still) = told(&smaller, false);
            if !still.is_empty() {
                (story, wrong) = (smaller, still);
                continue 'smaller;
            }
        }
        return (story, wrong);
    }
}

#[test]
fn every_scenario_converges_without_harm() {
    let (first, count) = match variable("CAMPAIGN_SEED") {
        Some(seed) => (seed, 1),
        None => (
            variable("CAMPAIGN_FROM").unwrap_or(0),
            variable("CAMPAIGN").unwrap_or(12),
        ),
    };
    let shows = variable("CAMPAIGN_SEED").is_some();
    println!("CAMPAIGN_FROM={first} CAMPAIGN={count}");
    let next = AtomicU64::new(first);
    let all = Mutex::new((Figures::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let (one, wrong) = told(&Story::new(seed), shows);
                    let (figures, failed) = &mut *all.lock().expect("no panic");
                    figures.add(&one);
                    if !wrong.is_empty() {
                        println!("CAMPAIGN_SEED={seed}: {}", wrong[0]);
                        failed.push((seed, wrong));
                    }
                }
            });
        }
    });
    let (figures, failed) = all.into_inner().expect("no panic");
    println!("{figures:#?}");
    let Some((seed, wrong)) = failed.first() else {
        return;
    };
    let seeds: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    let (story, smallest) = shrunk(Story::new(*seed), wrong.clone());
    panic!(
        "{} of {count} stories failed, of the seeds {seeds:?}.\nCAMPAIGN_SEED={seed}: {wrong:#?}\n\
         The smallest story like it: {story:#?}\n{smallest:#?}",
        failed.len()
    );
}
