//! A state folder that is removed under a running daemon.

use super::daemon::{Daemon, eventually};
use crate::support::World;
use serde_json::json;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// Requests a path until the response contains a text.
async fn until_response(url: &str, text: &str) {
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
    let _daemon = Daemon::start(&world);
    let ready = format!("http://{address}/readyz");
    until_response(&ready, "ready").await;
    let page = format!("http://{address}/");
    until_response(&page, "The state database is new").await;

    remove(&world.folder.path().join("state"));
    world.roster("email,display_name\nann@x.co,Another\n");
    until_response(&ready, "the state folder was removed or replaced").await;
    assert_eq!(world.writes(), Vec::<String>::new());
    // Put back, it goes on.
    let away = world.folder.path().join("state.away");
    let state = world.folder.path().join("state");
    let _ = std::fs::remove_dir_all(&state);
    std::fs::rename(away, state).expect("moved");
    eventually("it goes on", || !world.writes().is_empty()).await;
}
