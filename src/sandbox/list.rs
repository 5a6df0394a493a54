//! Pages of users and groups.

use serde_json::{Value, json};

use super::answer::{Refusal, Reply};
use super::call::Call;
use super::group::Group;
use super::options::{DEFAULT_COUNT, Filter, LargerCount};
use super::user::User;
use super::world::World;

const LIST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// The requested part of a list.
struct Window {
    /// Starts at 1, as in SCIM.
    start: usize,
    count: usize,
}

impl Window {
    fn of(call: &Call) -> Result<Self, Refusal> {
        Ok(Self {
            start: number(call, "startIndex")?.unwrap_or(1).max(1),
            count: number(call, "count")?.unwrap_or(DEFAULT_COUNT),
        })
    }

    fn limited(self, world: &World) -> Result<Self, Refusal> {
        let max = world.max_page;
        if self.count > max && world.larger_count == LargerCount::Refused {
            let detail = format!("`count` must be at most {max}");
            return Err(Refusal::new(400, detail));
        }
        Ok(Self {
            count: self.count.min(max),
            ..self
        })
    }
}

/// An integer; a negative one counts as 0 (RFC 7644, 3.4.2.4).
pub(super) fn number(call: &Call, name: &str) -> Result<Option<usize>, Refusal> {
    let read = |text: &str| match text.parse::<i64>() {
        Ok(number) => Ok(usize::try_from(number).unwrap_or(0)),
        Err(_) => Err(Refusal::misuse(
            400,
            format!("`{name}` is not an integer: {text:?}"),
        )),
    };
    call.parameter(name).map(read).transpose()
}

/// Users in order of creation: all, or those with one email.
pub(super) fn users(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let window = Window::of(call)?.limited(world)?;
    let email = call.parameter("filter").map(wanted_email).transpose()?;
    let Some(email) = email.filter(|_| world.filter != Filter::Ignored) else {
        // New users are at the end, so those that are not listed do not move the others.
        let page = world.users.after(window.start - 1);
        let page = page.filter(|user| world.is_listed(user));
        return Ok(page_of(world, &window, world.listed(), page));
    };
    let exact = world.filter == Filter::ExactCase;
    let found: Vec<_> = world
        .users
        .named(&email)
        .filter(|user| world.is_listed(user) && (!exact || user.user_name == email))
        .collect();
    let page = found.iter().skip(window.start - 1).copied();
    Ok(page_of(world, &window, found.len(), page))
}

/// Groups in order of creation: all, or the one with a name.
pub(super) fn groups(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let window = Window::of(call)?.limited(world)?;
    let with_members = with_members(call)?;
    let name = call.parameter("filter").map(wanted_group).transpose()?;
    let is_wanted = |group: &&Group| match (&name, world.group_filter) {
        (None, _) | (_, Filter::Ignored) => true,
        (Some(name), Filter::AnyCase) => group.is_called(name),
        (Some(name), Filter::ExactCase) => group.name == *name,
    };
    let found: Vec<_> = world.groups.all().iter().filter(is_wanted).collect();
    let shown = found.iter().skip(window.start - 1).take(window.count);
    let shown = shown.map(|group| group.to_json(&world.users, with_members));
    Ok(page(found.len(), window.start, shown.collect()))
}

/// Whether a request asks for the members of groups.
pub(super) fn with_members(call: &Call) -> Result<bool, Refusal> {
    match call.parameter("excludedAttributes") {
        None => Ok(true),
        Some("members") => Ok(false),
        Some(other) => {
            let detail = format!("`excludedAttributes` {other:?} is not supported");
            Err(Refusal::misuse(400, detail))
        }
    }
}

/// The only filter that Omni documents for users: `userName eq "…"`, with a JSON string.
fn wanted_email(filter: &str) -> Result<String, Refusal> {
    wanted(filter, "userName eq ")
}

/// The only filter that Omni documents for groups.
fn wanted_group(filter: &str) -> Result<String, Refusal> {
    wanted(filter, "displayName eq ")
}

fn wanted(filter: &str, start: &str) -> Result<String, Refusal> {
    filter
        .strip_prefix(start)
        .and_then(|value| serde_json::from_str(value).ok())
        .ok_or_else(|| Refusal::misuse(400, format!("unsupported filter: {filter}")))
}

fn page_of<'w>(
    world: &World,
    window: &Window,
    total: usize,
    users: impl Iterator<Item = &'w User>,
) -> Reply {
    let shown = users
        .take(window.count)
        .map(|user| world.show_listed(user))
        .collect();
    page(total, window.start, shown)
}

fn page(total: usize, start: usize, resources: Vec<Value>) -> Reply {
    let body = json!({
        "schemas": [LIST_SCHEMA],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    });
    Reply::json(200, body)
}
