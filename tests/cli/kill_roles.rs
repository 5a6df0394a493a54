//! Killed at any moment, roles converge after the restart, and no assignment lacks its intent.
//! `KILLS=200 cargo test --test cli kill_roles::` for a campaign.
#![allow(clippy::print_stdout)] // the seed, for running the same again

use crate::kill::{self, apply, assert_recorded, changes_since, kill_at, kills, wait};
use crate::support::World;
use omni_user_sync::model::ChangeRecord;
use omni_user_sync::sandbox::Request;
use serde_json::json;
use std::fmt::Write;

const SUBJECTS: [&str; 5] = ["a@x.co", "b@x.co", "c@x.co", "group:Sales", "group:Board"];
const MODELS: [&str; 3] = ["Orders", "Costs", "Stock"];
const ROLES: [&str; 4] = ["NO_ACCESS", "VIEWER", "QUERIER", "MODELER"];

/// The file of a round, in which most roles change, and one user gets a connection of the round.
fn rows(round: usize) -> String {
    let mut text = "subject,connection,model,role\n".to_owned();
    for (at, subject) in SUBJECTS.iter().enumerate() {
        for (of, model) in MODELS.iter().enumerate() {
            let role = ROLES[(at + of + round) % ROLES.len()];
            writeln!(text, "{subject},Warehouse,{model},{role}").expect("a String");
        }
    }
    writeln!(text, "a@x.co,Lake {round},,CONNECTION_ADMIN").expect("a String");
    text
}

/// The roles that the mock server has, as rows.
fn roles(world: &World) -> Vec<(String, String)> {
    let subjects = SUBJECTS.into_iter();
    let of = |subject: &'static str| {
        let roles = world.org().roles(subject.trim_start_matches("group:"));
        let roles = roles.into_iter().map(|(_, role)| role);
        let subject = subject.to_owned();
        roles.map(move |role| (subject.clone(), role))
    };
    let mut roles: Vec<_> = subjects.flat_map(of).collect();
    roles.sort();
    roles
}

/// What the file of a round states, and the connections of earlier rounds, which stay.
fn expected(round: usize) -> Vec<(String, String)> {
    let rows = rows(round);
    let cells = rows.lines().skip(1).map(|row| {
        let mut cells = row.split(',');
        let subject = cells.next().expect("a cell").to_owned();
        (subject, cells.next_back().expect("a cell").to_owned())
    });
    let earlier = (0..round).map(|_| ("a@x.co".to_owned(), "CONNECTION_ADMIN".to_owned()));
    let mut all: Vec<_> = cells.chain(earlier).collect();
    all.sort();
    all
}

/// Whether an intent is that of a write.
fn is_of(change: &ChangeRecord, write: &Request) -> bool {
    let intent = &change.intent;
    let user = intent.user_id.as_ref().map(|id| id.as_str());
    let group = intent.group.as_ref().and_then(|group| group.id.as_ref());
    let holder = user.or(group.map(|id| id.as_str())).unwrap_or_default();
    let (Some(role), Some(body)) = (&intent.role, &write.body) else {
        return false;
    };
    let model = role.scope.ids.model.as_ref().map(|id| id.as_str());
    write.path.contains(&format!("/{holder}/model-roles"))
        && body["roleName"] == json!(role.to.as_str())
        && body["connectionId"] == json!(role.scope.ids.connection.as_str())
        && body["modelId"].as_str() == model
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_converge_after_a_kill() {
    let (kills, mut random) = kills();
    let world = kill::world().await;
    let path = world.folder.path().join("roles.csv");
    let world = world
        .set("source.roles", &path.display().to_string())
        .set("policy.max_role_changes", "1000");
    for subject in SUBJECTS {
        match subject.strip_prefix("group:") {
            Some(name) => drop(world.org().add_group(name, &[])),
            None => world.user(subject, "A", json!({})),
        }
    }
    let warehouse = world.org().add_connection("Warehouse", "NO_ACCESS");
    for model in MODELS {
        world.org().add_model(&warehouse, model, "SHARED");
    }
    world.roster("email,display_name\na@x.co,A\nb@x.co,A\nc@x.co,A\n");
    let state = |round: usize| {
        world
            .org()
            .add_connection(&format!("Lake {round}"), "NO_ACCESS");
        std::fs::write(&path, rows(round)).expect("it is written");
    };
    state(0);
    assert_eq!(wait(apply(&world)).await, Some(0));
    let (mut killed, mut round, mut last_run) = (0, 0, 1);
    let mut writes = world.org().writes().len();
    while killed < kills {
        round += 1;
        state(round);
        let when = if random.bool() { "before" } else { "after" };
        match kill_at(&world, apply(&world), random.usize(1..=24), when).await {
            Some(code) => assert_eq!(code, 0, "round {round}: it was not killed, so it converged"),
            None => killed += 1,
        }
        let code = wait(apply(&world)).await;
        assert_eq!(code, Some(0), "round {round}: one more run converges");
        assert_eq!(roles(&world), expected(round), "round {round}");
        let (changes, now) = changes_since(&world, last_run).await;
        let all = world.org().writes();
        assert_recorded(&changes, &all[writes..], is_of);
        (last_run, writes) = (now, all.len());
    }
}
