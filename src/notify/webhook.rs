//! Delivery of messages to a webhook: one POST per attempt, a few attempts per message.

use super::message::Message;
use crate::settings::{WebhookFile, WebhookUrl};
use crate::util::backoff::Backoff;
use crate::util::http::{client_builder, describe_failure, read_certificates, retry_after};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Attempts per message, including the first.
const MAX_ATTEMPTS: u32 = 5;

/// The time limit for one attempt, from the connection to the head of the response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The delays between attempts. `max` also limits `Retry-After`.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(60),
    factor: 4,
    jitter: (1.0, 1.0),
};

/// A webhook.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    file: WebhookFile,
    ca_file: Option<PathBuf>,
}

/// Why a message was not delivered. Never contains the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct DeliveryError {
    message: String,
    /// For a failure that may be temporary: the delay that the webhook asks for, else zero.
    retry_after: Option<Duration>,
}

impl DeliveryError {
    fn permanent(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            retry_after: None,
        }
    }

    fn temporary(message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            message: message.into(),
            retry_after: Some(retry_after),
        }
    }
}

/// Sends until the message is delivered, with growing delays, up to [`MAX_ATTEMPTS`] times. Returns
/// the last error.
async fn deliver<F>(mut send: impl FnMut() -> F) -> Result<(), DeliveryError>
where
    F: Future<Output = Result<(), DeliveryError>>,
{
    for attempt in 1..MAX_ATTEMPTS {
        match send().await {
            Err(DeliveryError {
                retry_after: Some(asked),
                ..
            }) => {
                let delay = BACKOFF.delay(attempt).max(asked).min(BACKOFF.max);
                tokio::time::sleep(delay).await;
            }
            result => return result,
        }
    }
    send().await
}

impl Webhook {
    /// The webhook whose URL is in `file`. Certificates in `ca_file` are trusted as well as the
    /// system's.
    pub(super) fn new(file: WebhookFile, ca_file: Option<PathBuf>) -> Self {
        Self { file, ca_file }
    }

    /// Delivers a message, with retries. Takes five minutes at most.
    pub(super) async fn send(&self, message: &Message) -> Result<(), DeliveryError> {
        deliver(|| self.post(message)).await
    }

    /// One attempt. Only the head of the response is read.
    async fn post(&self, message: &Message) -> Result<(), DeliveryError> {
        let webhook = self.clone();
        // Not on an async thread, since a mounted file system can hang.
        let prepared = tokio::task::spawn_blocking(move || webhook.prepare()).await;
        let (address, client) = prepared
            .unwrap_or_else(|_| Err("the program is shutting down".into()))
            .map_err(DeliveryError::permanent)?;
        let body = body(message, &address);
        let request = client.post(address.expose().clone()).json(&body);
        match request.send().await {
            Ok(response) => check(&response),
            Err(error) => {
                let message = describe(&error, &address);
                Err(DeliveryError::temporary(message, Duration::ZERO))
            }
        }
    }

    fn prepare(&self) -> Result<(WebhookUrl, reqwest::Client), String> {
        let address = self.file.read().map_err(|error| error.to_string())?;
        let client = self.client(&address);
        let client = client.map_err(|error| describe(&error, &address))?;
        Ok((address, client))
    }

    /// A new client for each attempt: messages are rare, and no connection stays open.
    fn client(&self, address: &WebhookUrl) -> reqwest::Result<reqwest::Client> {
        let mut client = client_builder(TIMEOUT, address.is_loopback());
        // The Omni client reports a CA file that can't be read.
        let certificates = self.ca_file.as_deref().map(read_certificates);
        for certificate in certificates.and_then(Result::ok).unwrap_or_default() {
            client = client.add_root_certificate(certificate);
        }
        client.build()
    }
}

/// The body that the receiver expects. Slack and Mattermost show `text`; Teams workflows show only
/// cards, and have their own hosts.
fn body(message: &Message, address: &WebhookUrl) -> Value {
    let mut body = message.fields.clone();
    body["text"] = message.text.clone().into();
    let host = address.expose().host_str().unwrap_or_default();
    if [".logic.azure.com", ".api.powerplatform.com"]
        .iter()
        .any(|end| host.ends_with(end))
    {
        body["type"] = "message".into();
        body["attachments"] = json!([{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "body": [{ "type": "TextBlock", "text": message.text, "wrap": true }],
            },
        }]);
    }
    body
}

/// Whether the message was delivered.
fn check(response: &reqwest::Response) -> Result<(), DeliveryError> {
    let status = response.status();
    let message = format!("HTTP {status}");
    let may_pass = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error();
    if status.is_success() {
        Ok(())
    } else if may_pass {
        let asked = retry_after(response.headers()).unwrap_or_default();
        Err(DeliveryError::temporary(message, asked))
    } else if status.is_redirection() {
        let message = format!("{message}; redirects are not followed");
        Err(DeliveryError::permanent(message))
    } else {
        Err(DeliveryError::permanent(message))
    }
}

/// The cause of a failed exchange, without the host.
fn describe(error: &reqwest::Error, address: &WebhookUrl) -> String {
    let message = describe_failure(error);
    match address.expose().host_str().unwrap_or_default() {
        "" => message,
        host => message.replace(host, "(host)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn temporary(seconds: u64) -> Result<(), DeliveryError> {
        let retry_after = Duration::from_secs(seconds);
        Err(DeliveryError::temporary("no", retry_after))
    }

    type Outcome = Result<(), DeliveryError>;

    /// The times of the attempts in seconds, and the result, for a script of responses.
    async fn sent(script: &[Outcome]) -> (Vec<u64>, Outcome) {
        let (start, mut times) = (Instant::now(), Vec::new());
        let delivery = deliver(|| {
            times.push(start.elapsed().as_secs());
            std::future::ready(script[times.len() - 1].clone())
        });
        let result = delivery.await;
        (times, result)
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_until_the_last_attempt() {
        let no = temporary(0);
        let (times, result) = sent(&vec![no.clone(); 5]).await;
        assert_eq!(times, [0, 1, 5, 21, 81]);
        assert_eq!(result, no);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honored_up_to_a_minute() {
        let (times, result) = sent(&[temporary(7), temporary(3), temporary(86_400), Ok(())]).await;
        assert_eq!(times, [0, 7, 11, 71]);
        assert_eq!(result, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_failure_is_not_retried() {
        let (times, result) = sent(&[temporary(0), Err(DeliveryError::permanent("404"))]).await;
        assert_eq!((times.len(), result.is_err()), (2, true));
    }

    #[test]
    fn each_receiver_gets_its_format() {
        let message = Message {
            event: super::super::Event::Held,
            text: "held".into(),
            fields: json!({ "event": "held" }),
        };
        let body = |url| body(&message, &WebhookUrl::parse(url).expect("an address"));
        let plain = json!({ "event": "held", "text": "held" });
        for url in [
            "https://hooks.slack.com/services/T0/B0/x",
            "https://logic.azure.com.example/x",
        ] {
            assert_eq!(body(url), plain);
        }
        let card = body("https://prod-1.westeurope.logic.azure.com:443/workflows/x");
        assert_eq!(
            (&card["text"], &card["type"]),
            (&plain["text"], &json!("message"))
        );
        assert_eq!(card["attachments"][0]["content"]["body"][0]["text"], "held");
    }

    #[tokio::test]
    async fn errors_never_contain_the_url() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hook");
        let webhook = Webhook::new(WebhookFile::new(path.clone()), None);
        let message = Message {
            event: super::super::Event::Held,
            text: "held".into(),
            fields: json!({}),
        };
        for (address, says) in [
            ("http://127.0.0.1:9/s3cret", "connection failed"),
            ("https://127.0.0.1:9/s3cret", "connection failed"),
            ("s3cret", "notify.webhook_url_file"),
            ("http://s3cret.example/s3cret", "unencrypted"),
        ] {
            std::fs::write(&path, address).expect("writable");
            let error = webhook.post(&message).await.expect_err(address);
            let text = format!("{error} {error:?}");
            assert!(text.contains(says), "{address}: {text}");
            assert!(
                !text.contains("s3cret") && !text.contains("127.0"),
                "{text}"
            );
        }
    }
}
