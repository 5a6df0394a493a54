//! The clock that processes of one machine share: the kernel's monotonic clock, which can't be set.
//! It starts over with each boot. So a file has the id of the boot, and the wall clock for a reader
//! after another boot.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Converts between this process's instants, which a test may pause or advance, and the kernel's clock.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// The id of the boot, if the system has one.
    pub(super) boot: Option<String>,
    /// An instant, and the kernel's clock at that instant in nanoseconds.
    pub(super) instant: Instant,
    pub(super) kernel: i128,
}

impl Clock {
    /// The clock of this process.
    pub(super) fn of_process() -> &'static Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        CLOCK.get_or_init(|| {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
            let boot = boot.ok().map(|id| id.trim().to_owned());
            // Read one right after the other: other processes see the time in between as an error.
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let instant = std::time::Instant::now().into();
            Self {
                boot: boot.filter(|id| !id.is_empty() && !id.contains(char::is_whitespace)),
                instant,
                kernel: i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec),
            }
        })
    }

    /// The kernel's clock at an instant.
    pub(super) fn stamp(&self, instant: Instant) -> i128 {
        let after = instant.saturating_duration_since(self.instant);
        let before = self.instant.saturating_duration_since(instant);
        self.kernel + nanos(after) - nanos(before)
    }

    /// The instant of a time of the kernel's clock; `None` if it can't be represented.
    pub(super) fn instant(&self, stamp: i128) -> Option<Instant> {
        let distance = u64::try_from((stamp - self.kernel).unsigned_abs()).ok()?;
        let distance = Duration::from_nanos(distance);
        if stamp >= self.kernel {
            self.instant.checked_add(distance)
        } else {
            self.instant.checked_sub(distance)
        }
    }
}

/// The wall clock, in nanoseconds of Unix time.
pub(super) fn wall() -> i128 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    nanos(since.unwrap_or_default())
}

pub(super) fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> i128 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let time = Duration::try_from(time).expect("after the boot");
        nanos(time)
    }

    /// Other processes have other origins, and share only these clocks.
    #[test]
    fn stamps_match_the_system_clocks() {
        let slack = nanos(Duration::from_millis(200));
        let clock = Clock::of_process();
        let before = kernel();
        let stamp = clock.stamp(std::time::Instant::now().into());
        let after = kernel();
        assert!(
            before - slack <= stamp && stamp <= after,
            "{before} {stamp} {after}"
        );
        let before = nanos(SystemTime::UNIX_EPOCH.elapsed().expect("after 1970"));
        let hour = nanos(Duration::from_secs(3600));
        assert!((wall() - before).abs() < hour, "{before} {}", wall());
    }
}
