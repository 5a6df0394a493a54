//! Applies the body of a write to a user. Each function returns the new user or a rejection, so a body
//! is applied as a whole or not at all.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::answer::Refusal;
use super::attributes::{ATTRIBUTES, Changes};
use super::json::Object;
use super::options::{ClearBy, PatchForms, PutMode};
use super::user::{User, is_email};
use super::world::World;

const PATCH_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

const CREATE_FIELDS: &[&str] = &["schemas", "userName", "displayName", ATTRIBUTES];
/// Includes the fields that a client sends if it returns the whole user.
const REPLACE_FIELDS: &[&str] = &[
    "schemas",
    "id",
    "userName",
    "displayName",
    "active",
    "emails",
    "groups",
    "meta",
    ATTRIBUTES,
    ENTERPRISE,
];
const PATCH_FIELDS: &[&str] = &["schemas", "Operations"];
const OPERATION_FIELDS: &[&str] = &["op", "path", "value"];
const VALUE_FIELDS: &[&str] = &["userName", "displayName", "active", ATTRIBUTES];

/// The user after a `POST`.
pub(super) fn created(world: &World, body: &Object) -> Result<User, Refusal> {
    only(body, CREATE_FIELDS)?;
    let user_name: String = required(body, "userName")?;
    if !is_email(&user_name) {
        return Err(Refusal::new(
            400,
            format!("`userName` is not an email: {user_name:?}"),
        ));
    }
    let Some(display_name) = display_name(body)? else {
        return Err(missing("displayName"));
    };
    let mut user = User::new(world.users.next_id(), &user_name, &display_name);
    user.change_attributes(attributes(world, body)?);
    Ok(user)
}

/// The user after a `PUT`. Missing fields are cleared or kept, by [`PutMode`].
pub(super) fn replaced(world: &World, present: &User, body: &Object) -> Result<User, Refusal> {
    only(body, REPLACE_FIELDS)?;
    if body.get("userName").is_none() {
        return Err(missing("userName"));
    }
    keeps_name(present, body)?;
    let id: Option<String> = optional(body, "id")?;
    if id.is_some_and(|id| id != present.id.to_string()) {
        return Err(Refusal::misuse(400, "`id` differs from the id in the path"));
    }
    let mut user = present.clone();
    if world.put == PutMode::Replace {
        user.display_name.clone_from(&present.user_name);
        user.active = true;
        user.attributes.clear();
    }
    if let Some(name) = display_name(body)? {
        user.display_name = name;
    }
    if let Some(active) = optional(body, "active")? {
        user.active = active;
    }
    user.change_attributes(attributes(world, body)?);
    world.touch(present, &mut user);
    Ok(user)
}

/// The user after a `PATCH`. Other fields are kept.
pub(super) fn patched(world: &World, present: &User, body: &Object) -> Result<User, Refusal> {
    let mut user = present.clone();
    for operation in &operations(body)? {
        operate(world, &mut user, operation)?;
    }
    world.touch(present, &mut user);
    Ok(user)
}

/// The operations of a `PATCH`, at least one.
pub(super) fn operations(body: &Object) -> Result<Vec<Object>, Refusal> {
    only(body, PATCH_FIELDS)?;
    let schemas: Vec<String> = required(body, "schemas")?;
    if !schemas.iter().any(|schema| schema == PATCH_SCHEMA) {
        return Err(Refusal::misuse(
            400,
            format!("`schemas` lacks {PATCH_SCHEMA}"),
        ));
    }
    let operations: Vec<Object> = required(body, "Operations")?;
    if operations.is_empty() {
        return Err(Refusal::misuse(400, "`Operations` is empty"));
    }
    Ok(operations)
}

fn operate(world: &World, user: &mut User, operation: &Object) -> Result<(), Refusal> {
    only(operation, OPERATION_FIELDS)?;
    let op: String = required(operation, "op")?;
    match optional::<String>(operation, "path")? {
        Some(path) => change_at(world, user, operation, &op.to_lowercase(), &path),
        None if ["add", "Add", "replace", "Replace"].contains(&op.as_str()) => {
            change_fields(world, user, &required(operation, "value")?)
        }
        None => Err(Refusal::misuse(
            400,
            format!("`op` {op:?} is not supported without a `path`"),
        )),
    }
}

/// One attribute, which the path names after a colon.
fn change_at(
    world: &World,
    user: &mut User,
    operation: &Object,
    op: &str,
    path: &str,
) -> Result<(), Refusal> {
    let name = path.strip_prefix(ATTRIBUTES);
    let Some(name) = name.and_then(|rest| rest.strip_prefix(':')) else {
        return Err(Refusal::misuse(400, "`path` is not supported"));
    };
    if world.patch_forms == PatchForms::NoPath {
        return Err(Refusal::new(400, "`path` is not supported"));
    }
    let (value, is_kept) = match op {
        "remove" => (RawValue::NULL, !world.clears_by.contains(&ClearBy::Remove)),
        _ => {
            let value = operation.get("value").ok_or_else(|| missing("value"))?;
            (value, keeps(world, value))
        }
    };
    let change = world.definitions.check_one(name, value)?;
    if !is_kept {
        user.change_attributes([(name.to_owned(), change)].into());
    }
    Ok(())
}

fn change_fields(world: &World, user: &mut User, value: &Object) -> Result<(), Refusal> {
    only(value, VALUE_FIELDS)?;
    keeps_name(user, value)?;
    if let Some(name) = display_name(value)? {
        user.display_name = name;
    }
    if let Some(active) = optional(value, "active")? {
        user.active = active;
    }
    let mut changes = attributes(world, value)?;
    if !changes.is_empty() && world.patch_forms == PatchForms::Path {
        return Err(Refusal::new(400, "attributes need a `path`"));
    }
    let given: Option<Object> = optional(value, ATTRIBUTES)?;
    let is_kept = |name: &str| {
        let value = given.as_ref().and_then(|given| given.get(name));
        value.is_some_and(|value| keeps(world, value))
    };
    changes.retain(|name, _| !is_kept(name));
    user.change_attributes(changes);
    Ok(())
}

/// Whether a value leaves the attribute as it is, because it is a clear of a form without effect.
fn keeps(world: &World, value: &RawValue) -> bool {
    let form = match value.get() {
        "null" => ClearBy::Null,
        "\"\"" | "[]" => ClearBy::Empty,
        _ => return false,
    };
    !world.clears_by.contains(&form)
}

/// An email can't be changed, but it may be repeated.
fn keeps_name(user: &User, body: &Object) -> Result<(), Refusal> {
    let name: Option<String> = optional(body, "userName")?;
    if name.is_some_and(|name| !user.is_called(&name)) {
        return Err(Refusal::new(400, "`userName` can't be changed"));
    }
    Ok(())
}

fn display_name(body: &Object) -> Result<Option<String>, Refusal> {
    let name: Option<String> = optional(body, "displayName")?;
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(Refusal::new(400, "`displayName` is blank"));
    }
    Ok(name)
}

fn attributes(world: &World, body: &Object) -> Result<Changes, Refusal> {
    body.get(ATTRIBUTES)
        .map_or(Ok(Changes::new()), |given| world.definitions.check(given))
}

pub(super) fn only(body: &Object, known: &[&str]) -> Result<(), Refusal> {
    match body.names().find(|name| !known.contains(name)) {
        Some(name) => Err(Refusal::misuse(
            400,
            format!("`{name}` is not a known field"),
        )),
        None => Ok(()),
    }
}

pub(super) fn required<T: DeserializeOwned>(body: &Object, name: &str) -> Result<T, Refusal> {
    optional(body, name)?.ok_or_else(|| missing(name))
}

pub(super) fn missing(name: &str) -> Refusal {
    Refusal::misuse(400, format!("`{name}` is missing"))
}

/// An optional field, which must not be `null` or of another type.
pub(super) fn optional<T: DeserializeOwned>(
    body: &Object,
    name: &str,
) -> Result<Option<T>, Refusal> {
    let read = |raw: &RawValue| {
        serde_json::from_str(raw.get())
            .map_err(|error| Refusal::misuse(400, format!("`{name}`: {error}")))
    };
    body.get(name).map(read).transpose()
}
