//! A hostile server in the place of Omni: every answer ends in a clear error, in bounded time and memory, and the key
//! is sent nowhere else.

use super::child::{Ended, KEY, Location};
use super::server::{Reply, Server};
use futures_util::future::join_all;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ROSTER: &str =
    "op,email,display_name,department\nupsert,ann@x.co,Ann,Sales\ndelete,bob@x.co,,\n";
/// In MiB: a few of the largest responses that are read.
const MAX_MEMORY: u64 = 300;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
/// `{"totalResults":0,"Resources":[]}`, compressed.
const GZIP: [u8; 50] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 201, 47, 73, 204, 9, 74, 45, 46, 205, 41, 41, 86,
    178, 50, 208, 81, 2, 178, 243, 75, 139, 146, 83, 129, 188, 232, 216, 90, 0, 98, 124, 181, 223,
    33, 0, 0, 0,
];

type Act = Box<dyn Fn(&str) -> Reply + Send + Sync>;

fn always(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Act {
    Box::new(move |_| reply())
}

/// The attempts of the client for one request.
const ATTEMPTS: usize = 6;

/// Closes the connection at once, and answers only the last attempt of each request, so that an endless answer is sent
/// once.
fn at_last(act: Act) -> Act {
    let attempts = Mutex::new(HashMap::<String, usize>::new());
    Box::new(move |asked| {
        let mut attempts = attempts.lock().expect("no panic");
        let attempt = attempts.entry(asked.to_owned()).or_default();
        *attempt += 1;
        if *attempt < ATTEMPTS {
            Reply::Close
        } else {
            act(asked)
        }
    })
}

/// A listing whose pages `page` makes, and definitions as they should be.
fn listing(page: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Act {
    Box::new(move |asked| {
        if asked.contains("user-attributes") {
            Reply::json(definitions("department").to_string())
        } else {
            Reply::json(page(asked))
        }
    })
}

fn definitions(name: &str) -> serde_json::Value {
    json!({ "records": [{ "name": name, "type": "String", "multiple_values": false }] })
}

fn nested(depth: usize) -> String {
    "[".repeat(depth)
}

/// A user in JSON. Large values make building one with `json!` slow.
fn user(number: u64, department: &str) -> String {
    format!(
        r#"{{"id":"id-{number}","userName":"u{number}@x.co","urn:omni:params:1.0:UserAttribute":{{"department":"{department}"}}}}"#
    )
}

/// Invalid answers, each with the expected error.
fn no_answers() -> Vec<(&'static str, Act, &'static str)> {
    let now = Duration::ZERO;
    let slowly = Duration::from_millis(100);
    let trickle = |head: &'static str, piece: &'static str| {
        at_last(always(move || {
            Reply::Endless(head.into(), piece.into(), slowly)
        }))
    };
    let flood = |head: String, piece: String| {
        at_last(always(move || {
            Reply::Endless(head.clone().into(), piece.clone().into(), now)
        }))
    };
    let megabyte = "x".repeat(1 << 20);
    vec![
        (
            "a body without end",
            flood(format!("{OK}\r\n"), megabyte.clone()),
            "more than 32 MiB",
        ),
        (
            "chunks without end",
            flood(
                format!("{OK}Transfer-Encoding: chunked\r\n\r\n"),
                format!("100000\r\n{megabyte}\r\n"),
            ),
            "more than 32 MiB",
        ),
        (
            "a length that is a lie",
            flood(
                format!("{OK}Content-Length: 18446744073709551615\r\n\r\n"),
                megabyte.clone(),
            ),
            "can't be reached",
        ),
        (
            "an error without end",
            flood("HTTP/1.1 500 No\r\n\r\n".into(), megabyte.clone()),
            "more than 32 MiB",
        ),
        (
            "headers without end",
            flood(OK.into(), "X-More: and more\r\n".repeat(1000)),
            "can't be reached",
        ),
        (
            "one header without end",
            flood(format!("{OK}X: "), megabyte),
            "can't be reached",
        ),
        (
            "a hundred thousand headers",
            always(|| Reply::Bytes(format!("{OK}{}\r\n{{}}", "X: y\r\n".repeat(100_000)).into())),
            "can't be reached",
        ),
        (
            "hints without end",
            flood(String::new(), "HTTP/1.1 103 Early Hints\r\n\r\n".into()),
            "can't be reached",
        ),
        (
            "a slow head",
            trickle("HTTP/1.1 200 OK\r\nX: ", "x"),
            "no response in time",
        ),
        (
            "a slow body",
            trickle("HTTP/1.1 200 OK\r\n\r\n", " "),
            "no response in time",
        ),
        ("silence", trickle("", ""), "no response in time"),
        (
            "no HTTP",
            always(|| Reply::Bytes(b"SSH-2.0-OpenSSH_9\r\n".into())),
            "can't be reached",
        ),
        (
            "a page for people",
            always(|| Reply::of("200 OK", "text/html", "<!doctype html><p>Log in")),
            "HTML instead of JSON",
        ),
        (
            "no text",
            always(|| Reply::json(b"\xff\xfe{}")),
            "can't be read",
        ),
        (
            "nested a million times",
            always(|| Reply::json(nested(1_000_000))),
            "can't be read",
        ),
        (
            "nested a million times where it is refused",
            always(|| Reply::of("500 No", "application/json", nested(1_000_000))),
            "HTTP 500",
        ),
        (
            "compressed",
            always(|| {
                let head = format!(
                    "{OK}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                    GZIP.len()
                );
                Reply::Bytes([head.as_bytes(), &GZIP].concat())
            }),
            "can't be read",
        ),
    ]
}

/// That a command failed in words, did not take too much, and did not crash.
fn assert_clear(name: &str, ended: &Ended, says: &str) {
    assert_eq!(ended.code, 1, "{name}: {}", ended.said());
    assert!(ended.err.contains(says), "{name}: {}", ended.said());
    assert!(!ended.err.contains("panicked"), "{name}: {}", ended.said());
    assert!(
        ended.err.len() < 10_000,
        "{name}: it says {} bytes",
        ended.err.len()
    );
    assert!(ended.memory < MAX_MEMORY, "{name}: {} MiB", ended.memory);
}

/// In parallel, because each retries with pauses.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_responses_fail_in_bounded_time_and_memory() {
    let commands = [&["apply", "--yes"][..], &["plan"], &["check"], &["export"]];
    let refused = commands.map(|arguments| async move {
        let command = arguments[0];
        let location = Location::new("http://127.0.0.1:9", ROSTER);
        let ended = location.run(arguments).await;
        assert_clear(command, &ended, "connection failed");
        assert!(!ended.said().contains(KEY), "{command}: {}", ended.said());
    });
    let cases = no_answers()
        .into_iter()
        .map(|(name, act, says)| async move {
            let server = Server::start(act).await;
            let location = Location::new(&server.url(), ROSTER);
            assert_clear(name, &location.run(&["export"]).await, says);
            for head in server.heads() {
                assert!(!head.contains("accept-encoding"), "{name}: {head}");
            }
        });
    tokio::join!(join_all(refused), join_all(cases));
}

/// Pages of a listing that never ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_listing_is_abandoned() {
    let value = "x".repeat(16 << 20);
    let next = AtomicU64::new(1);
    // The next users, and a total that is larger each time.
    let more = move |count: u64, total: u64, value: &str| {
        let first = next.fetch_add(count, Ordering::Relaxed);
        let users: Vec<_> = (first..first + count)
            .map(|number| user(number, value))
            .collect();
        let total = total.max(first + count);
        format!(
            r#"{{"totalResults":{total},"Resources":[{}]}}"#,
            users.join(",")
        )
        .into_bytes()
    };
    let more = Arc::new(more);
    let pages = more.clone();
    let cases: [(&str, Act); 2] = [
        ("a total that grows", listing(move |_| pages(20, 1, ""))),
        ("large users", listing(move |_| more(1, 1_000_000, &value))),
    ];
    let cases = cases.map(|(name, act)| async move {
        let server = Server::start(act).await;
        let location =
            Location::new(&server.url(), ROSTER).set("OMNI_USER_SYNC__OMNI__TIMEOUT", "1m");
        let ended = location.run(&["export"]).await;
        assert_clear(name, &ended, "exceeds the supported size");
        assert_eq!(ended.out.len(), 0, "{name}");
    });
    join_all(cases).await;
}

/// Ids that lead elsewhere in a path.
const IDS: [&str; 17] = [
    "../Groups/1",
    "..%2fGroups",
    "%2e%2e/Groups",
    "..",
    ".",
    "a/b",
    "a?b=c",
    "a#b",
    "a\\b",
    "a b",
    "a\r\nX-Evil: 1",
    "@evil.example",
    "//evil.example/x",
    "http://evil.example/",
    "",
    "\u{0}",
    "é",
];

/// Each id belongs to a user to be changed and to one to be removed.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_ids_do_not_change_request_paths() {
    let mut roster = "op,email,display_name\n".to_owned();
    let mut users = Vec::new();
    for (number, id) in IDS.iter().enumerate() {
        roster += &format!("upsert,ann{number}@x.co,Ann\ndelete,bob{number}@x.co,\n");
        users.push(
            json!({ "id": id, "userName": format!("ann{number}@x.co"), "displayName": "Old" }),
        );
        users.push(json!({ "id": id, "userName": format!("bob{number}@x.co") }));
    }
    let page = json!({ "totalResults": users.len(), "Resources": users }).to_string();
    let answer = listing(move |_| page.clone().into());
    let server = Server::start(move |asked: &str| match asked.split_once(' ') {
        Some(("GET", _)) => answer(asked),
        _ => Reply::of("409 Conflict", "application/json", "{}"),
    });
    let server = server.await;
    let location = Location::new(&server.url(), roster)
        .set("OMNI_USER_SYNC__POLICY__MAX_REMOVALS", "100%")
        .set("OMNI_USER_SYNC__POLICY__MAX_UPDATES", "");
    let ended = location.run(&["apply", "--yes"]).await;
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
    for head in server.heads() {
        let line = head.lines().next().unwrap_or_default().to_owned();
        let expected = [
            "get /api/v1/user-attributes ",
            "get /api/scim/v2/users?",
            "post /api/scim/v2/users ",
        ];
        assert!(
            expected.iter().any(|begin| line.starts_with(begin)),
            "{line}"
        );
        assert!(!head.contains("evil"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_not_sent_to_redirects() {
    let elsewhere = Server::start(always(|| Reply::json("{}"))).await;
    for status in ["301 M", "302 F", "303 S", "307 T", "308 P"] {
        for to in [elsewhere.url(), format!("//{}", elsewhere.address)] {
            let answer =
                format!("HTTP/1.1 {status}\r\nLocation: {to}/x\r\nContent-Length: 0\r\n\r\n");
            let server = Server::start(move |_: &str| Reply::Bytes(answer.clone().into())).await;
            let location = Location::new(&server.url(), ROSTER);
            for command in [&["apply", "--yes"][..], &["check"], &["export"]] {
                let ended = location.run(command).await;
                let said = ended.said();
                assert!(said.contains("redirects are not followed"), "{said}");
                assert_eq!(ended.code, 1);
            }
        }
    }
    assert_eq!(elsewhere.heads(), Vec::<String>::new());
}

/// What a terminal or a reader would obey: escapes, and marks that turn the order of a line.
const OBEYED: &str = "\u{1b}]0;evil\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{200f}\u{85}\r\u{8}";

/// What a line must not hold. In JSON, which is for machines, the rest is data.
fn is_obeyed(line: &str, c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_json = ['{', '}', '"', '[', ']']
        .iter()
        .any(|begin| line.trim_start().starts_with(*begin));
    c < ' ' || (!is_json && (c.is_control() || turns))
}

/// An Omni all of whose words hold such marks.
fn obeyed(asked: &str, email: &str, attribute: &str) -> Reply {
    if asked.contains("user-attributes") {
        return Reply::json(definitions(attribute).to_string());
    }
    if !asked.starts_with("GET") {
        let body = json!({ "detail": format!("no {OBEYED} such") });
        return Reply::of("400 Bad", "application/json", body.to_string());
    }
    let user = |id: &str, email: &str| {
        let mut user = json!({ "id": id, "userName": email, "displayName": OBEYED });
        user["urn:omni:params:1.0:UserAttribute"][attribute] = json!(OBEYED);
        user
    };
    if asked.ends_with("/Users/1") {
        return Reply::json(user("1", "ann@x.co").to_string());
    }
    let mut users = vec![user("1", "ann@x.co")];
    if !asked.contains("filter=") {
        users.push(user("2", email));
    }
    Reply::json(json!({ "totalResults": users.len(), "Resources": users }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn output_contains_no_terminal_escapes() {
    let email = "an\u{202e}n\u{2066}\u{200f}@x.co";
    let attribute = format!("department{OBEYED}x");
    let roster = format!(
        "op,email,display_name,\"{attribute}\"\n\
         upsert,ann@x.co,Ann,new\nupsert,{email},Ann,{OBEYED}\n{OBEYED},b@x.co,,\nupsert,c@x.co,,\n"
    );
    let server = Server::start(move |asked: &str| obeyed(asked, email, &attribute)).await;
    for format in ["text", "json"] {
        let location =
            Location::new(&server.url(), &roster).set("OMNI_USER_SYNC__LOG__FORMAT", format);
        for command in [
            &["plan"][..],
            &["check"],
            &["--log", "trace", "apply", "--yes"],
            &["explain", "ann@x.co"],
            &["history"],
            &["history", "1"],
            &["plan", "--json"],
            &["check", "--json"],
        ] {
            let said = location.run(command).await.said();
            assert!(command[0] != "explain" || said.contains("31m"), "{said}");
            for line in said.lines() {
                let obeyed = line.chars().any(|c| is_obeyed(line, c));
                assert!(!obeyed, "{command:?} {format}: {line:?}");
            }
        }
    }
}
