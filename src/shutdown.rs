//! Signals, and an end that waits for nothing that hangs.

use std::future::Future;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How soon a second signal is no second one: nobody is that quick.
const ECHO: Duration = Duration::from_millis(20);

/// The signals that the daemon answers to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes over the signals: from here on they end nothing by themselves.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Cancels `stop` at the first SIGTERM or SIGINT and returns at the second. Calls `hung_up` at
    /// each SIGHUP. The same one right on its heels is no second one: `timeout` and some shells
    /// tell both the process and its group.
    pub async fn follow(&mut self, stop: &CancellationToken, mut hung_up: impl FnMut()) {
        let mut told = None;
        loop {
            // Cancel-safe, all three: a signal that comes while another is taken is kept.
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    hung_up();
                    continue;
                }
            };
            match told {
                None => told = Some((name, Instant::now())),
                Some((first, at)) if first == name && at.elapsed() < ECHO => continue,
                Some(_) => return,
            }
            info!(signal = name, "stopping; the same again ends at once");
            stop.cancel();
        }
    }
}

/// Runs a command on a runtime of its own, and does not wait for blocking calls that are still
/// under way when it has ended: reading a roster on a mount that hangs must not hold up the end.
///
/// # Errors
/// When the runtime can't be built.
pub fn block_on<F: Future>(command: F) -> std::io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let output = runtime.block_on(command);
    runtime.shutdown_background();
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_blocking_call_does_not_hold_up_the_end() {
        let (end, never_sent) = std::sync::mpsc::channel::<()>();
        let started = Instant::now();
        let output = block_on(async {
            let hanging = tokio::task::spawn_blocking(move || never_sent.recv());
            tokio::time::timeout(Duration::from_millis(1), hanging)
                .await
                .is_err()
        });
        assert!(output.expect("a runtime can be built"));
        assert!(started.elapsed() < Duration::from_secs(30));
        drop(end);
    }
}
