//! Connections, models and roles.

use omni_user_sync::sandbox::{Options, Origins};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Lab, USERS};

/// A user in a group, and two connections: `Warehouse` with models of three kinds, and `Lake` without a model.
struct Org {
    lab: Lab,
    user: String,
    group: String,
    warehouse: String,
    lake: String,
    sales: String,
    finance: String,
    schema: String,
}

impl Org {
    async fn new(origins: Origins) -> Self {
        let lab = Lab::with(Options {
            requests_per_minute: u32::MAX,
            origins,
            ..Options::default()
        })
        .await;
        let user = lab.user("a@x.co", json!({}));
        let org = lab.org();
        let group = org.add_group("Analysts", &["a@x.co"]);
        let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
        let lake = org.add_connection("Lake", "VIEWER");
        let [sales, finance, schema] = [
            ("Sales", "SHARED"),
            ("Finance", "SHARED_EXTENSION"),
            ("raw", "SCHEMA"),
        ]
        .map(|(name, kind)| org.add_model(&warehouse, name, kind));
        Self {
            user,
            group,
            warehouse,
            lake,
            sales,
            finance,
            schema,
            lab,
        }
    }

    fn user_roles(&self) -> String {
        format!("/api/v1/users/{}/model-roles", self.user)
    }

    fn group_roles(&self) -> String {
        format!("/api/v1/user-groups/{}/model-roles", self.group)
    }

    async fn assign(&self, path: &str, body: Value) -> Answer {
        self.lab.send(Method::POST, path, &body).await
    }
}

/// The model, the role, its source, and whether it is the resolved one.
fn entries(answer: &Answer) -> Vec<(String, String, String, bool)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let entry = |one: &Value| {
        let is_resolved = one["resolved"].as_bool().expect("a flag");
        (
            text(&one["modelId"]),
            text(&one["roleName"]),
            text(&one["from"]["type"]),
            is_resolved,
        )
    };
    let results = answer.body["results"].as_array().expect("a list");
    results.iter().map(entry).collect()
}

#[tokio::test]
async fn connections_and_models_are_listed() {
    let org = Org::new(Origins::Live).await;
    let got = org.lab.get("/api/v1/connections").await;
    let expected = json!({"connections": [
        {"id": org.warehouse, "name": "Warehouse", "baseRole": "NO_ACCESS"},
        {"id": org.lake, "name": "Lake", "baseRole": "VIEWER"},
    ]});
    assert_eq!(got.body, expected);
    let shared = org.lab.get("/api/v1/models?modelKind=SHARED").await.body;
    let sales = json!({"id": org.sales, "name": "Sales", "modelKind": "SHARED",
        "connectionId": org.warehouse});
    assert_eq!(shared["records"], json!([sales]));
    let first = org.lab.get("/api/v1/models?pageSize=2").await.body;
    assert_eq!(first["pageInfo"]["totalRecords"], 3);
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    let cursor = first["pageInfo"]["nextCursor"].as_str().expect("a cursor");
    let last = format!("/api/v1/models?pageSize=2&cursor={cursor}");
    let last = org.lab.get(&last).await.body;
    assert_eq!(last["records"][0]["id"], json!(org.schema));
    assert_eq!(last["pageInfo"]["nextCursor"], Value::Null);
    let refused = org.lab.get("/api/v1/models?pageSize=101").await;
    refused.refused(400, "a page of more than 100");
}

#[tokio::test]
async fn the_most_permissive_role_is_resolved() {
    let words = [
        (
            Origins::Live,
            ["User Role", "Group Role", "Connection Base Role"],
        ),
        (Origins::Document, ["USER", "GROUP", "BASE"]),
    ];
    for (origins, [user, group, base]) in words {
        let org = Org::new(origins).await;
        org.lab.org().add_role("Auditor", "QUERIER");
        let assigned = json!({"roleName": "VIEWER", "modelId": org.sales});
        assert_eq!(org.assign(&org.user_roles(), assigned).await.status, 200);
        let assigned = json!({"roleName": "Auditor", "modelId": org.sales,
            "connectionId": org.warehouse});
        assert_eq!(org.assign(&org.group_roles(), assigned).await.status, 200);
        let got = org.lab.get(&org.user_roles()).await;
        let (sales, finance) = (org.sales.as_str(), org.finance.as_str());
        let expected = [
            (sales, "VIEWER", user, false),
            (sales, "Auditor", group, true),
            (sales, "NO_ACCESS", base, false),
            (finance, "NO_ACCESS", base, true),
        ];
        let expected =
            expected.map(|(model, role, from, is)| (model.into(), role.into(), from.into(), is));
        assert_eq!(entries(&got), expected);
        assert_eq!(got.body["results"][1]["baseRole"], "QUERIER");
        let filtered = format!("{}?modelId={finance}", org.user_roles());
        assert_eq!(entries(&org.lab.get(&filtered).await), expected[3..]);
        let of_group = org.lab.get(&org.group_roles()).await.body;
        let of_group = of_group["results"].as_array().expect("a list");
        assert_eq!(of_group.len(), 1);
        let has_source = origins == Origins::Document;
        assert_eq!(of_group[0].get("from").is_some(), has_source);
        assert_eq!(org.lab.org().unexpected(), [""; 0]);
    }
}

#[tokio::test]
async fn an_assignment_overwrites() {
    let org = Org::new(Origins::Live).await;
    for role in ["QUERIER", "NO_ACCESS"] {
        let body = json!({"roleName": role, "modelId": org.sales});
        assert_eq!(org.assign(&org.user_roles(), body).await.status, 200);
        let direct = [(org.sales.clone(), role.to_owned())];
        assert_eq!(org.lab.org().roles("a@x.co"), direct);
    }
    org.lab.delete(&format!("{USERS}/{}", org.user)).await;
    org.lab.get(&org.user_roles()).await.refused(404, "removed");
}

#[tokio::test]
async fn connection_admin_of_a_user_is_not_shown() {
    let org = Org::new(Origins::Live).await;
    let body = json!({"roleName": "CONNECTION_ADMIN", "connectionId": org.warehouse});
    for path in [org.user_roles(), org.group_roles()] {
        assert_eq!(org.assign(&path, body.clone()).await.status, 200, "{path}");
    }
    let of_user = entries(&org.lab.get(&org.user_roles()).await);
    let direct = of_user.iter().filter(|(.., from, _)| from == "User Role");
    assert_eq!(direct.count(), 0, "{of_user:?}");
    let expected = [(org.warehouse.clone(), "CONNECTION_ADMIN".to_owned())];
    assert_eq!(org.lab.org().roles("a@x.co"), expected);
    let of_group = org.lab.get(&org.group_roles()).await.body;
    let count = of_group["results"].as_array().map(Vec::len);
    assert_eq!(count, Some(2), "each shared model: {of_group}");
}

#[tokio::test]
async fn invalid_assignments_are_rejected() {
    let org = Org::new(Origins::Live).await;
    let unknown = "550e8400-e29b-41d4-a716-446655440000";
    for (body, status) in [
        (json!({"roleName": "Owner", "modelId": org.sales}), 422),
        (json!({"roleName": "VIEWER", "modelId": org.schema}), 422),
        (
            json!({"roleName": "VIEWER", "modelId": org.sales, "connectionId": org.lake}),
            422,
        ),
        (
            json!({"roleName": "VIEWER", "connectionId": org.warehouse}),
            400,
        ),
        (json!({"roleName": "VIEWER"}), 400),
        (json!({"modelId": org.sales}), 400),
        (json!({"roleName": "VIEWER", "modelId": "Sales"}), 400),
        (
            json!({"roleName": "VIEWER", "modelId": org.sales, "depth": 1}),
            400,
        ),
        (json!({"roleName": "VIEWER", "modelId": unknown}), 404),
        (
            json!({"roleName": "CONNECTION_ADMIN", "connectionId": unknown}),
            404,
        ),
    ] {
        let got = org.assign(&org.user_roles(), body.clone()).await;
        got.refused(status, &body.to_string());
    }
    let body = json!({"roleName": "VIEWER", "modelId": org.sales});
    for path in [
        format!("/api/v1/users/{unknown}/model-roles"),
        "/api/v1/user-groups/none/model-roles".to_owned(),
    ] {
        org.assign(&path, body.clone()).await.refused(404, &path);
    }
    assert_eq!(org.lab.org().roles("a@x.co"), []);
    assert_eq!(org.lab.org().roles("Analysts"), []);
}
