//! The daemon asks at its start whose the keys are.

use crate::daemon::Daemon;
use crate::support::World;
use omni_user_sync::model::UserId;
use omni_user_sync::settings::KeyHash;
use omni_user_sync::state::{Access, KeyUsers, StateDb};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_daemon_stores_the_users_of_keys() {
    let world = World::new().await.set("serve.listen", "");
    let attributes = "urn:omni:params:1.0:UserAttribute";
    world.org().add_user(json!({
        "userName": "boss@x.co",
        "displayName": "Boss",
        attributes: { "omni_is_org_admin": true },
    }));
    world.roster("email,display_name\nboss@x.co,Boss\n");
    let boss = world.org().user("boss@x.co").expect("there");
    let boss = UserId::parse(boss["id"].as_str().expect("a text")).expect("an id");
    let _daemon = Daemon::start(&world);
    let (dir, key) = (
        world.settings().state.dir,
        KeyHash::of(&"sandbox-key".into()),
    );
    let stored = async || -> Option<KeyUsers> {
        let db = StateDb::open(&world.sandbox.url(), Access::Read(&dir)).ok()?;
        db.key_users().await.ok()
    };
    let users = async {
        loop {
            match stored().await {
                Some(users) if !users.is_empty() => break users,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let users = tokio::time::timeout(Duration::from_secs(60), users).await;
    let users = users.expect("it asks Omni");
    assert!(users[&key].contains(&boss), "{users:?}");
}
