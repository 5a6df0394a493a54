//! The rules of connections, models and roles.

use serde_json::{Value, json};

use super::answer::{Refusal, Reply};
use super::call::Call;
use super::done::Done;
use super::group::Group;
use super::json::Object;
use super::options::Origins;
use super::pages;
use super::roles::{Applying, CONNECTION_ADMIN, Connection, Holder, Model, Origin, Scope};
use super::user::Id;
use super::world::{Change, World};
use super::write::{only, optional, required};

const ASSIGN_FIELDS: &[&str] = &["roleName", "connectionId", "modelId"];

/// All connections.
pub(super) fn connections(world: &World) -> Reply {
    let shown = |connection: &Connection| {
        json!({
            "id": connection.id.to_string(),
            "name": connection.name,
            "baseRole": connection.base_role,
        })
    };
    let connections: Value = world.roles.connections.iter().map(shown).collect();
    Reply::json(200, json!({ "connections": connections }))
}

/// A page of models, of all kinds or of one.
pub(super) fn models(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let kind = call.parameter("modelKind");
    let models = world.roles.models.iter();
    let found: Vec<_> = models
        .filter(|model| kind.is_none_or(|kind| model.kind == kind))
        .collect();
    pages::counted(call, &found, |model| show_model(model))
}

fn show_model(model: &Model) -> Value {
    json!({
        "id": model.id.to_string(),
        "name": model.name,
        "modelKind": model.kind,
        "connectionId": model.connection.to_string(),
    })
}

/// The roles that apply to a user: direct ones, those of groups, and those of connections. Omni does not show a direct
/// role of a whole connection.
pub(super) fn of_user(world: &World, call: &Call, user: Id) -> Reply {
    let mut applying = Applying::new(&world.roles, world.origins);
    let holder = Holder::User(user);
    for (scope, role) in world.roles.direct(&holder) {
        if scope.model.is_some() {
            applying.add(&Origin::Direct, scope, role);
        }
    }
    for group in world.groups.of(user) {
        let (id, name) = (group.id.as_str(), group.name.as_str());
        for (scope, role) in world.roles.direct(&Holder::Group(id.to_owned())) {
            applying.add(&Origin::Group { id, name }, scope, role);
        }
    }
    applying.add_base_roles();
    let results = applying.to_json(&wanted(call));
    let body = json!({ "membershipId": user.to_string(), "results": results });
    Reply::json(200, body)
}

/// The roles of a group.
pub(super) fn of_group(world: &World, call: &Call, group: &Group) -> Reply {
    let (id, name) = (group.id.as_str(), group.name.as_str());
    let mut applying = Applying::new(&world.roles, world.origins);
    for (scope, role) in world.roles.direct(&Holder::Group(id.to_owned())) {
        applying.add(&Origin::Group { id, name }, scope, role);
    }
    let wanted = wanted(call);
    let results = match world.origins {
        Origins::Live => applying.to_bare_json(&wanted),
        Origins::Document => applying.to_json(&wanted),
    };
    Reply::json(200, json!({ "userGroupId": id, "results": results }))
}

/// The filters of a request for roles.
fn wanted(call: &Call) -> Vec<(&str, &str)> {
    let names = ["connectionId", "modelId"].into_iter();
    names
        .filter_map(|name| Some((name, call.parameter(name)?)))
        .collect()
}

/// Assigns a role to a user or group, in place of the present one.
pub(super) fn assign(world: &World, call: &Call, holder: Holder) -> Result<Done, Refusal> {
    let body = call.object()?;
    only(&body, ASSIGN_FIELDS)?;
    let role: String = required(&body, "roleName")?;
    if !world.roles.has(&role) {
        return Err(Refusal::new(422, "Invalid role"));
    }
    let scope = scope(world, &body, &role)?;
    let mut shown = json!({
        "roleName": role,
        "connectionId": scope.connection.to_string(),
        "modelId": scope.model.map(|id| id.to_string()),
    });
    match &holder {
        Holder::User(id) => shown["membershipId"] = json!(id.to_string()),
        Holder::Group(id) => shown["userGroupId"] = json!(id),
    }
    Ok(Done {
        reply: Reply::json(200, shown),
        change: Some(Change::AssignRole {
            holder,
            scope,
            role,
        }),
    })
}

fn scope(world: &World, body: &Object, role: &str) -> Result<Scope, Refusal> {
    let given = |name: &str| -> Result<Option<Id>, Refusal> {
        let text: Option<String> = optional(body, name)?;
        let parsed = text.map(|text| {
            let invalid = || Refusal::misuse(400, format!("`{name}` is not a UUID: {text:?}"));
            Id::parse(&text).ok_or_else(invalid)
        });
        parsed.transpose()
    };
    let unknown = |what: &str| Refusal::new(404, format!("{what} not found"));
    let connection = given("connectionId")?;
    if connection.is_some_and(|id| world.roles.connection(id).is_none()) {
        return Err(unknown("Connection"));
    }
    let Some(model) = given("modelId")? else {
        return match connection {
            None => Err(Refusal::misuse(400, "connectionId or modelId is required")),
            Some(_) if role != CONNECTION_ADMIN => {
                Err(Refusal::misuse(400, "modelId is required for this role"))
            }
            Some(connection) => Ok(Scope {
                connection,
                model: None,
            }),
        };
    };
    let model = world.roles.model(model).ok_or_else(|| unknown("Model"))?;
    if connection.is_some_and(|id| id != model.connection) {
        return Err(Refusal::new(422, "Model does not belong to connection"));
    }
    if !model.is_shared() {
        let detail = "Only shared and shared_extension models can have roles";
        return Err(Refusal::new(422, detail));
    }
    Ok(Scope {
        connection: model.connection,
        model: Some(model.id),
    })
}
