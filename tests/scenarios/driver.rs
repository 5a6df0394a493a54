//! Plays a scenario: the program's own parts over HTTP against the mock server, and outside changes.

use crate::clock::shift;
use crate::comparison::Comparison;
use crate::files::{Files, with_files};
use crate::invariants;
use crate::readings::hidden;
use crate::record::{Approved, Record, Totals, Window, show};
use crate::roles::UNKNOWN;
use crate::roster::FileState;
use crate::scenario::{Kind, SPARE_KEY, Scenario, Step};
use crate::support::World;
use crate::trouble::Trouble;
use chrono::{TimeDelta, Utc};
use omni_user_sync::model::{Change, Operation, RunNumber, RunRef, Trigger};
use omni_user_sync::plan::Assessment;
use omni_user_sync::run::{Completion, Reconciler, RunError, RunOutcome, Stop};
use omni_user_sync::sandbox::{Fault, Options, Org, Request, When};
use omni_user_sync::state::{Access, StateDb};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// More than any run takes: 120 s for each of a few 429s, a minute each for a few hundred requests.
const MAX_RUN_TIME: Duration = Duration::from_secs(4 * 3600);
/// The number of runs needed after the last trouble: each of the eleven rules that hold takes an approval and another
/// run.
const MAX_LAST_RUNS: usize = 12;
/// The number of runs that read the roles of all users.
const ROLE_RUNS: usize = 2;

/// Longer than a list may lag: after it, a user that it lacks was not created.
const LIST_LAG: TimeDelta = TimeDelta::minutes(6);

struct Driver<'a> {
    record: Record<'a>,
    reconciler: Option<Reconciler>,
    files: Files,
    /// By the number of the request.
    troubles: Vec<(u64, Trouble)>,
    /// Until the first difference.
    comparison: Option<Comparison>,
}

/// Plays a scenario and returns what was wrong.
pub(crate) async fn play(scenario: &Scenario, is_shown: bool) -> (Totals, Vec<String>) {
    let world = world(scenario).await;
    for user in &scenario.users {
        world.org().add_user(user.clone());
    }
    scenario
        .access
        .iter()
        .for_each(|access| access.begin(world.org()));
    scenario
        .schedules
        .iter()
        .for_each(|schedules| schedules.begin(world.org()));
    let roles = scenario.roles.as_ref();
    let catalogue = roles.map(|roles| roles.begin(world.org()));
    let mut driver = Driver {
        record: Record {
            scenario,
            world: &world,
            catalogue: catalogue.unwrap_or_default(),
            windows: Vec::new(),
            approved: Vec::new(),
            last_results: Vec::new(),
            wrong: Vec::new(),
            restarts: Vec::new(),
            at_first: world.org().history().len(),
        },
        reconciler: None,
        files: Files::new(),
        troubles: Vec::new(),
        comparison: None,
    };
    if scenario.kind == Kind::NoFaults {
        let catalogue = driver.record.catalogue.clone();
        driver.comparison = Some(Comparison::new(scenario, catalogue));
    }
    for step in &scenario.steps {
        driver.take(step).await;
    }
    driver.settle().await;
    let compared = driver.comparison.as_ref().map(Comparison::compared);
    let Driver { record, .. } = driver;
    let wrong = invariants::check(&record).await;
    if is_shown {
        show(&record);
    }
    (Totals::of(&record, compared.unwrap_or_default()), wrong)
}

async fn world(scenario: &Scenario) -> World {
    let mut keys = scenario.options.keys.clone();
    keys.push(SPARE_KEY.to_owned());
    let options = scenario.options.clone();
    let world = World::with_limit(Options { keys, ..options }).await;
    let keys = world.folder.path().join("keys");
    std::fs::write(&keys, scenario.options.keys.join("\n")).expect("the keys are written");
    let world = world
        .without("OMNI_API_KEY")
        .set("omni.api_key_file", &keys.display().to_string());
    let world = with_files(world, scenario);
    let settings = scenario.settings().into_iter();
    settings.fold(world, |world, (key, value)| world.set(key, &value))
}

impl<'a> Driver<'a> {
    fn org(&self) -> &'a Org {
        self.record.world.org()
    }

    fn next_request(&self) -> u64 {
        self.org().requests().len() as u64 + 1
    }

    fn complain(&mut self, what: impl Into<String>) {
        self.record.wrong.push(what.into());
    }

    /// Whether lists show every user that was created.
    fn lists_show_all(&self) -> bool {
        let lag = self.record.scenario.options.list_lag;
        hidden(self.record.world, lag).is_empty()
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Roster(roster) => self.files.roster = roster.clone(),
            Step::File(file) => self.files.state = *file,
            Step::GroupsFile(file) => self.files.groups = Some(file.clone()),
            Step::RolesFile(file) => self.files.roles = Some(file.clone()),
            Step::Outside(outside) => outside.act(self.org(), &self.record.catalogue),
            Step::Trouble(at, trouble) => self.expect_trouble(*at, trouble),
            Step::Run(trigger) => drop(self.run(*trigger).await),
            Step::Plan => drop(self.plan().await),
            Step::Restart => self.end_process(),
            Step::Approve => drop(self.approve().await),
            Step::ClockJump(minutes) => {
                self.end_process();
                shift(self.record.world, minutes * 60_000);
            }
        }
        self.files.write(self.record.world);
    }

    fn expect_trouble(&mut self, at: u64, trouble: &Trouble) {
        let number = self.next_request() - 1 + at;
        match trouble {
            Trouble::Fault { what, when, times } => {
                let from = Some(number);
                let when = When {
                    from,
                    ..when.clone()
                };
                let (what, times) = (what.clone(), *times);
                self.org().fault(Fault { when, what, times });
            }
            _ => self.troubles.push((number, trouble.clone())),
        }
    }

    fn end_process(&mut self) {
        self.reconciler = None;
        self.record.restarts.push(self.next_request());
    }

    /// A plan, beside the process that has the state lock. It may meet a fault, as any run.
    async fn plan(&mut self) -> Result<Assessment, RunError> {
        let first = self.next_request();
        let shows_all = self.lists_show_all();
        let planned = self.record.world.plan().await;
        self.close(first, None, true, planned.is_ok());
        let plan = planned.map(|plan| plan.assessment);
        if let (Some(comparison), true) = (&self.comparison, shows_all) {
            let world = self.record.world;
            let compared = comparison.plan(world, &self.files, &plan).await;
            self.end_comparison_on(compared);
        }
        plan
    }

    /// One run, with what happens at its requests. `None` if it was killed.
    async fn run(&mut self, trigger: Trigger) -> Option<RunOutcome> {
        let (first, world) = (self.next_request(), self.record.world);
        let mut trigger = trigger;
        if let Some(comparison) = &mut self.comparison {
            trigger = comparison.begin(world, trigger, &self.files).await;
        }
        let outcome = self.run_alone(trigger, first).await;
        if outcome.is_none() {
            self.end_process();
            // Requests on their way arrive.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if let Some(comparison) = &mut self.comparison {
            let compared = comparison.end(world, &self.files, outcome.as_ref()).await;
            self.end_comparison_on(compared);
        }
        let number = self.last_run().await;
        let planned = outcome
            .as_ref()
            .is_some_and(|outcome| outcome.planned().is_some());
        self.close(first, number, false, planned);
        outcome
    }

    fn end_comparison_on(&mut self, compared: Result<(), String>) {
        if let Err(difference) = compared {
            self.comparison = None;
            self.complain(format!("differs from the reference: {difference}"));
        }
    }

    async fn run_alone(&mut self, trigger: Trigger, first: u64) -> Option<RunOutcome> {
        let (stop, killed) = (Stop::default(), CancellationToken::new());
        for (at, trouble) in self.troubles.iter().filter(|(at, _)| *at >= first) {
            self.schedule(*at, trouble, &stop, &killed);
        }
        let world = self.record.world;
        let reconciler = self.reconciler.get_or_insert_with(|| world.reconciler());
        let run = reconciler.run(trigger, None, &stop);
        let outcome = tokio::select! {
            biased;
            () = killed.cancelled() => None,
            outcome = tokio::time::timeout(MAX_RUN_TIME, run) => Some(outcome),
        };
        self.org().clear_actions();
        if let Some(Err(_elapsed)) = &outcome {
            self.complain("a run did not end");
        }
        outcome?.ok()
    }

    /// The number of the run that has just been, if it has one.
    async fn last_run(&self) -> Option<RunNumber> {
        let runs = self.record.world.state_db().runs(1).await;
        let last = runs
            .expect("the state database can be read")
            .first()?
            .number;
        let mut known = self.record.windows.iter();
        (!known.any(|window| window.number == Some(last))).then_some(last)
    }

    /// Whether a run accepts columns that Omni does not know, because Omni refused to show its definitions.
    fn accepts_any_column(&self, first: u64) -> bool {
        let requests = self.org().requests();
        let refuses = |request: &Request| {
            request.number >= first
                && request.path.ends_with("user-attributes")
                && request.status == 403
        };
        self.files.state == FileState::UnknownColumn && requests.iter().any(refuses)
    }

    fn close(&mut self, first: u64, number: Option<RunNumber>, is_dry: bool, planned: bool) {
        let last = self.next_request() - 1;
        let Files {
            roster,
            groups,
            roles,
            ..
        } = &self.files;
        let accepted = self.accepts_any_column(first).then_some(roster);
        self.record.windows.push(Window {
            first,
            last,
            roster: self.files.readable().or(accepted).cloned(),
            groups_file: groups.clone(),
            roles_file: roles.clone(),
            number,
            is_dry,
            planned,
        });
    }

    /// Approves what the last run held, as `approve` does. Returns whether there was anything.
    async fn approve(&mut self) -> bool {
        let world = self.record.world;
        let dir = world.settings().state.dir;
        // Before the first run there is no state database.
        let Ok(db) = StateDb::open(&world.sandbox.url(), Access::Approve(&dir)) else {
            return false;
        };
        let Ok(approval) = db.approve(RunRef::Latest, "test", Utc::now(), false).await else {
            return false;
        };
        if let Some(comparison) = &mut self.comparison {
            comparison.approve(&approval.changes());
        }
        let before = self.next_request();
        let changes = approval.changes().into_iter();
        let changes = changes.filter_map(|change| Approved::of(change, before));
        self.record.approved.extend(changes);
        true
    }

    /// Without faults, with a readable roster and with approvals, it converges.
    async fn settle(&mut self) {
        self.org().clear_faults();
        self.troubles.clear();
        self.rotate_keys();
        self.files.restore();
        self.take(&Step::File(FileState::Whole)).await;
        self.take(&Step::Restart).await;
        let (mut runs, mut is_later) = (0, false);
        while runs < MAX_LAST_RUNS {
            let shows_all = self.lists_show_all();
            if shows_all && !is_later {
                is_later = true;
                self.end_process();
                shift(self.record.world, -LIST_LAG.num_milliseconds());
            }
            let Some(outcome) = self.run(Trigger::Command).await else {
                return;
            };
            let result = outcome.result().as_str().to_owned();
            self.record.last_results.push(result);
            if !matches!(outcome.completion, Completion::Complete) {
                return self.complain(format!("without faults: {:?}", outcome.completion));
            }
            if !shows_all {
                // Removals wait until lists show every user.
                continue;
            }
            runs += 1;
            // A roster that may not prune is reported in each run.
            if !outcome.blocked().is_empty() && self.files.roster.may_prune() {
                self.complain(format!("without faults: {:?}", outcome.blocked()));
            }
            let has_held = !outcome.held().is_empty();
            if !has_held && (self.files.roles.is_none() || runs >= ROLE_RUNS) {
                break;
            }
            if has_held && !self.approve().await {
                return self.complain("what is held can't be approved");
            }
        }
        self.end_process();
        match self.plan().await {
            Ok(plan) => {
                let protected = plan.verdict.protected();
                let mut left: Vec<_> = plan.verdict.all().collect();
                left.retain(|change| !protected.contains(change) && !self.is_refused(change));
                if !left.is_empty() {
                    self.complain(format!("after a clean run it still plans {left:#?}"));
                }
            }
            Err(error) => self.complain(format!("without faults, no plan: {error}")),
        }
    }

    /// Whether Omni never accepts a change.
    fn is_refused(&self, change: &Change) -> bool {
        let is_unknown = change
            .role()
            .is_some_and(|role| role.to.as_str() == UNKNOWN);
        let scenario = self.record.scenario;
        is_unknown
            || change.operation() == Operation::Leave && !scenario.may_leave()
            || change.operation().is_removal() && !scenario.may_remove()
    }

    /// Removes revoked keys, and adds a new one if none is left.
    fn rotate_keys(&self) {
        let scenario = self.record.scenario;
        let is_revoked = |at: usize| {
            let mut troubles = scenario.troubles();
            troubles.any(|trouble| matches!(trouble, Trouble::KeyRevoked(key) if *key == at))
        };
        let keys = scenario.options.keys.iter().enumerate();
        let valid = keys.filter(|(at, _)| !is_revoked(*at));
        let mut valid: Vec<_> = valid.map(|(_, key)| key.as_str()).collect();
        if valid.is_empty() {
            valid.push(SPARE_KEY);
        }
        let path = self.record.world.folder.path().join("keys");
        std::fs::write(path, valid.join("\n")).expect("the keys are written");
    }

    /// Schedules what happens right before a request.
    fn schedule(&self, at: u64, trouble: &Trouble, stop: &Stop, killed: &CancellationToken) {
        let org = self.org();
        let cancel = |token: &CancellationToken| {
            let token = token.clone();
            org.before(at, move |_| token.cancel());
        };
        match trouble.clone() {
            Trouble::Fault { .. } => {}
            Trouble::Outside(outside) => {
                let catalogue = self.record.catalogue.clone();
                org.before(at, move |org| outside.act(org, &catalogue));
            }
            Trouble::KeyRevoked(key) => {
                org.before(at, move |org| org.revoke_key(&format!("key-{key}")))
            }
            Trouble::Pause(time) => {
                org.before(at, move |_| drop(tokio::spawn(tokio::time::advance(time))))
            }
            Trouble::Killed => cancel(killed),
            Trouble::Stopped => cancel(&stop.now),
            Trouble::Superseded => cancel(&stop.for_next),
        }
    }
}
