//! The tasks of the daemon: each has a name, none is left alone.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// The parts that run side by side until `stop`.
#[derive(Debug, Default)]
pub(super) struct TaskGroup {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

impl TaskGroup {
    /// Starts a part. It is to end when `stop` is cancelled, and not before.
    pub(super) fn start<F>(&mut self, name: &'static str, part: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let id = self.tasks.spawn(part).id();
        self.names.insert(id, name);
    }

    /// Waits for `stop`, and then for the parts, for as long as `grace`. What is left after that is
    /// given up.
    ///
    /// # Errors
    /// When a part ended before it was told to: then all are stopped, since a daemon without one of
    /// its parts would look alive.
    pub(super) async fn run(
        mut self,
        stop: &CancellationToken,
        grace: Duration,
    ) -> anyhow::Result<()> {
        // Biased: once it is told to stop, no end is early.
        let early = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            ended = self.next() => ended,
        };
        stop.cancel();
        let ended = tokio::time::timeout(grace, async { while self.next().await.is_some() {} });
        if ended.await.is_err() {
            let left: Vec<_> = self.names.values().copied().collect();
            warn!(left = left.join(", "), "gave up waiting for the end");
        }
        match early {
            Some(name) => anyhow::bail!("{name} ended by itself; the log says why"),
            None => Ok(()),
        }
    }

    /// The name of the next part that ends; says so if it ended badly.
    async fn next(&mut self) -> Option<&'static str> {
        let (id, failure) = match self.tasks.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended.err()),
            Err(panicked) => (panicked.id(), Some(panicked.into())),
        };
        let name = self.names.remove(&id).unwrap_or("a part");
        if let Some(failure) = failure {
            error!(
                part = name,
                error = format!("{failure:#}"),
                "a part of the daemon has failed"
            );
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn all_end_when_told_to() {
        let (stop, mut parts) = (CancellationToken::new(), TaskGroup::default());
        for name in ["the loop", "the server"] {
            let stop = stop.clone();
            parts.start(name, async move {
                stop.cancelled().await;
                Ok(())
            });
        }
        stop.cancel();
        assert!(parts.run(&stop, GRACE).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_right_after_the_stop_is_not_early() {
        for _ in 0..100 {
            let (stop, mut parts) = (CancellationToken::new(), TaskGroup::default());
            parts.start("the loop", async { Ok(()) });
            stop.cancel();
            tokio::task::yield_now().await;
            assert!(parts.run(&stop, GRACE).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_end_is_given_up() {
        let (stop, mut parts) = (CancellationToken::new(), TaskGroup::default());
        parts.start("the loop", std::future::pending());
        stop.cancel();
        let started = tokio::time::Instant::now();
        assert!(parts.run(&stop, GRACE).await.is_ok());
        assert_eq!(started.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_ends_early_ends_all() {
        let (stop, mut parts) = (CancellationToken::new(), TaskGroup::default());
        let others = stop.clone();
        parts.start("the loop", async move {
            others.cancelled().await;
            Ok(())
        });
        parts.start("the watch", async { panic!("a fault") });
        let error = parts.run(&stop, GRACE).await.expect_err("one ended");
        assert!(error.to_string().starts_with("the watch ended by itself"));
        assert!(stop.is_cancelled());
    }
}
