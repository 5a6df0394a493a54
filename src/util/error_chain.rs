//! Errors with their sources.

use std::error::Error;

/// The error and its sources on one line: `can't read x.csv: permission denied`.
#[must_use]
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    let texts: Vec<_> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

/// The last source, which usually names the cause; the error itself if it has no source.
#[must_use]
pub(crate) fn root_cause<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
