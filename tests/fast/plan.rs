//! The planner as a function of values: property tests over generated rosters,
//! organisations and policies.

use crate::support::cases;
use chrono::Utc;
use omni_user_sync::model::{
    Action, AttributeName, ByEmail, Change, Counts, Definition, Desired, DesiredMemberships,
    DesiredUser, Email, Entry, Field, FieldChange, Fingerprint, GroupGlobs, Leaving, Limit,
    Location, Memory, Mode, Observed, ObservedUser, OwnedSchedulesPolicy, Policy, Protect, Prune,
    Removal, Schema, Text, UserId, UserMatch, UserSpec, Value, ValueType,
};
use omni_user_sync::plan::Plan;
use omni_user_sync::roster::export::ExportFormat;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

const ATTRIBUTES: [(&str, ValueType, bool, Option<&str>); 4] = [
    ("department", ValueType::String, false, None),
    ("quota", ValueType::Number, false, None),
    ("region", ValueType::String, true, None),
    ("tier", ValueType::String, false, Some("standard")),
];

fn schema() -> Schema {
    Schema::new(
        ATTRIBUTES.map(|(name, value_type, multiple, default)| Definition {
            name: AttributeName::new(name),
            value_type,
            multiple,
            system: false,
            default: default.and_then(Value::one),
        }),
    )
}

fn email(number: usize) -> Email {
    Email::parse(&format!("u{number}@x.co")).expect("an email")
}

/// The same address in other letters.
fn shouted(number: usize) -> Email {
    Email::parse(&format!("U{number}@X.CO")).expect("an email")
}

fn value(attribute: usize) -> BoxedStrategy<Option<Value>> {
    match attribute {
        0 => prop::option::of(prop::sample::select(vec!["a", "b", "A"]))
            .prop_map(|text| text.and_then(Value::one))
            .boxed(),
        1 => prop::option::of(prop::sample::select(vec!["7", "7.0", "07", "-0", "0", "8"]))
            .prop_map(|text| text.and_then(Value::one))
            .boxed(),
        2 => prop::collection::vec(prop::sample::select(vec!["n", "s", "e"]), 0..4)
            .prop_map(Value::many)
            .boxed(),
        _ => prop::option::of(prop::sample::select(vec!["standard", "gold"]))
            .prop_map(|text| text.and_then(Value::one))
            .boxed(),
    }
}

fn values() -> impl Strategy<Value = [Option<Value>; 4]> {
    [value(0), value(1), value(2), value(3)]
}

fn name() -> impl Strategy<Value = Text> {
    prop::sample::select(vec!["Ann", "Bob"]).prop_map(Into::into)
}

/// A user in Omni.
fn observed_user(number: usize) -> impl Strategy<Value = ObservedUser> {
    (name(), any::<bool>(), values()).prop_map(move |(display_name, active, values)| {
        let attributes = ATTRIBUTES
            .iter()
            .zip(values)
            .filter_map(|((name, ..), value)| Some((AttributeName::new(name), value?)))
            .collect();
        let id = UserId::parse(&format!("id-{number}")).expect("an id");
        ObservedUser {
            id,
            email: email(number),
            display_name,
            active: Some(active),
            attributes: Some(attributes),
            modified: None,
            owned: None,
        }
    })
}

/// What a row wants; columns are the attributes whose bit is set.
fn want(columns: u8) -> impl Strategy<Value = DesiredUser> {
    let upsert = (prop::option::of(name()), values()).prop_map(move |(display_name, values)| {
        let named = ATTRIBUTES.iter().zip(values).enumerate();
        let attributes = named
            .filter(|(number, _)| columns & (1 << number) != 0)
            .map(|(_, ((name, ..), value))| (AttributeName::new(name), value))
            .collect();
        DesiredUser::Upsert(UserSpec {
            display_name,
            attributes,
        })
    });
    prop_oneof![4 => upsert, 1 => Just(DesiredUser::Delete(Leaving::default())), 1 => Just(DesiredUser::Deactivate(Leaving::default()))]
}

#[derive(Clone, Debug)]
struct Case {
    observed: Vec<ObservedUser>,
    desired: Desired,
    policy: Policy,
    memory: Memory,
}

const USERS: usize = 8;

fn case() -> impl Strategy<Value = Case> {
    let users: Vec<_> = (0..USERS)
        .map(|n| prop::option::of(observed_user(n)))
        .collect();
    let rows = any::<u8>().prop_flat_map(|columns| {
        let row = move || prop_oneof![2 => Just(None), 4 => want(columns).prop_map(|w| Some(Some(w))), 1 => Just(Some(None))];
        (0..USERS).map(|_| row()).collect::<Vec<_>>()
    });
    (
        users,
        rows,
        policy(),
        any::<u8>(),
        any::<u8>(),
        any::<bool>(),
    )
        .prop_map(
            |(users, rows, policy, managed, deactivated, is_source)| Case {
                observed: users.into_iter().flatten().collect(),
                desired: desired(rows, is_source),
                policy,
                memory: Memory {
                    managed: picked(managed),
                    deactivated: picked(deactivated)
                        .into_iter()
                        .map(|email| (id_of(&email), email))
                        .collect(),
                    ..Memory::empty(Utc::now())
                },
            },
        )
}

/// The id that [`observed_user`] gives the user with this address.
fn id_of(email: &Email) -> UserId {
    let folded = email.folded();
    let number = folded.trim_start_matches('u').trim_end_matches("@x.co");
    UserId::parse(&format!("id-{number}")).expect("an id")
}

fn picked(bits: u8) -> HashSet<Email> {
    (0..USERS)
        .filter(|number| bits & (1 << number) != 0)
        .map(email)
        .collect()
}

/// A roster; a row without a want is a bad one.
fn desired(rows: Vec<Option<Option<DesiredUser>>>, is_source: bool) -> Desired {
    let (mut users, mut frozen) = (ByEmail::default(), ByEmail::default());
    for (number, row) in rows.into_iter().enumerate() {
        let location = Location {
            file: "users.csv".into(),
            line: number as u64 + 2,
            column: None,
        };
        match row {
            Some(Some(want)) => drop(users.insert(shouted(number), Entry { want, location })),
            Some(None) => drop(frozen.insert(shouted(number), location)),
            None => {}
        }
    }
    Desired {
        rows: (users.len() + frozen.len()) as u64,
        users,
        doubtful: Vec::new(),
        leavers: ByEmail::default(),
        frozen,
        bad_rows: Vec::new(),
        unnamed: 0,
        memberships: DesiredMemberships::default(),
        roles: None,
        rejected: Vec::new(),
        lints: Vec::new(),
        files: Vec::new(),
        folder: Vec::new(),
        fingerprint: Fingerprint([0; 32]),
        is_source,
        only: None,
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    let prune = prop::sample::select(vec![Prune::Never, Prune::Managed, Prune::All]);
    let removal = prop::sample::select(vec![Removal::Delete, Removal::Deactivate]);
    let limit = || {
        prop_oneof![
            (0u64..120).prop_map(Limit::Percent),
            (0u64..9).prop_map(Limit::Count)
        ]
    };
    let protect = prop::sample::select(vec![vec![], vec!["U1@x.co"], vec!["u?@x.co"], vec!["*"]]);
    (
        prune,
        removal,
        any::<bool>(),
        protect,
        (limit(), limit(), prop::option::of(limit())),
        0u64..6,
    )
        .prop_map(
            |(prune, removal, reactivate, protect, limits, floor)| Policy {
                mode: Mode::Apply,
                prune,
                prune_grace: std::time::Duration::ZERO,
                removal,
                reactivate,
                protect_admins: true,
                protect: Protect::new(&protect),
                max_removals: limits.0,
                max_removals_floor: floor,
                max_clears: limits.1,
                max_updates: limits.2,
                max_updates_floor: floor,
                max_leaves: limits.0,
                max_joins: limits.1,
                max_role_changes: 20,
                managed_groups: GroupGlobs::default(),
                owned_schedules: OwnedSchedulesPolicy::Hold,
                transfer_to: None,
                create_groups: false,
            },
        )
}

fn observe(users: &[ObservedUser]) -> Observed {
    Observed::new(users.to_vec(), 0)
}

impl Case {
    fn plan(&self) -> Plan {
        self.plan_for(&self.observed)
    }

    fn plan_for(&self, users: &[ObservedUser]) -> Plan {
        Plan::new(
            &self.desired,
            &observe(users),
            &schema(),
            &self.memory,
            &self.policy,
        )
    }
}

/// Omni, as a model of its own: what a change leaves behind. A cleared attribute is gone, or back at
/// its default.
fn carry_out(users: &[ObservedUser], changes: &[Change], to_default: bool) -> Vec<ObservedUser> {
    let mut users: BTreeMap<Email, ObservedUser> = users
        .iter()
        .map(|user| (user.email.clone(), user.clone()))
        .collect();
    for change in changes {
        match &change.action {
            Action::Delete(_) => drop(users.remove(change.email().expect("a user"))),
            Action::Deactivate(_) => {
                users
                    .get_mut(change.email().expect("a user"))
                    .expect("they are there")
                    .active = Some(false);
            }
            Action::Update(_, fields) => {
                let user = users
                    .get_mut(change.email().expect("a user"))
                    .expect("they are there");
                fields.iter().for_each(|field| set(user, field, to_default));
            }
            Action::Membership(_) | Action::Role(_) | Action::Transfer(_) => {
                panic!("no group is named, and no schedule")
            }
            Action::Create(spec) => {
                let user = ObservedUser {
                    id: UserId::parse("new").expect("an id"),
                    email: change.email().expect("a user").clone(),
                    display_name: spec
                        .display_name
                        .clone()
                        .expect("a user to be made has a name"),
                    active: Some(true),
                    modified: None,
                    owned: None,
                    attributes: spec
                        .attributes
                        .iter()
                        .map(|(name, value)| Some((name.clone(), value.clone()?)))
                        .filter(Option::is_some)
                        .collect(),
                };
                assert!(
                    users
                        .insert(change.email().expect("a user").clone(), user)
                        .is_none(),
                    "no user is created twice"
                );
            }
        }
    }
    users.into_values().collect()
}

fn set(user: &mut ObservedUser, change: &FieldChange, to_default: bool) {
    let FieldChange { field, to, .. } = change;
    match field {
        Field::DisplayName => user.display_name = to.as_ref().expect("a name").first().clone(),
        Field::Active => user.active = Some(true),
        Field::Schedule(_) | Field::Group(_) | Field::Role(_) => panic!("no update has them"),
        Field::Attribute(name) => {
            let others = user.values().filter(|(have, _)| *have != name);
            let others = others.map(|(name, value)| (name.clone(), value.clone()));
            let default = || schema().get(name).and_then(|one| one.default.clone());
            let value = to
                .clone()
                .or_else(|| if to_default { default() } else { None });
            let set = value.map(|value| (name.clone(), value));
            user.attributes = Some(others.chain(set).collect());
        }
    }
}

proptest! {
    #[test]
    fn an_applied_plan_converges(case in case(), to_default in any::<bool>()) {
        let after = carry_out(&case.observed, &case.plan().changes, to_default);
        prop_assert_eq!(case.plan_for(&after).changes, vec![]);
    }

    #[test]
    fn applied_upserts_match_the_roster(case in case()) {
        let after = observe(&carry_out(&case.observed, &case.plan().changes, false));
        for (email, entry) in &case.desired.users {
            let user = match after.get(email) {
                Some(UserMatch::One(user)) => Some(user),
                _ => None,
            };
            match (&entry.want, user) {
                (DesiredUser::Upsert(spec), Some(user)) => {
                    if let Some(name) = &spec.display_name {
                        prop_assert_eq!(name, &user.display_name);
                    }
                    for (name, value) in &spec.attributes {
                        prop_assert!(schema().converged(name, value.as_ref(), user.value(name)));
                    }
                }
                (DesiredUser::Upsert(spec), None) => prop_assert!(spec.display_name.is_none()),
                (DesiredUser::Delete(_), Some(user)) => {
                    prop_assert!(case.policy.removal == Removal::Deactivate && user.is_inactive());
                }
                (DesiredUser::Deactivate(_), Some(user)) => prop_assert!(user.is_inactive()),
                (_, None) => {}
            }
        }
    }

    #[test]
    fn unmanaged_users_and_unnamed_attributes_are_unchanged(case in case()) {
        for change in case.plan().changes {
            let row = case.desired.users.get(change.email().expect("a user"));
            let owned = match case.policy.prune {
                Prune::Never => false,
                Prune::Managed => case.memory.managed.contains(change.email().expect("a user")),
                Prune::All => true,
            };
            match (&change.action, row.map(|row| &row.want)) {
                (Action::Delete(_) | Action::Deactivate(_), None) => {
                    prop_assert!(owned && case.desired.is_source, "a stranger: {change:?}");
                }
                (Action::Delete(_) | Action::Deactivate(_), Some(want)) => {
                    prop_assert!(!matches!(want, DesiredUser::Upsert(_)));
                }
                (Action::Update(_, fields), Some(DesiredUser::Upsert(spec))) => {
                    for field in fields {
                        let named = match &field.field {
                            Field::DisplayName => spec.display_name.is_some(),
                            Field::Active => {
                                case.policy.reactivate
                                    || case.memory.deactivated.contains_key(&id_of(change.email().expect("a user")))
                            }
                            Field::Schedule(_) | Field::Group(_) | Field::Role(_) => false,
                            Field::Attribute(name) => {
                                spec.attributes.iter().any(|(have, _)| have == name)
                            }
                        };
                        prop_assert!(named, "not named by the roster: {field:?}");
                    }
                }
                (Action::Create(made), Some(DesiredUser::Upsert(spec))) => prop_assert_eq!(made, spec),
                other => prop_assert!(false, "not requested: {other:?}"),
            }
        }
    }

    #[test]
    fn frozen_users_are_never_written(case in case()) {
        for change in case.plan().changes {
            prop_assert!(!case.desired.frozen.contains_key(change.email().expect("a user")), "{change:?}");
        }
    }

    #[test]
    fn a_rejected_file_removes_no_users(mut case in case()) {
        case.desired.rejected.push(omni_user_sync::model::Problem {
            kind: omni_user_sync::model::ProblemKind::File,
            location: Location { file: "b.csv".into(), line: 0, column: None },
            message: "it vanished".into(),
            remedy: "put it back".into(),
            email: None,
        });
        prop_assert!(case.plan().changes.iter().all(|change| !change.operation().is_removal()));
    }

    #[test]
    fn unnamed_rows_and_inconsistent_listings_block_pruning(mut case in case(), doubt in any::<bool>()) {
        let mut observed = observe(&case.observed);
        if doubt {
            observed = observed.with_doubt("someone was listed twice".into());
        } else {
            case.desired.unnamed = 1;
        }
        let plan = Plan::new(&case.desired, &observed, &schema(), &case.memory, &case.policy);
        prop_assert!(plan.changes.iter().all(|change| !change.is_pruning()));
    }
}

/// Any text that Omni may hold: quotes, delimiters, brackets, line ends, any script.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z,;\t\"'\\[\\]\\\\\n\r =+-]{0,8}",
        any::<String>().prop_map(|text| text.replace('\0', "")),
        Just(r#"["a","b"]"#.to_owned()),
    ]
}

fn wild_user(number: usize) -> impl Strategy<Value = ObservedUser> {
    let number_text = prop::sample::select(vec!["7", "007.50", "-0", "x", "1e5"]);
    let list = prop::collection::vec(text(), 0..4);
    (text(), any::<bool>(), text(), number_text, list).prop_map(
        move |(name, active, department, quota, region)| {
            let values = [
                Value::one(&department),
                Value::one(quota),
                Value::many(region),
                None,
            ];
            let named = ATTRIBUTES.iter().zip(values);
            ObservedUser {
                id: UserId::parse(&format!("id-{number}")).expect("an id"),
                email: email(number),
                display_name: omni_user_sync::model::trim(&name).into(),
                active: Some(active),
                attributes: named
                    .map(|((name, ..), v)| Some((AttributeName::new(name), v?)))
                    .filter(Option::is_some)
                    .collect(),
                modified: None,
                owned: None,
            }
        },
    )
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn an_exported_roster_plans_no_changes(
        users in (0..4usize).map(wild_user).collect::<Vec<_>>(),
        known in any::<bool>(),
        mut policy in policy(),
    ) {
        policy.reactivate = true;
        let schema = if known { schema() } else { Schema::unknown() };
        let exported = omni_user_sync::roster::export::export(&users, &schema, None, ExportFormat::default());
        let file = tempfile::NamedTempFile::with_suffix(".csv").expect("a file");
        std::fs::write(file.path(), &exported.csv).expect("written");
        let source = settings().source;
        let desired = omni_user_sync::roster::read(&source, file.path(), true, &schema);
        let desired = desired.map_err(|error| TestCaseError::fail(format!("{error}\n{}", exported.csv)))?;
        prop_assert_eq!(&desired.bad_rows, &vec![], "{}", exported.csv);
        prop_assert_eq!(desired.users.len(), users.len());
        let memory = Memory::empty(Utc::now());
        let plan = Plan::new(&desired, &observe(&users), &schema, &memory, &policy);
        prop_assert_eq!(plan.changes, vec![], "{}", exported.csv);
    }
}

fn settings() -> omni_user_sync::settings::Settings {
    let none: omni_user_sync::settings::Environment =
        [("OMNI_USER_SYNC_CONFIG", "config/example.toml")]
            .into_iter()
            .collect();
    omni_user_sync::settings::load(None, &none).expect("the example is fine")
}

#[test]
fn applied_operations_are_no_longer_pending() {
    let left = |planned, applied| Counts::new(planned).without(&Counts::new(applied));
    assert_eq!(
        left([0, 3, 0, 0, 2, 1, 4, 0], [0, 1, 0, 0, 2, 0, 1, 0]),
        Counts::new([0, 2, 0, 0, 0, 1, 3, 0])
    );
    // A creation was applied as an update, because the user exists by now.
    assert_eq!(
        left([0, 1, 0, 0, 2, 2, 0, 0], [0, 0, 0, 0, 3, 1, 0, 0]),
        Counts::new([0, 1, 0, 0, 0, 0, 0, 0])
    );
    assert_eq!(left([0; 8], [0, 0, 0, 0, 1, 0, 0, 0]), Counts::default());
}
