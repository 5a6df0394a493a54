//! The guard as a function of values: its arithmetic, written again on its own, and approvals.

use crate::support::cases;
use chrono::Utc;
use omni_user_sync::model::{
    Action, ApprovedChange, AttributeName, Attributes, Change, Email, Field, FieldChange,
    GuardRule, HeldChange, Limit, Location, Memory, NewIds, Observed, ObservedUser, Operation,
    Policy, Protect, RecentRemoval, UserId, UserSpec, Value,
};
use omni_user_sync::plan::{Plan, Verdict, evaluate};
use omni_user_sync::settings::{self, Environment};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn policy() -> Policy {
    let example: Environment = [("OMNI_USER_SYNC_CONFIG", "config/example.toml")]
        .into_iter()
        .collect();
    settings::load(None, &example)
        .expect("the example is fine")
        .policy
}

fn email(number: usize) -> Email {
    Email::parse(&format!("u{number}@x.co")).expect("an email")
}

fn id(number: usize) -> UserId {
    UserId::parse(&format!("id-{number}")).expect("an id")
}

fn user(number: usize, active: bool) -> ObservedUser {
    ObservedUser {
        id: id(number),
        email: email(number),
        display_name: "Ann".into(),
        active: Some(active),
        attributes: Some(Attributes::default()),
        modified: None,
        owned: None,
    }
}

fn active(numbers: impl IntoIterator<Item = usize>) -> Observed {
    Observed::new(numbers.into_iter().map(|number| user(number, true)), 0)
}

fn change(number: usize, action: Action) -> Change {
    Change {
        subject: email(number).into(),
        action,
        location: Some(Location {
            file: "users.csv".into(),
            line: 2,
            column: None,
        }),
    }
}

fn delete(number: usize) -> Change {
    change(number, Action::Delete(user(number, true).into()))
}

fn set(name: &str, from: Option<&str>, to: Option<&str>) -> FieldChange {
    let value = |text: Option<&str>| text.and_then(Value::one);
    FieldChange::new(
        Field::Attribute(AttributeName::new(name)),
        value(from),
        value(to),
    )
}

fn update(number: usize, fields: &[FieldChange]) -> Change {
    let user = user(number, true).into();
    change(number, Action::Update(user, fields.to_vec()))
}

fn create(address: &str) -> Change {
    let spec = UserSpec {
        display_name: Some("Ann".into()),
        attributes: Attributes::default(),
    };
    Change {
        subject: Email::parse(address).expect("an email").into(),
        ..change(0, Action::Create(spec))
    }
}

fn judge(changes: Vec<Change>, observed: &Observed, memory: &Memory, policy: &Policy) -> Verdict {
    let plan = Plan {
        upserted: observed.count(),
        changes,
        ..Plan::default()
    };
    evaluate(plan, observed, 0, memory, policy)
}

fn held(verdict: &Verdict, rule: GuardRule) -> usize {
    let held = verdict.held().iter().filter(|held| held.rule == rule);
    held.map(|held| held.changes.len()).sum()
}

fn removed(memory: &mut Memory, number: usize, approved: bool) {
    let email = email(number);
    let removal = RecentRemoval { email, approved };
    memory.recent.removed.insert(id(number), removal);
}

fn approving(memory: &mut Memory, changes: &[Change]) {
    let approved = |(number, change): (usize, &Change)| ApprovedChange {
        number: number as u64,
        change: HeldChange::from(change),
        created: NewIds::default(),
    };
    memory.approved = changes.iter().enumerate().map(approved).collect();
}

/// The rule for removals as the contract words it.
fn trips(limit: Limit, floor: u64, sum: usize, base: usize) -> bool {
    let (sum, base) = (sum as u64, base as u64);
    let is_small = sum <= floor && (2 * sum <= base || sum <= 1);
    match limit {
        Limit::Percent(0) => sum > 0,
        Limit::Percent(100..) => false,
        Limit::Percent(percent) => 100 * sum > percent * base && !is_small,
        Limit::Count(most) => sum > most,
    }
}

fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        (0u64..120).prop_map(Limit::Percent),
        (0u64..20).prop_map(Limit::Count)
    ]
}

fn numbers(most: usize) -> impl Strategy<Value = BTreeSet<usize>> {
    prop::collection::btree_set(0..most, 0..most)
}

proptest! {
    #![proptest_config(cases(96))]

    /// Users 0 to 29 may be in Omni; those from 30 on were removed and are gone.
    #[test]
    fn removals_are_held_by_the_rule(
        here in numbers(30), asleep in numbers(30), created in numbers(30), planned in numbers(30),
        lately in numbers(40), approved_lately in numbers(40), approved in numbers(30),
        limit in limit(), floor in 0u64..8,
    ) {
        let is_active = |number: &usize| here.contains(number) && !asleep.contains(number);
        let observed = Observed::new(here.iter().map(|&number| user(number, is_active(&number))), 0);
        let mut memory = Memory::empty(Utc::now());
        memory.recent.created = created.iter().map(|&number| email(number)).collect();
        lately.iter().for_each(|&number| removed(&mut memory, number, approved_lately.contains(&number)));
        let changes: Vec<_> = planned.iter().filter(|&number| here.contains(number)).map(|&number| delete(number)).collect();
        let named: Vec<_> = changes.iter().filter(|one| approved.iter().any(|&number| one.subject == email(number))).cloned().collect();
        approving(&mut memory, &named);
        let policy = Policy { max_removals: limit, max_removals_floor: floor, ..policy() };
        let verdict = judge(changes.clone(), &observed, &memory, &policy);

        let gone = |number: &usize| lately.contains(number) && !is_active(number);
        let base = (0..40).filter(|number| !created.contains(number) && (is_active(number) || gone(number))).count();
        let counted: BTreeSet<_> = planned.intersection(&here).filter(|number| !approved.contains(number)).copied().collect();
        let before: BTreeSet<_> = (0..40).filter(|number| gone(number) && !approved_lately.contains(number)).collect();
        let is_held = !counted.is_empty() && trips(limit, floor, counted.union(&before).count(), base);
        prop_assert_eq!(held(&verdict, GuardRule::MaxRemovals), if is_held { counted.len() } else { 0 });
        prop_assert_eq!(verdict.passed().len(), changes.len() - if is_held { counted.len() } else { 0 });
    }

    /// However a roster is cut into runs, and whatever Omni answers.
    #[test]
    fn many_runs_remove_no_more_than_one(
        runs in prop::collection::vec((numbers(60), any::<bool>()), 1..12),
        users in 1usize..60, percent in 0u64..60, floor in 0u64..8,
    ) {
        let policy = Policy { max_removals: Limit::Percent(percent), max_removals_floor: floor, ..policy() };
        let mut memory = Memory::empty(Utc::now());
        let mut left: BTreeSet<_> = (0..users).collect();
        for (wanted, deactivates) in runs {
            let asleep = (0..users).filter(|number| deactivates && !left.contains(number));
            let seen = left.iter().map(|&number| user(number, true)).chain(asleep.map(|number| user(number, false)));
            let observed = Observed::new(seen.collect::<Vec<_>>(), 0);
            let changes = wanted.intersection(&left).map(|&number| delete(number)).collect();
            for change in judge(changes, &observed, &memory, &policy).passed() {
                let number = (0..users).find(|&number| change.subject == email(number)).expect("a user");
                removed(&mut memory, number, false);
                left.remove(&number);
            }
        }
        let gone = users - left.len();
        prop_assert!(gone == 0 || !trips(Limit::Percent(percent), floor, gone, users), "{gone} of {users}");
    }

    #[test]
    fn updates_and_clears_count_distinct_users(
        clears in numbers(30), updates in numbers(30), cleared in numbers(40), updated in numbers(40),
        limits in (limit(), prop::option::of(limit())), floors in (0u64..8, 0u64..25),
    ) {
        let observed = active(0..30);
        let mut memory = Memory::empty(Utc::now());
        memory.recent.cleared = cleared.iter().map(|&number| id(number)).collect();
        memory.recent.updated = updated.iter().map(|&number| id(number)).collect();
        let clear = |&number: &usize| update(number, &[set("region", Some("north"), None)]);
        let plain = |&number: &usize| update(number, &[set("region", Some("north"), Some("south"))]);
        let changes = clears.iter().map(clear).chain(updates.difference(&clears).map(plain)).collect();
        let policy = Policy {
            max_clears: limits.0, max_updates: limits.1,
            max_removals_floor: floors.0, max_updates_floor: floors.1, ..policy()
        };
        let verdict = judge(changes, &observed, &memory, &policy);

        let trips = |limit, floor, planned: &BTreeSet<usize>, before: &BTreeSet<usize>| {
            let sum = planned.union(before).count() as u64;
            !planned.is_empty() && match limit {
                Limit::Percent(0) => true,
                    Limit::Percent(100..) => false,
                Limit::Percent(percent) => sum > floor && 100 * sum > percent * 30,
                Limit::Count(most) => sum > most,
            }
        };
        let clears_held = trips(limits.0, floors.0, &clears, &cleared);
        prop_assert_eq!(held(&verdict, GuardRule::MaxClears), if clears_held { clears.len() } else { 0 });
        // What one rule holds is not counted again by the next.
        let left: BTreeSet<_> = match clears_held {
            true => updates.difference(&clears).copied().collect(),
            false => updates.union(&clears).copied().collect(),
        };
        let updates_held = limits.1.is_some_and(|limit| trips(limit, floors.1, &left, &updated));
        prop_assert_eq!(held(&verdict, GuardRule::MaxUpdates), if updates_held { left.len() } else { 0 });
    }
}

#[test]
fn removal_limit_is_exactly_ten_percent() {
    for (removals, users, lately, is_held) in [
        (10, 100, 0, false),
        (11, 100, 0, true),
        (6, 60, 0, false),
        (6, 59, 0, true),
        (3, 6, 0, false),
        (4, 6, 0, true),
        (1, 1, 0, false),
        (8, 92, 8, true),
        (2, 92, 8, false),
        (3, 92, 8, true),
    ] {
        let mut memory = Memory::empty(Utc::now());
        (500..500 + lately).for_each(|number| removed(&mut memory, number, false));
        let changes = (0..removals).map(delete).collect();
        let verdict = judge(changes, &active(0..users), &memory, &policy());
        let case = format!("{removals} of {users} after {lately}");
        assert_eq!(
            held(&verdict, GuardRule::MaxRemovals) > 0,
            is_held,
            "{case}"
        );
    }
}

#[test]
fn a_short_observation_uses_the_last_listing() {
    let observed = Observed::of_some((0..5).map(|number| user(number, true)), 1_000_000);
    let mut memory = Memory::empty(Utc::now());
    let is_held = |memory: &Memory| {
        let changes = (0..5).map(delete).collect();
        held(
            &judge(changes, &observed, memory, &policy()),
            GuardRule::MaxRemovals,
        ) > 0
    };
    assert!(is_held(&memory), "5 of 5 seen");
    memory.last_base = Some(50);
    assert!(!is_held(&memory));
    memory.last_base = Some(9);
    assert!(is_held(&memory));
}

/// Users that another program has created since don't raise the limit.
#[test]
fn a_cached_observation_is_no_base() {
    let policy = Policy {
        max_removals: Limit::Percent(10),
        max_removals_floor: 0,
        ..policy()
    };
    let mut memory = Memory::empty(Utc::now());
    memory.last_base = Some(10);
    let listed = active(0..50);
    let mut cached = Observed::restored(listed.summary());
    for (email, found) in listed.by_email() {
        cached.restore(email.clone(), found.clone());
    }
    let removals = || (1..=3).map(delete).collect();
    let verdict = judge(removals(), &listed, &memory, &policy);
    assert_eq!(
        (verdict.passed().len(), verdict.removal_base()),
        (3, Some(50))
    );
    let verdict = judge(removals(), &cached, &memory, &policy);
    assert_eq!((verdict.passed().len(), verdict.removal_base()), (0, None));
}

#[test]
fn protected_removals_are_not_counted() {
    let policy = Policy {
        protect: Protect::new(&["u1@x.co", "u2@x.co"]),
        max_removals: Limit::Count(1),
        ..policy()
    };
    let memory = Memory::empty(Utc::now());
    let verdict = judge(
        (1..4).map(delete).collect(),
        &active(0..9),
        &memory,
        &policy,
    );
    assert_eq!((verdict.protected().len(), verdict.passed().len()), (2, 1));
}

#[test]
fn an_approval_covers_only_the_shown_values() {
    let shown = [
        set("regions", Some("n"), None),
        set("tier", Some("a"), Some("b")),
    ];
    let mut memory = Memory::empty(Utc::now());
    approving(&mut memory, &[update(1, &shown)]);
    let covers = |change: &Change| memory.approved.covers(change);
    assert!(covers(&update(1, &shown)));
    assert!(covers(&update(1, &shown[..1])), "fewer fields");
    assert!(
        covers(&update(1, &[set("tier", Some("c"), Some("b"))])),
        "another old value"
    );
    assert!(!covers(&update(1, &[set("department", Some("n"), None)])));
    assert!(!covers(&update(1, &[set("tier", Some("a"), Some("c"))])));
    assert!(!covers(&update(2, &shown)));
    let longer = [&shown[..], &[set("department", Some("n"), None)]].concat();
    assert!(!covers(&update(1, &longer)));
    assert!(!covers(&delete(1)));
}

#[test]
fn words_for_nothing_count_as_clears() {
    let memory = Memory::empty(Utc::now());
    let is_held = |to: Option<&str>| {
        let change = |number| update(number, &[set("region", Some("north"), to)]);
        let changes = (0..9).map(change).collect();
        held(
            &judge(changes, &active(0..30), &memory, &policy()),
            GuardRule::MaxClears,
        ) == 9
    };
    for nothing in [
        None,
        Some("NULL"),
        Some("N/A"),
        Some("#N/A"),
        Some("None"),
        Some("nan"),
        Some("-"),
    ] {
        assert!(is_held(nothing), "{nothing:?}");
    }
    assert!(!is_held(Some("south")));
}

#[test]
fn many_creations_in_a_misspelt_domain_are_held() {
    let memory = Memory::empty(Utc::now());
    let held_of = |domain: &str, created: usize, known: usize| {
        let changes = (0..created)
            .map(|number| create(&format!("n{number}@{domain}")))
            .collect();
        let verdict = judge(changes, &active(0..known), &memory, &policy());
        assert_eq!(
            verdict.passed().len() + held(&verdict, GuardRule::NewDomain),
            created
        );
        held(&verdict, GuardRule::NewDomain)
    };
    assert_eq!(held_of("y.co", 5, 10), 5);
    assert_eq!(held_of("Y.com", 5, 10), 5);
    assert_eq!(held_of("y.co", 4, 10), 0);
    assert_eq!(held_of("y.co", 5, 9), 0);
    assert_eq!(held_of("other.org", 9, 10), 0);
    assert_eq!(held_of("x.co", 9, 10), 0);
}

#[test]
fn held_creations_can_be_approved() {
    let changes: Vec<_> = (0..6)
        .map(|number| create(&format!("n{number}@y.co")))
        .collect();
    let mut memory = Memory::empty(Utc::now());
    approving(&mut memory, &changes);
    let verdict = judge(changes, &active(0..10), &memory, &policy());
    assert_eq!(verdict.passed().len(), 6);
    assert!(
        verdict
            .passed()
            .iter()
            .all(|one| one.operation() == Operation::Create)
    );
}
