//! Checks that several fuzz targets share.

use crate::model::is_control_or_bidi;

/// A value that must not appear in a log.
pub(crate) const SECRET: &str = "s3cret";

/// Checks that a text can be shown on a terminal as one line.
pub(crate) fn assert_harmless(text: &str) {
    assert!(!text.contains(is_control_or_bidi), "{text:?}");
}
