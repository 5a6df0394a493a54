//! What a long run reports while it works.
use crate::support::logged::Logged;
use crate::support::{World, assert_converged, at_any_time};
use omni_user_sync::model::Trigger;
use omni_user_sync::run::{RunEvent, Stop};
use omni_user_sync::sandbox::Options;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The lines that hold a text.
fn lines_with(log: &Logged, text: &str) -> Vec<String> {
    let log = log.text();
    let lines = log.lines().filter(|line| line.contains(text));
    lines.map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_long_run_reports_estimate_and_progress() {
    let options = Options {
        users: 1_000,
        requests_per_minute: 10,
        ..Options::default()
    };
    let world = World::with(options).await.set("policy.max_updates", "");
    let rows = (1..26).map(|number| format!("user{number:04}@example.com,Name {number}\n"));
    world.roster(&format!("email,display_name\n{}", rows.collect::<String>()));
    let log = Logged::default();
    let started = Instant::now();
    // From the plan to the last change.
    let applying = Arc::new(Mutex::new((started, started)));
    let times = applying.clone();
    let reconciler = world.reconciler().with_event_handler(move |event| {
        let mut times = times.lock().expect("no test panics while it holds this");
        times.1 = Instant::now();
        if let RunEvent::Planned(..) = event {
            times.0 = times.1;
        }
    });
    let outcome = {
        let _logging = log.listen();
        reconciler
            .run(at_any_time(Trigger::Schedule), None, &Stop::default())
            .await
    };
    assert_converged(&outcome);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(180), "{took:?}");
    let reading = lines_with(&log, "fetching users");
    assert!(reading[0].contains("requests_left="), "{reading:?}");
    let [said, progress @ ..] = &lines_with(&log, "applying changes")[..] else {
        panic!("nothing was said");
    };
    assert!(said.contains("changes=25 requests=25 seconds="), "{said}");
    assert!(progress[0].contains("ended="), "{progress:?}");
    let logged = reading.len() + 1 + progress.len();
    assert!(
        lines_with(&log, "run{number=1}:").len() >= logged,
        "{reading:?}"
    );
    let (planned, ended) = *applying.lock().expect("the run is over");
    let took = ended - planned;
    let logged = 1 + progress.len();
    // Paused time runs on while the state database is written, too, when nothing is logged.
    assert!(
        logged as u64 * 2 >= took.as_secs() / 10,
        "{logged} in {took:?}"
    );
}
