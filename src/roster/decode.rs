//! Bytes → text: checked UTF-8, as a stream in bounded memory. Nothing is replaced or guessed: what
//! is no text in the expected encoding is an error.

use super::words::Issue;
use crate::model::ProblemKind;
use crate::settings::Encoding;
use encoding_rs::{DecoderResult, UTF_8, WINDOWS_1252};
use std::fmt;
use std::io::{self, Read};

const BUFFER: usize = 64 * 1024;

/// Why bytes are no text. [`super::lines::Lines`] adds the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    Utf8,
    Utf16,
    Windows1252,
    Nul,
}

impl Undecodable {
    pub(super) fn flaw(self) -> Issue {
        let what = match self {
            Self::Utf8 => "here are bytes that are not UTF-8 text",
            Self::Utf16 => {
                "here are bytes that are not UTF-16 text, though the file begins as such"
            }
            Self::Windows1252 => "here are bytes that do not exist in windows-1252",
            Self::Nul => "here is a NUL byte, so this is no text file, or UTF-16 without its mark",
        };
        let remedy = match self {
            Self::Utf8 => {
                "save it as 'CSV UTF-8', or, if an older spreadsheet saved it, set \
                 source.encoding = \"windows-1252\""
            }
            Self::Windows1252 => "save it as 'CSV UTF-8' and set source.encoding = \"auto\"",
            Self::Utf16 | Self::Nul => "save it as 'CSV UTF-8'",
        };
        Issue::new(what, remedy).kind(ProblemKind::Encoding)
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.flaw().what)
    }
}

impl std::error::Error for Undecodable {}

impl From<Undecodable> for io::Error {
    fn from(flaw: Undecodable) -> Self {
        Self::new(io::ErrorKind::InvalidData, flaw)
    }
}

/// Recognises what is no CSV by its first bytes, whatever its name says.
pub(super) fn workbook(first: &[u8]) -> Option<Issue> {
    let begins = |marks: &[&[u8]]| marks.iter().any(|mark| first.starts_with(mark));
    let kind = if begins(&[b"PK\x03\x04"]) {
        "a workbook (.xlsx, .ods) or a zip archive"
    } else if begins(&[&[0xd0, 0xcf, 0x11, 0xe0]]) {
        "an Excel workbook (.xls, or one with a password)"
    } else if begins(&[b"<?xml", b"<html", b"<!DOCT", b"<table"]) {
        "a web page or XML, which some programs call .xls"
    } else if begins(&[b"%PDF"]) {
        "a PDF"
    } else {
        return None;
    };
    Some(Issue::new(
        format!("this is {kind}, whatever its name says"),
        "open it in the spreadsheet and save the sheet as 'CSV UTF-8'; renaming the file is not enough",
    )
    .kind(ProblemKind::Workbook))
}

/// A reader of the text that bytes stand for. An error comes after all the text before it.
pub(super) struct Decoder<R> {
    bytes: R,
    decoder: encoding_rs::Decoder,
    raw: Window,
    text: Window,
    /// All bytes are read.
    last: bool,
    end: Option<End>,
}

/// How the text ends, once that is known.
#[derive(Clone, Copy)]
enum End {
    Whole,
    Broken(Undecodable),
}

/// A buffer and the part of it that is still to be used.
struct Window {
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
}

impl Window {
    fn new() -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self {
            buffer,
            at: 0,
            end: 0,
        }
    }

    fn unused(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    fn set(&mut self, end: usize) {
        (self.at, self.end) = (0, end);
    }
}

impl<R: Read> Decoder<R> {
    /// A byte order mark wins over the setting: it is in the file itself.
    pub(super) fn new(bytes: R, encoding: Encoding) -> Self {
        let fallback = match encoding {
            Encoding::Auto => UTF_8,
            Encoding::Windows1252 => WINDOWS_1252,
        };
        Self {
            bytes,
            decoder: fallback.new_decoder(),
            raw: Window::new(),
            text: Window::new(),
            last: false,
            end: None,
        }
    }

    /// Decodes the next piece. Afterwards there is text, or `end` is set.
    fn refill(&mut self) -> io::Result<()> {
        while self.text.unused().is_empty() && self.end.is_none() {
            if self.raw.unused().is_empty() && !self.last {
                let read = read_some(&mut self.bytes, &mut self.raw.buffer)?;
                self.raw.set(read);
                self.last = read == 0;
            }
            self.decode();
        }
        Ok(())
    }

    fn decode(&mut self) {
        let raw = &self.raw.buffer[self.raw.at..self.raw.end];
        let (result, read, written) =
            self.decoder
                .decode_to_utf8_without_replacement(raw, &mut self.text.buffer, self.last);
        self.raw.at += read;
        self.text.set(written);
        self.end = match result {
            DecoderResult::InputEmpty if self.last => Some(End::Whole),
            DecoderResult::InputEmpty | DecoderResult::OutputFull => None,
            DecoderResult::Malformed(..) => Some(End::Broken(self.malformed())),
        };
        if let Some((at, flaw)) = self.no_text() {
            self.text.set(at);
            self.end = Some(End::Broken(flaw));
        }
    }

    fn malformed(&self) -> Undecodable {
        if self.decoder.encoding() == UTF_8 {
            Undecodable::Utf8
        } else {
            Undecodable::Utf16
        }
    }

    /// The first thing that decoded and is no text all the same.
    fn no_text(&self) -> Option<(usize, Undecodable)> {
        let text = self.text.unused();
        if let Some(at) = memchr::memchr(0, text) {
            return Some((at, Undecodable::Nul));
        }
        if self.decoder.encoding() != WINDOWS_1252 {
            return None;
        }
        // The five bytes that windows-1252 leaves open decode to the control characters of the
        // same number.
        let open = |pair: &[u8]| matches!(pair, [0xc2, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d]);
        let at = text.windows(2).position(open)?;
        Some((at, Undecodable::Windows1252))
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.refill()?;
        let text = self.text.unused();
        if text.is_empty()
            && let Some(End::Broken(flaw)) = self.end
        {
            return Err(flaw.into());
        }
        let taken = text.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&text[..taken]);
        self.text.at += taken;
        Ok(taken)
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

    /// Gives bytes in pieces of `step`, so that characters are cut in two.
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
        let mut text = Vec::new();
        let result = Decoder::new(Pieces(bytes, step), encoding).read_to_end(&mut text);
        let flaw = result.err().map(|error| error.downcast().expect("ours"));
        (String::from_utf8(text).expect("UTF-8"), flaw)
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff)
            .chain(text.encode_utf16())
            .flat_map(bytes)
            .collect()
    }

    #[test]
    fn says_what_is_no_text_after_all_text_before_it() {
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
        for (bytes, encoding, text, flaw) in cases {
            for step in [1, 2, 3, BUFFER] {
                assert_eq!(
                    decode(bytes, encoding, step),
                    (text.into(), flaw),
                    "{bytes:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn every_mark_leads_to_the_same_text(text in "[a-zé€😀,\"\r\n]{0,200}", step in 1usize..9) {
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
