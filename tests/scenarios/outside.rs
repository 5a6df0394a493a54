//! Changes that others make in Omni.

use crate::access::OutsideGroup;
use crate::roles::{Catalogue, OutsideRole};
use crate::roster::COLUMNS;
use crate::scenario::{NAMES, ScenarioPolicy, pick, value};
use crate::schedules::OutsideSchedule;
use fastrand::Rng;
use omni_user_sync::sandbox::Org;
use serde_json::{Value, json};

/// A change that others make in Omni.
#[derive(Clone, Debug)]
pub(crate) enum Outside {
    Attribute(String, &'static str, Value),
    Name(String, String),
    Active(String, bool),
    Remove(String),
    Recreate(String),
    Add(String),
    Group(OutsideGroup),
    Role(OutsideRole),
    Schedule(OutsideSchedule),
}

impl Outside {
    pub(crate) fn drawn(random: &mut Rng, emails: &[String], policy: &ScenarioPolicy) -> Self {
        let email = pick(random, emails).clone();
        let column = random.usize(..COLUMNS.len());
        // A PUT sends the user as read right before: it reverts changes made in between, which is why
        // updates are PATCHes by default (docs/omni.md).
        match random.u32(if policy.puts { 60 } else { 0 }..100) {
            0..35 => Outside::Attribute(email, COLUMNS[column], value(random, column)),
            35..45 => Outside::Name(email, (*pick(random, &NAMES)).to_owned()),
            45..60 => Outside::Active(email, random.bool()),
            60..75 => Outside::Remove(email),
            75..90 => Outside::Recreate(email),
            _ => Outside::Add(format!("new{}@y.co", random.u32(..9))),
        }
    }

    pub(crate) fn act(&self, org: &Org, catalogue: &Catalogue) {
        let is_there = |email: &str| org.user(email).is_some();
        match self {
            Outside::Attribute(email, name, value) if is_there(email) => {
                org.set_attribute(email, name, value.clone());
            }
            Outside::Name(email, name) if is_there(email) => org.set_display_name(email, name),
            Outside::Active(email, active) if is_there(email) => org.set_active(email, *active),
            Outside::Remove(email) if is_there(email) => org.remove_user(email),
            Outside::Recreate(email) => {
                if is_there(email) {
                    org.remove_user(email);
                }
                if !is_there(email) {
                    org.add_user(json!({ "userName": email, "displayName": "Theirs" }));
                }
            }
            Outside::Add(email) if !is_there(email) => {
                org.add_user(json!({ "userName": email, "displayName": "New" }));
            }
            Outside::Group(group) => group.act(org),
            Outside::Role(role) => role.act(org, catalogue),
            Outside::Schedule(schedule) => schedule.act(org),
            _ => {}
        }
    }
}
