//! `pause` and `resume`: whether the daemon starts runs. Remembered in the state database.

use super::{Exit, approve, out};
use crate::model::Pause;
use crate::settings::Settings;
use crate::state::{Access, Holder, StateDb, StateLock};
use chrono::{TimeDelta, Utc};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End the pause after this time, such as `30m` or `2h` [default: at `resume`]
    #[arg(long = "for", value_name = "DURATION", value_parser = Pause::parse_length)]
    duration: Option<TimeDelta>,
}

pub(super) async fn pause(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let pause = Pause::starting(Utc::now(), arguments.duration, approve::approver());
    open(&settings)?.pause(&pause).await?;
    out::note(&format!(
        "Paused {pause}. {}",
        match has_daemon(&settings)? {
            true => "Within 5 s, the daemon stops starting runs. A run in progress finishes.",
            false => "No daemon is running. A daemon that starts during the pause starts no runs.",
        }
    ));
    Ok(Exit::Ok)
}

pub(super) async fn resume(settings: Settings) -> anyhow::Result<Exit> {
    // Read first, so that nothing is created.
    let paused = super::readable_state(&settings)?.paused(Utc::now()).await?;
    let Some(pause) = paused else {
        out::note("The daemon is not paused.");
        return Ok(Exit::Ok);
    };
    open(&settings)?.resume().await?;
    out::note(&format!(
        "Resumed (was paused {pause}). {}",
        match has_daemon(&settings)? {
            true => "Within 5 s, the daemon starts a run if one is due.",
            false => "No daemon is running.",
        }
    ));
    Ok(Exit::Ok)
}

/// The state database, beside a daemon. It is created if no run has created it, so that a pause comes before the first
/// run.
fn open(settings: &Settings) -> anyhow::Result<StateDb> {
    let base_url = settings.omni.base_url()?.to_string();
    let dir = &settings.state.dir;
    match StateLock::acquire(dir, "pause") {
        Ok(lock) => Ok(StateDb::open(&base_url, Access::Write(lock))?),
        // The daemon.
        Err(_) => Ok(StateDb::open(&base_url, Access::Approve(dir))?),
    }
}

fn has_daemon(settings: &Settings) -> anyhow::Result<bool> {
    let holder = StateLock::holder(&settings.state.dir)?;
    Ok(holder.as_ref().is_some_and(Holder::is_daemon))
}
