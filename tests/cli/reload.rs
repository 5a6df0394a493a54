//! SIGHUP reads the settings again.

use super::daemon::{Daemon, eventually};
use super::example;
use rustix::process::Signal;
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
    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("a log")
    }

    /// Replaces the settings file, sends SIGHUP, and waits for the run that it starts.
    async fn reload(&self, settings: &str) {
        let runs = || self.log().matches("run ended").count();
        let before = runs();
        fs::write(&self.file, settings).expect("written");
        self.daemon.signal(Signal::HUP);
        eventually("a run", || runs() > before).await;
    }

    async fn metric(&self, name: &str) -> String {
        let log = self.log();
        let (_, rest) = log.split_once("address=").expect("an address");
        let address = rest.split_whitespace().next().expect("an address");
        let text = reqwest::get(format!("{address}metrics")).await;
        let text = text.expect("an answer").text().await.expect("a text");
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reloads_the_settings() {
    // Under `nohup` this process, and with it the daemon, would ignore it.
    let _handled = signal(SignalKind::hangup()).expect("a handler");
    let world = example().await.set("serve.listen", "127.0.0.1:0");
    let world = world.set("schedule.cron", "").set("source.watch", "off");
    let file = world.folder.path().join("config.toml");
    fs::write(&file, "[policy]\nmode = \"plan\"\n").expect("written");
    let name = file.to_str().expect("a path is text");
    let world = world.with_variable("OMNI_USER_SYNC_CONFIG", name);
    let log = tempfile::NamedTempFile::new().expect("a file");
    let daemon = Daemon::logging_to(&world, log.reopen().expect("opens"));
    let mut daemon = Reloading { daemon, file, log };
    eventually("a run", || daemon.log().contains("run ended")).await;

    daemon.reload("[policy]\nmode = \"sometimes\"\n").await;
    assert!(
        daemon.log().contains("policy.mode: expected"),
        "{}",
        daemon.log()
    );
    let valid = "omni_user_sync_config_last_reload_successful";
    assert_eq!(daemon.metric(valid).await, format!("{valid} 0"));
    assert!(world.writes().is_empty(), "still a dry run");

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
    assert!(
        daemon
            .metric("omni_user_sync_info")
            .await
            .contains(r#"mode="apply""#)
    );
    assert!(daemon.daemon.is_running());
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
