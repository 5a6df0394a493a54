//! Applies the body of a write to a group. Each function returns the new group or a rejection, so a
//! body is applied as a whole or not at all.

use std::collections::BTreeSet;

use super::answer::Refusal;
use super::group::Group;
use super::json::Object;
use super::options::{OtherIds, Repeated};
use super::user::Id;
use super::world::World;
use super::write::{only, operations, optional, required};

const CREATE_FIELDS: &[&str] = &["schemas", "displayName", "members"];
/// Includes the fields that a client sends if it returns the whole group.
const REPLACE_FIELDS: &[&str] = &["schemas", "id", "displayName", "members", "meta"];
const OPERATION_FIELDS: &[&str] = &["op", "path", "value"];
const VALUE_FIELDS: &[&str] = &["id", "displayName"];
const MEMBER_FIELDS: &[&str] = &["value", "display"];

const MAX_NAME_CHARS: usize = 64;
/// The length of the id in the path of a removal, by the OpenAPI document.
const MEMBER_ID_CHARS: usize = 36;

/// The group after a `POST`.
pub(super) fn created(world: &World, body: &Object) -> Result<Group, Refusal> {
    only(body, CREATE_FIELDS)?;
    let given: Vec<Object> = optional(body, "members")?.unwrap_or_default();
    let group = Group {
        id: world.groups.next_id(),
        name: name(body)?,
        members: members(world, &given)?,
    };
    unique(world, group)
}

/// The group after a `PUT`, which overwrites the members.
pub(super) fn replaced(world: &World, present: &Group, body: &Object) -> Result<Group, Refusal> {
    only(body, REPLACE_FIELDS)?;
    let given: Vec<Object> = required(body, "members")?;
    for member in &given {
        required::<String>(member, "display")?;
    }
    let group = Group {
        id: present.id.clone(),
        name: name(body)?,
        members: known_or_members(world, present, &given)?,
    };
    unique(world, group)
}

/// The group after a `PATCH`.
pub(super) fn patched(world: &World, present: &Group, body: &Object) -> Result<Group, Refusal> {
    let mut group = present.clone();
    let mut changed = 0;
    for operation in operations(body)? {
        changed += operate(world, &mut group, &operation)?;
    }
    if changed > world.max_members {
        let detail = format!("{changed} members, more than {}", world.max_members);
        return Err(Refusal::new(400, detail));
    }
    unique(world, group)
}

/// Executes an operation. Returns the number of members that it adds or removes.
fn operate(world: &World, group: &mut Group, operation: &Object) -> Result<usize, Refusal> {
    only(operation, OPERATION_FIELDS)?;
    let op: String = required(operation, "op")?;
    let path: Option<String> = optional(operation, "path")?;
    match (op.as_str(), path.as_deref()) {
        ("add" | "Add", Some("members")) => {
            let given: Vec<Object> = required(operation, "value")?;
            add(world, group, members(world, &given)?)?;
            Ok(given.len())
        }
        ("remove" | "Remove", Some(path)) => {
            remove(world, group, member_of(path)?)?;
            Ok(1)
        }
        ("replace" | "Replace", Some("members")) => {
            let given: Vec<Object> = required(operation, "value")?;
            group.members = known_or_members(world, group, &given)?;
            Ok(0)
        }
        ("replace" | "Replace", Some("displayName")) => {
            group.name = checked_name(required(operation, "value")?)?;
            Ok(0)
        }
        ("replace" | "Replace", None) => {
            let value: Object = required(operation, "value")?;
            only(&value, VALUE_FIELDS)?;
            group.name = name(&value)?;
            Ok(0)
        }
        _ => {
            let detail = format!("`op` {op:?} is not supported with `path` {path:?}");
            Err(Refusal::misuse(400, detail))
        }
    }
}

fn add(world: &World, group: &mut Group, members: BTreeSet<Id>) -> Result<(), Refusal> {
    let accepted = matches!(world.repeated, Repeated::Accepted | Repeated::Added);
    for id in members {
        if !group.members.insert(id) && !accepted {
            return Err(Refusal::new(400, format!("{id} is a member already")));
        }
    }
    Ok(())
}

fn remove(world: &World, group: &mut Group, member: &str) -> Result<(), Refusal> {
    if member.chars().count() != MEMBER_ID_CHARS {
        match world.other_ids {
            OtherIds::Removed => {}
            OtherIds::Ignored => return Ok(()),
            OtherIds::Refused => {
                let detail = format!("{member:?} does not have {MEMBER_ID_CHARS} characters");
                return Err(Refusal::new(400, detail));
            }
        }
    }
    let removed = Id::parse(member).is_some_and(|id| group.members.remove(&id));
    let accepted = matches!(world.repeated, Repeated::Accepted | Repeated::Removed);
    if !removed && !accepted {
        return Err(Refusal::new(400, format!("{member} is not a member")));
    }
    Ok(())
}

/// The id in `members[value eq "…"]`.
fn member_of(path: &str) -> Result<&str, Refusal> {
    path.strip_prefix("members[value eq \"")
        .and_then(|rest| rest.strip_suffix("\"]"))
        .ok_or_else(|| Refusal::misuse(400, format!("`path` {path:?} is not supported")))
}

/// The ids of users of the organisation, each once.
fn members(world: &World, given: &[Object]) -> Result<BTreeSet<Id>, Refusal> {
    let mut ids = BTreeSet::new();
    for member in given {
        let id = member_id(member)?;
        if world.users.get(id).is_none() {
            return Err(Refusal::new(400, format!("no user with id {id}")));
        }
        if !ids.insert(id) {
            return Err(Refusal::misuse(400, format!("{id} occurs twice")));
        }
    }
    Ok(ids)
}

/// As [`members`], but a client may also return the present members, among them embed users.
fn known_or_members(
    world: &World,
    present: &Group,
    given: &[Object],
) -> Result<BTreeSet<Id>, Refusal> {
    let mut ids = BTreeSet::new();
    for member in given {
        let id = member_id(member)?;
        if !present.members.contains(&id) {
            members(world, std::slice::from_ref(member))?;
        }
        ids.insert(id);
    }
    Ok(ids)
}

fn member_id(member: &Object) -> Result<Id, Refusal> {
    only(member, MEMBER_FIELDS)?;
    let text: String = required(member, "value")?;
    Id::parse(&text).ok_or_else(|| Refusal::misuse(400, format!("{text:?} is not a user id")))
}

fn name(body: &Object) -> Result<String, Refusal> {
    checked_name(required(body, "displayName")?)
}

fn checked_name(name: String) -> Result<String, Refusal> {
    let chars = name.chars().count();
    if name.trim().is_empty() {
        Err(Refusal::new(400, "`displayName` is blank"))
    } else if chars > MAX_NAME_CHARS {
        let detail = format!("`displayName` has {chars} characters, more than {MAX_NAME_CHARS}");
        Err(Refusal::new(400, detail))
    } else {
        Ok(name)
    }
}

/// The group, if no other one has its name.
fn unique(world: &World, group: Group) -> Result<Group, Refusal> {
    let namesake = world.groups.named(&group.name);
    if namesake.is_some_and(|other| other.id != group.id) {
        let detail = format!("a group with the name {} already exists", group.name);
        return Err(Refusal::new(409, detail));
    }
    Ok(group)
}
