//! The rules of schedules, documents and personal tokens.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::answer::{Refusal, Reply};
use super::call::Call;
use super::done::Done;
use super::list::number;
use super::options::{Endpoint, ScheduleOwners};
use super::owned::{Document, PersonalToken, Schedule};
use super::pages;
use super::user::Id;
use super::world::{Change, World};
use super::write::{only, required};

const TOKEN_TYPES: [&str; 3] = ["organization", "personal", "mcp"];

/// A page of schedules, of all owners or of one, by name in descending order. The cursor is the number of the page.
pub(super) fn schedules(world: &World, call: &Call) -> Result<Reply, Refusal> {
    served(world.schedules, "schedules")?;
    only_parameters(call, &["ownerId", "pageSize", "cursor"])?;
    let owner = user_id(call, "ownerId")?.filter(|_| world.owners != ScheduleOwners::Unfiltered);
    let size = pages::size(call)?;
    let page = number(call, "cursor")?.unwrap_or(1);
    let Some(before) = page.checked_sub(1) else {
        return Err(Refusal::misuse(400, "`cursor` must be at least 1"));
    };
    let schedules = world.owned.schedules.iter();
    let mut found: Vec<_> = schedules
        .filter(|schedule| owner.is_none_or(|owner| schedule.owner == owner))
        .collect();
    found.sort_by_key(|schedule| Reverse(&schedule.name));
    let skip = before.saturating_mul(size);
    let has_next = skip.saturating_add(size) < found.len();
    let next = has_next.then(|| (page + 1).to_string());
    let records = found.iter().skip(skip).take(size);
    let records = records.map(|schedule| show_schedule(world, schedule));
    Ok(pages::reply(size, found.len(), records.collect(), next))
}

fn show_schedule(world: &World, schedule: &Schedule) -> Value {
    let mut shown = schedule.to_json(&world.users);
    match world.owners {
        ScheduleOwners::Known | ScheduleOwners::Unfiltered => {}
        ScheduleOwners::Unnamed => {
            if let Value::Object(fields) = &mut shown {
                fields.remove("ownerId");
            }
        }
        ScheduleOwners::OtherIds => shown["ownerId"] = json!(schedule.owner.other().to_string()),
    }
    shown
}

/// Gives a schedule to another user.
pub(super) fn transfer(world: &World, call: &Call, id: &str) -> Result<Done, Refusal> {
    served(world.schedules, "schedules")?;
    only_parameters(call, &[])?;
    let body = call.object()?;
    only(&body, &["userId"])?;
    let given: String = required(&body, "userId")?;
    let Some(to) = Id::parse(&given) else {
        let detail = format!("`userId` is not the id of a user: {given:?}");
        return Err(Refusal::misuse(400, detail));
    };
    let schedule = Id::parse(id).and_then(|id| world.owned.schedule(id));
    let schedule = schedule.ok_or_else(|| Refusal::new(404, "Schedule not found"))?;
    let user = world.users.get(to);
    let user = user.ok_or_else(|| Refusal::new(404, "User not found"))?;
    if user.id == schedule.owner {
        return Err(Refusal::new(400, "the user is the present owner"));
    }
    if !user.active {
        return Err(Refusal::new(400, "the user is not active"));
    }
    if schedule.hidden_from.contains(&user.id) {
        return Err(Refusal::new(403, "the user can't see the dashboard"));
    }
    Ok(Done {
        reply: Reply::json(200, json!({ "success": true })),
        change: Some(Change::TransferSchedule {
            id: schedule.id,
            to,
        }),
    })
}

/// A page of documents, of all creators or of one.
pub(super) fn documents(world: &World, call: &Call) -> Result<Reply, Refusal> {
    only_parameters(call, &["creatorId", "pageSize", "cursor"])?;
    let creator = user_id(call, "creatorId")?;
    let documents = world.owned.documents.iter();
    let found: Vec<&Document> = documents
        .filter(|document| creator.is_none_or(|creator| document.creator == creator))
        .collect();
    pages::counted(call, &found, |document| document.to_json(&world.users))
}

/// A page of personal tokens, the newest first. The cursor is the last token of the page before. The keys of the
/// organisation are not shown.
pub(super) fn tokens(world: &World, call: &Call) -> Result<Reply, Refusal> {
    served(world.personal_tokens, "API tokens")?;
    only_parameters(call, &["type", "pageSize", "cursor"])?;
    let kind = call.parameter("type");
    if let Some(kind) = kind.filter(|kind| !TOKEN_TYPES.contains(kind)) {
        let detail = format!("`type` {kind:?} is not one of {TOKEN_TYPES:?}");
        return Err(Refusal::misuse(400, detail));
    }
    let size = pages::size(call)?;
    let tokens = world.owned.tokens.iter().rev();
    let found: Vec<&PersonalToken> = tokens
        .filter(|_| kind.is_none_or(|kind| kind == "personal"))
        .collect();
    let skip = match call.parameter("cursor") {
        None => 0,
        Some(cursor) => {
            let at = found.iter().position(|one| one.id.to_string() == cursor);
            at.ok_or_else(|| Refusal::misuse(400, "`cursor` is not a token"))? + 1
        }
    };
    let page: Vec<_> = found.iter().skip(skip).take(size).collect();
    let has_next = skip + page.len() < found.len();
    let last = page.last().filter(|_| has_next);
    let next = last.map(|token| token.id.to_string());
    let records = page.iter().map(|token| token.to_json()).collect();
    Ok(pages::reply(size, found.len(), records, next))
}

fn served(endpoint: Endpoint, what: &str) -> Result<(), Refusal> {
    match endpoint {
        Endpoint::Served => Ok(()),
        Endpoint::Forbidden => Err(Refusal::new(403, format!("this key can't access {what}"))),
        Endpoint::Missing => Err(Refusal::new(404, format!("no endpoint for {what}"))),
    }
}

/// Rejects unknown parameters, and those of Omni that a client has no use for.
fn only_parameters(call: &Call, known: &[&str]) -> Result<(), Refusal> {
    let mut names = call.parameters.iter().map(|(name, _)| name.as_str());
    match names.find(|name| !known.contains(name)) {
        Some(name) => Err(Refusal::misuse(400, format!("unknown parameter `{name}`"))),
        None => Ok(()),
    }
}

fn user_id(call: &Call, name: &str) -> Result<Option<Id>, Refusal> {
    let parse = |text: &str| {
        let invalid = || Refusal::misuse(400, format!("`{name}` is not a UUID: {text:?}"));
        Id::parse(text).ok_or_else(invalid)
    };
    call.parameter(name).map(parse).transpose()
}
