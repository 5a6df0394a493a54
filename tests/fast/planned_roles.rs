//! Assignments of roles as functions of values: the planner and the limit, by properties.

use chrono::Utc;
use omni_user_sync::model::{
    Attributes, ByEmail, Change, ConnectionId, Desired, DesiredMemberships, DesiredRole,
    DesiredRoles, DesiredUser, Email, Entry, Fingerprint, GroupId, GuardRule, KnownRoles, Location,
    Memory, ModelId, Observed, ObservedConnection, ObservedGroup, ObservedGroups, ObservedModel,
    ObservedUser, Operation, Policy, Protect, RoleHolder, RoleName, RoleScope, RoleScopeList,
    Schema, StandardRole, Subject, UserId, UserSpec,
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

#[derive(Clone, Debug)]
struct Case {
    present: Roles,
    stated: Roles,
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
    let parts = (roles(), roles(), unread, any::<bool>(), 0u64..40);
    parts.prop_map(|(present, stated, unread, protected, limit)| Case {
        present,
        stated,
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
        let entry = |number: usize| Entry {
            want: DesiredUser::Upsert(UserSpec {
                display_name: Some("Ann".into()),
                attributes: Attributes::default(),
            }),
            location: location(number as u64),
        };
        let users: ByEmail<_> = (0..3)
            .map(|number| (email(number), entry(number)))
            .collect();
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
            frozen: ByEmail::default(),
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
        }
    }

    fn assess(&self) -> Assessment {
        let memory = Memory::empty(Utc::now());
        let (desired, observed) = (self.desired(), self.observed());
        Assessment::new(
            &desired,
            &observed,
            &Schema::unknown(),
            &memory,
            &self.policy(),
        )
    }

    /// The same once these changes were applied.
    fn after(&self, changes: &[Change]) -> Self {
        let mut after = self.clone();
        for change in changes {
            let change = key(change);
            after.present.insert((change.0, change.1), change.2);
        }
        after
    }
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

proptest! {
    /// Only stated roles change, and only to what is stated. Users and groups whose roles are not known get none.
    #[test]
    fn only_stated_roles_change(case in case()) {
        let assessed = case.assess();
        prop_assert!(assessed.problems.is_empty(), "{:?}", assessed.problems);
        for change in assessed.verdict.all() {
            let (holder, model, to) = key(change);
            prop_assert_eq!(change.operation(), Operation::Assign);
            prop_assert_eq!(case.stated.get(&(holder, model)), Some(&to));
            prop_assert!(case.present.get(&(holder, model)) != Some(&to));
            prop_assert!(!case.unread[holder]);
        }
        let unread = (0..HOLDERS.len())
            .filter(|number| case.unread[*number] && case.stated.keys().any(|(of, _)| of == number));
        prop_assert_eq!(assessed.unread_roles.len(), unread.count());
    }

    /// Planning again after a run finds what is protected, and nothing else.
    #[test]
    fn applied_roles_converge(case in case()) {
        let case = Case { limit: u64::MAX, ..case };
        let assessed = case.assess();
        let again = case.after(assessed.verdict.passed()).assess();
        prop_assert_eq!(again.verdict.passed(), []);
        prop_assert_eq!(again.verdict.protected(), assessed.verdict.protected());
    }

    /// A protected user never gets a lower role, and others are not affected.
    #[test]
    fn protected_users_get_no_lower_role(case in case()) {
        let assessed = case.assess();
        for change in assessed.verdict.protected() {
            prop_assert!(case.protected && key(change).0 == 0);
        }
        for change in assessed.verdict.passed().iter().filter(|_| case.protected) {
            let role = change.role().expect("an assignment");
            let ranks = role.from.as_ref().map(|from| (rank(from), rank(&role.to)));
            if let (0, Some(ranks)) = (key(change).0, ranks) {
                prop_assert!(matches!(ranks, (Some(from), Some(to)) if from < to), "{}", role);
            }
        }
    }

    /// All assignments are held, or their weights are within the limit. Each sensitive one counts as five.
    #[test]
    fn role_changes_stay_within_the_limit(case in case()) {
        let assessed = case.assess();
        let weight = |change: &Change| {
            let role = change.role().expect("an assignment");
            let (from, to) = (role.from.as_ref(), rank(&role.to));
            let grants = to.is_none_or(|to| to >= StandardRole::Modeler);
            let raises = from.is_none_or(|from| rank(from).is_some_and(|from| Some(from) < to));
            if grants || !raises { 5 } else { 1 }
        };
        let passed: u64 = assessed.verdict.passed().iter().map(weight).sum();
        prop_assert!(passed <= case.limit);
        for held in assessed.verdict.held() {
            let sum: u64 = held.changes.iter().map(weight).sum();
            prop_assert_eq!(held.rule, GuardRule::MaxRoleChanges);
            prop_assert!(sum > case.limit && assessed.verdict.passed().is_empty());
        }
    }
}
