//! The client: one exchange at a time, and the meaning of its response.

use super::error::{AttemptError, Failure, ForbiddenCause, OmniError};
use super::exchange::{ApiRequest, ApiResponse};
use super::failure_breaker::FailureBreaker;
use super::forms::Forms;
use super::group_rules::GroupRules;
use super::limiter::{Priority, RateLimiter, Slot};
use super::page_sizes::PageSizes;
use super::redact::{HTML, is_html};
use crate::metrics::Metrics;
use crate::model::Readings;
use crate::settings::{ApiKeys, BaseUrl, OmniSettings, SettingsError, UpdateMethod};
use crate::util::error_chain::root_cause;
use crate::util::http::{client_builder, proxy_problem, read_certificates};
use crate::util::sync::lock;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use secrecy::ExposeSecret;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A connection to one organisation, for reading. It lasts as long as the process, so that the rate
/// limiter keeps its window. Only a [`WriteClient`](super::WriteClient) can write.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: BaseUrl,
    update_method: UpdateMethod,
    limiter: RateLimiter,
    metrics: Metrics,
    failures: FailureBreaker,
    max_in_flight: usize,
    sent: AtomicU64,
    pub(super) page_sizes: PageSizes,
    /// The limit of `sent`.
    max_sent: AtomicU64,
    forms: Mutex<Forms>,
    group_rules: Mutex<GroupRules>,
    /// Whether the server's email filter ignores case, once known.
    pub(super) filter_ignores_case: OnceLock<bool>,
    /// Set once the owners of schedules are known to have the ids of users.
    pub(super) owners_are_users: OnceLock<()>,
}

impl Client {
    /// A client for the organisation in the settings. The limit of each key is shared with every other
    /// process that uses this state folder.
    ///
    /// # Errors
    /// If `omni.base_url` is not set, or `omni.ca_file` can't be read.
    pub fn new(
        settings: &OmniSettings,
        state_dir: &Path,
        metrics: Metrics,
    ) -> Result<Arc<Self>, ClientError> {
        let base = settings.base_url()?.clone();
        let limiter = RateLimiter::shared(
            settings.requests_per_minute,
            settings.max_in_flight,
            settings.timeout,
            state_dir,
        );
        let limit = limiter.clone();
        metrics.set_requests_available(move || limit.available());
        Ok(Arc::new(Self {
            http: http_client(settings, &base)?,
            base,
            update_method: settings.update_method,
            limiter,
            metrics,
            failures: FailureBreaker::default(),
            sent: AtomicU64::new(0),
            page_sizes: PageSizes::new(settings.page_size),
            max_sent: AtomicU64::new(u64::MAX),
            forms: Mutex::default(),
            group_rules: Mutex::default(),
            max_in_flight: settings.max_in_flight,
            filter_ignores_case: OnceLock::new(),
            owners_are_users: OnceLock::new(),
        }))
    }

    /// Starts a run with these keys: failures and disabled keys are forgotten, sent requests still
    /// count.
    pub fn begin(&self, keys: &ApiKeys) {
        self.limiter.use_keys(keys);
        self.count_disabled_keys();
        self.failures.reset();
    }

    /// The time that this many requests would take from now on, with what other processes have just
    /// sent. Reads a small file.
    #[must_use]
    pub fn refresh_and_estimate(&self, requests: usize, priority: Priority) -> Duration {
        self.limiter.catch_up();
        self.estimate(requests, priority)
    }

    /// The time that this many requests would take from now on, by what is known.
    #[must_use]
    pub fn estimate(&self, requests: usize, priority: Priority) -> Duration {
        self.limiter.estimate(requests, priority)
    }

    /// How long the next request would wait for the rate limit; `None` if it would not, or until an unknown time.
    #[must_use]
    pub fn wait(&self, priority: Priority) -> Option<Duration> {
        self.limiter.wait(priority)
    }

    /// The limit of requests in flight.
    pub(super) fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// The number of requests sent so far.
    #[must_use]
    pub fn requests_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Follows what a probe has learned.
    pub fn follow(&self, readings: &Readings) {
        *lock(&self.forms) = Forms::of(readings);
        *lock(&self.group_rules) = GroupRules::of(readings);
        self.page_sizes.follow(readings.max_page);
        if let Some(ignores) = readings.filter_ignores_case {
            let _ = self.filter_ignores_case.set(ignores);
        }
    }

    /// Takes in that an earlier process was refused a large page at this time.
    pub fn recall_refused_page(&self, at: Option<DateTime<Utc>>) {
        if let Some(at) = at {
            self.page_sizes.recall(at);
        }
    }

    /// When Omni last refused a large page, if that is remembered.
    #[must_use]
    pub fn refused_page(&self) -> Option<DateTime<Utc>> {
        self.page_sizes.refused()
    }

    /// The forms of updates.
    pub(super) fn forms(&self) -> Forms {
        *lock(&self.forms)
    }

    /// The rules for changes of groups.
    #[must_use]
    pub fn group_rules(&self) -> GroupRules {
        *lock(&self.group_rules)
    }

    /// Limits the number of requests from now on, retries included.
    pub fn limit_requests(&self, requests: u64) {
        let max = self.requests_sent().saturating_add(requests);
        self.max_sent.store(max, Ordering::Relaxed);
    }

    /// The number of requests that may still be sent.
    pub(super) fn requests_left(&self) -> u64 {
        let max = self.max_sent.load(Ordering::Relaxed);
        max.saturating_sub(self.requests_sent())
    }

    fn count_disabled_keys(&self) {
        let count = self.limiter.disabled_keys();
        let gauge = &self.metrics.keys_disabled;
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The URL of an endpoint.
    pub(super) fn endpoint(&self, segments: &[&str]) -> Url {
        self.base.endpoint(segments)
    }

    /// The method of updates.
    pub(super) fn update_method(&self) -> UpdateMethod {
        self.update_method
    }

    /// Sends a request once, and parses its response.
    pub(super) async fn exchange<T>(
        &self,
        request: &ApiRequest,
        stop: &CancellationToken,
        parse: impl Fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, AttemptError> {
        let result = self.attempt(request, stop, parse).await;
        if let Err(AttemptError::Failed(failure)) = &result {
            self.failures.add(failure);
        }
        result
    }

    async fn attempt<T>(
        &self,
        request: &ApiRequest,
        stop: &CancellationToken,
        parse: impl Fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, AttemptError> {
        let response = self.response(request, stop).await?;
        if !response.status.is_success() {
            self.failures.reset();
            return Err(AttemptError::Final(self.error_of(request, &response)));
        }
        let value = parse(&response.body)
            .map_err(|error| AttemptError::Failed(self.unreadable(&response.body, &error)))?;
        self.failures.reset();
        Ok(value)
    }

    /// Sends a request until a key is neither rate limited nor rejected.
    async fn response(
        &self,
        request: &ApiRequest,
        stop: &CancellationToken,
    ) -> Result<ApiResponse, AttemptError> {
        loop {
            let slot = self.acquire_slot(request.priority, stop).await?;
            let response = self.send(request, &slot).await?;
            match response.status {
                StatusCode::TOO_MANY_REQUESTS => {
                    self.handle_rate_limit(&slot, response.retry_after)?;
                }
                status if is_transient(status, request) => {
                    pause(&slot, &response);
                    let detail = self.limiter.redactor().detail_of(&response.body);
                    return Err(AttemptError::Failed(Failure::Status(status, detail)));
                }
                _ => {
                    slot.accepted();
                    if !self.handle_auth_failure(&response, request, &slot)? {
                        return Ok(response);
                    }
                }
            }
        }
    }

    /// Waits for the right to send one request. Checks the breaker again after the wait, since other
    /// requests may have failed meanwhile.
    async fn acquire_slot(
        &self,
        priority: Priority,
        stop: &CancellationToken,
    ) -> Result<Slot, OmniError> {
        self.failures.check()?;
        if self.requests_left() == 0 {
            return Err(OmniError::NoRequestsLeft);
        }
        let waiting = Instant::now();
        let slot = self.limiter.slot(priority, stop).await?;
        self.metrics.waited(waiting.elapsed());
        self.failures.check()?;
        Ok(slot)
    }

    /// Disables the key after 401, or 403 on a read. Returns whether to try again with another key.
    fn handle_auth_failure(
        &self,
        response: &ApiResponse,
        request: &ApiRequest,
        slot: &Slot,
    ) -> Result<bool, OmniError> {
        let rejected = match response.status {
            StatusCode::UNAUTHORIZED => true,
            StatusCode::FORBIDDEN => request.is_read() && !request.optional,
            _ => false,
        };
        if !rejected {
            return Ok(false);
        }
        let remaining = slot.disable_key();
        self.count_disabled_keys();
        if remaining == 0 {
            return Err(self.error_of(request, response));
        }
        let message = "Omni rejected an API key; the key is disabled for this run";
        warn_disabled(slot, response.status, remaining, message);
        Ok(true)
    }

    /// Pauses the key after 429, or disables it after too many.
    fn handle_rate_limit(
        &self,
        slot: &Slot,
        retry_after: Option<Duration>,
    ) -> Result<(), OmniError> {
        let status = StatusCode::TOO_MANY_REQUESTS;
        if let Some(pause) = slot.throttled(retry_after) {
            warn_pause(slot, status, pause, retry_after);
            return Ok(());
        }
        self.count_disabled_keys();
        let remaining = self.limiter.usable_keys();
        if remaining == 0 {
            return Err(OmniError::Throttled);
        }
        let message = "Omni keeps responding 429 to an API key; the key is disabled for this run";
        warn_disabled(slot, status, remaining, message);
        Ok(())
    }

    fn error_of(&self, request: &ApiRequest, response: &ApiResponse) -> OmniError {
        let detail = self.limiter.redactor().detail_of(&response.body);
        match response.status {
            StatusCode::UNAUTHORIZED => OmniError::Unauthorized { detail },
            StatusCode::FORBIDDEN if request.is_read() => OmniError::Forbidden {
                detail,
                cause: ForbiddenCause::Unknown,
            },
            StatusCode::FORBIDDEN => OmniError::WriteForbidden { detail },
            StatusCode::NOT_FOUND => OmniError::NotFound { detail },
            // An endpoint that this Omni does not have.
            StatusCode::NOT_IMPLEMENTED if request.optional => OmniError::NotFound { detail },
            StatusCode::CONFLICT => OmniError::Conflict { detail },
            status if status.is_redirection() => OmniError::Redirected { status },
            status => OmniError::Rejected { status, detail },
        }
    }

    /// Describes a body of the wrong kind, such as HTML from a proxy or truncated JSON. The parser's
    /// message may quote the body, so it is redacted too.
    fn unreadable(&self, body: &[u8], error: &serde_json::Error) -> Failure {
        let redactor = self.limiter.redactor();
        let problem = if is_html(body) {
            HTML.to_owned()
        } else {
            redactor.line(&error.to_string())
        };
        let start = redactor.first_bytes(body);
        Failure::Unreadable(format!("{problem}; it starts with {start}"))
    }

    async fn send(&self, request: &ApiRequest, slot: &Slot) -> Result<ApiResponse, AttemptError> {
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
        let result = match builder.send().await {
            Ok(response) => ApiResponse::receive(response).await,
            Err(error) => Err(Failure::of(&error)),
        };
        let status = match &result {
            Ok(response) => response.status.as_str(),
            Err(_) => "error",
        };
        self.metrics
            .request(request.method.as_str(), status, started.elapsed());
        tracing::debug!(method = %request.method, path = request.url.path(), status, "request");
        result.map_err(AttemptError::Failed)
    }
}

/// Whether the next attempt may succeed.
fn is_transient(status: StatusCode, request: &ApiRequest) -> bool {
    let is_missing = status == StatusCode::NOT_IMPLEMENTED && request.optional;
    status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() && !is_missing
}

/// Pauses the key if a failure has a `Retry-After`.
fn pause(slot: &Slot, response: &ApiResponse) {
    if let Some(asked) = response.retry_after.filter(|asked| !asked.is_zero()) {
        warn_pause(slot, response.status, slot.pause(asked), Some(asked));
    }
}

fn warn_disabled(slot: &Slot, status: StatusCode, remaining: usize, message: &str) {
    if slot.take_disabled_notice() {
        let (key, status) = (slot.key_number(), status.as_u16());
        tracing::warn!(key, status, remaining, "{message}");
    }
}

fn warn_pause(slot: &Slot, status: StatusCode, pause: Duration, asked: Option<Duration>) {
    let (key, status, seconds) = (slot.key_number(), status.as_u16(), pause.as_secs());
    // Present only if the pause is shorter than Retry-After asks.
    let asked_seconds = asked.filter(|asked| *asked > pause);
    let asked_seconds = asked_seconds.map(|asked| asked.as_secs());
    // Present only if it is lower than omni.requests_per_minute.
    let per_minute = slot.pace();
    tracing::warn!(
        key,
        status,
        seconds,
        asked_seconds,
        per_minute,
        "Omni asks for fewer requests; the key is paused"
    );
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The settings have no `omni.base_url`.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The HTTP client can't be created.
    #[error(transparent)]
    Omni(#[from] OmniError),
}

fn http_client(settings: &OmniSettings, base: &BaseUrl) -> Result<reqwest::Client, OmniError> {
    let mut builder = client_builder(settings.timeout, base.is_loopback())
        .connect_timeout(settings.timeout.min(Duration::from_secs(10)));
    if let Some(path) = &settings.ca_file {
        let certificates = read_certificates(path).map_err(|problem| {
            OmniError::Setup(format!("omni.ca_file {}: {problem}", path.display()))
        })?;
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    let proxy = proxy_problem(|name| std::env::var(name).ok()).filter(|_| !base.is_loopback());
    if let Some(problem) = proxy {
        return Err(OmniError::Setup(problem));
    }
    builder.build().map_err(|error| {
        let cause = root_cause(&error);
        OmniError::Setup(match &settings.ca_file {
            Some(path) => format!(
                "omni.ca_file {}: a certificate can't be used: {cause}",
                path.display()
            ),
            None => format!("the HTTP client can't be created: {cause}"),
        })
    })
}

fn bearer(slot: &Slot) -> Result<HeaderValue, OmniError> {
    let text =
        secrecy::zeroize::Zeroizing::new(format!("Bearer {}", slot.secret().expose_secret()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        OmniError::Setup("an API key has a character that is not valid in an HTTP header".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}
