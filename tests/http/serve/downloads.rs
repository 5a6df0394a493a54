//! Files of a run: JSON, changes, row report and undo roster.

use super::preview::World;
use super::support::{Answer, TestServer, add_history, begin, change, end, finish, test_server};
use insta::assert_snapshot;
use omni_user_sync::model::{
    AttributeName, ChangeOutcome, Field, FieldChange, HeldChange, Operation, RunResult, Value,
};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// A file that a browser stores under this name.
fn assert_attached(answer: &Answer, name: &str, content_type: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let disposition = format!("attachment; filename=\"{name}\"");
    assert_eq!(
        answer.header("content-disposition"),
        Some(&*disposition),
        "{answer:?}"
    );
    assert_eq!(answer.header("content-type"), Some(content_type));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// The body of a response that was sent in parts.
fn joined(answer: &Answer) -> String {
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let mut rest = answer.body.as_str();
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return body;
        }
        body.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").expect("an end");
    }
}

async fn download(server: &TestServer, path: &str) -> String {
    joined(&server.get(path).await)
}

#[tokio::test]
async fn run_is_downloaded_as_the_api_has_it() {
    let server = test_server().await;
    add_history(&server).await;
    for run in [1, 2] {
        let answer = server.get(&format!("/runs/{run}/run.json")).await;
        assert_attached(&answer, &format!("run-{run}.json"), "application/json");
        let doc: serde_json::Value = serde_json::from_str(&joined(&answer)).expect("JSON");
        let api = server.get(&format!("/api/v1/runs/{run}")).await.json();
        assert_eq!(doc, api);
        let page = server.get(&format!("/runs/{run}")).await.body;
        assert!(page.contains(&format!("href=\"/runs/{run}/run.json\"")));
    }
    for file in [
        "run.json",
        "changes.csv",
        "row-report.csv",
        "undo",
        "undo.csv",
    ] {
        assert_eq!(server.get(&format!("/runs/9/{file}")).await.status, 404);
        assert_eq!(server.get(&format!("/runs/x/{file}")).await.status, 404);
    }
    assert_eq!(server.get("/runs/1/..%2F..%2Ftoken").await.status, 404);
}

#[tokio::test]
async fn changes_are_downloaded_as_csv_without_formulas() {
    let server = test_server().await;
    let run = begin(&server.db, 0).await;
    let attribute = |name| Field::Attribute(AttributeName::new(name));
    let fields = vec![
        FieldChange::new(
            attribute("region"),
            Value::one("=cmd|' /C calc'!A0"),
            Value::many(["a,b", "c\"d"]),
        ),
        FieldChange::new(attribute("+quota"), Value::one("-5"), None),
        FieldChange::new(Field::DisplayName, None, Value::many(["n", "s"])),
    ];
    let (update, applied) = (Operation::Update, ChangeOutcome::Applied);
    change(&server.db, run, update, "ann@x.co", fields, applied).await;
    let (delete, failed) = (Operation::Delete, ChangeOutcome::Failed);
    change(&server.db, run, delete, "=ben@x.co", Vec::new(), failed).await;
    finish(&server.db, run, end(2, RunResult::Partial, [1, 1, 0])).await;

    let answer = server.get("/runs/latest/changes.csv").await;
    assert_attached(&answer, "run-1-changes.csv", "text/csv; charset=utf-8");
    let csv = joined(&answer);
    assert!(csv.starts_with('\u{feff}'), "{csv}");
    assert_snapshot!(csv.trim_start_matches('\u{feff}'), @r#"
    run,at,email,id,operation,approved,outcome,detail,field,from,to,default
    1,2027-01-15T08:00:01Z,ann@x.co,id-annxco,update,false,applied,,region,'=cmd|' /C calc'!A0,"[""a,b"",""c\""d""]",
    1,2027-01-15T08:00:01Z,ann@x.co,id-annxco,update,false,applied,,'+quota,'-5,,
    1,2027-01-15T08:00:01Z,ann@x.co,id-annxco,update,false,applied,,display_name,,"[n,s]",
    1,2027-01-15T08:00:01Z,'=ben@x.co,id-benxco,delete,false,failed,Omni says no,,,,
    "#);
}

#[tokio::test]
async fn large_runs_are_downloaded_whole() {
    let server = test_server().await;
    let run = begin(&server.db, 0).await;
    let (update, applied) = (Operation::Update, ChangeOutcome::Applied);
    for number in 0..1020 {
        let user = format!("u{number}@x.co");
        change(&server.db, run, update, &user, Vec::new(), applied).await;
    }
    let text = download(&server, "/runs/1/run.json").await;
    let doc: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let changes = doc["changes"].as_array().expect("a list");
    assert_eq!((changes.len(), &doc["changes_total"]), (1020, &json!(1020)));
    let emails: Vec<_> = changes
        .iter()
        .filter_map(|one| one["email"].as_str())
        .collect();
    assert_eq!(
        (emails[0], emails[1000], emails[1019]),
        ("u0@x.co", "u1000@x.co", "u1019@x.co")
    );
    let csv = download(&server, "/runs/1/changes.csv").await;
    assert_eq!(csv.lines().count(), 1021);
}

#[tokio::test]
async fn changes_of_a_dry_run_are_downloaded() {
    let server = test_server().await;
    let run = begin(&server.db, 0).await;
    let planned = HeldChange {
        user_id: None,
        operation: Operation::Create,
        subject: super::support::email("ann@x.co").into(),
        group: None,
        role: None,
        successor: None,
        fields: Vec::new(),
    };
    let recorded = server.db.record_planned(run, vec![planned]).await;
    recorded.expect("written");
    finish(&server.db, run, end(2, RunResult::DryRun, [0, 0, 0])).await;
    let csv = download(&server, "/runs/1/changes.csv").await;
    assert!(csv.contains(",ann@x.co,,create,false,planned,"), "{csv}");
    let page = server.get("/runs/1").await.body;
    assert!(page.contains("A dry run applies no changes"), "{page}");
    let undo = server.get("/runs/1/undo").await;
    assert!(undo.status == 409 && undo.body.contains("A dry run applies no changes"));
    assert_eq!(server.get("/runs/1/undo.csv").await.status, 409);
}

/// The reports beside the roster.
fn reports(world: &World) -> Vec<PathBuf> {
    let folder = world.folder().join("reports");
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[tokio::test]
async fn only_the_runs_own_row_report_is_offered() {
    let world = World::observed().await;
    let report = reports(&world).pop().expect("a report");
    let written = fs::read_to_string(&report).expect("is read");
    let server = &world.server;
    let link = "href=\"/runs/1/row-report.csv\"";
    assert!(server.get("/runs/1").await.body.contains(link));
    let answer = server.get("/runs/1/row-report.csv").await;
    assert_attached(
        &answer,
        "run-1-row-report-ok.csv",
        "text/csv; charset=utf-8",
    );
    assert_eq!(answer.body, written);

    // The same content is not reported again.
    world.run().await;
    let second = server.get("/runs/2").await.body;
    assert!(!second.contains("row-report.csv"), "{second}");
    assert_eq!(server.get("/runs/2/row-report.csv").await.status, 404);

    // Somebody who can write to the folder of the roster gets no other files.
    let other = world.folder().join("other");
    fs::write(&other, &written).expect("written");
    fs::remove_file(&report).expect("removed");
    std::os::unix::fs::symlink(&other, &report).expect("linked");
    assert_eq!(server.get("/runs/1/row-report.csv").await.status, 404);
    fs::remove_file(&report).expect("removed");
    fs::write(&report, "a secret").expect("written");
    assert_eq!(server.get("/runs/1/row-report.csv").await.status, 404);
    assert!(!server.get("/runs/1").await.body.contains(link));
    fs::write(&report, &written).expect("written");
    assert!(server.get("/runs/1").await.body.contains(link));
    let folder = report.parent().expect("a folder").to_owned();
    let moved = world.folder().join("moved");
    fs::rename(&folder, &moved).expect("moved");
    std::os::unix::fs::symlink(&moved, &folder).expect("linked");
    let linked = server.get("/runs/1/row-report.csv").await;
    assert!(linked.status == 503 && linked.body.contains("it is a link"));
    assert!(!server.get("/runs/1").await.body.contains(link));
}

#[tokio::test]
async fn undo_roster_restores_what_the_run_changed() {
    let world = World::observed().await;
    world.roster("upsert,u1@x.co,User 1,it\nupsert,new@x.co,New,it\n");
    world.run().await;
    let server = &world.server;
    let before = world.requests();
    let run = server.get("/runs/2").await.body;
    assert!(run.contains("href=\"/runs/2/undo\""), "{run}");
    let page = server.get("/runs/2/undo").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("Undo roster: 2 rows"), "{}", page.body);
    let link = page.body.split("id=\"download-undo\" href=\"").nth(1);
    let link = link
        .and_then(|link| link.split('"').next())
        .expect("a link");
    let answer = server.get(link).await;
    assert_attached(&answer, "run-2-undo.csv", "text/csv; charset=utf-8");
    assert_snapshot!(answer.body, @r"
    op,email,display_name,department
    upsert,u1@x.co,User 1,sales
    delete,new@x.co,,
    ");
    assert_eq!(world.requests(), before, "it asks Omni nothing");

    let stale = server.get("/runs/2/undo.csv?digest=0").await;
    assert!(stale.status == 409 && stale.body.contains("Load the page again."));
    world.replace_roster(&answer.body);
    world.run().await;
    assert_eq!(world.department("u1@x.co"), json!("sales"));
    assert_eq!(world.department("new@x.co"), json!(null));

    let nothing = server.get("/runs/1").await.body;
    assert!(nothing.contains("applied no changes, so there is nothing to undo"));
}

/// The warnings are shown before the download.
#[tokio::test]
async fn undo_page_says_what_is_not_restored() {
    let world = World::observed().await;
    world.roster("upsert,u1@x.co,User 1,it\nupsert,new@x.co,New,it\n");
    world.run().await;
    world.roster("upsert,u1@x.co,User 1,legal\ndelete,new@x.co,,\n");
    world.run().await;
    let page = world.server.get("/runs/2/undo").await.body;
    for part in [
        "u1@x.co: department was changed since; left unchanged",
        "new@x.co: is already removed",
        "omni-user-sync history 2 --undo",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = world.server.get("/runs/3/undo").await.body;
    assert!(
        page.contains("new@x.co: is recreated with a new id"),
        "{page}"
    );
}

#[tokio::test]
async fn undo_needs_a_stored_observation() {
    let server = test_server().await;
    add_history(&server).await;
    let undo = server.get("/runs/1/undo").await;
    assert_eq!(undo.status, 409, "{undo:?}");
    assert!(undo.body.contains("No run has read Omni yet"));
    assert!(undo.body.contains("omni-user-sync history 1 --undo"));
}
