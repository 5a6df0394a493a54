//! A world for tests: a mock server, a folder with a roster, and settings that join them. Each
//! test says only what is special about its own.

use chrono::Utc;
use omni_user_sync::metrics::Metrics;
use omni_user_sync::model::{
    AcceptedRoster, ChangeOutcome, Fingerprint, OwnershipUpdate, ReadingTime, RunOptions, Trigger,
};
use omni_user_sync::omni::{Client, Reader};
use omni_user_sync::run::{
    AppliedChange, Observer, Prepared, Reconciler, RunError, RunOutcome, Stop, Target,
};
use omni_user_sync::sandbox::{Fault, Options, Org, Request, Sandbox, What, When};
use omni_user_sync::settings::{self, Environment, Settings};
use omni_user_sync::state::{Access, StateDb, StateLock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const ATTRIBUTES: &str = "urn:omni:params:1.0:UserAttribute";

pub const WHOAMI: &str = "/api/v1/whoami";

pub struct World {
    pub sandbox: Sandbox,
    pub folder: TempDir,
    pub metrics: Metrics,
    variables: BTreeMap<String, String>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    /// A world whose mock server is special. Its limit is high unless said, so that no test waits.
    pub async fn with(options: Options) -> Self {
        let limit = match options.requests_per_minute {
            60 => 10_000,
            said => said,
        };
        Self::with_limit(Options {
            requests_per_minute: limit,
            ..options
        })
        .await
    }

    /// A world whose mock server has exactly this limit, and which uses all of it.
    pub async fn with_limit(options: Options) -> Self {
        let limit = options.requests_per_minute;
        let sandbox = Sandbox::start(options)
            .await
            .expect("the mock server starts");
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let variables = [
            ("OMNI_BASE_URL", sandbox.url()),
            ("OMNI_API_KEY", "sandbox-key".to_owned()),
            (
                "OMNI_USER_SYNC__OMNI__REQUESTS_PER_MINUTE",
                limit.to_string(),
            ),
            ("OMNI_USER_SYNC__SOURCE__PATH", path("users.csv")),
            ("OMNI_USER_SYNC__SOURCE__SETTLE", "0s".to_owned()),
            ("OMNI_USER_SYNC__STATE__DIR", path("state")),
        ];
        // What the program itself does counts for coverage too, where that is measured.
        let coverage = std::env::var("LLVM_PROFILE_FILE").ok();
        let coverage = coverage.map(|file| ("LLVM_PROFILE_FILE", file));
        let variables = variables
            .into_iter()
            .chain(coverage)
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Self {
            sandbox,
            folder,
            metrics: Metrics::new(),
            variables,
        }
    }

    /// Sets `section.key`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let name = format!("OMNI_USER_SYNC__{}", key.to_uppercase().replace('.', "__"));
        self.variables.insert(name, value.into());
        self
    }

    /// Sets an environment variable.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Takes an environment variable away.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    pub fn org(&self) -> &Org {
        self.sandbox.org()
    }

    pub fn roster_path(&self) -> PathBuf {
        self.folder.path().join("users.csv")
    }

    pub fn roster(&self, text: &str) {
        std::fs::write(self.roster_path(), text).expect("the roster is written");
    }

    /// Adds a user with these attributes.
    pub fn user(&self, email: &str, name: &str, attributes: Value) {
        self.org()
            .add_user(json!({ "userName": email, "displayName": name, ATTRIBUTES: attributes }));
    }

    /// An attribute of a user as Omni has it; null where it has none.
    pub fn attribute(&self, email: &str, name: &str) -> Value {
        let user = self
            .org()
            .user(email)
            .unwrap_or_else(|| panic!("there is no {email}"));
        user[ATTRIBUTES][name].clone()
    }

    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    pub fn settings(&self) -> Settings {
        let environment: Environment = self.variables.clone().into_iter().collect();
        settings::load(None, &environment).expect("the settings are fine")
    }

    /// A reconciler with the state lock, like a process of its own.
    pub fn reconciler(&self) -> Reconciler {
        let settings = self.settings();
        let lock = StateLock::acquire(&settings.state.dir, "test").expect("the lock is free");
        let state =
            StateDb::open(&self.sandbox.url(), Access::Write(lock)).expect("a state database");
        Reconciler::new(Arc::new(settings), self.metrics.clone(), state).expect("a reconciler")
    }

    /// A client that knows the keys.
    pub fn client(&self) -> Arc<Client> {
        let (settings, metrics) = (self.settings(), self.metrics.clone());
        let client = Client::new(&settings.omni, &settings.state.dir, metrics).expect("a client");
        client.begin(&settings.omni.keys.read().expect("keys"));
        client
    }

    pub fn reader(&self) -> Reader {
        self.client().reader(&CancellationToken::new())
    }

    /// The state database, for reading beside the writer.
    pub fn state_db(&self) -> StateDb {
        let dir = self.settings().state.dir;
        StateDb::open(&self.sandbox.url(), Access::Read(&dir)).expect("a state database")
    }

    pub fn target(&self) -> Target {
        Target {
            path: self.roster_path(),
            is_source: true,
            stable_fingerprint: None,
            only: None,
        }
    }

    pub async fn plan(&self) -> Result<Prepared, RunError> {
        let settings = Arc::new(self.settings());
        let observer = Observer::new(settings, self.metrics.clone(), self.state_db());
        observer?
            .plan(&self.target(), &CancellationToken::new())
            .await
    }

    /// A world with a state that is not new, so that pruning needs no approval.
    pub async fn with_history(self) -> Self {
        let accepted = AcceptedRoster {
            fingerprint: Fingerprint([0; 32]),
            rows: 0,
            files: Vec::new(),
        };
        let reconciler = self.reconciler();
        let state = reconciler.observer().state();
        let recorded = state.record_roster(OwnershipUpdate::default(), Some(accepted), Utc::now());
        recorded.await.expect("written");
        drop(reconciler);
        self
    }

    /// One run, as the daemon does it.
    pub async fn run(&self) -> RunOutcome {
        self.reconciler()
            .run(at_any_time(Trigger::Schedule), None, &Stop::default())
            .await
    }

    /// One run, as `apply` does it.
    pub async fn apply(&self) -> RunOutcome {
        self.reconciler()
            .run(Trigger::Command, None, &Stop::default())
            .await
    }

    /// The row reports, by name.
    pub fn reports(&self) -> Vec<(String, String)> {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join("reports")) else {
            return Vec::new();
        };
        let mut reports: Vec<_> = entries
            .map(|entry| {
                let entry = entry.expect("an entry");
                let text = std::fs::read_to_string(entry.path()).expect("a report");
                (entry.file_name().into_string().expect("a name"), text)
            })
            .collect();
        reports.sort();
        reports
    }

    /// `METHOD path` of each write, in order.
    pub fn writes(&self) -> Vec<String> {
        self.org()
            .writes()
            .iter()
            .map(|write| format!("{} {}", write.method, write.path))
            .collect()
    }

    /// The number of requests since the last call, and how many of them are writes. The question whose a key is counts
    /// for no run.
    pub fn take_requests(&self) -> (usize, usize) {
        let requests = self.org().requests();
        let requests = requests.iter().filter(|one| one.path != WHOAMI).count();
        let counts = (requests, self.org().writes().len());
        self.org().clear_requests();
        counts
    }

    /// How many writes of each method there were.
    pub fn write_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for write in self.org().writes() {
            *counts.entry(write.method).or_default() += 1;
        }
        counts
    }

    /// The writes whose bodies matter.
    pub fn bodies(&self) -> Vec<Value> {
        self.org()
            .writes()
            .into_iter()
            .filter_map(|write: Request| write.body)
            .collect()
    }

    /// What must hold after every test: we sent nothing that a correct client never sends.
    pub fn assert_well_behaved(&self) {
        assert_eq!(self.org().unexpected(), Vec::<String>::new());
        let too_many = self.org().too_many();
        assert!(too_many.is_empty(), "over the limit: {too_many:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_well_behaved();
        }
    }
}

/// The options of a run by this trigger. What a run of the daemon may read does not depend on the time of day: it has
/// the 15 minutes between two due times of the default schedule.
pub fn at_any_time(trigger: Trigger) -> RunOptions {
    let options = RunOptions::from(trigger);
    let reading_time = match options.reading_time {
        ReadingTime::UntilNextRun => ReadingTime::Within(Duration::from_secs(15 * 60)),
        time @ (ReadingTime::Unlimited | ReadingTime::Within(_)) => time,
    };
    RunOptions {
        reading_time,
        ..options
    }
}

/// One run by this trigger.
pub async fn started_by(trigger: Trigger, reconciler: &Reconciler) -> RunOutcome {
    let stop = Stop::default();
    reconciler.run(at_any_time(trigger), None, &stop).await
}

/// A fault of the next request of this method.
pub fn on(method: &str, what: What) -> Fault {
    let when = When {
        method: Some(method.into()),
        ..When::default()
    };
    Fault {
        when,
        ..Fault::next(what)
    }
}

/// `operation email outcome` of each change, sorted.
pub fn outcomes_of(outcome: &RunOutcome) -> Vec<String> {
    let show =
        |one: &AppliedChange| format!("{} {} {}", one.operation, one.subject, one.outcome.as_str());
    let mut outcomes: Vec<_> = outcome.changes.iter().map(show).collect();
    outcomes.sort();
    outcomes
}

/// That all went well.
pub fn assert_converged(outcome: &RunOutcome) {
    let failed: Vec<_> = outcome
        .changes
        .iter()
        .filter(|one| one.outcome != ChangeOutcome::Applied)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(outcome.result().as_str(), "converged", "{outcome:#?}");
}

/// A command that ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs the program in a world's environment and nothing else of this process's.
pub async fn command(world: &World, arguments: &[&str]) -> Ended {
    let mut command = assert_cmd::Command::cargo_bin("omni-user-sync").expect("the program");
    command
        .env_clear()
        .envs(world.variables())
        .args(arguments)
        .current_dir(world.folder.path());
    let std::process::Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("no panic")
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended {
        code: status.code().expect("no signal"),
        out: text(stdout),
        err: text(stderr),
    }
}
