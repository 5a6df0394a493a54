//! What a stand-in can be told to be.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::limiter::Limiter;

/// How the stand-in behaves. The defaults are Omni's published ones in their strictest reading.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many made-up users the organisation starts with.
    pub users: usize,
    /// Requests per key and minute.
    pub requests_per_minute: u32,
    /// How that minute is counted.
    pub limiter: Limiter,
    /// The API keys that are valid. At least one.
    pub keys: Vec<String>,
    /// Whether `/sandbox/…` answers. It needs no key: anyone who reaches it may change the state.
    pub admin: bool,
    /// Most users that a page holds, whatever `count` asks for.
    pub page_size: usize,
    /// What becomes of a cleared attribute.
    pub clear: ClearMode,
    /// What a `PATCH` is answered with.
    pub patch_answer: PatchAnswer,
    /// What becomes of what a `PUT` leaves out.
    pub put: PutMode,
    /// Whom `userName eq "…"` finds.
    pub filter: Filter,
    /// Whether attribute definitions may be read; if not, their endpoint answers 403.
    pub definitions: bool,
    /// How long the server takes for each request.
    pub latency: Duration,
    /// Whether [`Org::history`](super::Org::history) is kept: it takes memory with each change.
    pub history: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            users: 0,
            requests_per_minute: 60,
            limiter: Limiter::Sliding,
            keys: vec!["sandbox-key".to_owned()],
            admin: false,
            page_size: 100,
            clear: ClearMode::Null,
            patch_answer: PatchAnswer::User,
            put: PutMode::Replace,
            filter: Filter::AnyCase,
            definitions: true,
            latency: Duration::ZERO,
            history: false,
        }
    }
}

impl Options {
    pub(super) fn check(&self) -> io::Result<()> {
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
        if self.requests_per_minute == 0 {
            return wrong("a rate limit of 0 would refuse every request");
        }
        if self.keys.is_empty() {
            return wrong("without a key every request would be refused");
        }
        if self.page_size == 0 {
            return wrong("a page must hold at least one user");
        }
        Ok(())
    }
}

/// What becomes of an attribute that was cleared or never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClearMode {
    /// It is missing from the user.
    #[default]
    Null,
    /// It shows the `default_value` of its definition, if there is one.
    Default,
}

/// What a `PATCH` that worked is answered with. SCIM allows both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PatchAnswer {
    /// 200 with the user.
    #[default]
    User,
    /// 204 with nothing.
    Empty,
}

/// What becomes of what a `PUT` leaves out. Omni's documents have said both (`docs/omni.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PutMode {
    /// It is as if it had never been set.
    #[default]
    Replace,
    /// It stays.
    Merge,
}

/// Whom `userName eq "…"` finds. SCIM says that `userName` has no case; not every server keeps to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// Whoever has this email in any case.
    #[default]
    AnyCase,
    /// Whoever has it as it is written.
    ExactCase,
    /// Everybody: the filter is passed over.
    Ignored,
}
