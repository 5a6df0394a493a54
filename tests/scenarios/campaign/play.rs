//! Plays a story: the program's own parts over HTTP against the mock server, and who else is about.

use super::roster::{File, Sheet};
use super::story::{Outside, Round, Run, SPARE, Story, Trouble, Wrong};
use super::witness;
use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::{Operation, RunNumber, RunRef, Trigger};
use omni_user_sync::run::{Completion, Reconciler, RunOutcome, Stop};
use omni_user_sync::sandbox::{Fault, Options, Org, Request, When};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// More than any run takes: 120 s for each of a few 429s, a minute each for a few hundred requests.
const ENDLESS: Duration = Duration::from_secs(4 * 3600);
/// So many runs may be needed once all is well: each kind that the guard holds takes an approval and
/// another run, and there are four rules that hold.
const MOST_RUNS: usize = 5;

/// One run, by the numbers of the requests within.
#[derive(Debug)]
pub struct Window {
    pub first: u64,
    pub last: u64,
    /// Which roster there was.
    pub round: usize,
    pub number: Option<RunNumber>,
    /// Whether it may only read.
    pub is_dry: bool,
    /// Whether it came to a plan, if it came to its end.
    pub planned: bool,
}

/// What a person let through.
#[derive(Debug)]
pub struct Approved {
    pub id: String,
    pub operation: Operation,
    /// The rules that had held it.
    pub rules: BTreeSet<&'static str>,
    /// The first request that may have known of it.
    pub before: u64,
}

/// All that is known of what happened, for the witness.
pub struct Tale<'a> {
    pub story: &'a Story,
    pub world: &'a World,
    pub windows: Vec<Window>,
    pub approved: Vec<Approved>,
    /// How the runs after the troubles ended.
    pub endings: Vec<String>,
    pub wrong: Vec<String>,
}

struct Player<'a> {
    tale: Tale<'a>,
    reconciler: Option<Reconciler>,
    round: usize,
}

/// What is to be counted of a story that went well.
#[derive(Debug, Default)]
pub struct Figures {
    pub runs: usize,
    pub requests: usize,
    pub faults: usize,
    pub changes: usize,
    pub outside: usize,
    pub late: usize,
}

/// Tells a story, and what was wrong in it.
pub async fn play(story: &Story, shows: bool) -> (Figures, Vec<String>) {
    let world = world(story).await;
    for user in &story.users {
        world.org().add_user(user.clone());
    }
    let mut player = Player {
        tale: Tale {
            story,
            world: &world,
            windows: Vec::new(),
            approved: Vec::new(),
            endings: Vec::new(),
            wrong: Vec::new(),
        },
        reconciler: None,
        round: 0,
    };
    for (at, round) in story.rounds.iter().enumerate() {
        player.round = at;
        player.play(round).await;
    }
    player.settle().await;
    player.reconciler = None;
    let tale = player.tale;
    let wrong = witness::testify(&tale).await;
    let org = world.org();
    if shows {
        show(&tale);
    }
    let history = org.history();
    let figures = Figures {
        runs: tale.windows.len(),
        requests: org.requests().len(),
        faults: org
            .requests()
            .iter()
            .filter(|request| request.fault.is_some())
            .count(),
        changes: history
            .iter()
            .filter(|change| change.request.is_some())
            .count(),
        outside: history
            .iter()
            .filter(|change| change.request.is_none())
            .count()
            - story.users.len(),
        late: usize::from(tale.endings.len() > 1),
    };
    (figures, wrong)
}

/// What happened, request by request, for whoever looks into a failure.
fn show(tale: &Tale<'_>) {
    let history = tale.world.org().history();
    for request in tale.world.org().requests() {
        for window in tale
            .windows
            .iter()
            .filter(|window| window.first == request.number)
        {
            println!("{window:?}");
        }
        let Request {
            number,
            at_ms,
            key,
            method,
            path,
            query,
            status,
            body,
            fault,
            ..
        } = &request;
        let changed = history.iter().any(|change| change.request == Some(*number));
        let body = body.as_ref().map(ToString::to_string).unwrap_or_default();
        println!(
            "  {number} {at_ms} {key:?} {method} {path}?{query} {body} -> {status} {} {}",
            fault.as_deref().unwrap_or_default(),
            if changed { "(changed)" } else { "" }
        );
    }
    println!("{:?}", tale.endings);
}

async fn world(story: &Story) -> World {
    let stand_in = &story.stand_in;
    let mut keys = stand_in.keys.clone();
    keys.push(SPARE.to_owned());
    let world = World::as_told(Options {
        requests_per_minute: stand_in.per_minute,
        keys,
        page_size: stand_in.page_size,
        filter: stand_in.filter,
        patch_answer: stand_in.patch_answer,
        history: true,
        ..Options::default()
    })
    .await;
    let keys = world.folder.path().join("keys");
    std::fs::write(&keys, stand_in.keys.join("\n")).expect("the keys are written");
    let world = world
        .without("OMNI_API_KEY")
        .set("omni.api_key_file", &keys.display().to_string());
    let settings = story.settings.iter();
    settings.fold(world, |world, (key, value)| world.set(key, value))
}

impl Player<'_> {
    fn org(&self) -> &Org {
        self.tale.world.org()
    }

    fn next_request(&self) -> u64 {
        self.org().requests().len() as u64 + 1
    }

    fn complain(&mut self, what: impl Into<String>) {
        self.tale.wrong.push(what.into());
    }

    async fn play(&mut self, round: &Round) {
        write(self.tale.world, &round.file);
        let base = self.next_request() - 1;
        for trouble in &round.troubles {
            if let Wrong::Fault { what, when, times } = &trouble.what {
                let when = When {
                    from: Some(base + trouble.at),
                    ..when.clone()
                };
                let (what, times) = (what.clone(), *times);
                self.org().fault(Fault { when, what, times });
            }
        }
        for run in &round.runs {
            if run.restart {
                self.reconciler = None;
            }
            if run.plan {
                self.look().await;
            }
            let outcome = self.run(run, &round.troubles, base).await;
            if let Some(outcome) =
                outcome.filter(|outcome| round.approves && !outcome.held().is_empty())
            {
                self.approve(&outcome).await;
            }
        }
        if round.wall_jump != 0 {
            self.reconciler = None;
            shift(self.tale.world, round.wall_jump * 60_000);
        }
    }

    /// `plan`, beside whoever else has the state database.
    async fn look(&mut self) {
        let first = self.next_request();
        // It may meet a fault, as any run.
        let _planned = self.tale.world.plan().await;
        self.close(first, None, true, false);
    }

    /// One run, with what happens at its requests. `None` if it was killed.
    async fn run(&mut self, run: &Run, troubles: &[Trouble], base: u64) -> Option<RunOutcome> {
        let first = self.next_request();
        let (stop, killed) = (Stop::default(), CancellationToken::new());
        for trouble in troubles.iter().filter(|trouble| base + trouble.at >= first) {
            plan_trouble(self.org(), base + trouble.at, &trouble.what, &stop, &killed);
        }
        let world = self.tale.world;
        let reconciler = self.reconciler.get_or_insert_with(|| world.reconciler());
        let outcome = tokio::select! {
            biased;
            () = killed.cancelled() => None,
            outcome = tokio::time::timeout(ENDLESS, reconciler.run(run.trigger, None, &stop)) => {
                Some(outcome)
            }
        };
        self.org().clear_actions();
        let outcome = match outcome {
            Some(Err(_elapsed)) => {
                self.complain("a run did not end");
                None
            }
            Some(Ok(outcome)) => Some(outcome),
            None => None,
        };
        if outcome.is_none() {
            self.reconciler = None;
            // What was on its way arrives.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let number = self.last_run().await;
        let planned = outcome
            .as_ref()
            .is_some_and(|outcome| outcome.pending().is_some());
        self.close(first, number, false, planned);
        outcome
    }

    /// The number of the run that has just been, if it has one.
    async fn last_run(&self) -> Option<RunNumber> {
        let runs = self
            .tale
            .world
            .state_db()
            .runs(1)
            .await
            .expect("the state database can be read");
        let last = runs.first()?.number;
        let is_known = self
            .tale
            .windows
            .iter()
            .any(|window| window.number == Some(last));
        (!is_known).then_some(last)
    }

    fn close(&mut self, first: u64, number: Option<RunNumber>, is_dry: bool, planned: bool) {
        let (last, round) = (self.next_request() - 1, self.round);
        self.tale.windows.push(Window {
            first,
            last,
            round,
            number,
            is_dry,
            planned,
        });
    }

    async fn approve(&mut self, outcome: &RunOutcome) {
        let Some(number) = outcome.number else { return };
        let world = self.tale.world;
        let reconciler = self.reconciler.get_or_insert_with(|| world.reconciler());
        let run = RunRef::Number(number);
        match reconciler
            .observer()
            .state()
            .approve(run, "test", Utc::now(), false)
            .await
        {
            Ok(approval) => {
                let before = self.next_request();
                let rules: BTreeSet<_> = outcome
                    .held()
                    .iter()
                    .map(|held| held.rule.as_str())
                    .collect();
                let users = approval.users.into_iter().map(|user| Approved {
                    id: user.user_id.as_str().to_owned(),
                    operation: user.operation,
                    rules: rules.clone(),
                    before,
                });
                self.tale.approved.extend(users);
            }
            Err(error) => self.complain(format!("what is held can't be approved: {error}")),
        }
    }

    /// All is well again: it converges.
    async fn settle(&mut self) {
        self.org().clear_faults();
        self.org().clear_actions();
        self.rotate_keys();
        self.reconciler = None;
        let run = Run {
            trigger: Trigger::Command,
            restart: true,
            plan: false,
        };
        for _ in 0..MOST_RUNS {
            let Some(outcome) = self.run(&run, &[], 0).await else {
                return;
            };
            self.tale.endings.push(outcome.result().as_str().to_owned());
            if !matches!(outcome.completion, Completion::Complete) {
                return self.complain(format!("with all well again: {:?}", outcome.completion));
            }
            // Where the roster itself says that nobody may be pruned, that is told in each run.
            if !outcome.blocked().is_empty() && self.may_prune() {
                self.complain(format!("with all well again: {:?}", outcome.blocked()));
            }
            if outcome.held().is_empty() {
                break;
            }
            self.approve(&outcome).await;
        }
        self.reconciler = None;
        let first = self.next_request();
        match self.tale.world.plan().await {
            Ok(plan) => {
                let protected = plan.assessment.verdict.protected().len();
                let left: Vec<_> = plan.assessment.verdict.all().collect();
                if left.len() > protected {
                    self.complain(format!("after a clean run it still plans {left:#?}"));
                }
            }
            Err(error) => self.complain(format!("with all well again, no plan: {error}")),
        }
        self.close(first, None, true, true);
    }

    fn may_prune(&self) -> bool {
        let last = self.tale.story.rounds.last();
        last.and_then(|round| round.file.sheet())
            .is_some_and(Sheet::may_prune)
    }

    /// Somebody takes revoked keys out, and a new one in where there is none left.
    fn rotate_keys(&self) {
        let rounds = self.tale.story.rounds.iter();
        let revoked: Vec<_> = rounds
            .flat_map(|round| &round.troubles)
            .filter_map(|trouble| match trouble.what {
                Wrong::Revoked(key) => Some(key),
                _ => None,
            })
            .collect();
        let keys = self.tale.story.stand_in.keys.iter().enumerate();
        let good = keys
            .filter(|(at, _)| !revoked.contains(at))
            .map(|(_, key)| key.as_str());
        let mut good: Vec<_> = good.collect();
        if good.is_empty() {
            good.push(SPARE);
        }
        let path = self.tale.world.folder.path().join("keys");
        std::fs::write(path, good.join("\n")).expect("the keys are written");
    }
}

fn write(world: &World, file: &File) {
    match file.text() {
        Some(text) => world.roster(&text),
        None => drop(std::fs::remove_file(world.roster_path())),
    }
}

/// What happens right before a request.
fn plan_trouble(org: &Org, at: u64, what: &Wrong, stop: &Stop, killed: &CancellationToken) {
    let cancel = |token: &CancellationToken| {
        let token = token.clone();
        org.before(at, move |_| token.cancel());
    };
    match what.clone() {
        Wrong::Fault { .. } => {}
        Wrong::Outside(outside) => org.before(at, move |org| act(org, &outside)),
        Wrong::Revoked(key) => org.before(at, move |org| org.revoke_key(&format!("key-{key}"))),
        Wrong::Pause(time) => {
            org.before(at, move |_| drop(tokio::spawn(tokio::time::advance(time))))
        }
        Wrong::Killed => cancel(killed),
        Wrong::Stopped => cancel(&stop.now),
        Wrong::Superseded => cancel(&stop.for_next),
    }
}

fn act(org: &Org, outside: &Outside) {
    let is_there = |email: &str| org.user(email).is_some();
    match outside {
        Outside::Attribute(email, name, value) if is_there(email) => {
            org.set_attribute(email, name, value.clone());
        }
        Outside::Name(email, name) if is_there(email) => org.set_display_name(email, name),
        Outside::Active(email, active) if is_there(email) => org.set_active(email, *active),
        Outside::Remove(email) if is_there(email) => org.remove_user(email),
        Outside::Remake(email) => {
            if is_there(email) {
                org.remove_user(email);
            }
            if !is_there(email) {
                org.add_user(serde_json::json!({ "userName": email, "displayName": "Made again" }));
            }
        }
        Outside::Add(email) if !is_there(email) => {
            org.add_user(serde_json::json!({ "userName": email, "displayName": "New" }));
        }
        _ => {}
    }
}

/// The wall clock is found to be elsewhere: what the state database remembers is so much later or earlier. The
/// throttle minds it no more than the time of year, since within a boot it goes by the kernel's clock.
fn shift(world: &World, by_ms: i64) {
    let path = world.state_db().path().to_owned();
    let db = rusqlite::Connection::open(path).expect("the state database opens");
    for (table, columns) in [
        ("runs", &["started", "ended"][..]),
        ("changes", &["intended", "settled"]),
        ("managed", &["since", "missing_since"]),
        ("deactivated", &["since"]),
        ("roster", &["accepted"]),
        ("approvals", &["approved", "expires"]),
        ("quarantine", &["until"]),
    ] {
        for column in columns {
            let sql = format!("UPDATE {table} SET {column} = {column} + ?1");
            db.execute(&sql, [by_ms]).expect("times are numbers");
        }
    }
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        let Self {
            runs,
            requests,
            faults,
            changes,
            outside,
            late,
        } = other;
        self.runs += runs;
        self.requests += requests;
        self.faults += faults;
        self.changes += changes;
        self.outside += outside;
        self.late += late;
    }
}
