//! Signals, and a shutdown that does not wait for hung calls.

use rustix::process::{Resource, getrlimit};
use std::future::Future;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A repeat of the same signal within this time is ignored: `timeout` and some shells send a signal to
/// both the process and its group.
const REPEAT: Duration = Duration::from_millis(20);

/// With fewer open files, no command starts reliably.
const MIN_OPEN_FILES: u64 = 32;

/// The signals that the daemon handles.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if SIGHUP was ignored at the start, as `nohup` does; then it stays ignored.
    hang_up: Option<Signal>,
    has_terminal: bool,
}

impl Signals {
    /// Installs the handlers; from now on the signals no longer end the process.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: match ignores_hang_up() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
            has_terminal: has_terminal(),
        })
    }

    /// Cancels `stop` at the first SIGTERM or SIGINT and returns at the second. Calls `on_hangup` at
    /// each SIGHUP, except if it comes because the terminal was closed: that stops like SIGTERM.
    pub async fn follow(&mut self, stop: &CancellationToken, mut on_hangup: impl FnMut()) {
        let mut first = None;
        loop {
            // All three are cancel-safe: a signal that arrives while another is handled is kept.
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                () = received(self.hang_up.as_mut()) => {
                    if !self.has_terminal || has_terminal() {
                        on_hangup();
                        continue;
                    }
                    "SIGHUP"
                }
            };
            match first {
                None => first = Some((name, Instant::now())),
                Some((signal, at)) if signal == name && at.elapsed() < REPEAT => continue,
                Some(_) => return,
            }
            info!(signal = name, "stopping; a second signal ends at once");
            stop.cancel();
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether the process has a controlling terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether SIGHUP is ignored.
fn ignores_hang_up() -> bool {
    let hang_up = 1 << (rustix::process::Signal::HUP.as_raw() - 1);
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign & hang_up != 0)
}

/// Runs a command on its own runtime. At its end, blocking calls are abandoned, so that a roster on a
/// hung mount does not block the shutdown.
///
/// # Errors
/// If the runtime can't be created, or too few open files are allowed.
pub fn block_on<F: Future>(command: F) -> std::io::Result<F::Output> {
    // Parts of the runtime panic where none is left.
    if let Some(problem) = too_few_open_files(MIN_OPEN_FILES) {
        return Err(std::io::Error::other(problem));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let output = runtime.block_on(command);
    runtime.shutdown_background();
    Ok(output)
}

/// The problem of a limit of open files below a minimum.
pub(crate) fn too_few_open_files(minimum: u64) -> Option<String> {
    let limit = getrlimit(Resource::Nofile).current?;
    (limit < minimum).then(|| {
        format!(
            "only {limit} open files are allowed; raise the limit (ulimit -n) to at least {minimum}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_blocking_call_does_not_delay_shutdown() {
        let (end, never_sent) = std::sync::mpsc::channel::<()>();
        let started = Instant::now();
        let output = block_on(async {
            let hanging = tokio::task::spawn_blocking(move || never_sent.recv());
            tokio::time::timeout(Duration::from_millis(1), hanging)
                .await
                .is_err()
        });
        assert!(output.expect("a runtime can be created"));
        assert!(started.elapsed() < Duration::from_secs(30));
        drop(end);
    }
}
