//! The users of the API keys, which `policy.protect_admins` protects too.
//!
//! A run whose plan removes users asks Omni about keys that no earlier run or check has asked about. The daemon asks
//! about all keys at its start and once a day.

use super::observation::Snapshot;
use super::{Observer, Prepared, RunError};
use crate::metrics::Metrics;
use crate::model::{Memory, Policy, UserId};
use crate::omni::{Client, OmniError, Whoami};
use crate::settings::{KeyHash, Settings};
use crate::state::{KeyUsers, StateDb, StateError};
use std::collections::HashSet;
use tokio_util::sync::CancellationToken;

/// The warning of a run that removes users if Omni names no user of any key.
const UNKNOWN: &str = "Omni names no user of the API keys, so policy.protect_admins can't protect them: list them in \
                       policy.protect";

/// What Omni says of each key.
#[derive(Debug)]
pub struct KeyAnswers(Vec<(KeyHash, Whoami)>);

impl KeyAnswers {
    /// Asks Omni. The requests are part of no run's count: they are sent by a client of their own, which shares the
    /// limit of the keys through the state folder.
    ///
    /// # Errors
    /// Fails if the keys or Omni can't be read.
    pub async fn ask(
        settings: &Settings,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> Result<Self, RunError> {
        let keys = settings.omni.keys.load().await?;
        let client = Client::new(&settings.omni, &settings.state.dir, metrics.outside_runs())?;
        let reader = client.reader(stop);
        let mut answers = Vec::new();
        for (key, hash) in keys.each().zip(keys.hashes()) {
            client.begin(&key);
            answers.push((hash, reader.whoami().await?));
        }
        Ok(Self(answers))
    }

    /// The answers, in the order of the keys.
    pub fn each(&self) -> impl Iterator<Item = &Whoami> {
        self.0.iter().map(|(_, whoami)| whoami)
    }

    /// Stores the users of the keys, and returns them.
    ///
    /// # Errors
    /// Fails if the state database can't be read or written.
    pub async fn keep(self, state: &StateDb) -> Result<KeyUsers, StateError> {
        let users = self.added_to(state.key_users().await?);
        state.record_key_users(users.clone()).await?;
        Ok(users)
    }

    /// The users of the keys. If Omni names no user of a key, the stored one is kept.
    fn added_to(self, mut known: KeyUsers) -> KeyUsers {
        let users = self.0.into_iter().filter_map(|(key, whoami)| {
            let before = known.remove(&key);
            let users = match whoami {
                Whoami::Known(identity) => identity.user_ids.into_iter().collect(),
                Whoami::Unknown => before.unwrap_or_default(),
                Whoami::Refused => before?,
            };
            Some((key, users))
        });
        users.collect()
    }
}

impl Observer {
    /// Adds the users of the keys in use to the memory; those of all known keys if the keys can't be read. Returns
    /// whether Omni was asked about all keys in use.
    pub(super) async fn recall_key_users(&self, memory: &mut Memory) -> Result<bool, StateError> {
        let mut known = self.state().key_users().await?;
        let Ok(keys) = self.settings().omni.keys.load().await else {
            memory.key_users.extend(known.into_values().flatten());
            return Ok(false);
        };
        let mut is_complete = true;
        for key in keys.hashes() {
            match known.remove(&key) {
                Some(users) => memory.key_users.extend(users),
                None => is_complete = false,
            }
        }
        Ok(is_complete)
    }

    /// Asks Omni about the keys, and plans again if they have other users than known. Without an answer the plan stays.
    pub(super) async fn protect_key_users(
        &self,
        prepared: Prepared,
        policy: &Policy,
        stop: &CancellationToken,
    ) -> Result<Prepared, RunError> {
        let answers = match KeyAnswers::ask(self.settings(), self.metrics(), stop).await {
            Ok(answers) => answers,
            Err(RunError::Omni(OmniError::Stopped)) => return Err(OmniError::Stopped.into()),
            Err(error) => {
                tracing::warn!(%error, "can't read the users of the API keys, so policy.protect_admins may not protect them; list them in policy.protect");
                return Ok(prepared);
            }
        };
        let users = match self.keep_in() {
            Some(state) => answers.keep(state).await?,
            None => answers.added_to(self.state().key_users().await?),
        };
        let users: HashSet<_> = users.into_values().flatten().collect();
        Ok(match users == prepared.memory.key_users {
            true => prepared,
            false => prepared.with_key_users(users, policy),
        })
    }
}

impl Prepared {
    /// Whether the plan removes users.
    pub(super) fn removes_users(&self) -> bool {
        let mut changes = self.assessment.verdict.all();
        changes.any(|change| change.operation().is_removal())
    }

    fn with_key_users(self, users: HashSet<UserId>, policy: &Policy) -> Self {
        let Self {
            desired,
            cache,
            mut memory,
            ..
        } = self;
        memory.key_users = users;
        Self::new(Snapshot { desired, cache }, memory, policy)
    }

    /// Warns if the plan removes users and those of the keys are not known.
    pub(super) fn warn_of_unknown_key_users(&mut self) {
        if self.removes_users() && self.memory.key_users.is_empty() {
            self.assessment.warnings.push(UNKNOWN.into());
        }
    }
}
