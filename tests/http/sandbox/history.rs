//! Scheduled actions and the history of changes.

use super::{Lab, Method, USERS, json};
use omni_user_sync::sandbox::{Changed, Fault, Options, What};
use serde_json::Value;

async fn lab() -> Lab {
    Lab::with(Options {
        requests_per_minute: u32::MAX,
        users: 1,
        history: true,
        ..Options::default()
    })
    .await
}

/// The request, and the names before and after.
fn names(change: &Changed) -> (Option<u64>, Value, Value) {
    let name = |user: &Option<Value>| {
        user.as_ref()
            .map_or(Value::Null, |user| user["displayName"].clone())
    };
    (change.request, name(&change.before), name(&change.after))
}

#[tokio::test]
async fn changes_are_recorded_with_their_request() {
    let lab = lab().await;
    let org = lab.sandbox.org();
    org.set_display_name("user0001@example.com", "Other");
    org.fault(Fault::next(What::IgnoreWrite));
    lab.post(&json!({ "userName": "a@x.co", "displayName": "A" }))
        .await;
    lab.post(&json!({ "userName": "b@x.co", "displayName": "B" }))
        .await;
    org.fault(Fault::next(What::LostReply));
    let path = format!(
        "{USERS}/{}",
        org.user("b@x.co").unwrap()["id"].as_str().unwrap()
    );
    let _lost = lab.request(Method::DELETE, &path).send().await;
    let changes: Vec<_> = org.history().iter().map(names).collect();
    let expected = [
        (None, json!("Ada Abbott"), json!("Other")),
        (Some(2), Value::Null, json!("B")),
        (Some(3), json!("B"), Value::Null),
    ];
    assert_eq!(
        changes, expected,
        "what was ignored is no change, and what got no answer is one"
    );
}

#[tokio::test]
async fn actions_run_before_a_chosen_request() {
    let lab = lab().await;
    let org = lab.sandbox.org();
    org.before(2, |org| org.remove_user("user0001@example.com"));
    let total = async || lab.get(USERS).await.body["totalResults"].clone();
    assert_eq!((total().await, total().await), (json!(1), json!(0)));
    org.before(3, |org| drop(org.add_user(json!({ "userName": "a@x.co" }))));
    org.clear_actions();
    assert_eq!(total().await, json!(0));
}
