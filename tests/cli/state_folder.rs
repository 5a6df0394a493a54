//! A state folder that is removed under a running daemon.

use crate::support::World;
use serde_json::json;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A daemon that is killed at the end of the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Requests a path until the response contains a text.
async fn eventually(url: &str, text: &str) {
    let asking = async {
        loop {
            let answer = match reqwest::get(url).await {
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if answer.contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), asking).await;
    assert!(found.is_ok(), "{url} never says {text}");
}

fn remove(dir: &Path) {
    std::fs::rename(dir, dir.with_extension("away")).expect("moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_state_folder_stops_the_daemon_writing() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("has one").to_string();
    drop(taken);
    let world = World::new()
        .await
        .set("serve.listen", &address)
        .set("schedule.cron", "* * * * * *");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let child = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
        .arg("run")
        .env_clear()
        .envs(world.variables())
        .current_dir(world.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _daemon = Killed(child.expect("it runs"));
    let ready = format!("http://{address}/readyz");
    eventually(&ready, "ready").await;
    let page = format!("http://{address}/");
    eventually(&page, "The state database is new").await;

    remove(&world.folder.path().join("state"));
    world.roster("email,display_name\nann@x.co,Another\n");
    eventually(&ready, "the state folder was removed or replaced").await;
    assert_eq!(world.writes(), Vec::<String>::new());
    // Put back, it goes on.
    let away = world.folder.path().join("state.away");
    let state = world.folder.path().join("state");
    let _ = std::fs::remove_dir_all(&state);
    std::fs::rename(away, state).expect("moved");
    let written = async {
        while world.writes().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(60), written).await;
    assert!(written.is_ok(), "it goes on");
}
