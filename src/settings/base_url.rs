//! The URL of an organisation.

use crate::util::http::is_loopback;
use reqwest::Url;
use std::fmt;

/// The URL of an organisation: `https`, or `http` on loopback, without the path suffixes that people
/// often paste (`/api`, `/api/v1`, …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// The path suffixes that are not part of an organisation's URL.
const SUFFIXES: [&str; 4] = ["/api/scim/v2", "/api/unstable", "/api/v1", "/api"];

/// What a URL looks like.
const EXAMPLE: &str = "a URL such as https://acme.omniapp.co";

impl BaseUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Says what is expected; never quotes the text, which may contain a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains(['<', '>', '{', '}']) {
            return Err(format!(
                "{EXAMPLE}, with the name of your organisation in place of <org>"
            ));
        }
        if !text.contains("://") && text.contains('.') {
            return Err(without_scheme(text));
        }
        let mut url = Url::parse(text).map_err(|_| EXAMPLE.to_owned())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "a URL without user and password (the key belongs in omni.api_key_file)".into(),
            );
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                return Err(
                    "an https:// URL (http:// would send the key unencrypted, and is allowed \
                            only on loopback)"
                        .into(),
                );
            }
            _ => return Err("an https:// URL".into()),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(EXAMPLE.into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a URL without ? and #".into());
        }
        let path = url.path().trim_end_matches('/');
        let path = SUFFIXES
            .iter()
            .find_map(|end| path.strip_suffix(end))
            .unwrap_or(path);
        let path = path.trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The URL of an endpoint; `segments` are escaped as path segments.
    #[must_use]
    pub fn endpoint(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut()
            .expect("an http URL always has a path")
            .pop_if_empty()
            .extend(segments);
        url
    }

    /// The host, which names the organisation.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether the host is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }
}

/// Whether a text is the address of an organisation without its scheme. A key never has this form, so such
/// a text can be shown.
pub(super) fn is_bare_host(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let host = text.trim().trim_end_matches('/');
    host.ends_with(".omniapp.co") && host.chars().all(is_plain)
}

fn without_scheme(text: &str) -> String {
    match is_bare_host(text) {
        true => format!("a URL that begins with https://: https://{text}"),
        false => "a URL that begins with https://, such as https://acme.omniapp.co".into(),
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasted_path_suffixes_are_removed() {
        for (text, want) in [
            ("https://acme.omniapp.co", "https://acme.omniapp.co"),
            (" https://acme.omniapp.co/ ", "https://acme.omniapp.co"),
            ("https://acme.omniapp.co/api", "https://acme.omniapp.co"),
            ("https://acme.omniapp.co/api/v1/", "https://acme.omniapp.co"),
            (
                "https://acme.omniapp.co/api/unstable",
                "https://acme.omniapp.co",
            ),
            (
                "https://proxy.example/omni/api/",
                "https://proxy.example/omni",
            ),
            ("http://127.0.0.1:81", "http://127.0.0.1:81"),
            ("http://localhost:81/", "http://localhost:81"),
            ("http://[::1]:81", "http://[::1]:81"),
        ] {
            assert_eq!(
                BaseUrl::parse(text).map(|url| url.to_string()).as_deref(),
                Ok(want)
            );
        }
    }

    #[test]
    fn insecure_and_unclear_urls_are_refused() {
        for text in [
            "",
            "acme.omniapp.co",
            "http://acme.omniapp.co",
            "http://127.0.0.1.evil.example",
            "ftp://acme.omniapp.co",
            "https://user:secret@acme.omniapp.co",
            "https://acme.omniapp.co/?x=1",
            "secret.part.part",
        ] {
            let error = BaseUrl::parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_missing_scheme_and_placeholders_are_named() {
        for (text, says) in [
            (
                "acme.omniapp.co",
                "a URL that begins with https://: https://acme.omniapp.co",
            ),
            ("https://<org>.omniapp.co", "in place of <org>"),
            ("{org}.omniapp.co", "in place of <org>"),
        ] {
            let error = BaseUrl::parse(text).expect_err(text);
            assert!(error.ends_with(says), "{error}");
        }
    }

    #[test]
    fn path_segments_are_escaped() {
        let url = BaseUrl::parse("https://acme.omniapp.co").expect("valid");
        let endpoint = url.endpoint(&["api", "Users", "../x"]);
        assert_eq!(
            endpoint.as_str(),
            "https://acme.omniapp.co/api/Users/..%2Fx"
        );
    }
}
