//! The current admin token.

use super::session::Sessions;
use crate::settings::SecretFile;
use secrecy::ExposeSecret;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

/// The lifetime of a cached token, so that many requests cause one read of the file.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// The current token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    NotSet,
    Unreadable,
    Is(blake3::Hash),
}

/// Reads the admin token from its file, with a cache.
#[derive(Debug)]
pub(super) struct AdminToken {
    file: Option<SecretFile>,
    cache: Mutex<Option<CachedToken>>,
}

#[derive(Debug)]
struct CachedToken {
    since: Instant,
    /// The hash of the token, or why the file can't be read.
    read: Result<blake3::Hash, String>,
}

impl AdminToken {
    pub(super) fn new(file: Option<SecretFile>) -> Self {
        Self {
            file,
            cache: Mutex::default(),
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.file.is_some()
    }

    /// The token, at most [`CACHE_TIME`] old.
    pub(super) async fn now(&self, sessions: &Sessions) -> Token {
        let Some(file) = &self.file else {
            return Token::NotSet;
        };
        let mut cache = self.cache.lock().await;
        if let Some(cached) = cache.as_ref().filter(|it| it.since.elapsed() < CACHE_TIME) {
            return cached.token();
        }
        let new = CachedToken {
            since: Instant::now(),
            read: read(file.clone(), sessions).await,
        };
        new.log_change(cache.as_ref());
        cache.insert(new).token()
    }
}

impl CachedToken {
    fn token(&self) -> Token {
        match self.read {
            Ok(hash) => Token::Is(hash),
            Err(_) => Token::Unreadable,
        }
    }

    /// Logs an error once, and not for every request.
    fn log_change(&self, before: Option<&Self>) {
        let before = before.and_then(|before| before.read.as_ref().err());
        match (before, &self.read) {
            (Some(before), Err(error)) if before == error => {}
            (_, Err(error)) => warn!(
                error,
                "can't read the admin token; requests with a token are rejected"
            ),
            (Some(_), Ok(_)) => info!("the admin token can be read again"),
            (None, Ok(_)) => {}
        }
    }
}

/// Reads the file on a blocking thread, because a file system can hang.
async fn read(file: SecretFile, sessions: &Sessions) -> Result<blake3::Hash, String> {
    let read = tokio::task::spawn_blocking(move || file.read()).await;
    // The task is cancelled only when the program ends.
    let token = read.map_err(|error| error.to_string())?;
    let token = token.map_err(|error| error.to_string())?;
    Ok(sessions.hash(token.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn reads_the_file_once_a_second() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        let file = SecretFile::new("serve.admin_token_file", path.clone());
        let (token, sessions) = (AdminToken::new(Some(file)), Sessions::new());
        let is = async |text: &str| match token.now(&sessions).await {
            Token::Is(hash) => hash == sessions.hash(text),
            Token::NotSet | Token::Unreadable => text.is_empty(),
        };
        write("first");
        assert!(is("first").await);
        write("second");
        assert!(is("first").await);
        advance(CACHE_TIME).await;
        assert!(is("second").await);
        std::fs::remove_file(&path).expect("removed");
        assert!(is("second").await);
        advance(CACHE_TIME).await;
        assert!(is("").await);
        write("third");
        assert!(is("").await, "errors are cached too");
        advance(CACHE_TIME).await;
        assert!(is("third").await);
    }
}
