//! What was asked, and how it was answered.

use serde::Serialize;
use serde_json::Value;

use super::call::Call;

/// A request that reached the stand-in. Requests to `/sandbox/…` are not among them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Request {
    /// From 1; goes on counting when the log is cleared.
    pub number: u64,
    /// Milliseconds from the start of the stand-in to the arrival.
    pub at_ms: u64,
    /// Which of [`Options::keys`](super::Options) it came with; never the key itself.
    pub key: Option<usize>,
    /// `GET`, `POST`, …
    pub method: String,
    /// As sent, without the query.
    pub path: String,
    /// As sent; empty when there was none.
    pub query: String,
    /// What was answered; 0 when there was no answer, or none yet.
    pub status: u16,
    /// Its body; what is no JSON is a string here.
    pub body: Option<Value>,
    /// The fault that it met.
    pub fault: Option<String>,
    /// Refused by the rate limit.
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

    /// The number that the next request will have.
    pub(super) fn next_number(&self) -> u64 {
        self.count + 1
    }

    /// Adds to an entry what is known by now; nothing if the log was cleared meanwhile.
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
