//! The errors of Omni, by type: what they concern, and what may be retried.

use crate::util::http::describe_failure;
use reqwest::StatusCode;
use std::fmt;

/// Why a request did not succeed. A `detail` is what Omni said, and may be empty.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields of the variants are named")]
pub enum OmniError {
    /// 401, from every key.
    #[error(
        "Omni rejected the API key (401){}; check omni.api_key_file or OMNI_API_KEY, and \
         omni.base_url: a key is valid for one organisation only",
        Suffix(detail)
    )]
    Unauthorized { detail: String },
    /// 403 on a read, from every key: the users are unknown.
    #[error("Omni rejected the API key (403){}; {cause}", Suffix(detail))]
    Forbidden {
        detail: String,
        cause: ForbiddenCause,
    },
    /// 400 on a read that is the same for every key and organisation.
    #[error(
        "Omni rejected a request as malformed (400){}; check that the API key is whole and has no quotes or other \
         characters around it, and omni.base_url",
        Suffix(detail)
    )]
    Malformed { detail: String },
    /// 404 on the list of users.
    #[error(
        "no users API at this address (404){}; check that omni.base_url is the organisation's address, \
         https://<organisation>.omniapp.co",
        Suffix(detail)
    )]
    WrongAddress { detail: String },
    /// 403 on a write: this change of this user is not permitted.
    #[error(
        "the API key has no permission for this change (403){}; if this happens for every user, use \
         an organisation API key with permission to manage users",
        Suffix(detail)
    )]
    WriteForbidden { detail: String },
    /// 404.
    #[error("not found in Omni (404){}", Suffix(detail))]
    NotFound { detail: String },
    /// 409.
    #[error("already exists in Omni (409){}", Suffix(detail))]
    Conflict { detail: String },
    /// Another status in the 400s.
    #[error("Omni rejected the request ({status}){}", Suffix(detail))]
    Rejected { status: StatusCode, detail: String },
    /// A status in the 300s. Redirects are not followed, since the key would be sent along.
    #[error(
        "Omni responded with a redirect ({status}); redirects are not followed, since the key would \
         be sent along; check omni.base_url"
    )]
    Redirected { status: StatusCode },
    /// A read that failed in every attempt.
    #[error("Omni can't be reached: {failure} ({attempts} attempts)")]
    Unavailable { attempts: u32, failure: Failure },
    /// A write whose response was lost, so that it may have been applied or not. Look up the user
    /// before sending it again.
    #[error("the response was lost: {0}")]
    OutcomeUnknown(Failure),
    /// After too many failures in a row, the run sends nothing more.
    #[error("Omni can't be reached: {in_a_row} consecutive failures; last failure: {failure}")]
    CircuitOpen { in_a_row: u32, failure: Failure },
    /// 429, again and again, from every key.
    #[error(
        "Omni keeps responding 429 (too many requests) although this program stays below \
         omni.requests_per_minute, so another program uses the same key: give this one its own key, \
         or lower the setting"
    )]
    Throttled,
    /// Every key is disabled.
    #[error("every API key is disabled for this run")]
    NoKeyLeft,
    /// Stopped while waiting for a slot: nothing was sent.
    #[error("stopped before the request was sent")]
    Stopped,
    /// The HTTP client can't be created.
    #[error("{0}")]
    Setup(String),
    /// The settings ask for `PUT`, which this key does not allow. Nothing was sent.
    #[error(
        "omni.update_method = \"put\" needs Omni's attribute definitions, which this key can't read: \
         without them system attributes can't be excluded; use \"patch\", or a key that can read them"
    )]
    PutWithoutDefinitions,
    /// A lookup by email with an unreliable result: see [`Lookup::Unreliable`](super::Lookup).
    #[error(
        "Omni's lookup by email gave an unreliable result, so it is unknown which user has this \
         email; the next run lists all users"
    )]
    UnreliableLookup,
    /// A list of groups that does not add up, or one beyond the supported size.
    #[error(
        "Omni's list of groups is unreliable: {listed} groups were listed, but Omni counts {total}; groups may have \
         changed during the listing, and the next run lists them again"
    )]
    UnreliableGroups { listed: usize, total: usize },
    /// A list of models without end, or one beyond the supported size.
    #[error(
        "Omni's list of models is unreliable: it does not end after {listed} models; the next run lists them again"
    )]
    UnreliableModels { listed: usize },
    /// A list of schedules that can't be relied on, for the reason in `doubt`.
    #[error("Omni's list of schedules is unreliable: {doubt}; the next run reads it again")]
    UnreliableSchedules { doubt: &'static str },
    /// The limit of [`Client::limit_requests`](super::Client::limit_requests) is reached.
    #[error("the limit of requests for this command is reached")]
    NoRequestsLeft,
    /// A list of users beyond the supported size, or without end.
    #[error(
        "Omni's list of users exceeds the supported size (2000000 users): {users} users on {pages} pages \
         so far, of {total} in total; check omni.base_url"
    )]
    ListTooLong { total: u64, pages: u64, users: u64 },
    /// Two or more users have one email.
    #[error("{count} users in Omni have this email; they are left unchanged")]
    Ambiguous { count: usize },
}

/// Why Omni refuses a key, as far as it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForbiddenCause {
    /// Omni does not say.
    Unknown,
    /// Omni does not know the key.
    InvalidKey,
    /// The key belongs to a person.
    PersonalToken,
    /// An organisation key without the permission.
    NoPermission,
}

impl fmt::Display for ForbiddenCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => {
                "either the key is invalid, or it is a personal access token, which Omni's SCIM API refuses; use an \
                 organisation API key of this organisation"
            }
            Self::InvalidKey => {
                "Omni does not know the key: check omni.api_key_file or OMNI_API_KEY, and omni.base_url: a key is \
                 valid for one organisation only"
            }
            Self::PersonalToken => {
                "the key is a personal access token, which Omni's SCIM API refuses; use an organisation API key"
            }
            Self::NoPermission => "it is an organisation API key without permission to manage users",
        })
    }
}

/// `: detail`, or nothing.
struct Suffix<'a>(&'a str);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            detail => write!(f, ": {detail}"),
        }
    }
}

impl OmniError {
    /// Whether the error concerns the whole run, so that nothing more is sent.
    #[must_use]
    pub fn ends_run(&self) -> bool {
        match self {
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Malformed { .. }
            | Self::WrongAddress { .. }
            | Self::CircuitOpen { .. }
            | Self::Throttled
            | Self::NoKeyLeft
            | Self::NoRequestsLeft
            | Self::Stopped
            | Self::Setup(_)
            | Self::PutWithoutDefinitions
            | Self::ListTooLong { .. }
            | Self::Redirected { .. } => true,
            Self::WriteForbidden { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Rejected { .. }
            | Self::Unavailable { .. }
            | Self::OutcomeUnknown(_)
            | Self::UnreliableLookup
            | Self::UnreliableGroups { .. }
            | Self::UnreliableModels { .. }
            | Self::UnreliableSchedules { .. }
            | Self::Ambiguous { .. } => false,
        }
    }

    /// Whether Omni rejected this one change, so that it will reject it again.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(
            self,
            Self::WriteForbidden { .. }
                | Self::NotFound { .. }
                | Self::Conflict { .. }
                | Self::Rejected { .. }
                | Self::Ambiguous { .. }
        )
    }

    /// Whether Omni gave no answer, or none but to wait, so that the same request may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Throttled => true,
            Self::Unavailable { failure, .. }
            | Self::CircuitOpen { failure, .. }
            | Self::OutcomeUnknown(failure) => !matches!(failure, Failure::Unreadable(_)),
            _ => false,
        }
    }

    /// The message without what Omni said, which may contain attribute values: for the log. Every
    /// variant is listed, so that a new one is not forgotten.
    #[must_use]
    pub fn redacted(&self) -> String {
        let mut error = self.clone();
        match &mut error {
            Self::Unauthorized { detail }
            | Self::Forbidden { detail, .. }
            | Self::Malformed { detail }
            | Self::WrongAddress { detail }
            | Self::WriteForbidden { detail }
            | Self::NotFound { detail }
            | Self::Conflict { detail }
            | Self::Rejected { detail, .. } => detail.clear(),
            Self::Unavailable { failure, .. }
            | Self::OutcomeUnknown(failure)
            | Self::CircuitOpen { failure, .. } => *failure = failure.redacted(),
            // Their texts are this program's own.
            Self::Redirected { .. }
            | Self::Throttled
            | Self::NoKeyLeft
            | Self::NoRequestsLeft
            | Self::Stopped
            | Self::Setup(_)
            | Self::PutWithoutDefinitions
            | Self::UnreliableLookup
            | Self::ListTooLong { .. }
            | Self::UnreliableGroups { .. }
            | Self::UnreliableModels { .. }
            | Self::UnreliableSchedules { .. }
            | Self::Ambiguous { .. } => {}
        }
        error.to_string()
    }
}

/// Why one attempt did not succeed: a failure that may pass, or a final error.
#[derive(Debug)]
pub(super) enum AttemptError {
    Failed(Failure),
    Final(OmniError),
}

impl From<OmniError> for AttemptError {
    fn from(error: OmniError) -> Self {
        Self::Final(error)
    }
}

/// One attempt without a usable response. The request may have had an effect.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The connection failed or was lost: what the network or TLS reports.
    Connection(String),
    /// No response in time.
    TimedOut,
    /// A 5xx status, and Omni's message.
    Status(StatusCode, String),
    /// A body above this size limit in bytes.
    TooLarge(usize),
    /// A 2xx with an invalid body, and an excerpt.
    Unreadable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(cause) => f.write_str(cause),
            Self::TimedOut => f.write_str("no response in time (omni.timeout)"),
            Self::Status(status, detail) => write!(f, "HTTP {status}{}", Suffix(detail)),
            Self::TooLarge(limit) => write!(f, "the response has more than {} MiB", limit >> 20),
            Self::Unreadable(detail) => write!(f, "the response can't be read{}", Suffix(detail)),
        }
    }
}

impl Failure {
    /// The same without what the response said, which may contain attribute values.
    #[must_use]
    pub fn redacted(&self) -> Self {
        match self {
            Self::Connection(_) | Self::TimedOut | Self::TooLarge(_) => self.clone(),
            Self::Status(status, _) => Self::Status(*status, String::new()),
            Self::Unreadable(_) => Self::Unreadable(String::new()),
        }
    }

    pub(super) fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Connection(describe_failure(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacted_errors_contain_no_response_text() {
        let said = || "department 'Sales'".to_owned();
        let (status, attempts, in_a_row) = (StatusCode::IM_A_TEAPOT, 6, 20);
        let failures = || [Failure::Status(status, said()), Failure::Unreadable(said())];
        let mut errors = vec![
            OmniError::Unauthorized { detail: said() },
            OmniError::Forbidden {
                detail: said(),
                cause: ForbiddenCause::Unknown,
            },
            OmniError::Malformed { detail: said() },
            OmniError::WrongAddress { detail: said() },
            OmniError::WriteForbidden { detail: said() },
            OmniError::NotFound { detail: said() },
            OmniError::Conflict { detail: said() },
            OmniError::Rejected {
                status,
                detail: said(),
            },
        ];
        errors.extend(failures().map(OmniError::OutcomeUnknown));
        errors.extend(failures().map(|failure| OmniError::Unavailable { attempts, failure }));
        errors.extend(failures().map(|failure| OmniError::CircuitOpen { in_a_row, failure }));
        for error in errors {
            assert!(error.to_string().contains("Sales"), "{error}");
            let logged = error.redacted();
            assert!(!logged.contains("Sales") && !logged.is_empty(), "{logged}");
        }
    }
}
