//! Messages, as a function of values.

use super::{away, denied, holding, plan as planned, problem, run, stopped, unusable};
use omni_user_sync::notify::{Alert, Message, RunSummary, message};
use omni_user_sync::run::RunOutcome;

/// The messages about these runs, if each is delivered.
fn messages(runs: &[RunOutcome]) -> Vec<Message> {
    let mut known: Vec<Alert> = Vec::new();
    let mut messages = Vec::new();
    for run in runs {
        let Some(news) = RunSummary::of(run) else {
            continue;
        };
        messages.extend(message(&known, &news, "acme.omniapp.co"));
        known = news.alerts;
    }
    for message in &messages {
        let all = format!("{message:?}");
        for secret in ["s3cret", "@", "/"] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
    }
    messages
}

fn texts(runs: &[RunOutcome]) -> String {
    let texts: Vec<_> = messages(runs).into_iter().map(|one| one.text).collect();
    texts.join("\n")
}

fn events(runs: &[RunOutcome]) -> Vec<&'static str> {
    messages(runs)
        .iter()
        .map(|one| one.event.as_str())
        .collect()
}

#[test]
fn messages_say_what_to_do() {
    let rejected = |number| RunOutcome {
        plan: Some({
            let mut plan = planned();
            let files = [("/srv/secret/b.csv", 3), ("c.csv", 0)];
            plan.roster.rejected = files.map(|(file, line)| problem(file, line)).into();
            plan.blocked = vec!["ann@x.co".into()];
            plan
        }),
        ..run(number)
    };
    let without_groups = |number| RunOutcome {
        plan: Some({
            let mut plan = planned();
            plan.roster.groups = Some(problem("/srv/secret/groups.csv", 0));
            plan
        }),
        ..run(number)
    };
    let nameless = RunOutcome {
        number: None,
        ..denied(0)
    };
    let runs = [
        away(1),
        unusable(2, vec![problem("/srv/secret/users.csv", 3)]),
        holding(3, 12),
        rejected(4),
        run(5),
        nameless,
        run(6),
        without_groups(7),
    ];
    insta::assert_snapshot!(texts(&runs), @r"
    omni-user-sync (acme.omniapp.co): run 1 failed: Omni can't be reached. It will be retried. For details, see the log and `omni-user-sync history 1`.
    omni-user-sync (acme.omniapp.co): run 2 rejected the roster and made no changes: `users.csv:3`. For details, run `omni-user-sync check`.
    omni-user-sync (acme.omniapp.co): run 3 succeeded again.
    run 3 holds 12 changes by policy.max_removals. To list them, run `omni-user-sync history 3`; to approve them, run `omni-user-sync approve 3`.
    omni-user-sync (acme.omniapp.co): run 4 rejected files of the roster and removed no users: `b.csv:3`, `c.csv`. For details, run `omni-user-sync check`.
    run 4 blocked removals of users or leaves from groups, because the roster or Omni could not be read completely. For details, see the log.
    omni-user-sync (acme.omniapp.co): run 5 succeeded again.
    omni-user-sync (acme.omniapp.co): a run failed: Omni rejects the API key. It will be retried. For details, see the log.
    omni-user-sync (acme.omniapp.co): run 6 succeeded again.
    omni-user-sync (acme.omniapp.co): run 7 could not read source.groups and took no user out of a group: `groups.csv`. For details, run `omni-user-sync check`.
    ");
}

#[test]
fn a_held_run_has_machine_readable_fields() {
    let messages = messages(&[holding(3, 12)]);
    insta::assert_snapshot!(format!("{:#}", messages[0].fields), @r#"
    {
      "alerts": [
        {
          "count": 12,
          "kind": "held",
          "rule": "max_removals"
        }
      ],
      "ended": "2026-03-10T12:01:30Z",
      "event": "held",
      "organisation": "acme.omniapp.co",
      "recovered": false,
      "result": "held",
      "run": 3
    }
    "#);
}

#[test]
fn each_state_is_reported_once() {
    assert_eq!(events(&[run(1), run(2)]), [""; 0], "all is well");
    assert_eq!(events(&[away(1), away(2), away(3)]), ["failed"]);
    assert_eq!(
        events(&[away(1), denied(2), denied(3), away(4)]),
        ["failed"; 3]
    );
    assert_eq!(
        events(&[away(1), run(2), run(3), away(4)]),
        ["failed", "recovered", "failed"]
    );
    assert_eq!(
        events(&[
            holding(1, 3),
            holding(2, 3),
            holding(3, 4),
            run(4),
            holding(5, 4)
        ]),
        ["held"; 3],
        "what is no longer held needs no message"
    );
    assert_eq!(
        events(&[away(1), stopped(2), away(3)]),
        ["failed"],
        "a stopped run sends nothing"
    );
}

#[test]
fn a_recovery_with_held_changes_sends_one_message() {
    let messages = messages(&[holding(1, 3), away(2), holding(3, 3)]);
    let last = messages.last().expect("three messages");
    assert_eq!((messages.len(), last.event.as_str()), (3, "held"));
    assert!(
        last.text
            .contains("run 3 succeeded again.\nrun 3 holds 3 changes"),
        "{}",
        last.text
    );
}

#[test]
fn file_names_are_escaped_in_chat_messages() {
    let name = format!(
        "in/<!channel> @here [x](https:x) `rm` ann@x.co {}.csv",
        "x".repeat(500)
    );
    let text = texts(&[unusable(1, vec![problem(&name, 0)])]);
    for markup in ["<", "@", "[", "(h", "rm`", "!"] {
        assert!(!text.contains(markup), "{markup}: {text}");
    }
    assert!(text.len() < 300, "{text}");
    let many: Vec<_> = (0..5000).map(|n| problem(&format!("{n}.csv"), 1)).collect();
    let text = texts(&[unusable(1, many)]);
    assert!(
        text.contains("`4.csv:1`, `4995 more`.") && text.len() < 300,
        "{text}"
    );
}
