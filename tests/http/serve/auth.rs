//! Permissions, origins and sessions.

use super::support::{
    REMOVED, ServerOptions, TOKEN, TestServer, add_history, server_with, test_server, until,
};

const LOCAL: &str = "Host: 127.0.0.1:8080";
const PAGES: [&str; 8] = [
    "/",
    "/runs",
    "/runs/1",
    "/users?email=a@x.co",
    "/users",
    "/users?state=managed&prefix=a",
    "/settings",
    "/users/a@x.co",
];
const READS: [&str; 6] = [
    "/api/v1/status",
    "/api/v1/runs",
    "/api/v1/runs/1",
    "/api/v1/users/a@x.co",
    "/api/v1/users?state=protected",
    "/api/v1/settings",
];
const ACTIONS: [&str; 12] = [
    "/preview/file",
    "/reconcile",
    "/stop",
    "/pause",
    "/resume",
    "/runs/2/approve",
    "/api/v1/preview/file",
    "/api/v1/reconcile",
    "/api/v1/stop",
    "/api/v1/pause",
    "/api/v1/resume",
    "/api/v1/runs/2/approve",
];

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

async fn status(server: &TestServer, request: &str, headers: &[&str]) -> u16 {
    server.ask(request, headers, "").await.status
}

/// The status codes of pages, of reads of the API, and of actions.
async fn answers(server: &TestServer, headers: &[&str]) -> [Vec<u16>; 3] {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    let form = "Content-Type: application/x-www-form-urlencoded";
    let headers = &[headers, &[form]].concat();
    for (group, method, paths) in [
        (0, "GET", &PAGES[..]),
        (1, "GET", &READS),
        (2, "POST", &ACTIONS),
    ] {
        for path in paths {
            let code = status(server, &format!("{method} {path}"), headers).await;
            if !all[group].contains(&code) {
                all[group].push(code);
            }
        }
    }
    all
}

#[tokio::test]
async fn reads_are_open_to_this_machine_only() {
    let server = server_with(ServerOptions {
        hosts: vec!["sync.example.com".into()],
        ..ServerOptions::default()
    })
    .await;
    add_history(&server).await;
    for name in [
        "127.0.0.1",
        "127.9.9.9:1",
        "localhost:8080",
        "LOCALHOST",
        "[::1]:8080",
    ] {
        let pages = answers(&server, &[&format!("Host: {name}")]).await;
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
        let pages = answers(&server, &[LOCAL, through]).await;
        assert_eq!(pages, [vec![303], vec![401], vec![303, 401]], "{through}");
        let known = answers(&server, &[LOCAL, through, &bearer(TOKEN)]).await;
        assert_eq!(known[..2], [vec![200, 303], vec![200]], "{through}");
    }
    // Clients of this name can be anywhere.
    let named = answers(&server, &["Host: sync.example.com"]).await;
    assert_eq!(named, [vec![303], vec![401], vec![303, 401]]);
    let known = answers(&server, &["Host: Sync.Example.com:443", &bearer(TOKEN)]).await;
    assert_eq!(known[..2], [vec![200, 303], vec![200]]);
    let old = server
        .say("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await;
    assert!(old.starts_with("HTTP/1.0 303"), "an old proxy: {old}");
}

#[tokio::test]
async fn public_address_requires_token_for_reads() {
    let server = server_with(ServerOptions {
        listen: "0.0.0.0:0",
        ..ServerOptions::default()
    })
    .await;
    add_history(&server).await;
    assert_eq!(
        answers(&server, &[LOCAL]).await,
        [vec![303], vec![401], vec![303, 401]]
    );
    let known = answers(&server, &[LOCAL, &bearer(TOKEN)]).await;
    let actions = vec![400, 303, 415, 202, 409, 200];
    assert_eq!(known, [vec![200, 303], vec![200], actions]);
    for open in ["/metrics", "/healthz", "/login", "/assets/style.css"] {
        assert_eq!(
            status(&server, &format!("GET {open}"), &[LOCAL]).await,
            200,
            "{open}"
        );
    }
}

#[tokio::test]
async fn actions_without_a_token_name_the_setting() {
    let server = server_with(ServerOptions {
        token: None,
        ..ServerOptions::default()
    })
    .await;
    add_history(&server).await;
    assert_eq!(
        answers(&server, &[LOCAL]).await,
        [vec![200, 303], vec![200], vec![403]]
    );
    for path in ACTIONS {
        let answer = server.post(path).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("serve.admin_token_file"), "{answer:?}");
    }
    assert_eq!(server.get("/login").await.status, 403);
    let approved = server.db.approval_mark().await.expect("is read");
    assert_eq!(approved, 0);
    let elsewhere = server_with(ServerOptions {
        listen: "0.0.0.0:0",
        token: None,
        ..ServerOptions::default()
    })
    .await;
    assert_eq!(
        answers(&elsewhere, &[LOCAL]).await,
        [vec![403], vec![403], vec![403]]
    );
}

/// The status code of a request with these headers.
const ORIGINS: &str = "
421 Host: evil.example
421 Host: 127.0.0.1.evil.example
421 Host: localhost.evil.example
421 Host: 10.0.0.1
421 Host: other.example
200 Host: other.example:8443
200 Host: sync.example.com:1
400 Host: user@localhost
400 Host: [::1].evil.example
400 Host: [::1]evil.example:80
400 Host: localhost:80.evil.example
200 Host: [::1]:80
403 Host: localhost | Origin: http://[::1].evil.example
400 Host:
400 Accept: text/html
400 Host: localhost | Host: localhost
403 Host: localhost | Origin: https://evil.example
403 Host: localhost | Origin: null
403 Host: localhost | Origin: http://localhost:3000
403 Host: localhost | Origin: file://localhost
403 Host: localhost | Origin: http://localhost | Origin: http://b
200 Host: localhost | Origin: http://localhost
200 Host: localhost:80 | Origin: https://sync.example.com
# A proxy on another port that omits it from Host; the browser says that the origin is the same.
200 Host: sync.example.com | Origin: https://sync.example.com:8443 | Sec-Fetch-Site: same-origin
# Another server on another port of the name, which receives the same cookies.
403 Host: sync.example.com | Origin: https://sync.example.com:3000 | Sec-Fetch-Site: same-site
403 Host: sync.example.com | Origin: https://sync.example.com:3000
403 Host: localhost | Origin: https://evil.example:8443 | Sec-Fetch-Site: same-origin
# A link on a page of another site, and an image or a frame there.
200 Host: localhost | Sec-Fetch-Site: cross-site
200 Host: localhost | Sec-Fetch-Site: cross-site | Sec-Fetch-Dest: document
403 Host: localhost | Sec-Fetch-Site: cross-site | Sec-Fetch-Dest: image
403 Host: localhost | Sec-Fetch-Site: cross-site | Sec-Fetch-Dest: iframe
";

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let server = server_with(ServerOptions {
        hosts: vec!["sync.example.com".into(), "other.example:8443".into()],
        ..ServerOptions::default()
    })
    .await;
    add_history(&server).await;
    let own = bearer(TOKEN);
    for line in ORIGINS.trim().lines().filter(|line| !line.starts_with('#')) {
        let (code, headers) = line.split_once(' ').expect("a code and headers");
        let code: u16 = code.parse().expect("a code");
        let headers: Vec<&str> = headers.split(" | ").chain([own.as_str()]).collect();
        for path in ["/", "/api/v1/status"] {
            let found = status(&server, &format!("GET {path}"), &headers).await;
            assert_eq!(found, code, "{path} {headers:?}");
        }
        let posted = status(&server, "POST /api/v1/reconcile", &headers).await;
        let crosses = headers.contains(&"Sec-Fetch-Site: cross-site");
        let expected = if crosses {
            403
        } else if code == 200 {
            202
        } else {
            code
        };
        assert_eq!(posted, expected, "{headers:?}");
    }
    let absolute = server
        .ask("GET http://evil.example/", &["Host: localhost"], "")
        .await;
    assert_eq!(absolute.status, 400, "{absolute:?}");
}

#[tokio::test]
async fn login_opens_and_logout_ends_a_session() {
    let server = test_server().await;
    add_history(&server).await;
    let wrong = server.log_in("guess", &[]).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("Wrong admin token."), "{wrong:?}");
    assert!(wrong.header("set-cookie").is_none());
    let right = server.log_in(TOKEN, &["Origin: http://localhost"]).await;
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
    let page = server.ask("GET /", &["Host: localhost", &cookie], "").await;
    assert!(
        page.body.contains("Run now") && page.body.contains("Log out"),
        "{page:?}"
    );
    let acts = async || {
        status(
            &server,
            "POST /api/v1/reconcile",
            &["Host: localhost", &cookie],
        )
        .await
    };
    assert_eq!(acts().await, 202);
    let out = server
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
async fn daemons_on_one_host_have_separate_sessions() {
    let (one, other) = (test_server().await, test_server().await);
    // Browsers store cookies by name and host, without the port.
    let mut cookies = std::collections::BTreeMap::new();
    for server in [&one, &other] {
        let cookie = server.log_in(TOKEN, &[]).await.cookie();
        let (name, id) = cookie.split_once('=').expect("a pair");
        cookies.insert(name.to_owned(), id.to_owned());
    }
    let pairs: Vec<_> = cookies
        .iter()
        .map(|(name, id)| format!("{name}={id}"))
        .collect();
    let sent = format!("Cookie: {}", pairs.join("; "));
    for server in [&one, &other] {
        let acted = status(
            server,
            "POST /api/v1/reconcile",
            &["Host: localhost", &sent],
        )
        .await;
        assert_eq!(acted, 202, "{sent}");
    }
}

#[tokio::test]
async fn session_cookie_over_https_is_secure() {
    let server = server_with(ServerOptions {
        hosts: vec!["sync.example.com".into()],
        ..ServerOptions::default()
    })
    .await;
    let right = server
        .log_in(TOKEN, &["Origin: https://sync.example.com"])
        .await;
    assert!(
        right
            .header("set-cookie")
            .is_some_and(|cookie| cookie.contains("; secure"))
    );
}

#[tokio::test]
async fn replaced_token_ends_old_sessions() {
    let server = test_server().await;
    let cookie = format!("Cookie: {}", server.log_in(TOKEN, &[]).await.cookie());
    let acts = async |header: &str| {
        status(
            &server,
            "POST /api/v1/reconcile",
            &["Host: localhost", header],
        )
        .await
    };
    assert_eq!(acts(&cookie).await, 202);
    std::fs::write(server.token_path(), "another-token\n").expect("written");
    until("the session ends", async || acts(&cookie).await == 401).await;
    assert_eq!(acts(&bearer(TOKEN)).await, 401);
    assert_eq!(acts(&bearer("another-token")).await, 202);
    std::fs::remove_file(server.token_path()).expect("removed");
    let new = bearer("another-token");
    until("it is gone", async || acts(&new).await == 403).await;
    let gone = server.post("/api/v1/reconcile").await;
    assert!(gone.body.contains("can't be read"), "{gone:?}");
    assert!(
        !gone
            .body
            .contains(server.folder.path().to_str().expect("text")),
        "{gone:?}"
    );
}

#[tokio::test]
async fn an_address_gets_five_wrong_tokens_a_minute() {
    let server = test_server().await;
    let cookie = format!("Cookie: {}", server.log_in(TOKEN, &[]).await.cookie());
    for guess in 0..5 {
        let code = match guess % 2 {
            0 => server.log_in("guess", &[]).await.status,
            _ => {
                status(
                    &server,
                    "GET /api/v1/status",
                    &["Host: localhost", &bearer("guess")],
                )
                .await
            }
        };
        assert_eq!(code, 401);
    }
    let sixth = server.log_in(TOKEN, &[]).await;
    assert_eq!(sixth.status, 429, "even the right one");
    assert!(sixth.header("retry-after").is_some());
    assert_eq!(server.post("/api/v1/reconcile").await.status, 429);
    let proxied = server.log_in(TOKEN, &["X-Forwarded-For: 192.0.2.7"]).await;
    assert_eq!(proxied.status, 303, "another client behind a proxy");
    let acts = status(
        &server,
        "POST /api/v1/reconcile",
        &["Host: localhost", &cookie],
    )
    .await;
    assert_eq!(acts, 202, "existing sessions stay open");
    assert_eq!(server.get("/").await.status, 200);
}

/// Clients on this machine can send a different address in each request.
#[tokio::test]
async fn this_machine_gets_thirty_wrong_tokens_a_minute() {
    let server = test_server().await;
    let mut codes = std::collections::BTreeMap::new();
    for guess in 0..100 {
        let said = format!("X-Forwarded-For: 192.0.2.{guess}");
        let code = server.log_in("guess", &[&said]).await.status;
        *codes.entry(code).or_insert(0) += 1;
    }
    assert_eq!(codes, [(401, 30), (429, 70)].into());
    let right = server
        .log_in(TOKEN, &["X-Forwarded-For: 192.0.2.200"])
        .await;
    assert_eq!(right.status, 429, "even the right one");
    assert!(right.header("retry-after").is_some());
}

#[tokio::test]
async fn rate_limited_logins_do_not_read_the_token() {
    let server = test_server().await;
    for _ in 0..5 {
        assert_eq!(server.log_in("guess", &[]).await.status, 401);
    }
    std::fs::remove_file(server.token_path()).expect("removed");
    let gone = async || {
        let other = server.log_in(TOKEN, &["X-Forwarded-For: 192.0.2.7"]).await;
        other.status == 403
    };
    until("other addresses get the read error", gone).await;
    assert_eq!(server.log_in(TOKEN, &[]).await.status, 429);
}

#[tokio::test]
async fn no_response_contains_the_token() {
    let server = test_server().await;
    add_history(&server).await;
    let bearer = bearer(TOKEN);
    let form = server.log_in(TOKEN, &[]).await;
    assert!(!format!("{form:?}").contains("hunter2"));
    let cookie = format!("Cookie: {}", form.cookie());
    for path in PAGES
        .iter()
        .chain(&READS)
        .chain(&["/login", "/metrics", "/readyz", "/nothing"])
    {
        for header in [&bearer, &cookie] {
            let request = format!("GET {path}");
            let answer = server.ask(&request, &["Host: localhost", header], "").await;
            assert!(!format!("{answer:?}").contains("hunter2"), "{path}");
        }
    }
}

#[tokio::test]
async fn probes_and_metrics_contain_no_user_data() {
    let server = test_server().await;
    add_history(&server).await;
    for path in ["/metrics", "/healthz", "/readyz"] {
        let text = format!("{:?}", server.get(path).await);
        for user in REMOVED.iter().chain(&["ann@x.co", "bad@x.co", "users.csv"]) {
            assert!(!text.contains(user), "{path}: {text}");
        }
    }
}
