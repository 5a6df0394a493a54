//! How much longer a run takes beside a thousand slow connections and ten thousand quick requests: the
//! daemon as it is deployed. `cargo bench --bench serve`; what was measured stands in
//! `benches/README.md`.
//!
//! It fails where the best run beside them takes more than 5% longer than the best one alone, or where
//! a quick request is not answered.

#![allow(clippy::print_stdout)] // its output is the table

#[path = "../tests/support/mod.rs"]
mod support;

use omni_user_sync::journal::{Journal, RunState};
use omni_user_sync::sandbox::Options;
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::World;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

const ROUNDS: usize = 5;
/// So many users change in each run; the stand-in takes its time for each.
const USERS: usize = 1000;
const LATENCY: Duration = Duration::from_millis(40);
const SLOW: usize = 1000;
const QUICK: usize = 10_000;
/// Clients who ask one question after the other.
const CLIENTS: usize = 8;
const PATHS: [&str; 4] = ["/healthz", "/metrics", "/api/v1/status", "/"];
const ALLOWED: f64 = 1.05;

/// What makes this program a crowd.
const CROWD: &str = "--crowd";

/// The daemon, killed at the end.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(world: &World) -> Daemon {
    let child = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
        .arg("run")
        .env_clear()
        .envs(world.variables())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Daemon(child.expect("the daemon starts"))
}

fn drop_roster(world: &World, round: usize) {
    let mut text = "email,display_name\n".to_owned();
    for number in 1..=USERS {
        writeln!(text, "user{number:04}@example.com,Name {round}").expect("memory");
    }
    let beside = world.folder.path().join("users.csv.part");
    std::fs::write(&beside, text).expect("written");
    std::fs::rename(&beside, world.roster_path()).expect("renamed");
}

/// How long the run took that changed everybody for the so many-th time.
async fn span(journal: &Journal, round: usize) -> Duration {
    let since = Instant::now();
    loop {
        let runs = journal.runs(100).await.expect("they are read");
        let spans = runs.iter().rev().filter_map(|run| match &run.state {
            RunState::Ended(end) if end.done == USERS as u64 => Some(end.ended - run.start.started),
            _ => None,
        });
        if let Some(span) = spans.into_iter().nth(round) {
            return span.to_std().expect("it goes forward");
        }
        assert!(since.elapsed() < Duration::from_secs(120), "no run ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends a byte a second, and again when it is thrown out; never a whole head.
async fn slow(address: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let mut byte = [0];
            while stream.write_all(b"G").await.is_ok() {
                let second = tokio::time::sleep(Duration::from_secs(1));
                tokio::select! {
                    () = second => {}
                    read = stream.read(&mut byte) => if matches!(read, Ok(0) | Err(_)) { break },
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Asks so many questions, one after the other; how long the slowest answer took.
async fn quick(address: SocketAddr, questions: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut connection = None;
    for question in 0..questions {
        let since = Instant::now();
        while ask(address, &mut connection, PATHS[question % PATHS.len()])
            .await
            .is_err()
        {
            // A connection lives for a bounded time: a new one is made.
            connection = None;
            assert!(since.elapsed() < Duration::from_secs(30), "no answer");
        }
        slowest = slowest.max(since.elapsed());
    }
    slowest
}

async fn ask(
    address: SocketAddr,
    connection: &mut Option<BufReader<TcpStream>>,
    path: &str,
) -> std::io::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(BufReader::new(TcpStream::connect(address).await?)),
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.starts_with("HTTP/1.1 ") {
            assert!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
        }
        if let Some(said) = line.to_lowercase().strip_prefix("content-length: ") {
            length = said.trim().parse().expect("a number");
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map(drop)
}

/// Everybody at once, in a process of its own that comes after all others: a crowd has machines of its
/// own, and what is measured is what it takes from the daemon. How long the quick ones took together,
/// and the slowest answer.
async fn crowd(address: SocketAddr) -> (Duration, Duration) {
    let mut command = tokio::process::Command::new("nice");
    command
        .args(["-n", "19"])
        .arg(std::env::current_exe().expect("a path"));
    let told = command
        .args([CROWD, &address.to_string()])
        .output()
        .await
        .expect("it runs");
    let told = String::from_utf8(told.stdout).expect("text");
    let mut seconds = told
        .split_whitespace()
        .map(|word| word.parse().expect("seconds"));
    let mut next = || Duration::from_secs_f64(seconds.next().expect("two numbers"));
    (next(), next())
}

/// What such a process does.
async fn be_a_crowd(address: SocketAddr) {
    let slow = slow_ones(address);
    let (took, slowest) = quick_ones(address).await;
    slow.iter().for_each(AbortHandle::abort);
    println!("{} {}", took.as_secs_f64(), slowest.as_secs_f64());
}

async fn quick_ones(address: SocketAddr) -> (Duration, Duration) {
    let since = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(quick(address, QUICK / CLIENTS));
    }
    let slowest = clients.join_all().await.into_iter().max();
    (since.elapsed(), slowest.unwrap_or_default())
}

fn slow_ones(address: SocketAddr) -> Vec<AbortHandle> {
    let spawn = |_| tokio::spawn(slow(address)).abort_handle();
    (0..SLOW).map(spawn).collect()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != CROWD)
        .skip(1);
    if let Some(address) = arguments.next() {
        return be_a_crowd(address.parse().expect("an address")).await;
    }
    let options = Options {
        users: USERS,
        requests_per_minute: 1_000_000,
        latency: LATENCY,
        ..Options::default()
    };
    let address = {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        taken.local_addr().expect("has one")
    };
    let world = World::with(options)
        .await
        .set("serve.listen", &address.to_string())
        .set("omni.max_in_flight", "8");
    drop_roster(&world, 0);
    let _daemon = start(&world);
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let journal = world.journal();
    let mut run = 0;
    span(&journal, run).await;
    let (mut alone, mut beside) = (Duration::MAX, Duration::MAX);
    let (mut took, mut slowest) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        run += 1;
        drop_roster(&world, run);
        alone = alone.min(span(&journal, run).await);
        run += 1;
        drop_roster(&world, run);
        let (quick, span) = tokio::join!(crowd(address), span(&journal, run));
        beside = beside.min(span);
        took = took.max(quick.0);
        slowest = slowest.max(quick.1);
    }
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    println!(
        "| a run alone | beside {SLOW} slow and {QUICK} quick | ratio | the quick ones took | slowest answer |"
    );
    println!("| --- | --- | --- | --- | --- |");
    println!("| {alone:.2?} | {beside:.2?} | {ratio:.3} | {took:.1?} | {slowest:.0?} |");
    assert!(
        ratio <= ALLOWED,
        "a run takes {ratio:.3} times as long beside a crowd"
    );
}
