//! The thread that looks at the source, so that a mount that hangs holds up nothing but itself.
//!
//! It is a plain thread and no blocking task of the runtime: the end of a runtime waits for those.
//! It ends when the [`Prober`] is dropped, after the look that is under way.

use super::hints::FsEvents;
use super::settle::{Span, State};
use super::{Look, Unreadable, WatchError};
use crate::util::error_chain::error_chain;
use std::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What a look found.
pub(super) struct Probe<S> {
    /// The source; `None` where its stamp is the known one.
    pub(super) state: Option<State<S>>,
    /// When it was.
    pub(super) span: Span,
    /// Whether events can be relied on from here on.
    pub(super) events: bool,
}

struct Request<S> {
    known: Option<S>,
    reply: oneshot::Sender<Probe<S>>,
}

/// Where to ask for looks.
pub(super) struct Prober<S> {
    requests: mpsc::Sender<Request<S>>,
}

impl<S: PartialEq + Send + 'static> Prober<S> {
    /// Starts the thread.
    pub(super) fn open<L: Look<Stamp = S>>(look: L, hints: FsEvents) -> Result<Self, WatchError> {
        let (requests, asked) = mpsc::channel();
        let thread = std::thread::Builder::new().name("watch".into());
        thread
            .spawn(move || serve(&asked, look, hints))
            .map_err(WatchError::Thread)?;
        Ok(Self { requests })
    }

    /// Looks once. There is never more than one look under way, as this borrows mutably and a
    /// caller that gives up gives up this eye.
    pub(super) async fn look(&mut self, known: Option<S>) -> Result<Probe<S>, WatchError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { known, reply };
        self.requests.send(request).map_err(|_| WatchError::Ended)?;
        answer.await.map_err(|_| WatchError::Ended)
    }
}

fn serve<L: Look>(asked: &mpsc::Receiver<Request<L::Stamp>>, mut look: L, mut hints: FsEvents) {
    while let Ok(Request { known, reply }) = asked.recv() {
        // First the watches, then the look: what changes in between rings the bell.
        let events = hints.renew();
        let began = Instant::now();
        let state = match see(&mut look, known) {
            Ok(state) => state,
            Err(error) => Some(State::Unreadable(error_chain(&*error))),
        };
        let span = Span {
            began,
            ended: Instant::now(),
        };
        // No one waits any more: the watch has ended, or given up this thread.
        let _ = reply.send(Probe {
            state,
            span,
            events,
        });
    }
}

fn see<L: Look>(
    look: &mut L,
    known: Option<L::Stamp>,
) -> Result<Option<State<L::Stamp>>, Unreadable> {
    // The stamp comes first: a write after it changes it, or is in what is read.
    let stamp = look.stamp()?;
    if known.as_ref() == Some(&stamp) {
        return Ok(None);
    }
    let fingerprint = look.fingerprint()?;
    Ok(Some(State::Content { stamp, fingerprint }))
}
