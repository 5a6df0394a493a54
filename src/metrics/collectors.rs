//! Makes metrics and keeps them for the registration.

use crate::util::sync::lock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts,
};
use std::fmt;
use std::sync::{Arc, Mutex};

const PREFIX: &str = "omni_user_sync";

type Compute = Box<dyn Fn() -> Option<usize> + Send + Sync>;

/// A gauge whose value is computed when it is read; absent while it has none.
#[derive(Clone)]
pub(super) struct ComputedGauge {
    gauge: IntGauge,
    compute: Arc<Mutex<Option<Compute>>>,
}

impl ComputedGauge {
    pub(super) fn set(&self, compute: impl Fn() -> Option<usize> + Send + Sync + 'static) {
        *lock(&self.compute) = Some(Box::new(compute));
    }
}

impl fmt::Debug for ComputedGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gauge.fmt(f)
    }
}

impl Collector for ComputedGauge {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let value = lock(&self.compute).as_ref().and_then(|compute| compute());
        let Some(value) = value else {
            return Vec::new();
        };
        self.gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

/// Creates metrics and keeps each of them for the registration.
#[derive(Default)]
pub(super) struct Collectors(pub(super) Vec<Box<dyn Collector>>);

impl Collectors {
    fn add<C: Collector + Clone + 'static>(&mut self, made: prometheus::Result<C>) -> C {
        let collector = valid(made);
        self.0.push(Box::new(collector.clone()));
        collector
    }

    pub(super) fn build_info(&mut self) {
        let opts = opts("build_info", "Version and commit of the program; always 1.")
            .const_label("version", crate::version::NUMBER)
            .const_label("commit", crate::version::COMMIT);
        self.add(IntGauge::with_opts(opts)).set(1);
    }

    pub(super) fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(opts(name, help), labels))
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(opts(name, help)))
    }

    pub(super) fn gauge_f64(&mut self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(opts(name, help)))
    }

    pub(super) fn counter(&mut self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(opts(name, help)))
    }

    pub(super) fn computed(&mut self, name: &str, help: &str) -> ComputedGauge {
        let gauge = ComputedGauge {
            gauge: valid(IntGauge::with_opts(opts(name, help))),
            compute: Arc::default(),
        };
        self.0.push(Box::new(gauge.clone()));
        gauge
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(opts(name, help), labels))
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(opts))
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> HistogramVec {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.add(HistogramVec::new(opts, labels))
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}_{name}"), help)
}

pub(super) fn valid<T>(made: prometheus::Result<T>) -> T {
    made.expect("names, labels and buckets are constants, and a test creates all metrics")
}
