//! What can go wrong between a client and Omni, made to happen.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::answer::{Content, Reply};
use super::call::Call;
use super::rules;
use super::world::World;

/// Something that goes wrong with the next requests that it fits. A request meets one fault: the
/// first in the queue that fits it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests it fits.
    #[serde(default)]
    pub when: When,
    /// What happens to them.
    pub what: What,
    /// To how many.
    #[serde(default = "once")]
    pub times: usize,
}

fn once() -> usize {
    1
}

impl Fault {
    /// A fault of the next request, whichever it is.
    #[must_use]
    pub fn next(what: What) -> Self {
        Self {
            when: When::default(),
            what,
            times: 1,
        }
    }
}

/// Which requests a fault fits: those for which each thing that is set holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// `GET`, `POST`, …
    pub method: Option<String>,
    /// What the path begins with.
    pub path: Option<String>,
    /// What the query holds somewhere, as it was sent.
    pub query: Option<String>,
    /// The number of the first request that it may be.
    pub from: Option<u64>,
}

/// What goes wrong. In JSON `"reset"`, `{"hang": 200}` (milliseconds),
/// `{"status": {"code": 503, "retry_after": 2}}` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Answered with this, and nothing done.
    Status {
        /// The status.
        code: u16,
        /// Seconds for `Retry-After`; without it the header is left out.
        #[serde(default)]
        retry_after: Option<u64>,
        /// The whole body; without it a SCIM error.
        #[serde(default)]
        body: Option<String>,
    },
    /// A page for people, as proxies send them, and nothing done.
    Html {
        /// The status.
        code: u16,
    },
    /// Sent elsewhere, and nothing done.
    Redirect {
        /// The `Location`.
        to: String,
    },
    /// The connection breaks before anything is done or said.
    Reset,
    /// Carried out, and the connection breaks before anything is said.
    LostReply,
    /// Carried out, and the connection breaks in the middle of the body.
    CutJson,
    /// Nothing for so long; then it goes on as usual. A client that leaves meanwhile has done nothing.
    Hang(#[serde(deserialize_with = "milliseconds")] Duration),
    /// Carried out at once, and answered so much later.
    Late(#[serde(deserialize_with = "milliseconds")] Duration),
    /// The head at once, the body bit by bit over so long.
    SlowBody(#[serde(deserialize_with = "milliseconds")] Duration),
    /// A write is answered as if it had worked, and nothing is kept.
    IgnoreWrite,
    /// If the rate limit refuses it, `Retry-After` is missing.
    NoRetryAfter,
    /// A page of the listing leaves its first user out.
    SkipUser,
    /// A page of the listing begins with the last user of the page before, and is longer by that.
    RepeatUser,
    /// A page of the listing tells so many users more than there are (fewer, below 0).
    TotalOff(i64),
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

impl When {
    fn fits(&self, call: &Call, number: u64) -> bool {
        let Self {
            method,
            path,
            query,
            from,
        } = self;
        method
            .as_ref()
            .is_none_or(|method| method.eq_ignore_ascii_case(&call.method))
            && path
                .as_ref()
                .is_none_or(|path| call.path.starts_with(path.as_str()))
            && query
                .as_ref()
                .is_none_or(|query| call.query.contains(query.as_str()))
            && from.is_none_or(|from| number >= from)
    }
}

impl What {
    /// Faults that only mean something for some requests wait for one of those.
    fn concerns(&self, call: &Call) -> bool {
        match self {
            Self::IgnoreWrite => call.is_write(),
            Self::RepeatUser => rules::is_listing(call) && call.parameter("startIndex").is_some(),
            Self::SkipUser | Self::TotalOff(_) => rules::is_listing(call),
            _ => true,
        }
    }

    /// The answer of a fault that keeps a request from being carried out. For [`What::Reset`] it
    /// is never sent.
    pub(super) fn instead(&self) -> Option<Reply> {
        match self {
            Self::Status {
                code,
                retry_after,
                body,
            } => {
                let reply = match body {
                    Some(body) => Reply::text(*code, "application/json", body.clone()),
                    None => Reply::error(*code, "a fault of the sandbox"),
                };
                let seconds = retry_after.map(|seconds| seconds.to_string());
                Some(
                    seconds
                        .into_iter()
                        .fold(reply, |reply, text| reply.with("retry-after", text)),
                )
            }
            Self::Html { code } => {
                let page = "<!doctype html><title>Sandbox</title><p>A page for people.</p>";
                Some(Reply::text(
                    *code,
                    "text/html; charset=utf-8",
                    page.to_owned(),
                ))
            }
            Self::Redirect { to } => Some(Reply::empty(307).with("location", to)),
            Self::Reset => Some(Reply::empty(0)),
            _ => None,
        }
    }

    /// Falsifies the answer to a request that was carried out.
    pub(super) fn falsify(&self, world: &World, reply: &mut Reply) {
        let Content::Json(page) = &mut reply.body else {
            return;
        };
        match self {
            Self::SkipUser => edit_users(page, |users| drop(users.drain(..users.len().min(1)))),
            Self::RepeatUser => {
                let start = page["startIndex"]
                    .as_u64()
                    .and_then(|start| usize::try_from(start).ok());
                let before = start.and_then(|start| start.checked_sub(2));
                if let Some(user) = before.and_then(|skip| world.users.after(skip).next()) {
                    edit_users(page, |users| users.insert(0, world.show(user)));
                }
            }
            Self::TotalOff(by) => {
                let total = page["totalResults"].as_i64().unwrap_or_default();
                page["totalResults"] = json!((total + by).max(0));
            }
            _ => {}
        }
    }

    /// What the log calls it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Status { code, .. } => format!("status {code}"),
            Self::Html { code } => format!("html {code}"),
            Self::Redirect { .. } => "redirect".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::LostReply => "lost reply".to_owned(),
            Self::CutJson => "cut json".to_owned(),
            Self::Hang(_) => "hang".to_owned(),
            Self::Late(_) => "late".to_owned(),
            Self::SlowBody(_) => "slow body".to_owned(),
            Self::IgnoreWrite => "ignored write".to_owned(),
            Self::NoRetryAfter => "no retry-after".to_owned(),
            Self::SkipUser => "skipped user".to_owned(),
            Self::RepeatUser => "repeated user".to_owned(),
            Self::TotalOff(_) => "total off".to_owned(),
        }
    }
}

fn edit_users(page: &mut Value, edit: impl FnOnce(&mut Vec<Value>)) {
    if let Some(users) = page["Resources"].as_array_mut() {
        edit(users);
        page["itemsPerPage"] = json!(users.len());
    }
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that this request meets.
    pub(super) fn take(&mut self, call: &Call, number: u64) -> Option<What> {
        let fits = |fault: &Fault| fault.when.fits(call, number) && fault.what.concerns(call);
        self.0.retain(|fault| fault.times > 0);
        let fault = self.0.iter_mut().find(|fault| fits(fault))?;
        fault.times -= 1;
        Some(fault.what.clone())
    }
}
