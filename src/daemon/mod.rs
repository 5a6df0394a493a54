//! The daemon: the run loop, its triggers, the HTTP server, and shutdown.
//!
//! ```text
//! schedule, watcher, SIGHUP, start ─► wake ─► loop (one run at a time) ─► status, metrics, log
//!                                               ▲ stop                     └─► server, systemd
//! ```
//!
//! Rules of this module:
//!
//! - The daemon keeps running. A missing roster, a wrong key or an unavailable Omni fail a run; the
//!   daemon reports it through `/readyz` and the metrics, and retries with back-off. Startup fails
//!   only on errors that a retry can't fix, such as an address in use.
//! - A run is never aborted. It stops between two changes, at shutdown and when a new roster
//!   supersedes it.
//! - The heartbeat comes from the loop itself: `/healthz` and the watchdog report on the loop and on
//!   nothing else.
//! - Every task has a name, and a task that exits early ends the daemon.

mod approvals;
mod key_check;
mod run_log;
mod run_loop;
mod run_metrics;
mod systemd;
mod tasks;

pub use crate::status::{Facts, LastRun, Status};
pub use run_loop::{Inputs, RunLoop, Runner};

use crate::metrics::Metrics;
use crate::model::{Fingerprint, Trigger};
use crate::notify::{NotificationSender, Notifier};
use crate::run::{Observer, Reconciler, RunEvent};
use crate::serve::{Probes, Server, ServerConfig};
use crate::settings::{
    AMBIGUOUS_KEY, EMPTY_PROTECT, ScheduleSettings, SecretFile, ServeSettings, Settings,
    SettingsFile, Watch, admin_token_warnings,
};
use crate::shutdown::Signals;
use crate::state::{Access, StateDb, StateLock};
use crate::trigger::watch::{RosterProbe, SourceState, Watcher};
use crate::trigger::{Wake, schedule};
use chrono::Utc;
use run_metrics::RunMetrics;
use std::sync::Arc;
use tasks::TaskGroup;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Runs the daemon until it is stopped. In dry-run mode it reports changes and applies none.
///
/// # Errors
/// If the start or a task fails, or if a second signal ends the process immediately.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let (stop, wake) = (CancellationToken::new(), Wake::default());
    let (grace, mut file) = (settings.grace, settings.file.clone());
    let tasks = start(Arc::new(settings), &wake, &stop).await?;
    let ended = tokio::select! {
        ended = tasks.run(&stop, grace) => ended,
        () = signals.follow(&stop, || hang_up(&wake, file.as_mut())) => {
            Err(anyhow::anyhow!("second signal: exiting immediately"))
        }
    };
    info!("daemon stopped");
    ended
}

/// SIGHUP starts a run. It does not reload the settings, which its sender may expect.
fn hang_up(wake: &Wake, file: Option<&mut SettingsFile>) {
    wake.wake(Trigger::Signal);
    if let Some(file) = file
        && file.has_changed()
    {
        let file = file.path().display();
        warn!(%file, "the settings file has changed; restart the daemon to apply it");
    }
}

/// Connects and starts the tasks.
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
    if settings.policy.protect.is_empty() {
        warn!("{EMPTY_PROTECT}");
    }
    let metrics = Metrics::new();
    let status = Status::new(settings.schedule.times.clone());
    let base_url = settings.omni.base_url()?.to_string();
    let lock = StateLock::acquire(&settings.state.dir, "run")?;
    let state = StateDb::open(&base_url, Access::Write(lock))?;
    if state.runs(1).await?.is_empty() {
        status.state_is_new();
    }
    let mode = settings.policy.mode;
    let run_metrics = RunMetrics::restore(metrics.clone(), &state, mode).await;
    let observed = status.clone();
    let reconciler = Reconciler::new(Arc::clone(&settings), metrics.clone(), state.clone())?
        .with_event_handler(move |event| {
            if matches!(event, RunEvent::Planned(..)) {
                observed.observed();
            }
            run_metrics.on_event(event);
        });
    describe(&settings, &metrics)?;
    let mut tasks = TaskGroup::default();
    let approvals = approvals::watch(state.clone(), wake.clone(), stop.clone());
    tasks.start("approval watch", async {
        approvals.await;
        Ok(())
    });
    let key_check = key_check::run(Arc::clone(&settings), metrics.clone(), stop.clone());
    tasks.start("key check", async {
        key_check.await;
        Ok(())
    });
    let probes = Probes {
        status: status.clone(),
        metrics: metrics.clone(),
    };
    start_server(&mut tasks, &settings, probes, state, wake, stop).await?;
    start_schedule(&mut tasks, &settings.schedule, wake, stop);
    let report_source = report_source(status.clone(), metrics.clone());
    let inputs = Inputs {
        wake: wake.clone(),
        stable: start_watcher(&mut tasks, &settings, wake, stop, report_source),
        stop: stop.clone(),
    };
    let notifier = start_notifier(&mut tasks, &settings, &metrics, stop)?;
    let run_loop = RunLoop::new(reconciler, inputs, status, metrics).with_notifier(notifier);
    tasks.start("run loop", async {
        run_loop.run().await;
        Ok(())
    });
    Ok(tasks)
}

/// Names what the daemon works on, in the log and the metrics.
fn describe(settings: &Settings, metrics: &Metrics) -> anyhow::Result<()> {
    let organisation = settings.omni.base_url()?.host();
    let mode = settings.policy.mode.as_str();
    metrics.set_info(organisation, mode);
    let (times, now) = (settings.schedule.times.as_ref(), Utc::now());
    let interval = times.and_then(|times| times.interval_after(now));
    let interval = interval.map_or(0.0, |interval| interval.as_seconds_f64());
    metrics.schedule_interval.set(interval);
    info!(
        version = crate::version::NUMBER,
        organisation,
        mode,
        source = %settings.source.path()?.display(),
        state = %settings.state.dir.display(),
        schedule = times.map(ToString::to_string),
        next_run = times.and_then(|times| times.next_after(now)).map(|next| next.to_rfc3339()),
        "daemon started"
    );
    Ok(())
}

async fn start_server(
    tasks: &mut TaskGroup,
    settings: &Arc<Settings>,
    probes: Probes,
    state: StateDb,
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
    warn_about_token(admin_token.as_ref());
    let base_url = settings.omni.base_url()?.to_string();
    let reader = StateDb::open(&base_url, Access::Read(&settings.state.dir))?;
    let outside_runs = probes.metrics.outside_runs();
    let explainer = Observer::new(Arc::clone(settings), outside_runs, reader.clone())?;
    let config = ServerConfig {
        probes,
        reader,
        writer: state,
        explainer: Arc::new(explainer),
        wake: wake.clone(),
        hosts: hosts.clone(),
        admin_token: admin_token.clone(),
        is_watched: settings.source.watch != Watch::Off,
        protect: settings.policy.protect.clone(),
    };
    let server = Server::bind(address, config).await?;
    info!(address = %format_args!("http://{}/", server.address()), "serving the status page, API, metrics and health checks");
    let stop = stop.clone();
    tasks.start("server", async { Ok(server.run_on_thread(stop).await?) });
    Ok(())
}

/// Starts the webhook notifier, if one is configured.
fn start_notifier(
    tasks: &mut TaskGroup,
    settings: &Settings,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> anyhow::Result<NotificationSender> {
    let Some(file) = settings.webhook.clone() else {
        return Ok(NotificationSender::default());
    };
    let (sender, notifier) = Notifier::new(file, settings, metrics.clone())?;
    let stop = stop.clone();
    tasks.start("notifier", async {
        notifier.run(stop).await;
        Ok(())
    });
    Ok(sender)
}

/// Reports an unusable admin token at the start, and not when an approval first needs it.
fn warn_about_token(token: Option<&SecretFile>) {
    for warning in token.map(admin_token_warnings).unwrap_or_default() {
        warn!("{warning}");
    }
}

fn start_schedule(
    tasks: &mut TaskGroup,
    settings: &ScheduleSettings,
    wake: &Wake,
    stop: &CancellationToken,
) {
    if settings.run_on_start {
        wake.wake(Trigger::Start);
    }
    if let Some(times) = settings.times.clone() {
        let schedule = schedule::run(times, wake.clone(), stop.clone());
        tasks.start("schedule", async { Ok(schedule.await?) });
    }
}

/// Starts the watcher, if it is enabled. It publishes the stable content of the roster.
fn start_watcher(
    tasks: &mut TaskGroup,
    settings: &Settings,
    wake: &Wake,
    stop: &CancellationToken,
    report: impl Fn(SourceState) + Send + Sync + 'static,
) -> watch::Receiver<Option<Fingerprint>> {
    let (publish, stable) = watch::channel(None);
    let source = &settings.source;
    let wake_first = settings.schedule.run_on_start;
    if let (Some(watcher), Some(look)) = (
        Watcher::new(source, wake_first, wake.clone(), publish),
        RosterProbe::new(source),
    ) {
        let watching = watcher.with_observer(report).run(look, stop.clone());
        tasks.start("watcher", async { Ok(watching.await?) });
    }
    stable
}

/// Reports the state of the roster to the status and the metrics.
fn report_source(status: Status, metrics: Metrics) -> impl Fn(SourceState) + Send + Sync {
    move |state| {
        status.roster(state);
        match state {
            SourceState::Stable => metrics.set_source_up(true),
            // Neither readable yet nor unavailable.
            SourceState::Changing => {}
            SourceState::Unavailable | SourceState::Unresponsive => metrics.set_source_up(false),
        }
    }
}

/// Warns if only SIGHUP can start a run, which is rarely intended.
fn warn_if_idle(settings: &Settings) {
    let schedule = &settings.schedule;
    let watched = settings.source.watch != Watch::Off;
    if schedule.times.is_none() && !schedule.run_on_start && !watched {
        warn!(
            "only SIGHUP starts a run: schedule.cron is empty, schedule.run_on_start is false, and \
             source.watch is off"
        );
    }
}
