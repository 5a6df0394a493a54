//! The capability to read, with retries.

use super::available::{Available, Definitions};
use super::client::Client;
use super::error::{AttemptError, Failure, OmniError};
use super::exchange::ApiRequest;
use super::limiter::Priority;
use super::wire::{self, UserListPage};
use crate::model::{Email, ObservedUser, UserId, UserMatch};
use crate::util::backoff::Backoff;
use reqwest::Url;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Attempts per read, including the first.
const MAX_ATTEMPTS: u32 = 6;

/// The target of log lines about failed reads, which commands show.
pub const ATTEMPTS: &str = "omni_user_sync::attempt";

/// The delays between attempts.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    max: Duration::from_secs(30),
    factor: 2,
    jitter: (0.5, 1.0),
};

/// The result of [`Reader::find`].
#[derive(Clone, Debug)]
pub enum Lookup {
    /// No user with this spelling of the email; another letter case is possible.
    NotFound,
    /// One user.
    One(Box<ObservedUser>),
    /// Several users, which must not be changed.
    Several(usize),
    /// The response shows a user with another email, or fewer users than it counts. Never treat this
    /// as [`Lookup::NotFound`].
    Unreliable,
}

impl Lookup {
    /// The match for the email; `None` if no user has it.
    ///
    /// # Errors
    /// [`OmniError::UnreliableLookup`].
    pub fn into_match(self) -> Result<Option<UserMatch>, OmniError> {
        match self {
            Self::One(user) => Ok(Some(UserMatch::One(Arc::new(*user)))),
            Self::Several(count) => Ok(Some(UserMatch::Several(count))),
            Self::NotFound => Ok(None),
            Self::Unreliable => Err(OmniError::UnreliableLookup),
        }
    }
}

/// The capability to read.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) client: Arc<Client>,
    pub(super) stop: CancellationToken,
    /// The priority of reads by id, and of the list of groups.
    pub(super) priority: Priority,
    /// Whether pages of users show their groups.
    with_groups: bool,
}

impl Client {
    /// The capability to read, until `stop` is cancelled.
    #[must_use]
    pub fn reader(self: &Arc<Self>, stop: &CancellationToken) -> Reader {
        Reader {
            client: self.clone(),
            stop: stop.clone(),
            priority: Priority::Urgent,
            with_groups: false,
        }
    }
}

impl Reader {
    /// The number of requests worth sending concurrently.
    pub(super) fn concurrency(&self) -> usize {
        self.client.max_in_flight()
    }

    /// A reader of pages that also show the groups of users, if Omni sends them.
    #[must_use]
    pub fn with_groups(&self, with_groups: bool) -> Self {
        Self {
            with_groups,
            ..self.clone()
        }
    }

    /// Parses a page of the list of users.
    pub(super) fn parse_page(&self) -> fn(&[u8]) -> serde_json::Result<UserListPage> {
        match self.with_groups {
            true => UserListPage::parse_with_groups,
            false => UserListPage::parse,
        }
    }

    /// A reader whose reads by id wait for urgent requests.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self {
            priority: Priority::Background,
            ..self.clone()
        }
    }

    /// The same reader with another token that stops it. Requests that were sent already end as usual.
    #[must_use]
    pub fn until(&self, stop: &CancellationToken) -> Self {
        Self {
            stop: stop.clone(),
            ..self.clone()
        }
    }

    /// The token that stops this reader.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// One user by id; `None` if there is no such user.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub async fn get(&self, id: &UserId) -> Result<Option<ObservedUser>, OmniError> {
        let request = ApiRequest::get(self.user_url(id)).with_priority(self.priority);
        let user = self.read(request, |body| wire::parse_user_with(id, body));
        match user.await {
            Ok(user) => Ok(Some(user)),
            Err(OmniError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks up one user by email. It is unknown whether Omni's filter ignores case, so use this only
    /// where a wrong [`Lookup::NotFound`] does no harm, and read users with a known id by id.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub async fn find(&self, email: &Email) -> Result<Lookup, OmniError> {
        let mut page = self.filtered(email.as_str()).await?;
        if !page.shows_all_of(email) {
            return Ok(Lookup::Unreliable);
        }
        Ok(match page.users.len() {
            0 => Lookup::NotFound,
            1 => Lookup::One(Box::new(page.users.remove(0))),
            count => Lookup::Several(count),
        })
    }

    async fn filtered(&self, email: &str) -> Result<UserListPage, OmniError> {
        let quoted = serde_json::to_string(email).expect("a text is JSON");
        let mut url = self.users_url();
        url.query_pairs_mut()
            .append_pair("filter", &format!("userName eq {quoted}"));
        self.read(ApiRequest::get(url), UserListPage::parse).await
    }

    /// The organisation's attribute definitions.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors.
    pub async fn definitions(&self) -> Result<Definitions, OmniError> {
        let url = self.client.endpoint(&["api", "v1", "user-attributes"]);
        let request = ApiRequest::get_optional(url);
        Available::of(self.read(request, wire::parse_definitions).await)
    }

    /// The number of requests that may still be sent; see [`Client::limit_requests`].
    #[must_use]
    pub fn requests_left(&self) -> u64 {
        self.client.requests_left()
    }

    /// The time that this many reads by id would take from now on. Reads a small file.
    #[must_use]
    pub fn estimate(&self, requests: usize) -> Duration {
        self.client.refresh_and_estimate(requests, self.priority)
    }

    pub(super) fn users_url(&self) -> Url {
        self.client.endpoint(&["api", "scim", "v2", "Users"])
    }

    pub(super) fn user_url(&self, id: &UserId) -> Url {
        let path = ["api", "scim", "v2", "Users", id.as_str()];
        self.client.endpoint(&path)
    }

    pub(super) async fn read<T>(
        &self,
        request: ApiRequest,
        parse: impl Fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, OmniError> {
        let mut failures = 0;
        loop {
            match self.client.exchange(&request, &self.stop, &parse).await {
                Ok(value) => return Ok(value),
                Err(AttemptError::Final(error)) => return Err(error),
                Err(AttemptError::Failed(failure)) => {
                    self.after_failure(&mut failures, failure).await?;
                }
            }
        }
    }

    /// Counts a failed attempt, and waits before the next one.
    ///
    /// # Errors
    /// After the last attempt, or when the run is stopped.
    pub(super) async fn after_failure(
        &self,
        failures: &mut u32,
        failure: Failure,
    ) -> Result<(), OmniError> {
        *failures += 1;
        if *failures >= MAX_ATTEMPTS {
            return Err(OmniError::Unavailable {
                attempts: *failures,
                failure,
            });
        }
        let failure = failure.redacted();
        let attempt = *failures + 1;
        tracing::info!(
            target: ATTEMPTS,
            %failure,
            attempt,
            of = MAX_ATTEMPTS,
            "a read failed; trying again"
        );
        self.back_off(*failures).await
    }

    /// Waits before the next attempt, longer after each failure in a row.
    ///
    /// # Errors
    /// [`OmniError::Stopped`], at once when the run is stopped.
    pub async fn back_off(&self, failures: u32) -> Result<(), OmniError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(OmniError::Stopped),
            () = tokio::time::sleep(BACKOFF.delay(failures)) => Ok(()),
        }
    }
}
