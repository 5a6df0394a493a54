//! The request log.

use serde::Serialize;
use serde_json::Value;

use super::call::Call;

/// A request to the mock server, except requests to `/sandbox/…`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Request {
    /// Starts at 1 and continues after the log is cleared.
    pub number: u64,
    /// Arrival, in milliseconds since the start of the server.
    pub at_ms: u64,
    /// Index of the key in [`Options::keys`](super::Options); never the key itself.
    pub key: Option<usize>,
    /// `GET`, `POST`, …
    pub method: String,
    /// As sent, without the query.
    pub path: String,
    /// As sent; may be empty.
    pub query: String,
    /// Status of the answer; 0 if there is none (yet).
    pub status: u16,
    /// Body; a string if it is not JSON.
    pub body: Option<Value>,
    /// Injected fault.
    pub fault: Option<String>,
    /// Whether the rate limit rejected it.
    pub over_limit: bool,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    count: u64,
    entries: Vec<Request>,
    unexpected: Vec<String>,
}

impl Log {
    pub(super) fn arrived(&mut self, call: &Call, at_ms: u64) -> u64 {
        self.count += 1;
        self.entries.push(Request {
            number: self.count,
            at_ms,
            key: None,
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            status: 0,
            body: call.logged_body(),
            fault: None,
            over_limit: false,
        });
        self.count
    }

    /// The number of the next request.
    pub(super) fn next_number(&self) -> u64 {
        self.count + 1
    }

    /// Updates an entry, unless the log was cleared meanwhile.
    pub(super) fn amend(&mut self, number: u64, change: impl FnOnce(&mut Request)) {
        if let Ok(at) = self
            .entries
            .binary_search_by_key(&number, |entry| entry.number)
        {
            change(&mut self.entries[at]);
        }
    }

    pub(super) fn note_unexpected(&mut self, number: u64, call: &Call, what: &str) {
        self.unexpected.push(format!(
            "request {number}, {} {}: {what}",
            call.method, call.path
        ));
    }

    pub(super) fn entries(&self) -> &[Request] {
        &self.entries
    }

    pub(super) fn unexpected(&self) -> &[String] {
        &self.unexpected
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}
