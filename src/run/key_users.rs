//! The users of the API keys, which `policy.protect_admins` protects too.
//!
//! A run whose plan takes access from users (removals, leaves, lower roles) asks Omni about keys that no earlier run or
//! check has asked about. If Omni does not answer, the run sends none of these changes, because one of the users may be
//! the user of a key. The daemon asks about all keys at its start and once a day.

use super::observation::Snapshot;
use super::{Observer, Prepared, RunError};
use crate::metrics::Metrics;
use crate::model::{Memory, Policy, UserId};
use crate::omni::{Client, OmniError, Whoami};
use crate::settings::{KeyHash, Settings};
use crate::state::{KeyUsers, StateDb, StateError};
use crate::util::text::{agree, plural};
use std::collections::HashSet;
use tokio_util::sync::CancellationToken;

/// What Omni says of each key. One that can't be asked about does not hide the others.
#[derive(Debug)]
pub struct KeyAnswers(Vec<(KeyHash, Result<Whoami, OmniError>)>);

impl KeyAnswers {
    /// Asks Omni. The requests are part of no run's count: they are sent by a client of their own, which shares the
    /// limit of the keys through the state folder.
    ///
    /// # Errors
    /// Fails if the keys can't be read, or `stop` is cancelled.
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
            let answer = reader.whoami().await;
            if matches!(answer, Err(OmniError::Stopped)) {
                return Err(OmniError::Stopped.into());
            }
            answers.push((hash, answer));
        }
        Ok(Self(answers))
    }

    /// The answers, in the order of the keys.
    pub fn each(&self) -> impl Iterator<Item = &Result<Whoami, OmniError>> {
        self.0.iter().map(|(_, answer)| answer)
    }

    /// Warns of each key that can't be asked about, by its number.
    pub fn log_failures(&self) {
        for (at, answer) in self.each().enumerate() {
            if let Err(error) = answer {
                let key = at + 1;
                tracing::warn!(key, %error, "can't ask Omni for the user of the key, so policy.protect_admins may not protect it");
            }
        }
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

    /// Why the users of keys are not known that Omni may name later, one error per key.
    fn open(&self, known: &KeyUsers) -> Vec<&OmniError> {
        let new = self.0.iter().filter(|(key, _)| !known.contains_key(key));
        let errors = new.filter_map(|(_, answer)| answer.as_ref().err());
        errors.filter(|error| error.may_pass()).collect()
    }

    /// The users of the keys. If Omni names no user of a key, the stored one is kept.
    fn added_to(self, mut known: KeyUsers) -> KeyUsers {
        let users = self.0.into_iter().filter_map(|(key, answer)| {
            let before = known.remove(&key);
            let users = match answer {
                Ok(Whoami::Known(identity)) => identity.user_ids.into_iter().collect(),
                Ok(Whoami::Unknown) => before.unwrap_or_default(),
                Ok(Whoami::Refused) | Err(_) => before?,
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
            let users = known.remove(&key);
            is_complete &= users.is_some();
            let users = users.unwrap_or_default();
            memory.unnamed_keys += usize::from(users.is_empty());
            memory.key_users.extend(users);
        }
        Ok(is_complete)
    }

    /// Asks Omni about the keys, and plans again if they have other users than known. Without an answer the plan stays,
    /// and nothing that takes access from a user is sent.
    pub(super) async fn protect_key_users(
        &self,
        mut prepared: Prepared,
        policy: &Policy,
        stop: &CancellationToken,
    ) -> Result<Prepared, RunError> {
        let answers = KeyAnswers::ask(self.settings(), self.metrics(), stop).await?;
        answers.log_failures();
        let open = answers.open(&self.state().key_users().await?);
        let keys = answers.0.len() - open.len();
        prepared.memory.key_doubt = open.first().map(|error| {
            format!(
                "Omni did not name the user of an API key ({}), and policy.protect_admins protects this user; the next \
                 run asks again",
                error.redacted()
            )
        });
        let users = match self.keep_in() {
            Some(state) => answers.keep(state).await?,
            None => answers.added_to(self.state().key_users().await?),
        };
        let named = users.values().filter(|users| !users.is_empty()).count();
        prepared.memory.unnamed_keys = keys - named;
        let users: HashSet<_> = users.into_values().flatten().collect();
        Ok(match users == prepared.memory.key_users {
            true => prepared,
            false => prepared.with_key_users(users, policy),
        })
    }
}

impl Prepared {
    /// Whether the plan takes access from users.
    pub(super) fn takes_access(&self) -> bool {
        let mut changes = self.assessment.verdict.all();
        changes.any(|change| change.user_losing_access().is_some())
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

    /// Warns if the plan takes access from users and the user of a key is not known.
    pub(super) fn warn_of_unknown_key_users(&mut self) {
        if !self.takes_access() {
            return;
        }
        if let Some(doubt) = &self.memory.key_doubt {
            let warning =
                format!("no user is removed, leaves a group or gets a lower role for now: {doubt}");
            self.assessment.warnings.push(warning);
        }
        let unnamed = self.memory.unnamed_keys;
        if unnamed > 0 {
            let warning = format!(
                "Omni names no user of {}, so policy.protect_admins can't protect {}: list the accounts in policy.protect",
                plural(unnamed, "API key"),
                agree(unnamed, "it", "them")
            );
            self.assessment.warnings.push(warning);
        }
    }
}
