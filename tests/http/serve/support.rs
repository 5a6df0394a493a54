//! A test server with history in its state database, and a plain HTTP client.

use crate::support::results::{plan_summary, run_end};
use chrono::{DateTime, TimeDelta, Utc};
use omni_user_sync::metrics::Metrics;
use omni_user_sync::model::{
    ChangeIntent, ChangeOutcome, Counts, Email, Field, FieldChange, GuardRule, HeldChange,
    HeldRecord, Location, NewIds, Operation, OwnershipUpdate, Problem, ProblemKind, Quarantined,
    RunEnd, RunNumber, RunResult, RunStart, Settled, Trigger, UserId, Value,
};
use omni_user_sync::plan::HeldSummary;
use omni_user_sync::report::ReportFolder;
use omni_user_sync::run::{Applied, Completion, Observer, PlanSummary, RunOutcome};
use omni_user_sync::serve::{Probes, Server, ServerConfig};
use omni_user_sync::settings::{self, Environment, SecretFile, Settings};
use omni_user_sync::state::{Access, StateDb, StateLock};
use omni_user_sync::status::Status;
use omni_user_sync::trigger::Wake;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A generous time limit.
pub(crate) const GENEROUS: Duration = Duration::from_secs(30);

pub(crate) const TOKEN: &str = "hunter2-hunter2-hunter2";

/// A value that would run as a script if it were not escaped.
pub(crate) const HOSTILE: &str = "<script>alert(\"x\")</script>&'";

/// The configuration of a test server.
pub(crate) struct ServerOptions {
    pub(crate) listen: &'static str,
    pub(crate) hosts: Vec<String>,
    pub(crate) token: Option<&'static str>,
    /// Whether the server runs on its own thread, as in the daemon.
    pub(crate) on_thread: bool,
    pub(crate) is_watched: bool,
    pub(crate) user_header: Option<&'static str>,
    /// The URL of Omni.
    pub(crate) omni: String,
    /// More settings, as environment variables.
    pub(crate) settings: &'static [(&'static str, &'static str)],
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0",
            hosts: Vec::new(),
            token: Some(TOKEN),
            on_thread: false,
            is_watched: true,
            user_header: None,
            omni: "https://acme.omniapp.co".into(),
            settings: &[],
        }
    }
}

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    pub(crate) db: StateDb,
    pub(crate) status: Status,
    pub(crate) wake: Wake,
    pub(crate) config: ServerConfig,
    pub(crate) folder: TempDir,
}

/// A server with the default configuration.
pub(crate) async fn test_server() -> TestServer {
    server_with(ServerOptions::default()).await
}

pub(crate) async fn server_with(options: ServerOptions) -> TestServer {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("state");
    let lock = StateLock::acquire(&dir, "test").expect("a lock");
    let settings = settings_with(&options.omni, folder.path(), options.settings);
    let org = settings.omni.base_url().expect("is set").to_string();
    let db = StateDb::open(&org, Access::Write(lock)).expect("a database");
    let reader = StateDb::open(&org, Access::Read(&dir)).expect("a reader");
    let (status, wake) = (Status::new(None), Wake::default());
    let token_path = folder.path().join("token");
    if let Some(token) = options.token {
        std::fs::write(&token_path, token).expect("written");
    }
    let secret = |_| SecretFile::new("serve.admin_token_file", token_path.clone());
    let row_reports = ReportFolder::of(&settings.source);
    let metrics = Metrics::new();
    let explainer = Observer::new(Arc::new(settings), metrics.outside_runs(), reader.clone());
    let config = ServerConfig {
        probes: Probes {
            status: status.clone(),
            metrics,
        },
        reader,
        writer: db.clone(),
        explainer: Arc::new(explainer.expect("an observer")),
        wake: wake.clone(),
        hosts: options.hosts,
        admin_token: options.token.map(secret),
        is_watched: options.is_watched,
        row_reports,
        user_header: options.user_header.map(Into::into),
    };
    let listen = options.listen.parse().expect("an address");
    let server = Server::bind(listen, config.clone())
        .await
        .expect("a free port");
    // The heartbeat of the run loop.
    let alive = status.clone();
    tokio::spawn(async move {
        loop {
            alive.beat();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let (address, stop) = (server.address(), CancellationToken::new());
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        match options.on_thread {
            true => server.run_on_thread(stopped).await.expect("a thread"),
            false => server.run(stopped).await,
        }
    });
    TestServer {
        address,
        task,
        stop,
        db,
        status,
        wake,
        config,
        folder,
    }
}

/// Settings with the roster `users.csv` in the folder.
#[cfg(feature = "sandbox")]
pub(crate) fn settings(omni: &str, folder: &Path) -> Settings {
    settings_with(omni, folder, &[])
}

fn settings_with(omni: &str, folder: &Path, more: &[(&str, &str)]) -> Settings {
    let path = |name: &str| folder.join(name).display().to_string();
    let variables = [
        ("OMNI_BASE_URL", omni.to_owned()),
        ("OMNI_API_KEY", "sandbox-key".to_owned()),
        ("OMNI_USER_SYNC__SOURCE__PATH", path("users.csv")),
        ("OMNI_USER_SYNC__SOURCE__SETTLE", "0s".to_owned()),
        ("OMNI_USER_SYNC__POLICY__PRUNE", "managed".to_owned()),
        ("OMNI_USER_SYNC__POLICY__PROTECT", "boss@*".to_owned()),
        ("OMNI_USER_SYNC__STATE__DIR", path("state")),
    ];
    let more = more
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    let named = variables.into_iter().chain(more);
    let named = named.map(|(name, value)| (name.to_owned(), value));
    let environment: Environment = named.collect();
    settings::load(None, &environment).expect("the settings are fine")
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The cookie of the response, as a browser sends it back.
    pub(crate) fn cookie(&self) -> String {
        let cookie = self.header("set-cookie").expect("a cookie");
        cookie.split(';').next().expect("a pair").to_owned()
    }
}

impl TestServer {
    pub(crate) fn token_path(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// Sends bytes, and returns all bytes that the server sends until it closes the connection.
    pub(crate) async fn say(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.address.port()))
            .await
            .expect("connects");
        stream.write_all(bytes.as_bytes()).await.expect("is sent");
        let mut answer = String::new();
        let read = timeout(GENEROUS, stream.read_to_string(&mut answer));
        read.await.expect("is answered in time").expect("is text");
        answer
    }

    /// Sends a request with exactly these headers.
    pub(crate) async fn ask(&self, request: &str, headers: &[&str], body: &str) -> Answer {
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let text = self
            .say(&format!(
                "{request} HTTP/1.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ))
            .await;
        Answer::read(&text)
    }

    /// Sends a request like a browser on this machine.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &["Host: localhost"], "")
            .await
    }

    /// Sends a request with the admin token.
    pub(crate) async fn post(&self, path: &str) -> Answer {
        let bearer = format!("Authorization: Bearer {TOKEN}");
        self.ask(&format!("POST {path}"), &["Host: localhost", &bearer], "")
            .await
    }

    /// Submits the login form.
    pub(crate) async fn log_in(&self, token: &str, headers: &[&str]) -> Answer {
        let form = "Content-Type: application/x-www-form-urlencoded";
        let headers = [&["Host: localhost", form], headers].concat();
        let body = format!("token={token}&next=%2Fruns%2F2");
        self.ask("POST /login", &headers, &body).await
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let so = timeout(GENEROUS, asking).await;
    assert!(so.is_ok(), "not in time: {what}");
}

pub(crate) fn email(text: &str) -> Email {
    Email::known(text).expect("an email")
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
}

/// Six users whose removal is held.
pub(crate) const REMOVED: [&str; 6] = ["a@x.co", "b@x.co", "c@x.co", "d@x.co", "e@x.co", "f@x.co"];

/// Adds two runs: one that created a user and failed to update another, and one that held six removals.
pub(crate) async fn add_history(server: &TestServer) {
    let db = &server.db;
    let first = begin(db, 0).await;
    let name = FieldChange::new(Field::DisplayName, None, Value::one(HOSTILE));
    change(
        db,
        first,
        Operation::Create,
        "<b>@x.co",
        vec![name],
        ChangeOutcome::Applied,
    )
    .await;
    change(
        db,
        first,
        Operation::Update,
        "ann@x.co",
        Vec::new(),
        ChangeOutcome::Failed,
    )
    .await;
    finish(db, first, end(2, RunResult::Partial, [1, 1, 0])).await;
    let second = begin(db, 60).await;
    let users = REMOVED.map(|user| HeldChange {
        user_id: Some(id(user)),
        operation: Operation::Delete,
        subject: email(user).into(),
        group: None,
        role: None,
        successor: None,
        fields: Vec::new(),
    });
    let held = HeldRecord {
        rule: GuardRule::MaxRemovals,
        reason: "6 of 20 users would be removed".into(),
        changes: users.to_vec(),
    };
    db.hold(second, &[held]).await.expect("written");
    finish(db, second, end(63, RunResult::Held, [0, 0, 6])).await;
    let quarantined = Quarantined {
        until: Utc::now() + TimeDelta::hours(1),
        failures: 2,
        undone: 0,
        fingerprint: [0; 32],
        reason: "Omni says no".into(),
    };
    let put = db.quarantine_put(&email("ann@x.co"), &quarantined).await;
    put.expect("written");
    server.status.run_ended(&outcome(), None);
}

pub(crate) fn id(user: &str) -> UserId {
    let plain: String = user.chars().filter(char::is_ascii_alphanumeric).collect();
    UserId::parse(&format!("id-{plain}")).expect("an id")
}

pub(crate) async fn begin(db: &StateDb, seconds: i64) -> RunNumber {
    let start = RunStart {
        trigger: Trigger::Schedule,
        started: at(seconds),
        is_source: true,
        max_gap: TimeDelta::hours(1),
    };
    db.begin(start).await.expect("written")
}

pub(crate) async fn finish(db: &StateDb, run: RunNumber, end: RunEnd) {
    db.finish(run, &end).await.expect("written");
}

pub(crate) async fn change(
    db: &StateDb,
    run: RunNumber,
    operation: Operation,
    user: &str,
    fields: Vec<FieldChange>,
    outcome: ChangeOutcome,
) {
    let intent = ChangeIntent {
        intended: at(1),
        subject: email(user).into(),
        user_id: (operation != Operation::Create).then(|| id(user)),
        operation,
        group: None,
        role: None,
        fields,
        approved: false,
    };
    let change = db.intend(run, &intent).await.expect("written");
    let detail = if outcome == ChangeOutcome::Applied {
        ""
    } else {
        "Omni says no"
    };
    let settled = Settled {
        at: at(2),
        outcome,
        detail: detail.into(),
    };
    db.settle(
        change,
        &settled,
        &NewIds::default(),
        OwnershipUpdate::default(),
    )
    .await
    .expect("written");
}

pub(crate) fn end(seconds: i64, result: RunResult, [applied, failed, held]: [u64; 3]) -> RunEnd {
    let held_removals = usize::try_from(held).expect("small");
    let planned = Counts::new([0, held_removals, 0, 0, 1, 1, 0, 0]);
    let created = usize::from(applied > 0);
    RunEnd {
        result,
        rows: Some(20),
        users: Some(21),
        planned: Some(planned),
        pending: Some(planned.without(&Counts::new([0, 0, 0, 0, 0, created, 0, 0]))),
        applied,
        failed,
        held,
        bad_rows: 1,
        requests: 7,
        ..run_end(at(seconds))
    }
}

/// The outcome of the last run.
fn outcome() -> RunOutcome {
    outcome_with(vec![problem(Some("bad@x.co"))])
}

/// A problem of a row, with or without a readable email.
pub(crate) fn problem(user: Option<&str>) -> Problem {
    Problem {
        kind: ProblemKind::Op,
        location: Location {
            file: "users.csv".into(),
            line: 22,
            column: Some((1, "op".into())),
        },
        message: format!("there is no op '{HOSTILE}'"),
        remedy: "write upsert, delete or deactivate".into(),
        email: user.map(email),
    }
}

/// The outcome of a run that read a roster with these problems.
pub(crate) fn outcome_with(bad_rows: Vec<Problem>) -> RunOutcome {
    let mut plan = PlanSummary {
        users: 21,
        held: vec![HeldSummary {
            rule: GuardRule::MaxRemovals,
            count: 6,
            reason: "too many".into(),
        }],
        warnings: vec!["a row occurs twice".into()],
        ..plan_summary()
    };
    plan.roster.rows = 20;
    plan.roster.bad_rows = bad_rows;
    RunOutcome::new(
        Some(RunNumber(2)),
        Trigger::Schedule,
        at(60),
        7,
        Some(plan),
        Applied::nothing(Completion::Complete),
    )
}
