//! What can go wrong with Omni, told apart by type: whom it concerns, and what may be tried again.

use crate::util::http::describe_failure;
use reqwest::StatusCode;
use std::fmt;

/// Why a request did not do what it was for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OmniError {
    /// 401, from every key.
    #[error(
        "Omni does not accept the API key (401): {detail}; look at omni.api_key_file or \
         OMNI_API_KEY, and at omni.base_url: a key belongs to one organisation"
    )]
    Unauthorized {
        /// What Omni said.
        detail: String,
    },
    /// 403 on a read, from every key: who is there can't be known.
    #[error(
        "Omni says that the key may not read this (403): {detail}; it takes an organisation API key \
         with rights on users"
    )]
    Forbidden {
        /// What Omni said.
        detail: String,
    },
    /// 403 on a write: this user may not be changed so.
    #[error(
        "Omni says that the key may not do this (403): {detail}; if it says so of every user, it \
         takes an organisation API key with rights on users"
    )]
    WriteForbidden {
        /// What Omni said.
        detail: String,
    },
    /// 404.
    #[error("Omni does not know this (404): {detail}")]
    NotFound {
        /// What Omni said.
        detail: String,
    },
    /// 409.
    #[error("Omni says that this exists already (409): {detail}")]
    Conflict {
        /// What Omni said.
        detail: String,
    },
    /// Another answer in the 400s.
    #[error("Omni refuses this ({status}): {detail}")]
    Refused {
        /// The answer's code.
        status: StatusCode,
        /// What Omni said.
        detail: String,
    },
    /// An answer in the 300s. None is followed: the key would go along.
    #[error(
        "Omni answered with a redirect ({status}), and none is followed, since the key would go \
         along; look at omni.base_url"
    )]
    Redirected {
        /// The answer's code.
        status: StatusCode,
    },
    /// A read that was tried often enough.
    #[error("Omni can't be reached: {failure} (tried {attempts} times)")]
    Unavailable {
        /// How often it was tried.
        attempts: u32,
        /// What happened last.
        failure: Failure,
    },
    /// A write whose outcome is unknown: it may have been done or not. Look before sending it again.
    #[error("the answer was lost: {0}")]
    OutcomeUnknown(Failure),
    /// So many failures in a row that nothing more is sent in this run.
    #[error("Omni can't be reached: {in_a_row} failures in a row, the last: {failure}")]
    CircuitOpen {
        /// How many.
        in_a_row: u32,
        /// What happened last.
        failure: Failure,
    },
    /// 429, again and again.
    #[error(
        "Omni keeps answering that there are too many requests (429), though this program stays \
         below omni.requests_per_minute: something else uses the same key; give this one a key of \
         its own, or lower the setting"
    )]
    Throttled,
    /// Every key was set aside.
    #[error("no API key is left that Omni accepts")]
    NoKeyLeft,
    /// Told to stop while waiting for a turn: nothing was sent.
    #[error("stopped before it was sent")]
    Stopped,
    /// The HTTP client can't be made.
    #[error("{0}")]
    Setup(String),
    /// The settings ask for a way of updating that this key does not allow. Nothing was sent.
    #[error(
        "omni.update_method = \"put\" takes Omni's attribute definitions, which this key may not \
         read: without them system attributes can't be told apart; use \"patch\", or a key that may \
         read them"
    )]
    PutWithoutDefinitions,
    /// A look-up by email showed what can't be relied on: see [`Found::UnreliableLookup`](super::Found).
    #[error(
        "Omni's look-up by email can't be relied on here, so who has this email is not known; the \
         next run lists everybody"
    )]
    UnreliableLookup,
    /// A listing that is longer than any organisation's that this is made for, or without end.
    #[error(
        "Omni's list of users does not end within what can be read (2000000 users): after {users} on {pages} \
         pages there are still more, of {total} in all; look at omni.base_url"
    )]
    ListTooLong {
        /// Users whom Omni says there are.
        total: u64,
        /// Pages that were read.
        pages: u64,
        /// Users who stood on them.
        users: u64,
    },
    /// Two or more users answer to one email.
    #[error("{count} users in Omni answer to this email; none of them is touched")]
    Ambiguous {
        /// How many.
        count: usize,
    },
}

impl OmniError {
    /// Whether it concerns the whole run, not one user: nothing more is to be sent.
    #[must_use]
    pub fn ends_run(&self) -> bool {
        match self {
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::CircuitOpen { .. }
            | Self::Throttled
            | Self::NoKeyLeft
            | Self::Stopped
            | Self::Setup(_)
            | Self::PutWithoutDefinitions
            | Self::ListTooLong { .. }
            | Self::Redirected { .. } => true,
            Self::WriteForbidden { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Refused { .. }
            | Self::Unavailable { .. }
            | Self::OutcomeUnknown(_)
            | Self::UnreliableLookup
            | Self::Ambiguous { .. } => false,
        }
    }
}

impl OmniError {
    /// Whether Omni itself said no to this one change, so that it will again.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::WriteForbidden { .. }
                | Self::NotFound { .. }
                | Self::Conflict { .. }
                | Self::Refused { .. }
                | Self::Ambiguous { .. }
        )
    }

    /// The same without what Omni said of it, which may repeat attribute values: for the log. Each
    /// kind is named, so that a new one can't be forgotten.
    #[must_use]
    pub fn without_detail(&self) -> String {
        match self {
            Self::Unauthorized { detail: _ } => "Omni does not accept the API key (401)".into(),
            Self::Forbidden { detail: _ } => {
                "Omni says that the key may not read this (403)".into()
            }
            Self::WriteForbidden { detail: _ } => {
                "Omni says that the key may not do this (403)".into()
            }
            Self::NotFound { detail: _ } => "Omni does not know this (404)".into(),
            Self::Conflict { detail: _ } => "Omni says that this exists already (409)".into(),
            Self::Refused { status, detail: _ } => format!("Omni refuses this ({status})"),
            Self::Unavailable { attempts, failure } => format!(
                "Omni can't be reached: {} (tried {attempts} times)",
                failure.without_detail()
            ),
            Self::OutcomeUnknown(failure) => {
                format!("the answer was lost: {}", failure.without_detail())
            }
            Self::CircuitOpen { in_a_row, failure } => format!(
                "Omni can't be reached: {in_a_row} failures in a row, the last: {}",
                failure.without_detail()
            ),
            // These are told in words of our own.
            Self::Redirected { status: _ }
            | Self::Throttled
            | Self::NoKeyLeft
            | Self::Stopped
            | Self::Setup(_)
            | Self::PutWithoutDefinitions
            | Self::UnreliableLookup
            | Self::ListTooLong { .. }
            | Self::Ambiguous { count: _ } => self.to_string(),
        }
    }
}

/// One attempt that got no answer that can be read. Says nothing about whether it was done.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The connection could not be made, or broke.
    Connection(String),
    /// No answer in time.
    TimedOut,
    /// An answer in the 500s.
    Status(StatusCode, String),
    /// A 2xx whose body is not what it should be.
    Unreadable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(what) => f.write_str(what),
            Self::TimedOut => f.write_str("no answer in time (omni.timeout)"),
            Self::Status(status, detail) => write!(f, "it answered {status}: {detail}"),
            Self::Unreadable(what) => f.write_str(what),
        }
    }
}

impl Failure {
    /// The same without what the answer said, which may repeat attribute values.
    #[must_use]
    pub fn without_detail(&self) -> String {
        match self {
            // The first is what the network or TLS says, never what was in an answer.
            Self::Connection(_) | Self::TimedOut => self.to_string(),
            Self::Status(status, _) => format!("it answered {status}"),
            Self::Unreadable(_) => "its answer can't be read".into(),
        }
    }

    /// Tells what a broken exchange was, without its address (which may be long) and with the
    /// innermost reason, which is the one that helps.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        Self::Connection(describe_failure(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_its_detail_an_error_holds_nothing_that_omni_said() {
        let said = || "department 'Sales'".to_owned();
        let (status, attempts, in_a_row) = (StatusCode::IM_A_TEAPOT, 6, 20);
        let failures = || [Failure::Status(status, said()), Failure::Unreadable(said())];
        let mut errors = vec![
            OmniError::Unauthorized { detail: said() },
            OmniError::Forbidden { detail: said() },
            OmniError::WriteForbidden { detail: said() },
            OmniError::NotFound { detail: said() },
            OmniError::Conflict { detail: said() },
            OmniError::Refused {
                status,
                detail: said(),
            },
        ];
        errors.extend(failures().map(OmniError::OutcomeUnknown));
        errors.extend(failures().map(|failure| OmniError::Unavailable { attempts, failure }));
        errors.extend(failures().map(|failure| OmniError::CircuitOpen { in_a_row, failure }));
        for error in errors {
            assert!(error.to_string().contains("Sales"), "{error}");
            let logged = error.without_detail();
            assert!(!logged.contains("Sales") && !logged.is_empty(), "{logged}");
        }
    }
}
