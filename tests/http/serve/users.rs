//! Lists of users by state, and the search.

use super::support::{TestServer, add_history, email, id, test_server};
use chrono::Utc;
use omni_user_sync::model::{
    AttributeName, Attributes, KnownUser, ObservationHeader, ObservationUpdate, Observed,
    ObservedGroupsUpdate, ObservedUser, OwnershipUpdate, Schema, Text, Value,
};
use serde_json::json;
use std::sync::Arc;

fn observed(user: &str, name: &str, is_admin: bool) -> (omni_user_sync::model::Email, KnownUser) {
    let flag = Value::one(if is_admin { "true" } else { "false" });
    let name_of_flag = AttributeName::new("omni_is_org_admin");
    let flags = flag.map(|flag| (name_of_flag, flag));
    let user = ObservedUser {
        id: id(user),
        email: email(user),
        display_name: Text::from(name),
        active: Some(true),
        attributes: Some(flags.into_iter().collect::<Attributes<_>>()),
        modified: None,
        owned: None,
    };
    let known = KnownUser::One {
        user: Arc::new(user.clone()),
        seen: None,
        verified: None,
    };
    (user.email, known)
}

/// Users in all states: `ann` is in quarantine.
async fn add_users(server: &TestServer) {
    add_history(server).await;
    let now = Utc::now();
    let header = ObservationHeader {
        observed: now,
        schema: Schema::unknown(),
        schema_read: now,
        summary: Observed::default().summary(),
        listing: None,
        groups: None,
    };
    let update = ObservationUpdate {
        header,
        users: vec![
            observed("Anna@x.co", "Anna <b>", false),
            observed("root@x.co", "Root", true),
            observed("boss@x.co", "Boss", false),
            observed("zoe@x.co", "Zoe", false),
            (email("gone@x.co"), KnownUser::Absent),
            (email("twins@x.co"), KnownUser::Several(2)),
        ],
        forgotten: Vec::new(),
        is_whole: true,
        groups: ObservedGroupsUpdate::default(),
    };
    server.db.keep_observation(update).await.expect("written");
    let emails = |users: &[&str]| users.iter().map(|user| email(user)).collect::<Vec<_>>();
    let ownership = OwnershipUpdate {
        managed: emails(&["anna@x.co", "lost@x.co", "zoe@x.co"]),
        missing: emails(&["lost@x.co"]),
        deactivated: vec![
            (id("old1"), email("old@x.co")),
            (id("old2"), email("old@x.co")),
        ],
        ..OwnershipUpdate::default()
    };
    let recorded = server.db.record_roster(ownership, None, now).await;
    recorded.expect("written");
}

async fn listed(server: &TestServer, query: &str) -> Vec<String> {
    let answer = server.get(&format!("/api/v1/users{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    let users = answer.json()["users"].as_array().expect("a list").clone();
    let emails = users.iter().filter_map(|user| user["email"].as_str());
    emails.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn users_are_listed_by_state() {
    let server = test_server().await;
    add_users(&server).await;
    for (query, expected) in [
        (
            "",
            "ann@x.co Anna@x.co boss@x.co lost@x.co old@x.co root@x.co twins@x.co zoe@x.co",
        ),
        ("?state=managed", "Anna@x.co lost@x.co zoe@x.co"),
        ("?state=protected", "boss@x.co root@x.co"),
        ("?state=missing", "lost@x.co"),
        ("?state=deactivated", "old@x.co"),
        ("?state=quarantined", "ann@x.co"),
        ("?prefix=AN", "ann@x.co Anna@x.co"),
        ("?prefix=anna&state=managed", "Anna@x.co"),
        ("?prefix=%25", ""),
        ("?prefix=ann&state=missing", ""),
    ] {
        assert_eq!(listed(&server, query).await.join(" "), expected, "{query}");
        let page = server.get(&format!("/users{query}")).await.body;
        for user in expected.split_whitespace() {
            assert!(
                page.contains(&format!("\">{user}</a></th>")),
                "{query}: {page}"
            );
        }
        let rows = page.matches("<th scope=\"row\"").count();
        assert_eq!(rows, expected.split_whitespace().count(), "{query}");
    }
    for wrong in [
        "?state=odd",
        "?limit=x",
        &format!("?prefix={}", "a".repeat(1300)),
    ] {
        for path in ["/users", "/api/v1/users"] {
            let code = server.get(&format!("{path}{wrong}")).await.status;
            let is_ignored = path == "/users" && wrong == "?limit=x";
            assert!(code == 400 || is_ignored, "{path}{wrong}: {code}");
        }
    }
}

#[tokio::test]
async fn a_listed_user_has_states_and_counts() {
    let server = test_server().await;
    add_users(&server).await;
    let doc = server.get("/api/v1/users?prefix=anna").await.json();
    let counts = json!({
        "all": 1, "managed": 1, "protected": 0, "missing": 0, "deactivated": 0, "quarantined": 0,
    });
    assert_eq!(doc["counts"], counts, "{doc}");
    let user = &doc["users"][0];
    assert!(user["managed"]["since"].is_string(), "{user}");
    let observed = json!({ "id": "id-Annaxco", "display_name": "Anna <b>", "active": true });
    assert_eq!(user["observed"], observed, "{user}");
    assert_eq!(user["protected"], false, "{user}");
    let all = server.get("/api/v1/users").await.json();
    assert_eq!(all["counts"]["all"], 8, "{all}");
    assert_eq!(all["counts"]["protected"], 2, "{all}");
    let admin = server.get("/users/root@x.co").await.body;
    assert!(admin.contains("Protected (policy.protect"), "{admin}");

    let page = server.get("/users?state=missing").await.body;
    for part in [
        "<a href=\"/users?state=missing\" aria-current=\"page\">Missing from the roster <span class=\"soft\">1</span></a>",
        "<span class=\"operation\">missing from the roster</span> <span class=\"soft\">since <time",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let page = server.get("/users").await.body;
    assert!(page.contains("Anna &#60;b&#62;"), "{page}");
}

#[tokio::test]
async fn lists_of_users_have_pages() {
    let server = test_server().await;
    let many = (0..60).map(|number| email(&format!("user{number:02}@x.co")));
    let ownership = OwnershipUpdate {
        managed: many.collect(),
        ..OwnershipUpdate::default()
    };
    let recorded = server.db.record_roster(ownership, None, Utc::now()).await;
    recorded.expect("written");
    let mut path = "/users?state=managed&prefix=USER".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = server.get(&path).await.body;
        seen.push(page.matches("<th scope=\"row\"").count());
        assert_eq!(seen.len() > 1, page.contains(">First page</a>"), "{page}");
        let Some((before, _)) = page.split_once("\">Next</a>") else {
            break;
        };
        let link = before.rsplit_once("href=\"").expect("a link").1;
        path = link.replace("&#38;", "&");
        assert!(
            path.contains("state=managed&prefix=USER&after=user"),
            "{path}"
        );
    }
    assert_eq!(seen, [25, 25, 10]);
    let first = server.get("/api/v1/users?limit=40").await.json();
    assert_eq!(first["next_after"], "user39@x.co");
    let rest = server
        .get("/api/v1/users?limit=40&after=USER39@x.co")
        .await
        .json();
    let users = rest["users"].as_array().map(Vec::len);
    assert_eq!((users, &rest["next_after"]), (Some(20), &json!(null)));
    assert_eq!(listed(&server, "?limit=0").await.len(), 1);
}

#[tokio::test]
async fn the_search_finds_users_by_prefix() {
    let server = test_server().await;
    add_users(&server).await;
    for (sought, location) in [
        ("ANNA@x.co", "/users/anna%40x.co"),
        ("boss@x.co", "/users/boss%40x.co"),
        // Only in a plan, and only in the history.
        ("a@x.co", "/users/a%40x.co"),
        ("%3Cb%3E@x.co", "/users/%3cb%3e%40x.co"),
        ("an", "/users?prefix=an"),
        ("nobody@x.co", "/users?prefix=nobody%40x.co"),
        ("gone@x.co", "/users?prefix=gone%40x.co"),
        ("", "/users"),
    ] {
        let found = server.get(&format!("/users?email={sought}")).await;
        assert_eq!(
            (found.status, found.header("location")),
            (303, Some(location))
        );
    }
    for (sought, near) in [("bos@x.co", "boss@x.co"), ("rooot@x.co", "root@x.co")] {
        let page = server.get(&format!("/users?prefix={sought}")).await.body;
        let hint = format!(
            "Did you mean <a class=\"email\" href=\"/users/{}\">{near}</a>?",
            near.replace('@', "%40")
        );
        assert!(page.contains(&hint), "{page}");
        assert!(page.contains("Look up this address"), "{page}");
    }
    let none = server
        .get("/users?prefix=nobody@elsewhere.example")
        .await
        .body;
    assert!(!none.contains("Did you mean"), "{none}");
    assert!(
        none.contains("No user has an email that begins with"),
        "{none}"
    );
}
