//! The client: one exchange at a time, and what its answer means.

use super::error::{Failure, OmniError};
use super::limiter::{RateLimiter, Slot};
use super::streak::FailureBreaker;
use super::{Reader, Writer};
use crate::metrics::Metrics;
use crate::settings::{ApiKeys, BaseUrl, OmniSettings, SettingsError, UpdateMethod};
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most bytes an answer may have: 100 users take some 100 KB.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// A connection to one organisation. It lasts as long as the process, so that the throttle's log
/// does; [`Client::reader`] and [`Client::writer`] are what a run is given.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: BaseUrl,
    update_method: UpdateMethod,
    throttle: RateLimiter,
    metrics: Metrics,
    failures: FailureBreaker,
    max_in_flight: usize,
    sent: AtomicU64,
    /// Whether the server's filter finds an email that is asked for in another case, once that is known.
    pub(super) filter_ignores_case: OnceLock<bool>,
}

/// An answer, whatever it says.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

/// What came of one attempt: nothing that can be read, or an error that is final.
pub(super) enum Trouble {
    Failed(Failure),
    Final(OmniError),
}

impl From<OmniError> for Trouble {
    fn from(error: OmniError) -> Self {
        Self::Final(error)
    }
}

impl Client {
    /// A client for the organisation that the settings name. It keeps each key's limit together with
    /// every other process that uses this state folder.
    ///
    /// # Errors
    /// When `omni.base_url` is not set, or the HTTP client can't be made (a CA that can't be read).
    pub fn new(
        settings: &OmniSettings,
        state_dir: &Path,
        metrics: Metrics,
    ) -> Result<Arc<Self>, ClientError> {
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
            throttle: RateLimiter::shared(
                settings.requests_per_minute,
                settings.max_in_flight,
                settings.timeout,
                state_dir,
            ),
            metrics,
            failures: FailureBreaker::default(),
            sent: AtomicU64::new(0),
            max_in_flight: settings.max_in_flight,
            filter_ignores_case: OnceLock::new(),
        }))
    }

    /// Starts a run with these keys: failures and keys that were set aside are forgotten, what was
    /// sent is not.
    pub fn begin(&self, keys: &ApiKeys) {
        self.throttle.use_keys(keys);
        self.count_keys();
        self.failures.end();
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

    /// How long so many requests would take from now on, with what others have just sent. Reads a small file.
    #[must_use]
    pub fn estimate_anew(&self, requests: usize) -> Duration {
        self.throttle.catch_up();
        self.estimate(requests)
    }

    /// How long so many requests would take from now on, by what is known.
    #[must_use]
    pub fn estimate(&self, requests: usize) -> Duration {
        self.throttle.estimate(requests)
    }

    /// How many requests may be under way at once.
    pub(super) fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Requests sent so far.
    #[must_use]
    pub fn requests_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn count_keys(&self) {
        let count = self.throttle.keys_set_aside();
        let gauge = &self.metrics.keys_disabled;
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
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
        let result = self.attempt(request, stop, parse).await;
        if let Err(Trouble::Failed(failure)) = &result {
            self.failures.add(failure);
        }
        result
    }

    async fn attempt<T>(
        &self,
        request: &Request,
        stop: &CancellationToken,
        parse: impl Fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, Trouble> {
        let answer = self.answer(request, stop).await?;
        if !answer.status.is_success() {
            self.failures.end();
            return Err(Trouble::Final(self.error_of(request, &answer)));
        }
        let value = parse(&answer.body)
            .map_err(|error| Trouble::Failed(self.unreadable(&answer.body, &error)))?;
        self.failures.end();
        Ok(value)
    }

    /// One request, with as many turns as 429 and refused keys make it take.
    async fn answer(&self, request: &Request, stop: &CancellationToken) -> Result<Answer, Trouble> {
        loop {
            let slot = self.turn(stop).await?;
            let answer = self.send(request, &slot).await?;
            match answer.status {
                StatusCode::TOO_MANY_REQUESTS => self.refused(&slot, answer.retry_after)?,
                status if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                    pause(&slot, &answer);
                    let detail = self.throttle.redactor().detail_of(&answer.body);
                    return Err(Trouble::Failed(Failure::Status(status, detail)));
                }
                _ => {
                    slot.accepted();
                    if !self.turns_key_away(&answer, request, &slot)? {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// The right to send one request. After too many failures in a row there is none; others may
    /// have failed while this one waited.
    async fn turn(&self, stop: &CancellationToken) -> Result<Slot, OmniError> {
        self.failures.check()?;
        let waiting = Instant::now();
        let slot = self.throttle.slot(stop).await?;
        self.metrics.waited(waiting.elapsed());
        self.failures.check()?;
        Ok(slot)
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
            StatusCode::FORBIDDEN => request.is_read() && !request.may_be_forbidden,
            _ => false,
        };
        if !refused {
            return Ok(false);
        }
        let left = slot.set_aside();
        self.count_keys();
        if left == 0 {
            return Err(self.error_of(request, answer));
        }
        tell_aside(
            slot,
            answer.status,
            left,
            "Omni does not accept one of the API keys: it is set aside for this run",
        );
        Ok(true)
    }

    /// 429: the key waits, or is set aside where that does not end.
    fn refused(&self, slot: &Slot, retry_after: Option<Duration>) -> Result<(), OmniError> {
        if let Some(pause) = slot.refused(retry_after) {
            tell_pause(slot, StatusCode::TOO_MANY_REQUESTS, pause, retry_after);
            return Ok(());
        }
        self.count_keys();
        let left = self.throttle.usable_keys();
        if left == 0 {
            return Err(OmniError::Throttled);
        }
        tell_aside(
            slot,
            StatusCode::TOO_MANY_REQUESTS,
            left,
            "Omni keeps answering 429 to one of the API keys: it is set aside for this run",
        );
        Ok(())
    }

    fn error_of(&self, request: &Request, answer: &Answer) -> OmniError {
        let detail = self.throttle.redactor().detail_of(&answer.body);
        match answer.status {
            StatusCode::UNAUTHORIZED => OmniError::Unauthorized { detail },
            StatusCode::FORBIDDEN if request.is_read() => OmniError::Forbidden { detail },
            StatusCode::FORBIDDEN => OmniError::WriteForbidden { detail },
            StatusCode::NOT_FOUND => OmniError::NotFound { detail },
            StatusCode::CONFLICT => OmniError::Conflict { detail },
            status if status.is_redirection() => OmniError::Redirected { status },
            status => OmniError::Refused { status, detail },
        }
    }

    /// Tells an answer of the wrong kind: HTML from a proxy, JSON that was cut off. What serde says of
    /// it may repeat what is in it.
    fn unreadable(&self, body: &[u8], error: &serde_json::Error) -> Failure {
        let redactor = self.throttle.redactor();
        let kind = if body.trim_ascii_start().starts_with(b"<") {
            "it answered with HTML instead of JSON (a proxy or a log-in page?)".to_owned()
        } else {
            let why = redactor.line(&error.to_string());
            format!("its answer can't be read ({why})")
        };
        let begins = redactor.first_bytes(body);
        Failure::Unreadable(format!("{kind}; it begins with {begins}"))
    }

    async fn send(&self, request: &Request, slot: &Slot) -> Result<Answer, Trouble> {
        let started = Instant::now();
        self.sent.fetch_add(1, Ordering::Relaxed);
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
            Err(error) => Err(Failure::of(&error)),
        };
        let status = match &reply {
            Ok(answer) => answer.status.as_str(),
            Err(_) => "error",
        };
        self.metrics
            .request(request.method.as_str(), status, started.elapsed());
        tracing::debug!(method = %request.method, path = request.url.path(), status, "request");
        reply.map_err(Trouble::Failed)
    }
}

/// A failure that says `Retry-After`: the key waits.
fn pause(slot: &Slot, answer: &Answer) {
    if let Some(asked) = answer.retry_after.filter(|asked| !asked.is_zero()) {
        tell_pause(slot, answer.status, slot.pause(asked), Some(asked));
    }
}

/// A key is set aside, and others go on. Its number is its place among the keys.
fn tell_aside(slot: &Slot, status: StatusCode, left: usize, what: &str) {
    if slot.is_news_that_it_is_aside() {
        let (key, status) = (slot.key_number(), status.as_u16());
        tracing::warn!(key, status, left, "{what}");
    }
}

fn tell_pause(slot: &Slot, status: StatusCode, pause: Duration, asked: Option<Duration>) {
    let (key, status, seconds) = (slot.key_number(), status.as_u16(), pause.as_secs());
    match asked.filter(|asked| *asked > pause) {
        Some(asked) => tracing::warn!(
            key,
            status,
            seconds,
            asked_seconds = asked.as_secs(),
            "Omni wants fewer requests: the key waits, shorter than Retry-After asks"
        ),
        None => tracing::warn!(
            key,
            status,
            seconds,
            "Omni wants fewer requests: the key waits"
        ),
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

    fn is_read(&self) -> bool {
        self.method == Method::GET
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

async fn receive(mut response: Response) -> Result<Answer, Failure> {
    let status = response.status();
    let retry_after = retry_after(&response);
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                let what = format!("an answer of over {} MiB", MAX_BODY >> 20);
                return Err(Failure::Unreadable(what));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) if status.is_success() => return Err(Failure::of(&error)),
            // What the code says is enough where it says no. A piece of a body tells nothing more,
            // and might end within a key.
            Err(_) => {
                body.clear();
                break;
            }
        }
    }
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    wait(text.trim(), Utc::now())
}

/// A `Retry-After`, in seconds or as a date.
fn wait(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let now = "2026-03-10T12:00:00Z".parse().expect("a time");
        let of = |text| wait(text, now);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(of("7"), seconds(7));
        assert_eq!(of("Tue, 10 Mar 2026 12:01:30 GMT"), seconds(90));
        assert_eq!(of("Tue, 10 Mar 2026 11:59:00 GMT"), seconds(0), "over");
        for none in ["", "-1", "1.5", "soon", "2026-03-10T12:01:30Z"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
