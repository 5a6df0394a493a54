//! A client that attacks the server or another user's browser. Access rights are in `tests/http/serve`.

use super::canaries::TOKEN;
use super::world::{Daemon, webhook, world};
use crate::support::World;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

async fn served() -> (World, Daemon) {
    let world = world().await;
    let _ = webhook(&world).await;
    let daemon = Daemon::start(&world, "info").await;
    (world, daemon)
}

fn token() -> String {
    TOKEN.replace('/', "%2F").replace('+', "%2B")
}

/// The target of a redirect after login is taken from the page's address.
#[tokio::test(flavor = "multi_thread")]
async fn login_never_redirects_to_another_site() {
    let (_world, daemon) = served().await;
    for next in [
        "https%3A%2F%2Fevil.example%2F",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "%2F%09%2Fevil.example",
        "%2F%0A%2Fevil.example",
        "%5C%5Cevil.example",
        "javascript%3Aevil%28%29",
        "%2F%0D%0AX-Evil%3A%201",
        "evil.example",
        "%20%2F%2Fevil.example",
        "%2F%2F%2Fevil.example",
        "%2F%40evil.example%2F..%2F%2Fevil.example",
    ] {
        let body = format!("token={}&next={next}", token());
        let answer = daemon
            .ask("POST /login", FORM, &body)
            .await
            .text()
            .to_lowercase();
        assert!(answer.starts_with("http/1.1 303"), "{next}: {answer}");
        let head = answer.split("\r\n\r\n").next().unwrap_or_default();
        let location = head
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        let location = location.expect("a place");
        let is_own = location.starts_with('/') && !location.starts_with("//");
        assert!(
            is_own && !location.contains(['\\', '\t']),
            "{next}: {location}"
        );
        assert!(
            !head.lines().any(|line| line.starts_with("x-evil")),
            "{head}"
        );
        let form = daemon
            .ask(&format!("GET /login?next={next}"), "", "")
            .await
            .text();
        assert!(!form.contains("href=\"javascript"), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_cannot_escape_the_pages() {
    let (world, daemon) = served().await;
    for path in [
        "/api/v1/users/../../reconcile",
        "/assets/../token",
        "/assets/..%2f..%2ftoken",
        "/assets/%2e%2e/%2e%2e/token",
        "/assets//etc/passwd",
        "/assets/style.css%00",
        "/../../../../etc/passwd",
        "/runs/-1",
        "/runs/99999999999999999999999",
        "/runs/1%27%20OR%201=1--",
        "/users/%00",
        "/users/%ff%fe",
        "/users/a%0d%0aX-Evil:1@x.co",
        "//evil.example/",
        "/%",
        "*",
        "/api/v1/runs?limit=-1&before=x",
        "/api/v1/runs?limit=18446744073709551616",
    ] {
        let answer = daemon.ask(&format!("GET {path}"), "", "").await.text();
        let code = answer.get(9..12).unwrap_or_default();
        let refused = ["303", "400", "404", "414", "421"].contains(&code);
        assert!(refused || answer.contains("not"), "{path}: {answer}");
        assert!(
            !answer.contains("root:") && !answer.contains(TOKEN),
            "{path}: {answer}"
        );
        assert!(
            !answer.to_lowercase().contains("\r\nx-evil"),
            "{path}: {answer}"
        );
    }
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_do_not_stop_the_server() {
    let (_world, daemon) = served().await;
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    let hostile: Vec<Vec<u8>> = vec![
        format!("{head}{}\r\n", "X: y\r\n".repeat(100_000)).into(),
        format!("{head}X: {}\r\n\r\n", "y".repeat(1 << 20)).into(),
        format!(
            "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "y".repeat(1 << 20)
        )
        .into(),
        format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx").into(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx").into(),
        format!("{head}Content-Length: -1\r\n\r\n").into(),
        format!("{head}X\r\n folded: y\r\n\r\n").into(),
        format!("{head}X: a\0b\r\n\r\n").into(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
    ];
    for bytes in hostile {
        let answer = String::from_utf8_lossy(&daemon.say(&bytes).await).into_owned();
        let said = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        assert!(!answer.starts_with("HTTP/1.1 200"), "{said}: {answer}");
    }
    // Many at once down one connection: what is asked after the close is not answered.
    let many = format!("{head}\r\n").repeat(1000) + head + "Connection: close\r\n\r\n";
    let answers = daemon.say(many.as_bytes()).await;
    let answers = String::from_utf8_lossy(&answers)
        .matches("HTTP/1.1 ")
        .count();
    assert!((1..=1001).contains(&answers), "{answers}");
    assert!(
        daemon
            .ask("GET /healthz", "", "")
            .await
            .text()
            .starts_with("HTTP/1.1 200")
    );
    let memory = daemon.most_memory();
    assert!(memory < 300, "{memory} MiB");
}

/// A proxy and a server that take two lengths in two ways make two requests of one.
#[tokio::test(flavor = "multi_thread")]
async fn chunked_encoding_overrides_content_length() {
    let (_world, daemon) = served().await;
    let second = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let all = format!("Content-Length: {}\r\n", "0\r\n\r\n".len() + second.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    for lengths in [
        format!("{all}{chunked}"),
        format!("{chunked}{all}"),
        format!("{chunked}Content-Length: 5\r\n"),
    ] {
        let sent = format!(
            "POST /login HTTP/1.1\r\nHost: localhost\r\n{FORM}{lengths}\r\n0\r\n\r\n{second}"
        );
        let answers = daemon.say(sent.as_bytes()).await;
        let answers = String::from_utf8_lossy(&answers).to_lowercase();
        assert_eq!(
            answers.matches("http/1.1 ").count(),
            1,
            "{lengths}: {answers}"
        );
        assert!(
            answers.contains("connection: close"),
            "{lengths}: {answers}"
        );
    }
    // With a transfer coding other than chunked, the end is unknown.
    for coding in ["gzip", "chunked, identity", "xchunked"] {
        let sent = format!(
            "POST /login HTTP/1.1\r\nHost: localhost\r\n{FORM}Transfer-Encoding: {coding}\r\n\r\n{second}"
        );
        let answers = daemon.say(sent.as_bytes()).await;
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 400"), "{coding}: {answers}");
        assert_eq!(
            answers.matches("HTTP/1.1 ").count(),
            1,
            "{coding}: {answers}"
        );
    }
}
