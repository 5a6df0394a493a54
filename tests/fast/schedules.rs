//! The guard of schedules as a function of values: no removal passes that would delete one unseen.

use crate::support::cases;
use chrono::Utc;
use omni_user_sync::model::{
    Action, ApprovedChange, Attributes, Change, Email, HeldChange, Limit, Memory, NewIds, Observed,
    ObservedUser, Operation, Owned, OwnedSchedule, OwnedSchedules, OwnedSchedulesPolicy,
    OwnedTokens, Policy, ScheduleId, UserId,
};
use omni_user_sync::plan::{Plan, Successor, Verdict, evaluate};
use omni_user_sync::settings::{self, Environment};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// A user to be removed.
#[derive(Clone, Debug)]
struct Leaver {
    schedules: usize,
    deactivated: bool,
    /// Whether the removal is approved, with this many of the schedules.
    approved: Option<usize>,
    /// The successor, if there is one: with equal access (`true`) or other access, or one that can't be used.
    successor: Option<Result<bool, ()>>,
}

fn leaver() -> impl Strategy<Value = Leaver> {
    let approved = prop::option::weighted(0.3, 0usize..4);
    let successor = prop::option::of(prop_oneof![
        3 => any::<bool>().prop_map(Ok),
        1 => Just(Err(())),
    ]);
    (0usize..4, any::<bool>(), approved, successor).prop_map(
        |(schedules, deactivated, approved, successor)| Leaver {
            schedules,
            deactivated,
            approved,
            successor,
        },
    )
}

fn policy(owned_schedules: OwnedSchedulesPolicy) -> Policy {
    let example: Environment = [("OMNI_USER_SYNC_CONFIG", "config/example.toml")]
        .into_iter()
        .collect();
    let policy = settings::load(None, &example)
        .expect("the example is fine")
        .policy;
    Policy {
        owned_schedules,
        max_removals: Limit::Percent(100),
        ..policy
    }
}

fn user(number: usize, schedules: usize) -> Arc<ObservedUser> {
    let schedule = |at: usize| OwnedSchedule {
        id: ScheduleId::parse(&format!("s{number}-{at}")).expect("an id"),
        name: "daily".to_owned(),
        recipients: None,
    };
    let owned = Owned {
        read: Utc::now(),
        schedules: OwnedSchedules::Read((0..schedules).map(schedule).collect()),
        tokens: OwnedTokens::Read(Vec::new()),
    };
    Arc::new(ObservedUser {
        id: UserId::parse(&format!("id-{number}")).expect("an id"),
        email: Email::parse(&format!("u{number}@x.co")).expect("an email"),
        display_name: "Ann".into(),
        active: Some(true),
        attributes: Some(Attributes::default()),
        modified: None,
        owned: Some(owned.into()),
    })
}

fn removal(number: usize, leaver: &Leaver, schedules: usize) -> Change {
    let user = user(number, schedules);
    Change {
        subject: (&user.email).into(),
        action: match leaver.deactivated {
            true => Action::Deactivate(user),
            false => Action::Delete(user),
        },
        location: None,
    }
}

fn judge(leavers: &[Leaver], policy: &Policy) -> Verdict {
    let all = || leavers.iter().enumerate();
    let changes = all().map(|(number, leaver)| removal(number, leaver, leaver.schedules));
    let transfers = policy.owned_schedules == OwnedSchedulesPolicy::Transfer;
    let successors = all().filter(|_| transfers).filter_map(|(number, leaver)| {
        let found = leaver.successor.as_ref()?;
        let found = found.map_err(|()| "no such user".to_owned());
        let successor = found.map(|is_equal| Successor {
            user: user(1000, 0),
            differences: if is_equal {
                Vec::new()
            } else {
                vec!["region".to_owned()]
            },
        });
        Some((user(number, 0).id.clone(), successor))
    });
    let plan = Plan {
        changes: changes.collect(),
        successors: successors.collect::<HashMap<_, _>>(),
        ..Plan::default()
    };
    let mut memory = Memory::empty(Utc::now());
    let approved = all().filter_map(|(number, leaver)| {
        let shown = removal(number, leaver, leaver.approved?);
        Some(ApprovedChange {
            number: number as u64,
            change: HeldChange::from(&shown),
            created: NewIds::default(),
        })
    });
    memory.approved = approved.collect();
    let users = all().map(|(number, _)| user(number, 0).as_ref().clone());
    evaluate(plan, &Observed::new(users, 0), 0, &memory, policy)
}

fn mode() -> impl Strategy<Value = OwnedSchedulesPolicy> {
    prop_oneof![
        Just(OwnedSchedulesPolicy::Hold),
        Just(OwnedSchedulesPolicy::Transfer),
    ]
}

proptest! {
    #![proptest_config(cases(128))]

    /// A removal that passes deletes no schedule, unless the approval was for all of them.
    #[test]
    fn no_schedule_is_lost_unseen(leavers in prop::collection::vec(leaver(), 1..8), mode in mode()) {
        let verdict = judge(&leavers, &policy(mode));
        for (number, leaver) in leavers.iter().enumerate() {
            let subject = user(number, 0).email.clone();
            let own = || verdict.passed().iter().filter(|change| change.subject == subject);
            let Some(removal) = own().find(|change| change.operation().is_removal()) else { continue };
            let transfers = own().filter(|change| change.operation() == Operation::Transfer).count();
            let is_shown = leaver.approved.is_some_and(|shown| shown >= leaver.schedules);
            match removal.lost_schedules().len() {
                0 => prop_assert!(transfers == leaver.schedules),
                lost => prop_assert!(is_shown && lost == leaver.schedules && transfers == 0),
            }
        }
        let operations: Vec<_> = verdict.passed().iter().map(Change::operation).collect();
        let last = operations.iter().rposition(|one| *one == Operation::Transfer);
        let first = operations.iter().position(|one| one.is_removal());
        prop_assert!(last.zip(first).is_none_or(|(last, first)| last < first), "transfers come first");
    }

    /// A transfer passes only to a successor with the same access, and nothing is left out.
    #[test]
    fn transfers_keep_the_access(leavers in prop::collection::vec(leaver(), 1..8), mode in mode()) {
        let verdict = judge(&leavers, &policy(mode));
        for (number, leaver) in leavers.iter().enumerate() {
            let subject = user(number, 0).email.clone();
            let has_transfer = verdict.passed().iter().any(|change| {
                change.subject == subject && change.operation() == Operation::Transfer
            });
            if has_transfer {
                prop_assert_eq!(mode, OwnedSchedulesPolicy::Transfer);
                prop_assert_eq!(leaver.successor, Some(Ok(true)));
            }
        }
        let removals = verdict.all().filter(|change| change.operation().is_removal());
        prop_assert_eq!(removals.count(), leavers.len());
    }
}
