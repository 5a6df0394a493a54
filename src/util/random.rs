//! Random bytes for secrets.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Bytes of the operating system that can't be guessed.
///
/// # Panics
/// If the operating system has none, which no program can go on from.
#[must_use]
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(error) => panic!("getrandom failed: {error}"),
        }
    }
    bytes
}
