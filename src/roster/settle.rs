//! A roster that stands still. A file that is still being written looks like a shorter roster, or
//! like a broken one, so nothing is taken from it, nor said of it, until it has stood still.

use super::{Reading, SourceError, fingerprint, reading};
use crate::model::{Desired, Fingerprint, Schema};
use crate::settings::SourceSettings;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long a roster may keep changing before that is an error.
const PATIENCE: Duration = Duration::from_mins(3);

/// How long one look may take: a gigabyte over a slow line, and no mount that hangs.
const HANGS: Duration = Duration::from_mins(15);

/// Reads the roster once it stands still: two looks at its content, `source.settle` apart, are the
/// same.
///
/// That is taken for done where the content is the `known` one, which the caller saw standing still;
/// and without a `known` one, where nothing was done to the files for `source.settle` already. Of a share
/// that can't be said: its times are another machine's.
///
/// # Errors
/// When there is no roster that can be read, it does not come to rest within a few minutes, or its file system
/// does not answer.
pub async fn read_settled(
    settings: &SourceSettings,
    path: &Path,
    is_source: bool,
    schema: &Schema,
    known: Option<Fingerprint>,
) -> Result<Desired, SourceError> {
    let patience = PATIENCE.max(settings.settle.saturating_mul(10));
    let (settings, path) = (Arc::new(settings.clone()), Arc::<Path>::from(path));
    let schema = Arc::new(schema.clone());
    let start = Instant::now();
    loop {
        let look = {
            let (settings, of, schema) = (settings.clone(), path.clone(), schema.clone());
            blocking(&path, move || reading(&settings, &of, is_source, &schema)).await?
        };
        if look.still && stood(&look, known, settings.settle) {
            return look.outcome;
        }
        tokio::time::sleep(settings.settle).await;
        let again = {
            let (settings, of) = (settings.clone(), path.clone());
            blocking(&path, move || fingerprint(&settings, &of)).await?
        };
        if look.still && again == look.fingerprint {
            return look.outcome;
        }
        if start.elapsed() >= patience {
            return Err(SourceError::StillChanging {
                path: path.to_path_buf(),
            });
        }
    }
}

/// Reads until `stop` is cancelled. A read under way is left to itself then: it may hang.
///
/// # Errors
/// [`SourceError::Stopped`], or why it could not be read.
pub async fn unless_stopped<T, E: From<SourceError>>(
    stop: &CancellationToken,
    reading: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let read = stop.run_until_cancelled(reading).await;
    read.unwrap_or(Err(SourceError::Stopped.into()))
}

/// Whether it is known already that the content stood still.
fn stood(look: &Reading, known: Option<Fingerprint>, settle: Duration) -> bool {
    if let Some(known) = known {
        return known == look.fingerprint;
    }
    // A time in the future tells nothing.
    let age = |touched| SystemTime::now().duration_since(touched).ok();
    look.touched.and_then(age).is_some_and(|age| age >= settle)
}

/// Keeps what is done with the files at a path off the async threads: a mount can hang. One that does not come
/// to an end is left to itself.
///
/// # Errors
/// Those of the work; [`SourceError::Silent`] after [`HANGS`].
pub(crate) async fn blocking<T, E>(
    path: &Path,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<SourceError> + Send + 'static,
{
    match timeout(HANGS, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Ok(Err(_)) => Err(SourceError::Stopped.into()),
        Err(_elapsed) => {
            let path = path.to_owned();
            Err(SourceError::Silent { path }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_does_not_come_to_an_end_is_given_up() {
        let (end, ended) = mpsc::channel::<()>();
        let hanging = move || {
            let _ = ended.recv();
            Ok::<_, SourceError>(())
        };
        let look = tokio::spawn(async { blocking(Path::new("/mnt/users.csv"), hanging).await });
        tokio::task::yield_now().await;
        advance(HANGS - Duration::from_millis(1)).await;
        assert!(!look.is_finished());
        advance(Duration::from_millis(2)).await;
        let error = look.await.expect("no panic").expect_err("it hangs");
        assert!(matches!(error, SourceError::Silent { .. }), "{error}");
        assert!(error.is_away());
        drop(end);
    }
}
