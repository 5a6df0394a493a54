//! Fault injection.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::answer::{Content, Reply};
use super::call::Call;
use super::rules;
use super::world::World;

/// A fault for the next matching requests. A request gets one fault: the first in the queue that
/// matches.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The requests that match.
    #[serde(default)]
    pub when: When,
    /// The effect.
    pub what: What,
    /// The number of requests.
    #[serde(default = "once")]
    pub times: usize,
}

fn once() -> usize {
    1
}

impl Fault {
    /// A fault for the next request.
    #[must_use]
    pub fn next(what: What) -> Self {
        Self {
            when: When::default(),
            what,
            times: 1,
        }
    }
}

/// The conditions for a match. All that are set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// `GET`, `POST`, …
    pub method: Option<String>,
    /// Prefix of the path.
    pub path: Option<String>,
    /// Substring of the query, as sent.
    pub query: Option<String>,
    /// Number of the first request that may match.
    pub from: Option<u64>,
}

/// The effect of a fault. In JSON `"reset"`, `{"hang": 200}` (milliseconds),
/// `{"status": {"code": 503, "retry_after": 2}}` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// This answer; the request has no effect.
    Status {
        /// Status.
        code: u16,
        /// Seconds for `Retry-After`; the header is optional.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Body; a SCIM error by default.
        #[serde(default)]
        body: Option<String>,
    },
    /// An HTML page, as proxies send it; the request has no effect.
    Html {
        /// Status.
        code: u16,
    },
    /// A redirect; the request has no effect.
    Redirect {
        /// The `Location`.
        to: String,
    },
    /// The connection breaks; the request has no effect.
    Reset,
    /// The request is executed, and the connection breaks before the answer.
    LostReply,
    /// The request is executed, and the connection breaks in the middle of the body.
    CutJson,
    /// The request is executed after a delay; not at all if the client disconnects before.
    Hang(#[serde(deserialize_with = "milliseconds")] Duration),
    /// The request is executed immediately, and answered after a delay.
    Late(#[serde(deserialize_with = "milliseconds")] Duration),
    /// The headers are sent immediately, and the body in pieces over this time.
    SlowBody(#[serde(deserialize_with = "milliseconds")] Duration),
    /// A write gets a successful answer and has no effect.
    IgnoreWrite,
    /// A change of a user is executed, and the answer shows the user from before.
    StaleAnswer,
    /// A 429 has no `Retry-After`.
    NoRetryAfter,
    /// A page of the user list lacks its first user.
    SkipUser,
    /// A page of the user list repeats the last user of the previous page as an additional first one.
    RepeatUser,
    /// A page of the user list has a wrong total, by this number.
    TotalOff(i64),
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

impl When {
    fn matches(&self, call: &Call, number: u64) -> bool {
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
    /// Whether the fault applies to this type of request.
    fn applies_to(&self, call: &Call) -> bool {
        match self {
            Self::IgnoreWrite | Self::StaleAnswer => call.is_write(),
            Self::RepeatUser => rules::is_listing(call) && call.parameter("startIndex").is_some(),
            Self::SkipUser | Self::TotalOff(_) => rules::is_listing(call),
            _ => true,
        }
    }

    /// The answer of a fault that prevents the execution of the request. For [`What::Reset`] it is never
    /// sent.
    pub(super) fn instead(&self) -> Option<Reply> {
        match self {
            Self::Status {
                code,
                retry_after,
                body,
            } => {
                let reply = match body {
                    Some(body) => Reply::text(*code, "application/json", body.clone()),
                    None => Reply::error(*code, "injected fault"),
                };
                let seconds = retry_after.map(|seconds| seconds.to_string());
                Some(
                    seconds
                        .into_iter()
                        .fold(reply, |reply, text| reply.with("retry-after", text)),
                )
            }
            Self::Html { code } => {
                let page = "<!doctype html><title>Sandbox</title><p>An HTML page.</p>";
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

    /// Changes the answer to a request that was executed.
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

    /// The name in the request log.
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
            Self::StaleAnswer => "stale answer".to_owned(),
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

/// The queue of faults.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for a request.
    pub(super) fn take(&mut self, call: &Call, number: u64) -> Option<What> {
        let matches =
            |fault: &Fault| fault.when.matches(call, number) && fault.what.applies_to(call);
        self.0.retain(|fault| fault.times > 0);
        let fault = self.0.iter_mut().find(|fault| matches(fault))?;
        fault.times -= 1;
        Some(fault.what.clone())
    }
}
