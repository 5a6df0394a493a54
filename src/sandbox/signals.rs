//! Signals to other processes at a chosen request, so that a client can be killed right before or
//! right after a write is done.

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// A signal that waits for its request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlannedSignal {
    pid: i32,
    signal: Name,
    /// The absolute number of the request, as in the log.
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

/// When it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Moment {
    /// Before the request is carried out.
    Before,
    /// Once it is carried out, before it is answered.
    After,
}

impl PlannedSignal {
    /// Whether it names one process. 0 and below would be whole groups of them.
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
            tracing::warn!(pid = self.pid, %error, "the sandbox could not send a signal");
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Signals(Vec<PlannedSignal>);

impl Signals {
    pub(super) fn plan(&mut self, signal: PlannedSignal) {
        self.0.push(signal);
    }

    /// Sends those whose moment this is; each once.
    pub(super) fn send_due(&mut self, number: u64, moment: Moment) {
        let due = |signal: &mut PlannedSignal| signal.at_request == number && signal.when == moment;
        for signal in self.0.extract_if(.., due) {
            signal.send();
        }
    }
}
