//! The reference for roles: which ones a run assigns and which ones the limit holds, and the direct roles after it. What
//! the program remembers of approvals, and of roles that Omni does not show, is taken from its state database; the
//! invariants check that this is right.

use crate::assignments::weight;
use crate::files::Files;
use crate::invariants::email_of;
use crate::memberships::{id_of, name_of};
use crate::reference::{Need, Reference, Users};
use crate::reference_groups::GroupRuling;
use crate::roles::{Catalogue, RolesFile, Scope, rank};
use crate::roster::Roster;
use crate::scenario::PROTECTED;
use crate::stated_roles::{RoleStatements, StatedRole};
use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::{Approvals, ApprovedChange, KnownRoles, Operation, RoleHolder};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// By the email of a user, or `group:` and the name of a group, in lower case; and by scope.
type Direct = BTreeMap<(String, Scope), String>;

/// The roles and what was remembered before a run.
pub(crate) struct RolesBefore {
    file: Option<RolesFile>,
    direct: Direct,
    groups: Vec<Value>,
    known: HashMap<RoleHolder, KnownRoles>,
    approved: Approvals,
}

/// An assignment.
#[derive(Clone, Debug)]
struct Planned {
    stated: StatedRole,
    weight: u64,
    is_approved: bool,
}

/// The assignments, before and after the limit.
#[derive(Debug, Default)]
pub(crate) struct RoleRuling {
    passed: Vec<Planned>,
    held: usize,
    pub(crate) pending: usize,
}

fn direct(world: &World) -> Direct {
    let all = world.org().all_roles();
    let all = all.iter().filter_map(|role| {
        let name = role["holder"].as_str()?.to_lowercase();
        let holder = match name.contains('@') {
            true => name,
            false => format!("group:{name}"),
        };
        let role_name = role["roleName"].as_str()?.to_owned();
        Some(((holder, Scope::of(role)?), role_name))
    });
    all.collect()
}

impl RolesBefore {
    pub(crate) async fn of(world: &World, files: &Files) -> Self {
        let db = world.state_db();
        let known = db.observed_roles().await;
        let memory = db.memory(Utc::now()).await;
        Self {
            file: files.roles.clone(),
            direct: direct(world),
            groups: world.org().groups(),
            known: known.expect("the state database can be read").holders,
            approved: memory.expect("the state database can be read").approved,
        }
    }

    /// What a run does that sees all users, groups and roles.
    pub(crate) fn rule(
        &self,
        (limit, catalogue): (u64, &Catalogue),
        reference: &Reference,
        users: &Users,
        roster: &Roster,
        groups: Option<&GroupRuling>,
    ) -> RoleRuling {
        let needs = reference.asked_for(users, roster);
        let stated = RoleStatements::new(roster, self.file.as_ref(), catalogue).all();
        let mut planned = Vec::new();
        for stated in stated {
            let is_new = |name: &str| groups.is_some_and(|groups| groups.names_new(name));
            let has_holder = match stated.group() {
                Some(name) => self.group(name).is_some() || is_new(name),
                None => {
                    let email = stated.subject.as_str();
                    let (user, need) = (users.get(email), needs.get(email).copied());
                    (user.is_some() || need == Some(Need::Create))
                        && !reference.has_left(user, email, need, roster)
                }
            };
            if !has_holder {
                continue;
            }
            let from = self.present(&stated, users);
            if from.as_deref() == Some(stated.role) {
                continue;
            }
            planned.push(Planned {
                weight: weight(from.as_deref(), stated.role),
                is_approved: self.is_approved(&stated, from.as_deref(), users),
                stated,
            });
        }
        let pending = planned.len();
        planned.retain(|one| {
            let from = self.present(&one.stated, users);
            one.stated.subject != PROTECTED
                || from.is_none_or(|from| rank(&from) < rank(one.stated.role))
        });
        // The roles of a group that no join creates wait.
        planned.retain(|one| match one.stated.group() {
            Some(name) => {
                self.group(name).is_some() || groups.is_some_and(|groups| groups.creates(name))
            }
            None => true,
        });
        let unapproved = planned.iter().filter(|one| !one.is_approved);
        let sum: u64 = unapproved.map(|one| one.weight).sum();
        let mut ruling = RoleRuling {
            passed: planned,
            pending,
            held: 0,
        };
        if sum > limit {
            let before = ruling.passed.len();
            ruling.passed.retain(|one| one.is_approved);
            ruling.held = before - ruling.passed.len();
        }
        ruling
    }

    fn group(&self, name: &str) -> Option<&Value> {
        let mut groups = self.groups.iter();
        groups.find(|group| name_of(group).eq_ignore_ascii_case(name))
    }

    /// The present role as the program knows it: Omni does not show a user's role on a whole connection.
    fn present(&self, stated: &StatedRole, users: &Users) -> Option<String> {
        let StatedRole { subject, scope, .. } = stated;
        if stated.group().is_some() || scope.model.is_some() {
            return self.direct.get(&(subject.clone(), scope.clone())).cloned();
        }
        let id = id_of(users.get(subject)?);
        let is_it =
            |holder: &RoleHolder| matches!(holder, RoleHolder::User(of) if of.as_str() == id);
        let (_, known) = self.known.iter().find(|(holder, _)| is_it(holder))?;
        let mut roles = known.roles.iter();
        let role = roles.find(|role| Scope::from(&role.scope) == *scope)?;
        Some(role.role.as_str().to_owned())
    }

    fn is_approved(&self, stated: &StatedRole, from: Option<&str>, users: &Users) -> bool {
        let user = users.get(&stated.subject).map(id_of);
        let group = stated.group().and_then(|name| self.group(name)).map(id_of);
        let is_it = |approved: &ApprovedChange| {
            let ApprovedChange {
                change, created, ..
            } = approved;
            // What the approved plan created has an id by now.
            let approved_user = change.user_id.as_ref().or(created.user.as_ref());
            let approved_group = change.group.as_ref().and_then(|group| group.id.as_ref());
            let approved_group = approved_group.or(created.group.as_ref());
            change.operation == Operation::Assign
                && change.subject.folded() == stated.subject
                && approved_user.map(|id| id.as_str()) == user
                && approved_group.map(|id| id.as_str()) == group
                && change.role.as_ref().is_some_and(|role| {
                    Scope::from(&role.scope.ids) == stated.scope
                        && role.from.as_ref().map(|from| from.as_str()) == from
                        && role.to.as_str() == stated.role
                })
        };
        self.approved.iter().any(is_it)
    }

    /// Compares the direct roles after a run whose outcome is known exactly.
    pub(crate) fn compare(
        &self,
        world: &World,
        ruling: &RoleRuling,
        held: usize,
    ) -> Result<(), String> {
        if held != ruling.held {
            return Err(format!("{held} roles held: {ruling:#?}"));
        }
        let users = world.org().users();
        let exists = |email: &str| users.iter().any(|user| email_of(user) == email);
        let mut expected = self.direct.clone();
        expected.retain(|(holder, _), _| !holder.contains('@') || exists(holder));
        expected.extend(ruling.passed.iter().map(|one| {
            let StatedRole {
                subject,
                scope,
                role,
            } = one.stated.clone();
            ((subject, scope), role.to_owned())
        }));
        let now = direct(world);
        match now == expected {
            true => Ok(()),
            false => Err(format!("{now:#?} differs from {expected:#?}: {ruling:#?}")),
        }
    }
}
