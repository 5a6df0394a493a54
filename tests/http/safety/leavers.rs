//! Rows that remove users whom Omni does not have: gone, or misspelt.

use crate::support::{World, assert_converged, told};
use omni_user_sync::sandbox::{Fault, What, When};
use rusqlite::Connection;
use serde_json::json;

#[tokio::test]
async fn a_misspelt_leaver_is_not_found() {
    let world = World::new().await;
    world.user("zoe@example.com", "Zoe", json!({}));
    world.roster("op,email\ndelete,zoe@exmaple.com\n");
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "partial");
    let problem = &run.roster().expect("a roster").bad_rows[0];
    assert_eq!(problem.kind.as_str(), "not_found");
    assert!(problem.remedy.contains("zoe@example.com"), "{problem}");
    let (name, text) = &world.reports()[0];
    assert!(name.ends_with("-problems.csv"), "{name}");
    assert!(text.contains("zoe@exmaple.com,delete,not_found,"), "{text}");
}

#[tokio::test]
async fn an_unknown_leaver_without_a_near_user_is_a_warning() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("op,email\ndelete,somebody.else@x.co\n");
    let run = world.run().await;
    assert_converged(&run);
    let warning = run
        .warnings
        .iter()
        .find(|one| one.contains("somebody.else@x.co"));
    assert!(warning.is_some(), "{:?}", run.warnings);
}

#[tokio::test]
async fn a_removed_leaver_stays_known() {
    let world = World::new().await;
    world.user("ann1@x.co", "Ann", json!({}));
    world.user("ann2@x.co", "Ann", json!({}));
    let world = world.set("policy.max_removals", "100%");
    world.roster("op,email\ndelete,ann1@x.co\n");
    assert_eq!(told(&world.run().await), ["delete ann1@x.co applied"]);
    let again = world.run().await;
    assert_converged(&again);
    assert!(again.warnings.is_empty(), "{:?}", again.warnings);
}

/// A list that lags behind a creation is no reason to ask Omni's support.
#[tokio::test]
async fn a_conflict_after_a_creation_says_that_lists_lag() {
    let world = World::new().await;
    world.roster("email,display_name\nann@x.co,Ann\n");
    assert_converged(&world.run().await);
    let when = When {
        method: Some("GET".into()),
        path: Some("/api/scim/v2/Users".into()),
        ..When::default()
    };
    let what = What::Status {
        code: 200,
        retry_after: None,
        body: Some(
            r#"{"totalResults": 0, "startIndex": 1, "itemsPerPage": 0, "Resources": []}"#.into(),
        ),
    };
    world.org().fault(Fault {
        when,
        what,
        times: 9,
    });
    assert_eq!(told(&world.run().await), [""; 0], "she is read by her id");
    let db = Connection::open(world.state_db().path()).expect("the state database");
    assert_eq!(db.execute("DELETE FROM observation", []), Ok(1));
    let second = world.run().await;
    assert_eq!(told(&second), ["create ann@x.co failed"]);
    let detail = &second.changes[0].detail;
    assert!(detail.starts_with("Omni's list lags"), "{detail}");
}
