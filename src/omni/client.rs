//! The client: one exchange at a time, and what its answer means.

use super::error::{Failure, OmniError, detail_of, first_bytes};
use super::throttle::{Slot, Throttle};
use super::{Reader, Writer};
use crate::metrics::Metrics;
use crate::settings::{ApiKeys, BaseUrl, OmniSettings, SettingsError, UpdateMethod};
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most bytes an answer may have: 100 users take some 100 KB.
const MAX_BODY: usize = 32 * 1024 * 1024;
/// So many failures in a row end a run.
const MOST_FAILURES: u32 = 20;

/// A connection to one organisation. It lasts as long as the process, so that the throttle's log
/// does; [`Client::reader`] and [`Client::writer`] are what a run is given.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: BaseUrl,
    update_method: UpdateMethod,
    throttle: Throttle,
    metrics: Metrics,
    failures: AtomicU32,
}

/// An answer that can be read: its code and its whole body.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

/// What came of one attempt: nothing that can be read, or an error that is final.
pub(super) enum Trouble {
    Failed(Failure, Option<Duration>),
    Final(OmniError),
}

impl From<OmniError> for Trouble {
    fn from(error: OmniError) -> Self {
        Self::Final(error)
    }
}

impl Client {
    /// A client for the organisation that the settings name.
    ///
    /// # Errors
    /// When `omni.base_url` is not set, or the HTTP client can't be made (a CA that can't be read).
    pub fn new(settings: &OmniSettings, metrics: Metrics) -> Result<Arc<Self>, ClientError> {
        let base = settings.base_url()?.clone();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("omni-user-sync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .https_only(!base.is_loopback())
            .connect_timeout(settings.timeout.min(Duration::from_secs(10)))
            .timeout(settings.timeout);
        if base.is_loopback() {
            http = http.no_proxy();
        }
        for certificate in extra_certificates(settings)? {
            http = http.add_root_certificate(certificate);
        }
        let http = http.build().map_err(|error| {
            OmniError::Setup(format!(
                "the HTTP client can't be made: {}",
                Failure::of(&error)
            ))
        })?;
        Ok(Arc::new(Self {
            http,
            base,
            update_method: settings.update_method,
            throttle: Throttle::new(settings.requests_per_minute, settings.max_in_flight),
            metrics,
            failures: AtomicU32::new(0),
        }))
    }

    /// Starts a run with these keys: failures and keys that were set aside are forgotten, what was
    /// sent is not.
    pub fn begin(&self, keys: &ApiKeys) {
        self.throttle.use_keys(keys);
        self.failures.store(0, Ordering::Relaxed);
    }

    /// The capability to read, until `stop` is cancelled.
    #[must_use]
    pub fn reader(self: &Arc<Self>, stop: &CancellationToken) -> Reader {
        Reader::new(self.clone(), stop.clone())
    }

    /// The capability to write, until `stop` is cancelled.
    #[must_use]
    pub fn writer(self: &Arc<Self>, stop: &CancellationToken) -> Writer {
        Writer::new(self.reader(stop))
    }

    /// How long so many requests would take from now on.
    #[must_use]
    pub fn estimate(&self, requests: usize) -> Duration {
        self.throttle.estimate(requests)
    }

    /// Requests sent so far.
    #[must_use]
    pub fn requests_sent(&self) -> u64 {
        self.metrics.requests_sent()
    }

    /// The address of an endpoint.
    pub(super) fn endpoint(&self, segments: &[&str]) -> Url {
        self.base.endpoint(segments)
    }

    /// How updates are to be sent.
    pub(super) fn update_method(&self) -> UpdateMethod {
        self.update_method
    }

    /// Sends a request once, and reads its answer.
    pub(super) async fn exchange<T>(
        &self,
        request: &Request,
        stop: &CancellationToken,
        parse: impl Fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, Trouble> {
        let answer = self.answer(request, stop).await?;
        let parsed = match answer.status.is_success() {
            true => parse(&answer.body),
            false => {
                self.failures.store(0, Ordering::Relaxed);
                return Err(error_of(&answer).into());
            }
        };
        match parsed {
            Ok(value) => {
                self.failures.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(Trouble::Failed(unreadable(&answer.body, &error), None))
            }
        }
    }

    /// One request, with as many turns as 429 and refused keys make it take.
    async fn answer(&self, request: &Request, stop: &CancellationToken) -> Result<Answer, Trouble> {
        loop {
            self.check_failures(None)?;
            let waiting = Instant::now();
            let slot = self.throttle.slot(stop).await?;
            self.metrics.waited(waiting.elapsed());
            let answer = match self.send(request, &slot).await {
                Err(Trouble::Failed(failure, pause)) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    self.check_failures(Some(&failure))?;
                    return Err(Trouble::Failed(failure, pause));
                }
                other => other?,
            };
            match answer {
                Reply::Answer(answer) => {
                    slot.accepted();
                    if !self.turns_key_away(&answer, request, &slot)? {
                        return Ok(answer);
                    }
                }
                Reply::TooMany(retry_after) => self.pause(&slot, retry_after)?,
            }
        }
    }

    /// After so many failures in a row, nothing more is sent in this run.
    fn check_failures(&self, last: Option<&Failure>) -> Result<(), OmniError> {
        let in_a_row = self.failures.load(Ordering::Relaxed);
        if in_a_row < MOST_FAILURES {
            return Ok(());
        }
        let unknown = || Failure::Connection("no answers".into());
        Err(OmniError::GivenUp {
            in_a_row,
            failure: last.cloned().unwrap_or_else(unknown),
        })
    }

    /// 401, or 403 on a read: with several keys, this one is set aside and another one tried.
    fn turns_key_away(
        &self,
        answer: &Answer,
        request: &Request,
        slot: &Slot,
    ) -> Result<bool, OmniError> {
        let refused = match answer.status {
            StatusCode::UNAUTHORIZED => true,
            StatusCode::FORBIDDEN => request.method == Method::GET && !request.may_be_forbidden,
            _ => false,
        };
        if !refused {
            return Ok(false);
        }
        if slot.set_aside() == 0 {
            return Err(error_of(answer));
        }
        tracing::warn!(
            key = slot.key_number(),
            status = answer.status.as_u16(),
            "Omni does not accept one of the API keys; it is set aside for this run"
        );
        Ok(true)
    }

    fn pause(&self, slot: &Slot, retry_after: Option<Duration>) -> Result<(), OmniError> {
        let number = slot.key_number();
        let Some(pause) = slot.refused(retry_after) else {
            if self.throttle.usable_keys() == 0 {
                return Err(OmniError::Throttled);
            }
            tracing::warn!(
                key = number,
                "Omni keeps answering 429 to one of the API keys; it is set aside for this run"
            );
            return Ok(());
        };
        let seconds = pause.as_secs();
        match retry_after {
            Some(asked) if asked > pause => tracing::warn!(
                key = number,
                seconds,
                asked_seconds = asked.as_secs(),
                "too many requests (429): the key waits, capped below what Retry-After asks"
            ),
            _ => tracing::warn!(
                key = number,
                seconds,
                "too many requests (429): the key waits"
            ),
        }
        Ok(())
    }

    async fn send(&self, request: &Request, slot: &Slot) -> Result<Reply, Trouble> {
        let started = Instant::now();
        let mut builder = self
            .http
            .request(request.method.clone(), request.url.clone())
            .header("authorization", bearer(slot)?)
            .header("accept", "application/json, application/scim+json");
        if let Some(body) = &request.body {
            builder = builder
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let reply = match builder.send().await {
            Ok(response) => receive(response).await,
            Err(error) => Err(Trouble::Failed(Failure::of(&error), None)),
        };
        let status = match &reply {
            Ok(Reply::Answer(answer)) => answer.status.as_str().to_owned(),
            Ok(Reply::TooMany(_)) => "429".to_owned(),
            Err(Trouble::Failed(Failure::Status(status, _), _)) => status.as_str().to_owned(),
            Err(_) => "error".to_owned(),
        };
        self.metrics
            .request(request.method.as_str(), &status, started.elapsed());
        tracing::debug!(method = %request.method, path = request.url.path(), status, "request");
        reply
    }
}

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The settings don't say where Omni is.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The HTTP client can't be made.
    #[error(transparent)]
    Omni(#[from] OmniError),
}

fn extra_certificates(settings: &OmniSettings) -> Result<Vec<reqwest::Certificate>, OmniError> {
    let Some(path) = &settings.ca_file else {
        return Ok(Vec::new());
    };
    let wrong =
        |problem: String| OmniError::Setup(format!("omni.ca_file {}: {problem}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found =
        reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("there is no certificate in it; write PEM".into()));
    }
    Ok(found)
}

fn bearer(slot: &Slot) -> Result<HeaderValue, OmniError> {
    let text =
        secrecy::zeroize::Zeroizing::new(format!("Bearer {}", slot.secret().expose_secret()));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| OmniError::Setup("an API key has a character that no header takes".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) struct Request {
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
    /// Whether 403 says something about the endpoint rather than the key.
    may_be_forbidden: bool,
}

impl Request {
    pub(super) fn get(url: Url) -> Self {
        Self::bare(Method::GET, url)
    }

    /// One whose 403 says nothing about the key.
    pub(super) fn get_if_allowed(url: Url) -> Self {
        Self {
            may_be_forbidden: true,
            ..Self::get(url)
        }
    }

    pub(super) fn bare(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            body: None,
            may_be_forbidden: false,
        }
    }

    pub(super) fn with_body(method: Method, url: Url, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("maps of texts, numbers and lists are JSON");
        Self {
            method,
            url,
            body: Some(body),
            may_be_forbidden: false,
        }
    }
}

enum Reply {
    Answer(Answer),
    TooMany(Option<Duration>),
}

async fn receive(mut response: Response) -> Result<Reply, Trouble> {
    let status = response.status();
    let retry_after = retry_after(&response);
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                let what = format!("an answer of over {} MiB", MAX_BODY >> 20);
                return Err(Trouble::Failed(Failure::Unreadable(what), None));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // What the code says is enough where it says no.
            Err(_) if status.is_client_error() => break,
            Err(error) => return Err(Trouble::Failed(Failure::of(&error), None)),
        }
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS => Ok(Reply::TooMany(retry_after)),
        StatusCode::REQUEST_TIMEOUT => Err(Trouble::Failed(Failure::TimedOut, retry_after)),
        _ if status.is_server_error() => Err(Trouble::Failed(
            Failure::Status(status, detail_of(&body)),
            retry_after,
        )),
        _ => Ok(Reply::Answer(Answer { status, body })),
    }
}

/// `Retry-After` in seconds or as a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(
        (date.to_utc() - chrono::Utc::now())
            .to_std()
            .unwrap_or(Duration::ZERO),
    )
}

fn error_of(answer: &Answer) -> OmniError {
    let detail = detail_of(&answer.body);
    match answer.status {
        StatusCode::UNAUTHORIZED => OmniError::Unauthorized { detail },
        StatusCode::FORBIDDEN => OmniError::Forbidden { detail },
        StatusCode::NOT_FOUND => OmniError::NotFound { detail },
        StatusCode::CONFLICT => OmniError::Conflict { detail },
        status if status.is_redirection() => OmniError::Redirected { status },
        status => OmniError::Refused { status, detail },
    }
}

/// Tells an answer of the wrong kind: HTML from a proxy, JSON that was cut off.
fn unreadable(body: &[u8], error: &serde_json::Error) -> Failure {
    let kind = if body.trim_ascii_start().starts_with(b"<") {
        "it answered with HTML instead of JSON (a proxy or a log-in page?)".to_owned()
    } else {
        format!("its answer can't be read ({error})")
    };
    Failure::Unreadable(format!("{kind}; it begins with {}", first_bytes(body)))
}
