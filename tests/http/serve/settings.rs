//! The settings in force.

use super::support::test_server;
use serde_json::json;

#[tokio::test]
async fn settings_are_shown_with_their_origin() {
    let server = test_server().await;
    let doc = server.get("/api/v1/settings").await.json();
    let setting = |name: &str| {
        let settings = doc["settings"].as_array().expect("a list");
        let found = settings.iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("{doc}")).clone()
    };
    assert_eq!(doc["key_is_in_variable"], true);
    assert_eq!(
        setting("policy.max_removals"),
        json!({ "name": "policy.max_removals", "value": "10%", "origin": null })
    );
    assert_eq!(
        setting("source.settle"),
        json!({
            "name": "source.settle",
            "value": "0s",
            "origin": "OMNI_USER_SYNC__SOURCE__SETTLE",
        })
    );
    assert_eq!(setting("policy.protect_admins")["value"], true);
    assert_eq!(setting("serve.hosts")["value"], json!([]));

    let page = server.get("/settings").await.body;
    for part in [
        "<h2 id=\"policy\">[policy]</h2>",
        "<code>max_removals</code></th><td role=\"cell\" data-label=\"Value\"><code>&#34;10%&#34;</code></td>",
        "<code>OMNI_USER_SYNC__SOURCE__SETTLE</code>",
        "<code>OMNI_API_KEY</code> (not shown)",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("sandbox-key") && !doc.to_string().contains("sandbox-key"));
}
