//! `init` at a terminal.

use super::example;
use super::terminal::Session;
use crate::support::{World, command as run};
use omni_user_sync::sandbox::Options;
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;

/// Without the variables that `init` is to make unnecessary.
async fn newcomer() -> World {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let admin = serde_json::json!({ "omni_is_org_admin": "true" });
    world.user("admin@x.co", "Admin", admin);
    let taken = [
        "OMNI_BASE_URL",
        "OMNI_API_KEY",
        "OMNI_USER_SYNC__SOURCE__PATH",
        "OMNI_USER_SYNC__STATE__DIR",
    ];
    taken.iter().fold(world, |world, name| world.without(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_settings_that_work() {
    let world = newcomer().await;
    let (url, folder) = (world.sandbox.url(), world.folder.path().to_owned());
    let mut session = Session::start(&world, &["init", "--config", "new/config.toml"]);
    let (code, shown) = tokio::task::spawn_blocking(move || {
        session.answer("Address of the organisation", "<org>");
        session.answer("Address of the organisation", &url);
        session.answer("API key (not shown):", "Bearer sandbox-key");
        session.answer("API key (not shown):", "sandbox-key");
        session.answer("Roster", "");
        session.answer("Write the users of Omni to it? [y/N]", "y");
        session.end()
    })
    .await
    .expect("no panic");
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("sandbox-key"), "{shown}");
    let place = folder.display().to_string();
    let shown = shown.replace(&place, "DIR");
    let shown = shown.replace(env!("CARGO_BIN_EXE_omni-user-sync"), "omni-user-sync");
    insta::assert_snapshot!(shown, @r#"
     y
    4 users written to DIR/users.csv

    Written: DIR/new/config.toml and DIR/new/api-key (readable by you only).
    Next:
      omni-user-sync --config DIR/new/config.toml plan    # what would change
      omni-user-sync --config DIR/new/config.toml apply   # applies the changes after asking
      omni-user-sync --config DIR/new/config.toml run     # the daemon
    "#);
    let file = folder.join("new/config.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    let text = text
        .replace(&place, "DIR")
        .replace(&world.sandbox.url(), "URL");
    insta::assert_snapshot!(text, @r#"
    # `omni-user-sync config` shows all settings.

    [omni]
    base_url = "URL"
    api_key_file = "DIR/new/api-key"

    [source]
    path = "DIR/users.csv"

    [policy]
    # Users that are never removed. Add all accounts that must stay.
    protect = ["admin@x.co"]

    [state]
    dir = "DIR/new/state"
    "#);
    let key = std::fs::metadata(folder.join("new/api-key")).expect("written");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let config = file.to_str().expect("text");
    let plan = run(&world, &["--config", config, "plan"]).await;
    assert_eq!(plan.code, 0, "{}{}", plan.out, plan.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_overwrites_nothing_and_needs_a_terminal() {
    let world = example().await;
    let file = world.folder.path().join("config.toml");
    std::fs::write(&file, "# mine").expect("written");
    let arguments = ["init", "--config", "config.toml"];
    assert_eq!(run(&world, &arguments).await.code, 64);
    let mut session = Session::start(&world, &arguments);
    let ended = tokio::task::spawn_blocking(move || session.end()).await;
    let (code, shown) = ended.expect("no panic");
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("`init` never overwrites"), "{shown}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "# mine");
    assert!(!world.folder.path().join("api-key").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn init_interrupted_at_the_key_shows_input_again() {
    for signal in [Signal::INT, Signal::TERM] {
        let world = newcomer().await;
        let (url, folder) = (world.sandbox.url(), world.folder.path().to_owned());
        let mut session = Session::start(&world, &["init", "--config", "config.toml"]);
        let ended = tokio::task::spawn_blocking(move || {
            session.answer("Address of the organisation", &url);
            session.until("API key (not shown):");
            assert!(!session.echoes());
            session.signal(signal);
            let (code, shown) = session.end();
            assert!(session.echoes(), "{shown}");
            (code, shown)
        });
        let (code, shown) = ended.await.expect("no panic");
        assert_eq!(code, Some(1), "{shown}");
        assert_eq!(shown, " \nnothing was written\n");
        assert!(!folder.join("config.toml").exists());
    }
}
