//! Keys, paths, definitions and the request log.

use omni_user_sync::sandbox::{ClearMode, LargerCount, Options, Sandbox};
use reqwest::Method;
use serde_json::json;

use super::{ATTRIBUTES, Lab, USERS, answer};

#[tokio::test]
async fn only_valid_keys_are_accepted() {
    let options = Options {
        keys: vec!["one".into(), "two".into()],
        ..Options::default()
    };
    let lab = Lab::with(options).await;
    lab.org().revoke_key("two");
    for (header, status) in [
        (None, 401),
        (Some("Bearer one"), 200),
        (Some("Bearer two"), 401),
        (Some("Bearer three"), 401),
        (Some("Bearer  one"), 401),
        (Some("Bearer ONE"), 401),
        (Some("Basic one"), 400),
        (Some("one"), 400),
    ] {
        let mut request = lab.bare(Method::GET, USERS);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let got = answer(request).await;
        assert_eq!(got.status, status, "{header:?}");
        if status == 401 {
            got.refused(401, "key");
        }
    }
    let keys: Vec<_> = lab
        .org()
        .requests()
        .iter()
        .map(|request| request.key)
        .collect();
    assert_eq!(keys[..4], [None, Some(0), Some(1), None]);
    let unexpected = lab.org().unexpected();
    assert_eq!(unexpected.len(), 1, "{unexpected:?}");
    assert!(unexpected[0].contains("Authorization"), "{unexpected:?}");
    let everything = format!("{:?} {:?}", lab.org(), lab.org().requests());
    assert!(
        !everything.contains("\"one\"") && !everything.contains("three"),
        "{everything}"
    );
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let lab = Lab::with_users(1).await;
    let id = lab.org().users()[0]["id"].as_str().unwrap().to_owned();
    for path in [
        "/",
        "/api/scim/v2/Users/",
        "/api/scim/v2/USERS",
        "/api/scim/v2//Users",
        "/api/v1/user-attributes/",
        "/sandbox/state",
        &format!("{USERS}/{id}/"),
        &format!("{USERS}/{id}/groups"),
    ] {
        lab.get(path).await.refused(404, path);
    }
    assert_eq!(lab.org().unexpected().len(), 8);
    for (method, path) in [
        (Method::DELETE, USERS),
        (Method::POST, &*format!("{USERS}/{id}")),
        (Method::POST, "/api/v1/user-attributes"),
        (Method::DELETE, "/api/scim/v2/Groups"),
    ] {
        let name = method.to_string();
        let answer = lab.send(method, path, &json!({})).await;
        answer.refused(405, path);
        let allow = answer.header("allow").expect("says what there is");
        assert!(
            allow.contains("GET") && !allow.contains(&name),
            "{path}: {allow}"
        );
    }
    assert_eq!(lab.get("/api/scim/v2/Groups").await.body["totalResults"], 0);
}

#[tokio::test]
async fn one_user() {
    let lab = Lab::new().await;
    let id = lab.user("Ann@b.co", json!({"department": "Sales"}));
    let got = lab.get(&format!("{USERS}/{id}")).await;
    assert_eq!(
        (got.status, got.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(got.body["id"], id);
    assert_eq!(got.body["userName"], "Ann@b.co");
    assert_eq!(got.body["active"], true);
    assert_eq!(
        got.body["emails"],
        json!([{"value": "Ann@b.co", "primary": true}])
    );
    assert_eq!(got.body["groups"], json!([]));
    assert_eq!(got.body["meta"]["resourceType"], "User");
    assert!(
        got.body["meta"]["created"].is_string() && got.body["meta"]["lastModified"].is_string()
    );
    assert_eq!(got.body[ATTRIBUTES], json!({"department": "Sales"}));
    for id in [
        "550e8400-e29b-41d4-a716-446655440000",
        "1",
        "Ann@b.co",
        &id[1..],
    ] {
        lab.get(&format!("{USERS}/{id}")).await.refused(404, id);
        lab.delete(&format!("{USERS}/{id}")).await.refused(404, id);
    }
    assert_eq!(lab.org().unexpected(), [""; 0]);
}

#[tokio::test]
async fn attributes_without_a_value() {
    for (clear, attributes) in [
        (ClearMode::Null, json!(null)),
        (ClearMode::Default, json!({"tier": "standard"})),
    ] {
        let lab = Lab::with(Options {
            clear,
            ..Options::default()
        })
        .await;
        let id = lab.user("a@b.co", json!({"tier": "gold"}));
        assert_eq!(lab.attributes("a@b.co"), json!({"tier": "gold"}));
        let got = lab.patch(&id, json!({ATTRIBUTES: {"tier": null}})).await;
        assert_eq!(got.body[ATTRIBUTES], attributes, "{clear:?}");
        let made = lab
            .post(&json!({"userName": "b@b.co", "displayName": "B"}))
            .await;
        assert_eq!(made.body[ATTRIBUTES], attributes, "{clear:?}");
    }
}

#[tokio::test]
async fn definitions() {
    let lab = Lab::new().await;
    let got = lab.get("/api/v1/user-attributes").await;
    let records = got.body["records"].as_array().unwrap();
    let names: Vec<_> = records
        .iter()
        .map(|record| record["name"].as_str().unwrap())
        .collect();
    let system = ["omni_user_email", "omni_user_id", "omni_user_name"];
    assert_eq!(names[..3], system);
    assert_eq!(
        names[3..],
        ["region", "department", "cost_center", "quota", "tier"]
    );
    for record in records {
        let is_system = system.contains(&record["name"].as_str().unwrap());
        assert_eq!(record["system"], is_system, "{record}");
        assert_eq!(record["id"] == "", is_system, "{record}");
        assert_eq!(record.as_object().unwrap().len(), 8, "{record}");
    }
    lab.org()
        .define(json!({"name": "tier", "type": "Number", "multiple_values": true}));
    lab.org().define(json!({"name": "new"}));
    let now = lab.org().definitions();
    assert_eq!(now.len(), records.len() + 1);
    assert_eq!(
        (&now[7]["type"], &now[7]["multiple_values"]),
        (&json!("Number"), &json!(true))
    );

    let closed = Lab::with(Options {
        definitions: false,
        ..Options::default()
    })
    .await;
    closed
        .get("/api/v1/user-attributes")
        .await
        .refused(403, "definitions");
    assert_eq!(closed.get(USERS).await.status, 200);
}

#[tokio::test]
async fn the_log_contains_requests() {
    let lab = Lab::new().await;
    let body = json!({"userName": "a@b.co", "displayName": "A"});
    lab.get(&format!("{USERS}?count=5")).await;
    lab.post(&body).await;
    let log = lab.org().requests();
    assert_eq!(
        (log[0].number, &*log[0].method, &*log[0].path),
        (1, "GET", USERS)
    );
    assert_eq!(
        (&*log[0].query, log[0].status, &log[0].body),
        ("count=5", 200, &None)
    );
    assert_eq!(
        (log[1].number, log[1].status, &log[1].body),
        (2, 201, &Some(body))
    );
    assert_eq!(lab.org().writes(), log[1..]);
    lab.org().clear_requests();
    lab.get(USERS).await;
    assert_eq!(
        lab.org()
            .requests()
            .iter()
            .map(|entry| entry.number)
            .collect::<Vec<_>>(),
        [3]
    );
}

#[tokio::test]
async fn invalid_options_are_rejected() {
    for options in [
        Options {
            requests_per_minute: 0,
            ..Options::default()
        },
        Options {
            keys: Vec::new(),
            ..Options::default()
        },
        Options {
            max_page: 0,
            ..Options::default()
        },
        Options {
            max_page: 99,
            larger_count: LargerCount::Refused,
            ..Options::default()
        },
    ] {
        let error = Sandbox::start(options).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn sample_users_are_deterministic() {
    let (one, two) = (Lab::with_users(120).await, Lab::with_users(120).await);
    let users = one.org().users();
    assert_eq!(users, two.org().users());
    assert_eq!(users[0]["userName"], "user0001@example.com");
    assert_eq!(users[119]["userName"], "user0120@example.com");
    let kinds: std::collections::HashSet<_> = users
        .iter()
        .map(|user| user[ATTRIBUTES].to_string())
        .collect();
    assert!(kinds.len() > 40, "only {} kinds of users", kinds.len());
}
