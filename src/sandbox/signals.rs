//! Signals to other processes at a chosen request, to kill a client right before or after a write is
//! executed.

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// A signal scheduled for a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlannedSignal {
    pid: i32,
    signal: Name,
    /// The number of the request in the log.
    at_request: u64,
    when: Moment,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Name {
    Kill,
    Term,
    Int,
    Hup,
    Stop,
}

/// The time of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Moment {
    /// Before the request is executed.
    Before,
    /// After the request is executed, before the answer.
    After,
}

impl PlannedSignal {
    /// Whether the pid is a single process. Values up to 0 are process groups.
    pub(super) fn is_for_one_process(&self) -> bool {
        self.pid > 0
    }

    fn send(&self) {
        let signal = match self.signal {
            Name::Kill => Signal::KILL,
            Name::Term => Signal::TERM,
            Name::Int => Signal::INT,
            Name::Hup => Signal::HUP,
            Name::Stop => Signal::STOP,
        };
        let sent = Pid::from_raw(self.pid).map(|pid| kill_process(pid, signal));
        if let Some(Err(error)) = sent {
            tracing::warn!(pid = self.pid, %error, "can't send the scheduled signal");
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Signals(Vec<PlannedSignal>);

impl Signals {
    pub(super) fn add(&mut self, signal: PlannedSignal) {
        self.0.push(signal);
    }

    /// Sends each due signal once.
    pub(super) fn send_due(&mut self, number: u64, moment: Moment) {
        let due = |signal: &mut PlannedSignal| signal.at_request == number && signal.when == moment;
        for signal in self.0.extract_if(.., due) {
            signal.send();
        }
    }
}
