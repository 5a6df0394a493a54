//! How much longer a run takes beside a thousand slow connections and ten thousand quick requests: the
//! daemon as it is deployed. `cargo bench --bench serve`; what was measured stands in
//! `benches/README.md`.
//!
//! In turn, a run alone and one under load, which stays until the run has ended. It fails where the
//! median of the rounds takes more than 5% longer with it, or where a quick request is not answered.

#![allow(clippy::print_stdout)] // its output is the table

mod daemon;
#[path = "../tests/support/mod.rs"]
mod support;

use daemon::{Daemon, replace_roster};
use omni_user_sync::model::RunState;
use omni_user_sync::sandbox::Options;
use omni_user_sync::state::StateDb;
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::World;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 5;
/// The number of users that change in each run.
const USERS: usize = 1000;
const LATENCY: Duration = Duration::from_millis(40);
const SLOW: usize = 1000;
const QUICK: usize = 10_000;
/// The number of clients, each of which sends one request at a time.
const CLIENTS: usize = 8;
const PATHS: [&str; 4] = ["/healthz", "/metrics", "/api/v1/status", "/"];
const ALLOWED: f64 = 1.05;

/// The argument with which this program generates the load.
const LOAD: &str = "--load";

fn drop_roster(world: &World, round: usize) {
    let mut text = "email,display_name\n".to_owned();
    for number in 1..=USERS {
        writeln!(text, "user{number:04}@example.com,Name {round}").expect("memory");
    }
    replace_roster(world, &text);
}

/// The duration of the run in which every user changed, counted from 1.
async fn span(db: &StateDb, round: usize) -> Duration {
    let since = Instant::now();
    loop {
        let runs = db.runs(100).await.expect("they are read");
        let spans = runs.iter().rev().filter_map(|run| match &run.state {
            RunState::Ended(end) if end.applied == USERS as u64 => {
                Some(end.ended - run.start.started)
            }
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

/// Sends at least this many requests in sequence, until it may stop; returns their number, and the time of the
/// slowest answer.
async fn quick(address: SocketAddr, least: usize, may_go: CancellationToken) -> (usize, Duration) {
    let mut slowest = Duration::ZERO;
    let mut connection = None;
    let mut question = 0;
    while question < least || !may_go.is_cancelled() {
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
        question += 1;
    }
    (question, slowest)
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

/// What the quick ones did together.
struct Asked {
    requests: usize,
    took: Duration,
    slowest: Duration,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            requests,
            took,
            slowest,
        } = self;
        write!(f, "{requests} | {took:.1?} | {slowest:.1?}")
    }
}

/// A run with everybody beside it until its end. They are in a process of their own that comes after all
/// others: the load has machines of its own, and what is measured is what it takes from the daemon.
async fn loaded(address: SocketAddr, run: impl Future<Output = Duration>) -> (Duration, Asked) {
    let mut command = tokio::process::Command::new("nice");
    let mut load = command
        .args(["-n", "19"])
        .arg(std::env::current_exe().expect("a path"))
        .args([LOAD, &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it runs");
    let span = run.await;
    drop(load.stdin.take());
    let output = load.wait_with_output().await.expect("it ends");
    let output = String::from_utf8(output.stdout).expect("text");
    let words: Vec<f64> = output
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let [requests, took, slowest] = words[..] else {
        panic!("the load failed: {output}");
    };
    let asked = Asked {
        requests: requests as usize,
        took: Duration::from_secs_f64(took),
        slowest: Duration::from_secs_f64(slowest),
    };
    (span, asked)
}

/// What such a process does, until its input ends.
async fn run_load(address: SocketAddr) {
    let may_go = CancellationToken::new();
    let end = may_go.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        end.cancel();
    });
    let slow = slow_ones(address);
    let Asked {
        requests,
        took,
        slowest,
    } = quick_ones(address, &may_go).await;
    slow.iter().for_each(AbortHandle::abort);
    let (took, slowest) = (took.as_secs_f64(), slowest.as_secs_f64());
    println!("{requests} {took} {slowest}");
}

async fn quick_ones(address: SocketAddr, may_go: &CancellationToken) -> Asked {
    let since = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(quick(address, QUICK / CLIENTS, may_go.clone()));
    }
    let all = clients.join_all().await;
    Asked {
        requests: all.iter().map(|(requests, _)| requests).sum(),
        took: since.elapsed(),
        slowest: all
            .iter()
            .map(|(_, slowest)| *slowest)
            .max()
            .unwrap_or_default(),
    }
}

fn slow_ones(address: SocketAddr) -> Vec<AbortHandle> {
    let spawn = |_| tokio::spawn(slow(address)).abort_handle();
    (0..SLOW).map(spawn).collect()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != LOAD)
        .skip(1);
    if let Some(address) = arguments.next() {
        return run_load(address.parse().expect("an address")).await;
    }
    let options = Options {
        users: USERS,
        requests_per_minute: 1_000_000,
        latency: LATENCY,
        ..Options::with_full_lists()
    };
    let address = {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        taken.local_addr().expect("has one")
    };
    let world = World::with(options)
        .await
        .set("serve.listen", &address.to_string())
        .set("omni.max_in_flight", "8")
        .set("policy.max_updates", "");
    drop_roster(&world, 0);
    let _daemon = Daemon::start(&world);
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let db = world.state_db();
    let mut run = 0;
    span(&db, run).await;
    let mut ratios = Vec::new();
    println!("| a run alone | under load | ratio | requests answered | within | slowest answer |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for _ in 0..ROUNDS {
        run += 1;
        drop_roster(&world, run);
        let quiet = span(&db, run).await;
        run += 1;
        drop_roster(&world, run);
        let (loaded, asked) = loaded(address, span(&db, run)).await;
        let ratio = loaded.as_secs_f64() / quiet.as_secs_f64();
        println!("| {quiet:.2?} | {loaded:.2?} | {ratio:.3} | {asked} |");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ROUNDS / 2];
    println!("\nthe median: {ratio:.3}, with {SLOW} slow connections in the load");
    assert!(
        ratio <= ALLOWED,
        "a run takes {ratio:.3} times as long under load"
    );
}
