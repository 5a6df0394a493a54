//! The capability to read: what can be asked, and trying again.

use super::client::{Client, Request, Trouble};
use super::error::OmniError;
use super::wire::{self, Page};
use crate::model::{Email, ObservedUser, Schema, UserId, UserMatch};
use crate::util::backoff::Backoff;
use reqwest::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a read is tried, the first time included.
const ATTEMPTS: u32 = 6;
/// How many users are asked for at once: Omni's default. More may not be honoured.
const PAGE: &str = "100";

/// The delays between attempts.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    max: Duration::from_secs(30),
    factor: 2,
    jitter: (0.5, 1.0),
};

/// What [`Reader::find`] found for an email.
#[derive(Clone, Debug)]
pub enum Found {
    /// Nobody whose email is spelt so; it may be spelt in another case.
    Nobody,
    /// One user.
    One(Box<ObservedUser>),
    /// Several users, none of whom may be touched.
    Several(usize),
    /// The answer can't be relied on: it shows somebody who was not asked for, or fewer users than it
    /// counts. Never to be taken for nobody.
    UnreliableLookup,
}

impl Found {
    /// What the email stands for now; `None` where nobody has it.
    ///
    /// # Errors
    /// Where the answer can't be relied on.
    pub fn sighting(self) -> Result<Option<UserMatch>, OmniError> {
        match self {
            Self::One(user) => Ok(Some(UserMatch::One(Arc::new(*user)))),
            Self::Several(count) => Ok(Some(UserMatch::Several(count))),
            Self::Nobody => Ok(None),
            Self::UnreliableLookup => Err(OmniError::UnreliableLookup),
        }
    }
}

/// What [`Reader::definitions`] found.
#[derive(Clone, Debug)]
pub enum Definitions {
    /// The organisation's definitions.
    Known(Schema),
    /// They can't be had: this key may not read them, or this Omni has no such endpoint.
    Refused(StatusCode),
}

impl Definitions {
    /// What they say, or that they can't be had.
    #[must_use]
    pub fn into_schema(self) -> Schema {
        match self {
            Self::Known(schema) => schema,
            Self::Refused(_) => Schema::unknown(),
        }
    }
}

/// The capability to read.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) client: Arc<Client>,
    pub(super) stop: CancellationToken,
}

impl Reader {
    pub(super) fn new(client: Arc<Client>, stop: CancellationToken) -> Self {
        Self { client, stop }
    }

    /// How many questions are worth asking at once.
    pub(super) fn at_once(&self) -> usize {
        self.client.max_in_flight()
    }

    /// What ends its reading.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// One page of the list, from the user with this number (from 1).
    ///
    /// # Errors
    /// After the last try, or at once where trying again can't help.
    pub async fn page(&self, start: u64) -> Result<Page, OmniError> {
        let mut url = self.client.endpoint(&["api", "scim", "v2", "Users"]);
        url.query_pairs_mut()
            .append_pair("count", PAGE)
            .append_pair("startIndex", &start.to_string());
        self.read(Request::get(url), Page::parse).await
    }

    /// One user by id; `None` where nobody has it.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub async fn get(&self, id: &UserId) -> Result<Option<ObservedUser>, OmniError> {
        let path = ["api", "scim", "v2", "Users", id.as_str()];
        let request = Request::get(self.client.endpoint(&path));
        let user = self.read(request, |body| wire::parse_user_with(id, body));
        match user.await {
            Ok(user) => Ok(Some(user)),
            Err(OmniError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks one user up by email. Whether Omni's filter minds case is not known, so [`Found::Nobody`]
    /// is for where a wrong one does no harm; what is known by id is asked for by id.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub async fn find(&self, email: &Email) -> Result<Found, OmniError> {
        let mut page = self.filtered(email.as_str()).await?;
        if !page.shows_all_of(email) {
            return Ok(Found::UnreliableLookup);
        }
        Ok(match page.users.len() {
            0 => Found::Nobody,
            1 => Found::One(Box::new(page.users.remove(0))),
            several => Found::Several(several),
        })
    }

    async fn filtered(&self, email: &str) -> Result<Page, OmniError> {
        let quoted = serde_json::to_string(email).expect("a text is JSON");
        let mut url = self.client.endpoint(&["api", "scim", "v2", "Users"]);
        url.query_pairs_mut()
            .append_pair("filter", &format!("userName eq {quoted}"));
        self.read(Request::get(url), Page::parse).await
    }

    /// The organisation's attribute definitions.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are no error.
    pub async fn definitions(&self) -> Result<Definitions, OmniError> {
        let url = self.client.endpoint(&["api", "v1", "user-attributes"]);
        match self
            .read(Request::get_if_allowed(url), wire::parse_definitions)
            .await
        {
            Ok(schema) => Ok(Definitions::Known(schema)),
            Err(OmniError::Forbidden { .. }) => Ok(Definitions::Refused(StatusCode::FORBIDDEN)),
            Err(OmniError::NotFound { .. }) => Ok(Definitions::Refused(StatusCode::NOT_FOUND)),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read<T>(
        &self,
        request: Request,
        parse: impl Fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, OmniError> {
        let mut failures = 0;
        loop {
            let failure = match self.client.exchange(&request, &self.stop, &parse).await {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Failed(failure)) => failure,
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
            self.back_off(failures).await?;
        }
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
