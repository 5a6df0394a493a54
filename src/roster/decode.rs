//! Bytes → text: validated UTF-8, as a stream in bounded memory.
//!
//! Nothing is replaced or guessed: bytes that are not text in the expected encoding are an error.

use super::files::unreadable;
use super::text::Issue;
use crate::model::ProblemKind;
use crate::settings::Encoding;
use encoding_rs::{DecoderResult, UTF_8, WINDOWS_1252};
use std::io::{self, Read};
use std::ops::Range;

const BUFFER: usize = 64 * 1024;

/// The reason why the text ends early.
#[derive(Debug)]
pub(super) enum DecodeError {
    Read(io::Error),
    Invalid(Undecodable),
}

impl DecodeError {
    pub(super) fn issue(&self) -> Issue {
        match self {
            Self::Read(error) => unreadable(error),
            Self::Invalid(invalid) => invalid.issue(),
        }
    }
}

/// The reason why bytes are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    Utf8,
    Utf16,
    Windows1252,
    Nul,
}

impl Undecodable {
    fn issue(self) -> Issue {
        let message = match self {
            Self::Utf8 => "not valid UTF-8",
            Self::Utf16 => "not valid UTF-16, although the file has a UTF-16 byte order mark",
            Self::Windows1252 => "contains a byte that is not defined in windows-1252",
            Self::Nul => {
                "contains a NUL byte: this is a binary file, or UTF-16 without a byte order mark"
            }
        };
        let remedy = match self {
            Self::Utf8 => {
                "save the file as 'CSV UTF-8', or set source.encoding = \"windows-1252\" if an older \
                 spreadsheet program saved it"
            }
            Self::Windows1252 => "save the file as 'CSV UTF-8' and set source.encoding = \"auto\"",
            Self::Utf16 | Self::Nul => "save the file as 'CSV UTF-8'",
        };
        Issue::new(message, remedy).kind(ProblemKind::Encoding)
    }
}

/// The number of bytes by which [`other_format`] recognises a file.
pub(super) const MAGIC: u64 = 64;

const SAVE_AS_CSV: &str = "open it in a spreadsheet program and save the sheet as 'CSV UTF-8'; renaming the \
                           file is not enough";
const UNPACK: &str = "decompress it first; compressed files are not read";
const EXPORT_AGAIN: &str = "open it in a text editor: it may be an error or login page of the system that \
                            exports the file; correct that and export again";

/// Recognises workbooks and other files that are not CSV by their first bytes, whatever their name.
pub(super) fn other_format(first: &[u8]) -> Option<Issue> {
    let bytes = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    let text = bytes.trim_ascii_start().to_ascii_lowercase();
    let starts_with = |marks: &[&[u8]]| marks.iter().any(|mark| first.starts_with(mark));
    let says = |marks: &[&str]| marks.iter().any(|mark| text.starts_with(mark.as_bytes()));
    let (format, remedy) = if starts_with(&[b"PK\x03\x04"]) {
        ("a workbook (.xlsx, .ods) or a zip archive", SAVE_AS_CSV)
    } else if starts_with(&[&[0xd0, 0xcf, 0x11, 0xe0]]) {
        (
            "an Excel workbook (.xls, or one with a password)",
            SAVE_AS_CSV,
        )
    } else if says(&["<?xml", "<table"]) {
        (
            "a web page or XML, which some programs save as .xls",
            SAVE_AS_CSV,
        )
    } else if says(&["<"]) {
        ("a web page", EXPORT_AGAIN)
    } else if says(&["{", "[{", "[]", "[\n", "[\r", "[ "]) {
        ("JSON", EXPORT_AGAIN)
    } else if starts_with(&[b"%PDF"]) {
        ("a PDF", SAVE_AS_CSV)
    } else if starts_with(&[
        b"\x1f\x8b",
        b"BZh",
        b"\xfd7zXZ",
        b"\x28\xb5\x2f\xfd",
        b"7z\xbc\xaf",
    ]) {
        ("a compressed file (gzip or similar)", UNPACK)
    } else {
        return None;
    };
    let message = format!("this is {format}, not a CSV file");
    Some(Issue::new(message, remedy).kind(ProblemKind::Workbook))
}

/// Decodes bytes to text. All text before an error is returned before the error.
pub(super) struct Decoder<R> {
    bytes: R,
    decoder: encoding_rs::Decoder,
    buffer: Box<[u8]>,
    /// The part of the buffer that is not decoded yet.
    pending: Range<usize>,
    /// Whether all bytes are read.
    at_end: bool,
    /// How the text ends, once it is known.
    end: Option<Result<(), Undecodable>>,
}

impl<R: Read> Decoder<R> {
    /// A byte order mark takes precedence over the setting, since it is part of the file.
    pub(super) fn new(bytes: R, encoding: Encoding) -> Self {
        let default = match encoding {
            Encoding::Auto => UTF_8,
            Encoding::Windows1252 => WINDOWS_1252,
        };
        Self {
            bytes,
            decoder: default.new_decoder(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            pending: 0..0,
            at_end: false,
            end: None,
        }
    }

    /// Reads the next part of the text, whole characters only; 0 bytes at its end. `text` must have
    /// room for a few characters.
    pub(super) fn read(&mut self, text: &mut [u8]) -> Result<usize, DecodeError> {
        loop {
            if let Some(end) = self.end {
                return end.map(|()| 0).map_err(DecodeError::Invalid);
            }
            if self.pending.is_empty() && !self.at_end {
                let read = read_some(&mut self.bytes, &mut self.buffer);
                self.pending = 0..read.map_err(DecodeError::Read)?;
                self.at_end = self.pending.is_empty();
            }
            let written = self.decode(text);
            if written > 0 {
                return Ok(written);
            }
        }
    }

    /// Decodes what is pending, and returns the number of bytes written.
    fn decode(&mut self, text: &mut [u8]) -> usize {
        let bytes = &self.buffer[self.pending.clone()];
        let (result, read, written) =
            self.decoder
                .decode_to_utf8_without_replacement(bytes, text, self.at_end);
        self.pending.start += read;
        self.end = match result {
            DecoderResult::InputEmpty if self.at_end => Some(Ok(())),
            DecoderResult::InputEmpty | DecoderResult::OutputFull => None,
            DecoderResult::Malformed(..) => Some(Err(self.malformed())),
        };
        if let Some((at, invalid)) = self.find_control(&text[..written]) {
            self.end = Some(Err(invalid));
            return at;
        }
        written
    }

    fn malformed(&self) -> Undecodable {
        if self.decoder.encoding() == UTF_8 {
            Undecodable::Utf8
        } else {
            Undecodable::Utf16
        }
    }

    /// Finds the first character that can be decoded and is not text.
    fn find_control(&self, text: &[u8]) -> Option<(usize, Undecodable)> {
        if let Some(at) = memchr::memchr(0, text) {
            return Some((at, Undecodable::Nul));
        }
        if self.decoder.encoding() != WINDOWS_1252 {
            return None;
        }
        // The five bytes that windows-1252 does not define decode to the control characters with the
        // same numbers.
        let is_undefined = |pair: &[u8]| matches!(pair, [0xc2, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d]);
        let at = text.windows(2).position(is_undefined)?;
        Some((at, Undecodable::Windows1252))
    }
}

fn read_some(bytes: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match bytes.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads bytes in pieces of `.1`, so that characters are split.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let taken = self.0.len().min(self.1).min(buffer.len());
            buffer[..taken].copy_from_slice(&self.0[..taken]);
            self.0 = &self.0[taken..];
            Ok(taken)
        }
    }

    fn decode(bytes: &[u8], encoding: Encoding, step: usize) -> (String, Option<Undecodable>) {
        let mut decoder = Decoder::new(Pieces(bytes, step), encoding);
        let (mut text, mut buffer) = (Vec::new(), [0; 16]);
        let invalid = loop {
            match decoder.read(&mut buffer) {
                Ok(0) => break None,
                Ok(read) => text.extend_from_slice(&buffer[..read]),
                Err(DecodeError::Invalid(invalid)) => break Some(invalid),
                Err(DecodeError::Read(error)) => panic!("{error}"),
            }
        };
        (String::from_utf8(text).expect("UTF-8"), invalid)
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff)
            .chain(text.encode_utf16())
            .flat_map(bytes)
            .collect()
    }

    #[test]
    fn text_before_a_decoding_error_is_returned() {
        use Encoding::{Auto, Windows1252};
        let cases: [(&[u8], Encoding, &str, Option<Undecodable>); 9] = [
            (b"", Auto, "", None),
            (b"\xef\xbb\xbf", Auto, "", None),
            (b"a\n\xe9b", Auto, "a\n", Some(Undecodable::Utf8)),
            (b"a\xe2\x82", Auto, "a", Some(Undecodable::Utf8)),
            (b"a\0b", Auto, "a", Some(Undecodable::Nul)),
            (b"\xff\xfea\0\0\xd8", Auto, "a", Some(Undecodable::Utf16)),
            (b"\xe9\x80", Windows1252, "é€", None),
            (b"\xef\xbb\xbf\xc3\xa9", Windows1252, "é", None),
            (b"a\x81", Windows1252, "a", Some(Undecodable::Windows1252)),
        ];
        for (bytes, encoding, text, invalid) in cases {
            for step in [1, 2, 3, BUFFER] {
                assert_eq!(
                    decode(bytes, encoding, step),
                    (text.into(), invalid),
                    "{bytes:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn byte_order_marks_do_not_change_the_text(text in "[a-zé€😀,\"\r\n]{0,200}", step in 1usize..9) {
            let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
            for bytes in [
                text.as_bytes().to_vec(),
                marked,
                utf16(&text, u16::to_le_bytes),
                utf16(&text, u16::to_be_bytes),
            ] {
                prop_assert_eq!(decode(&bytes, Encoding::Auto, step), (text.clone(), None));
            }
        }
    }
}
