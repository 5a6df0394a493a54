//! The bytes of one file: read once, hashed on the way, and checked for completeness.

use super::decode;
use super::files::{Candidate, too_large, unreadable};
use super::text::Issue;
use crate::model::{Fingerprint, Problem};
use std::io::{self, Read};
use std::time::{SystemTime, UNIX_EPOCH};

/// The result of reading one file.
pub(super) struct FileReading<T> {
    /// The digest of its bytes, or of the error.
    pub(super) digest: blake3::Hash,
    pub(super) modified: SystemTime,
    pub(super) content: Result<T, FileError>,
    /// Whether the file did not change while it was read.
    pub(super) is_unchanged: bool,
}

/// The reason why a file is rejected.
pub(super) enum FileError {
    File(Issue),
    Content(Vec<Problem>),
}

/// Reads a file once. `parse` gets its bytes and its size. The bytes that it does not read are read
/// for the digest.
pub(super) fn read_file<T>(
    file: &Candidate,
    max_bytes: u64,
    parse: impl FnOnce(&mut (dyn Read + Send), u64) -> Result<T, Vec<Problem>>,
) -> FileReading<T> {
    let (opened, stat) = match file.open(max_bytes) {
        Ok(opened) => opened,
        Err(issue) => return FileReading::rejected(issue),
    };
    let BytesReading {
        digest,
        whole,
        parsed,
    } = read_bytes(opened, stat.size(), max_bytes, parse);
    let unchanged = file.check_unchanged(stat);
    FileReading {
        digest,
        modified: stat.modified(),
        is_unchanged: unchanged.is_ok(),
        content: whole.and(unchanged).map_err(FileError::File).and(parsed),
    }
}

/// The result of reading the bytes of one file.
struct BytesReading<T> {
    digest: blake3::Hash,
    /// Whether all bytes were read.
    whole: Result<(), Issue>,
    parsed: Result<T, FileError>,
}

fn read_bytes<T>(
    bytes: impl Read + Send,
    size: u64,
    max_bytes: u64,
    parse: impl FnOnce(&mut (dyn Read + Send), u64) -> Result<T, Vec<Problem>>,
) -> BytesReading<T> {
    let mut bytes = HashedBytes::new(bytes, max_bytes);
    let parsed = match bytes.peek() {
        Some(issue) => Err(FileError::File(issue)),
        None => parse(&mut bytes, size).map_err(FileError::Content),
    };
    BytesReading {
        whole: bytes.finish(),
        digest: bytes.hasher.finalize(),
        parsed,
    }
}

/// Reads a file that is in memory, as [`read_file`] reads one on disk.
pub(super) fn read_memory<T>(
    bytes: &[u8],
    max_bytes: u64,
    parse: impl FnOnce(&mut (dyn Read + Send), u64) -> Result<T, Vec<Problem>>,
) -> Result<T, FileError> {
    let read = read_bytes(bytes, bytes.len() as u64, max_bytes, parse);
    read.whole.map_err(FileError::File).and(read.parsed)
}

impl<T> FileReading<T> {
    fn rejected(issue: Issue) -> Self {
        Self {
            digest: blake3::hash(issue.message.as_bytes()),
            modified: UNIX_EPOCH,
            content: Err(FileError::File(issue)),
            is_unchanged: true,
        }
    }
}

/// Hashes the bytes that are read, and stops at the maximum size.
struct HashedBytes<R> {
    bytes: io::Take<R>,
    hasher: blake3::Hasher,
    /// The first bytes, which were already examined.
    first: io::Cursor<Vec<u8>>,
    failure: Option<Issue>,
    max_bytes: u64,
}

impl<R: Read> HashedBytes<R> {
    fn new(bytes: R, max_bytes: u64) -> Self {
        Self {
            bytes: bytes.take(max_bytes.saturating_add(1)),
            hasher: blake3::Hasher::new(),
            first: io::Cursor::default(),
            failure: None,
            max_bytes,
        }
    }

    /// Examines the first bytes, so that a file of another format is not parsed.
    fn peek(&mut self) -> Option<Issue> {
        let mut first = Vec::new();
        // An error is kept for `finish`.
        let _ = self.by_ref().take(decode::MAGIC).read_to_end(&mut first);
        let issue = decode::other_format(&first);
        self.first = io::Cursor::new(first);
        issue
    }

    /// Reads the rest, and checks that the whole file was read.
    fn finish(&mut self) -> Result<(), Issue> {
        if self.failure.is_none() {
            let _ = io::copy(self, &mut io::sink());
        }
        match self.failure.take() {
            Some(issue) => Err(issue),
            None if self.bytes.limit() == 0 => Err(too_large(self.max_bytes)),
            None => Ok(()),
        }
    }
}

impl<R: Read> Read for HashedBytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let examined = self.first.read(buffer)?;
        if examined > 0 {
            return Ok(examined);
        }
        let read = self.bytes.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure = Some(unreadable(error));
            }
        })?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Combines the digests of the files.
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

/// The fingerprint of the roster together with that of a file beside it; `None` if that file can't be found.
pub(super) fn both(roster: Fingerprint, beside: Option<Fingerprint>) -> Fingerprint {
    let beside = beside.map_or([0; 32], |beside| beside.0);
    Fingerprint(*blake3::hash(&[roster.0, beside].concat()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::files::find;
    use super::*;
    use crate::settings::{KeySource, RawSettings, Settings};
    use std::path::Path;

    /// Reads a file, and changes it meanwhile.
    fn read_while(change: impl FnOnce(&Path)) -> FileReading<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("users.csv");
        std::fs::write(&path, "email\na@x.co\n").expect("the file is writable");
        let all = Settings::check(RawSettings::default(), KeySource::default());
        let settings = all.expect("the defaults are valid").source;
        let found = find(&settings, &path).expect("a file");
        read_file(&found.files[0], 100, |_, _| {
            change(&path);
            Ok(())
        })
    }

    fn message<T>(reading: FileReading<T>) -> Option<String> {
        match reading.content {
            Err(FileError::File(issue)) => Some(issue.message),
            _ => None,
        }
    }

    #[test]
    fn a_file_that_changes_while_read_is_rejected() {
        let append = |path: &Path| {
            std::fs::write(path, "email\na@x.co\nb@x.co\n").expect("the folder is writable")
        };
        let replace = |path: &Path| {
            std::fs::write(path.with_extension("new"), "email\na@x.co\n")
                .expect("the folder is writable");
            std::fs::rename(path.with_extension("new"), path).expect("the folder is writable");
        };
        let grow =
            |path: &Path| std::fs::write(path, "x".repeat(200)).expect("the folder is writable");
        let remove = |path: &Path| std::fs::remove_file(path).expect("the folder is writable");
        assert!(read_while(|_| ()).is_unchanged);
        assert!(!read_while(append).is_unchanged);
        assert!(!read_while(replace).is_unchanged);
        let fails_with =
            |reading, text: &str| message(reading).is_some_and(|message| message.contains(text));
        assert!(fails_with(read_while(replace), "changed while it was read"));
        assert!(fails_with(read_while(grow), "larger than 100 B"));
        assert!(fails_with(read_while(remove), "vanished"));
    }
}
