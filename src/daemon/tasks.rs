//! The tasks of the daemon. If one exits early, all stop.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Named tasks that run concurrently until `stop` is cancelled.
#[derive(Debug, Default)]
pub(super) struct TaskGroup {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

impl TaskGroup {
    /// Starts a task, which must end when `stop` is cancelled and not before.
    pub(super) fn start<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Starts a task that can't fail, and otherwise is like one of [`Self::start`].
    pub(super) fn start_infallible<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name, async {
            task.await;
            Ok(())
        });
    }

    /// Waits for `stop`, then up to `grace` for the tasks to end. Tasks that are still running are
    /// aborted.
    ///
    /// # Errors
    /// If a task exits before `stop` is cancelled. The other tasks are stopped too: a daemon that has
    /// lost a task would still look healthy.
    pub(super) async fn run(
        mut self,
        stop: &CancellationToken,
        grace: Duration,
    ) -> anyhow::Result<()> {
        // Biased: after `stop`, no exit counts as early.
        let early = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            ended = self.next() => ended,
        };
        stop.cancel();
        let ended = tokio::time::timeout(grace, async { while self.next().await.is_some() {} });
        if ended.await.is_err() {
            let running: Vec<_> = self.names.values().copied().collect();
            warn!(
                tasks = running.join(", "),
                "tasks did not stop in time; aborting them"
            );
        }
        match early {
            Some(name) => anyhow::bail!("task {name} exited unexpectedly; see the log"),
            None => Ok(()),
        }
    }

    /// Waits for the next task to end and returns its name. Logs its error, if any.
    async fn next(&mut self) -> Option<&'static str> {
        let (id, failure) = match self.tasks.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended.err()),
            Err(panicked) => (panicked.id(), Some(panicked.into())),
        };
        let name = self.names.remove(&id).unwrap_or("unknown");
        if let Some(failure) = failure {
            error!(task = name, error = format!("{failure:#}"), "task failed");
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn all_tasks_stop_on_request() {
        let (stop, mut tasks) = (CancellationToken::new(), TaskGroup::default());
        for name in ["loop", "server"] {
            let stop = stop.clone();
            tasks.start(name, async move {
                stop.cancelled().await;
                Ok(())
            });
        }
        stop.cancel();
        assert!(tasks.run(&stop, GRACE).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_exit_after_the_stop_is_expected() {
        for _ in 0..100 {
            let (stop, mut tasks) = (CancellationToken::new(), TaskGroup::default());
            tasks.start("loop", async { Ok(()) });
            stop.cancel();
            tokio::task::yield_now().await;
            assert!(tasks.run(&stop, GRACE).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_aborted() {
        let (stop, mut tasks) = (CancellationToken::new(), TaskGroup::default());
        tasks.start("loop", std::future::pending());
        stop.cancel();
        let started = tokio::time::Instant::now();
        assert!(tasks.run(&stop, GRACE).await.is_ok());
        assert_eq!(started.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_exit_stops_all_tasks() {
        let (stop, mut tasks) = (CancellationToken::new(), TaskGroup::default());
        let others = stop.clone();
        tasks.start("loop", async move {
            others.cancelled().await;
            Ok(())
        });
        tasks.start("watcher", async { panic!("test") });
        let error = tasks.run(&stop, GRACE).await.expect_err("one ended");
        assert!(
            error
                .to_string()
                .starts_with("task watcher exited unexpectedly")
        );
        assert!(stop.is_cancelled());
    }
}
