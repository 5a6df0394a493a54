//! What holds over time: a memory, a guard over 24 hours, approvals, ownership, quarantine. Each
//! `World::run` is a process of its own: it opens the journal anew.
#![cfg(feature = "sandbox")]

mod support;

use chrono::Utc;
use omni_user_sync::journal::{Access, Journal, RunNumber, RunRef, RunState};
use omni_user_sync::reconcile::{Outcome, RunOutcome, Stop, Trigger};
use omni_user_sync::sandbox::{Fault, Options, What, When};
use serde_json::json;
use std::fmt::Write;
use support::{World, assert_converged, told};

async fn hundred() -> World {
    World::with(Options {
        users: 100,
        ..Options::default()
    })
    .await
}

fn user(number: usize) -> String {
    format!("user{number:04}@example.com")
}

/// A roster that deletes these users of the stand-in's.
fn deleting(numbers: impl IntoIterator<Item = usize>) -> String {
    numbers
        .into_iter()
        .fold("op,email\n".to_owned(), |mut text, number| {
            writeln!(text, "delete,{}", user(number)).expect("a String takes every write");
            text
        })
}

async fn approve(world: &World, run: RunRef) -> usize {
    let dir = world.settings().state.dir;
    let journal = Journal::open(&world.sandbox.url(), Access::Approve(&dir)).expect("a journal");
    journal
        .approve(run, "ann", Utc::now(), false)
        .await
        .expect("approved")
        .users
        .len()
}

fn on(method: &str, what: What, times: usize) -> Fault {
    let when = When {
        method: Some(method.into()),
        ..When::default()
    };
    Fault { when, what, times }
}

fn status(code: u16) -> What {
    What::Status {
        code,
        retry_after: None,
        body: None,
    }
}

fn held(run: &RunOutcome) -> usize {
    run.held.iter().map(|held| held.count).sum()
}

#[tokio::test]
async fn many_small_runs_are_no_way_around_the_guard() {
    let world = hundred().await;
    world.roster(&deleting(1..=8));
    assert_converged(&world.run().await);
    world.roster(&deleting(9..=16));
    let second = world.run().await;
    assert_eq!(
        (second.as_str(), held(&second), world.org().users().len()),
        ("held", 8, 92)
    );
    let why = &second.held[0].why;
    assert!(
        why.contains("8 of 100 users would be removed after 8 in the last 24 h"),
        "{why}"
    );
    assert!(why.contains("omni-user-sync approve 2"), "{why}");
    // Two more are within 10%, and those that the journal knows are not counted twice.
    world.roster(&deleting(9..=10));
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 90);
}

#[tokio::test]
async fn an_approval_lets_exactly_the_shown_users_through_once() {
    let world = hundred().await;
    world.roster(&deleting(1..=20));
    let first = world.run().await;
    assert_eq!((held(&first), world.writes().len()), (20, 0));
    assert_eq!(approve(&world, RunRef::Latest).await, 20);

    // With anyone else, all are held.
    world.roster(&deleting(1..=21));
    assert_eq!(held(&world.run().await), 21);
    // Within the set, they pass, and don't count for what comes after.
    world.roster(&deleting(2..=20));
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 81);
    world.roster(&deleting(21..=28));
    assert_converged(&world.run().await);

    // Once: someone who came back under the same email is somebody else.
    world.user(&user(2), "Back", json!({}));
    world.roster(&deleting([1, 2, 29, 30, 31, 32, 33]));
    assert_eq!(held(&world.run().await), 7);
    let changes = world.journal().changes(RunNumber(3)).await.expect("read");
    assert!(
        changes.iter().all(|change| change.intent.approved),
        "it says who was approved"
    );
}

#[tokio::test]
async fn an_approval_outlasts_a_run_that_was_cut_short() {
    let world = hundred().await.set("omni.max_in_flight", "1");
    world.roster(&deleting(1..=20));
    assert_eq!(held(&world.run().await), 20);
    approve(&world, RunRef::Latest).await;
    world.org().fault(Fault {
        when: When {
            method: Some("DELETE".into()),
            from: Some(10),
            ..When::default()
        },
        what: status(401),
        times: 1,
    });
    let cut = world.run().await;
    assert!(!cut.is_success() && cut.count(Outcome::Done) > 0, "{cut:?}");
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 80);
}

#[tokio::test]
async fn prunes_whom_a_roster_once_named_and_nobody_else() {
    let world = World::with(Options {
        users: 9,
        ..Options::default()
    })
    .await
    .set("policy.prune", "managed");
    world.roster(&format!(
        "email,display_name\n{},\nnew@x.co,New\n{},\n",
        user(1),
        user(2)
    ));
    assert_converged(&world.run().await);
    world.roster(&format!("email,display_name\n{},\n{},\n", user(2), user(3)));
    let second = world.run().await;
    assert_eq!(
        told(&second),
        [
            format!("delete {} done", "new@x.co"),
            format!("delete {} done", user(1))
        ]
    );
    assert_eq!(world.org().users().len(), 8, "the others were never ours");
}

#[tokio::test]
async fn waits_for_the_grace_before_it_prunes() {
    let world = World::new()
        .await
        .set("policy.prune", "managed")
        .set("policy.prune_grace", "1h");
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    assert_converged(&world.run().await);
    world.roster("email,display_name\na@x.co,A\n");
    for _ in 0..2 {
        assert_eq!(world.run().await.drift.expect("a plan").total(), 0);
    }
    let state = world
        .journal()
        .user(&"b@x.co".parse_email())
        .await
        .expect("read");
    assert!(state.managed.expect("ours").missing_since.is_some());
    let world = world.set("policy.prune_grace", "0s");
    assert_eq!(told(&world.run().await), ["delete b@x.co done"]);
}

#[tokio::test]
async fn a_roster_that_lost_most_of_its_rows_prunes_nobody_until_someone_says_so() {
    let world = World::new()
        .await
        .set("policy.prune", "managed")
        .set("policy.max_removals", "100%");
    let rows: String = (0..10)
        .map(|number| format!("u{number}@x.co,U\n"))
        .collect();
    world.roster(&format!("email,display_name\n{rows}"));
    assert_converged(&world.run().await);
    world.roster("email,display_name\nu0@x.co,U\nu1@x.co,New\n");
    for _ in 0..2 {
        let run = world.run().await;
        assert_eq!((held(&run), run.as_str()), (8, "held"), "{run:?}");
    }
    assert_eq!(
        world.org().user("u1@x.co").expect("there")["displayName"],
        json!("New")
    );
    approve(&world, RunRef::Latest).await;
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 2);
}

#[tokio::test]
async fn reactivates_whom_we_deactivated_and_nobody_else() {
    let world = World::new().await;
    world.user("ours@x.co", "O", json!({}));
    world.user("theirs@x.co", "T", json!({}));
    world.roster("op,email\ndeactivate,ours@x.co\n");
    assert_converged(&world.run().await);
    world.org().set_active("theirs@x.co", false);
    world.roster("op,email\nupsert,ours@x.co\nupsert,theirs@x.co\n");
    assert_eq!(told(&world.run().await), ["update ours@x.co done"]);
    let active = |email: &str| world.org().user(email).expect("there")["active"].clone();
    assert_eq!(
        (active("ours@x.co"), active("theirs@x.co")),
        (json!(true), json!(false))
    );
}

#[tokio::test]
async fn a_refused_change_waits_and_its_quarantine_ends_when_something_changes() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.user("b@x.co", "B", json!({}));
    world.org().fault(on("PATCH", status(400), 1));
    world.roster("email,display_name\na@x.co,New\nb@x.co,New\n");
    let world = world.set("omni.max_in_flight", "1");
    assert_eq!(
        told(&world.run().await),
        ["update a@x.co failed", "update b@x.co done"]
    );
    let writes = world.writes().len();
    let second = world.run().await;
    assert_eq!(world.writes().len(), writes, "it is not sent every run");
    assert!(
        second
            .warnings
            .iter()
            .any(|warning| warning.contains("quarantine")),
        "{second:?}"
    );
    assert_eq!(world.metrics.quarantined_users.get(), 1);
    // Another wish is another change.
    world.roster("email,display_name\na@x.co,Newer\nb@x.co,New\n");
    assert_eq!(told(&world.run().await), ["update a@x.co done"]);
    // Out of it is who is seen to need nothing any more.
    world.run().await;
    assert_eq!(world.metrics.quarantined_users.get(), 0);
}

#[tokio::test]
async fn a_command_tries_what_is_in_quarantine() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.org().fault(on("PATCH", status(400), 1));
    world.roster("email,display_name\na@x.co,New\n");
    assert_eq!(told(&world.run().await), ["update a@x.co failed"]);
    assert_eq!(told(&world.apply().await), ["update a@x.co done"]);
}

#[tokio::test]
async fn what_omni_accepts_and_does_not_keep_is_told_and_not_sent_every_run() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.org().fault(on("PATCH", What::IgnoreWrite, 99));
    world.roster("email,department\na@x.co,sales\n");
    assert_eq!(
        told(&world.run().await),
        ["update a@x.co done"],
        "Omni says so"
    );
    assert_eq!(
        told(&world.run().await),
        ["update a@x.co not_kept"],
        "it is looked at"
    );
    for _ in 0..3 {
        world.run().await;
    }
    assert_eq!(world.writes().len(), 2);
}

#[tokio::test]
async fn a_value_that_someone_takes_back_is_set_again_at_once() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({ "department": "old" }));
    world.roster("email,department\na@x.co,sales\n");
    for _ in 0..3 {
        assert_converged(&world.run().await);
        assert_eq!(world.attribute("a@x.co", "department"), json!("sales"));
        world
            .org()
            .set_attribute("a@x.co", "department", json!("old"));
    }
}

#[tokio::test]
async fn an_emptied_column_holds_its_clears() {
    let world = World::new().await;
    let mut roster = "email,display_name,department,region\n".to_owned();
    for number in 0..40 {
        world.user(
            &format!("u{number}@x.co"),
            "Old",
            json!({ "department": "a", "region": ["n"] }),
        );
        writeln!(roster, "u{number}@x.co,New,,[n]").expect("a String takes every write");
    }
    world.roster(&roster);
    let run = world.run().await;
    assert_eq!((held(&run), run.held[0].rule), (40, "max_clears"));
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_that_can_not_be_read_removes_anybody() {
    let bad: [(&str, &[u8]); 12] = [
        ("empty", b""),
        ("only a header", b"email,display_name\n"),
        ("no header", b"upsert,user0001@example.com,A\n"),
        ("no email", b"op,mail\nupsert,a@x.co\n"),
        ("doubled header", b"email,email\nuser0001@example.com,\n"),
        (
            "unknown column",
            b"email,nonsense\nuser0001@example.com,x\n",
        ),
        (
            "unclosed quote",
            b"email,display_name\nuser0001@example.com,\"A\n",
        ),
        ("workbook", b"PK\x03\x04"),
        ("binary", b"\x7fELF\0\0"),
        ("bytes", b"email,display_name\nuser0001@example.com,\xff\n"),
        ("no upsert", b"op,email\ndeactivate,gone@x.co\n"),
        (
            "nobody's row",
            b"email,display_name\nuser0001@example.com,\nnot an email,B\n",
        ),
    ];
    for (name, text) in bad {
        let world = World::with(Options {
            users: 9,
            ..Options::default()
        })
        .await
        .set("policy.prune", "all")
        .set("policy.max_removals", "100%");
        std::fs::write(world.roster_path(), text).expect("written");
        let run = world.run().await;
        assert_eq!(world.org().users().len(), 9, "{name}: {run:?}");
        assert_ne!(run.as_str(), "converged", "{name}");
    }
}

#[tokio::test]
async fn a_bad_file_among_several_removes_nobody_and_the_others_go_on() {
    let world = World::with(Options {
        users: 9,
        ..Options::default()
    })
    .await;
    let folder = world.folder.path().join("rosters");
    std::fs::create_dir(&folder).expect("a folder");
    let world = world
        .set("policy.prune", "all")
        .set("policy.max_removals", "100%")
        .set("source.path", &folder.display().to_string());
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    write(
        "a.csv",
        &format!(
            "op,email,display_name\nupsert,{},New\ndelete,{},\n",
            user(1),
            user(2)
        ),
    );
    write("b.csv", "email,nonsense\nx@x.co,y\n");
    let run = world.run().await;
    assert_eq!(told(&run), [format!("update {} done", user(1))]);
    assert_eq!(world.org().users().len(), 9);
    assert_eq!(run.withheld.len(), 2, "{run:?}");
    write("b.csv", &format!("email,display_name\n{},\n", user(3)));
    assert_eq!(world.run().await.count(Outcome::Done), 7);
}

#[tokio::test]
async fn the_newest_file_gone_its_predecessor_is_not_the_roster_again() {
    let world = World::with(Options {
        users: 9,
        ..Options::default()
    })
    .await;
    let folder = world.folder.path().join("rosters");
    std::fs::create_dir(&folder).expect("a folder");
    let world = world
        .set("source.select", "newest")
        .set("source.path", &folder.display().to_string());
    let write = |name: &str, text: &str, days: u64| {
        std::fs::write(folder.join(name), text).expect("written");
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        let file = std::fs::File::options()
            .write(true)
            .open(folder.join(name))
            .expect("there");
        file.set_modified(time).expect("set");
    };
    write("old.csv", &deleting([1]), 2);
    write("new.csv", &deleting([2]), 1);
    assert_eq!(
        told(&world.run().await),
        [format!("delete {} done", user(2))]
    );
    std::fs::remove_file(folder.join("new.csv")).expect("removed");
    let run = world.run().await;
    assert_eq!(
        (run.as_str(), world.org().users().len()),
        ("failed", 8),
        "{run:?}"
    );
    write("newer.csv", &deleting([3]), 0);
    assert_eq!(
        told(&world.run().await),
        [format!("delete {} done", user(3))]
    );
}

#[tokio::test]
async fn the_journal_tells_what_happened_and_never_what_did_not() {
    let world = World::new().await;
    world.user("lost@x.co", "L", json!({ "department": "old" }));
    world.user("refused@x.co", "R", json!({}));
    let world = world.set("omni.max_in_flight", "1");
    // The answer is lost, and so are the looks at what became of it.
    world.org().fault(on("PATCH", What::LostReply, 1));
    let path = Some("/api/scim/v2/Users/".into());
    let look = When {
        method: Some("GET".into()),
        path,
        ..When::default()
    };
    world.org().fault(Fault {
        when: look,
        what: status(401),
        times: 1,
    });
    world.roster("email,display_name,department\nlost@x.co,,new\nrefused@x.co,New,\n");
    let cut = world.run().await;
    assert!(!cut.is_success(), "{cut:?}");
    let changes = world.journal().changes(RunNumber(1)).await.expect("read");
    assert_eq!(changes[0].settled, None, "what became of it is not known");

    assert_eq!(told(&world.run().await), ["update refused@x.co done"]);
    let journal = world.journal();
    let changes = journal.changes(RunNumber(1)).await.expect("read");
    assert_eq!(
        changes[0].settled.as_ref().map(|settled| settled.outcome),
        Some(Outcome::Done)
    );
    let runs = journal.runs(9).await.expect("read");
    let words: Vec<_> = runs
        .iter()
        .map(|run| match &run.state {
            RunState::Ended(end) => end.outcome.as_str(),
            RunState::Open | RunState::Interrupted => "not ended",
        })
        .collect();
    assert_eq!(words, ["converged", "failed"]);
}

#[tokio::test]
async fn a_likely_rename_is_pointed_out() {
    let world = World::new().await;
    world.user("old@x.co", "Ann Lee", json!({}));
    world.roster("op,email,display_name\ndelete,old@x.co,\nupsert,new@x.co,Ann Lee\n");
    let plan = world.plan().await.expect("a plan");
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("under the same name")),
        "{plan:?}"
    );
}

trait ParseEmail {
    fn parse_email(&self) -> omni_user_sync::user::Email;
}

impl ParseEmail for str {
    fn parse_email(&self) -> omni_user_sync::user::Email {
        omni_user_sync::user::Email::parse(self).expect("an email")
    }
}

#[tokio::test]
async fn half_a_roster_is_held_after_the_grace_too() {
    let world = World::new()
        .await
        .set("policy.prune", "managed")
        .set("policy.prune_grace", "1ms")
        .set("policy.max_removals", "100%");
    let rows: String = (0..10)
        .map(|number| format!("u{number}@x.co,U\n"))
        .collect();
    world.roster(&format!("email,display_name\n{rows}"));
    assert_converged(&world.run().await);
    world.roster("email,display_name\nu0@x.co,U\n");
    assert_eq!(held(&world.run().await), 0, "the grace begins");
    assert_eq!(held(&world.run().await), 9);
    assert_eq!(world.org().users().len(), 10);
}

#[tokio::test]
async fn who_was_deactivated_counts_once() {
    let world = hundred().await.set("policy.removal", "deactivate");
    world.roster(&deleting(1..=10));
    assert_converged(&world.run().await);
    world.roster(&deleting(11..=11));
    let run = world.run().await;
    assert_eq!(held(&run), 1, "10 and 1 of 100 are more than 10%: {run:?}");
}

#[tokio::test]
async fn an_approval_of_updates_is_none_of_clears() {
    let world = World::new().await.set("policy.max_updates", "5");
    let mut roster = "email,display_name,department\n".to_owned();
    for number in 0..20 {
        world.user(
            &format!("u{number}@x.co"),
            "Old",
            json!({ "department": "a" }),
        );
        writeln!(roster, "u{number}@x.co,New,a").expect("a String takes every write");
    }
    world.roster(&roster);
    assert_eq!(held(&world.run().await), 20);
    approve(&world, RunRef::Latest).await;
    world.roster(&roster.replace(",a\n", ",\n"));
    let run = world.run().await;
    assert_eq!(
        (held(&run), run.held[0].rule, world.writes().len()),
        (20, "max_clears", 0)
    );
    approve(&world, RunRef::Latest).await;
    assert_converged(&world.run().await);
}

#[tokio::test]
async fn a_deletion_that_is_not_kept_is_told() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.org().fault(on("DELETE", What::IgnoreWrite, 99));
    world.roster("op,email\ndelete,a@x.co\n");
    assert_eq!(
        told(&world.run().await),
        ["delete a@x.co done"],
        "Omni says so"
    );
    assert_eq!(told(&world.run().await), ["delete a@x.co not_kept"]);
    world.run().await;
    assert_eq!(world.writes().len(), 2);
}

#[tokio::test]
async fn a_user_who_turns_out_to_exist_is_in_the_journal_as_updated() {
    let world = World::new().await;
    world.user("a@x.co", "Old", json!({}));
    world.org().fault(Fault::next(What::SkipUser));
    world.roster("email,display_name\na@x.co,New\n");
    assert_eq!(told(&world.run().await), ["update a@x.co done"]);
    let changes = world.journal().changes(RunNumber(1)).await.expect("read");
    let told: Vec<_> = changes
        .iter()
        .map(|change| {
            (
                change.intent.kind.as_str(),
                change.settled.as_ref().map(|one| one.outcome),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("create", Some(Outcome::Failed)),
            ("update", Some(Outcome::Done))
        ]
    );
}

#[tokio::test]
async fn a_run_that_was_declined_is_called_so() {
    let world = World::new().await;
    world.roster("email,display_name\na@x.co,A\n");
    let reconciler = world.reconciler();
    let target = world.target();
    let begun = reconciler.begin(Trigger::Command, &target).await;
    let mut run = begun.expect("it begins");
    let stop = Stop::default();
    let prepared = reconciler.prepare(&mut run, &target, &stop).await;
    assert_eq!(prepared.expect("a plan").verdict.passed().len(), 1);
    reconciler.decline(run).await.expect("written");
    let runs = reconciler.journal().runs(1).await.expect("read");
    let RunState::Ended(end) = &runs[0].state else {
        panic!("{runs:?}");
    };
    assert_eq!((end.outcome.as_str(), end.users), ("declined", Some(0)));
    assert_eq!(world.writes(), Vec::<String>::new());
}
