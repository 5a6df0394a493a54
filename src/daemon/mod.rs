//! The daemon: the loop, what wakes it, what serves it, and its end.
//!
//! ```text
//! schedule, watch, SIGHUP, start ─► wake ─► loop (one run at a time) ─► status, metrics, log
//!                                            ▲ stop                      └─► server, systemd
//! ```
//!
//! The rules of the room:
//!
//! - It keeps running: a roster that is missing, a wrong key, Omni away are failed runs, told by
//!   `/readyz` and the metrics, and tried again with back-off. Only what no waiting can mend, such
//!   as an address that is taken, ends the start.
//! - A run is never dropped in the middle. It is told to stop, and stops between two changes: at
//!   the end of the daemon, and when a new roster supersedes the one it works on.
//! - The heartbeat is the loop's own: `/healthz` and the watchdog tell of the loop and of nothing
//!   beside it.
//! - Every task is a named part; a part that ends early ends the daemon.

mod approvals;
mod cycle;
mod parts;
mod record;
mod systemd;

pub use crate::status::{Facts, LastRun, Status};
pub use cycle::{Inputs, RunLoop, Runner};

use crate::metrics::Metrics;
use crate::model::{Fingerprint, Trigger};
use crate::notify::{NotificationSender, Notifier};
use crate::run::{Observer, Reconciler, RunEvent};
use crate::serve::{Probes, Server, ServerConfig};
use crate::settings::{
    AMBIGUOUS_KEY, ScheduleSettings, SecretFile, ServeSettings, Settings, SettingsFile, Watch,
};
use crate::shutdown::Signals;
use crate::state::{Access, StateDb, StateLock};
use crate::trigger::watch::{RosterProbe, SourceState, Watcher};
use crate::trigger::{Wake, schedule};
use parts::TaskGroup;
use record::Findings;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Runs the daemon to its end. With `policy.mode = "plan"` it only watches and tells.
///
/// # Errors
/// When it can't start, when a part of it fails, or when a second signal ends it at once.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let (stop, wake) = (CancellationToken::new(), Wake::default());
    let (grace, mut file) = (settings.grace, settings.file.clone());
    let parts = start(Arc::new(settings), &wake, &stop).await?;
    tokio::select! {
        ended = parts.run(&stop, grace) => ended,
        () = signals.follow(&stop, || hang_up(&wake, file.as_mut())) => {
            anyhow::bail!("told to stop twice: ended at once")
        }
    }
}

/// SIGHUP starts a run. Whoever sends it after having edited the settings expects more than that.
fn hang_up(wake: &Wake, file: Option<&mut SettingsFile>) {
    wake.wake(Trigger::Signal);
    if let Some(file) = file
        && file.has_changed()
    {
        let file = file.path().display();
        warn!(%file, "the settings have changed since the start: they count after a restart");
    }
}

/// Wires the parts together and starts them.
async fn start(
    settings: Arc<Settings>,
    wake: &Wake,
    stop: &CancellationToken,
) -> anyhow::Result<TaskGroup> {
    settings.source.path()?;
    warn_if_idle(&settings);
    if settings.omni.keys.is_ambiguous() {
        warn!("{AMBIGUOUS_KEY}");
    }
    let metrics = Metrics::new();
    let status = Status::new(settings.schedule.times.clone());
    let base_url = settings.omni.base_url()?.to_string();
    let lock = StateLock::acquire(&settings.state.dir, "run")?;
    let journal = StateDb::open(&base_url, Access::Write(lock))?;
    let mode = settings.policy.mode;
    let findings = Findings::after_restart(metrics.clone(), &journal, mode).await;
    let observed = status.clone();
    let reconciler = Reconciler::new(Arc::clone(&settings), metrics.clone(), journal.clone())?
        .with_observer(move |heard| {
            if matches!(heard, RunEvent::Planned(..)) {
                observed.observed();
            }
            findings.hear(heard);
        });
    let mut parts = TaskGroup::default();
    let approvals = approvals::watch(journal.clone(), wake.clone(), stop.clone());
    parts.start("the watch for approvals", async {
        approvals.await;
        Ok(())
    });
    let probes = Probes {
        status: status.clone(),
        metrics: metrics.clone(),
    };
    start_server(&mut parts, &settings, probes, journal, wake, stop).await?;
    start_schedule(&mut parts, &settings.schedule, wake, stop);
    let (told, looks) = (status.clone(), metrics.clone());
    let tell = move |condition| {
        told.roster(condition);
        match condition {
            SourceState::Stable => looks.source_is_up(true),
            // Not to be read yet, and not gone either.
            SourceState::Changing => {}
            SourceState::Unavailable | SourceState::Unresponsive => looks.source_is_up(false),
        }
    };
    let inputs = Inputs {
        wake: wake.clone(),
        still: start_watch(&mut parts, &settings, wake, stop, tell),
        stop: stop.clone(),
    };
    let notices = start_notifier(&mut parts, &settings, &metrics, stop)?;
    let cycle = RunLoop::new(reconciler, inputs, status, metrics).noticed_by(notices);
    parts.start("the loop", async {
        cycle.run().await;
        Ok(())
    });
    Ok(parts)
}

async fn start_server(
    parts: &mut TaskGroup,
    settings: &Arc<Settings>,
    probes: Probes,
    journal: StateDb,
    wake: &Wake,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let ServeSettings {
        listen,
        hosts,
        admin_token,
    } = &settings.serve;
    let Some(address) = *listen else {
        return Ok(());
    };
    warn_of_token(admin_token.as_ref());
    let base_url = settings.omni.base_url()?.to_string();
    let reader = StateDb::open(&base_url, Access::Read(&settings.state.dir))?;
    let asking = probes.metrics.beside_runs();
    let explainer = Observer::new(Arc::clone(settings), asking, reader.clone())?;
    let site = ServerConfig {
        probes,
        reader,
        writer: journal,
        explainer: Arc::new(explainer),
        wake: wake.clone(),
        hosts: hosts.clone(),
        admin_token: admin_token.clone(),
        is_watched: settings.source.watch != Watch::Off,
        protect: settings.policy.protect.clone(),
    };
    let server = Server::bind(address, site).await?;
    info!(address = %server.address(), "serving pages, the API, metrics and probes");
    let stop = stop.clone();
    parts.start("the server", async {
        Ok(server.run_on_thread(stop).await?)
    });
    Ok(())
}

/// Starts to tell a webhook, if one is set, and says where runs are handed in.
fn start_notifier(
    parts: &mut TaskGroup,
    settings: &Settings,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> anyhow::Result<NotificationSender> {
    let Some(file) = settings.webhook.clone() else {
        return Ok(NotificationSender::default());
    };
    let (notices, notifier) = Notifier::new(file, settings, metrics.clone())?;
    let stop = stop.clone();
    parts.start("the notifier", async {
        notifier.run(stop).await;
        Ok(())
    });
    Ok(notices)
}

/// A token that can't be used is told at the start, and not first to whoever is to approve something.
fn warn_of_token(token: Option<&SecretFile>) {
    for warning in token
        .map(crate::settings::admin_token_warnings)
        .unwrap_or_default()
    {
        warn!("{warning}");
    }
}

fn start_schedule(
    parts: &mut TaskGroup,
    settings: &ScheduleSettings,
    wake: &Wake,
    stop: &CancellationToken,
) {
    if settings.run_on_start {
        wake.wake(Trigger::Start);
    }
    if let Some(times) = settings.times.clone() {
        let due = schedule::run(times, wake.clone(), stop.clone());
        parts.start("the schedule", async { Ok(due.await?) });
    }
}

/// Starts the watcher, if one is wanted, and says where it publishes what stands still.
fn start_watch(
    parts: &mut TaskGroup,
    settings: &Settings,
    wake: &Wake,
    stop: &CancellationToken,
    tell: impl Fn(SourceState) + Send + Sync + 'static,
) -> watch::Receiver<Option<Fingerprint>> {
    let (publish, still) = watch::channel(None);
    let source = &settings.source;
    let wake_first = settings.schedule.run_on_start;
    if let (Some(watcher), Some(look)) = (
        Watcher::new(source, wake_first, wake.clone(), publish),
        RosterProbe::new(source),
    ) {
        let watching = watcher.with_observer(tell).run(look, stop.clone());
        parts.start("the watch", async { Ok(watching.await?) });
    }
    still
}

/// A daemon that nothing starts may be wanted, for SIGHUP; more likely it is a mistake.
fn warn_if_idle(settings: &Settings) {
    let schedule = &settings.schedule;
    let watched = settings.source.watch != Watch::Off;
    if schedule.times.is_none() && !schedule.run_on_start && !watched {
        warn!(
            "nothing starts a run but SIGHUP: schedule.cron is empty, schedule.run_on_start is \
             false, and source.watch is off"
        );
    }
}
