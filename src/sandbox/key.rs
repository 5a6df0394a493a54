//! API keys.

use super::limiter::Meter;
use super::options::Options;
use std::time::Duration;

/// An API key with its rate limits.
pub(super) struct Key {
    pub(super) secret: String,
    pub(super) is_personal: bool,
    pub(super) revoked: bool,
    meters: Vec<Meter>,
}

// Manual, so that `{:?}` never prints a key.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

impl Key {
    pub(super) fn new(secret: &str, options: &Options) -> Self {
        let limit = Meter::new(options.limiter, options.requests_per_minute);
        let burst = options.burst.map(Meter::burst);
        Self {
            secret: secret.to_owned(),
            is_personal: options.personal_keys.iter().any(|key| key == secret),
            revoked: false,
            meters: std::iter::once(limit).chain(burst).collect(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// If it is over the limit: how long to wait.
    pub(super) fn meter(&mut self, now: Duration) -> Result<(), Duration> {
        let meters = self.meters.iter_mut();
        // Each of them counts the request.
        let waits = meters.filter_map(|meter| meter.admit(now).err());
        waits
            .fold(None, |longest, wait| longest.max(Some(wait)))
            .map_or(Ok(()), Err)
    }
}
