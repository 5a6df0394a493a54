//! The rules of the API. They change nothing: a request yields an answer and at most one [`Change`], or
//! a rejection.

use serde_json::{Value, json};

use super::answer::{Refusal, Reply};
use super::call::Call;
use super::done::Done;
use super::group::Group;
use super::options::PatchAnswer;
use super::roles::Holder;
use super::user::{Id, User};
use super::world::{Change, World};
use super::{group_write, list, owned_rules, role_rules, write};

/// The routes of Omni that the mock server has, and their methods.
pub const ROUTES: [(&str, &str); 14] = [
    ("GET, POST", "/api/scim/v2/Users"),
    ("GET, PUT, PATCH, DELETE", "/api/scim/v2/Users/{id}"),
    ("GET, POST", "/api/scim/v2/Groups"),
    ("GET, PUT, PATCH, DELETE", "/api/scim/v2/Groups/{id}"),
    ("GET", "/api/v1/user-attributes"),
    ("GET", "/api/v1/connections"),
    ("GET", "/api/v1/models"),
    ("GET, POST", "/api/v1/users/{id}/model-roles"),
    ("GET, POST", "/api/v1/user-groups/{id}/model-roles"),
    ("GET", "/api/v1/schedules"),
    ("PUT", "/api/v1/schedules/{id}/transfer-ownership"),
    ("GET", "/api/v1/documents"),
    ("GET", "/api/v1/api-keys"),
    ("GET", "/api/v1/whoami"),
];

#[derive(Debug, Clone, Copy)]
enum Route<'a> {
    Users,
    User(&'a str),
    Groups,
    Group(&'a str),
    Definitions,
    Connections,
    Models,
    UserRoles(&'a str),
    GroupRoles(&'a str),
    Schedules,
    ScheduleOwner(&'a str),
    Documents,
    Tokens,
}

impl<'a> Route<'a> {
    /// Omni's documentation uses `Users` and `Groups`, its Python SDK `users` and `groups`; Omni accepts both.
    fn of(path: &'a str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("/api/v1/") {
            return Self::of_v1(rest);
        }
        match path.strip_prefix("/api/scim/v2/")? {
            "Users" | "users" => Some(Self::Users),
            "Groups" | "groups" => Some(Self::Groups),
            rest => match rest.split_once('/')? {
                (_, id) if id.is_empty() || id.contains('/') => None,
                ("Users" | "users", id) => Some(Self::User(id)),
                ("Groups" | "groups", id) => Some(Self::Group(id)),
                _ => None,
            },
        }
    }

    fn of_v1(path: &'a str) -> Option<Self> {
        match path {
            "user-attributes" => return Some(Self::Definitions),
            "connections" => return Some(Self::Connections),
            "models" => return Some(Self::Models),
            "schedules" => return Some(Self::Schedules),
            "documents" => return Some(Self::Documents),
            "api-keys" => return Some(Self::Tokens),
            _ => {}
        }
        let (kind, rest) = path.split_once('/')?;
        let (id, part) = rest.split_once('/')?;
        match (kind, part) {
            _ if id.is_empty() => None,
            ("users", "model-roles") => Some(Self::UserRoles(id)),
            ("user-groups", "model-roles") => Some(Self::GroupRoles(id)),
            ("schedules", "transfer-ownership") => Some(Self::ScheduleOwner(id)),
            _ => None,
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Users | Self::Groups | Self::UserRoles(_) | Self::GroupRoles(_) => "GET, POST",
            Self::User(_) | Self::Group(_) => "GET, PUT, PATCH, DELETE",
            Self::Definitions | Self::Connections | Self::Models => "GET",
            Self::Schedules | Self::Documents | Self::Tokens => "GET",
            Self::ScheduleOwner(_) => "PUT",
        }
    }
}

/// Evaluates a request without changing anything.
pub(super) fn evaluate(world: &World, call: &Call) -> Result<Done, Refusal> {
    let Some(route) = Route::of(&call.path) else {
        return Err(Refusal::misuse(
            404,
            format!("no endpoint at {}", call.path),
        ));
    };
    match (route, call.method.as_str()) {
        (Route::Users, "GET") => list::users(world, call).map(Done::reading),
        (Route::Users, "POST") => create(world, call),
        (Route::User(id), "GET") => {
            let user = find(world, id)?;
            Ok(Done::reading(Reply::json(200, world.show(user))))
        }
        (Route::User(id), "PUT") => replace(world, call, id),
        (Route::User(id), "PATCH") => patch(world, call, id),
        (Route::User(id), "DELETE") => {
            let id = find(world, id)?.id;
            Ok(Done {
                reply: Reply::empty(204),
                change: Some(Change::Remove(id)),
            })
        }
        (Route::Groups, "GET") => list::groups(world, call).map(Done::reading),
        (Route::Groups, "POST") => create_group(world, call),
        (Route::Group(id), "GET") => {
            let group = find_group(world, id)?;
            let shown = group.to_json(&world.users, list::with_members(call)?);
            Ok(Done::reading(Reply::json(200, shown)))
        }
        (Route::Group(id), "PUT") => replace_group(world, call, id),
        (Route::Group(id), "PATCH") => patch_group(world, call, id),
        (Route::Group(id), "DELETE") => Ok(Done {
            reply: Reply::empty(204),
            change: Some(Change::RemoveGroup(find_group(world, id)?.id.clone())),
        }),
        (Route::Connections, "GET") => Ok(Done::reading(role_rules::connections(world))),
        (Route::Models, "GET") => role_rules::models(world, call).map(Done::reading),
        (Route::UserRoles(id), "GET") => {
            let user = find(world, id)?.id;
            Ok(Done::reading(role_rules::of_user(world, call, user)))
        }
        (Route::UserRoles(id), "POST") => {
            role_rules::assign(world, call, Holder::User(find(world, id)?.id))
        }
        (Route::GroupRoles(id), "GET") => {
            let reply = role_rules::of_group(world, call, find_group(world, id)?);
            Ok(Done::reading(reply))
        }
        (Route::GroupRoles(id), "POST") => {
            let id = find_group(world, id)?.id.clone();
            role_rules::assign(world, call, Holder::Group(id))
        }
        (Route::Definitions, "GET") => definitions(world).map(Done::reading),
        (Route::Schedules, "GET") => owned_rules::schedules(world, call).map(Done::reading),
        (Route::ScheduleOwner(id), "PUT") => owned_rules::transfer(world, call, id),
        (Route::Documents, "GET") => owned_rules::documents(world, call).map(Done::reading),
        (Route::Tokens, "GET") => owned_rules::tokens(world, call).map(Done::reading),
        (route, method) => Err(Refusal::method_not_allowed(method, route.methods())),
    }
}

/// Unknown parameters. Omni ignores them, so a client that sends one is incorrect. Those of schedules, documents and
/// tokens are rejected instead.
pub(super) fn stray_parameters(call: &Call) -> impl Iterator<Item = &str> {
    let known: &[&str] = match (Route::of(&call.path), call.method.as_str()) {
        (Some(Route::Users), "GET") => &["count", "startIndex", "filter"],
        (Some(Route::Groups), "GET") => &["count", "startIndex", "filter", "excludedAttributes"],
        (Some(Route::Group(_)), "GET") => &["excludedAttributes"],
        (Some(Route::Models), "GET") => &["modelKind", "pageSize", "cursor"],
        (Some(Route::UserRoles(_) | Route::GroupRoles(_)), "GET") => &["connectionId", "modelId"],
        _ => &[],
    };
    let is_strict = matches!(
        Route::of(&call.path),
        Some(Route::Schedules | Route::ScheduleOwner(_) | Route::Documents | Route::Tokens)
    );
    let names = call.parameters.iter().map(|(name, _)| name.as_str());
    names.filter(move |name| !is_strict && !known.contains(name))
}

/// Whether this is a request of the SCIM API.
pub(super) fn is_scim(call: &Call) -> bool {
    call.path.starts_with("/api/scim/")
}

/// Whether this asks about the key.
pub(super) fn is_whoami(call: &Call) -> bool {
    call.method == "GET" && call.path == "/api/v1/whoami"
}

/// Whether this requests a page of all users, rather than a single one.
pub(super) fn is_listing(call: &Call) -> bool {
    let users = matches!(Route::of(&call.path), Some(Route::Users));
    users && call.method == "GET" && call.parameter("filter").is_none()
}

fn find<'w>(world: &'w World, id: &str) -> Result<&'w User, Refusal> {
    Id::parse(id)
        .and_then(|id| world.users.get(id))
        .ok_or_else(|| Refusal::new(404, format!("no user with id {id}")))
}

fn create(world: &World, call: &Call) -> Result<Done, Refusal> {
    let user = write::created(world, &call.object()?)?;
    let taken = world.users.named(&user.user_name).next().is_some();
    if taken {
        let detail = format!("a user with the email {} already exists", user.user_name);
        return Err(Refusal::new(409, detail));
    }
    let reply = Reply::json(201, world.show(&user));
    Ok(Done {
        reply,
        change: Some(Change::Insert(Box::new(user))),
    })
}

fn replace(world: &World, call: &Call, id: &str) -> Result<Done, Refusal> {
    let before = find(world, id)?;
    let user = write::replaced(world, before, &call.object()?)?;
    let reply = Reply::json(200, world.show(&user));
    Ok(Done {
        reply,
        change: Some(world.changed(before, user)),
    })
}

fn patch(world: &World, call: &Call, id: &str) -> Result<Done, Refusal> {
    let before = find(world, id)?;
    let user = write::patched(world, before, &call.object()?)?;
    let short = json!({ "id": user.id.to_string(), "userName": user.user_name });
    Ok(Done {
        reply: patch_reply(world, world.show(&user), short),
        change: Some(world.changed(before, user)),
    })
}

fn patch_reply(world: &World, whole: Value, short: Value) -> Reply {
    match world.patch_answer {
        PatchAnswer::User => Reply::json(200, whole),
        PatchAnswer::Partial => Reply::json(200, short),
        PatchAnswer::Empty => Reply::empty(204),
    }
}

fn find_group<'w>(world: &'w World, id: &str) -> Result<&'w Group, Refusal> {
    let group = world.groups.get(id);
    group.ok_or_else(|| Refusal::new(404, format!("no group with id {id}")))
}

fn create_group(world: &World, call: &Call) -> Result<Done, Refusal> {
    let group = group_write::created(world, &call.object()?)?;
    Ok(set_group(Reply::json(201, world.show_group(&group)), group))
}

fn replace_group(world: &World, call: &Call, id: &str) -> Result<Done, Refusal> {
    let group = group_write::replaced(world, find_group(world, id)?, &call.object()?)?;
    Ok(set_group(Reply::json(200, world.show_group(&group)), group))
}

fn patch_group(world: &World, call: &Call, id: &str) -> Result<Done, Refusal> {
    let group = group_write::patched(world, find_group(world, id)?, &call.object()?)?;
    let short = group.to_json(&world.users, false);
    let reply = patch_reply(world, world.show_group(&group), short);
    Ok(set_group(reply, group))
}

fn set_group(reply: Reply, group: Group) -> Done {
    Done {
        reply,
        change: Some(Change::SetGroup(Box::new(group))),
    }
}

fn definitions(world: &World) -> Result<Reply, Refusal> {
    if !world.definitions_open {
        return Err(Refusal::new(
            403,
            "this key can't read attribute definitions",
        ));
    }
    Ok(Reply::json(
        200,
        json!({"records": world.definitions.records()}),
    ))
}
