//! Asks Omni at the start and once a day what kind of keys are in use, and whose they are: their users count as protected
//! by `policy.protect_admins`. It uses a client of its own, so its requests are part of no run's
//! count, and share the limit of the keys through the state folder.

use crate::metrics::Metrics;
use crate::omni::{Client, KeyScope, Whoami};
use crate::run::RunError;
use crate::settings::Settings;
use crate::state::StateDb;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks the keys until `stop` is cancelled.
pub(super) async fn run(
    settings: Arc<Settings>,
    metrics: Metrics,
    state: StateDb,
    stop: CancellationToken,
) {
    loop {
        if let Err(error) = check(&settings, &metrics, &state, &stop).await {
            debug!(%error, "the kind of the API keys is unknown");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn check(
    settings: &Settings,
    metrics: &Metrics,
    state: &StateDb,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let client = Client::new(&settings.omni, &settings.state.dir, metrics.outside_runs())?;
    let reader = client.reader(stop);
    let mut users = Vec::new();
    for (at, key) in settings.omni.keys.load().await?.each().enumerate() {
        client.begin(&key);
        let number = at + 1;
        let whoami = reader.whoami().await?;
        if let Whoami::Known(identity) = &whoami {
            users.extend(identity.user_ids.iter().cloned());
        }
        match whoami {
            Whoami::Known(identity) if identity.scope == KeyScope::Personal => {
                warn!(key = number, "the key is a {}", identity.scope);
            }
            Whoami::Known(identity) => info!(key = number, "the key is an {}", identity.scope),
            Whoami::Refused => warn!(key = number, "Omni does not know the key"),
            Whoami::Unknown => {}
        }
    }
    if !users.is_empty() {
        state.record_key_users(users).await?;
    }
    Ok(())
}
