//! The metrics of the process, under the conventional names without our prefix, which dashboards and alerts expect.
//!
//! The collector of the prometheus crate would bring second versions of `procfs` and `rustix`.

use super::collectors::valid;
use chrono::Utc;
use procfs::ProcResult;
use procfs::process::{Process, Stat};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// Reads the process whenever the metrics are read.
#[derive(Clone, Debug)]
pub(super) struct ProcessCollector {
    cpu: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    resident: Gauge,
    virtual_memory: Gauge,
    threads: Gauge,
    started: Gauge,
}

/// What the system says of the process.
struct Usage {
    stat: Stat,
    open_fds: usize,
    max_fds: Option<u64>,
}

impl Usage {
    fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let soft = process.limits()?.max_open_files.soft_limit;
        Ok(Self {
            stat: process.stat()?,
            open_fds: process.fd_count()?,
            max_fds: match soft {
                procfs::process::LimitValue::Value(limit) => Some(limit),
                procfs::process::LimitValue::Unlimited => None,
            },
        })
    }
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let gauge = |name, help| valid(Gauge::new(name, help));
        let new = Self {
            cpu: valid(Counter::new("process_cpu_seconds_total", "CPU time used.")),
            open_fds: gauge("process_open_fds", "Open file descriptors."),
            max_fds: gauge(
                "process_max_fds",
                "Maximum number of open file descriptors.",
            ),
            resident: gauge("process_resident_memory_bytes", "Memory in use."),
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory."),
            threads: gauge("process_threads", "Threads."),
            started: gauge(
                "process_start_time_seconds",
                "Start time of the process, in Unix time.",
            ),
        };
        new.started.set(super::seconds(Utc::now()));
        new
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    fn update(&self, usage: &Usage) {
        let stat = &usage.stat;
        let cpu = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
        self.open_fds.set(usage.open_fds as f64);
        self.max_fds
            .set(usage.max_fds.map_or(0.0, |max| max as f64));
        self.resident.set((stat.rss * procfs::page_size()) as f64);
        self.virtual_memory.set(stat.vsize as f64);
        self.threads.set(stat.num_threads as f64);
    }

    fn parts(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.open_fds,
            &self.max_fds,
            &self.resident,
            &self.virtual_memory,
            &self.threads,
            &self.started,
        ]
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Without /proc only the start time is known.
        let Ok(usage) = Usage::read() else {
            return self.started.collect();
        };
        self.update(&usage);
        let parts = self.parts().into_iter();
        parts.flat_map(Collector::collect).collect()
    }
}
