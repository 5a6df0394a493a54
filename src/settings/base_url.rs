//! The address of an organisation.

use crate::util::http::is_loopback;
use reqwest::Url;
use std::fmt;

/// The address of an organisation: `https`, or `http` on loopback, with the endings that people
/// paste (`/api`, `/api/v1`, …) stripped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// The endings that are no part of the organisation's address.
const ENDINGS: [&str; 4] = ["/api/scim/v2", "/api/unstable", "/api/v1", "/api"];

impl BaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// Says what is wrong with it, as a clause for a person. Never repeats a password in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text.trim()).map_err(|error| {
            format!("no address ({error}); write one such as https://acme.omniapp.co")
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address holds no user or password; the key has a file".into());
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                return Err(
                    "the key would travel in clear; write https://, http:// is for \
                            loopback alone"
                        .into(),
                );
            }
            other => return Err(format!("{other}:// can't be used; write https://")),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("there is no host in it; write one such as https://acme.omniapp.co".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("an address ends before any ? or #".into());
        }
        let path = url.path().trim_end_matches('/');
        let path = ENDINGS
            .iter()
            .find_map(|end| path.strip_suffix(end))
            .unwrap_or(path);
        let path = path.trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The address of an endpoint: `segments` are escaped as path segments.
    #[must_use]
    pub fn endpoint(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut()
            .expect("an http address always has a path")
            .pop_if_empty()
            .extend(segments);
        url
    }

    /// The organisation's name as far as the address tells it: the host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether it is this machine's own.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
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
    fn strips_what_people_paste() {
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
    fn refuses_what_would_leak_or_mislead() {
        for text in [
            "",
            "acme.omniapp.co",
            "http://acme.omniapp.co",
            "http://127.0.0.1.evil.example",
            "ftp://acme.omniapp.co",
            "https://user:secret@acme.omniapp.co",
            "https://acme.omniapp.co/?x=1",
        ] {
            let error = BaseUrl::parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn escapes_segments() {
        let url = BaseUrl::parse("https://acme.omniapp.co").expect("valid");
        let endpoint = url.endpoint(&["api", "Users", "../x"]);
        assert_eq!(
            endpoint.as_str(),
            "https://acme.omniapp.co/api/Users/..%2Fx"
        );
    }
}
