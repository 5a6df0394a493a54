//! Rows with a day of leaving: no user is removed before that day, nor by one run alone.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use insta::assert_snapshot;
use omni_user_sync::model::{
    Attributes, Desired, DueLeaver, DueUpdate, Email, Memory, Observed, ObservedUser, Policy,
    Prune, RunClock, RunTime, Schema, UserId, max_gap,
};
use omni_user_sync::plan::render::{Cost, PlanView};
use omni_user_sync::plan::{
    Assessment, Plan, PlanDoc, due_update, markdown, render, settle_leavers,
};
use omni_user_sync::roster;
use omni_user_sync::settings::{Environment, Settings};
use proptest::prelude::*;
use std::sync::LazyLock;
use std::time::Duration;

const ZOE: &str = "zoe@x.co";

fn settings() -> Settings {
    let example = [("OMNI_USER_SYNC_CONFIG", "config/example.toml")];
    let environment: Environment = example.into_iter().collect();
    omni_user_sync::settings::load(None, &environment).expect("the example is fine")
}

fn policy() -> Policy {
    Policy {
        prune: Prune::All,
        ..settings().policy
    }
}

fn read(csv: &str) -> Desired {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users.csv");
    std::fs::write(&path, csv).expect("written");
    roster::read(&settings().source, &path, true, &Schema::unknown()).expect("a roster")
}

fn email(text: &str) -> Email {
    Email::parse(text).expect("an email")
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a day")
}

fn observed(emails: &[&str]) -> Observed {
    let user = |address: &&str| ObservedUser {
        id: UserId::parse(&address.replace(['@', '.'], "-")).expect("an id"),
        email: email(address),
        display_name: "N".into(),
        active: Some(true),
        attributes: Some(Attributes::default()),
        modified: None,
        owned: None,
    };
    Observed::new(emails.iter().map(user).collect::<Vec<_>>(), 0)
}

/// The memory of a run on this day. `due` is a recorded day of leaving, and how many minutes ago a run recorded it.
fn memory(today: &str, due: Option<(&str, i64)>) -> Memory {
    let mut memory = Memory::empty(Utc::now());
    memory.today = day(today);
    memory.due.extend(due.map(|(date, minutes)| {
        let since = memory.run_time.before(TimeDelta::minutes(minutes));
        (
            email(ZOE),
            DueLeaver {
                date: day(date),
                since,
            },
        )
    }));
    memory
}

/// The plan for a roster, as `operation subject`.
fn planned(csv: &str, memory: &Memory) -> Vec<String> {
    let mut desired = read(csv);
    settle_leavers(&mut desired, memory);
    plan(&desired, memory)
}

fn plan(desired: &Desired, memory: &Memory) -> Vec<String> {
    let observed = observed(&["ann@x.co", ZOE]);
    let plan = Plan::new(desired, &observed, &Schema::unknown(), memory, &policy());
    let changes = plan.changes.iter();
    let shown = changes.map(|change| format!("{} {}", change.operation(), change.subject));
    shown.collect()
}

const LEAVES: &str =
    "op,email,display_name,leave_on\nupsert,ann@x.co,N,\ndelete,zoe@x.co,Zoe,2026-12-24\n";

#[test]
fn before_the_day_a_row_upserts() {
    for due in [None, Some(("2026-12-24", 600))] {
        assert_eq!(
            planned(LEAVES, &memory("2026-12-23", due)),
            ["update zoe@x.co"]
        );
    }
}

#[test]
fn from_the_day_a_second_run_removes() {
    let waits = [
        ("2026-12-24", None),
        ("2026-12-24", Some(("2026-12-24", 59))),
        ("2026-12-24", Some(("2026-12-23", 600))),
        ("2027-06-01", None),
    ];
    for (today, due) in waits {
        assert_eq!(
            planned(LEAVES, &memory(today, due)),
            [""; 0],
            "{today} {due:?}"
        );
    }
    for today in ["2026-12-24", "2027-06-01"] {
        let memory = memory(today, Some(("2026-12-24", 60)));
        assert_eq!(planned(LEAVES, &memory), ["delete zoe@x.co"]);
    }
}

#[test]
fn without_a_day_a_row_removes_at_once() {
    let csv = "op,email,leave_on\nupsert,ann@x.co,\ndeactivate,zoe@x.co,\n";
    assert_eq!(
        planned(csv, &memory("2026-12-24", None)),
        ["deactivate zoe@x.co"]
    );
}

/// A row with a day that was not settled removes no user.
#[test]
fn an_unsettled_row_changes_nothing() {
    let memory = memory("2027-06-01", Some(("2026-12-24", 600)));
    assert_eq!(plan(&read(LEAVES), &memory), [""; 0]);
}

#[test]
fn only_leavers_prune_no_user() {
    let csv = "op,email,display_name,leave_on\ndelete,zoe@x.co,N,2026-12-24\n";
    for today in ["2026-12-23", "2026-12-24"] {
        assert_eq!(planned(csv, &memory(today, None)), [""; 0]);
    }
}

#[test]
fn groups_count_until_the_day() {
    let csv = "op,email,groups,leave_on\nupsert,ann@x.co,[A],\ndelete,zoe@x.co,[B],2026-12-24\n";
    for (today, cells) in [("2026-12-23", 2), ("2026-12-24", 1)] {
        let mut desired = read(csv);
        settle_leavers(&mut desired, &memory(today, None));
        assert_eq!(desired.memberships.cells.len(), cells, "{today}");
    }
}

fn assess(csv: &str, memory: &Memory) -> (Desired, Assessment) {
    let mut desired = read(csv);
    settle_leavers(&mut desired, memory);
    let observed = observed(&["ann@x.co", ZOE]);
    let assessment = Assessment::new(&desired, &observed, &Schema::unknown(), memory, &policy());
    (desired, assessment)
}

#[test]
fn plans_list_upcoming_leavers() {
    let csv = "op,email,display_name,leave_on\n\
               upsert,ann@x.co,N,\n\
               deactivate,e@x.co,N,2027-01-08\n\
               delete,d@x.co,N,2027-01-07\n\
               delete,c@x.co,N,2026-12-25\n\
               delete,zoe@x.co,Zoe,2026-12-24\n\
               delete,gone@x.co,,2026-11-01\n";
    let (desired, assessment) = assess(csv, &memory("2026-12-24", None));
    let view = PlanView {
        desired: &desired,
        users: 2,
        is_about_one: false,
        assessment: &assessment,
        cost: Cost {
            requests: 2,
            time: Duration::from_secs(2),
        },
        documents: None,
    };
    assert_snapshot!(render::text(view), @"
    + create     c@x.co  (users.csv:5)
        display_name: 'N'
    + create     d@x.co  (users.csv:4)
        display_name: 'N'
    + create     e@x.co  (users.csv:3)
        display_name: 'N'

    leaving within two weeks (3)
      zoe@x.co: delete, due since 2026-12-24, waits for a second run at least 1 h later
      c@x.co: delete, leaves on 2026-12-25
      d@x.co: delete, leaves on 2027-01-07

    6 rows, 2 users in Omni: 3 to create, 1 unchanged
    not changed: 1 due to leave, 1 to be removed and not found
    to send: 2 requests, about 2s
    ");
    assert_snapshot!(markdown(view), @"
    ### Plan: 3 to create

    6 rows, 2 users in Omni, 1 unchanged; 2 requests, about 2s

    | operation | user | field | from | to |
    | --- | --- | --- | --- | --- |
    | create | `c@x.co` | `display_name` |  | `'N'` |
    | create | `d@x.co` | `display_name` |  | `'N'` |
    | create | `e@x.co` | `display_name` |  | `'N'` |

    #### Leaving within two weeks

    | operation | user | |
    | --- | --- | --- |
    | delete | `zoe@x.co` | due since 2026-12-24, waits for a second run at least 1 h later |
    | delete | `c@x.co` | leaves on 2026-12-25 |
    | delete | `d@x.co` | leaves on 2027-01-07 |

    #### Problems and warnings

    - `users.csv:7: the user to be removed is not in Omni, and this program never removed one with this email; write zoe@x.co if that user is meant, else remove the row`
    - `Omni does not show its attribute definitions (403 or 404): columns and types are not checked, and values are compared as text`
    ");
    let doc = serde_json::to_value(PlanDoc::new(view)).expect("JSON");
    assert_snapshot!(doc["leaving"], @r#"[{"date":"2026-12-24","email":"zoe@x.co","operation":"delete","state":"waiting"},{"date":"2026-12-25","email":"c@x.co","operation":"delete","state":"upcoming"},{"date":"2027-01-07","email":"d@x.co","operation":"delete","state":"upcoming"}]"#);
}

#[test]
fn warnings_explain_why_a_wait_continues() {
    let warnings = |csv: &str, memory: &Memory, is_source| {
        let mut desired = read(csv);
        desired.is_source = is_source;
        settle_leavers(&mut desired, memory);
        let observed = observed(&["ann@x.co", ZOE]);
        let assessed = Assessment::new(&desired, &observed, &Schema::unknown(), memory, &policy());
        let about = assessed
            .warnings
            .into_iter()
            .filter(|one| one.starts_with("leave_on"));
        about.collect::<Vec<_>>().join("\n")
    };
    let waits = memory("2026-12-24", None);
    assert_snapshot!(warnings(LEAVES, &waits, true), @"");
    assert_snapshot!(warnings(LEAVES, &waits, false), @"leave_on: only runs over the roster of source.path count as the first run that finds a user due to leave");
    let clock = RunClock {
        started: waits.now - TimeDelta::days(3),
        time: waits.run_time,
        max_gap: max_gap(None),
    };
    let stepped = Memory {
        clock_step: clock.step(waits.now),
        ..waits
    };
    assert_snapshot!(warnings(LEAVES, &stepped, true), @"leave_on: the clock of this run may be wrong, so it removes no user whose day has come");
}

/// The rosters of a random history: without Zoe's row, with one of two days, and with an upsert.
static ROSTERS: LazyLock<Vec<(Option<NaiveDate>, Desired)>> = LazyLock::new(|| {
    let rows = [
        "",
        "delete,zoe@x.co,N,2026-12-24",
        "delete,zoe@x.co,N,2026-12-25",
        "upsert,zoe@x.co,N,",
    ];
    let days = [None, Some(day("2026-12-24")), Some(day("2026-12-25")), None];
    let read = |row: &str| {
        read(&format!(
            "op,email,display_name,leave_on\nupsert,ann@x.co,N,\n{row}\n"
        ))
    };
    days.into_iter().zip(rows.map(read)).collect()
});

#[derive(Clone, Debug)]
struct Step {
    /// The time since the run before, by the wall clock.
    minutes: i64,
    roster: usize,
    is_accepted: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let minutes = prop_oneof![
        6 => 1i64..90,
        1 => -3 * 1440..-1i64,
        2 => 90i64..4 * 1440,
    ];
    let roster =
        prop_oneof![6 => Just(1usize), 1 => Just(0usize), 1 => Just(2usize), 1 => Just(3usize)];
    (minutes, roster, prop::bool::weighted(0.8)).prop_map(|(minutes, roster, is_accepted)| Step {
        minutes,
        roster,
        is_accepted,
    })
}

/// An earlier run, as the rule sees it.
struct Past {
    time: RunTime,
    due: Option<NaiveDate>,
    is_accepted: bool,
    is_stepped: bool,
}

/// Whether an accepted run at least an hour ago found that this day had come, and so did each accepted run since.
fn is_agreed(past: &[Past], date: NaiveDate, now: RunTime) -> bool {
    let accepted = past.iter().rev().filter(|run| run.is_accepted);
    let mut since = accepted.take_while(|run| run.due == Some(date));
    since.any(|run| !run.is_stepped && now.since(run.time) >= TimeDelta::hours(1))
}

fn store(memory: &mut Memory, update: DueUpdate) {
    let since = memory.run_time;
    for email in update.over {
        memory.due.remove(&email);
    }
    for (email, date) in update.found {
        memory.due.insert(email, DueLeaver { date, since });
    }
}

proptest! {
    /// Any order of runs, clocks and rosters.
    #[test]
    fn users_are_removed_by_two_agreeing_runs(steps in prop::collection::vec(step(), 1..14)) {
        let mut now: DateTime<Utc> = "2026-12-22T12:00:00Z".parse().expect("a time");
        let mut memory = Memory::empty(now);
        let mut clock = RunClock { started: now, time: memory.run_time, max_gap: max_gap(Some(TimeDelta::minutes(15))) };
        let mut past = Vec::new();
        for Step { minutes, roster, is_accepted } in steps {
            now += TimeDelta::minutes(minutes);
            memory.now = now;
            memory.today = now.date_naive();
            memory.run_time = clock.at(now);
            memory.clock_step = clock.step(now);
            let (date, desired) = &ROSTERS[roster];
            let mut desired = desired.clone();
            settle_leavers(&mut desired, &memory);
            let due = date.filter(|date| *date <= memory.today);
            let is_stepped = memory.clock_step.is_some();
            // Without a row Zoe is pruned.
            let expected = match (roster, due) {
                (0, _) => true,
                (_, None) => false,
                (_, Some(date)) => !is_stepped && is_agreed(&past, date, memory.run_time),
            };
            let changes = plan(&desired, &memory);
            prop_assert_eq!(changes == ["delete zoe@x.co"], expected, "{:?}", changes);
            if is_accepted {
                let update = due_update(&desired, &memory);
                store(&mut memory, update);
            }
            past.push(Past { time: memory.run_time, due, is_accepted, is_stepped });
            clock = RunClock { started: now, time: memory.run_time, ..clock };
        }
    }
}
