//! Assignments of roles as functions of values: the planner and the limit, by properties.

use chrono::Utc;
use omni_user_sync::model::{
    ApprovedChange, Attributes, ByEmail, Change, ConnectionId, Desired, DesiredMemberships,
    DesiredRole, DesiredRoles, DesiredUser, Email, Entry, Fingerprint, GroupId, GuardRule,
    KnownRoles, Leaving, Limit, Location, Memory, ModelId, NewIds, Observed, ObservedConnection,
    ObservedGroup, ObservedGroups, ObservedModel, ObservedUser, Operation, Policy, Protect,
    RoleHolder, RoleName, RoleScope, RoleScopeList, RolesUnknown, Schema, StandardRole, Subject,
    UserId, UserSpec,
};
use omni_user_sync::plan::Assessment;
use omni_user_sync::settings::{self, Environment};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Holders by number: three users, then two groups.
const HOLDERS: [&str; 5] = [
    "u0@x.co",
    "u1@x.co",
    "u2@x.co",
    "group:Sales",
    "group:Board",
];
const MODELS: [&str; 3] = ["Orders", "Costs", "Stock"];
const ROLES: [&str; 5] = ["NO_ACCESS", "VIEWER", "QUERIER", "MODELER", "Analyst"];

/// A direct role: the numbers of its holder and its model, and its own.
type Roles = BTreeMap<(usize, usize), usize>;

/// What the roster states about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Nothing,
    Upsert,
    /// An upsert with another name.
    Rename,
    Frozen,
    Delete,
    Deactivate,
}

impl Want {
    /// Whether roles of the user may change.
    fn keeps(self) -> bool {
        matches!(self, Self::Nothing | Self::Upsert | Self::Rename)
    }
}

#[derive(Clone, Debug)]
struct Case {
    present: Roles,
    stated: Roles,
    /// By user.
    wants: Vec<Want>,
    /// Whether updates of users are held.
    holds_updates: bool,
    /// The holders whose roles Omni has not shown.
    unread: Vec<bool>,
    protected: bool,
    limit: u64,
}

fn roles() -> impl Strategy<Value = Roles> {
    let key = (0..HOLDERS.len(), 0..MODELS.len());
    prop::collection::btree_map(key, 0..ROLES.len(), 0..9)
}

fn case() -> impl Strategy<Value = Case> {
    let unread = prop::collection::vec(prop::bool::weighted(0.2), HOLDERS.len());
    let want = prop_oneof![
        4 => Just(Want::Upsert),
        1 => Just(Want::Nothing),
        1 => Just(Want::Rename),
        1 => Just(Want::Frozen),
        1 => Just(Want::Delete),
        1 => Just(Want::Deactivate),
    ];
    let rows = (prop::collection::vec(want, 3), any::<bool>());
    let parts = (roles(), roles(), rows, unread, any::<bool>(), 0u64..40);
    parts.prop_map(|(present, stated, rows, unread, protected, limit)| Case {
        present,
        stated,
        wants: rows.0,
        holds_updates: rows.1,
        unread,
        protected,
        limit,
    })
}

fn email(number: usize) -> Email {
    Email::parse(HOLDERS[number]).expect("an email")
}

fn holder(number: usize) -> RoleHolder {
    match number {
        0..3 => RoleHolder::User(UserId::parse(&format!("user-{number}")).expect("an id")),
        _ => RoleHolder::Group(GroupId::parse(&format!("group-{number}")).expect("an id")),
    }
}

fn connection() -> ConnectionId {
    ConnectionId::parse("connection").expect("an id")
}

fn scope(model: usize) -> RoleScope {
    RoleScope {
        connection: connection(),
        model: ModelId::parse(&format!("model-{model}")),
    }
}

fn role(number: usize) -> RoleName {
    RoleName::known(ROLES[number])
}

fn rank(role: &RoleName) -> Option<StandardRole> {
    role.standard()
}

impl Case {
    fn policy(&self) -> Policy {
        let example: Environment = [("OMNI_USER_SYNC_CONFIG", "config/example.toml")]
            .into_iter()
            .collect();
        let protected: &[&str] = if self.protected { &[HOLDERS[0]] } else { &[] };
        Policy {
            max_role_changes: self.limit,
            max_updates: self.holds_updates.then_some(Limit::Count(0)),
            protect: Protect::new(protected),
            ..settings::load(None, &example)
                .expect("the example is fine")
                .policy
        }
    }

    /// Omni with the present roles.
    fn observed(&self) -> Observed {
        let user = |number| ObservedUser {
            id: UserId::parse(&format!("user-{number}")).expect("an id"),
            email: email(number),
            display_name: "Ann".into(),
            active: Some(true),
            attributes: Some(Attributes::default()),
            modified: None,
            owned: None,
        };
        let mut observed = Observed::new((0..3).map(user), 0);
        let group = |number: usize| ObservedGroup {
            id: GroupId::parse(&format!("group-{number}")).expect("an id"),
            name: HOLDERS[number].trim_start_matches("group:").into(),
            members: None,
        };
        *observed.groups_mut() = ObservedGroups::new((3..HOLDERS.len()).map(group));
        let model = |number: usize| ObservedModel {
            id: scope(number).model.expect("a model"),
            name: MODELS[number].into(),
            connection: connection(),
        };
        let warehouse = ObservedConnection {
            id: connection(),
            name: "Warehouse".into(),
            base_role: None,
        };
        let known = observed.roles_mut();
        known.scopes = Ok(RoleScopeList {
            connections: vec![warehouse],
            models: (0..MODELS.len()).map(model).collect(),
        });
        for number in (0..HOLDERS.len()).filter(|number| !self.unread[*number]) {
            let mut roles = KnownRoles::default();
            roles.was_read(&holder(number), Vec::new(), None, Utc::now());
            for ((_, model), present) in self.present.iter().filter(|((of, _), _)| *of == number) {
                roles.assign(&holder(number), &scope(*model), &role(*present));
            }
            known.holders.insert(holder(number), roles);
        }
        observed
    }

    fn desired(&self) -> Desired {
        let location = |line| Location {
            file: "roles.csv".into(),
            line,
            column: None,
        };
        let want = |number: usize| match self.wants[number] {
            Want::Nothing | Want::Frozen => None,
            Want::Delete => Some(DesiredUser::Delete(Leaving::default())),
            Want::Deactivate => Some(DesiredUser::Deactivate(Leaving::default())),
            Want::Upsert | Want::Rename => Some(DesiredUser::Upsert(UserSpec {
                display_name: Some(match self.wants[number] {
                    Want::Rename => "Anna".into(),
                    _ => "Ann".into(),
                }),
                attributes: Attributes::default(),
            })),
        };
        let entry = |number: usize| {
            let entry = Entry {
                want: want(number)?,
                location: location(number as u64),
            };
            Some((email(number), entry))
        };
        let users: ByEmail<_> = (0..3).filter_map(entry).collect();
        let frozen = (0..3).filter(|number| self.wants[*number] == Want::Frozen);
        let frozen = frozen.map(|number| (email(number), location(number as u64)));
        let row = |(line, ((number, model), to)): (usize, (&(usize, usize), &usize))| DesiredRole {
            subject: Subject::parse(HOLDERS[*number]).expect("a subject"),
            connection: "Warehouse".into(),
            model: Some(MODELS[*model].into()),
            role: role(*to),
            location: location(line as u64 + 2),
            doubt: None,
        };
        Desired {
            rows: users.len() as u64,
            users,
            doubtful: Vec::new(),
            leavers: ByEmail::default(),
            frozen: frozen.collect(),
            bad_rows: Vec::new(),
            unnamed: 0,
            memberships: DesiredMemberships::default(),
            roles: Some(DesiredRoles {
                rows: self.stated.iter().enumerate().map(row).collect(),
                unclear: Vec::new(),
                bad_rows: Vec::new(),
                rejected: Vec::new(),
                lints: Vec::new(),
                columns: [1, 2, 3, 4],
                count: None,
                fingerprint: None,
            }),
            rejected: Vec::new(),
            lints: Vec::new(),
            files: Vec::new(),
            folder: Vec::new(),
            fingerprint: Fingerprint([0; 32]),
            is_source: true,
            only: None,
        }
    }

    fn assess(&self) -> Assessment {
        self.assess_with(&self.observed(), &Memory::empty(Utc::now()))
    }

    fn assess_with(&self, observed: &Observed, memory: &Memory) -> Assessment {
        let desired = self.desired();
        Assessment::new(
            &desired,
            observed,
            &Schema::unknown(),
            memory,
            &self.policy(),
        )
    }

    /// Whether the plan leaves the roles of a holder unchanged.
    fn is_left(&self, holder: usize) -> bool {
        self.wants.get(holder).is_some_and(|want| !want.keeps())
    }

    /// The same once these changes were applied.
    fn after(&self, changes: &[Change]) -> Self {
        let mut after = self.clone();
        for change in roles_in(changes) {
            let change = key(change);
            after.present.insert((change.0, change.1), change.2);
        }
        after
    }
}

/// The assignments among changes.
fn roles_in<'c>(changes: impl IntoIterator<Item = &'c Change>) -> impl Iterator<Item = &'c Change> {
    let changes = changes.into_iter();
    changes.filter(|change| change.operation() == Operation::Assign)
}

/// The numbers of the holder, the model and the new role.
fn key(change: &Change) -> (usize, usize, usize) {
    let role = change.role().expect("an assignment");
    let subject = change.subject.to_string();
    let model = role.scope.model.as_deref().expect("a model");
    let number = |all: &[&str], one: &str| all.iter().position(|name| *name == one);
    (
        number(&HOLDERS, &subject).expect("a holder"),
        number(&MODELS, model).expect("a model"),
        number(&ROLES, role.to.as_str()).expect("a role"),
    )
}

/// The number that an assignment counts for the limit.
fn weight(change: &Change) -> u64 {
    let role = change.role().expect("an assignment");
    let (from, to) = (role.from.as_ref(), rank(&role.to));
    let grants = to.is_none_or(|to| to >= StandardRole::Modeler);
    let raises = from.is_none_or(|from| rank(from).is_some_and(|from| Some(from) < to));
    if grants || !raises { 5 } else { 1 }
}

proptest! {
    /// Only stated roles change, and only to what is stated. Users and groups whose roles are not known get none, nor do
    /// users who are frozen or leave.
    #[test]
    fn only_stated_roles_change(case in case()) {
        let assessed = case.assess();
        prop_assert!(assessed.problems.is_empty(), "{:?}", assessed.problems);
        for change in roles_in(assessed.verdict.all()) {
            let (holder, model, to) = key(change);
            prop_assert_eq!(case.stated.get(&(holder, model)), Some(&to));
            prop_assert!(case.present.get(&(holder, model)) != Some(&to));
            prop_assert!(!case.unread[holder] && !case.is_left(holder));
        }
        let is_unread = |number: &usize| {
            case.unread[*number] && !case.is_left(*number) && case.stated.keys().any(|(of, _)| of == number)
        };
        prop_assert_eq!(assessed.unread_roles.len(), (0..HOLDERS.len()).filter(is_unread).count());
    }

    /// If the file, the connections or the groups can't be read, no role is assigned.
    #[test]
    fn unreadable_input_assigns_nothing(case in case(), what in 0..3) {
        let mut desired = case.desired();
        let mut observed = case.observed();
        match what {
            0 => {
                let mut stated = desired.roles.take().expect("it is set");
                stated.rows.clear();
                desired.roles = Some(stated);
            }
            1 => observed.roles_mut().scopes = Err(RolesUnknown::Refused(403)),
            _ => *observed.groups_mut() = ObservedGroups::default(),
        }
        let memory = Memory::empty(Utc::now());
        let assessed = Assessment::new(&desired, &observed, &Schema::unknown(), &memory, &case.policy());
        let all = case.assess();
        let users: Vec<_> = roles_in(all.verdict.all()).filter(|change| key(change).0 < 3).collect();
        let expected = if what == 2 { users.len() } else { 0 };
        prop_assert_eq!(roles_in(assessed.verdict.all()).count(), expected);
    }

    /// Planning again after a run yields only assignments that are protected or wait.
    #[test]
    fn applied_roles_converge(case in case()) {
        let case = Case { limit: u64::MAX, ..case };
        let assessed = case.assess();
        let again = case.after(assessed.verdict.passed()).assess();
        prop_assert_eq!(roles_in(again.verdict.passed()).count(), 0);
        prop_assert_eq!(again.verdict.protected(), assessed.verdict.protected());
        prop_assert_eq!(again.verdict.waiting(), assessed.verdict.waiting());
    }

    /// The roles of a user wait exactly while the user's own change is held.
    #[test]
    fn roles_wait_for_their_held_user(case in case()) {
        let assessed = case.assess();
        let is_held = |number: usize| case.holds_updates && case.wants.get(number) == Some(&Want::Rename);
        for change in assessed.verdict.waiting() {
            prop_assert!(is_held(key(change).0));
        }
        let held = assessed.verdict.held().iter().flat_map(|held| &held.changes);
        for change in roles_in(held.chain(assessed.verdict.passed())) {
            prop_assert!(!is_held(key(change).0));
        }
    }

    /// A protected user never gets a lower role, and others are not affected.
    #[test]
    fn protected_users_get_no_lower_role(case in case()) {
        let assessed = case.assess();
        for change in assessed.verdict.protected() {
            prop_assert!(case.protected && change.subject.to_string() == HOLDERS[0]);
        }
        for change in roles_in(assessed.verdict.passed()).filter(|_| case.protected) {
            let role = change.role().expect("an assignment");
            let ranks = role.from.as_ref().map(|from| (rank(from), rank(&role.to)));
            if let (0, Some(ranks)) = (key(change).0, ranks) {
                prop_assert!(matches!(ranks, (Some(from), Some(to)) if from < to), "{}", role);
            }
        }
    }

    /// All assignments are held, or their weights are within the limit. Each risky one counts as five.
    #[test]
    fn role_changes_stay_within_the_limit(case in case()) {
        let assessed = case.assess();
        let passed: u64 = roles_in(assessed.verdict.passed()).map(weight).sum();
        prop_assert!(passed <= case.limit);
        let held = assessed.verdict.held().iter();
        for held in held.filter(|held| held.rule == GuardRule::MaxRoleChanges) {
            let sum: u64 = held.changes.iter().map(weight).sum();
            prop_assert!(sum > case.limit && roles_in(assessed.verdict.passed()).count() == 0);
        }
    }

    /// An approval covers the assignments that were shown, and no other role before or after them.
    #[test]
    fn an_approval_covers_the_shown_roles(case in case(), to in 0..ROLES.len(), at in any::<prop::sample::Index>()) {
        let case = Case { limit: 0, holds_updates: false, ..case };
        let assessed = case.assess();
        let held = assessed.verdict.held().iter();
        let held = roles_in(held.flat_map(|held| &held.changes));
        let mut held: Vec<_> = held.cloned().collect();
        held.sort_by_key(key);
        prop_assume!(!held.is_empty());
        let approved = |(number, change): (u64, &Change)| ApprovedChange {
            number,
            change: change.into(),
            created: NewIds::default(),
        };
        let memory = Memory {
            approved: (1..).zip(&held).map(approved).collect(),
            ..Memory::empty(Utc::now())
        };
        let passed = |case: &Case| -> Vec<_> {
            let verdict = case.assess_with(&case.observed(), &memory).verdict;
            let mut passed: Vec<_> = roles_in(verdict.passed()).cloned().collect();
            passed.sort_by_key(key);
            passed
        };
        prop_assert_eq!(&passed(&case), &held);
        let (holder, model, _) = key(at.get(&held));
        let mut other = case.clone();
        other.stated.insert((holder, model), to);
        for change in passed(&other) {
            prop_assert!(held.contains(&change), "{:?}", change);
        }
        let mut other = case.clone();
        other.present.insert((holder, model), to);
        for change in passed(&other) {
            prop_assert!(held.contains(&change), "{:?}", change);
        }
    }
}
