//! Who may do what, rule by rule.

use super::support::{GOING, Served, TOKEN, Wanted, happened, served, serving, until};

const LOCAL: &str = "Host: 127.0.0.1:8080";
const PAGES: [&str; 5] = [
    "/",
    "/runs",
    "/runs/1",
    "/users?email=a@x.co",
    "/users/a@x.co",
];
const TELLS: [&str; 4] = [
    "/api/v1/status",
    "/api/v1/runs",
    "/api/v1/runs/1",
    "/api/v1/users/a@x.co",
];
const ACTIONS: [&str; 4] = [
    "/reconcile",
    "/runs/2/approve",
    "/api/v1/reconcile",
    "/api/v1/runs/2/approve",
];

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

async fn status(served: &Served, request: &str, headers: &[&str]) -> u16 {
    served.ask(request, headers, "").await.status
}

/// What each of these is answered with: pages, what the API tells, page actions, API actions.
async fn answers(served: &Served, headers: &[&str]) -> [Vec<u16>; 3] {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for (operation, method, paths) in [
        (0, "GET", &PAGES[..]),
        (1, "GET", &TELLS),
        (2, "POST", &ACTIONS),
    ] {
        for path in paths {
            let code = status(served, &format!("{method} {path}"), headers).await;
            if !all[operation].contains(&code) {
                all[operation].push(code);
            }
        }
    }
    all
}

#[tokio::test]
async fn reads_are_open_to_this_machine_alone() {
    let served = serving(Wanted {
        hosts: vec!["sync.example.com".into()],
        ..Wanted::default()
    })
    .await;
    happened(&served).await;
    for name in [
        "127.0.0.1",
        "127.9.9.9:1",
        "localhost:8080",
        "LOCALHOST",
        "[::1]:8080",
    ] {
        let pages = answers(&served, &[&format!("Host: {name}")]).await;
        assert_eq!(pages, [vec![200, 303], vec![200], vec![303, 401]], "{name}");
    }
    for through in [
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: a",
        "Via: 1.1 proxy",
        "X-Real-IP: 192.0.2.1",
    ] {
        let pages = answers(&served, &[LOCAL, through]).await;
        assert_eq!(pages, [vec![303], vec![401], vec![303, 401]], "{through}");
        let known = answers(&served, &[LOCAL, through, &bearer(TOKEN)]).await;
        assert_eq!(known[..2], [vec![200, 303], vec![200]], "{through}");
    }
    // Whoever knows this name may be anywhere.
    let named = answers(&served, &["Host: sync.example.com"]).await;
    assert_eq!(named, [vec![303], vec![401], vec![303, 401]]);
    let known = answers(&served, &["Host: Sync.Example.com:443", &bearer(TOKEN)]).await;
    assert_eq!(known[..2], [vec![200, 303], vec![200]]);
    let old = served
        .say("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await;
    assert!(old.starts_with("HTTP/1.0 303"), "a proxy of old: {old}");
}

#[tokio::test]
async fn nothing_is_open_where_others_can_connect() {
    let served = serving(Wanted {
        listen: "0.0.0.0:0",
        ..Wanted::default()
    })
    .await;
    happened(&served).await;
    assert_eq!(
        answers(&served, &[LOCAL]).await,
        [vec![303], vec![401], vec![303, 401]]
    );
    let known = answers(&served, &[LOCAL, &bearer(TOKEN)]).await;
    assert_eq!(known, [vec![200, 303], vec![200], vec![303, 202, 200]]);
    for open in ["/metrics", "/healthz", "/login", "/assets/style.css"] {
        assert_eq!(
            status(&served, &format!("GET {open}"), &[LOCAL]).await,
            200,
            "{open}"
        );
    }
}

#[tokio::test]
async fn without_a_token_actions_are_refused_with_what_to_set() {
    let served = serving(Wanted {
        token: None,
        ..Wanted::default()
    })
    .await;
    happened(&served).await;
    assert_eq!(
        answers(&served, &[LOCAL]).await,
        [vec![200, 303], vec![200], vec![403]]
    );
    for path in ACTIONS {
        let answer = served.post(path).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("serve.admin_token_file"), "{answer:?}");
    }
    assert_eq!(served.get("/login").await.status, 403);
    let approved = served.journal.approval_mark().await.expect("is read");
    assert_eq!(approved, 0);
    let elsewhere = serving(Wanted {
        listen: "0.0.0.0:0",
        token: None,
        ..Wanted::default()
    })
    .await;
    assert_eq!(
        answers(&elsewhere, &[LOCAL]).await,
        [vec![403], vec![403], vec![403]]
    );
}

#[tokio::test]
async fn strangers_names_and_pages_are_refused() {
    let served = serving(Wanted {
        hosts: vec!["sync.example.com".into(), "other.example:8443".into()],
        ..Wanted::default()
    })
    .await;
    happened(&served).await;
    let own = bearer(TOKEN);
    for (headers, code) in [
        (vec!["Host: evil.example"], 421),
        (vec!["Host: 127.0.0.1.evil.example"], 421),
        (vec!["Host: localhost.evil.example"], 421),
        (vec!["Host: 10.0.0.1"], 421),
        (vec!["Host: other.example"], 421),
        (vec!["Host: other.example:8443"], 200),
        (vec!["Host: sync.example.com:1"], 200),
        (vec!["Host: user@localhost"], 400),
        (vec!["Host: "], 400),
        (vec![], 400),
        (vec!["Host: localhost", "Host: localhost"], 400),
        (vec!["Host: localhost", "Origin: https://evil.example"], 403),
        (vec!["Host: localhost", "Origin: null"], 403),
        (
            vec!["Host: localhost", "Origin: http://localhost:3000"],
            403,
        ),
        (vec!["Host: localhost", "Origin: file://localhost"], 403),
        (
            vec![
                "Host: localhost",
                "Origin: http://localhost",
                "Origin: http://b",
            ],
            403,
        ),
        (vec!["Host: localhost", "Origin: http://localhost"], 200),
        (
            vec!["Host: localhost:80", "Origin: https://sync.example.com"],
            200,
        ),
        // A proxy on another port that leaves it out of Host: the browser says that the page is the same.
        (
            vec![
                "Host: sync.example.com",
                "Origin: https://sync.example.com:8443",
                "Sec-Fetch-ServerConfig: same-origin",
            ],
            200,
        ),
        // Something else on another port of the name, which is sent the same cookies.
        (
            vec![
                "Host: sync.example.com",
                "Origin: https://sync.example.com:3000",
                "Sec-Fetch-ServerConfig: same-site",
            ],
            403,
        ),
        (
            vec![
                "Host: sync.example.com",
                "Origin: https://sync.example.com:3000",
            ],
            403,
        ),
        (
            vec![
                "Host: localhost",
                "Origin: https://evil.example:8443",
                "Sec-Fetch-ServerConfig: same-origin",
            ],
            403,
        ),
        (
            vec!["Host: localhost", "Sec-Fetch-ServerConfig: cross-site"],
            200,
        ),
    ] {
        let headers = [&headers[..], &[&own]].concat();
        for path in ["/", "/api/v1/status"] {
            let found = status(&served, &format!("GET {path}"), &headers).await;
            assert_eq!(found, code, "{path} {headers:?}");
        }
        let posted = status(&served, "POST /api/v1/reconcile", &headers).await;
        let crosses = headers.contains(&"Sec-Fetch-ServerConfig: cross-site");
        let expected = if crosses {
            403
        } else if code == 200 {
            202
        } else {
            code
        };
        assert_eq!(posted, expected, "{headers:?}");
    }
    let absolute = served
        .ask("GET http://evil.example/", &["Host: localhost"], "")
        .await;
    assert_eq!(absolute.status, 400, "{absolute:?}");
}

#[tokio::test]
async fn a_log_in_opens_a_session_and_a_log_out_ends_it() {
    let served = served().await;
    happened(&served).await;
    let wrong = served.log_in("guess", &[]).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("not the admin token"), "{wrong:?}");
    assert!(wrong.header("set-cookie").is_none());
    let right = served.log_in(TOKEN, &["Origin: http://localhost"]).await;
    assert_eq!(
        (right.status, right.header("location")),
        (303, Some("/runs/2"))
    );
    let cookie = right.header("set-cookie").expect("a cookie");
    for word in ["httponly", "samesite=strict", "path=/", "max-age=28800"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert!(!cookie.contains("secure"), "{cookie}");
    let cookie = format!("Cookie: a=b; {}", right.cookie());
    let page = served.ask("GET /", &["Host: localhost", &cookie], "").await;
    assert!(
        page.body.contains("Run now") && page.body.contains("Log out"),
        "{page:?}"
    );
    let acts = async || {
        status(
            &served,
            "POST /api/v1/reconcile",
            &["Host: localhost", &cookie],
        )
        .await
    };
    assert_eq!(acts().await, 202);
    let out = served
        .ask("POST /logout", &["Host: localhost", &cookie], "")
        .await;
    assert_eq!(out.status, 303);
    assert!(
        out.header("set-cookie")
            .is_some_and(|cookie| cookie.contains("max-age=0"))
    );
    assert_eq!(acts().await, 401);
}

#[tokio::test]
async fn two_daemons_on_a_host_keep_their_sessions() {
    let (one, other) = (served().await, served().await);
    // As a browser keeps them: by name and host, whatever the port.
    let mut cookies = std::collections::BTreeMap::new();
    for served in [&one, &other] {
        let cookie = served.log_in(TOKEN, &[]).await.cookie();
        let (name, id) = cookie.split_once('=').expect("a pair");
        cookies.insert(name.to_owned(), id.to_owned());
    }
    let pairs: Vec<_> = cookies
        .iter()
        .map(|(name, id)| format!("{name}={id}"))
        .collect();
    let sent = format!("Cookie: {}", pairs.join("; "));
    for served in [&one, &other] {
        let acted = status(
            served,
            "POST /api/v1/reconcile",
            &["Host: localhost", &sent],
        )
        .await;
        assert_eq!(acted, 202, "{sent}");
    }
}

#[tokio::test]
async fn a_session_got_by_https_is_sent_by_nothing_else() {
    let served = serving(Wanted {
        hosts: vec!["sync.example.com".into()],
        ..Wanted::default()
    })
    .await;
    let right = served
        .log_in(TOKEN, &["Origin: https://sync.example.com"])
        .await;
    assert!(
        right
            .header("set-cookie")
            .is_some_and(|cookie| cookie.contains("; secure"))
    );
}

#[tokio::test]
async fn an_exchanged_token_ends_what_the_old_one_opened() {
    let served = served().await;
    let cookie = format!("Cookie: {}", served.log_in(TOKEN, &[]).await.cookie());
    let acts = async |header: &str| {
        status(
            &served,
            "POST /api/v1/reconcile",
            &["Host: localhost", header],
        )
        .await
    };
    assert_eq!(acts(&cookie).await, 202);
    std::fs::write(served.token_path(), "another-token\n").expect("written");
    until("the session ends", async || acts(&cookie).await == 401).await;
    assert_eq!(acts(&bearer(TOKEN)).await, 401);
    assert_eq!(acts(&bearer("another-token")).await, 202);
    std::fs::remove_file(served.token_path()).expect("removed");
    let new = bearer("another-token");
    until("it is gone", async || acts(&new).await == 403).await;
    let gone = served.post("/api/v1/reconcile").await;
    assert!(gone.body.contains("can't be read"), "{gone:?}");
    assert!(
        !gone
            .body
            .contains(served.folder.path().to_str().expect("text")),
        "{gone:?}"
    );
}

#[tokio::test]
async fn five_wrong_tokens_a_minute() {
    let served = served().await;
    let cookie = format!("Cookie: {}", served.log_in(TOKEN, &[]).await.cookie());
    for guess in 0..5 {
        let code = match guess % 2 {
            0 => served.log_in("guess", &[]).await.status,
            _ => {
                status(
                    &served,
                    "GET /api/v1/status",
                    &["Host: localhost", &bearer("guess")],
                )
                .await
            }
        };
        assert_eq!(code, 401);
    }
    let sixth = served.log_in(TOKEN, &[]).await;
    assert_eq!(sixth.status, 429, "even the right one");
    assert!(sixth.header("retry-after").is_some());
    assert_eq!(served.post("/api/v1/reconcile").await.status, 429);
    let proxied = served.log_in(TOKEN, &["X-Forwarded-For: 192.0.2.7"]).await;
    assert_eq!(proxied.status, 303, "somebody else behind a proxy");
    let acts = status(
        &served,
        "POST /api/v1/reconcile",
        &["Host: localhost", &cookie],
    )
    .await;
    assert_eq!(acts, 202, "who is logged in stays so");
    assert_eq!(served.get("/").await.status, 200);
}

/// Whoever is on the machine can say each time that they ask for somebody else.
#[tokio::test]
async fn thirty_wrong_tokens_a_minute_from_this_machine_whatever_it_says() {
    let served = served().await;
    let mut codes = std::collections::BTreeMap::new();
    for guess in 0..100 {
        let said = format!("X-Forwarded-For: 192.0.2.{guess}");
        let code = served.log_in("guess", &[&said]).await.status;
        *codes.entry(code).or_insert(0) += 1;
    }
    assert_eq!(codes, [(401, 30), (429, 70)].into());
    let right = served
        .log_in(TOKEN, &["X-Forwarded-For: 192.0.2.200"])
        .await;
    assert_eq!(right.status, 429, "even the right one");
    assert!(right.header("retry-after").is_some());
}

#[tokio::test]
async fn who_guesses_too_often_causes_no_read_of_the_token() {
    let served = served().await;
    for _ in 0..5 {
        assert_eq!(served.log_in("guess", &[]).await.status, 401);
    }
    std::fs::remove_file(served.token_path()).expect("removed");
    let gone = async || {
        let other = served.log_in(TOKEN, &["X-Forwarded-For: 192.0.2.7"]).await;
        other.status == 403
    };
    until("others are told that it is gone", gone).await;
    assert_eq!(served.log_in(TOKEN, &[]).await.status, 429);
}

#[tokio::test]
async fn the_token_is_in_no_answer() {
    let served = served().await;
    happened(&served).await;
    let bearer = bearer(TOKEN);
    let form = served.log_in(TOKEN, &[]).await;
    assert!(!format!("{form:?}").contains("hunter2"));
    let cookie = format!("Cookie: {}", form.cookie());
    for path in PAGES
        .iter()
        .chain(&TELLS)
        .chain(&["/login", "/metrics", "/readyz", "/nothing"])
    {
        for header in [&bearer, &cookie] {
            let request = format!("GET {path}");
            let answer = served.ask(&request, &["Host: localhost", header], "").await;
            assert!(!format!("{answer:?}").contains("hunter2"), "{path}");
        }
    }
}

#[tokio::test]
async fn probes_and_metrics_name_nobody() {
    let served = served().await;
    happened(&served).await;
    for path in ["/metrics", "/healthz", "/readyz"] {
        let text = format!("{:?}", served.get(path).await);
        for user in GOING.iter().chain(&["ann@x.co", "bad@x.co", "users.csv"]) {
            assert!(!text.contains(user), "{path}: {text}");
        }
    }
}
