//! `history`, `explain`, `approve` and `export`, as a shell sees them.
use super::daemon::{Daemon, eventually};
use crate::support::{World, command};
use chrono::DateTime;
use omni_user_sync::sandbox::Options;
use omni_user_sync::state::StateLock;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

async fn held() -> World {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let world = world.set("policy.max_removals", "1");
    world.roster(
        "op,email,display_name\ndelete,user0001@example.com,\ndelete,user0002@example.com,\n\
         upsert,new@x.co,New\n",
    );
    world
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The output with `TIME` for each time.
fn without_times(output: &str) -> String {
    let word = |word: &str| match DateTime::parse_from_rfc3339(word.trim_end()) {
        Ok(_) => word.replace(word.trim_end(), "TIME"),
        Err(_) => word.to_owned(),
    };
    output.split_inclusive([' ', '\n']).map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn held_changes_are_applied_after_approval() {
    let world = held().await;
    let ended = command(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 4, "{}", ended.err);
    assert!(
        ended.err.contains("omni-user-sync approve 1"),
        "{}",
        ended.err
    );

    let dry = command(&world, &["approve", "latest", "--dry-run"]).await;
    for part in [
        "delete     user0001@example.com\n      display_name: 'Ada Abbott' => (none)",
        "delete     user0002@example.com",
    ] {
        assert!(dry.out.contains(part), "{}", dry.out);
    }
    assert_eq!(
        command(&world, &["apply", "--yes"]).await.code,
        4,
        "nothing was approved"
    );

    let approved = command(&world, &["approve", "1", "--yes"]).await;
    assert_eq!(approved.code, 0, "{}", approved.err);
    let ended = command(&world, &["apply", "--yes"]).await;
    assert_eq!(
        (ended.code, world.org().users().len()),
        (0, 2),
        "{}",
        ended.err
    );
    for unknown in ["99", "3"] {
        assert_eq!(
            command(&world, &["approve", unknown, "--yes"]).await.code,
            1,
            "{unknown}"
        );
    }
    assert_eq!(command(&world, &["approve", "first"]).await.code, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn approve_shows_fields_and_asks() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let world = world
        .set("policy.max_clears", "0")
        .set("policy.max_removals", "0");
    world.roster(
        "op,email,department\nupsert,user0001@example.com,\nupsert,user0002@example.com,\n\
         delete,user0003@example.com,x\n",
    );
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 4);
    let dry = command(&world, &["approve", "1", "--dry"]).await;
    insta::assert_snapshot!(format!("{}{}", dry.out, dry.err), @r"
    held by policy.max_clears (2): 2 updates that clear a value exceed the limit of 0 (max_clears)
      2 × department → empty
      update     user0001@example.com
          department: 'Sales' => (none)
      update     user0002@example.com
          department: 'Finance' => (none)
    held by policy.max_removals (1): 1 removal exceeds the limit of 0 (max_removals)
      delete     user0003@example.com
          display_name: 'Chidi Castillo' => (none)
          department: 'Support' => (none)
    Dry run: 3 changes of run 1 (1 to delete, 2 to update) would be approved.
    ");
    let history = command(&world, &["history", "1"]).await;
    assert!(
        history.out.contains("2 × department → empty"),
        "{}",
        history.out
    );
    // Without a terminal, it needs --yes, and says so before it reads anything.
    let refused = command(&world, &["approve", "1"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (64, ""));
    assert!(refused.err.contains("add --yes"), "{}", refused.err);
    let nobody = ["approve", "1", "--yes", "--only", "new@x.co"];
    assert_eq!(command(&world, &nobody).await.code, 1);
    let one = ["approve", "1", "--yes", "--only", "User0003@example.com"];
    let one = command(&world, &one).await;
    assert!(
        one.err.contains("1 change of run 1 approved"),
        "{}",
        one.err
    );
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 4);
    assert_eq!(world.org().users().len(), 2);
    let revoked = command(&world, &["approve", "1", "--revoke"]).await;
    assert_eq!(revoked.code, 0, "{}", revoked.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_is_refused() {
    let world = held().await;
    let lock = StateLock::acquire(&world.settings().state.dir, "run").expect("free");
    let ended = command(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("in use by `run` (pid "), "{}", ended.err);
    for reader in [
        &["plan"][..],
        &["check"],
        &["history"],
        &["export"],
        &["explain", "a@x.co"],
    ] {
        let ended = command(&world, reader).await;
        assert!([0, 4].contains(&ended.code), "{reader:?}: {}", ended.err);
    }
    drop(lock);
    assert_eq!(world.writes(), Vec::<String>::new());
}

/// Changes held for an earlier, wrong roster must not be approved after a later run with a correct one.
#[tokio::test(flavor = "multi_thread")]
async fn approve_latest_uses_the_last_plan() {
    let world = held().await;
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 4);
    // A failed run has no plan, so it holds nothing.
    let missing = world.folder.path().join("missing.csv");
    let missing = missing.to_str().expect("text");
    assert_eq!(command(&world, &["apply", "--yes", missing]).await.code, 1);
    let dry = command(&world, &["approve", "latest", "--dry-run"]).await;
    assert!(
        dry.code == 0 && dry.err.contains("2 changes of run 1"),
        "{}",
        dry.err
    );
    world.roster("email,display_name\nnew@x.co,New\n");
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 0);
    let refused = command(&world, &["approve", "latest", "--yes"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(
        refused.err.contains("run 3 has no held changes") && refused.err.contains("is 1"),
        "{}",
        refused.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn state_of_another_organisation_is_refused() {
    let world = held().await;
    command(&world, &["apply", "--yes"]).await;
    let other = World::new().await;
    let world = world.with_variable("OMNI_BASE_URL", &other.sandbox.url());
    for refused in [&["apply", "--yes"][..], &["plan"], &["history"]] {
        let ended = command(&world, refused).await;
        assert_eq!(ended.code, 1, "{}", ended.err);
        assert!(
            ended.err.contains("state.dir"),
            "it says what to do: {}",
            ended.err
        );
    }
    assert_eq!(other.org().requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_explain_show_past_and_next() {
    let world = held().await;
    assert_eq!(command(&world, &["history"]).await.out, "no runs yet\n");
    command(&world, &["apply", "--yes"]).await;
    let shown = async |arguments: &[&str]| without_times(&command(&world, arguments).await.out);
    insta::assert_snapshot!(shown(&["history"]).await, @"     1  TIME  command   held        1 applied, 2 held, 5 requests");
    insta::assert_snapshot!(shown(&["history", "latest"]).await, @"
         1  TIME  command   held        1 applied, 2 held, 5 requests
      TIME  create     new@x.co: applied
          display_name: (none) => 'New'
    held by policy.max_removals (2): 2 removals exceed the limit of 1 (max_removals)
      delete     user0001@example.com
          display_name: 'Ada Abbott' => (none)
          cost_center: '100' => (none)
          department: 'Sales' => (none)
          quota: ['0', '0.50'] => (none)
          region: ['north'] => (none)
          tier: 'gold' => (none)
      delete     user0002@example.com
          display_name: 'Boris Brandt' => (none)
          cost_center: '101' => (none)
          department: 'Finance' => (none)
          region: ['north', 'south'] => (none)
    ");
    insta::assert_snapshot!(shown(&["explain", "USER0001@example.com"]).await, @"
    USER0001@example.com
    roster: users.csv:2
    omni: 'Ada Abbott', active, id 9e3779b9-7f4a-4c15-8000-000000000001
        cost_center: '100'
        department: 'Sales'
        quota: ['0', '0.50']
        region: ['north']
        tier: 'gold'
    schedules: none
    personal tokens: none
    documents: none
    next: held by policy.max_removals (run 1): 2 removals exceed the limit of 1 (max_removals)
    - delete     user0001@example.com  (users.csv:2)
    last changes: none
    ");
    insta::assert_snapshot!(shown(&["explain", "new@x.co"]).await, @"
    new@x.co
    roster: users.csv:4
    omni: 'New', active, id 78dde6e5-fd29-4054-8000-000000000004
    schedules: none
    personal tokens: none
    documents: none
    state: managed since TIME
    next: nothing to do
    last changes
      TIME  create     new@x.co: applied
          display_name: (none) => 'New'
    ");
    let doc = json(&command(&world, &["history", "1", "--json"]).await.out);
    assert_eq!(
        (&doc["result"], &doc["changes"][0]["operation"]),
        (&json!("held"), &json!("create"))
    );
    let doc = json(
        &command(&world, &["explain", "new@x.co", "--json"])
            .await
            .out,
    );
    assert_eq!(
        (&doc["managed"], &doc["omni"]["display_name"]),
        (&json!(true), &json!("New"))
    );
    let odd = ["explain", "--json", "--", "-odd@x.co"];
    let doc = json(&command(&world, &odd).await.out);
    assert_eq!(doc["email"], "-odd@x.co", "an address, not an option");
    assert_eq!(command(&world, &["history", "9"]).await.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_guard_agree_on_approvals() {
    let world = World::new().await;
    let world = world
        .set("policy.max_updates", "1")
        .set("policy.max_clears", "1");
    for name in ["a", "b"] {
        world.user(&format!("{name}@x.co"), name, json!({ "department": "x" }));
    }
    let next = async || command(&world, &["explain", "a@x.co"]).await.out;
    let held = async |rule: &str| {
        let ended = command(&world, &["apply", "--yes"]).await;
        assert_eq!(ended.code, 4, "{}", ended.err);
        let next = next().await;
        assert!(next.contains(&format!("held by policy.{rule}")), "{next}");
    };
    let approved = async || {
        let approved = command(&world, &["approve", "latest", "--yes"]).await;
        assert_eq!(approved.code, 0, "{}", approved.err);
        let next = next().await;
        assert!(next.contains("next: a run would"), "{next}");
    };
    world.roster("email,department\na@x.co,y\nb@x.co,y\n");
    held("max_updates").await;
    approved().await;
    // An approved update does not approve clearing a value.
    world.roster("email,department\na@x.co,\nb@x.co,\n");
    held("max_clears").await;
    approved().await;
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 0);
}

/// Runs the program as a user with read-only access to the folder, even if the tests run as root.
async fn as_a_guest(world: &World, arguments: &[&str]) -> std::process::Output {
    let program = world.folder.path().join("program");
    // Copied by another process: otherwise a child of another test could inherit the open file, and a program that is
    // open for writing can't be run.
    let copied = std::process::Command::new("cp")
        .arg(assert_cmd::cargo::cargo_bin("omni-user-sync"))
        .arg(&program)
        .status();
    assert!(copied.expect("cp runs").success());
    for (path, mode) in [
        (world.folder.path().to_owned(), 0o755),
        (world.settings().state.dir, 0o555),
        (world.settings().state.dir.join("state.db"), 0o444),
    ] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of the test");
    }
    let mut command = std::process::Command::new(program);
    command.env_clear().envs(world.variables()).args(arguments);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let ran = tokio::task::spawn_blocking(move || command.output());
    ran.await.expect("no panic").expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_state_folder_is_readable() {
    let world = held().await;
    command(&world, &["apply", "--yes"]).await;
    let state = world.settings().state.dir;
    let files = || {
        let all = std::fs::read_dir(&state).expect("it is read");
        let names = all.map(|file| file.expect("it is there").file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let before = files();
    for (reader, says) in [
        (&["history"][..], "1 applied, 2 held"),
        (&["explain", "new@x.co"], "create     new@x.co: applied"),
        (&["plan"], "user0001@example.com"),
    ] {
        let ended = as_a_guest(&world, reader).await;
        let out = String::from_utf8_lossy(&ended.stdout);
        assert!(out.contains(says), "{reader:?}: {ended:?}");
    }
    assert_eq!(files(), before, "and nothing is made");
    std::fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("a file of the test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_acts_on_an_approval() {
    let world = held()
        .await
        .set("serve.listen", "")
        .set("schedule.cron", "");
    let daemon = Daemon::start(&world);
    eventually("the user is created", || {
        world.org().user("new@x.co").is_some()
    })
    .await;
    let second = command(&world, &["apply", "--yes"]).await;
    assert!(
        second.code == 1 && second.err.contains("in use by `run`"),
        "{}",
        second.err
    );
    assert_eq!(world.org().users().len(), 4);
    let mut approved = command(&world, &["approve", "latest", "--yes"]).await;
    while approved.code != 0 {
        // The run may not have ended yet.
        approved = command(&world, &["approve", "latest", "--yes"]).await;
    }
    eventually("the approved users are removed", || {
        world.org().users().len() == 2
    })
    .await;
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_complete_or_fails() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("there");
    let mut cut_off = std::process::Command::new(env!("CARGO_BIN_EXE_omni-user-sync"));
    cut_off
        .arg("export")
        .env_clear()
        .envs(world.variables())
        .stdout(full);
    let ended = tokio::task::spawn_blocking(move || cut_off.output()).await;
    let ended = ended.expect("no panic").expect("it runs");
    assert_eq!(ended.status.code(), Some(1), "half a roster is a wrong one");

    let link = world.folder.path().join("link.csv");
    std::os::unix::fs::symlink(world.roster_path(), &link).expect("a link");
    world.roster("");
    assert_eq!(
        command(&world, &["export", "-o", "link.csv", "--force"])
            .await
            .code,
        0
    );
    let written = std::fs::read_to_string(world.roster_path()).expect("written");
    assert_eq!(written.lines().count(), 4, "the link is followed");
    assert!(
        std::fs::symlink_metadata(&link)
            .expect("there")
            .is_symlink()
    );
    assert_eq!(command(&world, &["export", "-o", "-"]).await.out, written);
    assert_eq!(
        command(&world, &["export", "-o", "/dev/null"]).await.code,
        0
    );
    assert!(!std::fs::metadata("/dev/null").expect("there").is_file());
}
