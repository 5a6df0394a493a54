//! `run`: the daemon.

use super::Exit;
use crate::model::Mode;
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Dry run: report changes and apply none, regardless of policy.mode
    #[arg(long)]
    plan_only: bool,
}

pub(super) async fn run(mut settings: Settings, arguments: &Arguments) -> anyhow::Result<Exit> {
    if arguments.plan_only {
        settings.policy.mode = Mode::Plan;
    }
    crate::daemon::run(settings).await?;
    Ok(Exit::Ok)
}
