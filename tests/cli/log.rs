//! The log: its stable field names, and colours.

use super::daemon::{Daemon, eventually};
use super::example;
use crate::support::{World, command as run};
use omni_user_sync::sandbox::{Fault, What, When};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

/// The fields of every line.
const OF_ALL: [&str; 5] = ["timestamp", "level", "target", "message", "span"];

/// The documented fields of a message: the code in the last cell of its row in docs/operation.md.
fn stable_names(message: &str) -> BTreeSet<String> {
    let page = include_str!("../../docs/operation.md");
    let begins = format!("| `{message}`");
    let row = page.lines().find(|line| line.starts_with(&begins));
    let cells = row
        .expect("a row of docs/operation.md")
        .trim_end_matches('|');
    let (_, names) = cells.rsplit_once("| ").expect("cells");
    let names = names.split('`').skip(1).step_by(2);
    names.chain(OF_ALL).map(str::to_owned).collect()
}

/// The log of a daemon up to the end of its first run.
async fn logged(world: World) -> Vec<Value> {
    let world = world
        .set("serve.listen", "")
        .set("schedule.cron", "")
        .set("log.format", "json");
    let log = tempfile::NamedTempFile::new().expect("a file");
    let _daemon = Daemon::logging_to(&world, log.reopen().expect("opens"));
    let ended = async {
        loop {
            let text = std::fs::read_to_string(log.path()).expect("is read");
            // The last line may be incomplete.
            let lines = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            let lines: Vec<Value> = lines
                .map(|line| {
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
                })
                .collect();
            if lines.iter().any(|line| line["message"] == "run ended") {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    ended.unwrap_or_else(|_| panic!("{:?}", std::fs::read_to_string(log.path())))
}

/// The fields of each line with this message.
fn names(lines: &[Value], message: &str) -> Vec<BTreeSet<String>> {
    let lines = lines.iter().filter(|line| line["message"] == message);
    let names = lines.map(|line| {
        line.as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    });
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn log_fields_match_the_documentation() {
    let world = example().await;
    let refused = What::Status {
        code: 400,
        retry_after: None,
        body: None,
    };
    let when = When {
        method: Some("POST".into()),
        ..When::default()
    };
    world.org().fault(Fault {
        when,
        ..Fault::next(refused)
    });
    let lines = logged(world).await;
    let changes = names(&lines, "change");
    assert_eq!(changes.len(), 3, "{lines:#?}");
    let mut of_users = stable_names("change");
    assert!(of_users.remove("group"), "of memberships");
    assert!(changes.contains(&of_users), "{changes:?}");
    of_users.remove("detail");
    assert!(changes.contains(&of_users), "{changes:?}");
    for message in ["daemon started", "run started"] {
        let mut known = stable_names(message);
        // No schedule, and no span before the first run.
        for absent in ["schedule", "next_run"] {
            known.remove(absent);
        }
        if message == "daemon started" {
            known.remove("span");
        }
        assert_eq!(names(&lines, message), [known], "{message}");
    }
    let outcomes = lines.iter().filter_map(|line| line["outcome"].as_str());
    assert!(outcomes.clone().any(|one| one == "applied"), "{lines:#?}");
    assert!(outcomes.clone().any(|one| one == "failed"), "{lines:#?}");
    let change = lines.iter().find(|line| line["message"] == "change");
    let change = change.expect("one is there");
    assert_eq!(change["target"], "omni_user_sync::change");
    assert_eq!(change["span"]["number"], 1);

    let all = stable_names("run ended");
    let mut known = all.clone();
    assert!(known.remove("error"), "where it failed");
    assert_eq!(names(&lines, "run ended"), [known]);

    let world = example().await.with_variable("OMNI_API_KEY", "another");
    let failed = logged(world).await;
    let failed = names(&failed, "run ended").remove(0);
    assert!(failed.contains("error"), "{failed:?}");
    assert!(failed.is_subset(&all), "{failed:?}");
}

/// A closed pipe, and a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn an_unwritable_log_does_not_end_the_daemon() {
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    let full = || {
        let mut options = std::fs::OpenOptions::new();
        Stdio::from(options.write(true).open("/dev/full").expect("opens"))
    };
    for stderr in [closed(), full()] {
        let world = example()
            .await
            .set("serve.listen", "")
            .set("schedule.cron", "");
        let mut daemon = Daemon::logging_to(&world, stderr);
        eventually("it works", || world.writes().len() >= 3).await;
        assert!(daemon.is_running(), "it goes on");
    }
}

/// In the log, in the problems of `plan` and in the plan itself.
#[tokio::test(flavor = "multi_thread")]
async fn colours_follow_the_terminal_and_settings() {
    const ESCAPE: char = '\u{1b}';
    for (variables, is_coloured) in [
        (&[][..], false), // not a terminal
        (&["CLICOLOR_FORCE"], true),
        (&["NO_COLOR"], false),
        (&["CLICOLOR_FORCE", "NO_COLOR"], false),
    ] {
        let world = example().await;
        let world = variables
            .iter()
            .fold(world, |world, name| world.with_variable(name, "1"));
        let plan = run(&world, &["plan"]).await;
        assert_eq!(plan.code, 2, "{}", plan.err);
        assert_eq!(
            plan.out.contains(ESCAPE),
            is_coloured,
            "{variables:?}: {}",
            plan.out
        );

        world.roster("email,nonsense\nann@x.co,1\n");
        let plan = run(&world, &["--log", "debug", "plan"]).await;
        assert_eq!(plan.code, 1, "{}", plan.err);
        for of in ["DEBUG", "nonsense"] {
            let line = plan.err.lines().find(|line| line.contains(of));
            let line = line.unwrap_or_else(|| panic!("no {of}: {}", plan.err));
            assert_eq!(
                line.contains(ESCAPE),
                is_coloured,
                "{variables:?}: {line:?}"
            );
        }
    }
}

/// Whatever the format of the daemon's log is.
#[tokio::test(flavor = "multi_thread")]
async fn commands_log_text_and_failed_attempts() {
    let world = example().await.set("log.format", "json");
    let refused = What::Status {
        code: 503,
        retry_after: None,
        body: None,
    };
    world.org().fault(Fault::next(refused));
    let plan = run(&world, &["plan"]).await;
    assert_eq!(plan.code, 2, "{}", plan.err);
    let line = plan.err.lines().find(|line| line.contains("trying again"));
    let line = line.unwrap_or_else(|| panic!("{}", plan.err));
    assert!(
        line.contains("attempt=2 of=6") && !line.starts_with('{'),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_logs_planned_changes() {
    let lines = logged(example().await.set("policy.mode", "dry-run")).await;
    let planned = names(&lines, "planned change");
    assert!(!planned.is_empty(), "{lines:#?}");
    let stable = stable_names("planned change");
    for found in planned {
        assert!(found.is_subset(&stable), "{found:?}");
    }
    assert_eq!(names(&lines, "change"), Vec::<BTreeSet<String>>::new());
}
