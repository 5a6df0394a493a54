//! The client: one exchange at a time, and what its answer means.

use super::Edit;
use super::error::{Failure, OmniError, detail_of, first_bytes};
use super::throttle::{Slot, Throttle};
use super::wire::{self, CreateDoc, Page, PatchDoc};
use crate::metrics::Metrics;
use crate::settings::{ApiKeys, BaseUrl, OmniSettings, SettingsError, UpdateMethod};
use crate::user::{Email, ObservedUser, Schema, UserId, UserSpec};
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
/// How often a read is tried, the first time included.
const ATTEMPTS: u32 = 6;
/// So many failures in a row end a run.
const MOST_FAILURES: u32 = 20;
/// How many users are asked for at once: Omni's default. More may not be honoured.
const PAGE: &str = "100";

/// How long to wait before the attempt after `failures` of them: half a second, doubling, at most
/// 30 s, with jitter so that several that failed together don't come back together.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    let full = Duration::from_millis(500 << failures.saturating_sub(1).min(6));
    full.min(Duration::from_secs(30))
        .mul_f64(0.5 + fastrand::f64() / 2.0)
}

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

/// What [`Reader::find`] found for an email.
#[derive(Clone, Debug)]
pub enum Found {
    /// Nobody.
    Nobody,
    /// One user.
    One(Box<ObservedUser>),
    /// Several users, none of whom may be touched.
    Several(usize),
}

/// What [`Reader::definitions`] found.
#[derive(Clone, Debug)]
pub enum Definitions {
    /// The organisation's definitions.
    Known(Schema),
    /// They can't be had: this key may not read them, or this Omni has no such endpoint.
    Refused(StatusCode),
}

/// The capability to read.
#[derive(Clone, Debug)]
pub struct Reader {
    client: Arc<Client>,
    stop: CancellationToken,
}

/// The capability to write, and to read.
#[derive(Clone, Debug)]
pub struct Writer {
    reader: Reader,
}

/// An answer that can be read: its code and its whole body.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

/// What came of one attempt: nothing that can be read, or an error that is final.
enum Trouble {
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
        Reader {
            client: self.clone(),
            stop: stop.clone(),
        }
    }

    /// The capability to write, until `stop` is cancelled.
    #[must_use]
    pub fn writer(self: &Arc<Self>, stop: &CancellationToken) -> Writer {
        Writer {
            reader: self.reader(stop),
        }
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

    /// One request, with as many turns as 429 and refused keys make it take.
    async fn exchange(
        &self,
        request: &Request,
        stop: &CancellationToken,
    ) -> Result<Answer, Trouble> {
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

struct Request {
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
    /// Whether 403 says something about the endpoint rather than the key.
    may_be_forbidden: bool,
}

impl Request {
    fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            body: None,
            may_be_forbidden: false,
        }
    }

    fn with_body(method: Method, url: Url, body: &impl Serialize) -> Self {
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

impl Reader {
    /// One page of the list, from the user with this number (from 1).
    ///
    /// # Errors
    /// After the last try, or at once where trying again can't help.
    pub async fn page(&self, start: u64) -> Result<Page, OmniError> {
        let mut url = self.client.base.endpoint(&["api", "scim", "v2", "Users"]);
        url.query_pairs_mut()
            .append_pair("count", PAGE)
            .append_pair("startIndex", &start.to_string());
        self.read(Request::get(url), wire::parse_page).await
    }

    /// Looks one user up by email.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub async fn find(&self, email: &Email) -> Result<Found, OmniError> {
        let quoted = serde_json::to_string(email.as_str()).expect("a text is JSON");
        let mut url = self.client.base.endpoint(&["api", "scim", "v2", "Users"]);
        url.query_pairs_mut()
            .append_pair("filter", &format!("userName eq {quoted}"));
        let mut page = self.read(Request::get(url), wire::parse_page).await?;
        page.users.retain(|user| user.email == *email);
        Ok(match page.users.len() {
            0 => Found::Nobody,
            1 => Found::One(Box::new(page.users.remove(0))),
            several => Found::Several(several),
        })
    }

    /// The organisation's attribute definitions.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are no error.
    pub async fn definitions(&self) -> Result<Definitions, OmniError> {
        let url = self.client.base.endpoint(&["api", "v1", "user-attributes"]);
        let request = Request {
            may_be_forbidden: true,
            ..Request::get(url)
        };
        match self.read(request, wire::parse_definitions).await {
            Ok(schema) => Ok(Definitions::Known(schema)),
            Err(OmniError::Forbidden { .. }) => Ok(Definitions::Refused(StatusCode::FORBIDDEN)),
            Err(OmniError::NotFound { .. }) => Ok(Definitions::Refused(StatusCode::NOT_FOUND)),
            Err(error) => Err(error),
        }
    }

    async fn read<T>(
        &self,
        request: Request,
        parse: impl Fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, OmniError> {
        let mut failures = 0;
        loop {
            let (failure, pause) = match self.client.exchange(&request, &self.stop).await {
                Ok(answer) if answer.status.is_success() => match parse(&answer.body) {
                    Ok(value) => {
                        self.client.failures.store(0, Ordering::Relaxed);
                        return Ok(value);
                    }
                    Err(error) => {
                        self.client.failures.fetch_add(1, Ordering::Relaxed);
                        (unreadable(&answer.body, &error), None)
                    }
                },
                Ok(answer) => {
                    self.client.failures.store(0, Ordering::Relaxed);
                    return Err(error_of(&answer));
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Failed(failure, pause)) => (failure, pause),
            };
            failures += 1;
            if failures >= ATTEMPTS {
                return Err(OmniError::Unavailable {
                    attempts: failures,
                    failure,
                });
            }
            tracing::info!(
                failure = failure.without_detail(),
                failures,
                "a read failed; it is tried again"
            );
            self.rest(pause.unwrap_or_else(|| backoff(failures)))
                .await?;
        }
    }

    /// Waits, unless told to stop. A server that asks for more than two minutes is not waited for
    /// any longer.
    ///
    /// # Errors
    /// When told to stop.
    pub async fn rest(&self, time: Duration) -> Result<(), OmniError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(OmniError::Stopped),
            () = tokio::time::sleep(time.min(Duration::from_secs(120))) => Ok(()),
        }
    }
}

impl Writer {
    /// The capability to read with the same keys.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Makes a user. The answer shows them as made, unless it is empty.
    ///
    /// # Errors
    /// [`OmniError::Lost`] where the outcome is unknown; [`OmniError::Conflict`] where the email is
    /// taken.
    pub async fn create(
        &self,
        email: &Email,
        spec: &UserSpec,
    ) -> Result<Option<ObservedUser>, OmniError> {
        let url = self
            .reader
            .client
            .base
            .endpoint(&["api", "scim", "v2", "Users"]);
        self.write(Request::with_body(
            Method::POST,
            url,
            &CreateDoc::new(email, spec),
        ))
        .await
    }

    /// Changes what an edit names, and nothing else. The answer shows the user as changed, unless it
    /// is empty.
    ///
    /// # Errors
    /// [`OmniError::Lost`] where the outcome is unknown.
    pub async fn update(
        &self,
        id: &UserId,
        edit: &Edit,
        schema: &Schema,
    ) -> Result<Option<ObservedUser>, OmniError> {
        let url = self.user_url(id);
        match self.reader.client.update_method {
            UpdateMethod::Patch => {
                self.write(Request::with_body(Method::PATCH, url, &PatchDoc::new(edit)))
                    .await
            }
            UpdateMethod::Put => self.replace(url, edit, schema).await,
        }
    }

    /// Sends the whole user, read right before.
    async fn replace(
        &self,
        url: Url,
        edit: &Edit,
        schema: &Schema,
    ) -> Result<Option<ObservedUser>, OmniError> {
        if !schema.is_known() {
            let detail = "omni.update_method = \"put\" takes the attribute definitions, which this \
                          key may not read: without them system attributes can't be told apart";
            return Err(OmniError::Forbidden {
                detail: detail.into(),
            });
        }
        let body = self
            .reader
            .read(Request::get(url.clone()), |read| {
                wire::put_body(read, edit, schema)
            })
            .await?;
        self.write(Request::with_body(Method::PUT, url, &body))
            .await
    }

    /// Revokes a membership.
    ///
    /// # Errors
    /// [`OmniError::Lost`] where the outcome is unknown; [`OmniError::NotFound`] where it is gone.
    pub async fn delete(&self, id: &UserId) -> Result<(), OmniError> {
        let url = self.user_url(id);
        let request = Request {
            method: Method::DELETE,
            ..Request::get(url)
        };
        self.write(request).await.map(drop)
    }

    fn user_url(&self, id: &UserId) -> Url {
        self.reader
            .client
            .base
            .endpoint(&["api", "scim", "v2", "Users", id.as_str()])
    }

    /// Sends a write once. An empty answer and one that shows a user are both fine.
    async fn write(&self, request: Request) -> Result<Option<ObservedUser>, OmniError> {
        let client = &self.reader.client;
        let answer = match client.exchange(&request, &self.reader.stop).await {
            Ok(answer) => answer,
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Failed(failure, _)) => return Err(OmniError::Lost(failure)),
        };
        if !answer.status.is_success() {
            client.failures.store(0, Ordering::Relaxed);
            return Err(error_of(&answer));
        }
        if answer.body.trim_ascii().is_empty() {
            client.failures.store(0, Ordering::Relaxed);
            return Ok(None);
        }
        match wire::parse_user(&answer.body) {
            Ok(user) => {
                client.failures.store(0, Ordering::Relaxed);
                Ok(user)
            }
            Err(error) => {
                client.failures.fetch_add(1, Ordering::Relaxed);
                Err(OmniError::Lost(unreadable(&answer.body, &error)))
            }
        }
    }
}
