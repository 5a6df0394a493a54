//! Which users are pruned, and when pruning is blocked.

use super::{approve, deleting, held, user};
use crate::support::{World, assert_converged, outcomes_of};
use omni_user_sync::model::{ChangeOutcome, Email, RunRef};
use omni_user_sync::run::{Completion, RunOutcome};
use omni_user_sync::sandbox::Options;
use serde_json::json;
use std::path::{Path, PathBuf};

/// A world with this many users and this setting of `policy.prune`, in which no number of removals is held.
async fn pruning(prune: &str, users: usize) -> World {
    let options = Options {
        users,
        ..Options::default()
    };
    let world = World::with(options).await.set("policy.prune", prune);
    world.set("policy.max_removals", "100%")
}

#[tokio::test]
async fn prunes_only_managed_users() {
    let world = pruning("managed", 9).await;
    world.roster(&format!(
        "email,display_name\n{},\nnew@x.co,New\n{},\n",
        user(1),
        user(2)
    ));
    assert_converged(&world.run().await);
    world.roster(&format!("email,display_name\n{},\n{},\n", user(2), user(3)));
    let second = world.run().await;
    assert_eq!(
        outcomes_of(&second),
        [
            format!("delete {} applied", "new@x.co"),
            format!("delete {} applied", user(1))
        ]
    );
    assert_eq!(world.org().users().len(), 8, "the others were never ours");
}

#[tokio::test]
async fn waits_for_the_grace_before_it_prunes() {
    let world = pruning("managed", 0).await.set("policy.prune_grace", "1h");
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    assert_converged(&world.run().await);
    world.roster("email,display_name\na@x.co,A\n");
    for _ in 0..2 {
        assert_eq!(world.run().await.planned().expect("a plan").total(), 0);
    }
    let state = world
        .state_db()
        .user(&Email::parse("b@x.co").expect("an email"))
        .await
        .expect("read");
    assert!(
        state
            .managed
            .expect("a managed user")
            .missing_since
            .is_some()
    );
    let world = world.set("policy.prune_grace", "0s");
    assert_eq!(outcomes_of(&world.run().await), ["delete b@x.co applied"]);
}

/// As after the loss of a state folder. A second roster counts as the first one as long as that was not accepted.
#[tokio::test]
async fn a_first_roster_prunes_only_after_approval() {
    let world = pruning("all", 6).await;
    let rows = |numbers: std::ops::RangeInclusive<usize>| -> String {
        numbers
            .map(|number| format!("{},\n", user(number)))
            .collect()
    };
    world.roster(&format!("email,display_name\n{}new@x.co,N\n", rows(1..=4)));
    let first = world.run().await;
    assert_eq!((held(&first), first.result().as_str()), (2, "held"));
    assert_eq!(outcomes_of(&first), ["create new@x.co applied"]);
    let reason = "this is the first roster of the state database; pruning would remove 2 users";
    assert_eq!(first.held()[0].reason, reason);
    assert_eq!(approve(&world, RunRef::Latest).await, 2);
    world.roster(&format!("email,display_name\n{}", rows(1..=3)));
    let second = world.run().await;
    assert_eq!(outcomes_of(&second).len(), 2, "those approved: {second:?}");
    assert_eq!(held(&second), 2, "user 4 and the new one: {second:?}");
    assert_eq!(held(&world.run().await), 2, "again");
    approve(&world, RunRef::Latest).await;
    assert_converged(&world.run().await);
    world.roster(&format!("email,display_name\n{}", rows(1..=2)));
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 2, "the state is no longer new");
}

/// A first roster that could not prune yet is not the baseline of one that can.
#[tokio::test]
async fn a_first_roster_without_upserts_approves_nothing() {
    let world = pruning("all", 3).await;
    world.roster("op,email\ndeactivate,gone@x.co\n");
    assert_eq!(held(&world.run().await), 0);
    world.roster(&format!("email,display_name\n{},\n", user(1)));
    assert_eq!(held(&world.run().await), 2);
}

/// With a grace no user is due in the first run, and a user that is not managed never is.
#[tokio::test]
async fn a_first_roster_with_a_grace_is_accepted() {
    let world = pruning("all", 3).await.set("policy.prune_grace", "1ms");
    world.roster(&format!("email,display_name\n{},\nnew@x.co,N\n", user(1)));
    assert_converged(&world.run().await);
    let memory = world.state_db().memory(chrono::Utc::now()).await;
    assert!(memory.expect("read").last_accepted.is_some());
}

/// As at the boot of a machine without a battery: a run in 2020, and the right time after it.
#[tokio::test]
async fn a_wrong_clock_does_not_end_the_grace() {
    let world = pruning("managed", 0).await.set("policy.prune_grace", "7d");
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    assert_converged(&world.run().await);
    world.roster("email,display_name\na@x.co,A\n");
    world.run().await;
    let raw = rusqlite::Connection::open(world.state_db().path()).expect("a file of the test");
    let in_2020 = "1577880000000";
    raw.execute_batch(&format!(
        "UPDATE runs SET started = {in_2020}, ended = {in_2020} WHERE number = 2;
         UPDATE managed SET missing_since = {in_2020} WHERE missing_since IS NOT NULL"
    ))
    .expect("set");
    let run = world.run().await;
    assert!(outcomes_of(&run).is_empty(), "{run:?}");
    let is_named = |warning: &String| warning.contains("days ahead of the start of the last run");
    assert!(run.warnings.iter().any(is_named), "{:?}", run.warnings);
    let run = world.run().await;
    assert!(!run.warnings.iter().any(is_named), "{:?}", run.warnings);
}

#[tokio::test]
async fn a_shrunken_roster_prunes_only_after_approval() {
    let world = pruning("managed", 0).await;
    let rows: String = (0..10)
        .map(|number| format!("u{number}@x.co,U\n"))
        .collect();
    world.roster(&format!("email,display_name\n{rows}"));
    assert_converged(&world.run().await);
    world.roster("email,display_name\nu0@x.co,U\nu1@x.co,New\n");
    for _ in 0..2 {
        let run = world.run().await;
        assert_eq!((held(&run), run.result().as_str()), (8, "held"), "{run:?}");
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
async fn half_a_roster_is_held_after_the_grace() {
    let world = pruning("managed", 0).await.set("policy.prune_grace", "1ms");
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
async fn an_invalid_roster_removes_no_users() {
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
        let world = pruning("all", 9).await;
        std::fs::write(world.roster_path(), text).expect("written");
        let run = world.run().await;
        assert_eq!(world.org().users().len(), 9, "{name}: {run:?}");
        assert_ne!(run.result().as_str(), "converged", "{name}");
    }
}

/// Nine users, and a folder for the files of the roster.
async fn with_folder() -> (World, PathBuf) {
    let options = Options {
        users: 9,
        ..Options::default()
    };
    let world = World::with(options).await;
    let folder = world.folder.path().join("rosters");
    std::fs::create_dir(&folder).expect("a folder");
    let world = world.set("source.path", &folder.display().to_string());
    (world, folder)
}

#[tokio::test]
async fn a_rejected_file_blocks_only_removals() {
    let (world, folder) = with_folder().await;
    let world = world
        .set("policy.prune", "all")
        .set("policy.max_removals", "100%")
        .with_history()
        .await;
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
    assert_eq!(outcomes_of(&run), [format!("update {} applied", user(1))]);
    assert_eq!(world.org().users().len(), 9);
    assert_eq!(run.blocked().len(), 2, "{run:?}");
    write("b.csv", &format!("email,display_name\n{},\n", user(3)));
    assert_eq!(world.run().await.count(ChangeOutcome::Applied), 7);
}

/// Dates a file this many days ago.
fn set_age(path: &Path, days: i64) {
    let age = std::time::Duration::from_secs(days.unsigned_abs() * 86_400);
    let now = std::time::SystemTime::now();
    let time = if days < 0 { now + age } else { now - age };
    let file = std::fs::File::options().write(true).open(path);
    file.expect("there").set_modified(time).expect("set");
}

#[tokio::test]
async fn an_older_file_does_not_replace_the_newest() {
    let (world, folder) = with_folder().await;
    let world = world.set("source.select", "newest");
    let write = |name: &str, text: &str, days: i64| {
        std::fs::write(folder.join(name), text).expect("written");
        set_age(&folder.join(name), days);
    };
    write("old.csv", &deleting([1]), 2);
    write("new.csv", &deleting([2]), 1);
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("delete {} applied", user(2))]
    );
    std::fs::remove_file(folder.join("new.csv")).expect("removed");
    let run = world.run().await;
    assert_eq!(
        (run.result().as_str(), world.org().users().len()),
        ("failed", 8),
        "{run:?}"
    );
    write("newer.csv", &deleting([3]), 0);
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("delete {} applied", user(3))]
    );
}

/// As from a machine with a wrong clock. The time says what is newest, the order of arrival what was meant.
#[tokio::test]
async fn a_future_date_that_hides_later_files_is_a_problem() {
    let (world, folder) = with_folder().await;
    let world = world.set("source.select", "newest");
    let write = |name: &str, text: &str, days: i64| {
        std::fs::write(folder.join(name), text).expect("written");
        set_age(&folder.join(name), days);
    };
    let problems = |run: &RunOutcome| -> Vec<String> {
        let bad = run.roster().expect("a roster").bad_rows.iter();
        bad.map(ToString::to_string).collect()
    };
    write("old.csv", &deleting([9]), 3);
    write("future.csv", &format!("email\n{}\n", user(1)), -365);
    let run = world.run().await;
    assert_converged(&run);
    assert!(run.warnings[0].starts_with("future.csv: dated "), "{run:?}");
    write("today.csv", &deleting([2]), 0);
    for _ in 0..2 {
        let run = world.run().await;
        assert_eq!(run.result().as_str(), "partial", "{run:?}");
        let problem = "future.csv: dated in the future, so files that arrived later are not read: today.csv; \
                       remove this file, or give it its real date (`touch -d`)";
        assert_eq!(problems(&run), [problem]);
    }
    let plan = crate::support::command(&world, &["plan"]).await;
    assert_eq!(plan.code, 3, "{}", plan.err);
    let check = crate::support::command(&world, &["check"]).await;
    assert_eq!(check.code, 1);
    assert!(check.err.contains("today.csv"), "{}", check.err);
    set_age(&folder.join("future.csv"), 2);
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("delete {} applied", user(2))]
    );
    std::fs::remove_file(folder.join("today.csv")).expect("removed");
    let run = world.run().await;
    assert_eq!(
        run.result().as_str(),
        "failed",
        "never an older one: {run:?}"
    );
}

#[tokio::test]
async fn files_older_than_a_removed_future_date_are_refused() {
    let (world, folder) = with_folder().await;
    let world = world.set("source.select", "newest");
    std::fs::write(folder.join("old.csv"), deleting([9])).expect("written");
    std::fs::write(folder.join("future.csv"), deleting([1])).expect("written");
    set_age(&folder.join("old.csv"), 3);
    set_age(&folder.join("future.csv"), -365);
    world.run().await;
    std::fs::remove_file(folder.join("future.csv")).expect("removed");
    assert_eq!(world.run().await.result().as_str(), "failed");
    set_age(&folder.join("old.csv"), 0);
    assert_eq!(
        outcomes_of(&world.run().await),
        [format!("delete {} applied", user(9))]
    );
}

/// As out of an archive: of files of one time the last by name is the newest.
#[tokio::test]
async fn an_earlier_name_does_not_replace_the_newest() {
    let (world, folder) = with_folder().await;
    let world = world.set("source.select", "newest");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(2_000);
    for (name, number) in [("2026-01.csv", 1), ("2026-02.csv", 2)] {
        std::fs::write(folder.join(name), deleting([number])).expect("written");
        let file = std::fs::File::options().write(true).open(folder.join(name));
        file.expect("there").set_modified(time).expect("set");
    }
    let deleted = [format!("delete {} applied", user(2))];
    assert_eq!(outcomes_of(&world.run().await), deleted);
    std::fs::remove_file(folder.join("2026-02.csv")).expect("removed");
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "failed", "{run:?}");
    let Completion::Failed(error) = &run.completion else {
        panic!("{run:?}");
    };
    let error = error.to_string();
    assert!(
        error.starts_with("2026-01.csv: older than 2026-02.csv"),
        "{error}"
    );
}

/// As an identity provider exports it after a change of its template.
#[tokio::test]
async fn junk_around_addresses_removes_nobody() {
    let world = pruning("managed", 0).await;
    let header = "op,email,display_name\n";
    let rows = |junk: fn(usize, &str) -> String| -> String {
        let row = |number| {
            let email = junk(number, &format!("u{number}@example.com"));
            format!("upsert,{email},U\n")
        };
        (0..65).map(row).collect()
    };
    world.roster(&(header.to_owned() + &rows(|_, email| email.to_owned())));
    assert_converged(&world.run().await);
    let users = world.org().users();
    world.roster(
        &(header.to_owned()
            + &rows(|number, email| match number % 8 {
                0 => format!("mailto:{email}"),
                1 => format!("<{email}>"),
                2 => format!("\"{email},\""),
                3 => email.replace(".com", "..com"),
                _ => email.to_owned(),
            })),
    );
    let second = world.run().await;
    assert!(
        outcomes_of(&second).is_empty(),
        "{:?}",
        outcomes_of(&second)
    );
    assert_eq!(world.org().users().len(), users.len());
    let problems = &second.roster().expect("a roster").bad_rows;
    assert_eq!(problems.len(), 33);
    let leaver = format!(
        "{header}delete,<u7@example.com>,\n{}",
        rows(|_, email| email.to_owned())
    );
    world.roster(&leaver);
    let third = world.run().await;
    assert!(
        outcomes_of(&third).is_empty(),
        "u7 is frozen: {:?}",
        outcomes_of(&third)
    );
    assert!(
        third.roster().expect("a roster").bad_rows[0]
            .remedy
            .contains("u7@example.com")
    );
}
