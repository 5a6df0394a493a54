//! Delivery to a webhook, over real HTTP. Time is paused: a delay ends at once if nothing else is left to
//! do, and the server runs on the same thread.

use super::{away, denied, holding, run};
use crate::support::logged::Logged;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use omni_user_sync::metrics::Metrics;
use omni_user_sync::notify::{NotificationSender, Notifier};
use omni_user_sync::run::RunOutcome;
use omni_user_sync::settings::{KeySource, RawSettings, Settings};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Level;

/// Longer than any delivery takes.
const LONG: Duration = Duration::from_secs(300);

/// The webhook's reaction to a message.
#[derive(Clone, Copy)]
enum Act {
    Takes,
    Says(u16),
    Wants(u16, &'static str),
    Redirects,
    Hangs,
    FloodsForEver,
}

#[derive(Clone)]
struct Receiver {
    acts: Arc<Mutex<VecDeque<Act>>>,
    received: mpsc::UnboundedSender<(Value, Instant)>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let message = serde_json::from_slice(&body).expect("JSON");
    let _ = receiver.received.send((message, Instant::now()));
    let act = receiver.acts.lock().expect("no panic").pop_front();
    let status = |code| StatusCode::from_u16(code).expect("a status");
    match act.unwrap_or(Act::Takes) {
        Act::Takes => "ok".into_response(),
        Act::Says(code) => (status(code), "s3cret").into_response(),
        Act::Wants(code, wait) => (status(code), [(header::RETRY_AFTER, wait)]).into_response(),
        Act::Redirects => (
            StatusCode::FOUND,
            [(header::LOCATION, "/s3cret-elsewhere")],
            "s3cret",
        )
            .into_response(),
        Act::Hangs => std::future::pending().await,
        Act::FloodsForEver => {
            let flood =
                stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![0; 65536])));
            Body::from_stream(flood).into_response()
        }
    }
}

/// A webhook, and a daemon's notifier.
struct World {
    received: mpsc::UnboundedReceiver<(Value, Instant)>,
    notices: NotificationSender,
    metrics: Metrics,
    settings: Settings,
    folder: TempDir,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl World {
    async fn new<const N: usize>(acts: [Act; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let (sender, received) = mpsc::unbounded_channel();
        let receiver = Receiver {
            acts: Arc::new(Mutex::new(acts.into())),
            received: sender,
        };
        let router = Router::new().fallback(receive).with_state(receiver);
        tokio::spawn(async { axum::serve(listener, router).await });
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("webhook");
        std::fs::write(&file, format!("http://{address}/s3cret\n")).expect("written");
        let mut raw = RawSettings::default();
        raw.set("omni.base_url", "https://acme.omniapp.co");
        raw.set("state.dir", folder.path().display());
        raw.set("notify.webhook_url_file", file.display());
        let settings = Settings::check(raw, KeySource::default()).expect("valid");
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let (notices, task) = start(&settings, &metrics, &stop);
        Self {
            received,
            notices,
            metrics,
            settings,
            folder,
            stop,
            task,
        }
    }

    fn publish(&self, run: &RunOutcome) {
        self.notices.send(run);
    }

    /// The event of the next message to the webhook, accepted or not.
    async fn event(&mut self) -> String {
        let (message, _) = self.received.recv().await.expect("the server is there");
        message["event"].as_str().expect("a word").to_owned()
    }

    async fn is_quiet(&mut self) -> bool {
        timeout(LONG, self.received.recv()).await.is_err()
    }

    /// Waits until this many messages have this outcome.
    async fn ended(&self, outcome: &str, count: u64) {
        let counter = self.metrics.notifications.with_label_values(&[outcome]);
        let counting = async {
            while counter.get() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let done = timeout(2 * LONG, counting).await;
        assert!(done.is_ok(), "{outcome}: {}", self.metrics.render());
    }

    async fn restart(&mut self) {
        self.stop.cancel();
        (&mut self.task).await.expect("no panic");
        self.stop = CancellationToken::new();
        (self.notices, self.task) = start(&self.settings, &self.metrics, &self.stop);
    }
}

fn start(
    settings: &Settings,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> (NotificationSender, JoinHandle<()>) {
    let file = settings.webhook.clone().expect("it is set");
    let (notices, notifier) = Notifier::new(file, settings, metrics.clone()).expect("it is made");
    (notices, tokio::spawn(notifier.run(stop.clone())))
}

#[tokio::test(start_paused = true)]
async fn a_message_has_text_and_fields() {
    let mut world = World::new([]).await;
    world.publish(&holding(3, 12));
    let (message, _) = world.received.recv().await.expect("a message");
    let text = message["text"].as_str().expect("a text");
    assert!(
        text.starts_with("omni-user-sync (acme.omniapp.co): run 3 holds 12"),
        "{text}"
    );
    assert_eq!(message["run"], 3);
    assert_eq!(message["alerts"][0]["rule"], "max_removals");
}

#[tokio::test(start_paused = true)]
async fn a_restart_repeats_no_message() {
    let mut world = World::new([]).await;
    world.publish(&away(1));
    assert_eq!(world.event().await, "failed");
    world.ended("delivered", 1).await;
    for number in 2..5 {
        world.restart().await;
        world.publish(&away(number));
        assert!(world.is_quiet().await, "it was sent");
    }
    world.restart().await;
    world.publish(&run(5));
    assert_eq!(world.event().await, "recovered");
    world.ended("delivered", 2).await;
    world.restart().await;
    world.publish(&run(6));
    assert!(world.is_quiet().await, "all is well");
    std::fs::write(world.folder.path().join("notified.json"), "{").expect("written");
    world.restart().await;
    world.publish(&away(7));
    assert_eq!(
        world.event().await,
        "failed",
        "an unreadable source was not reported"
    );
}

#[tokio::test(start_paused = true)]
async fn temporary_failures_are_retried_with_delays() {
    let acts = [
        Act::Says(500),
        Act::Wants(429, "30"),
        Act::Hangs,
        Act::Takes,
    ];
    let mut world = World::new(acts).await;
    world.publish(&away(1));
    let mut times = Vec::new();
    for _ in acts {
        let (_, at) = world.received.recv().await.expect("another try");
        times.push(at);
    }
    let waits: Vec<_> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert_eq!(waits, [1, 30, 10 + 16]);
    world.ended("delivered", 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_next_run_delivers_a_failed_message() {
    let mut world = World::new([Act::Says(503); 5]).await;
    world.publish(&away(1));
    world.ended("failed", 1).await;
    for _ in 0..5 {
        world.event().await;
    }
    world.publish(&away(2));
    assert_eq!(world.event().await, "failed");
    world.ended("delivered", 1).await;
}

#[tokio::test(start_paused = true)]
async fn rejections_and_redirects_are_not_retried() {
    for act in [Act::Says(404), Act::Says(400), Act::Redirects] {
        let mut world = World::new([act]).await;
        world.publish(&away(1));
        world.event().await;
        world.ended("failed", 1).await;
        assert!(world.is_quiet().await, "neither again nor elsewhere");
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_omits_the_url_and_response() {
    let logged = Logged::default();
    let _listening = logged.listen_at(Level::TRACE);
    for act in [Act::Says(500), Act::Redirects] {
        let mut world = World::new([act; 5]).await;
        world.publish(&away(1));
        world.event().await;
        world.ended("failed", 1).await;
        let metrics = world.metrics.render();
        assert!(!metrics.contains("s3cret"), "{metrics}");
    }
    let text = logged.text();
    assert!(
        text.contains("HTTP 500") && text.contains("HTTP 302"),
        "{text}"
    );
    assert!(text.contains("TRACE"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_endless_response_is_not_read() {
    let mut world = World::new([Act::FloodsForEver]).await;
    world.publish(&away(1));
    world.event().await;
    world.ended("delivered", 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_webhook_delays_no_run_or_shutdown() {
    let mut world = World::new([Act::Hangs; 1000]).await;
    world.publish(&away(0));
    world.event().await;
    let before = Instant::now();
    for number in 0..100 {
        world.publish(&if number % 2 == 0 {
            denied(number)
        } else {
            away(number)
        });
    }
    let dropped = world.metrics.notifications.with_label_values(&["dropped"]);
    assert_eq!(dropped.get(), 100 - 32, "the queue is bounded");
    world.stop.cancel();
    (&mut world.task).await.expect("no panic");
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_missing_url_file_is_read_again_later() {
    let mut world = World::new([]).await;
    let file = world.folder.path().join("webhook");
    let address = std::fs::read(&file).expect("it is there");
    std::fs::remove_file(&file).expect("removed");
    world.publish(&away(1));
    world.ended("failed", 1).await;
    std::fs::write(&file, address).expect("written");
    world.publish(&away(2));
    assert_eq!(world.event().await, "failed");
}
