//! `run`: the daemon.

use super::Exit;
use crate::model::Mode;
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Dry run: report changes and apply none, regardless of policy.mode
    #[arg(long, alias = "plan-only")]
    dry_run: bool,
}

/// `reload` reads the settings again.
pub(super) async fn run(
    settings: Settings,
    arguments: &Arguments,
    reload: impl Fn() -> anyhow::Result<Settings>,
) -> anyhow::Result<Exit> {
    let with_flags = |mut settings: Settings| {
        if arguments.dry_run {
            settings.policy.mode = Mode::DryRun;
            settings.overridden_by("--dry-run", "policy.mode", Mode::DryRun.as_str());
        }
        settings
    };
    let settings = with_flags(settings);
    crate::daemon::run(settings, || reload().map(with_flags)).await?;
    Ok(Exit::Ok)
}
