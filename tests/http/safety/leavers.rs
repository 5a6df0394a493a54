//! Rows that remove users whom Omni does not have: gone, or misspelt.

use crate::support::{World, assert_converged, outcomes_of};
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
    assert_eq!(
        outcomes_of(&world.run().await),
        ["delete ann1@x.co applied"]
    );
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
    assert_eq!(
        outcomes_of(&world.run().await),
        [""; 0],
        "she is read by her id"
    );
    let db = Connection::open(world.state_db().path()).expect("the state database");
    assert_eq!(db.execute("DELETE FROM observation", []), Ok(1));
    let second = world.run().await;
    assert_eq!(outcomes_of(&second), ["create ann@x.co failed"]);
    let detail = &second.changes[0].detail;
    assert!(detail.starts_with("Omni's list lags"), "{detail}");
}

/// Omni revokes a membership for good, whoever deactivates the user.
#[tokio::test]
async fn a_vanished_inactive_user_counts_as_removed() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({}));
    world.user("bob@x.co", "Bob", json!({}));
    world.org().set_active("bob@x.co", false);
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\ndeactivate,bob@x.co,\n");
    assert_converged(&world.run().await);
    world.org().remove_user("bob@x.co");
    let second = world.run().await;
    assert_converged(&second);
    assert_eq!(second.warnings, [""; 0]);
}

/// Answers to each listing that Omni has these users, and no others.
fn short_list(world: &World, emails: &[&str]) -> Fault {
    let users: Vec<_> = emails
        .iter()
        .filter_map(|email| world.org().user(email))
        .collect();
    let body = json!({
        "totalResults": users.len(), "startIndex": 1, "itemsPerPage": users.len(), "Resources": users,
    });
    let when = When {
        query: Some("startIndex=1".into()),
        ..When::default()
    };
    let what = What::Status {
        code: 200,
        retry_after: None,
        body: Some(body.to_string()),
    };
    let times = 99;
    Fault { when, what, times }
}

/// A list that claims to be whole and lacks existing users may also lack a leaver.
#[tokio::test]
async fn a_conflict_with_an_unlisted_user_doubts_the_list() {
    for listed in [&[][..], &["ann@x.co"]] {
        let world = World::new().await.set("policy.max_removals", "100%");
        for name in ["ann", "bob", "zoe"] {
            world.user(&format!("{name}@x.co"), name, json!({}));
        }
        world.roster(
            "op,email,display_name\nupsert,ann@x.co,\nupsert,bob@x.co,bob\ndelete,zoe@x.co,\n",
        );
        world.org().fault(short_list(&world, listed));
        if listed.is_empty() {
            world.roster("op,email,display_name\nupsert,bob@x.co,bob\ndelete,zoe@x.co,\n");
        }
        let first = world.run().await;
        assert_eq!(outcomes_of(&first), ["update bob@x.co applied"]);
        assert_eq!(first.result().as_str(), "partial", "{first:?}");
        let is_named =
            |warning: &String| warning.starts_with("Omni's list does not show 1 existing user ");
        assert!(first.warnings.iter().any(is_named), "{:?}", first.warnings);
        assert_eq!(world.org().users().len(), 3);
        let second = world.run().await;
        assert_eq!(
            outcomes_of(&second),
            ["delete zoe@x.co applied"],
            "{second:?}"
        );
    }
}

/// Many known users are gone from a list: some of them are read, whatever their number.
#[tokio::test]
async fn a_short_list_of_known_users_prunes_nobody() {
    let world = World::new()
        .await
        .set("policy.prune", "all")
        .set("policy.max_removals", "100%");
    let rows =
        |count: usize| -> String { (0..count).map(|at| format!("u{at}@x.co,U\n")).collect() };
    world.roster(&format!("email,display_name\n{}", rows(60)));
    assert_converged(&world.run().await);
    world.roster(&format!("email,display_name\n{}", rows(59)));
    world
        .org()
        .fault(short_list(&world, &["u1@x.co", "u59@x.co"]));
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "held", "{run:?}");
    assert!(run.blocked()[0].contains("does not add up"), "{run:?}");
    assert_eq!(world.org().users().len(), 60);
    world.org().clear_faults();
    assert_eq!(outcomes_of(&world.run().await), ["delete u59@x.co applied"]);
}
