//! API keys: read for each run, never shown.

use super::instead;
use super::secret::{is_quoted, is_world_readable, read_bounded, shown_path};
use crate::util::blocking;
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;
use std::time::Duration;

/// The size limit of a key file, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// The time limit for reading the file.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// The warning for [`KeySource::is_ambiguous`].
pub const AMBIGUOUS_KEY: &str =
    "OMNI_API_KEY overrides omni.api_key_file, which is not read; unset one of them";

/// At least one key, in the order written, each once.
#[derive(Clone, Debug)]
pub struct ApiKeys(Vec<SecretString>);

impl ApiKeys {
    /// All keys.
    #[must_use]
    pub fn as_slice(&self) -> &[SecretString] {
        &self.0
    }

    /// Each key alone.
    pub fn each(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.iter().map(|key| Self(vec![key.clone()]))
    }

    /// The hashes of the keys, in the same order.
    pub fn hashes(&self) -> impl Iterator<Item = KeyHash> + '_ {
        self.0.iter().map(KeyHash::of)
    }
}

/// A short hash of a key. 32 bits are enough to distinguish a few keys, and too few to identify a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &SecretString) -> Self {
        let context = "omni-user-sync 2026-11-23 file name of a key's slots";
        let hash = blake3::derive_key(context, key.expose_secret().as_bytes());
        Self(hash[..4].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A hash that was stored.
    #[must_use]
    pub fn stored(hash: String) -> Self {
        Self(hash)
    }

    /// The hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The source of the keys. `OMNI_API_KEY` overrides `omni.api_key_file`, as the environment overrides
/// the settings file.
#[derive(Clone, Debug, Default)]
pub struct KeySource {
    /// `OMNI_API_KEY`.
    pub(super) variable: Option<SecretString>,
    /// `omni.api_key_file`.
    pub(super) file: Option<PathBuf>,
    /// The variable that may have been set instead of `OMNI_API_KEY`.
    pub(super) mistaken: Option<String>,
}

/// Why the keys can't be read. Never contains a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither the variable nor the file is set.
    #[error(
        "no API key: set omni.api_key_file, or the environment variable OMNI_API_KEY{}",
        instead(.mistaken.as_deref())
    )]
    Missing {
        /// The variable that may have been set instead.
        mistaken: Option<String>,
    },
    /// The file can't be read.
    #[error("omni.api_key_file {file}: {problem}")]
    File {
        /// The path, if it is one.
        file: String,
        /// The problem.
        problem: String,
    },
    /// A line is not a key.
    #[error(
        "{location}: line {line} is not an API key: a key has only ASCII characters and no whitespace"
    )]
    Malformed {
        /// The variable or the file.
        location: String,
        /// The line.
        line: usize,
    },
    /// A line contains more than the key.
    #[error("{location}: line {line} has {extra}; write only the key")]
    Extra {
        /// The variable or the file.
        location: String,
        /// The line.
        line: usize,
        /// What the line contains besides the key.
        extra: &'static str,
    },
}

impl KeySource {
    /// The keys from a text, one per line, for tests and the sandbox.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self {
            variable: Some(text.into()),
            ..Self::default()
        }
    }

    /// Whether `OMNI_API_KEY` has the keys.
    #[must_use]
    pub fn is_in_variable(&self) -> bool {
        self.variable.is_some()
    }

    /// Whether both sources are set, so that the file is ignored.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.variable.is_some() && self.file.is_some()
    }

    /// Whether every user of the machine can read the file, if a file is the source.
    #[must_use]
    pub fn is_world_readable(&self) -> bool {
        let file = self.file.as_ref().filter(|_| self.variable.is_none());
        file.is_some_and(|path| is_world_readable(path))
    }

    /// Reads the keys without blocking the caller, since the file may be on a mounted file system that
    /// hangs.
    ///
    /// # Errors
    /// As [`KeySource::read`], and if the file can't be read within 60 seconds.
    pub async fn load(&self) -> Result<ApiKeys, KeyError> {
        let source = self.clone();
        let read = blocking::run(READ_LIMIT, move || source.read()).await;
        read.unwrap_or_else(|error| {
            let file = self.file.as_deref().map(shown_path).unwrap_or_default();
            let problem = error.to_string();
            Err(KeyError::File { file, problem })
        })
    }

    /// Reads the keys. Blocks.
    ///
    /// # Errors
    /// If there is no key, or a line is not a key.
    pub fn read(&self) -> Result<ApiKeys, KeyError> {
        if let Some(text) = &self.variable {
            return parse(text.expose_secret(), "OMNI_API_KEY");
        }
        let path = self.file.as_ref().ok_or_else(|| KeyError::Missing {
            mistaken: self.mistaken.clone(),
        })?;
        let error = |problem: String| KeyError::File {
            file: shown_path(path),
            problem,
        };
        let text = read_bounded(path, MAX_BYTES).map_err(error)?;
        if text.trim().is_empty() {
            return Err(error("the file is empty; expected one key per line".into()));
        }
        parse(&text, &format!("omni.api_key_file {}", path.display()))
    }
}

fn parse(text: &str, location: &str) -> Result<ApiKeys, KeyError> {
    let mut keys: Vec<&str> = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let key = line.trim();
        if let Some(extra) = extra(key) {
            return Err(KeyError::Extra {
                location: location.into(),
                line: at + 1,
                extra,
            });
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Malformed {
                location: location.into(),
                line: at + 1,
            });
        }
        if !key.is_empty() && !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(KeyError::Missing { mistaken: None });
    }
    Ok(ApiKeys(keys.into_iter().map(Into::into).collect()))
}

/// What a line contains besides a key, as other tools write it.
fn extra(line: &str) -> Option<&'static str> {
    if is_quoted(line) {
        return Some("quotes around the key");
    }
    let word = line.split_whitespace().next().unwrap_or_default();
    if word
        .trim_end_matches(':')
        .eq_ignore_ascii_case("authorization")
    {
        return Some("the name of a header before the key");
    }
    if word.eq_ignore_ascii_case("bearer") && word.len() < line.len() {
        return Some("the word \"Bearer\" before the key");
    }
    let name = line.strip_prefix("export ").unwrap_or(line);
    let (name, _) = name.split_once('=')?;
    is_variable(name.trim()).then_some("the name of a variable before the key")
}

/// Whether a text before a `=` is the name of a variable. A key may contain `=` at its end.
fn is_variable(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_uppercase() || c == '_';
    let has_underscore = name.contains('_');
    (has_underscore || name.ends_with("KEY") || name.ends_with("TOKEN"))
        && !name.is_empty()
        && name.chars().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn keys(text: &str) -> Result<Vec<String>, KeyError> {
        let keys = KeySource::from_text(text).read()?;
        Ok(keys
            .as_slice()
            .iter()
            .map(|key| key.expose_secret().into())
            .collect())
    }

    #[test]
    fn duplicate_keys_are_dropped() {
        assert_eq!(
            keys("\u{feff}one\r\n\n two \none\n").expect("keys"),
            ["one", "two"]
        );
    }

    #[test]
    fn an_invalid_key_is_not_shown() {
        let error = keys("fine\nhunter 2\n")
            .expect_err("blank inside")
            .to_string();
        assert!(error.contains("OMNI_API_KEY: line 2"), "{error}");
        assert!(!error.contains("hunter"), "{error}");
        assert!(matches!(keys("\n"), Err(KeyError::Missing { .. })));
        assert!(!format!("{:?}", KeySource::from_text("hunter2")).contains("hunter2"));
    }

    #[test]
    fn quotes_and_names_around_a_key_are_errors() {
        for (text, extra) in [
            (
                "\"hunter2\"",
                "line 1 has quotes around the key; write only the key",
            ),
            ("one\n'hunter2'", "line 2 has quotes"),
            ("“hunter2”", "line 1 has quotes"),
            ("OMNI_API_KEY=hunter2", "line 1 has the name of a variable"),
            ("OMNI_KEY = hunter2", "line 1 has the name of a variable"),
            ("API_TOKEN='hunter2'", "line 1 has the name of a variable"),
            (
                "Bearer hunter2",
                "line 1 has the word \"Bearer\" before the key; write only the key",
            ),
            (
                "Authorization: Bearer hunter2",
                "line 1 has the name of a header",
            ),
            (
                "export OMNI_API_KEY=hunter2",
                "line 1 has the name of a variable",
            ),
        ] {
            let error = keys(text).expect_err(text).to_string();
            assert!(error.contains(extra), "{text}: {error}");
            assert!(!error.contains("hunter"), "{error}");
        }
        assert!(keys("a='b'").is_ok());
        assert!(keys("omni_osk_ABC==").is_ok());
        assert!(keys("bearer").is_ok());
    }

    fn failure(path: &Path) -> String {
        let source = KeySource {
            file: Some(path.into()),
            ..KeySource::default()
        };
        let error = source.read().expect_err("there is no such file");
        format!("{error} {error:?}")
    }

    #[test]
    fn a_possible_key_in_a_path_is_hidden() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let missing = folder.path().join("key");
        let display = missing.display().to_string();
        assert!(failure(&missing).contains(&display), "{display}");
        for pasted in ["hunter2", "/hunter2", "hun/ter2/", "./hunter2/x"] {
            let said = failure(Path::new(pasted));
            assert!(!said.contains("ter2"), "{said}");
            assert!(said.contains("omni.api_key_file"), "{said}");
        }
    }
}
