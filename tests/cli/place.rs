//! A share that is not mounted shows what lies below its mount point.
use crate::support::{World, command};
use omni_user_sync::model::RosterPlace;
use omni_user_sync::state::{Access, StateDb, StateLock};
use serde_json::json;

/// A world whose roster was last read from a share at the roster's folder. It is not mounted now.
async fn unmounted() -> World {
    let world = World::new().await.set("policy.prune", "managed");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("op,email,display_name\nupsert,ann@x.co,Ann\n");
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 0);
    world.roster("op,email,display_name\nupsert,ann@x.co,Old Ann\n");
    let share = RosterPlace {
        mount_point: world.folder.path().canonicalize().expect("exists"),
        kind: "cifs".into(),
        is_share: true,
    };
    let lock = StateLock::acquire(&world.settings().state.dir, "test").expect("free");
    let state = StateDb::open(&world.sandbox.url(), Access::Write(lock)).expect("opens");
    let remembered = state.remember_place(&world.roster_path(), &share).await;
    remembered.expect("remembered");
    world.org().clear_requests();
    world
}

#[tokio::test]
async fn a_roster_below_its_mount_point_is_refused() {
    let world = unmounted().await;
    for arguments in [
        &["apply", "--yes"][..],
        &["plan"],
        &["check"],
        &["explain", "ann@x.co"],
    ] {
        let ended = command(&world, arguments).await;
        assert_eq!(ended.code, 1, "{arguments:?}");
        let said = ended.out + &ended.err;
        assert!(said.contains("source_moved"), "{arguments:?}: {said}");
    }
    assert_eq!(world.writes(), Vec::<String>::new());
    let history = command(&world, &["history", "latest", "--json"]).await;
    assert!(history.out.contains("source_moved"), "{}", history.out);
    assert!(history.out.contains("approve 2"), "{}", history.out);
}

#[tokio::test]
async fn an_approval_accepts_the_place() {
    let world = unmounted().await;
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 1);
    let dry = command(&world, &["approve", "2", "--dry-run"]).await;
    assert!(dry.err.contains("would be approved"), "{}", dry.err);
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 1);
    assert_eq!(command(&world, &["approve", "2", "--yes"]).await.code, 0);
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 0);
    assert_eq!(
        world.org().user("ann@x.co").expect("exists")["displayName"],
        "Old Ann"
    );
}
