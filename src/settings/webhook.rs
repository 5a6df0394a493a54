//! The address of a webhook: whoever knows it may write there, so it is a secret.

use super::secret::{SecretError, SecretFile};
use crate::util::http::is_loopback;
use reqwest::Url;
use secrecy::ExposeSecret;
use std::fmt;
use std::path::PathBuf;

const SETTING: &str = "notify.webhook_url_file";

/// The file that holds the address (`notify.webhook_url_file`). It is read anew for each message.
#[derive(Clone, Debug)]
pub struct WebhookFile(SecretFile);

/// An address that may be sent to: `https`, or `http` on loopback.
#[derive(Clone)]
pub struct WebhookUrl(Url);

/// Why there is no address. Never holds one.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] SecretError),
    /// What is in it can't be sent to.
    #[error("{SETTING}: what is in it {0}")]
    Address(&'static str),
}

impl WebhookFile {
    /// The file at a path.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(SecretFile::new(SETTING, path))
    }

    /// The file, as one that holds a secret.
    #[must_use]
    pub fn secret(&self) -> &SecretFile {
        &self.0
    }

    /// Reads the address as it is now. Blocks.
    ///
    /// # Errors
    /// When there is none, or what is there can't be sent to.
    pub fn read(&self) -> Result<WebhookUrl, WebhookError> {
        WebhookUrl::parse(self.0.read()?.expose_secret()).map_err(WebhookError::Address)
    }
}

impl WebhookUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating any of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text)
            .map_err(|_| "is no address; write the one that the chat gave, https://…")?;
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_loopback(&url) => Ok(Self(url)),
            "http" => Err("would travel in clear; write https://, http:// is for loopback alone"),
            _ => Err("is no address of a webhook; write https://…"),
        }
    }

    /// The address itself: for sending, never for with_observer.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Whether it is this machine's own.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_or_loopback() {
        for fine in [
            "https://hooks.example.com/services/T0/B0/s3cret",
            "http://127.0.0.1:9/s3cret",
            "http://localhost/s3cret",
        ] {
            let url = WebhookUrl::parse(fine).expect(fine);
            assert_eq!(url.expose().as_str(), fine);
            assert!(!format!("{url:?}").contains("s3cret"));
        }
        for wrong in [
            "s3cret",
            "http://hooks.example.com/s3cret",
            "ftp://127.0.0.1/s3cret",
            "file:///s3cret",
        ] {
            let error = WebhookError::Address(WebhookUrl::parse(wrong).expect_err(wrong));
            let said = format!("{error} {error:?}");
            assert!(error.to_string().starts_with(SETTING), "{error}");
            assert!(
                !said.contains("s3cret") && !said.contains("hooks"),
                "{said}"
            );
        }
    }
}
