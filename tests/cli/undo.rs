//! `export` and `history --undo` write rosters that `plan` and `apply` can read.

use super::daemon::Daemon;
use crate::support::{World, command};
use omni_user_sync::sandbox::{Inactive, Options};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn undo_restores_only_what_the_run_changed() {
    let world = World::with(Options {
        inactive: Inactive::Keep,
        ..Options::default()
    })
    .await
    .set("policy.max_removals", "100%")
    .set("policy.max_clears", "100%");
    world.user(
        "ann@x.co",
        "Ann",
        json!({ "department": "old", "region": ["n"], "tier": "gold" }),
    );
    world.user(
        "gone@x.co",
        "Gone",
        json!({ "department": "x", "cost_center": "7" }),
    );
    world.user("off@x.co", "Off", json!({}));
    world.user("same@x.co", "Same", json!({ "department": "s" }));
    world.roster(
        "op,email,display_name,department,region\nupsert,ann@x.co,Ann,new,\ndelete,gone@x.co,,,\n\
         deactivate,off@x.co,,,\nupsert,made@x.co,Made,m,\nupsert,same@x.co,Same,s,\n",
    );
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 0);
    // Later changes by others are kept.
    world
        .org()
        .set_attribute("ann@x.co", "tier", json!("silver"));

    let undo = command(&world, &["history", "latest", "--undo"]).await;
    assert_eq!(undo.code, 0, "{}", undo.err);
    for note in [
        "gone@x.co: is recreated with a new id",
        "off@x.co: is activated again",
    ] {
        assert!(undo.err.contains(note), "{}", undo.err);
    }
    world.roster(&undo.out);
    let ended = command(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 0, "{}{}", undo.out, ended.err);
    assert_eq!(world.attribute("ann@x.co", "department"), json!("old"));
    assert_eq!(world.attribute("ann@x.co", "region"), json!(["n"]));
    assert_eq!(world.attribute("ann@x.co", "tier"), json!("silver"));
    assert_eq!(world.attribute("gone@x.co", "cost_center"), json!("7"));
    assert_eq!(
        world.org().user("off@x.co").expect("there")["active"],
        json!(true)
    );
    assert!(world.org().user("made@x.co").is_none());
}

/// A user who was recreated by others with the same email, and a value that others changed since.
#[tokio::test(flavor = "multi_thread")]
async fn undo_keeps_later_changes_by_others() {
    let world = World::new().await;
    world.user(
        "ann@x.co",
        "Ann",
        json!({ "department": "old", "tier": "gold" }),
    );
    world.roster(
        "email,display_name,department,tier\nann@x.co,Ann Lee,new,silver\nmade@x.co,Made,,\n",
    );
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 0);
    world
        .org()
        .set_attribute("ann@x.co", "department", json!("by others"));
    world.org().remove_user("made@x.co");
    world.user("made@x.co", "Another", json!({}));
    let undo = command(&world, &["history", "latest", "--undo"]).await;
    assert_eq!(
        undo.out,
        "op,email,display_name,department,tier\nupsert,ann@x.co,Ann,by others,gold\n"
    );
    for note in [
        "ann@x.co: department was changed since; left unchanged",
        "made@x.co: was recreated since; skipped",
    ] {
        assert!(undo.err.contains(note), "{}", undo.err);
    }
    let changes = command(&world, &["history", "latest", "--json"]).await.out;
    let doc: serde_json::Value = serde_json::from_str(&changes).expect("JSON");
    let made = |change: &&serde_json::Value| change["operation"] == "create";
    let mut changes = doc["changes"].as_array().expect("changes").iter();
    let made = changes.find(made).expect("a creation");
    assert!(made["id"].is_string(), "who was made is remembered: {made}");
}

/// The page of the run offers the file of the command, with its warnings.
#[tokio::test(flavor = "multi_thread")]
async fn page_and_command_write_the_same_undo_roster() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let world = World::new()
        .await
        .set("policy.max_removals", "100%")
        .set("policy.max_clears", "100%")
        .set("serve.listen", &address);
    world.user(
        "ann@x.co",
        "Ann",
        json!({ "department": "old", "region": ["n"] }),
    );
    world.user("gone@x.co", "Gone", json!({ "department": "x" }));
    world.roster(
        "op,email,display_name,department,region\nupsert,ann@x.co,Ann,new,\ndelete,gone@x.co,,,\n\
         upsert,made@x.co,Made,m,\n",
    );
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 0);
    let undo = command(&world, &["history", "1", "--undo"]).await;
    assert_eq!(undo.out.lines().count(), 4, "{}{}", undo.out, undo.err);

    let _daemon = Daemon::start(&world);
    let get = async |path: &str| {
        let url = format!("http://{address}{path}");
        reqwest::get(url)
            .await
            .ok()?
            .error_for_status()
            .ok()?
            .text()
            .await
            .ok()
    };
    let serving = async {
        while get("/healthz").await.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let served = tokio::time::timeout(std::time::Duration::from_secs(60), serving).await;
    served.expect("it serves");
    assert_eq!(get("/runs/1/undo.csv").await, Some(undo.out));
    let page = get("/runs/1/undo").await.expect("a page");
    let note = "gone@x.co: is recreated with a new id, without groups, roles and content";
    assert!(undo.err.contains(note) && page.contains(note), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_reports_cells_that_clear_nothing() {
    let world = World::new().await.set("source.blank_cells", "keep");
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email,department\nann@x.co,new\n");
    assert_eq!(command(&world, &["apply", "--yes"]).await.code, 0);
    let undo = command(&world, &["history", "latest", "--undo"]).await;
    let note = "ann@x.co: department was empty, and a blank cell does not clear it";
    assert!(undo.err.contains(note), "{}", undo.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_readable_with_every_setting() {
    for (delimiter, encoding) in [
        ("auto", "auto"),
        (";", "auto"),
        ("\t", "windows-1252"),
        ("auto", "windows-1252"),
    ] {
        let world = World::new()
            .await
            .set("source.delimiter", delimiter)
            .set("source.encoding", encoding)
            .set("policy.prune", "all")
            .set("policy.max_removals", "100%");
        world.user(
            "jürgen@x.co",
            "Jürgen Groß",
            json!({ "region": ["süd", "a b"] }),
        );
        let path = world.roster_path();
        let path = path.to_str().expect("text");
        assert_eq!(
            command(&world, &["export", "-o", path, "--force"])
                .await
                .code,
            0
        );
        let plan = command(&world, &["plan"]).await;
        assert_eq!(
            plan.code, 0,
            "{delimiter:?} {encoding}: {}{}",
            plan.out, plan.err
        );
        let text = std::fs::read(path).expect("written");
        let mark = text.starts_with(b"\xef\xbb\xbf");
        assert_eq!(mark, encoding != "auto", "{delimiter:?} {encoding}");
    }
}
