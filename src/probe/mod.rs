//! Learns how an organisation answers where Omni's documents can be read in several ways (`docs/omni.md`).
//!
//! ```text
//! remove leftovers ─► check that the email is free ─► create user and group ─► one function per reading ─► delete both
//! ```
//!
//! The rules of this module:
//!
//! - Only the user and the group that the probe has created are changed or deleted, and only this user becomes a member
//!   of the group, because a membership may grant access. The user is stored before its creation is sent, so that the
//!   next probe removes it if this one is killed. The group has the user's unique name, by which it is found.
//! - A reading comes from a read by id or a list, never from the answer to a write.
//! - An answer that fits no reading leaves it unknown.
//! - A lost response says nothing: the write is sent again, unless the user shows its effect.
//! - At most [`MAX_REQUESTS`] requests are sent, retries included. The last ones are kept for the deletions.
//! - A stop skips the remaining readings, not the deletions.

mod deletion;
mod group;
mod group_readings;
mod readings;
mod sample;
mod steps;
mod trial;
mod user;
mod write;

pub use group::group_name;
pub use steps::{Answer, Step, Steps};
pub use user::UnfinishedProbe;

use crate::model::{Email, GroupName, ProbeUser, Readings};
use crate::omni::{OmniError, WriteClient, Writer};
use crate::state::{StateDb, StateError};
use chrono::{DateTime, Utc};
use group::OwnGroup;
use tokio_util::sync::CancellationToken;
use trial::Trial;

/// The limit of requests, retries included.
pub const MAX_REQUESTS: u64 = 30;

/// What a probe has done and learned.
#[derive(Debug, Default)]
pub struct Probed {
    /// What it has learned.
    pub readings: Readings,
    /// The user that an earlier probe did not delete.
    pub unfinished: Option<UnfinishedProbe>,
    /// Whether a group was deleted that an earlier probe had created.
    pub deleted_group: bool,
    /// The writes and readings in order, without names, ids and values.
    pub steps: Steps,
    /// The number of requests sent.
    pub requests: u64,
    /// Why the probe ended early.
    pub error: Option<ProbeFailure>,
}

/// Why a probe ended early.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFailure {
    /// A request failed.
    #[error(transparent)]
    Omni(#[from] OmniError),
    /// The state database failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The email belongs to a user.
    #[error("Omni has a user with the email {0}; choose an email that no user has")]
    EmailTaken(Email),
    /// Neither the filter nor the first pages of the list show whether the email belongs to a user.
    #[error("Omni does not show whether a user has the email {0}; the probe was not started")]
    EmailUnclear(Email),
    /// The creation was sent, and Omni does not show the user.
    #[error(
        "Omni does not show the user that was created ({0}); the next probe looks for it again"
    )]
    NotShown(Email),
    /// The user could not be deleted.
    #[error(
        "the user {email} was not deleted ({cause}); delete it in Omni, or run the probe again"
    )]
    NotDeleted {
        /// The email.
        email: Email,
        /// The reason.
        cause: String,
    },
    /// The group could not be deleted.
    #[error(
        "the group {name} was not deleted ({cause}); delete it in Omni, or run the probe again"
    )]
    GroupNotDeleted {
        /// The name.
        name: GroupName,
        /// The reason.
        cause: String,
    },
}

/// Probes the organisation with a user of this email, and stores the readings.
pub async fn probe(
    client: &WriteClient,
    state: &StateDb,
    email: &Email,
    now: DateTime<Utc>,
    stop: &CancellationToken,
) -> Probed {
    let mut probed = Probed::default();
    let before = client.client().requests_sent();
    client.client().limit_requests(MAX_REQUESTS);
    let probe = Probe {
        writer: client.writer(stop),
        deleter: client.writer(&CancellationToken::new()),
        state,
        email,
        now,
    };
    probed.error = probe.run(&mut probed).await.err();
    probed.requests = client.client().requests_sent() - before;
    probed
}

struct Probe<'a> {
    writer: Writer,
    /// Not stopped with the probe.
    deleter: Writer,
    state: &'a StateDb,
    email: &'a Email,
    now: DateTime<Utc>,
}

impl Probe<'_> {
    async fn run(&self, probed: &mut Probed) -> Result<(), ProbeFailure> {
        self.remove_unfinished(probed).await?;
        let schema = self.writer.reader().definitions().await?.into_schema();
        let filter = user::check_free(self.writer.reader(), self.email).await?;
        let created = user::create(&self.deleter, self.state, self.email, &mut probed.steps);
        let (user, observed) = created.await?;
        let (group, failure) = match self.create_group(&user, &mut probed.steps).await {
            Ok(group) => (group, None),
            Err(failure) => (None, Some(failure)),
        };
        let mut trial = Trial::new(&self.writer, observed, group, &schema, filter);
        let ended = match failure {
            None => readings::learn(&mut trial).await.map_err(Into::into),
            Some(failure) => Err(failure),
        };
        let deleted = self.delete(&user, &trial, ended.is_err()).await;
        probed.readings = trial.learned();
        probed.steps.append(trial.steps);
        let recorded = self.state.record_readings(&probed.readings, self.now);
        recorded.await?;
        deleted.and(ended)
    }

    /// Deletes what an earlier probe has left behind.
    async fn remove_unfinished(&self, probed: &mut Probed) -> Result<(), ProbeFailure> {
        let Some(user) = self.state.probe_user().await? else {
            return Ok(());
        };
        probed.unfinished = Some(user::remove_unfinished(&self.deleter, &user).await?);
        if let Some(name) = group_name(&user) {
            probed.deleted_group = group::delete_named(&self.deleter, &name).await?;
        }
        Ok(self.state.end_probe().await?)
    }

    async fn create_group(
        &self,
        user: &ProbeUser,
        steps: &mut Steps,
    ) -> Result<Option<OwnGroup>, ProbeFailure> {
        match group_name(user) {
            Some(name) => group::create(&self.deleter, &name, steps).await,
            None => Ok(None),
        }
    }

    /// Deletes the user, and the group, which may exist without a known id after an error.
    async fn delete(
        &self,
        user: &ProbeUser,
        trial: &Trial<'_>,
        after_error: bool,
    ) -> Result<(), ProbeFailure> {
        let of_user = user::delete_own(&self.deleter, self.state, user, trial.end()).await;
        let of_group = match (&trial.group, group_name(user)) {
            (Some(group), _) => group::delete(&self.deleter, &group.id, &group.name).await,
            (None, Some(name)) if after_error => {
                group::delete_named(&self.deleter, &name).await.map(drop)
            }
            (None, _) => Ok(()),
        };
        of_user.and(of_group)?;
        Ok(self.state.end_probe().await?)
    }
}
