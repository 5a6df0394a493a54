//! Reads the organisation for commands that need its current state.

use crate::metrics::Metrics;
use crate::model::Observed;
use crate::omni::{self, Client, Definitions, Reader};
use crate::run::RunError;
use crate::settings::Settings;
use tokio_util::sync::CancellationToken;

/// A reader with all configured keys.
pub(super) fn reader(settings: &Settings) -> Result<Reader, RunError> {
    let client = Client::new(&settings.omni, &settings.state.dir, Metrics::new())?;
    client.begin(&settings.omni.keys.read()?);
    Ok(client.reader(&CancellationToken::new()))
}

/// All users, with the fields that the list shows.
pub(super) async fn users(settings: &Settings) -> Result<Observed, RunError> {
    Ok(omni::list(&reader(settings)?).await?)
}

/// The attribute definitions and all users, with all fields.
pub(super) async fn fetch(settings: &Settings) -> Result<(Definitions, Observed), RunError> {
    let reader = reader(settings)?;
    let definitions = reader.definitions().await?;
    let mut observed = omni::list(&reader).await?;
    omni::read_incomplete(&reader.in_background(), &mut observed).await?;
    Ok((definitions, observed))
}
