//! What is counted. Handed in where it is needed; there is no global registry.
//!
//! Names follow Prometheus' conventions (`omni_user_sync_…`, base units, `_total`), and labels have
//! few values: never an email, an attribute or a message.

use chrono::{DateTime, Utc};
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};
use std::time::Duration;

const PREFIX: &str = "omni_user_sync";

/// What is sent to Omni.
const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];

/// What an alert asks for: too many requests, and no answer.
const FAILURES: [&str; 2] = ["429", "error"];

/// Every metric, and the registry that they are in. Clones share the same counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Runs by `trigger` and `outcome`.
    pub runs: IntCounterVec,
    /// How long runs took.
    pub run_duration: Histogram,
    /// When the last run that succeeded ended, in Unix time; 0 before the first. A restart keeps it.
    pub last_success: Gauge,
    /// Whether runs change Omni (1), or only tell what they would change (0).
    pub applies: IntGauge,
    /// Changes sent, or refused before that, by `kind` and `outcome`.
    pub changes: IntCounterVec,
    /// Changes that the last run found needed, by `kind`.
    pub drift: IntGaugeVec,
    /// Changes that the guard held in the last run, by `kind`.
    pub held: IntGaugeVec,
    /// Data rows of the roster last read.
    pub roster_rows: IntGauge,
    /// What is wrong with the roster last read, by `kind`: `row` or `file`.
    pub roster_problems: IntGaugeVec,
    /// Since when the roster has been as it was last read, in Unix time; 0 before the first. A restart
    /// keeps it.
    pub roster_changed: Gauge,
    /// Users in Omni when last observed.
    pub users: IntGauge,
    /// Keys that the run under way, or the last one, does not use any more.
    pub keys_set_aside: IntGauge,
    /// Users who are left alone for a while since their changes keep failing.
    pub quarantined_users: IntGauge,
    /// Whether a run is under way: 1 or 0.
    pub run_in_progress: IntGauge,
    /// When the next run starts by itself, in Unix time; 0 where none does.
    pub next_run: Gauge,
    /// Messages to the webhook by `outcome`: `delivered`, `failed` or `dropped`.
    pub notifications: IntCounterVec,
    /// Has no labels; a vector is not there before it is set.
    source_up: IntGaugeVec,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    throttle_wait: Histogram,
}

impl Metrics {
    /// New counts in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let new = Self {
            registry: Registry::new(),
            runs: counters(
                "runs_total",
                "Runs, by what started them and how they ended.",
                &["trigger", "outcome"],
            ),
            run_duration: histogram(
                "run_duration_seconds",
                "How long runs took.",
                &[
                    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0,
                ],
            ),
            last_success: valid(Gauge::with_opts(opts(
                "last_success_timestamp_seconds",
                "When the last run that succeeded ended, in Unix time; 0 before the first.",
            ))),
            applies: gauge(
                "applies",
                "Whether runs change Omni (1), or only tell what they would change (0).",
            ),
            changes: counters(
                "changes_total",
                "Changes sent to Omni, or refused before that, by kind and outcome.",
                &["kind", "outcome"],
            ),
            drift: gauges(
                "drift",
                "Changes that the last run found needed, by kind.",
                &["kind"],
            ),
            held: gauges(
                "held_changes",
                "Changes that the guard held in the last run, by kind.",
                &["kind"],
            ),
            roster_rows: gauge("roster_rows", "Data rows of the roster last read."),
            roster_problems: gauges(
                "roster_problems",
                "What is wrong with the roster last read: bad rows and rejected files.",
                &["kind"],
            ),
            roster_changed: valid(Gauge::with_opts(opts(
                "roster_changed_timestamp_seconds",
                "Since when the roster has been as it was last read, in Unix time; 0 before the first.",
            ))),
            source_up: gauges(
                "source_up",
                "Whether the roster could be read when it was last looked at.",
                &[],
            ),
            users: gauge("users", "Users in Omni when last observed."),
            keys_set_aside: gauge(
                "keys_set_aside",
                "API keys that the last run stopped using: Omni does not accept them (401, 403) or \
                 keeps answering 429.",
            ),
            quarantined_users: gauge(
                "quarantined_users",
                "Users whose changes keep failing and who are left alone for a while.",
            ),
            run_in_progress: gauge("run_in_progress", "Whether a run is under way: 1 or 0."),
            next_run: valid(Gauge::with_opts(opts(
                "next_run_timestamp_seconds",
                "When the next run starts by itself, in Unix time; 0 where none does.",
            ))),
            notifications: counters(
                "notifications_total",
                "Messages to the webhook, by what became of them.",
                &["outcome"],
            ),
            requests: counters(
                "requests_total",
                "Requests to Omni, by method and status.",
                &["method", "status"],
            ),
            request_duration: valid(HistogramVec::new(
                HistogramOpts::new(
                    format!("{PREFIX}_request_duration_seconds"),
                    "How long Omni took to answer, by method.",
                )
                .buckets(vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
                &["method"],
            )),
            throttle_wait: histogram(
                "throttle_wait_seconds",
                "How long requests waited for their turn under the limit.",
                &[0.001, 0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0],
            ),
        };
        for collector in new.collectors() {
            valid(new.registry.register(collector));
        }
        new.initialise();
        new
    }

    /// All that is registered. It stands in docs/metrics.md too, and a test compares the two.
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let info = valid(IntGauge::with_opts(
            opts("build_info", "What is running; always 1.")
                .const_label("version", crate::version::NUMBER)
                .const_label("commit", crate::version::COMMIT),
        ));
        info.set(1);
        // Its conventional name, without our prefix: dashboards and alerts know it.
        let started = valid(Gauge::new(
            "process_start_time_seconds",
            "When the process was started, in Unix time.",
        ));
        started.set(seconds(Utc::now()));
        vec![
            Box::new(info),
            Box::new(started),
            Box::new(self.runs.clone()),
            Box::new(self.run_duration.clone()),
            Box::new(self.run_in_progress.clone()),
            Box::new(self.next_run.clone()),
            Box::new(self.last_success.clone()),
            Box::new(self.applies.clone()),
            Box::new(self.changes.clone()),
            Box::new(self.drift.clone()),
            Box::new(self.held.clone()),
            Box::new(self.quarantined_users.clone()),
            Box::new(self.roster_rows.clone()),
            Box::new(self.roster_problems.clone()),
            Box::new(self.roster_changed.clone()),
            Box::new(self.source_up.clone()),
            Box::new(self.users.clone()),
            Box::new(self.keys_set_aside.clone()),
            Box::new(self.notifications.clone()),
            Box::new(self.requests.clone()),
            Box::new(self.request_duration.clone()),
            Box::new(self.throttle_wait.clone()),
        ]
    }

    /// A counter that is not there before it counts hides its first event from `rate()`.
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

    /// Counts a request that was sent: `status` is the answer's code, or `error` where none came.
    pub fn request(&self, method: &str, status: &str, took: Duration) {
        self.requests.with_label_values(&[method, status]).inc();
        self.request_duration
            .with_label_values(&[method])
            .observe(took.as_secs_f64());
    }

    /// Counts how long a request waited for its turn.
    pub fn waited(&self, time: Duration) {
        self.throttle_wait.observe(time.as_secs_f64());
    }

    /// Tells whether the roster could be read, when it was looked at.
    pub fn source_is_up(&self, is_up: bool) {
        let none: [&str; 0] = [];
        self.source_up.with_label_values(&none).set(is_up.into());
    }

    /// The same counts for whoever asks Omni beside the runs: which keys a run uses is not theirs to tell.
    #[must_use]
    pub fn beside_runs(&self) -> Self {
        let unheard = gauge("keys_set_aside", "Not registered.");
        Self {
            keys_set_aside: unheard,
            ..self.clone()
        }
    }

    /// Everything as Prometheus reads it.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("a registry of valid metrics encodes, and a Vec takes every write");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A time as Prometheus has it: seconds, in Unix time.
pub(crate) fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}_{name}"), help)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    valid(IntCounterVec::new(opts(name, help), labels))
}

fn gauge(name: &str, help: &str) -> IntGauge {
    valid(IntGauge::with_opts(opts(name, help)))
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    valid(IntGaugeVec::new(opts(name, help), labels))
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let opts = HistogramOpts::new(format!("{PREFIX}_{name}"), help).buckets(buckets.to_vec());
    valid(Histogram::with_opts(opts))
}

fn valid<T>(made: prometheus::Result<T>) -> T {
    made.expect("names, labels and buckets are constants, and a test makes them all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_requests_of_all_kinds() {
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
        let describe = |collector: Box<dyn Collector>| {
            let [desc] = collector.desc()[..] else {
                panic!("a metric has one description");
            };
            let fixed = desc.const_label_pairs.iter().map(|pair| pair.name());
            let labels: Vec<_> = desc.variable_labels.iter().map(String::as_str).collect();
            let mut labels: Vec<_> = labels.into_iter().chain(fixed).collect();
            labels.sort_unstable();
            let kind = collector.collect()[0].get_field_type();
            let kind = format!("{kind:?}").to_lowercase();
            format!("{} {kind} {}", desc.fq_name, labels.join(","))
        };
        let mut all: Vec<_> = Metrics::new()
            .collectors()
            .into_iter()
            .map(describe)
            .collect();
        all.sort();
        all
    }

    #[test]
    fn each_metric_stands_in_the_table_as_it_is_and_no_other() {
        let text = std::fs::read_to_string("docs/metrics.md").expect("the table");
        let rows = text.lines().filter(|line| {
            line.starts_with("| `omni_user_sync_") || line.starts_with("| `process_")
        });
        let row = |line: &str| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let plain = |cell: &str| cell.replace(['`', ' '], "");
            assert!(!cells[4].is_empty(), "says nothing: {line}");
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
    fn nothing_is_said_of_a_roster_that_was_not_looked_at() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("source_up"));
        metrics.source_is_up(false);
        assert!(metrics.render().contains("\nomni_user_sync_source_up 0\n"));
    }

    #[test]
    fn counters_are_there_before_they_count() {
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
