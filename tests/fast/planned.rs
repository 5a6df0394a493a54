//! What a plan says beside its changes, that a large one is put together whole, and where exactly the
//! guard's line is when a roster shrinks.

use chrono::Utc;
use omni_user_sync::model::{
    AcceptedRoster, Action, Attributes, Change, Desired, Email, Fingerprint, GuardRule, Memory,
    Observed, ObservedUser, Operation, Prune, Schema, UserId,
};
use omni_user_sync::plan::{Blocked, BlockedOperation, LostFiles, Plan, evaluate};
use omni_user_sync::roster;
use omni_user_sync::settings::{Environment, Settings};
use std::fmt::Write;

fn settings() -> Settings {
    let example = [("OMNI_USER_SYNC_CONFIG", "config/example.toml")];
    let environment: Environment = example.into_iter().collect();
    omni_user_sync::settings::load(None, &environment).expect("the example is fine")
}

fn desired(csv: &str) -> Desired {
    let file = tempfile::NamedTempFile::with_suffix(".csv").expect("a file");
    std::fs::write(file.path(), csv).expect("written");
    let source = settings().source;
    roster::read(&source, file.path(), true, &Schema::unknown()).expect("a roster")
}

fn plan(csv: &str, users: Vec<ObservedUser>) -> Plan {
    let memory = Memory::empty(Utc::now());
    let observed = Observed::new(users, 0);
    let policy = settings().policy;
    Plan::new(
        &desired(csv),
        &observed,
        &Schema::unknown(),
        &memory,
        &policy,
    )
}

fn email(text: &str) -> Email {
    Email::parse(text).expect("an email")
}

fn user(address: &str, active: bool) -> ObservedUser {
    ObservedUser {
        id: UserId::parse(&address.replace(['@', '.'], "-")).expect("an id"),
        email: email(address),
        display_name: "Ann".into(),
        active: Some(active),
        attributes: Some(Attributes::default()),
        modified: None,
        owned: None,
    }
}

/// A leaver's row with a misspelt address must not look as if the leaver were gone.
#[test]
fn unknown_leavers_name_the_nearest_user() {
    let csv = "op,email,display_name\nupsert,ann@x.co,Ann\ndelete,zoe@exmaple.com,\n\
               deactivate,gone@x.co,\ndelete,ever@x.co,\n";
    let users = ["ann@x.co", "zoe@example.com", "joe@example.com"].map(|one| user(one, true));
    let observed = Observed::new(users, 0);
    let mut memory = Memory::empty(Utc::now());
    memory.removed.insert(email("EVER@x.co").digest());
    let plan = Plan::new(
        &desired(csv),
        &observed,
        &Schema::unknown(),
        &memory,
        &settings().policy,
    );
    let found: Vec<_> = plan
        .not_found
        .iter()
        .map(|row| {
            (
                row.email.as_str(),
                row.location.line,
                row.nearest.as_ref().map(Email::as_str),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("zoe@exmaple.com", 3, Some("zoe@example.com")),
            ("gone@x.co", 4, None)
        ]
    );
    assert_eq!((plan.unchanged, plan.changes.len()), (2, 0));
}

#[test]
fn a_hundred_unknown_leavers_are_compared() {
    let rows: String = (0..150)
        .map(|number| format!("delete,u{number:03}@exmaple.com\n"))
        .collect();
    let users = (0..150)
        .map(|number| user(&format!("u{number:03}@example.com"), true))
        .collect();
    let plan = plan(&format!("op,email\nupsert,u000@example.com\n{rows}"), users);
    let near = |row: &&omni_user_sync::plan::NotFound| row.nearest.is_some();
    assert_eq!(plan.not_found.len(), 150);
    assert_eq!(plan.not_found.iter().filter(near).count(), 100);
    let nearest = plan.not_found[7].nearest.as_ref().map(Email::as_str);
    assert_eq!(nearest, Some("u007@example.com"));
}

/// More rows than one thread takes, of every kind that a plan counts or names.
#[test]
fn parallel_comparison_covers_all_rows() {
    const EACH: usize = 5_000;
    let mut csv = "op,email,display_name\n".to_owned();
    let mut users = Vec::new();
    for number in 0..EACH {
        write!(
            csv,
            "upsert,new{number}@x.co,Ann\nupsert,nameless{number}@x.co,\nupsert,twice{number}@x.co,Ann\n\
             upsert,asleep{number}@x.co,Ann\ndelete,gone{number}@x.co,\n"
        )
        .expect("a String takes every write");
        users.push(user(&format!("twice{number}@x.co"), true));
        users.push(user(&format!("TWICE{number}@x.co"), true));
        users.push(user(&format!("asleep{number}@x.co"), false));
    }
    let plan = plan(&csv, users);
    assert_eq!(plan.changes.len(), EACH);
    assert!(
        plan.changes
            .iter()
            .all(|one| one.operation() == Operation::Create)
    );
    assert!(plan.changes.is_sorted_by_key(|change| &change.subject));
    assert_eq!(plan.problems.len(), EACH);
    assert!(
        plan.problems
            .is_sorted_by_key(|problem| problem.location.line)
    );
    assert_eq!(plan.ambiguous.len(), EACH);
    assert!(plan.ambiguous.is_sorted());
    assert_eq!(plan.left_inactive.len(), EACH);
    assert!(plan.left_inactive.is_sorted());
    assert_eq!(plan.unchanged, EACH, "those who are left inactive");
    assert_eq!(plan.not_found.len(), EACH);
    assert!(plan.not_found.is_sorted_by_key(|row| row.location.line));
}

#[test]
fn another_roster_reports_no_missing_users() {
    let mut desired = desired("op,email,display_name\nupsert,a@x.co,Ann\n");
    let observed = Observed::new([user("a@x.co", true), user("b@x.co", true)], 0);
    let memory = Memory::empty(Utc::now());
    let mut policy = settings().policy;
    policy.prune = Prune::All;
    for is_source in [true, false] {
        desired.is_source = is_source;
        let plan = Plan::new(&desired, &observed, &Schema::unknown(), &memory, &policy);
        assert_eq!(plan.changes.len(), usize::from(is_source));
        assert_eq!(plan.blocked, []);
    }
}

#[test]
fn blocked_removals_use_singular_and_plural() {
    let blocked = |emails: &[&str]| Blocked {
        operation: BlockedOperation::Removal,
        reason: "why".into(),
        emails: emails.iter().copied().map(email).collect(),
    };
    let one = blocked(&["a@x.co"]).to_string();
    assert_eq!(one, "1 removal is not planned: why");
    let two = blocked(&["a@x.co", "b@x.co"]).to_string();
    assert_eq!(two, "2 removals are not planned: why");
}

#[test]
fn missing_files_are_listed_by_name() {
    let lost = |names: &[&str]| {
        let lost = LostFiles {
            names: names.iter().map(|name| (*name).into()).collect(),
            is_new: true,
        };
        lost.to_string()
    };
    let one = "a.csv is missing (it was part of the last accepted roster)";
    assert_eq!(lost(&["a.csv"]), one);
    let two = "a.csv, b.csv are missing (they were part of the last accepted roster)";
    assert_eq!(lost(&["a.csv", "b.csv"]), two);
}

#[test]
fn a_roster_shrank_below_half_its_rows() {
    let memory = Memory {
        last_accepted: Some(AcceptedRoster {
            fingerprint: Fingerprint([0; 32]),
            rows: 20,
            files: Vec::new(),
        }),
        ..Memory::empty(Utc::now())
    };
    for (rows, is_held) in [(9, true), (10, false), (11, false), (17, false)] {
        let change = Change {
            subject: email("a@x.co").into(),
            action: Action::Delete(user("a@x.co", true).into()),
            location: None,
        };
        let plan = Plan {
            changes: vec![change],
            ..Plan::default()
        };
        let verdict = evaluate(
            plan,
            &Observed::default(),
            rows,
            &memory,
            &settings().policy,
        );
        assert_eq!(verdict.passed().is_empty(), is_held, "{rows} of 20 rows");
        let rules: Vec<_> = verdict.held().iter().map(|held| held.rule).collect();
        assert_eq!(rules == [GuardRule::Prune], is_held, "{rows} of 20 rows");
    }
}
