//! Proxies: the usual variables are respected, and loopback addresses are never proxied.

use crate::support::{World, command as run};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A proxy that rejects and records all requests.
struct Proxy {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("has one"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_buf(&mut head).await {
                        Ok(1..) => {}
                        _ => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                kept.lock().expect("whole").push(head);
                // The client may have disconnected.
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
            }
        });
        Self { url, asked }
    }

    /// The heads of all requests since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("whole"))
    }
}

/// The requests to the proxy during a plan for an unreachable organisation.
async fn asked_for_a_plan(variable: &str, not_for: &str) -> Vec<String> {
    let proxy = Proxy::start().await;
    let world = World::new().await;
    world.roster("email,display_name\nann@x.co,Ann\n");
    let world = world
        .with_variable("OMNI_BASE_URL", "https://acme.invalid")
        .with_variable("OMNI_API_KEY", "hunter2")
        .with_variable(variable, &proxy.url)
        .with_variable("NO_PROXY", not_for);
    let ended = run(&world, &["plan"]).await;
    assert_eq!(ended.code, 1, "{}", ended.err);
    proxy.asked()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_never_sees_the_key() {
    // In parallel, because each retries several times.
    let (all, one, small, left_out) = tokio::join!(
        asked_for_a_plan("ALL_PROXY", ""),
        asked_for_a_plan("HTTPS_PROXY", "example.com"),
        asked_for_a_plan("https_proxy", ""),
        asked_for_a_plan("HTTPS_PROXY", "example.com,.invalid"),
    );
    for asked in [all, one, small] {
        assert!(!asked.is_empty());
        for head in asked {
            assert!(head.starts_with("CONNECT acme.invalid:443 "), "{head}");
            assert!(!head.contains("hunter2"), "{head}");
        }
    }
    assert_eq!(left_out, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_never_proxied() {
    let proxy = Proxy::start().await;
    let mut world = World::new().await;
    world.roster("email,display_name\nann@x.co,Ann\n");
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"] {
        world = world.with_variable(variable, &proxy.url);
    }
    let ended = run(&world, &["plan"]).await;
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert_eq!(proxy.asked(), [""; 0]);
}
