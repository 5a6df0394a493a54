//! Secrets and personal data, as words that occur nowhere else.

use std::path::Path;

/// An API key, with what addresses and JSON escape: each of its halves is looked for.
pub(crate) const KEY: &str = "omni-keycanary1/+keycanary2==";
/// The admin token.
pub(crate) const TOKEN: &str = "tokencanary1/+tokencanary2";
/// The last part of the webhook's address.
pub(crate) const HOOK: &str = "hookcanary1%2Fhookcanary2";
/// What every secret holds.
pub(crate) const SECRETS: [&str; 3] = ["keycanary", "tokencanary", "hookcanary"];

/// What every attribute value holds.
pub(crate) const VALUE: &str = "valuecanary";
/// What every display name holds: a value too.
pub(crate) const NAME: &str = "namecanary";
/// What every email holds.
pub(crate) const EMAIL: &str = "emailcanary";

/// Captured output or a file, with its name.
pub(crate) struct Captured {
    location: String,
    bytes: Vec<u8>,
}

impl Captured {
    pub(crate) fn new(location: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let (location, bytes) = (location.into(), bytes.into());
        Self { location, bytes }
    }

    /// Every file below a folder.
    pub(crate) fn files(folder: &Path) -> Vec<Self> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.extend(Self::files(&path));
            } else {
                // A daemon may take one away meanwhile.
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.push(Self::new(path.display().to_string(), bytes));
            }
        }
        found
    }

    pub(crate) fn is_at(&self, location: &str) -> bool {
        self.location == location
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        let text = String::from_utf8_lossy(&self.bytes).to_lowercase();
        text.contains(word)
    }

    /// Panics if one of the words is in it.
    pub(crate) fn assert_without(&self, words: &[&str]) {
        for word in words {
            let text = String::from_utf8_lossy(&self.bytes);
            let Some(at) = text.to_lowercase().find(word) else {
                continue;
            };
            let around = text.get(at.saturating_sub(300)..).unwrap_or(&text);
            let around: String = around.chars().take(600).collect();
            panic!("{} contains {word}: …{around}…", self.location);
        }
    }
}
