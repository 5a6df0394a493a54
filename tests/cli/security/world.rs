//! A world whose secrets lie in files, with a webhook that listens, and the program run in it.

use super::canaries::{Captured, EMAIL, HOOK, KEY, NAME, TOKEN, VALUE};
use crate::support::World;
use omni_user_sync::sandbox::Options;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// More than anything here should take.
pub(crate) const GENEROUS: Duration = Duration::from_secs(60);

/// Everything that any crate logs.
pub(crate) const EVERYTHING: &str = "trace,axum=trace,h2=trace,hyper=trace,hyper_util=trace,mio=trace,notify=trace,\
     reqwest=trace,rustls=trace,tokio=trace,tokio_cron_scheduler=trace,tower=trace";

/// A world full of canaries: `present` changes, `gone` is removed, one row is bad.
pub(crate) async fn world() -> World {
    let options = Options {
        keys: vec![KEY.into()],
        ..Options::default()
    };
    let world = World::with(options).await.without("OMNI_API_KEY");
    for (name, text) in [("key", KEY), ("token", TOKEN)] {
        write(&world, name, text);
    }
    let path = |name: &str| world.folder.path().join(name).display().to_string();
    let (key, token, hook) = (path("key"), path("token"), path("hook"));
    let attributes = json!({ "department": format!("{VALUE}-old"), "region": ["valuecanary-r"] });
    world.user("emailcanary-present@x.co", "Namecanary Old", attributes);
    for gone in ["emailcanary-gone@x.co", "emailcanary-gone2@x.co"] {
        world.user(gone, "Namecanary Gone", json!({ "tier": VALUE }));
    }
    world.roster(&format!(
        "op,email,display_name,department,region,cost_center\n\
         upsert,{EMAIL}-present@x.co,{NAME} Now,{VALUE}-new,[valuecanary-s],7\n\
         upsert,{EMAIL}-made@x.co,{NAME} Made,{VALUE}-made,,8\n\
         upsert,{EMAIL}-bad@x.co,{NAME} Bad,,{VALUE}-no-list,{VALUE}-no-number\n\
         delete,{EMAIL}-gone@x.co,,,,\n\
         delete,{EMAIL}-gone2@x.co,,,,\n"
    ));
    world
        .set("omni.api_key_file", &key)
        .set("serve.admin_token_file", &token)
        .set("notify.webhook_url_file", &hook)
        .set("policy.max_removals", "1")
        .set("policy.max_removals_floor", "0")
        .set("schedule.cron", "")
}

/// Writes a file into the world's folder.
pub(crate) fn write(world: &World, name: &str, text: &str) {
    std::fs::write(world.folder.path().join(name), text).expect("written");
}

/// A webhook: the path that it has, and what it was sent, bodies only.
pub(crate) async fn webhook(world: &World) -> Arc<Mutex<Vec<u8>>> {
    webhook_that_says(world, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await
}

/// A webhook with another answer.
pub(crate) async fn webhook_that_says(
    world: &World,
    answer: impl Into<String>,
) -> Arc<Mutex<Vec<u8>>> {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("has one");
    write(
        world,
        "hook",
        &format!("http://{address}/{HOOK}?key={HOOK}"),
    );
    let sent = Arc::new(Mutex::new(Vec::new()));
    let kept = sent.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            take(stream, &kept, answer.as_bytes()).await;
        }
    });
    sent
}

/// Reads one request, and keeps all but its first line, which holds the address.
async fn take(mut stream: TcpStream, kept: &Mutex<Vec<u8>>, answer: &[u8]) {
    let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
    while !said.ends_with(b"}") {
        match stream.read(&mut bytes).await {
            Ok(count @ 1..) => said.extend_from_slice(&bytes[..count]),
            _ => break,
        }
    }
    let line = said.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    kept.lock().expect("whole").extend_from_slice(&said[line..]);
    let _ = stream.write_all(answer).await;
}

/// The program, run to its end with arguments; what it said, and its code.
pub(crate) async fn run(world: &World, arguments: &[&str]) -> (Captured, i32) {
    let ended = crate::support::command(world, arguments).await;
    let location = format!("{arguments:?} ({})", ended.code);
    let location: String = location.chars().filter(|c| !c.is_control()).collect();
    (Captured::new(location, ended.out + &ended.err), ended.code)
}

/// A daemon that is ended with the test, however that ends. What it says goes to a file.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: String,
    log: tempfile::NamedTempFile,
}

impl Daemon {
    /// Starts one, and waits until it serves. The log must name its address.
    pub(crate) async fn start(world: &World, log: &str) -> Self {
        let said = tempfile::NamedTempFile::new().expect("a file");
        let file = || Stdio::from(said.reopen().expect("opens"));
        let child = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
            .args(["--log", log, "run"])
            .env_clear()
            .envs(world.variables())
            .env("OMNI_USER_SYNC__SERVE__LISTEN", "127.0.0.1:0")
            .current_dir(world.folder.path())
            .stdout(file())
            .stderr(file())
            .spawn()
            .expect("it runs");
        let mut daemon = Self {
            child,
            address: String::new(),
            log: said,
        };
        let serves = async {
            while daemon.address.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                daemon.address = daemon.logged_address().unwrap_or_default();
            }
        };
        timeout(GENEROUS, serves).await.expect("serves in time");
        daemon
    }

    fn logged_address(&self) -> Option<String> {
        let log = std::fs::read_to_string(self.log.path()).expect("is read");
        let line = log
            .lines()
            .find(|line| line.contains("serving the status page"))?;
        let (_, port) = line.split_once("127.0.0.1:")?;
        let port = port.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(format!("127.0.0.1:{port}"))
    }

    pub(crate) fn log(&self) -> Captured {
        Captured::new("the log", std::fs::read(self.log.path()).expect("is read"))
    }

    /// What other users of the machine may see of it, or could once.
    pub(crate) fn proc(&self, file: &str) -> Captured {
        let path = format!("/proc/{}/{file}", self.child.id());
        // Some of it is for root alone, since the process keeps its memory to itself.
        let bytes = std::fs::read(&path).unwrap_or_default();
        Captured::new(path, bytes)
    }

    /// Makes it crash, and returns whether the system wrote a core.
    pub(crate) fn crash(&mut self) -> bool {
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::ABORT).expect("it runs");
        let status = self.child.wait().expect("it ran");
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
        status.core_dumped()
    }

    /// The most memory that it has ever had, in MiB.
    pub(crate) fn most_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        peak(&std::fs::read_to_string(path).expect("is read"))
    }

    /// Sends bytes, and returns all that is answered until the connection is closed.
    pub(crate) async fn say(&self, bytes: &[u8]) -> Vec<u8> {
        say(&self.address, bytes).await
    }

    /// Asks with these headers.
    pub(crate) async fn ask(&self, request: &str, headers: &str, body: &str) -> Captured {
        let text = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        Captured::new(request, self.say(text.as_bytes()).await)
    }

    /// Asks until the answer holds a word.
    pub(crate) async fn until(&self, request: &str, headers: &str, word: &str) {
        let asking = async {
            while !self.ask(request, headers, "").await.has(word) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(GENEROUS, asking).await.is_err() {
            let last = self.ask(request, headers, "").await;
            panic!("{request} never contains {word}: {}", last.text());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a webhook was sent, once it has heard a word: no run waits for it.
pub(crate) async fn heard(sent: &Mutex<Vec<u8>>, word: &str) -> Captured {
    let now = || Captured::new("the webhook", sent.lock().expect("whole").clone());
    let heard = async {
        while !now().has(word) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        now()
    };
    timeout(GENEROUS, heard).await.expect("it hears of it")
}

/// `VmHWM` of a process's status, in MiB.
pub(crate) fn peak(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .expect("a number")
        .trim()
        .parse::<u64>()
        .expect("a number")
        / 1024
}

async fn say(address: &str, bytes: &[u8]) -> Vec<u8> {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return Vec::new();
    };
    let mut answer = Vec::new();
    // Who is refused may be cut off while it still speaks.
    let _ = stream.write_all(bytes).await;
    let read = timeout(GENEROUS, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("is answered in time");
    answer
}
