//! SIGHUP reads the settings again.

use super::daemon::{Daemon, eventually};
use super::example;
use crate::support::{World, command as run};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// A daemon with a settings file, and its log.
struct Reloading {
    daemon: Daemon,
    file: PathBuf,
    log: tempfile::NamedTempFile,
}

impl Reloading {
    /// Starts a daemon without a schedule in dry-run mode, and waits for its first run.
    async fn start() -> (World, Self) {
        let world = example().await.set("serve.listen", "127.0.0.1:0");
        let world = world.set("schedule.cron", "").set("source.watch", "off");
        let file = world.folder.path().join("config.toml");
        fs::write(&file, "[policy]\nmode = \"plan\"\n").expect("written");
        let name = file.to_str().expect("a path is text");
        let world = world.with_variable("OMNI_USER_SYNC_CONFIG", name);
        let log = tempfile::NamedTempFile::new().expect("a file");
        let daemon = Daemon::logging_to(&world, log.reopen().expect("opens"));
        let daemon = Self { daemon, file, log };
        eventually("a run", || daemon.log().contains("run ended")).await;
        (world, daemon)
    }

    fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("a log")
    }

    /// Replaces the settings file, sends SIGHUP, and waits for the run that it starts.
    async fn reload(&self, settings: &str) {
        self.reload_until("run ended", settings).await;
    }

    /// Replaces the settings file, sends SIGHUP, and waits until the log has this text once more.
    async fn reload_until(&self, text: &str, settings: &str) {
        let before = self.count(text);
        fs::write(&self.file, settings).expect("written");
        self.daemon.signal(Signal::HUP);
        eventually(text, || self.count(text) > before).await;
    }

    async fn page(&self, path: &str) -> String {
        let log = self.log();
        let (_, rest) = log.split_once("address=").expect("an address");
        let address = rest.split_whitespace().next().expect("an address");
        let answer = reqwest::get(format!("{address}{path}")).await;
        answer.expect("an answer").text().await.expect("a text")
    }

    /// The value of a setting in force, and its origin.
    async fn setting(&self, name: &str) -> (Value, Value) {
        let doc = self.page("api/v1/settings").await;
        let doc: Value = serde_json::from_str(&doc).expect("JSON");
        let settings = doc["settings"].as_array().expect("a list");
        let one = settings.iter().find(|one| one["name"] == name);
        let one = one.unwrap_or_else(|| panic!("{doc}"));
        (one["value"].clone(), one["origin"].clone())
    }

    async fn metric(&self, name: &str) -> String {
        let text = self.page("metrics").await;
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reloads_the_settings() {
    // Under `nohup` this process, and with it the daemon, would ignore it.
    let _handled = signal(SignalKind::hangup()).expect("a handler");
    let (world, mut daemon) = Reloading::start().await;
    daemon.reload("[policy]\nmode = \"sometimes\"\n").await;
    assert!(
        daemon.log().contains("policy.mode: expected"),
        "{}",
        daemon.log()
    );
    let valid = "omni_user_sync_config_last_reload_successful";
    assert_eq!(daemon.metric(valid).await, format!("{valid} 0"));
    assert!(world.writes().is_empty(), "still a dry run");
    assert_eq!(
        daemon.setting("policy.mode").await,
        (json!("plan"), json!(daemon.file.to_str()))
    );
    let retain = daemon.setting("state.retain").await;

    daemon.reload("[state]\nretain = \"8d\"\n").await;
    assert_eq!(world.writes().len(), 3, "{}", daemon.log());
    assert_eq!(daemon.metric(valid).await, format!("{valid} 1"));
    assert!(
        daemon
            .log()
            .contains(r#"former value until the daemon is restarted key="state.retain""#),
        "{}",
        daemon.log()
    );
    assert_eq!(
        daemon.setting("policy.mode").await,
        (json!("apply"), json!(null))
    );
    assert_eq!(daemon.setting("state.retain").await, retain);
    assert!(
        daemon
            .metric("omni_user_sync_info")
            .await
            .contains(r#"mode="apply""#)
    );
    assert!(daemon.daemon.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_daemon_stays_paused_when_reloaded() {
    const IN_FORCE: &str = "the settings were read again and are in force";
    // Under `nohup` this process, and with it the daemon, would ignore it.
    let _handled = signal(SignalKind::hangup()).expect("a handler");
    let (world, mut daemon) = Reloading::start().await;
    assert_eq!(run(&world, &["pause"]).await.code, 0);
    eventually("it is paused", || daemon.count("the daemon is paused") == 1).await;
    daemon
        .reload_until(IN_FORCE, "[policy]\nmode = \"dry-run\"\nmax_updates = 7\n")
        .await;
    assert_eq!(
        daemon.metric("omni_user_sync_paused").await,
        "omni_user_sync_paused 1"
    );
    // By the end of this one, the run of the first would have started.
    daemon
        .reload_until(IN_FORCE, "[source]\nblank_cells = \"keep\"\n")
        .await;
    assert_eq!(
        daemon.metric("omni_user_sync_paused").await,
        "omni_user_sync_paused 1"
    );
    assert_eq!(daemon.count("run started"), 1, "{}", daemon.log());
    assert!(world.writes().is_empty(), "{}", daemon.log());

    assert_eq!(run(&world, &["resume"]).await.code, 0);
    eventually("a run", || daemon.count("run ended") == 2).await;
    daemon.daemon.signal(Signal::TERM);
    assert_eq!(daemon.daemon.wait().await, Some(0));
    let log = daemon.log();
    assert_eq!(daemon.count("run started"), 2, "one run: {log}");
    assert_eq!(world.writes().len(), 3, "{log}");
    assert_eq!(
        world.attribute("ann@x.co", "tier"),
        "gold",
        "by the new settings"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_hang_up_stays_ignored() {
    let world = example().await.set("serve.listen", "");
    let world = world.set("schedule.cron", "");
    let mut daemon = Daemon::by(&world, "trap '' HUP; exec \"$0\" run");
    eventually("it works", || world.writes().len() >= 3).await;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("is read");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.expect("a mask").trim(), 16).expect("a number");
    assert_eq!(ignored & 1, 1, "{status}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().await, Some(0), "it ends for SIGTERM");
}
