//! What a probe sent, for its report: no names, ids or values.

use crate::omni::OmniError;
use serde::{Serialize, Serializer};
use std::fmt;

/// One request or finding.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The request.
    pub request: &'static str,
    /// The answer.
    pub answer: Answer,
}

/// An answer, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A write was accepted.
    Accepted,
    /// A write was refused with this status.
    Refused(u16),
    /// No answer, or one that can't be read.
    Lost,
    /// What a read shows.
    Shows(&'static str),
    /// Not sent: too few requests were left.
    Skipped,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused(status) => write!(f, "refused with {status}"),
            Self::Lost => f.write_str("no usable answer"),
            Self::Shows(what) => write!(f, "shows {what}"),
            Self::Skipped => f.write_str("not sent: too few requests left"),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Answer {
    /// A read that shows the value that was set, or does not.
    pub(super) fn attribute(shown: bool) -> Self {
        Self::Shows(match shown {
            true => "the value",
            false => "not the value",
        })
    }

    /// A read that shows the user in the group, or does not.
    pub(super) fn membership(shown: bool) -> Self {
        Self::Shows(match shown {
            true => "the membership",
            false => "no membership",
        })
    }
}

/// The steps in order.
#[derive(Debug, Default, Serialize)]
pub struct Steps(Vec<Step>);

impl Steps {
    pub(super) fn add(&mut self, request: &'static str, answer: Answer) {
        self.0.push(Step { request, answer });
    }

    /// Adds a write, and returns its answer.
    ///
    /// # Errors
    /// Errors that concern more than this request.
    pub(super) fn wrote<T>(
        &mut self,
        request: &'static str,
        result: Result<T, OmniError>,
    ) -> Result<Answer, OmniError> {
        let answer = match result {
            Ok(_) => Answer::Accepted,
            Err(OmniError::OutcomeUnknown(_)) => Answer::Lost,
            Err(error) => match status(&error) {
                Some(status) => Answer::Refused(status),
                None => return Err(error),
            },
        };
        self.add(request, answer.clone());
        Ok(answer)
    }

    /// Whether nothing was tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }
}

/// The status of a write that Omni refused.
fn status(error: &OmniError) -> Option<u16> {
    match error {
        OmniError::WriteForbidden { .. } => Some(403),
        OmniError::NotFound { .. } => Some(404),
        OmniError::Conflict { .. } => Some(409),
        OmniError::Rejected { status, .. } => Some(status.as_u16()),
        _ => None,
    }
}
