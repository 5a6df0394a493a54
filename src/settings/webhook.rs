//! The URL of a webhook. It is a secret, since anyone who knows it can post there.

use super::secret::{SecretError, SecretFile};
use crate::util::http::is_loopback;
use reqwest::Url;
use secrecy::ExposeSecret;
use std::fmt;
use std::path::PathBuf;

const SETTING: &str = "notify.webhook_url_file";

/// The file with the URL (`notify.webhook_url_file`). It is read for each message.
#[derive(Clone, Debug)]
pub struct WebhookFile(SecretFile);

/// A webhook's URL: `https`, or `http` on loopback.
#[derive(Clone)]
pub struct WebhookUrl(Url);

/// Why the URL can't be read. Never contains it.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] SecretError),
    /// The content is not a usable URL.
    #[error("{SETTING}: expected {0}")]
    Url(&'static str),
}

impl WebhookFile {
    /// The file at a path.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(SecretFile::new(SETTING, path))
    }

    /// The file as a secret.
    #[must_use]
    pub fn secret(&self) -> &SecretFile {
        &self.0
    }

    /// Reads the URL. Blocks.
    ///
    /// # Errors
    /// If the file can't be read, or has no usable URL.
    pub fn read(&self) -> Result<WebhookUrl, WebhookError> {
        WebhookUrl::parse(self.0.read()?.expose_secret()).map_err(WebhookError::Url)
    }
}

impl WebhookUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Says what is expected, without quoting the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "the URL from the chat's settings, https://…")?;
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_loopback(&url) => Ok(Self(url)),
            "http" => Err("an https:// URL (http:// is unencrypted, and allowed only on loopback)"),
            _ => Err("an https:// URL"),
        }
    }

    /// The URL itself: for sending, never for display.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Whether the host is this machine.
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
    fn webhooks_require_https_or_loopback() {
        for valid in [
            "https://hooks.example.com/services/T0/B0/s3cret",
            "http://127.0.0.1:9/s3cret",
            "http://localhost/s3cret",
        ] {
            let url = WebhookUrl::parse(valid).expect(valid);
            assert_eq!(url.expose().as_str(), valid);
            assert!(!format!("{url:?}").contains("s3cret"));
        }
        for wrong in [
            "s3cret",
            "http://hooks.example.com/s3cret",
            "ftp://127.0.0.1/s3cret",
            "file:///s3cret",
        ] {
            let error = WebhookError::Url(WebhookUrl::parse(wrong).expect_err(wrong));
            let said = format!("{error} {error:?}");
            assert!(error.to_string().starts_with(SETTING), "{error}");
            assert!(
                !said.contains("s3cret") && !said.contains("hooks"),
                "{said}"
            );
        }
    }
}
