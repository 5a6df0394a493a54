//! The switches for what Omni's documents leave open.

use super::{ATTRIBUTES, Lab, PATCH_OP, USERS};
use omni_user_sync::sandbox::{ClearBy, Inactive, LastModified, Options, PatchForms};
use reqwest::Method;
use serde_json::{Value, json};

async fn patch(lab: &Lab, id: &str, operation: Value) -> u16 {
    let body = json!({ "schemas": [PATCH_OP], "Operations": [operation] });
    let path = format!("{USERS}/{id}");
    lab.send(Method::PATCH, &path, &body).await.status
}

fn department(lab: &Lab) -> Value {
    lab.org().users()[0][ATTRIBUTES]["department"].clone()
}

#[tokio::test]
async fn attributes_are_set_by_both_forms_or_one() {
    let path = format!("{ATTRIBUTES}:department");
    for (patch_forms, by_path, without) in [
        (PatchForms::Both, 200, 200),
        (PatchForms::NoPath, 400, 200),
        (PatchForms::Path, 200, 400),
    ] {
        let lab = Lab::with(Options {
            patch_forms,
            ..Options::default()
        })
        .await;
        let id = lab.user("a@b.co", json!({}));
        let operation = json!({ "op": "Replace", "path": path, "value": "by path" });
        assert_eq!(patch(&lab, &id, operation).await, by_path);
        assert_eq!(department(&lab) == "by path", by_path == 200);
        let value = json!({ ATTRIBUTES: { "department": "without" } });
        let operation = json!({ "op": "replace", "value": value });
        assert_eq!(patch(&lab, &id, operation).await, without);
        assert_eq!(department(&lab) == "without", without == 200);
        assert_eq!(lab.org().unexpected(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn clears_of_other_forms_have_no_effect() {
    let path = format!("{ATTRIBUTES}:department");
    let set =
        |value: Value| json!({ "op": "replace", "value": { ATTRIBUTES: { "department": value } } });
    let forms = [
        (ClearBy::Null, set(Value::Null)),
        (ClearBy::Empty, set(json!(""))),
        (ClearBy::Remove, json!({ "op": "remove", "path": path })),
    ];
    for (works, _) in &forms {
        let lab = Lab::with(Options {
            clears_by: vec![*works],
            ..Options::default()
        })
        .await;
        let id = lab.user("a@b.co", json!({}));
        for (form, operation) in &forms {
            assert_eq!(patch(&lab, &id, set(json!("Sales"))).await, 200);
            assert_eq!(patch(&lab, &id, operation.clone()).await, 200);
            assert_eq!(department(&lab) != "Sales", form == works, "{form:?}");
        }
    }
}

#[tokio::test]
async fn a_revoked_user_is_created_with_another_id() {
    let lab = Lab::with(Options {
        inactive: Inactive::Revoke,
        ..Options::default()
    })
    .await;
    let id = lab.user("a@b.co", json!({}));
    let operation = json!({ "op": "replace", "value": { "active": false } });
    assert_eq!(patch(&lab, &id, operation.clone()).await, 200);
    assert_eq!(lab.org().users(), Vec::<Value>::new());
    assert_eq!(patch(&lab, &id, operation).await, 404);
    let body = json!({ "userName": "a@b.co", "displayName": "A" });
    let created = lab.send(Method::POST, USERS, &body).await;
    assert_eq!(created.status, 201);
    assert_ne!(created.body["id"], json!(id));
}

#[tokio::test]
async fn the_time_of_a_change_may_ignore_attributes() {
    let lab = Lab::with(Options {
        last_modified: LastModified::Stays,
        ..Options::default()
    })
    .await;
    let id = lab.user("a@b.co", json!({}));
    let time = || lab.org().users()[0]["meta"]["lastModified"].clone();
    let before = time();
    while time() == json!(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)) {
        tokio::task::yield_now().await;
    }
    let value = json!({ ATTRIBUTES: { "department": "Sales" } });
    let operation = json!({ "op": "replace", "value": value });
    assert_eq!(patch(&lab, &id, operation).await, 200);
    lab.org().set_attribute("a@b.co", "tier", json!("gold"));
    assert_eq!(time(), before);
    lab.org().set_display_name("a@b.co", "B");
    assert_ne!(time(), before);
}
