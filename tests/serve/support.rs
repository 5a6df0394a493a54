//! A server with a journal in which something has happened, and HTTP by hand.

use chrono::{DateTime, TimeDelta, Utc};
use omni_user_sync::metrics::Metrics;
use omni_user_sync::model::{
    ChangeIntent, ChangeOutcome, Counts, Email, Field, FieldRecord, Fingerprint, HeldRecord,
    HeldUser, Location, Operation, Problem, ProblemKind, Protect, Quarantined, RunEnd, RunNumber,
    RunStart, Settled, Trigger, UserId, Value,
};
use omni_user_sync::run::{Completion, HeldRule, Reconciler, Roster, RunOutcome};
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

/// More than any of this should take.
pub(crate) const GENEROUS: Duration = Duration::from_secs(30);

pub(crate) const TOKEN: &str = "hunter2-hunter2-hunter2";

/// What would run if it were not escaped.
pub(crate) const HOSTILE: &str = "<script>alert(\"x\")</script>&'";

/// What a server is to be.
pub(crate) struct Wanted {
    pub(crate) listen: &'static str,
    pub(crate) hosts: Vec<String>,
    pub(crate) token: Option<&'static str>,
    /// Whether it serves on a thread of its own, as the daemon has it.
    pub(crate) is_apart: bool,
    pub(crate) is_watched: bool,
    /// Where Omni is.
    pub(crate) omni: String,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0",
            hosts: Vec::new(),
            token: Some(TOKEN),
            is_apart: false,
            is_watched: true,
            omni: "https://acme.omniapp.co".into(),
        }
    }
}

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    pub(crate) journal: StateDb,
    pub(crate) status: Status,
    pub(crate) wake: Wake,
    pub(crate) site: ServerConfig,
    pub(crate) folder: TempDir,
}

/// A server as most have it.
pub(crate) async fn served() -> Served {
    serving(Wanted::default()).await
}

pub(crate) async fn serving(wanted: Wanted) -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("state");
    let lock = StateLock::acquire(&dir, "test").expect("nobody else has it");
    let settings = settings(&wanted.omni, folder.path());
    let org = settings.omni.base_url().expect("is set").to_string();
    let journal = StateDb::open(&org, Access::Write(lock)).expect("a journal");
    let reader = StateDb::open(&org, Access::Read(&dir)).expect("a reader");
    let (status, wake) = (Status::new(None), Wake::default());
    let token_path = folder.path().join("token");
    if let Some(token) = wanted.token {
        std::fs::write(&token_path, token).expect("written");
    }
    let secret = |_| SecretFile::new("serve.admin_token_file", token_path.clone());
    let metrics = Metrics::new();
    let explainer = Reconciler::new(Arc::new(settings), metrics.outside_runs(), reader.clone());
    let site = ServerConfig {
        probes: Probes {
            status: status.clone(),
            metrics,
        },
        reader,
        writer: journal.clone(),
        explainer: Arc::new(explainer.expect("a reconciler")),
        wake: wake.clone(),
        hosts: wanted.hosts,
        admin_token: wanted.token.map(secret),
        is_watched: wanted.is_watched,
        protect: Protect::new(&["boss@*"]),
    };
    let listen = wanted.listen.parse().expect("an address");
    let server = Server::bind(listen, site.clone())
        .await
        .expect("a free port");
    // As the loop does, however long a test takes.
    let alive = status.clone();
    tokio::spawn(async move {
        loop {
            alive.beat();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let (address, stop) = (server.address(), CancellationToken::new());
    let told = stop.clone();
    let task = tokio::spawn(async move {
        match wanted.is_apart {
            true => server.run_apart(told).await.expect("a thread"),
            false => server.run(told).await,
        }
    });
    Served {
        address,
        task,
        stop,
        journal,
        status,
        wake,
        site,
        folder,
    }
}

/// Settings with the roster `users.csv` in the folder.
fn settings(omni: &str, folder: &Path) -> Settings {
    let path = |name: &str| folder.join(name).display().to_string();
    let variables = [
        ("OMNI_BASE_URL", omni.to_owned()),
        ("OMNI_API_KEY", "sandbox-key".to_owned()),
        ("OMNI_USER_SYNC__SOURCE__PATH", path("users.csv")),
        ("OMNI_USER_SYNC__SOURCE__SETTLE", "0s".to_owned()),
        ("OMNI_USER_SYNC__STATE__DIR", path("state")),
    ];
    let named = variables.map(|(name, value)| (name.to_owned(), value));
    let environment: Environment = named.into_iter().collect();
    settings::load(None, &environment).expect("the settings are fine")
}

/// An answer.
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

    /// The cookie that it sets, as a browser sends it back.
    pub(crate) fn cookie(&self) -> String {
        let cookie = self.header("set-cookie").expect("a cookie");
        cookie.split(';').next().expect("a pair").to_owned()
    }
}

impl Served {
    pub(crate) fn token_path(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// Sends bytes, and returns all that is answered until the connection is closed.
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

    /// A request with just these headers.
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

    /// As a browser on this machine asks.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &["Host: localhost"], "")
            .await
    }

    /// With the token.
    pub(crate) async fn post(&self, path: &str) -> Answer {
        let bearer = format!("Authorization: Bearer {TOKEN}");
        self.ask(&format!("POST {path}"), &["Host: localhost", &bearer], "")
            .await
    }

    /// Fills in the log-in form.
    pub(crate) async fn log_in(&self, token: &str, headers: &[&str]) -> Answer {
        let form = "Content-Type: application/x-www-form-urlencoded";
        let headers = [&["Host: localhost", form], headers].concat();
        let body = format!("token={token}&next=%2Fruns%2F2");
        self.ask("POST /login", &headers, &body).await
    }
}

/// Asks until it is so.
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
    Email::parse(text).expect("an email")
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
}

/// Six users who were to be removed.
pub(crate) const GOING: [&str; 6] = ["a@x.co", "b@x.co", "c@x.co", "d@x.co", "e@x.co", "f@x.co"];

/// Two runs: one that made and changed somebody, and one that held six removals.
pub(crate) async fn happened(served: &Served) {
    let journal = &served.journal;
    let first = begin(journal, 0).await;
    let name = FieldRecord {
        field: Field::DisplayName,
        from: None,
        to: Value::one(HOSTILE),
    };
    change(
        journal,
        first,
        Operation::Create,
        "<b>@x.co",
        vec![name],
        ChangeOutcome::Done,
    )
    .await;
    change(
        journal,
        first,
        Operation::Update,
        "ann@x.co",
        Vec::new(),
        ChangeOutcome::Failed,
    )
    .await;
    finish(journal, first, end(2, "partial", [1, 1, 0])).await;
    let second = begin(journal, 60).await;
    let users = GOING.map(|user| HeldUser {
        user_id: id(user),
        kind: Operation::Delete,
        email: email(user),
    });
    let held = HeldRecord {
        rule: "max_removals".into(),
        why: "6 of 20 users would be removed".into(),
        users: users.to_vec(),
    };
    journal.hold(second, &[held]).await.expect("written");
    finish(journal, second, end(63, "held", [0, 0, 6])).await;
    let quarantined = Quarantined {
        until: Utc::now() + TimeDelta::hours(1),
        failures: 2,
        mark: [0; 32],
        reason: "Omni says no".into(),
    };
    let put = journal
        .quarantine_put(&email("ann@x.co"), &quarantined)
        .await;
    put.expect("written");
    served.status.run_ended(&outcome(), None);
}

fn id(user: &str) -> UserId {
    let plain: String = user.chars().filter(char::is_ascii_alphanumeric).collect();
    UserId::parse(&format!("id-{plain}")).expect("an id")
}

pub(crate) async fn begin(journal: &StateDb, seconds: i64) -> RunNumber {
    let start = RunStart {
        trigger: Trigger::Schedule,
        started: at(seconds),
        is_source: true,
    };
    journal.begin(start).await.expect("written")
}

pub(crate) async fn finish(journal: &StateDb, run: RunNumber, end: RunEnd) {
    journal.finish(run, &end).await.expect("written");
}

pub(crate) async fn change(
    journal: &StateDb,
    run: RunNumber,
    kind: Operation,
    user: &str,
    fields: Vec<FieldRecord>,
    outcome: ChangeOutcome,
) {
    let intent = ChangeIntent {
        intended: at(1),
        email: email(user),
        user_id: (kind != Operation::Create).then(|| id(user)),
        kind,
        fields,
        approved: false,
    };
    let change = journal.intend(run, &intent).await.expect("written");
    let detail = if outcome == ChangeOutcome::Done {
        ""
    } else {
        "Omni says no"
    };
    let settled = Settled {
        at: at(2),
        outcome,
        detail: detail.into(),
    };
    journal.settle(change, &settled).await.expect("written");
}

pub(crate) fn end(seconds: i64, outcome: &str, [done, failed, held]: [u64; 3]) -> RunEnd {
    let removals = usize::try_from(held).expect("small");
    RunEnd {
        ended: at(seconds),
        outcome: outcome.into(),
        fingerprint: None,
        rows: Some(20),
        users: Some(21),
        needed: Some(Counts::new([removals, 0, 1, 1])),
        done,
        failed,
        held,
        bad_rows: 1,
        requests: 7,
        detail: String::new(),
    }
}

/// What the last run told.
fn outcome() -> RunOutcome {
    outcome_with(vec![problem(Some("bad@x.co"))])
}

/// A row's problem, whose email could be read or not.
pub(crate) fn problem(user: Option<&str>) -> Problem {
    Problem {
        kind: ProblemKind::Op,
        place: Location {
            file: "users.csv".into(),
            line: 22,
            column: Some((1, "op".into())),
        },
        what: format!("there is no op '{HOSTILE}'"),
        remedy: "write upsert, delete or deactivate".into(),
        email: user.map(email),
    }
}

/// A run that read a roster with these problems.
pub(crate) fn outcome_with(bad_rows: Vec<Problem>) -> RunOutcome {
    RunOutcome {
        number: Some(RunNumber(2)),
        trigger: Trigger::Schedule,
        started: at(60),
        took: Duration::from_secs(3),
        requests: 7,
        roster: Some(Roster {
            rows: 20,
            fingerprint: Fingerprint([1; 32]),
            bad_rows,
            rejected: Vec::new(),
        }),
        users: Some(21),
        drift: None,
        held: vec![HeldRule {
            rule: "max_removals",
            count: 6,
            why: "too many".into(),
        }],
        withheld: Vec::new(),
        quarantined: 0,
        applied: Vec::new(),
        warnings: vec!["a row stands twice".into()],
        end: Completion::Complete,
    }
}
