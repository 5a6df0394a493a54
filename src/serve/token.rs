//! The admin token: the line that stands in its file now.

use super::session::Sessions;
use crate::settings::SecretFile;
use secrecy::ExposeSecret;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

/// So long counts what was read: the file is read once, however many ask meanwhile.
const FRESH: Duration = Duration::from_secs(1);

/// A token below this length could be found by trying.
const SHORT: usize = 16;

/// The token as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    NotSet,
    Unreadable,
    Is(blake3::Hash),
}

/// Where the token stands, and what was last read there.
#[derive(Debug)]
pub(super) struct AdminToken {
    file: Option<SecretFile>,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    since: Instant,
    /// The token's hash, or what is wrong with the file.
    read: Result<blake3::Hash, String>,
}

impl AdminToken {
    pub(super) fn new(file: Option<SecretFile>) -> Self {
        Self {
            file,
            kept: Mutex::default(),
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.file.is_some()
    }

    /// The token, a second old at most.
    pub(super) async fn now(&self, sessions: &Sessions) -> Token {
        let Some(file) = &self.file else {
            return Token::NotSet;
        };
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.since.elapsed() < FRESH) {
            return kept.token();
        }
        let new = Kept {
            since: Instant::now(),
            read: read(file.clone(), sessions).await,
        };
        new.tell(kept.as_ref());
        kept.insert(new).token()
    }
}

impl Kept {
    fn token(&self) -> Token {
        match self.read {
            Ok(hash) => Token::Is(hash),
            Err(_) => Token::Unreadable,
        }
    }

    /// Says what is wrong with the file when it becomes so, and not to each who asks.
    fn tell(&self, before: Option<&Self>) {
        let before = before.and_then(|before| before.read.as_ref().err());
        match (before, &self.read) {
            (Some(before), Err(error)) if before == error => {}
            (_, Err(error)) => warn!(
                error,
                "the admin token can't be read: nobody is let in by it"
            ),
            (Some(_), Ok(_)) => info!("the admin token can be read again"),
            (None, Ok(_)) => {}
        }
    }
}

/// Reads it off the async threads: a file system can hang.
async fn read(file: SecretFile, sessions: &Sessions) -> Result<blake3::Hash, String> {
    let read = tokio::task::spawn_blocking(move || file.read()).await;
    // Only the end of the program cancels it.
    let token = read.map_err(|error| error.to_string())?;
    let token = token.map_err(|error| error.to_string())?;
    Ok(sessions.hash(token.expose_secret()))
}

/// What a person should know of the file before somebody is to act. Blocks.
#[must_use]
pub fn token_warnings(file: &SecretFile) -> Vec<String> {
    let token = match file.read() {
        Ok(token) => token,
        Err(error) => return vec![format!("{error}; nobody can act over HTTP")],
    };
    let length = token.expose_secret().len();
    let is_short = (length < SHORT).then(|| {
        format!(
            "serve.admin_token_file: the token has {length} characters, and could be guessed; take 32 random \
             ones: `head -c 24 /dev/urandom | base64`"
        )
    });
    let is_open = file.is_world_readable().then(|| {
        "serve.admin_token_file: every user of this machine may read the file; `chmod o-r` it"
            .to_owned()
    });
    is_short.into_iter().chain(is_open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn the_file_is_read_once_a_second() {
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
        advance(FRESH).await;
        assert!(is("second").await);
        std::fs::remove_file(&path).expect("removed");
        assert!(is("second").await);
        advance(FRESH).await;
        assert!(is("").await);
        write("third");
        assert!(is("").await, "what is wrong is not looked for more often");
        advance(FRESH).await;
        assert!(is("third").await);
    }
}
