//! The edge: a message becomes a POST, tried a few times.

use super::message::Message;
use crate::settings::{WebhookFile, WebhookUrl};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How often a message is sent at most.
const ATTEMPTS: u32 = 5;

/// How long one attempt may take, from the connection to the head of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after the first attempt; four times as long after each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait, whatever `Retry-After` asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A webhook.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    file: WebhookFile,
    ca_file: Option<PathBuf>,
}

/// Why a message was not taken. Never holds the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(super) struct Delivery {
    /// What happened.
    pub(super) what: String,
    /// Whether another try may help, and after how long the webhook wants it.
    pub(super) again: Option<Duration>,
}

impl Delivery {
    fn hopeless(what: impl Into<String>) -> Self {
        let (what, again) = (what.into(), None);
        Self { what, again }
    }

    fn passing(what: impl Into<String>) -> Self {
        let (what, again) = (what.into(), Some(Duration::ZERO));
        Self { what, again }
    }
}

/// Sends until it is taken, with longer and longer waits, a few times at most.
///
/// # Errors
/// What happened last.
async fn deliver<F>(mut send: impl FnMut() -> F) -> Result<(), Delivery>
where
    F: Future<Output = Result<(), Delivery>>,
{
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match send().await {
            Err(Delivery {
                again: Some(asked), ..
            }) => tokio::time::sleep(wait.max(asked).min(LONGEST_WAIT)).await,
            ended => return ended,
        }
        wait *= 4;
    }
    send().await
}

impl Webhook {
    /// The webhook whose address a file holds. `ca_file` is trusted besides the system's authorities.
    pub(super) fn new(file: WebhookFile, ca_file: Option<PathBuf>) -> Self {
        Self { file, ca_file }
    }

    /// Sends a message, a few times where that may help.
    ///
    /// # Errors
    /// When it was not taken. That is known within five minutes.
    pub(super) async fn send(&self, message: &Message) -> Result<(), Delivery> {
        deliver(|| self.post(message)).await
    }

    /// One attempt. Of the answer only the head is read, whatever follows.
    async fn post(&self, message: &Message) -> Result<(), Delivery> {
        let webhook = self.clone();
        // Off the async threads, since a mount can hang. Only the end of the program cancels it.
        let prepared = tokio::task::spawn_blocking(move || webhook.prepare()).await;
        let (address, client) = prepared
            .unwrap_or_else(|_| Err("the program ended before".into()))
            .map_err(Delivery::hopeless)?;
        let body = body(message, &address);
        let request = client.post(address.expose().clone()).json(&body);
        match request.send().await {
            Ok(answer) => verdict(&answer),
            Err(error) => Err(Delivery::passing(told(&error, &address))),
        }
    }

    fn prepare(&self) -> Result<(WebhookUrl, reqwest::Client), String> {
        let address = self.file.read().map_err(|error| error.to_string())?;
        let client = self.client(&address);
        let client = client.map_err(|error| told(&error, &address))?;
        Ok((address, client))
    }

    /// A client of its own for each attempt: messages are rare, and no connection is left open.
    fn client(&self, address: &WebhookUrl) -> reqwest::Result<reqwest::Client> {
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("omni-user-sync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(TIMEOUT);
        if address.is_loopback() {
            client = client.no_proxy();
        }
        // One that can't be read has been told by the client for Omni.
        let pem = self
            .ca_file
            .as_ref()
            .and_then(|path| std::fs::read(path).ok());
        for certificate in reqwest::Certificate::from_pem_bundle(&pem.unwrap_or_default())? {
            client = client.add_root_certificate(certificate);
        }
        client.build()
    }
}

/// The form that the receiver takes. `text` is what Slack and Mattermost show;
/// Teams' workflows show cards alone, and take them at addresses of their own.
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

fn verdict(answer: &reqwest::Response) -> Result<(), Delivery> {
    let status = answer.status();
    let what = format!("it answered {status}");
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            let again = Some(retry_after(answer));
            Err(Delivery { what, again })
        }
        _ if status.is_server_error() => {
            let again = Some(retry_after(answer));
            Err(Delivery { what, again })
        }
        _ if status.is_redirection() => Err(Delivery::hopeless(format!(
            "{what}, and no redirect is followed"
        ))),
        _ => Err(Delivery::hopeless(what)),
    }
}

/// `Retry-After` in seconds, as chats send it.
fn retry_after(answer: &reqwest::Response) -> Duration {
    let text = answer.headers().get(RETRY_AFTER);
    let seconds = text.and_then(|text| text.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// What broke an exchange: the innermost reason, which is the one that helps, without the host.
fn told(error: &reqwest::Error, address: &WebhookUrl) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    // Without a source it is reqwest's own, which repeats the address.
    let why = match std::error::Error::source(error) {
        Some(_) => innermost.to_string(),
        None => "the request can't be made".into(),
    };
    let host = address.expose().host_str().unwrap_or_default();
    let what = if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    match host {
        "" => format!("{what}: {why}"),
        host => format!("{what}: {}", why.replace(host, "(its host)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn passing(seconds: u64) -> Result<(), Delivery> {
        Err(Delivery {
            what: "no".into(),
            again: Some(Duration::from_secs(seconds)),
        })
    }

    /// When a script of answers is asked for, in seconds, and what comes of it.
    async fn sent(script: &[Result<(), Delivery>]) -> (Vec<u64>, Result<(), Delivery>) {
        let (start, mut times) = (Instant::now(), Vec::new());
        let ended = deliver(|| {
            times.push(start.elapsed().as_secs());
            std::future::ready(script[times.len() - 1].clone())
        });
        let ended = ended.await;
        (times, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_longer_and_longer_and_gives_up() {
        let no = passing(0);
        let (times, ended) = sent(&vec![no.clone(); 5]).await;
        assert_eq!(times, [0, 1, 5, 21, 81]);
        assert_eq!(ended, no);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_up_to_a_minute() {
        let (times, ended) = sent(&[passing(7), passing(3), passing(86_400), Ok(())]).await;
        assert_eq!(times, [0, 7, 11, 71]);
        assert_eq!(ended, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_plain_no_is_not_asked_again() {
        let (times, ended) = sent(&[passing(0), Err(Delivery::hopeless("404"))]).await;
        assert_eq!((times.len(), ended.is_err()), (2, true));
    }

    #[test]
    fn each_receiver_gets_the_form_that_it_takes() {
        let message = Message {
            event: super::super::Event::HeldRule,
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
    async fn no_error_holds_the_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hook");
        let webhook = Webhook::new(WebhookFile::new(path.clone()), None);
        let message = Message {
            event: super::super::Event::HeldRule,
            text: "held".into(),
            fields: json!({}),
        };
        for (address, says) in [
            ("http://127.0.0.1:9/s3cret", "no connection"),
            ("https://127.0.0.1:9/s3cret", "no connection"),
            ("s3cret", "notify.webhook_url_file"),
            ("http://s3cret.example/s3cret", "in clear"),
        ] {
            std::fs::write(&path, address).expect("written");
            let error = webhook.post(&message).await.expect_err(address);
            let told = format!("{error} {error:?}");
            assert!(told.contains(says), "{address}: {told}");
            assert!(
                !told.contains("s3cret") && !told.contains("127.0"),
                "{told}"
            );
        }
    }
}
