//! What can go wrong with Omni, told apart by type: whom it concerns, and what may be tried again.

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
    /// 403.
    #[error(
        "Omni says that the key may not do this (403): {detail}; it takes an organisation API key with rights on users"
    )]
    Forbidden {
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
    Lost(Failure),
    /// So many failures in a row that nothing more is sent in this run.
    #[error("Omni can't be reached: {in_a_row} failures in a row, the last: {failure}")]
    GivenUp {
        /// How many.
        in_a_row: u32,
        /// What happened last.
        failure: Failure,
    },
    /// 429, again and again.
    #[error(
        "Omni keeps answering that there are too many requests (429), though this process stays \
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
            | Self::GivenUp { .. }
            | Self::Throttled
            | Self::NoKeyLeft
            | Self::Stopped
            | Self::Setup(_)
            | Self::Redirected { .. } => true,
            Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Refused { .. }
            | Self::Unavailable { .. }
            | Self::Lost(_)
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
            Self::Forbidden { .. }
                | Self::NotFound { .. }
                | Self::Conflict { .. }
                | Self::Refused { .. }
                | Self::Ambiguous { .. }
        )
    }

    /// The same without what Omni said of it, which may repeat attribute values: for the log.
    #[must_use]
    pub fn without_detail(&self) -> String {
        match self {
            Self::Forbidden { .. } => "Omni says that the key may not do this (403)".into(),
            Self::NotFound { .. } => "Omni does not know this (404)".into(),
            Self::Conflict { .. } => "Omni says that this exists already (409)".into(),
            Self::Refused { status, .. } => format!("Omni refuses this ({status})"),
            Self::Lost(failure) | Self::Unavailable { failure, .. } => failure.without_detail(),
            other => other.to_string(),
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
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let what = if error.is_connect() {
            "no connection"
        } else {
            "the connection broke"
        };
        Self::Connection(format!("{what}: {innermost}"))
    }
}

/// What a body says, in one short line: the `detail` of a SCIM error, the `message` of another one,
/// else its first bytes.
pub(super) fn detail_of(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let field = |name: &str| Some(json.as_ref()?.get(name)?.as_str()?.to_owned());
    let text = ["detail", "message", "error"].into_iter().find_map(field);
    match text {
        Some(text) => shorten(&text),
        None if body.is_empty() => "(no more said)".into(),
        None => first_bytes(body),
    }
}

/// The first bytes of a body that is not what it should be, fit for one line.
pub(super) fn first_bytes(body: &[u8]) -> String {
    if body.is_empty() {
        return "(empty)".into();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    format!("{:?}", shorten(&text))
}

fn shorten(text: &str) -> String {
    const MOST: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
