//! The thread that probes the source, so that a mount that hangs blocks only this thread.
//!
//! It is a plain thread rather than a blocking task of the runtime, which would wait for the task on
//! shutdown. The thread ends after the current probe once its [`Prober`] is dropped.

use super::changes::ProbedState;
use super::fs_events::FsEvents;
use super::{ProbeError, SourceProbe, WatchError};
use crate::roster::{ReadTime, SourceStamp};
use crate::util::error_chain::error_chain;
use std::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The result of a probe.
pub(super) struct ProbeResult {
    /// The state of the source; `None` if its stamp is unchanged.
    pub(super) state: Option<ProbedState>,
    pub(super) time: ReadTime,
    /// Whether every later change causes an event.
    pub(super) has_events: bool,
}

struct ProbeRequest {
    stable_stamp: Option<SourceStamp>,
    reply: oneshot::Sender<ProbeResult>,
}

/// Sends requests to the thread.
pub(super) struct Prober {
    requests: mpsc::Sender<ProbeRequest>,
}

impl Prober {
    /// Starts the thread.
    pub(super) fn start(source: impl SourceProbe, events: FsEvents) -> Result<Self, WatchError> {
        let (requests, received) = mpsc::channel();
        let thread = std::thread::Builder::new().name("watch".into());
        thread
            .spawn(move || serve(&received, source, events))
            .map_err(WatchError::Thread)?;
        Ok(Self { requests })
    }

    /// Probes the source once; it is not read if it has this stamp. There is at most one probe at a
    /// time: this borrows mutably, and a caller that stops waiting also drops the prober.
    pub(super) async fn probe(
        &mut self,
        stable_stamp: Option<SourceStamp>,
    ) -> Result<ProbeResult, WatchError> {
        let (reply, result) = oneshot::channel();
        let request = ProbeRequest {
            stable_stamp,
            reply,
        };
        self.requests.send(request).map_err(|_| WatchError::Ended)?;
        result.await.map_err(|_| WatchError::Ended)
    }
}

fn serve(
    requests: &mpsc::Receiver<ProbeRequest>,
    mut source: impl SourceProbe,
    mut events: FsEvents,
) {
    while let Ok(request) = requests.recv() {
        // The watches are renewed before the probe, so that a change in between causes an event.
        let has_events = events.renew();
        let start = Instant::now();
        let state = match probe(&mut source, request.stable_stamp) {
            Ok(state) => state,
            Err(error) => Some(ProbedState::Unreadable(error_chain(&*error))),
        };
        // Fails if the watch has stopped or abandoned this thread.
        let _ = request.reply.send(ProbeResult {
            state,
            time: ReadTime::since(start),
            has_events,
        });
    }
}

fn probe(
    source: &mut impl SourceProbe,
    stable_stamp: Option<SourceStamp>,
) -> Result<Option<ProbedState>, ProbeError> {
    // The stamp comes first: a later write either changes it or is part of the fingerprint.
    let stamp = source.stamp()?;
    if stable_stamp == Some(stamp) {
        return Ok(None);
    }
    let fingerprint = source.fingerprint()?;
    Ok(Some(ProbedState::Content { stamp, fingerprint }))
}
