//! Previews: of the next run, and of a file that is never stored.

use super::support::{
    Answer, HOSTILE, ServerOptions, TOKEN, TestServer, server_with, settings, test_server,
};
use insta::assert_snapshot;
use omni_user_sync::metrics::Metrics;
use omni_user_sync::model::Trigger;
use omni_user_sync::run::{Reconciler, Stop};
use omni_user_sync::sandbox::{Options, Org, Sandbox};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const API: &str = "/api/v1/preview";
const HEADER: &str = "op,email,display_name,department\n";

/// An organisation of the users `u1` to `u20`, and a server.
pub(super) struct World {
    sandbox: Sandbox,
    pub(super) server: TestServer,
    reconciler: Reconciler,
}

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::start(Options::with_full_lists()).await;
        let sandbox = sandbox.expect("starts");
        let server = server_with(ServerOptions {
            omni: sandbox.url(),
            ..ServerOptions::default()
        })
        .await;
        for number in 1..=20 {
            sandbox.org().add_user(json!({
                "userName": format!("u{number}@x.co"),
                "displayName": format!("User {number}"),
                "urn:omni:params:1.0:UserAttribute": { "department": "sales" },
            }));
        }
        let settings = settings(&sandbox.url(), server.folder.path());
        let reconciler = Reconciler::new(Arc::new(settings), Metrics::new(), server.db.clone());
        Self {
            sandbox,
            server,
            reconciler: reconciler.expect("a reconciler"),
        }
    }

    /// A world in which a run has read Omni and found nothing to do.
    pub(super) async fn observed() -> Self {
        let world = Self::new().await;
        world.roster("upsert,u1@x.co,User 1,sales\n");
        world.run().await;
        world
    }

    pub(super) fn roster(&self, rows: &str) {
        self.replace_roster(&format!("{HEADER}{rows}"));
    }

    pub(super) async fn run(&self) {
        let stop = Stop::default();
        let run = self.reconciler.run(Trigger::Schedule, None, &stop);
        assert!(run.await.number.is_some());
    }

    pub(super) fn org(&self) -> &Org {
        self.sandbox.org()
    }

    pub(super) fn folder(&self) -> &Path {
        self.server.folder.path()
    }

    /// The department of a user; null if there is no such user.
    pub(super) fn department(&self, email: &str) -> Value {
        let user = self.sandbox.org().user(email).unwrap_or_default();
        user["urn:omni:params:1.0:UserAttribute"]["department"].clone()
    }

    pub(super) fn replace_roster(&self, text: &str) {
        std::fs::write(self.folder().join("users.csv"), text).expect("written");
    }

    pub(super) fn requests(&self) -> usize {
        self.sandbox.org().requests().len()
    }

    /// Sends a file with the form.
    async fn upload(&self, name: &str, content: &str) -> Answer {
        upload(
            &self.server,
            &["Host: localhost", &bearer()],
            &form(name, content),
        )
        .await
    }

    /// Sends a file to the API.
    async fn post(&self, content: &str) -> Answer {
        let headers = ["Host: localhost", &bearer(), "Content-Type: text/csv"];
        let path = "POST /api/v1/preview/file";
        self.server.ask(path, &headers, content).await
    }

    /// The bytes of all files. Readers leave marks in the shared memory of SQLite.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut folders = vec![self.server.folder.path().to_owned()];
        let mut files = BTreeMap::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.to_string_lossy().ends_with("-shm") {
                    let bytes = std::fs::read(&path).expect("is read");
                    files.insert(path, bytes);
                }
            }
        }
        files
    }
}

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}")
}

/// The body of the form, as a browser sends it.
fn form(name: &str, content: &str) -> String {
    format!(
        "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: text/csv\r\n\r\n{content}\r\n--cut--\r\n"
    )
}

async fn upload(server: &TestServer, headers: &[&str], body: &str) -> Answer {
    let form = "Content-Type: multipart/form-data; boundary=cut";
    let headers = [headers, &[form]].concat();
    server.ask("POST /preview/file", &headers, body).await
}

/// Operation, user and, unless the user is removed, fields of changes, by user.
fn changes(docs: &Value) -> BTreeMap<String, Value> {
    let docs = docs.as_array().expect("a list").iter();
    docs.map(|doc| {
        let key = format!("{} {}", doc["operation"], doc["email"]);
        let fields = match doc["operation"] == "delete" {
            true => Value::Null,
            false => doc["fields"].clone(),
        };
        (key, fields)
    })
    .collect()
}

#[tokio::test]
async fn preview_equals_the_next_run() {
    let world = World::observed().await;
    world.roster(
        "upsert,u1@x.co,User 1,support\nupsert,new@x.co,New,sales\ndelete,u2@x.co,,\n\
         upsrt,u3@x.co,User 3,sales\nupsert,u4@x.co,User 4,sales\n",
    );
    let before = world.requests();
    let preview = world.server.get(API).await.json();
    assert_eq!(world.requests(), before, "a preview sends no requests");
    assert_eq!(
        preview["passed"],
        json!({ "transfer": 0, "delete": 1, "deactivate": 0, "leave": 0, "update": 1, "create": 1, "join": 0, "assign": 0 })
    );
    assert_eq!(preview["problems"][0]["line"], 5);
    assert_eq!(preview["frozen"], json!(["u3@x.co"]));
    assert_snapshot!(preview["notes"], @r#"["1 user of the roster is not in the cache. The preview takes them as new; a run looks them up first.","The schedules of 1 user to be removed are not known. A run reads them first, and applies policy.owned_schedules."]"#);

    world.run().await;
    let run = world.server.get("/api/v1/runs/latest").await.json();
    assert_eq!(changes(&preview["changes"]), changes(&run["changes"]));
    assert_eq!(changes(&run["changes"]).len(), 3);
    let nothing = world.server.get(API).await.json();
    assert_eq!(nothing["changes"], json!([]));
}

#[tokio::test]
async fn page_shows_diff_problems_and_age() {
    let world = World::observed().await;
    let name = HOSTILE.replace('"', "\"\"");
    world.roster(&format!(
        "upsert,u1@x.co,\"{name}\",\ndelete,u2@x.co,,\nupsrt,u3@x.co,User 3,sales\n"
    ));
    let page = world.server.get("/preview").await;
    assert_eq!(page.status, 200);
    for part in [
        "<h1>Preview of the next run</h1>",
        "<li>3 rows, 20 users in Omni: 1 to delete, 1 to update, 0 unchanged</li>",
        "<code>department</code></td><td role=\"cell\" data-label=\"Omni\"><del>&#39;sales&#39;</del></td>\
         <td role=\"cell\" data-label=\"Roster\"><span class=\"soft\">empty</span></td>",
        "&#60;script&#62;",
        "<h2 id=\"problems-heading\">Roster: 1 problem</h2>",
        "<code>users.csv:4</code>",
        "Compared with what was read from Omni at <time",
        "href=\"/login?next=%2Fpreview\"",
    ] {
        assert!(page.body.contains(part), "{part}\n{}", page.body);
    }
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
    let overview = world.server.get("/").await.body;
    assert!(overview.contains("href=\"/preview\""), "{overview}");
}

#[tokio::test]
async fn held_changes_are_shown_with_their_limit() {
    let world = World::observed().await;
    let rows: String = (2..=20).map(|n| format!("delete,u{n}@x.co,,\n")).collect();
    world.roster(&format!("upsert,u1@x.co,User 1,\n{rows}"));
    let preview = world.server.get(API).await.json();
    assert_eq!(preview["held"][0]["rule"], "max_removals");
    assert_eq!(preview["held"][0]["count"], 19);
    let page = world.server.get("/preview").await.body;
    let heading = "<h2>Would be held by <code>policy.max_removals</code></h2>";
    assert!(page.contains(heading), "{page}");
    assert!(page.contains("<caption>19 changes</caption>"), "{page}");
    assert!(page.contains("not changed: 19 held"), "{page}");

    world.run().await;
    let run = world.server.get("/api/v1/runs/latest").await.json();
    let held = changes(&preview["held"][0]["changes"]);
    assert_eq!(held, changes(&run["held"][0]["users"]));
}

#[tokio::test]
async fn many_changes_are_cut_and_counted() {
    let world = World::observed().await;
    let new = |n| format!("upsert,new{n}@x.co,New {n},sales\n");
    let rows: String = (0..1100).map(new).collect();
    world.roster(&format!("upsert,u1@x.co,User 1,sales\n{rows}"));
    let preview = world.server.get(API).await.json();
    assert_eq!(preview["passed"]["create"], 1100);
    assert_eq!(preview["changes"].as_array().map(Vec::len), Some(1000));
    assert_eq!(preview["truncated"], true);
    let page = world.server.get("/preview").await.body;
    let caption = "<caption>The first 200 of 1100 changes</caption>";
    assert!(page.contains(caption), "{page}");
    assert!(!page.contains("new999@x.co"), "{page}");
}

#[tokio::test]
async fn without_an_observation_says_what_to_do() {
    let world = World::new().await;
    world.roster("upsert,u1@x.co,User 1,sales\n");
    for answer in [
        world.server.get(API).await,
        world.server.get("/preview").await,
        world.post("email\na@x.co\n").await,
        world.upload("users.csv", "email\na@x.co\n").await,
    ] {
        assert_eq!(answer.status, 409, "{answer:?}");
        let said = "No run has read Omni yet, so there is nothing to compare with. Use Run now";
        assert!(answer.body.contains(said), "{}", answer.body);
    }
    assert_eq!(world.requests(), 0);
}

#[tokio::test]
async fn roster_that_cannot_be_planned_gives_the_reason() {
    let world = World::observed().await;
    world.roster("upsert,u1@x.co,\"User 1,sales\n");
    let rejected = world.server.get(API).await;
    assert_eq!(rejected.status, 422);
    assert_eq!(rejected.json()["problems"][0]["file"], "users.csv");
    let page = world.server.get("/preview").await;
    assert_eq!(page.status, 422);
    assert!(page.body.contains("Roster: 1 problem"), "{}", page.body);

    std::fs::remove_file(world.server.folder.path().join("users.csv")).expect("removed");
    let missing = world.server.get(API).await;
    assert_eq!(missing.status, 503);
    let said = missing.json()["error"].to_string();
    assert!(said.contains("Preview failed: "), "{said}");
    assert!(said.contains("no such file or folder"), "{said}");
}

#[tokio::test]
async fn previews_are_rate_limited() {
    let world = World::observed().await;
    for _ in 0..6 {
        assert_eq!(world.server.get(API).await.status, 200);
    }
    for answer in [
        world.server.get("/preview").await,
        world.post("email\na@x.co\n").await,
    ] {
        assert_eq!(answer.status, 429, "{answer:?}");
        let wait = answer
            .header("retry-after")
            .and_then(|wait| wait.parse().ok());
        assert!(wait.is_some_and(|wait| (1..=60_u64).contains(&wait)));
    }
}

#[tokio::test]
async fn file_is_planned_and_nothing_is_stored() {
    let world = World::observed().await;
    let (files, requests) = (world.files(), world.requests());
    let file = format!("{HEADER}upsert,u1@x.co,User 1,support\nupsrt,u2@x.co,,\n");
    let page = world.upload("draft&lt;.csv", &file).await;
    assert_eq!(page.status, 200, "{page:?}");
    for part in [
        "<h1>Preview of <span class=\"email\">draft&#38;lt;.csv</span></h1>",
        "2 rows, 20 users in Omni: 1 to update, 0 unchanged",
        "<ins>&#39;support&#39;</ins>",
        "<code>draft&#38;lt;.csv:3</code>",
        "The file is neither stored nor applied, and missing users are not pruned.",
    ] {
        assert!(page.body.contains(part), "{part}\n{}", page.body);
    }
    let doc = world.post(&file).await.json();
    assert_eq!(doc["changes"][0]["email"], "u1@x.co");
    assert_eq!(doc["changes"][0]["file"], "body");
    assert_eq!(doc["problems"][0]["line"], 3);
    assert_eq!(world.requests(), requests, "no request to Omni");
    assert!(world.files() == files, "no file has changed");
    let runs = world.server.get("/api/v1/runs").await.json();
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(1));
}

/// As the roster of `plan -`, unlike that of `source.path`.
#[tokio::test]
async fn file_never_prunes() {
    let world = World::observed().await;
    // The only managed user is missing.
    let rows = "upsert,u2@x.co,User 2,sales\n";
    world.roster(rows);
    let next = world.server.get(API).await.json();
    assert_eq!(next["pending"]["delete"], 1, "{next}");
    let file = world.post(&format!("{HEADER}{rows}")).await.json();
    assert_eq!(file["pending"]["delete"], 0, "{file}");
    assert_eq!(file["blocked"], json!([]));
}

#[tokio::test]
async fn rejected_files_are_shown_with_their_problems() {
    let world = World::observed().await;
    let unclosed = format!("{HEADER}upsert,u1@x.co,\"User 1,sales\nupsert,u2@x.co,User 2,sales\n");
    for (file, line, said) in [
        (unclosed.as_str(), 2, "quote"),
        ("", 0, "the file is empty"),
        ("email,nonsense\nu1@x.co,1\n", 1, "nonsense"),
    ] {
        let doc = world.post(file).await;
        assert_eq!(doc.status, 422, "{doc:?}");
        let doc = doc.json();
        assert_eq!(doc["problems"][0]["line"], line, "{doc}");
        let problem = doc["problems"][0]["message"].to_string();
        assert!(problem.contains(said), "{problem}");
        let page = world.upload("draft.csv", file).await;
        assert_eq!(page.status, 422, "{page:?}");
        assert!(page.body.contains("<code>draft.csv"), "{}", page.body);
        assert!(
            page.body.contains("The roster is rejected"),
            "{}",
            page.body
        );
    }
}

#[tokio::test]
async fn large_files_are_accepted_up_to_the_limit() {
    let world = World::observed().await;
    let long = "x".repeat(100_000);
    let rows: String = (0..30).map(|n| format!("new{n}@x.co,{long}\n")).collect();
    let page = world
        .upload("big.csv", &format!("email,display_name\n{rows}"))
        .await;
    assert_eq!(page.status, 200, "3 MB");
    assert!(page.body.len() < 100_000, "values are cut");

    for path in ["/preview/file", "/api/v1/preview/file"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n{}\r\nContent-Type: text/csv\r\n\
             Content-Length: 17000000\r\nConnection: close\r\n\r\n",
            bearer()
        );
        let answer = world.server.say(&head).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

/// The server answers without waiting for the body, which never comes.
#[tokio::test]
async fn body_is_not_read_without_permission() {
    let server = test_server().await;
    for (path, header, code) in [
        ("/preview/file", "", 303),
        ("/api/v1/preview/file", "", 401),
        ("/preview/file", "Authorization: Bearer wrong\r\n", 401),
        ("/preview/file", "Origin: https://evil.example\r\n", 403),
        (
            "/api/v1/preview/file",
            "Origin: https://evil.example\r\n",
            403,
        ),
        ("/preview/fil%65", "", 413),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: 16000000\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = server.say(&head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code} ")),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn malformed_uploads_are_rejected() {
    let server = test_server().await;
    let token = bearer();
    let headers = ["Host: localhost", &token];
    let plain = server.ask("POST /preview/file", &headers, "email\n").await;
    assert_eq!(plain.status, 400);
    assert!(plain.body.contains("boundary"), "{}", plain.body);
    for (body, said) in [
        (form("", ""), "Choose a file first."),
        ("--cut--\r\n".to_owned(), "Choose a file first."),
        (
            form("a.csv", "email\n").replace("name=\"file\"", "name=\"other\""),
            "Choose a file first.",
        ),
        (
            "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nemail"
                .to_owned(),
            "The form can&#39;t be read: ",
        ),
    ] {
        let answer = upload(&server, &headers, &body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(said), "{said}: {}", answer.body);
    }
    let foreign = ["Host: localhost", &token, "Origin: https://evil.example"];
    assert_eq!(
        upload(&server, &foreign, &form("a.csv", "email\n"))
            .await
            .status,
        403
    );
    let odd = server
        .ask("POST /api/v1/preview/file", &headers, "email\n")
        .await;
    assert_eq!(odd.status, 415);
    assert!(
        odd.json()["error"]
            .as_str()
            .is_some_and(|said| said.ends_with('.'))
    );
    assert_eq!(server.get("/preview/file").await.status, 405);
}
