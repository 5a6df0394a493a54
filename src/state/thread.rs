//! The thread that owns the database, and the handle to it.

use super::StateError;
use super::opened::OpenedFiles;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The number of writes that share one commit at most.
const MAX_BATCH: usize = 256;

/// The state database. Cheap to clone. When the last clone is dropped, pending work is finished and the files are
/// closed before the drop returns.
///
/// Each write is durable before it returns, and is done even if its caller no longer waits. Writes that wait at the
/// same time share one commit.
#[derive(Clone, Debug)]
pub struct StateDb(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    path: PathBuf,
    /// `None` once the handle is being dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    writes: bool,
    work: Work,
}

/// Runs one job in a transaction, or receives the error if the transaction could not start. Returns a function that
/// replies to the caller after the commit or rollback.
type Work = Box<dyn FnOnce(Result<&mut Transaction<'_>, StateError>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), StateError>)>;

impl StateDb {
    /// Starts the thread that owns the database, which writes only while its files are those that were `opened`. `kept`
    /// lives as long as the thread.
    pub(super) fn start<K: Send + 'static>(
        path: PathBuf,
        connection: Connection,
        opened: OpenedFiles,
        kept: K,
    ) -> Result<Self, StateError> {
        let (jobs, waiting) = channel();
        let file = path.clone();
        let thread = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || {
                serve(&file, &opened, connection, &waiting);
                drop(kept);
            })
            .map_err(|error| StateError::unusable(&path, error))?;
        Ok(Self(Arc::new(Handle {
            path,
            jobs: Some(jobs),
            thread: Some(thread),
        })))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Reads from one consistent view.
    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.ask(false, read).await
    }

    /// Writes all or nothing; what is written is durable.
    pub(super) async fn write<T, F>(&self, write: F) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.ask(true, write).await
    }

    async fn ask<T, F>(&self, writes: bool, work: F) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let stopped = || StateError::Stopped {
            path: self.0.path.clone(),
        };
        let (answer, answered) = oneshot::channel();
        let path = self.0.path.clone();
        let work: Work = Box::new(move |transaction| {
            let result = transaction.and_then(|transaction| {
                alone(transaction, work).map_err(|error| StateError::new(&path, error))
            });
            // The caller may no longer wait.
            Box::new(move |kept| drop(answer.send(kept.and(result))))
        });
        let jobs = self.0.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { writes, work }).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// Runs one of several jobs of a transaction in a savepoint: if it fails, only this job is rolled back.
fn alone<T>(
    transaction: &mut Transaction<'_>,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    if transaction.is_autocommit() {
        // A full disk has ended the transaction; further writes would be committed one by one.
        let aborted = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        return Err(rusqlite::Error::SqliteFailure(aborted, None));
    }
    let savepoint = transaction.savepoint()?;
    let result = work(&savepoint)?;
    savepoint.commit()?;
    Ok(result)
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of the thread.
            let _ = thread.join();
        }
    }
}

fn serve(path: &Path, opened: &OpenedFiles, mut connection: Connection, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        let (mut batch, mut next) = (vec![job], None);
        while batch[0].writes && batch.len() < MAX_BATCH && next.is_none() {
            match jobs.try_recv() {
                Ok(job) if job.writes => batch.push(job),
                Ok(job) => next = Some(job),
                Err(_) => break,
            }
        }
        run_batch(path, opened, &mut connection, batch);
        if let Some(job) = next {
            run_batch(path, opened, &mut connection, vec![job]);
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the state database was not closed cleanly");
    }
}

/// Runs all jobs in one transaction. Each is answered once it is durable.
fn run_batch(path: &Path, opened: &OpenedFiles, connection: &mut Connection, batch: Vec<Job>) {
    let transaction = if batch.iter().any(|job| job.writes) {
        // No other process can commit between the reads and the writes of this transaction.
        let same = opened.check(path);
        same.and_then(|()| begin(path, connection, TransactionBehavior::Immediate))
    } else {
        begin(path, connection, TransactionBehavior::Deferred)
    };
    match transaction {
        Ok(mut transaction) => {
            let work = |job: Job| (job.work)(Ok(&mut transaction));
            let replies: Vec<Reply> = batch.into_iter().map(work).collect();
            let kept = transaction
                .commit()
                .map_err(|error| StateError::new(path, error));
            replies.into_iter().for_each(|reply| reply(kept.clone()));
        }
        Err(error) => {
            for job in batch {
                (job.work)(Err(error.clone()))(Ok(()));
            }
        }
    }
}

fn begin<'a>(
    path: &Path,
    connection: &'a mut Connection,
    behavior: TransactionBehavior,
) -> Result<Transaction<'a>, StateError> {
    let transaction = connection.transaction_with_behavior(behavior);
    transaction.map_err(|error| StateError::new(path, error))
}
