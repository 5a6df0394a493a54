//! Users that are never removed.
use crate::support::World;
use serde_json::json;

#[tokio::test]
async fn organisation_admins_are_protected() {
    for (setting, left) in [("true", 1), ("false", 0)] {
        let world = World::new()
            .await
            .set("policy.protect_admins", setting)
            .set("policy.protect", "nobody@x.co")
            .set("policy.max_removals", "100%");
        let admin = json!({ "omni_is_org_admin": "true" });
        world.org().add_user(json!({
            "userName": "boss@x.co",
            "displayName": "Boss",
            "urn:omni:params:1.0:UserAttribute": admin,
        }));
        world.user("ann@x.co", "Ann", json!({}));
        world.roster("op,email\ndelete,boss@x.co\ndelete,ann@x.co\n");
        let outcome = world.run().await;
        assert_eq!(world.org().users().len(), left, "{outcome:#?}");
    }
}

#[tokio::test]
async fn patterns_that_match_no_user_are_named() {
    let world = World::new()
        .await
        .set("policy.prune", "managed")
        .set("policy.protect", "ann@*, bosss@x.co");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email\nann@x.co\n");
    let outcome = world.run().await;
    let says = "policy.protect: no user in Omni matches bosss@x.co";
    let named = outcome
        .warnings
        .iter()
        .filter(|warning| warning.starts_with(says));
    assert_eq!(named.count(), 1, "{outcome:#?}");
}
