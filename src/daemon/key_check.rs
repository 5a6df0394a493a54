//! Asks Omni at the start and once a day what kind of keys are in use, and whose they are: their users count as
//! protected by `policy.protect_admins`.

use crate::metrics::Metrics;
use crate::omni::{KeyScope, Whoami};
use crate::run::{KeyAnswers, RunError};
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
    let answers = KeyAnswers::ask(settings, metrics, stop).await?;
    for (at, whoami) in answers.each().enumerate() {
        let key = at + 1;
        match whoami {
            Ok(Whoami::Known(identity)) if identity.scope == KeyScope::Personal => {
                warn!(
                    key,
                    "the key is a {}; use an organisation API key", identity.scope
                );
            }
            Ok(Whoami::Known(identity)) => info!(key, "the key is an {}", identity.scope),
            Ok(Whoami::Refused) => warn!(
                key,
                "Omni rejects this key; check omni.api_key_file or OMNI_API_KEY"
            ),
            // Failures are logged below.
            Ok(Whoami::Unknown) | Err(_) => {}
        }
    }
    answers.log_failures();
    answers.keep(state).await?;
    Ok(())
}
