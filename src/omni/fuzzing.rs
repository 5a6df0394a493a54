//! What must hold for any response body.

use super::UserListPage;
use super::owned::read_schedule;
use super::records::ListedRecords;
use super::request_body::{ATTRIBUTES, put_body};
use super::wire::{WriteAnswer, parse_definitions};
use crate::fuzzing::checks::assert_harmless;
use crate::model::{
    AttributeName, Attributes, Field, FieldChange, ObservedUser, ScheduleId, Schema, UserId,
    UserSpec, Value, trim,
};
use serde_json::Value as Json;
use std::collections::HashSet;

/// A response body; the first byte selects the request.
pub fn scim(data: &[u8]) {
    let Some((&how, body)) = data.split_first() else {
        return;
    };
    match how % 4 {
        0 => page(body),
        1 => user(body),
        2 => definitions(body),
        _ => schedules(body),
    }
}

fn page(body: &[u8]) {
    let outcome = UserListPage::parse(body);
    let debug = |outcome: &serde_json::Result<UserListPage>| format!("{outcome:?}");
    assert_eq!(debug(&outcome), debug(&UserListPage::parse(body)));
    let Ok(page) = outcome else { return };
    page.users.iter().for_each(check_user);
    // No user is lost, compared with a generic JSON parser.
    if let Ok(Json::Object(json)) = serde_json::from_slice(body) {
        let listed = json.get("Resources").and_then(Json::as_array);
        assert_eq!(page.len(), listed.map_or(0, Vec::len));
        assert_eq!(Some(page.total), json["totalResults"].as_u64());
    }
}

fn user(body: &[u8]) {
    let Ok(Some(answer)) = WriteAnswer::parse(body) else {
        return;
    };
    let spec = UserSpec {
        display_name: None,
        attributes: Attributes::default(),
    };
    check_user(&answer.created(&spec));
    let tier = Field::Attribute(AttributeName::new("tier"));
    let fields = [
        FieldChange::active(true, false),
        FieldChange::new(tier, None, Value::one("gold")),
    ];
    // Serde accepts a list for a struct, but no server sends one.
    if !body.trim_ascii_start().starts_with(b"{") {
        return;
    }
    let Ok(put) = put_body(body, &fields, &Schema::new([])) else {
        return;
    };
    let put = serde_json::to_vec(&put).expect("it is JSON");
    let (Ok(before), Ok(after)) = (parse_json(body), parse_json(&put)) else {
        return;
    };
    assert_eq!(after["active"], Json::Bool(false));
    assert_eq!(after[ATTRIBUTES]["tier"], "gold");
    for (name, value) in before[ATTRIBUTES].as_object().into_iter().flatten() {
        if name != "tier" && !value.is_null() {
            assert_eq!(after[ATTRIBUTES][name], *value, "other attributes stay");
        }
    }
}

fn parse_json(bytes: &[u8]) -> serde_json::Result<Json> {
    serde_json::from_slice(bytes)
}

fn definitions(body: &[u8]) {
    let Ok(schema) = parse_definitions(body) else {
        return;
    };
    assert!(schema.is_known());
    for definition in schema.definitions() {
        assert_eq!(schema.get(&definition.name), Some(definition));
        definition.default.iter().for_each(check_value);
    }
}

fn schedules(body: &[u8]) {
    let Ok(page) = ListedRecords::parse(body, read_schedule) else {
        return;
    };
    // No schedule is lost, compared with a generic JSON parser.
    if let Ok(Json::Object(json)) = parse_json(body) {
        let listed = json.get("records").and_then(Json::as_array);
        assert_eq!(page.len(), listed.map_or(0, Vec::len));
    }
    for schedule in page.entries.iter().map(|listed| &listed.schedule) {
        let id = ScheduleId::parse(schedule.id.as_str());
        assert_eq!(id.as_ref(), Some(&schedule.id));
    }
}

fn check_user(user: &ObservedUser) {
    assert_eq!(UserId::parse(user.id.as_str()).as_ref(), Some(&user.id));
    assert_eq!(trim(&user.display_name), &*user.display_name);
    let mut names = user.values().map(|(name, _)| name);
    assert!(
        names.by_ref().is_sorted_by(|a, b| a < b),
        "{:?}",
        user.attributes
    );
    for (name, value) in user.values() {
        assert_eq!(user.value(name), Some(value));
        check_value(value);
        assert_harmless(&value.to_string());
    }
}

fn check_value(value: &Value) {
    let items = value.items();
    assert!(!items.is_empty());
    assert!(
        items
            .iter()
            .all(|item| trim(item) == &**item && !item.is_empty())
    );
    assert_eq!(items.iter().collect::<HashSet<_>>().len(), items.len());
}
