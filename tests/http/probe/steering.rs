//! What runs make of readings.

use super::{probe, state};
use crate::support::{World, assert_converged};
use chrono::Utc;
use omni_user_sync::model::Readings;
use omni_user_sync::sandbox::{
    ClearBy, Fault, Ids, ListedGroups, Options, OtherIds, PatchForms, What, When,
};
use serde_json::{Value, json};
use std::fmt::Write;

const GROUPS: &str = "/api/scim/v2/Groups";

/// Stores what a probe would have learned.
async fn record(world: &World, readings: Readings) {
    let recorded = state(world).record_readings(&readings, Utc::now()).await;
    recorded.expect("written");
}

/// An organisation whose users, by the roster, are in these groups. Limits hold nothing.
async fn stated(options: Options, users: usize, cell: &str) -> World {
    let world = World::with(options).await;
    let world = world
        .set("policy.max_joins", "100%")
        .set("policy.max_leaves", "100%")
        .set("policy.create_groups", "true");
    for number in 0..users {
        world.user(&format!("u{number}@x.co"), "U", json!({}));
    }
    state_groups(&world, &vec![cell; users]);
    world
}

fn state_groups(world: &World, cells: &[&str]) {
    let mut roster = "email,groups\n".to_owned();
    for (number, cell) in cells.iter().enumerate() {
        writeln!(roster, "u{number}@x.co,{cell}").expect("a text");
    }
    world.roster(&roster);
}

/// `METHOD path?query` of each request about groups, without ids, since the last call.
fn group_requests(world: &World) -> Vec<String> {
    let requests = world.org().requests();
    world.org().clear_requests();
    let of_groups = requests.iter().filter(|one| one.path.starts_with(GROUPS));
    let show = of_groups.map(|one| match one.path.as_str() {
        GROUPS => format!("{} {}", one.method, one.query),
        _ => format!("{} by id", one.method),
    });
    show.collect()
}

fn on_groups(method: &str, what: What) -> Fault {
    let when = When {
        method: Some(method.into()),
        path: Some(GROUPS.into()),
        ..When::default()
    };
    Fault {
        when,
        ..Fault::next(what)
    }
}

/// What a list suggests is that users show their groups if any of them is in one.
#[tokio::test]
async fn the_list_with_memberships_is_the_probed_one() {
    let names = "GET count=100&startIndex=1&excludedAttributes=members";
    let members = "GET count=100&startIndex=1";
    for (lists_carry_groups, is_member, expected) in [
        (None, false, members),
        (Some(true), false, names),
        (None, true, names),
        (Some(false), true, members),
    ] {
        let world = World::with(Options {
            listed_groups: ListedGroups::Shown,
            ..Options::with_full_lists()
        })
        .await
        .set("policy.managed_groups", "*");
        world.user("ann@x.co", "Ann", json!({}));
        let ann: &[&str] = if is_member { &["ann@x.co"] } else { &[] };
        world.org().add_group("Sales", ann);
        world.roster("email\nann@x.co\n");
        let readings = Readings {
            lists_carry_groups,
            ..Readings::default()
        };
        record(&world, readings).await;
        assert_converged(&world.run().await);
        assert_eq!(group_requests(&world), [expected], "{lists_carry_groups:?}");
    }
}

#[tokio::test]
async fn requests_have_as_many_members_as_probed() {
    let options = Options {
        max_members: 20,
        ..Options::with_full_lists()
    };
    let world = stated(options, 50, "[Sales]").await;
    world.org().add_group("Sales", &[]);
    let readings = Readings {
        max_members_per_request: Some(20),
        ..Readings::default()
    };
    record(&world, readings).await;
    assert_converged(&world.run().await);
    let requests = group_requests(&world);
    assert_eq!(requests[1..], ["PATCH by id"; 3]);
    let cells = [vec!["[]"; 24], vec!["[Sales]"; 26]].concat();
    state_groups(&world, &cells);
    assert_converged(&world.run().await);
    assert_eq!(group_requests(&world)[1..], ["PATCH by id"; 2]);
    assert_eq!(world.org().members("Sales").map(|all| all.len()), Some(26));
}

/// Where a repeated change is no error, a refusal has another cause.
#[tokio::test]
async fn a_refusal_is_compared_unless_repeats_are_accepted() {
    for (accepted, expected) in [
        (None, vec!["PATCH", "GET", "PATCH", "PATCH"]),
        (Some(false), vec!["PATCH", "GET", "PATCH", "PATCH"]),
        (Some(true), vec!["PATCH", "PATCH", "PATCH"]),
    ] {
        let world = stated(Options::with_full_lists(), 2, "[Sales]").await;
        world.org().add_group("Sales", &[]);
        let readings = Readings {
            adds_present_member: accepted,
            ..Readings::default()
        };
        record(&world, readings).await;
        let (code, retry_after, body) = (422, None, None);
        let what = What::Status {
            code,
            retry_after,
            body,
        };
        world.org().fault(on_groups("PATCH", what));
        assert_converged(&world.run().await);
        let requests = group_requests(&world);
        let expected: Vec<_> = expected.iter().map(|one| format!("{one} by id")).collect();
        assert_eq!(requests[1..], expected, "{accepted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn groups_are_found_by_the_filter_if_it_ignores_case() {
    let all = "GET count=100&startIndex=1&excludedAttributes=members";
    let filtered = "GET filter=displayName+eq+%22Board%22";
    for (reading, expected) in [(None, all), (Some(false), all), (Some(true), filtered)] {
        let world = stated(Options::with_full_lists(), 2, "[Board]").await;
        let readings = Readings {
            group_filter_ignores_case: reading,
            ..Readings::default()
        };
        record(&world, readings).await;
        world.org().fault(on_groups("POST", What::LostReply));
        assert_converged(&world.run().await);
        let requests = group_requests(&world);
        assert_eq!(
            requests[1..],
            ["POST ", expected, "PATCH by id"],
            "{reading:?}"
        );
    }
}

#[tokio::test]
async fn removals_by_other_ids_are_read_back_unless_they_work() {
    for (reading, expected) in [
        (None, vec!["PATCH by id", "GET by id"]),
        (Some(false), vec!["PATCH by id", "GET by id"]),
        (Some(true), vec!["PATCH by id"]),
    ] {
        let options = Options {
            ids: Ids::Short,
            other_ids: OtherIds::Removed,
            ..Options::with_full_lists()
        };
        let world = stated(options, 2, "[Sales]").await;
        world.org().add_group("Sales", &["u0@x.co", "u1@x.co"]);
        assert_converged(&world.run().await);
        let readings = Readings {
            removes_by_any_id: reading,
            ..Readings::default()
        };
        record(&world, readings).await;
        state_groups(&world, &["[]"; 2]);
        world.org().clear_requests();
        assert_converged(&world.run().await);
        assert_eq!(group_requests(&world)[1..], expected, "{reading:?}");
        assert_eq!(world.org().members("Sales"), Some(Vec::new()));
    }
}

/// If the usual forms do not work, runs use those that do.
#[tokio::test]
async fn runs_use_the_forms_that_work() {
    for clears_by in [ClearBy::Null, ClearBy::Empty, ClearBy::Remove] {
        let world = World::with(Options {
            patch_forms: PatchForms::Path,
            clears_by: vec![clears_by],
            ..Options::default()
        })
        .await;
        let attributes = json!({ "department": "Sales", "region": ["north"], "tier": "gold" });
        world.user("ann@x.co", "Ann", attributes);
        let probed = probe(&world, "probe@x.co").await;
        assert!(probed.error.is_none(), "{probed:#?}");
        world.roster("email,display_name,department,region,tier\nann@x.co,Ann Lee,,,silver\n");
        assert_converged(&world.apply().await);
        let shown = ["department", "region"].map(|name| world.attribute("ann@x.co", name));
        assert!(
            shown
                .iter()
                .all(|value| *value == Value::Null || *value == ""),
            "{shown:?}"
        );
        assert_eq!(world.attribute("ann@x.co", "tier"), "silver");
        world.org().clear_requests();
        assert_converged(&world.run().await);
        assert_eq!(world.writes(), Vec::<String>::new());
    }
}
