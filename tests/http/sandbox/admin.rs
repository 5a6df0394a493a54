//! The admin API `/sandbox/…`.

use std::process::{Child, Command};
use std::time::Duration;

use omni_user_sync::sandbox::{Fault, Options, What};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ATTRIBUTES, Answer, Lab, USERS, answer};

async fn lab() -> Lab {
    Lab::with(Options {
        admin: true,
        users: 1,
        ..Options::default()
    })
    .await
}

/// Sends a request without a key.
async fn admin(lab: &Lab, method: Method, path: &str, body: Value) -> Answer {
    let request = lab.bare(method, &format!("/sandbox/{path}"));
    answer(if body.is_null() {
        request
    } else {
        request.json(&body)
    })
    .await
}

#[tokio::test]
async fn the_state_can_be_read_and_edited() {
    let lab = lab().await;
    let user = json!({"userName": "a+b@c.co", ATTRIBUTES: {"department": "Sales", "tier": "x"}});
    let made = admin(&lab, Method::POST, "users", user).await;
    assert_eq!(made.status, 201);
    let edit = json!({"active": false, "attributes": {"department": null, "region": ["north"]}});
    assert_eq!(
        admin(&lab, Method::PATCH, "users/A%2Bb@c.co", edit.clone())
            .await
            .status,
        204
    );
    let state = admin(&lab, Method::GET, "state", Value::Null).await.body;
    let user = &state["users"][1];
    assert_eq!(
        (&user["id"], &user["active"]),
        (&made.body["id"], &json!(false))
    );
    assert_eq!(user[ATTRIBUTES], json!({"region": ["north"], "tier": "x"}));
    assert_eq!(state["definitions"], json!(lab.org().definitions()));
    assert_eq!(state["unexpected"], json!([]));

    let one = "users/user0001@example.com";
    assert_eq!(
        admin(&lab, Method::DELETE, one, Value::Null).await.status,
        204
    );
    assert_eq!(
        admin(&lab, Method::DELETE, one, Value::Null).await.status,
        404
    );
    assert_eq!(admin(&lab, Method::PATCH, one, edit).await.status, 404);
    assert_eq!(
        admin(&lab, Method::POST, "users", json!({"displayName": "A"}))
            .await
            .status,
        400
    );
    assert_eq!(lab.org().users().len(), 1);
    assert!(lab.org().requests().is_empty(), "none of this is logged");
}

#[tokio::test]
async fn roles_can_be_set() {
    let lab = lab().await;
    lab.user("a@x.co", json!({}));
    lab.org().add_group("Analysts", &[]);
    let warehouse = json!({"name": "Warehouse", "baseRole": "VIEWER"});
    let warehouse = admin(&lab, Method::POST, "connections", warehouse).await;
    let connection = &warehouse.body["id"];
    let sales = json!({"connectionId": connection, "name": "Sales", "modelKind": "SHARED"});
    let sales = admin(&lab, Method::POST, "models", sales).await;
    let model = &sales.body["id"];
    assert_eq!((warehouse.status, sales.status), (201, 201));
    let auditor = json!({"name": "Auditor", "baseRole": "QUERIER"});
    let made = admin(&lab, Method::POST, "custom-roles", auditor).await;
    assert_eq!(made.status, 204);
    for (holder, role, status) in [
        ("a@x.co", "Auditor", 204),
        ("Analysts", "MODELER", 204),
        ("b@x.co", "VIEWER", 404),
        ("Others", "VIEWER", 404),
    ] {
        let set = json!({"holder": holder, "modelId": model, "roleName": role});
        let set = admin(&lab, Method::POST, "roles", set).await;
        assert_eq!(set.status, status, "{holder}");
    }
    let state = admin(&lab, Method::GET, "state", Value::Null).await.body;
    let role = |holder, role| json!({"holder": holder, "connectionId": connection, "modelId": model, "roleName": role});
    let expected = json!([role("a@x.co", "Auditor"), role("Analysts", "MODELER")]);
    assert_eq!(state["roles"], expected);
    let lost = json!({"connectionId": "none", "name": "Sales", "modelKind": "SHARED"});
    let lost = admin(&lab, Method::POST, "models", lost).await;
    assert_eq!(lost.status, 400);
}

#[tokio::test]
async fn schedules_and_tokens_can_be_added() {
    let lab = lab().await;
    lab.user("a@x.co", json!({}));
    let daily = json!({"owner": "a@x.co", "name": "Daily", "recipients": 2});
    let daily = admin(&lab, Method::POST, "schedules", daily).await;
    assert_eq!(daily.status, 201);
    for path in ["documents", "personal-tokens"] {
        let new = json!({"owner": "a@x.co", "name": "A"});
        assert_eq!(admin(&lab, Method::POST, path, new).await.status, 201);
        let new = json!({"owner": "b@x.co", "name": "A"});
        assert_eq!(admin(&lab, Method::POST, path, new).await.status, 400);
    }
    let owned = async || {
        let state = admin(&lab, Method::GET, "state", Value::Null).await;
        state.body["owned"].clone()
    };
    let before = owned().await;
    assert_eq!(before["schedules"][0]["id"], daily.body["id"]);
    assert_eq!(before["documents"][0]["owner"], "a@x.co");
    assert_eq!(before["personal_tokens"][0]["enabled"], true);
    admin(&lab, Method::DELETE, "users/a@x.co", Value::Null).await;
    let after = owned().await;
    assert_eq!(after["schedules"], json!([]));
    assert_eq!(after["lost_schedules"][0]["owner"], "a@x.co");
    assert_eq!(after["personal_tokens"][0]["enabled"], false);
}

#[tokio::test]
async fn the_log_can_be_read_and_cleared() {
    let lab = lab().await;
    lab.get(USERS).await;
    let log = admin(&lab, Method::GET, "requests", Value::Null).await.body;
    assert_eq!(log.as_array().unwrap().len(), 1);
    assert_eq!(
        (&log[0]["path"], &log[0]["status"], &log[0]["key"]),
        (&json!(USERS), &json!(200), &json!(0))
    );
    assert!(!log.to_string().contains("sandbox-key"));
    assert_eq!(
        admin(&lab, Method::DELETE, "requests", Value::Null)
            .await
            .status,
        204
    );
    assert!(lab.org().requests().is_empty());
}

#[tokio::test]
async fn faults_are_read_from_json() {
    let lab = lab().await;
    for (fault, status) in [
        (
            json!({"what": {"status": {"code": 503, "retry_after": 2}}, "times": 1}),
            503,
        ),
        (
            json!({"what": {"html": {"code": 502}}, "when": {"method": "GET"}}),
            502,
        ),
        (json!({"what": {"hang": 1}}), 200),
        (json!({"what": {"late": 1}}), 200),
        (json!({"what": {"slow_body": 1}}), 200),
        (json!({"what": {"total_off": -1}}), 200),
        (json!({"what": "skip_user"}), 200),
        (json!({"what": {"redirect": {"to": "/"}}}), 307),
    ] {
        assert_eq!(
            admin(&lab, Method::POST, "faults", fault.clone())
                .await
                .status,
            204,
            "{fault}"
        );
        assert_eq!(lab.get(USERS).await.status, status, "{fault}");
        assert!(
            lab.org().requests().last().unwrap().fault.is_some(),
            "{fault}"
        );
    }
    for name in [
        "reset",
        "lost_reply",
        "cut_json",
        "ignore_write",
        "no_retry_after",
        "repeat_user",
    ] {
        let fault = json!({"what": name, "when": {"from": 1}});
        assert_eq!(
            admin(&lab, Method::POST, "faults", fault).await.status,
            204,
            "{name}"
        );
    }
    assert_eq!(
        admin(&lab, Method::DELETE, "faults", Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(lab.get(USERS).await.status, 200);
    for wrong in [json!({"what": "fire"}), json!({"what": "reset", "time": 2})] {
        assert_eq!(
            admin(&lab, Method::POST, "faults", wrong.clone())
                .await
                .status,
            422,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn signals_are_sent_at_the_chosen_request() {
    for when in ["before", "after"] {
        let lab = lab().await;
        let mut sleeper = Sleeper::start();
        let signal =
            json!({"pid": sleeper.0.id(), "signal": "TERM", "at_request": 2, "when": when});
        assert_eq!(
            admin(&lab, Method::POST, "signal", signal).await.status,
            204
        );
        lab.get(USERS).await;
        assert!(
            sleeper.0.try_wait().unwrap().is_none(),
            "{when}: one request too early"
        );

        // The signal is sent before the answer, which never comes here.
        lab.org()
            .fault(Fault::next(What::Late(Duration::from_secs(3600))));
        let request = lab.request(Method::GET, USERS);
        let waiting = tokio::spawn(async move { request.send().await });
        let end = loop {
            match sleeper.0.try_wait().unwrap() {
                Some(end) => break end,
                None => tokio::task::yield_now().await,
            }
        };
        assert!(!end.success(), "{when}: it slept to its end");
        assert!(!waiting.is_finished(), "{when}");
        waiting.abort();
    }
}

/// A child process that is killed on drop.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("60").spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn process_groups_are_not_signalled() {
    let lab = lab().await;
    for pid in [0, -1] {
        let signal = json!({"pid": pid, "signal": "TERM", "at_request": 1, "when": "before"});
        assert_eq!(
            admin(&lab, Method::POST, "signal", signal).await.status,
            400,
            "{pid}"
        );
    }
}

#[tokio::test]
async fn signals_need_loopback() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let lab = Lab::with(Options {
        admin: true,
        listen,
        ..Options::default()
    })
    .await;
    let url = |path| {
        format!(
            "http://127.0.0.1:{}/sandbox/{path}",
            lab.sandbox.address().port()
        )
    };
    assert_eq!(answer(lab.http.get(url("state"))).await.status, 200);
    let signal = json!({"pid": 1, "signal": "TERM", "at_request": 1, "when": "before"});
    answer(
        lab.http
            .post(url("signal"))
            .bearer_auth("sandbox-key")
            .json(&signal),
    )
    .await
    .refused(404, "signal");
}
