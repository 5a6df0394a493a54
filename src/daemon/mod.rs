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
//! - SIGHUP reads the settings again. If they are valid, the tasks stop as at a shutdown and are started again;
//!   state database, metrics, status and the bound address stay. Invalid ones change nothing.
//! - Every task has a name, and a task that exits early ends the daemon.

mod approvals;
mod key_check;
mod pause;
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
use crate::plan::protect_warning;
use crate::report::ReportFolder;
use crate::run::{ObservationCache, Observer, Reconciler, RunEvent};
use crate::serve::{Listener, Probes, Server, ServerConfig};
use crate::settings::{
    AMBIGUOUS_KEY, EMPTY_PROTECT, ScheduleSettings, SecretFile, ServeSettings, Settings, Watch,
    admin_token_warnings,
};
use crate::shutdown::Signals;
use crate::state::{Access, StateDb, StateLock};
use crate::trigger::watch::{RosterProbe, SourceState, Watcher};
use crate::trigger::{Wake, schedule};
use chrono::Utc;
use pause::PauseWatch;
use run_metrics::RunMetrics;
use std::sync::Arc;
use systemd::Systemd;
use tasks::TaskGroup;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Runs the daemon until it is stopped. In dry-run mode it reports changes and applies none. `reload` reads the
/// settings again, on SIGHUP.
///
/// # Errors
/// If the start or a task fails, or if a second signal ends the process immediately.
pub async fn run(
    settings: Settings,
    reload: impl Fn() -> anyhow::Result<Settings>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let (stop, hung_up) = (CancellationToken::new(), Notify::new());
    let daemon = Daemon::open(&settings, stop.clone()).await?;
    let ended = tokio::select! {
        ended = daemon.run(settings, &hung_up, reload) => ended,
        () = signals.follow(&stop, || hung_up.notify_one()) => {
            Err(anyhow::anyhow!("second signal: exiting immediately"))
        }
    };
    info!("daemon stopped");
    ended
}

/// What outlives a change of the settings.
struct Daemon {
    metrics: Metrics,
    status: Status,
    state: StateDb,
    listener: Option<Listener>,
    wake: Wake,
    stop: CancellationToken,
}

impl Daemon {
    async fn open(settings: &Settings, stop: CancellationToken) -> anyhow::Result<Self> {
        settings.source.path()?;
        let base_url = settings.omni.base_url()?.to_string();
        let lock = StateLock::acquire(&settings.state.dir, "run")?;
        let state = StateDb::open(&base_url, Access::Write(lock))?;
        let status = Status::new(settings.schedule.times.clone());
        if state.runs(1).await?.is_empty() {
            status.state_is_new();
        }
        Ok(Self {
            metrics: Metrics::new(),
            status,
            state,
            listener: settings.serve.listen.map(Listener::bind).transpose()?,
            wake: Wake::default(),
            stop,
        })
    }

    /// Runs until the stop. New settings take the place of the old ones once a run in progress has stopped between two
    /// changes. If the daemon can't start with them, the old ones stay.
    async fn run(
        &self,
        mut settings: Settings,
        hung_up: &Notify,
        reload: impl Fn() -> anyhow::Result<Settings>,
    ) -> anyhow::Result<()> {
        let mut tasks = Tasks::start(self, &settings).await?;
        log_start(&settings)?;
        if settings.schedule.run_on_start {
            self.wake.wake(Trigger::Start);
        }
        self.metrics.config_valid.set(1);
        while let Some(new) = self
            .until_reload(&mut settings, tasks, hung_up, &reload)
            .await?
        {
            tasks = match Tasks::start(self, &new).await {
                Ok(tasks) => {
                    self.metrics.config_valid.set(1);
                    settings = new;
                    info!("the settings were read again and are in force");
                    tasks
                }
                Err(error) => {
                    self.keep_settings(&error);
                    Tasks::start(self, &settings).await?
                }
            };
            self.wake.wake(Trigger::Signal);
        }
        Ok(())
    }

    /// Runs the tasks until the stop, or until the settings have changed. Each SIGHUP starts a run.
    async fn until_reload(
        &self,
        settings: &mut Settings,
        tasks: Tasks,
        hung_up: &Notify,
        reload: &impl Fn() -> anyhow::Result<Settings>,
    ) -> anyhow::Result<Option<Settings>> {
        let Tasks { stop, group } = tasks;
        let mut running = std::pin::pin!(group.run(&stop, settings.grace));
        let mut is_stopping = false;
        loop {
            tokio::select! {
                ended = &mut running => return ended.map(|()| None),
                () = self.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    Systemd::from_environment().stopping();
                }
                () = hung_up.notified() => {
                    if let Some(new) = self.reload(settings, reload) {
                        stop.cancel();
                        running.await?;
                        return Ok(Some(new).filter(|_| !self.stop.is_cancelled()));
                    }
                    self.wake.wake(Trigger::Signal);
                }
            }
        }
    }

    /// The settings, if their file has changed and they are valid.
    fn reload(
        &self,
        settings: &mut Settings,
        reload: &impl Fn() -> anyhow::Result<Settings>,
    ) -> Option<Settings> {
        if !settings.file.as_mut()?.has_changed() {
            return None;
        }
        match reload() {
            Ok(new) => {
                let (new, kept) = new.after(settings);
                for key in kept {
                    warn!(
                        key,
                        "the setting keeps its former value until the daemon is restarted"
                    );
                }
                Some(new)
            }
            Err(error) => {
                self.keep_settings(&error);
                None
            }
        }
    }

    fn keep_settings(&self, error: &anyhow::Error) {
        self.metrics.config_valid.set(0);
        error!(
            error = format!("{error:#}"),
            "the new settings can't be used; the former ones stay in force"
        );
    }
}

/// The tasks that work with one version of the settings.
struct Tasks {
    group: TaskGroup,
    stop: CancellationToken,
}

impl Tasks {
    async fn start(daemon: &Daemon, settings: &Settings) -> anyhow::Result<Self> {
        let stop = daemon.stop.child_token();
        let group = start(daemon, &Arc::new(settings.clone()), &stop).await;
        // A task that has started must not stay if another can't start.
        let group = group.inspect_err(|_| stop.cancel())?;
        Ok(Self { group, stop })
    }
}

/// Connects and starts the tasks.
async fn start(
    daemon: &Daemon,
    settings: &Arc<Settings>,
    stop: &CancellationToken,
) -> anyhow::Result<TaskGroup> {
    let Daemon {
        metrics,
        status,
        state,
        wake,
        ..
    } = daemon;
    settings.source.path()?;
    warn_if_unusual(settings);
    if let Some(cache) = ObservationCache::stored(state).await
        && let Some(warning) = protect_warning(&cache.observed, &settings.policy)
    {
        warn!("{warning}");
    }
    let mode = settings.policy.mode;
    let run_metrics = RunMetrics::restore(metrics.clone(), state, mode).await;
    let observed = status.clone();
    let reconciler = Reconciler::new(Arc::clone(settings), metrics.clone(), state.clone())?
        .with_event_handler(move |event| {
            if let RunEvent::Planned(_, plan) = event
                && !plan.needs_listing
            {
                observed.observed();
            }
            run_metrics.on_event(event);
        });
    status.set_progress(reconciler.observer().progress().clone());
    let mut tasks = TaskGroup::default();
    start_server(&mut tasks, daemon, settings, stop)?;
    let notifier = start_notifier(&mut tasks, settings, metrics, stop)?;
    describe(settings, metrics)?;
    start_polls(&mut tasks, daemon, stop).await?;
    let key_check = key_check::run(
        Arc::clone(settings),
        metrics.clone(),
        state.clone(),
        stop.clone(),
    );
    tasks.start_infallible("key check", key_check);
    status.set_schedule(settings.schedule.times.clone());
    start_schedule(&mut tasks, &settings.schedule, wake, stop);
    let report_source = report_source(status.clone(), metrics.clone());
    let inputs = Inputs {
        wake: wake.clone(),
        stable: start_watcher(&mut tasks, settings, wake, stop, report_source),
        stop: stop.clone(),
    };
    let (status, metrics) = (status.clone(), metrics.clone());
    let run_loop = RunLoop::new(reconciler, inputs, status, metrics).with_notifier(notifier);
    tasks.start_infallible("run loop", run_loop.run());
    Ok(tasks)
}

/// Names what the daemon works on, in the metrics.
fn describe(settings: &Settings, metrics: &Metrics) -> anyhow::Result<()> {
    let organisation = settings.omni.base_url()?.host();
    let mode = settings.policy.mode.as_str();
    metrics.set_info(organisation, mode);
    let (times, now) = (settings.schedule.times.as_ref(), Utc::now());
    let interval = times.and_then(|times| times.interval_after(now));
    let interval = interval.map_or(0.0, |interval| interval.as_seconds_f64());
    metrics.schedule_interval.set(interval);
    Ok(())
}

/// Names what the daemon works on, in the log.
fn log_start(settings: &Settings) -> anyhow::Result<()> {
    let times = settings.schedule.times.as_ref();
    let next = times.and_then(|times| times.next_after(Utc::now()));
    info!(
        version = crate::version::NUMBER,
        organisation = settings.omni.base_url()?.host(),
        mode = settings.policy.mode.as_str(),
        source = %settings.source.path()?.display(),
        state = %settings.state.dir.display(),
        schedule = times.map(ToString::to_string),
        next_run = next.map(|next| next.to_rfc3339()),
        "daemon started"
    );
    Ok(())
}

/// Starts the tasks that poll the state database for what other processes write to it.
async fn start_polls(
    tasks: &mut TaskGroup,
    daemon: &Daemon,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Daemon {
        metrics,
        status,
        state,
        wake,
        ..
    } = daemon;
    let approvals = approvals::watch(state.clone(), wake.clone(), stop.clone());
    tasks.start_infallible("approval watch", approvals);
    let pause = PauseWatch::start(state.clone(), status.clone(), metrics.clone()).await?;
    let pause = pause.run(stop.clone());
    tasks.start_infallible("pause watch", pause);
    Ok(())
}

/// Starts the server, if it is enabled.
fn start_server(
    tasks: &mut TaskGroup,
    daemon: &Daemon,
    settings: &Arc<Settings>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(listener) = &daemon.listener else {
        return Ok(());
    };
    let ServeSettings {
        hosts,
        admin_token,
        user_header,
        ..
    } = &settings.serve;
    warn_about_token(admin_token.as_ref());
    let base_url = settings.omni.base_url()?.to_string();
    let reader = StateDb::open(&base_url, Access::Read(&settings.state.dir))?;
    let outside_runs = daemon.metrics.outside_runs();
    let explainer = Observer::new(Arc::clone(settings), outside_runs, reader.clone())?;
    let config = ServerConfig {
        probes: Probes {
            status: daemon.status.clone(),
            metrics: daemon.metrics.clone(),
        },
        reader,
        writer: daemon.state.clone(),
        explainer: Arc::new(explainer),
        wake: daemon.wake.clone(),
        hosts: hosts.clone(),
        admin_token: admin_token.clone(),
        user_header: user_header.clone(),
        is_watched: settings.source.watch != Watch::Off,
        row_reports: ReportFolder::of(&settings.source),
    };
    let server = Server::on(listener, config)?;
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
    tasks.start_infallible("notifier", notifier.run(stop));
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

/// Warns of settings that are rarely intended.
fn warn_if_unusual(settings: &Settings) {
    if settings.omni.keys.is_ambiguous() {
        warn!("{AMBIGUOUS_KEY}");
    }
    if settings.policy.protect.is_empty() {
        warn!("{EMPTY_PROTECT}");
    }
    let schedule = &settings.schedule;
    let watched = settings.source.watch != Watch::Off;
    if schedule.times.is_none() && !schedule.run_on_start && !watched {
        warn!(
            "only SIGHUP starts a run: schedule.cron is empty, schedule.run_on_start is false, and \
             source.watch is off"
        );
    }
}
