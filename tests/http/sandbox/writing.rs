//! `POST`, `PUT`, `PATCH` and `DELETE`.

use std::collections::HashSet;

use omni_user_sync::sandbox::{Inactive, Options, PatchAnswer, PutMode};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ATTRIBUTES, Lab, PATCH_OP, USERS, answer};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

#[tokio::test]
async fn create() {
    let lab = Lab::new().await;
    let attributes = json!({"region": ["north", "south"], "department": "", "cost_center": "7.10",
        "quota": ["1", 2.50], "tier": null});
    let body = json!({"userName": "Ann@B.co", "displayName": "Ann", ATTRIBUTES: attributes});
    let made = lab.post(&body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(
        (&made.body["userName"], &made.body["active"]),
        (&json!("Ann@B.co"), &json!(true))
    );
    let kept = json!({"region": ["north", "south"], "department": "", "cost_center": "7.10",
        "quota": ["1", "2.5"]});
    assert_eq!(made.body[ATTRIBUTES], kept);
    assert_eq!(lab.org().user("ann@b.co"), Some(made.body));
    let again = lab
        .post(&json!({"userName": "ANN@b.CO", "displayName": "Ann"}))
        .await;
    again.refused(409, "same email, other case");
    assert_eq!(lab.org().users().len(), 1);
}

#[tokio::test]
async fn create_rejects() {
    let lab = Lab::new().await;
    for (body, misuse) in [
        (json!({"displayName": "A"}), true),
        (json!({"userName": "a@b.co"}), true),
        (json!({"userName": null, "displayName": "A"}), true),
        (json!({"userName": "a@b.co", "displayName": 7}), true),
        (
            json!({"userName": "a@b.co", "displayName": "A", "active": true}),
            true,
        ),
        (
            json!({"userName": "a@b.co", "displayName": "A", "nickName": "A"}),
            true,
        ),
        (
            json!({"userName": "a@b.co", "displayName": "A", ATTRIBUTES: []}),
            true,
        ),
        (json!(["userName", "displayName"]), true),
        (json!({"userName": "a@b.co", "displayName": " \t"}), false),
        (json!({"userName": "ab.co", "displayName": "A"}), false),
        (json!({"userName": "a b@c.co", "displayName": "A"}), false),
        (
            json!({"userName": format!("a@{}", "b".repeat(319)), "displayName": "A"}),
            false,
        ),
    ] {
        let before = lab.org().unexpected().len();
        lab.post(&body).await.refused(400, &body.to_string());
        assert_eq!(
            lab.org().unexpected().len() - before,
            usize::from(misuse),
            "{body}"
        );
    }
    assert_eq!(lab.org().users(), Vec::<Value>::new());
}

#[tokio::test]
async fn attribute_values() {
    let lab = Lab::new().await;
    let id = lab.user("a@b.co", json!({}));
    for (name, given, kept) in [
        ("department", "\"Sales \"", Some(json!("Sales "))),
        ("department", "\"\"", Some(json!(""))),
        ("department", "null", None),
        ("region", "[\"a,b\", \"\"]", Some(json!(["a,b", ""]))),
        ("region", "[]", None),
        ("cost_center", "7.10", Some(json!("7.10"))),
        ("cost_center", "\"007\"", Some(json!("007"))),
        (
            "cost_center",
            "-12345678901234567890.5",
            Some(json!("-12345678901234567890.5")),
        ),
        ("quota", "[1.50, \"2\"]", Some(json!(["1.50", "2"]))),
    ] {
        let got = patch_text(&lab, &id, name, given).await;
        assert_eq!(got.0, 200, "{name} = {given}: {}", got.1);
        assert_eq!(
            lab.attributes("a@b.co").get(name),
            kept.as_ref(),
            "{name} = {given}"
        );
    }
    let before = lab.org().users();
    for (name, given) in [
        ("unknown", "\"x\""),
        ("unknown", "null"),
        ("Department", "\"x\""),
        ("omni_user_email", "\"x@y.co\""),
        ("region", "\"north\""),
        ("region", "[null]"),
        ("region", "[[\"north\"]]"),
        ("region", "[1]"),
        ("quota", "1"),
        ("quota", "[\"\"]"),
        ("department", "[\"Sales\"]"),
        ("department", "7"),
        ("department", "true"),
        ("department", "{}"),
        ("cost_center", "\"\""),
        ("cost_center", "\"7 \""),
        ("cost_center", "\"1e5\""),
        ("cost_center", "1e5"),
        ("cost_center", "\"seven\""),
    ] {
        let got = patch_text(&lab, &id, name, given).await;
        assert_eq!(got.0, 400, "{name} = {given}: {}", got.1);
    }
    assert_eq!(lab.org().users(), before);
    assert_eq!(lab.org().unexpected(), [""; 0]);
}

/// Text, because a `Value` would lose digits.
async fn patch_text(lab: &Lab, id: &str, name: &str, value: &str) -> (u16, Value) {
    let body = format!(
        r#"{{"schemas":["{PATCH_OP}"],"Operations":[{{"op":"replace","value":
        {{"{ATTRIBUTES}":{{"{name}":{value}}}}}}}]}}"#
    );
    let request = lab.request(Method::PATCH, &format!("{USERS}/{id}"));
    let got = answer(
        request
            .header("content-type", "application/scim+json")
            .body(body),
    )
    .await;
    (got.status, got.body)
}

#[tokio::test]
async fn patch_merges() {
    for (patch_answer, status) in [(PatchAnswer::User, 200), (PatchAnswer::Empty, 204)] {
        let lab = Lab::with(Options {
            patch_answer,
            inactive: Inactive::Keep,
            ..Options::default()
        })
        .await;
        let id = lab.user(
            "a@b.co",
            json!({"department": "Sales", "region": ["north"]}),
        );
        let value = json!({"displayName": "B", "active": false, "userName": "A@b.co",
            ATTRIBUTES: {"region": null, "tier": "gold"}});
        let got = lab.patch(&id, value).await;
        let user = lab.org().user("a@b.co").unwrap();
        assert_eq!(
            (got.status, got.body == user),
            (status, status == 200),
            "{}",
            got.body
        );
        assert_eq!(
            (&user["displayName"], &user["active"]),
            (&json!("B"), &json!(false))
        );
        assert_eq!(user["userName"], "a@b.co");
        assert_eq!(
            user[ATTRIBUTES],
            json!({"department": "Sales", "tier": "gold"})
        );
        lab.patch("550e8400-e29b-41d4-a716-446655440000", json!({}))
            .await
            .refused(404, "no one");
    }
}

#[tokio::test]
async fn rejected_patches_change_nothing() {
    let lab = Lab::new().await;
    let id = lab.user("a@b.co", json!({"department": "Sales"}));
    let before = lab.org().users();
    let good = json!({"op": "replace", "value": {"displayName": "B", ATTRIBUTES: {"tier": "x"}}});
    let of = |operation: Value| json!({"schemas": [PATCH_OP], "Operations": [good, operation]});
    let replace = |value: Value| of(json!({"op": "replace", "value": value}));
    for body in [
        json!({"Operations": [good]}),
        json!({"schemas": ["urn:other"], "Operations": [good]}),
        json!({"schemas": [PATCH_OP]}),
        json!({"schemas": [PATCH_OP], "Operations": []}),
        json!({"schemas": [PATCH_OP], "Operations": good}),
        json!({"schemas": [PATCH_OP], "Operations": [good], "more": 1}),
        of(json!({"op": "replace", "path": "displayName", "value": "B"})),
        of(json!({"op": "replace", "path": format!("{ATTRIBUTES}.tier"), "value": "x"})),
        of(json!({"op": "remove", "value": {}})),
        of(json!({"op": "REPLACE", "value": {}})),
        of(json!({"op": "replace"})),
        of(json!({"op": "replace", "value": "B"})),
        of(json!({"op": "replace", "value": {}, "more": 1})),
        replace(json!({"displayName": ""})),
        replace(json!({"displayName": null})),
        replace(json!({"active": "false"})),
        replace(json!({"userName": "b@b.co"})),
        replace(json!({"nickName": "B"})),
        replace(json!({ATTRIBUTES: {"tier": []}})),
        replace(json!({ATTRIBUTES: null})),
    ] {
        let path = format!("{USERS}/{id}");
        lab.send(Method::PATCH, &path, &body)
            .await
            .refused(400, &body.to_string());
    }
    assert_eq!(lab.org().users(), before);
    let detail = lab.org().unexpected().join("\n");
    assert!(detail.contains("`path` is not supported"), "{detail}");
    let added =
        json!({"schemas": [PATCH_OP], "Operations": [{"op": "Add", "value": good["value"]}]});
    assert_eq!(
        lab.send(Method::PATCH, &format!("{USERS}/{id}"), &added)
            .await
            .status,
        200
    );
    assert_eq!(
        lab.attributes("a@b.co"),
        json!({"department": "Sales", "tier": "x"})
    );
}

#[tokio::test]
async fn put_may_merge_instead() {
    let lab = Lab::with(Options {
        put: PutMode::Merge,
        ..Options::default()
    })
    .await;
    let id = lab.user(
        "a@b.co",
        json!({"department": "Sales", "region": ["north"]}),
    );
    lab.org().set_active("a@b.co", false);
    let body = json!({"userName": "a@b.co", ATTRIBUTES: {"tier": "gold", "region": null}});
    let got = lab.put(&id, &body).await;
    assert_eq!(
        (&got.body["displayName"], &got.body["active"]),
        (&json!("A"), &json!(false))
    );
    let left = json!({"department": "Sales", "tier": "gold"});
    assert_eq!(got.body[ATTRIBUTES], left);
}

#[tokio::test]
async fn put_replaces_everything() {
    let lab = Lab::new().await;
    let id = lab.user(
        "a@b.co",
        json!({"department": "Sales", "region": ["north"]}),
    );
    lab.org().set_active("a@b.co", false);
    let whole = lab.org().user("a@b.co").unwrap();

    let mut same = lab.put(&id, &whole).await;
    assert_eq!(same.status, 200, "{}", same.body);
    same.body["meta"]["lastModified"] = whole["meta"]["lastModified"].clone();
    assert_eq!(same.body, whole, "a user sent back stays as it was");

    let body = json!({"userName": "A@B.co", ATTRIBUTES: {"tier": "gold"}, ENTERPRISE: {}});
    let got = lab.put(&id, &body).await;
    assert_eq!(
        (&got.body["displayName"], &got.body["userName"]),
        (&json!("a@b.co"), &json!("a@b.co"))
    );
    assert_eq!(got.body["active"], true);
    assert_eq!(got.body[ATTRIBUTES], json!({"tier": "gold"}));

    let before = lab.org().users();
    for body in [
        json!({"displayName": "B"}),
        json!({"userName": "b@b.co"}),
        json!({"userName": "a@b.co", "displayName": " "}),
        json!({"userName": "a@b.co", "active": "yes"}),
        json!({"userName": "a@b.co", "nickName": "B"}),
        json!({"userName": "a@b.co", "id": "550e8400-e29b-41d4-a716-446655440000"}),
        json!({"userName": "a@b.co", ATTRIBUTES: {"region": "north"}}),
    ] {
        lab.put(&id, &body).await.refused(400, &body.to_string());
    }
    assert_eq!(lab.org().users(), before);
    let nobody = "550e8400-e29b-41d4-a716-446655440000";
    lab.put(nobody, &json!({"userName": "a@b.co"}))
        .await
        .refused(404, "no one");
}

#[tokio::test]
async fn a_recreated_user_has_a_new_id() {
    let lab = Lab::new().await;
    let mut ids = HashSet::new();
    for _ in 0..3 {
        let made = lab
            .post(&json!({"userName": "a@b.co", "displayName": "A"}))
            .await;
        let id = made.body["id"].as_str().unwrap().to_owned();
        let path = format!("{USERS}/{id}");
        let gone = lab.delete(&path).await;
        assert_eq!((gone.status, gone.body), (204, json!("")));
        lab.delete(&path).await.refused(404, "gone already");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn bodies_are_read_strictly() {
    let lab = Lab::new().await;
    let json = "application/json";
    let twice = r#"{"userName":"a@b.co","userName":"c@d.co","displayName":"A"}"#;
    let fine = r#"{"userName":"a@b.co","displayName":"A"}"#;
    for (kind, body, status) in [
        (json, b"".as_slice(), 400),
        (json, b"{", 400),
        (json, b"null", 400),
        (json, b"[]", 400),
        (json, b"{} {}", 400),
        (
            json,
            br#"{"userName":"a@b.co","displayName":"\ud800"}"#,
            400,
        ),
        (
            json,
            b"{\"userName\":\"a@b.co\",\"displayName\":\"\xff\"}",
            400,
        ),
        (json, twice.as_bytes(), 400),
        ("text/plain", fine.as_bytes(), 415),
        ("", fine.as_bytes(), 415),
        ("Application/JSON; charset=utf-8", fine.as_bytes(), 201),
    ] {
        let before = lab.org().unexpected().len();
        let request = lab
            .request(Method::POST, USERS)
            .header("content-type", kind);
        let got = answer(request.body(body.to_vec())).await;
        let case = String::from_utf8_lossy(body);
        assert_eq!(got.status, status, "{kind} {case}: {}", got.body);
        let noted = lab.org().unexpected().len() - before;
        assert_eq!(noted, usize::from(status != 201), "{kind} {case}");
    }
}

/// These fields are unused, but invalid JSON in them is rejected.
#[tokio::test]
async fn invalid_json_in_unused_fields_is_rejected() {
    let lab = Lab::new().await;
    let id = lab.user("a@b.co", json!({}));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (name, value) in [
        ("meta", r#""\ud800""#.to_owned()),
        ("meta", "1e999".to_owned()),
        (ATTRIBUTES, format!(r#"{{"region":{deep}}}"#)),
    ] {
        let body = format!(r#"{{"userName":"a@b.co","{name}":{value}}}"#);
        let request = lab.request(Method::PUT, &format!("{USERS}/{id}"));
        let request = request.header("content-type", "application/json");
        answer(request.body(body)).await.refused(400, name);
    }
}

#[tokio::test]
async fn bodies_are_limited_to_a_mebibyte() {
    const MIB: usize = 1024 * 1024;
    let lab = Lab::new().await;
    let frame = json!({"userName": "a@b.co", "displayName": ""})
        .to_string()
        .len();
    for (bytes, status) in [(3 * MIB, 413), (MIB + 1, 413), (MIB, 201)] {
        let name = "x".repeat(bytes - frame);
        let got = lab
            .post(&json!({"userName": "a@b.co", "displayName": name}))
            .await;
        assert_eq!(got.status, status, "{bytes}");
    }
    assert_eq!(lab.org().unexpected().len(), 2);
}

/// The requests of `omni_python_sdk` 0.1.11 for an upsert and a delete: lower-case `users`, blanks as
/// `+`, and a Content-Type with each request.
#[tokio::test]
async fn the_python_sdk_works() {
    let lab = Lab::new().await;
    let users = "/api/scim/v2/users";
    let find = format!("{users}?filter=userName+eq+%22a%40b.co%22");
    let typed = |method, path: &str| {
        lab.request(method, path)
            .header("content-type", "application/json")
    };
    let body = json!({ATTRIBUTES: {"region": ["north", "south"], "department": "Sales"},
        "userName": "a@b.co", "displayName": "A"});
    assert_eq!(
        answer(typed(Method::GET, &find)).await.body["Resources"],
        json!([])
    );
    assert_eq!(lab.send(Method::POST, users, &body).await.status, 201);
    let found = answer(typed(Method::GET, &find)).await.body;
    let path = format!("{users}/{}", found["Resources"][0]["id"].as_str().unwrap());
    assert_eq!(lab.send(Method::PUT, &path, &body).await.status, 200);
    assert_eq!(answer(typed(Method::DELETE, &path)).await.status, 204);
    assert_eq!(lab.org().unexpected(), [""; 0]);
}
