//! Prometheus metrics. Passed in where they are needed; there is no global registry.
//!
//! Names follow Prometheus' conventions (`omni_user_sync_…`, base units, `_total`). Labels have few
//! values: never an email, an attribute or a message.

mod collectors;
mod process;

use chrono::{DateTime, Utc};
use collectors::{Collectors, ComputedGauge, valid};
use process::ProcessCollector;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, TextEncoder,
};
use std::time::Duration;

/// The methods of requests to Omni.
const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];

/// The statuses that alerts use: rate limited, and no response.
const FAILURES: [&str; 2] = ["429", "error"];

/// All metrics with their registry. Clones share the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Runs by `trigger` and `result`.
    pub runs: IntCounterVec,
    /// Duration of runs.
    pub run_duration: Histogram,
    /// End of the last successful run; 0 before the first. Restored after a restart.
    pub last_success: Gauge,
    /// 1 in dry-run mode, 0 otherwise.
    pub dry_run: IntGauge,
    /// Changes attempted, by `operation` and `outcome`.
    pub changes: IntCounterVec,
    /// End of the last run after which Omni matched the roster; 0 before the first. Restored after a restart.
    pub last_converged: Gauge,
    /// Changes that the last plan contained, by `operation`.
    pub planned: IntGaugeVec,
    /// Changes that the last plan contained and that were not applied since, by `operation`.
    pub pending: IntGaugeVec,
    /// Changes held by the safety limits in the last run, by `operation`.
    pub held: IntGaugeVec,
    /// Time since which changes have been held without interruption; 0 if no changes are held. Restored after a
    /// restart.
    pub held_since: Gauge,
    /// Data rows of the roster when last read.
    pub roster_rows: IntGauge,
    /// Problems of the roster when last read, by `kind`: `row` or `file`.
    pub roster_problems: IntGaugeVec,
    /// Time of the last change of the roster; 0 before the first read. Restored after a restart.
    pub roster_changed: Gauge,
    /// Users in Omni when last observed.
    pub users: IntGauge,
    /// API keys that the current or last run stopped using.
    pub keys_disabled: IntGauge,
    /// Users, memberships and roles in quarantine.
    pub quarantined_users: IntGauge,
    /// 1 while the daemon is paused, 0 otherwise.
    pub paused: IntGauge,
    /// 1 during a run, 0 otherwise.
    pub run_in_progress: IntGauge,
    /// Time of the next automatic run; 0 if there is none.
    pub next_run: Gauge,
    /// 1 if the settings were valid when last read, 0 otherwise.
    pub config_valid: IntGauge,
    /// The longer of the next two intervals of the schedule; 0 without a schedule.
    pub schedule_interval: Gauge,
    /// Wrong admin tokens.
    pub login_failures: IntCounter,
    /// Webhook messages by `outcome`: `delivered`, `failed` or `dropped`.
    pub notifications: IntCounterVec,
    info: IntGaugeVec,
    requests_available: ComputedGauge,
    /// Has no labels. It is a vector because a vector is not exported before its first value.
    source_up: IntGaugeVec,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    rate_limit_wait: Histogram,
}

impl Metrics {
    /// New metrics in their own registry.
    #[must_use]
    pub fn new() -> Self {
        let (new, collectors) = Self::build();
        for collector in collectors {
            valid(new.registry.register(collector));
        }
        new.initialise();
        new
    }

    /// The metrics and all collectors to register. A test compares them with docs/metrics.md.
    #[rustfmt::skip] // one metric per line reads as a table
    fn build() -> (Self, Vec<Box<dyn Collector>>) {
        let mut all = Collectors::default();
        all.build_info();
        all.0.push(Box::new(ProcessCollector::new()));
        let new = Self {
            registry: Registry::new(),
            runs: all.counters("runs_total", "Runs, by trigger and result.", &["trigger", "result"]),
            run_duration: all.histogram("run_duration_seconds", "Duration of runs.",
                &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0]),
            last_success: all.gauge_f64("last_success_timestamp_seconds",
                "End of the last successful run, in Unix time; 0 before the first."),
            last_converged: all.gauge_f64("last_converged_timestamp_seconds",
                "End of the last run after which Omni matched the roster, in Unix time; 0 before the first."),
            info: all.gauges("info", "Organisation, mode (policy.mode) and version; always 1.",
                &["organisation", "mode", "version"]),
            dry_run: all.gauge("dry_run", "1 in dry-run mode (policy.mode), 0 otherwise."),
            changes: all.counters("changes_total", "Changes attempted, by operation and outcome.",
                &["operation", "outcome"]),
            planned: all.gauges("planned_changes", "Changes that the last plan contained, by operation.", &["operation"]),
            pending: all.gauges("pending_changes",
                "Changes that the last plan contained and that were not applied since, by operation.", &["operation"]),
            held: all.gauges("held_changes", "Changes held by the safety limits in the last run, by operation.",
                &["operation"]),
            held_since: all.gauge_f64("held_since_timestamp_seconds",
                "Time since which changes have been held without interruption, in Unix time; 0 if no changes are held."),
            roster_rows: all.gauge("roster_rows", "Data rows of the roster when last read."),
            roster_problems: all.gauges("roster_problems",
                "Problems of the roster when last read: invalid rows and rejected files.", &["kind"]),
            roster_changed: all.gauge_f64("roster_changed_timestamp_seconds",
                "Time of the last change of the roster, in Unix time; 0 before the first read."),
            source_up: all.gauges("source_up", "1 if the roster could be read at the last check, 0 otherwise.", &[]),
            users: all.gauge("users", "Users in Omni when last observed."),
            keys_disabled: all.gauge("keys_disabled",
                "API keys that the last run stopped using: rejected (401, 403) or repeatedly rate limited (429)."),
            quarantined_users: all.gauge("quarantined_users", "Users, memberships and roles in quarantine."),
            paused: all.gauge("paused", "1 while the daemon is paused and starts no runs, 0 otherwise."),
            run_in_progress: all.gauge("run_in_progress", "1 during a run, 0 otherwise."),
            next_run: all.gauge_f64("next_run_timestamp_seconds",
                "Time of the next automatic run, in Unix time; 0 if there is none."),
            config_valid: all.gauge("config_last_reload_successful",
                "1 if the settings were valid when last read (at the start or on SIGHUP), 0 otherwise."),
            schedule_interval: all.gauge_f64("schedule_interval_seconds",
                "The longer of the next two intervals of the schedule; 0 without a schedule."),
            login_failures: all.counter("login_failures_total", "Wrong admin tokens on the page and the API."),
            notifications: all.counters("notifications_total", "Webhook messages, by outcome.", &["outcome"]),
            requests_available: all.computed("requests_available",
                "Requests to Omni that the limit allows right now, over all keys."),
            requests: all.counters("requests_total", "Requests to Omni, by method and status.", &["method", "status"]),
            request_duration: all.histograms("request_duration_seconds", "Response time of Omni, by method.",
                &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0], &["method"]),
            rate_limit_wait: all.histogram("rate_limit_wait_seconds", "Time that requests waited for the rate limit.",
                &[0.001, 0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0]),
        };
        (new, all.0)
    }

    /// Creates the known label values: a counter that appears with its first event hides that event
    /// from `rate()`.
    fn initialise(&self) {
        for method in METHODS {
            for status in FAILURES {
                self.requests.with_label_values(&[method, status]);
            }
            self.request_duration.with_label_values(&[method]);
        }
        for outcome in ["delivered", "failed", "dropped"] {
            self.notifications.with_label_values(&[outcome]);
        }
    }

    /// Counts a request. `status` is the code of the response, or `error` if there was none.
    pub fn request(&self, method: &str, status: &str, duration: Duration) {
        self.requests.with_label_values(&[method, status]).inc();
        self.request_duration
            .with_label_values(&[method])
            .observe(duration.as_secs_f64());
    }

    /// Records how long a request waited for the rate limit.
    pub fn waited(&self, time: Duration) {
        self.rate_limit_wait.observe(time.as_secs_f64());
    }

    /// Records whether the roster could be read.
    pub fn set_source_up(&self, is_up: bool) {
        let none: [&str; 0] = [];
        self.source_up.with_label_values(&none).set(is_up.into());
    }

    /// Names the organisation and the mode.
    pub fn set_info(&self, organisation: &str, mode: &str) {
        self.info.reset();
        let labels = [organisation, mode, crate::version::NUMBER];
        self.info.with_label_values(&labels).set(1);
    }

    /// Computes the number of requests that the limit allows at once whenever the metrics are read.
    pub fn set_requests_available(
        &self,
        compute: impl Fn() -> Option<usize> + Send + Sync + 'static,
    ) {
        self.requests_available.set(compute);
    }

    /// The same metrics for a client outside runs, which must not overwrite what a run's client reports of its keys.
    #[must_use]
    pub fn outside_runs(&self) -> Self {
        let mut unregistered = Collectors::default();
        Self {
            keys_disabled: unregistered.gauge("keys_disabled", "Not registered."),
            requests_available: unregistered.computed("requests_available", "Not registered."),
            ..self.clone()
        }
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("valid metrics encode, and writing to a Vec can't fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Unix time in seconds, as Prometheus expects it.
pub(crate) fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::core::Desc;
    use prometheus::proto::MetricFamily;

    #[test]
    fn counts_requests() {
        let metrics = Metrics::new();
        metrics.request("GET", "200", Duration::from_millis(3));
        metrics.request("GET", "429", Duration::ZERO);
        metrics.request("PATCH", "error", Duration::ZERO);
        let text = metrics.render();
        assert!(text.contains(r#"omni_user_sync_requests_total{method="GET",status="429"} 1"#));
        assert!(text.contains("\nprocess_start_time_seconds 1"), "{text}");
        let version = concat!(r#"version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#);
        assert!(text.contains(version), "{text}");
    }

    /// `name type labels` of each metric.
    fn registered() -> Vec<String> {
        let (metrics, collectors) = Metrics::build();
        metrics.set_requests_available(|| Some(1));
        let describe = |(desc, family): (&Desc, MetricFamily)| {
            let fixed = desc.const_label_pairs.iter().map(|pair| pair.name());
            let labels: Vec<_> = desc.variable_labels.iter().map(String::as_str).collect();
            let mut labels: Vec<_> = labels.into_iter().chain(fixed).collect();
            labels.sort_unstable();
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            format!("{} {kind} {}", desc.fq_name, labels.join(","))
        };
        let both = |one: &dyn Collector| {
            let families = one.collect();
            assert_eq!(one.desc().len(), families.len(), "{:?}", one.desc());
            one.desc()
                .into_iter()
                .zip(families)
                .map(describe)
                .collect::<Vec<_>>()
        };
        let mut all: Vec<_> = collectors
            .iter()
            .flat_map(|one| both(one.as_ref()))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn documented_metrics_match_the_registry() {
        let text = std::fs::read_to_string("docs/metrics.md").expect("docs/metrics.md");
        let rows = text.lines().filter(|line| {
            line.starts_with("| `omni_user_sync_") || line.starts_with("| `process_")
        });
        let row = |line: &str| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let plain = |cell: &str| cell.replace(['`', ' '], "");
            assert!(!cells[4].is_empty(), "no description: {line}");
            let labels = plain(cells[3]);
            let mut labels: Vec<_> = labels.split(',').collect();
            labels.sort_unstable();
            format!("{} {} {}", plain(cells[1]), cells[2], labels.join(","))
        };
        let mut documented: Vec<_> = rows.map(row).collect();
        documented.sort();
        assert_eq!(documented, registered());
    }

    #[test]
    fn source_up_is_absent_before_the_first_check() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("source_up"));
        metrics.set_source_up(false);
        assert!(metrics.render().contains("\nomni_user_sync_source_up 0\n"));
    }

    #[test]
    fn counters_start_at_zero() {
        let text = Metrics::new().render();
        for line in [
            r#"requests_total{method="PATCH",status="429"} 0"#,
            r#"request_duration_seconds_count{method="GET"} 0"#,
            r#"notifications_total{outcome="failed"} 0"#,
        ] {
            assert!(
                text.contains(&format!("omni_user_sync_{line}\n")),
                "{line}\n{text}"
            );
        }
    }
}
