//! `check --probe` learns how Omni answers under every reading, leaves nothing behind and touches no other user.

mod leftovers;
mod readings;
mod steering;

use crate::support::World;
use chrono::Utc;
use omni_user_sync::model::{ClearForm, Email, PatchForm, Readings};
use omni_user_sync::omni::WriteClient;
use omni_user_sync::probe::{self, MAX_REQUESTS, Probed};
use omni_user_sync::sandbox::{
    ClearBy, Filter, Ids, Inactive, LargerCount, LastModified, ListedGroups, Lists, Options,
    OtherIds, PatchForms, PutMode, Repeated,
};
use omni_user_sync::state::{Access, StateDb, StateLock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn email(text: &str) -> Email {
    Email::parse(text).expect("an email")
}

fn state(world: &World) -> StateDb {
    let lock = StateLock::acquire(&world.settings().state.dir, "test").expect("it is free");
    StateDb::open(&world.sandbox.url(), Access::Write(lock)).expect("a state database")
}

async fn probe_until(world: &World, address: &str, stop: &CancellationToken) -> Probed {
    let settings = world.settings();
    let state = state(world);
    let metrics = world.metrics.clone();
    let client = WriteClient::new(&settings.omni, &settings.state.dir, metrics).expect("a client");
    let keys = settings.omni.keys.read().expect("a key");
    client.client().begin(&keys);
    probe::probe(&client, &state, &email(address), Utc::now(), stop).await
}

async fn probe(world: &World, address: &str) -> Probed {
    probe_until(world, address, &CancellationToken::new()).await
}

/// The users and groups in Omni.
fn present(world: &World) -> [Vec<Value>; 2] {
    [world.org().users(), world.org().groups()]
}

/// An organisation with groups, and with so many attributes that all forms of clearing are tried at once.
async fn world_with(options: Options) -> World {
    let world = World::with(options).await;
    world.org().define(json!({ "name": "office" }));
    world.org().add_group("Sales", &[]);
    world.org().add_group("Board", &[]);
    world
}

/// Panics unless the probe has ended well and the organisation is as before.
async fn assert_clean(world: &World, before: &[Vec<Value>; 2], probed: &Probed) {
    assert!(probed.error.is_none(), "{probed:#?}");
    assert_eq!(&present(world), before);
    assert!(probed.requests <= MAX_REQUESTS, "{probed:#?}");
    let left = world.state_db().probe_user().await.expect("read");
    assert_eq!(left, None);
}

fn expected(options: &Options) -> Readings {
    let clears = [
        (ClearBy::Null, ClearForm::Null),
        (ClearBy::Empty, ClearForm::Empty),
        (ClearBy::Remove, ClearForm::Remove),
    ];
    let has_paths = options.patch_forms != PatchForms::NoPath;
    let clears = clears.into_iter().filter(|(by, form)| {
        options.clears_by.contains(by) && (*form != ClearForm::Remove || has_paths)
    });
    let patch_forms = match options.patch_forms {
        PatchForms::Both => PatchForm::ALL.to_vec(),
        PatchForms::NoPath => vec![PatchForm::NoPath],
        PatchForms::Path => vec![PatchForm::Path],
    };
    let is_refused = options.larger_count == LargerCount::Refused && options.max_page < 1000;
    let max_page = match (is_refused, options.users + 1 > options.max_page) {
        (true, _) => Some(100),
        (false, true) => u32::try_from(options.max_page).ok(),
        (false, false) => None,
    };
    let ignores_case = |filter| match filter {
        Filter::AnyCase => Some(true),
        Filter::ExactCase => Some(false),
        Filter::Ignored => None,
    };
    let accepts = |repeated| [repeated, Repeated::Accepted].contains(&options.repeated);
    let can_remove = options.ids == Ids::Uuid || options.other_ids == OtherIds::Removed;
    Readings {
        lists_carry_attributes: Some(options.lists == Lists::Full),
        put_replaces: Some(options.put == PutMode::Replace),
        inactive_revokes: Some(options.inactive == Inactive::Revoke),
        filter_ignores_case: ignores_case(options.filter),
        last_modified_moves: Some(options.last_modified == LastModified::Moves),
        max_page,
        clears_by: Some(clears.map(|(_, form)| form).collect()),
        patch_forms: Some(patch_forms),
        lists_carry_groups: Some(options.listed_groups == ListedGroups::Shown),
        adds_present_member: Some(accepts(Repeated::Added)),
        removes_absent_member: can_remove.then(|| accepts(Repeated::Removed)),
        removes_by_any_id: match options.ids {
            Ids::Uuid => None,
            Ids::Short => Some(can_remove),
        },
        max_members_per_request: [100, 50, 20]
            .into_iter()
            .find(|number| *number <= options.max_members)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|_| can_remove),
        // If the other filter is ignored, one group in the response may be the only one.
        group_filter_ignores_case: ignores_case(options.group_filter)
            .filter(|ignores| !ignores || options.filter != Filter::Ignored),
    }
}

/// What a probe is to learn. Two readings are left out if requests run short.
fn assert_learned(probed: &Probed, options: &Options, what: &str) {
    let steps = serde_json::to_value(&probed.steps).expect("JSON");
    let steps = steps.as_array().expect("a list");
    let is_left_out = |request: &str| {
        let answer = "not sent: too few requests left";
        let mut steps = steps.iter();
        steps.any(|step| step["request"] == request && step["answer"] == answer)
    };
    let mut expected = expected(options);
    if is_left_out("PATCH that changes a member many times") {
        expected.max_members_per_request = None;
    }
    if is_left_out("PATCH that clears an attribute") {
        expected.clears_by = None;
    }
    assert_eq!(
        probed.readings, expected,
        "{what} {options:#?}\n{probed:#?}"
    );
}
