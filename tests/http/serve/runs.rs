//! The lists of runs and of the changes of all runs: filters, pages and links.

use super::support::{HOSTILE, TestServer, add_history, begin, change, end, finish, test_server};
use omni_user_sync::model::{ChangeOutcome, Operation, RunResult};
use serde_json::{Value, json};

/// The numbers of the runs in the table of a page.
fn runs_of(page: &str) -> Vec<u64> {
    let links = page.split("<th scope=\"row\"><a href=\"/runs/").skip(1);
    let table = links.filter(|link| link.contains("<span class=\"hidden\">Run "));
    let number = |link: &str| link.split('"').next()?.parse().ok();
    table.filter_map(number).collect()
}

/// The target of the link to the next page.
fn next_of(page: &str) -> Option<String> {
    let link = page.split("rel=\"next\" href=\"").nth(1)?;
    Some(link.split('"').next()?.replace("&#38;", "&"))
}

async fn api_runs(server: &TestServer, query: &str) -> Vec<u64> {
    let doc = server.get(&format!("/api/v1/runs?{query}")).await.json();
    let runs = doc["runs"].as_array().expect("a list").iter();
    runs.filter_map(|run| run["run"].as_u64()).collect()
}

#[tokio::test]
async fn overview_counts_what_is_left() {
    let server = test_server().await;
    let run = begin(&server.db, 0).await;
    finish(&server.db, run, end(2, RunResult::Held, [1, 1, 6])).await;
    let page = server.get("/").await.body;
    let tile = page.split("<dt>Pending</dt>").nth(1).expect("a tile");
    assert!(tile.starts_with("<dd><b>7</b>"), "8 planned: {tile}");
    assert!(
        tile.contains("after the last run: 6 to delete, 1 to update<"),
        "{tile}"
    );
    let page = server.get("/runs/1").await.body;
    for fact in [
        "<dt>Planned</dt><dd>6 to delete, 1 to update, 1 to create</dd>",
        "<dt>Pending</dt><dd>6 to delete, 1 to update</dd>",
        "<dt>After the run</dt><dd>21 users in Omni</dd>",
    ] {
        assert!(page.contains(fact), "{fact}: {page}");
    }
}

#[tokio::test]
async fn runs_are_filtered_on_page_and_api() {
    let server = test_server().await;
    add_history(&server).await;
    let open = begin(&server.db, 90).await;
    for (query, expected) in [
        ("", vec![3, 2, 1]),
        ("result=&trigger=&with_changes=", vec![3, 2, 1]),
        ("with_changes=true", vec![1]),
        ("with_changes=false", vec![3, 2, 1]),
        ("result=held", vec![2]),
        ("result=running", vec![3]),
        ("result=interrupted", vec![]),
        ("trigger=schedule", vec![3, 2, 1]),
        ("trigger=file", vec![]),
        ("result=partial&trigger=schedule&with_changes=true", vec![1]),
        ("result=held&with_changes=true", vec![]),
    ] {
        assert_eq!(api_runs(&server, query).await, expected, "{query}");
        let page = server.get(&format!("/runs?{query}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(runs_of(&page.body), expected, "{query}");
        if expected.is_empty() {
            assert!(page.body.contains("No matching runs."), "{}", page.body);
        }
    }
    let page = server.get("/runs?result=held&with_changes=true").await.body;
    for part in [
        "<option selected>held</option>",
        "value=\"true\" checked",
        "<a href=\"/runs\">Clear filter</a>",
        "<a href=\"/changes\">",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for query in ["result=odd", "trigger=odd", "with_changes=odd"] {
        let page = server.get(&format!("/runs?{query}")).await;
        assert_eq!(page.status, 400, "{query}");
        let doc = server.get(&format!("/api/v1/runs?{query}")).await;
        assert_eq!(doc.status, 400, "{query}");
        let said = doc.json()["error"].to_string();
        assert!(said.contains(": expected one of "), "{said}");
    }
    assert_eq!(open.0, 3);
}

#[tokio::test]
async fn pages_of_runs_keep_the_filter() {
    let server = test_server().await;
    for second in 0..120 {
        let run = begin(&server.db, second).await;
        let result = match second % 2 {
            0 => RunResult::Converged,
            _ => RunResult::Partial,
        };
        finish(&server.db, run, end(second, result, [0, 0, 0])).await;
    }
    let first = server.get("/runs?result=partial").await.body;
    let (runs, next) = (runs_of(&first), next_of(&first).expect("a link"));
    assert_eq!((runs.len(), runs[0], runs[24]), (25, 120, 72));
    let second = server.get(&next).await.body;
    let (runs, next) = (runs_of(&second), next_of(&second).expect("a link"));
    assert_eq!((runs.len(), runs[0], runs[24]), (25, 70, 22));
    let third = server.get(&next).await.body;
    assert_eq!(runs_of(&third), [20, 18, 16, 14, 12, 10, 8, 6, 4, 2]);
    assert!(third.contains("<option selected>partial</option>"));
    assert_eq!(next_of(&third), None);
    let doc = server.get("/api/v1/runs?result=partial&limit=2").await;
    assert_eq!(doc.json()["next_before"], json!(118));
}

#[tokio::test]
async fn bars_link_to_their_runs() {
    let server = test_server().await;
    add_history(&server).await;
    for path in ["/", "/runs"] {
        let page = server.get(path).await.body;
        let bar = page
            .split("<a class=\"bar\" href=\"/runs/1\" data-run")
            .nth(1);
        let name = bar.expect(path).split("<title>").nth(1).expect("a title");
        assert!(
            name.starts_with(
                "Run 1, 2027-01-15 08:00:00 UTC, partial: 1 applied, 1 failed, 0 held<"
            ),
            "{name}"
        );
        // The bars of the durations lead to the same places; the keyboard needs them once.
        let duration = "<a class=\"bar\" href=\"/runs/1\" tabindex=\"-1\">";
        assert!(page.contains(duration), "{page}");
    }
}

#[tokio::test]
async fn changes_are_filtered_by_email_prefix() {
    let server = test_server().await;
    add_history(&server).await;
    let again = begin(&server.db, 90).await;
    let (operation, outcome) = (Operation::Update, ChangeOutcome::Applied);
    for user in ["Anna@x.co", "ben@x.co"] {
        change(&server.db, again, operation, user, Vec::new(), outcome).await;
    }
    let found = async |query: &str| {
        let doc = server.get(&format!("/api/v1/changes?{query}")).await.json();
        let changes = doc["changes"].as_array().expect("a list");
        let text = |change: &Value| {
            format!(
                "{}:{}",
                change["run"],
                change["email"].as_str().unwrap_or("?")
            )
        };
        let texts: Vec<_> = changes.iter().map(text).collect();
        (texts.join(" "), doc["next_before"].clone())
    };
    let all = "3:ben@x.co 3:Anna@x.co 1:ann@x.co 1:<b>@x.co";
    assert_eq!(found("").await, (all.into(), Value::Null));
    assert_eq!(found("prefix=ANN").await.0, "3:Anna@x.co 1:ann@x.co");
    let (first, next) = found("prefix=ann&limit=1").await;
    assert_eq!(first, "3:Anna@x.co");
    let rest = found(&format!("prefix=ann&limit=1&before={next}")).await;
    assert_eq!(rest.0, "1:ann@x.co");
    assert_eq!(found("prefix=%25").await.0, "");

    let page = server.get("/changes?prefix=ANN").await.body;
    for part in [
        "href=\"/users/ann%40x.co\"",
        "href=\"/runs/3\">Run 3</a>",
        "value=\"ANN\"",
        "2 changes, newest first",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("ben@x.co"), "{page}");
    let none = server.get("/changes?prefix=nobody").await.body;
    assert!(none.contains("No matching changes."), "{none}");
    let hostile = server.get("/changes?prefix=%22%3E%3Cscript%3E").await.body;
    assert!(!hostile.contains("<script>"), "{hostile}");
    let all = server.get("/changes").await.body;
    assert!(!all.contains(HOSTILE), "escaped");
}

#[tokio::test]
async fn pages_of_changes_keep_the_search() {
    let server = test_server().await;
    let run = begin(&server.db, 0).await;
    let (operation, outcome) = (Operation::Create, ChangeOutcome::Applied);
    for number in 0..40 {
        let user = format!("a+{number:03}@x.co");
        change(&server.db, run, operation, &user, Vec::new(), outcome).await;
    }
    let first = server.get("/changes?prefix=a%2B").await.body;
    let next = next_of(&first).expect("a link");
    assert!(first.contains(">a+039@x.co<") && !first.contains(">a+014@x.co<"));
    let second = server.get(&next).await.body;
    assert!(second.contains(">a+014@x.co<") && second.contains(">a+000@x.co<"));
    assert_eq!(next_of(&second), None);
}
