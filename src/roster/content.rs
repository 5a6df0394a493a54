//! The bytes of a file: read once, hashed on the way, and known to be whole.

use super::csv::unreadable;
use super::decode;
use super::source::{Candidate, too_large};
use super::words::Issue;
use crate::model::{Fingerprint, Problem};
use std::fs::File;
use std::io::{self, Read};
use std::time::{SystemTime, UNIX_EPOCH};

/// What became of reading one file.
pub(super) struct FileReading<T> {
    /// What its bytes are; where it could not be read, why.
    pub(super) digest: blake3::Hash,
    pub(super) modified: SystemTime,
    pub(super) content: Result<T, Issues>,
    /// It stood still meanwhile.
    pub(super) still: bool,
}

/// What is wrong with a file: in itself, or in its content.
pub(super) enum Issues {
    File(Issue),
    Content(Vec<Problem>),
}

/// Reads a file once: `parse` gets its bytes and how many there should be, and whatever it leaves is read
/// for the digest.
pub(super) fn read_file<T>(
    file: &Candidate,
    max_bytes: u64,
    parse: impl FnOnce(&mut dyn Read, u64) -> Result<T, Vec<Problem>>,
) -> FileReading<T> {
    let (opened, stat) = match file.open(max_bytes) {
        Ok(opened) => opened,
        Err(flaw) => return FileReading::refused(flaw),
    };
    let mut bytes = Hashed::new(opened, max_bytes);
    let parsed = match bytes.peek() {
        Some(flaw) => Err(Issues::File(flaw)),
        None => parse(&mut bytes, stat.size()).map_err(Issues::Content),
    };
    let whole = bytes.finish();
    let unchanged = file.check_unchanged(stat);
    FileReading {
        digest: bytes.hasher.finalize(),
        modified: stat.modified(),
        still: unchanged.is_ok(),
        content: whole.and(unchanged).map_err(Issues::File).and(parsed),
    }
}

impl<T> FileReading<T> {
    fn refused(flaw: Issue) -> Self {
        Self {
            digest: blake3::hash(flaw.what.as_bytes()),
            modified: UNIX_EPOCH,
            content: Err(Issues::File(flaw)),
            still: true,
        }
    }
}

/// Hashes what is read, and reads no more than a file may have.
struct Hashed {
    file: io::Take<File>,
    hasher: blake3::Hasher,
    /// The first bytes, which were looked at.
    first: io::Cursor<Vec<u8>>,
    failure: Option<Issue>,
    max_bytes: u64,
}

impl Hashed {
    fn new(file: File, max_bytes: u64) -> Self {
        Self {
            file: file.take(max_bytes.saturating_add(1)),
            hasher: blake3::Hasher::new(),
            first: io::Cursor::default(),
            failure: None,
            max_bytes,
        }
    }

    /// Looks at the first bytes: a workbook is none of the parser's business.
    fn peek(&mut self) -> Option<Issue> {
        let mut first = Vec::new();
        // A failure is kept, and met again by `finish`.
        let _ = self.by_ref().take(8).read_to_end(&mut first);
        let flaw = decode::workbook(&first);
        self.first = io::Cursor::new(first);
        flaw
    }

    /// Reads what is left; says whether all of the file was read.
    fn finish(&mut self) -> Result<(), Issue> {
        if self.failure.is_none() {
            let _ = io::copy(self, &mut io::sink());
        }
        match self.failure.take() {
            Some(flaw) => Err(flaw),
            None if self.file.limit() == 0 => Err(too_large(self.max_bytes)),
            None => Ok(()),
        }
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let known = self.first.read(buffer)?;
        if known > 0 {
            return Ok(known);
        }
        let read = self.file.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure = Some(unreadable(error));
            }
        })?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Brings the files' digests together.
#[derive(Default)]
pub(super) struct Fingerprinter(blake3::Hasher);

impl Fingerprinter {
    pub(super) fn add(&mut self, file: &Candidate, digest: blake3::Hash) {
        let name = file.file_name.as_encoded_bytes();
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name);
        self.0.update(digest.as_bytes());
    }

    pub(super) fn finish(self) -> Fingerprint {
        Fingerprint(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::find;
    use super::*;
    use crate::settings::{KeySource, RawSettings, Settings};
    use std::path::Path;

    /// Reads a file, and does something to it meanwhile.
    fn read_while(meddle: impl FnOnce(&Path)) -> FileReading<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("users.csv");
        std::fs::write(&path, "email\na@x.co\n").expect("a file of ours");
        let all = Settings::check(RawSettings::default(), KeySource::default());
        let settings = all.expect("the defaults are valid").source;
        let found = find(&settings, &path).expect("a file");
        read_file(&found.files[0], 100, |_, _| {
            meddle(&path);
            Ok(())
        })
    }

    fn what<T>(reading: FileReading<T>) -> Option<String> {
        match reading.content {
            Err(Issues::File(flaw)) => Some(flaw.what),
            _ => None,
        }
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_not_taken() {
        let append = |path: &Path| std::fs::write(path, "email\na@x.co\nb@x.co\n").expect("ours");
        let replace = |path: &Path| {
            std::fs::write(path.with_extension("new"), "email\na@x.co\n").expect("ours");
            std::fs::rename(path.with_extension("new"), path).expect("ours");
        };
        let grow = |path: &Path| std::fs::write(path, "x".repeat(200)).expect("ours");
        let remove = |path: &Path| std::fs::remove_file(path).expect("ours");
        assert!(read_while(|_| ()).still);
        assert!(!read_while(append).still);
        assert!(!read_while(replace).still);
        let says = |reading, text: &str| what(reading).is_some_and(|what| what.contains(text));
        assert!(says(read_while(replace), "changed while it was read"));
        assert!(says(read_while(grow), "larger than 100 B"));
        assert!(says(read_while(remove), "vanished"));
    }
}
