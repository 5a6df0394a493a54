//! What Omni is asked for somebody who looks at a user: one at a time, not for long, and not so often that it
//! holds up a run, since all share the limit of requests.

use super::refusal::{Form, Refusal};
use super::site::AppState;
use crate::model::Email;
use crate::run::Explanation;
use crate::util::error_chain::error_chain;
use crate::util::window::SlidingWindow;
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Users who may be asked for in [`SPAN`]: two requests each, of the 55 a minute.
const MOST: usize = 6;
const SPAN: Duration = Duration::from_secs(60);

/// How long it may take: with the turn that it waits for less than an answer may.
const PATIENCE: Duration = Duration::from_secs(15);

/// The most lines that are told of why it could not be done: a roster may be wrong in many.
const MOST_LINES: usize = 10;

/// When somebody was asked for lately. Whoever asks holds it, so that it is one at a time.
pub(super) type Asked = Arc<tokio::sync::Mutex<SlidingWindow>>;

/// No users asked for yet.
pub(super) fn none_asked() -> Asked {
    Arc::new(tokio::sync::Mutex::new(SlidingWindow::new(SPAN)))
}

/// Why a user is not explained.
#[derive(Debug)]
pub(super) enum Unexplained {
    TooOften(Duration),
    TooSlow,
    Failed(String),
}

impl Unexplained {
    pub(super) fn refusal(&self, form: Form) -> Refusal {
        match self {
            Self::TooOften(wait) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Refusal::new(form, status, self.sentence()).retry_after(*wait)
            }
            Self::TooSlow | Self::Failed(_) => {
                Refusal::new(form, StatusCode::SERVICE_UNAVAILABLE, self.sentence())
            }
        }
    }

    /// The same as a sentence.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::TooOften(wait) => format!(
                "Omni is asked for {MOST} users a minute at most, so that runs have their requests; try again \
                 in {} s.",
                wait.as_secs() + 1
            ),
            Self::TooSlow => {
                "It took too long: the roster keeps changing, or Omni does not answer, or a run \
                uses up the limit of requests; try again in a minute."
                    .into()
            }
            Self::Failed(why) => format!("It can't be told: {}.", why.trim_end_matches('.')),
        }
    }
}

impl AppState {
    /// What the roster says of a user and what Omni has, read now, and what a run would do.
    pub(super) async fn explain(&self, email: &Email) -> Result<Explanation, Unexplained> {
        let (explainer, email) = (Arc::clone(&self.site.explainer), email.clone());
        let asking = async {
            let mut asked = Arc::clone(&self.asked).lock_owned().await;
            take_turn(&mut asked, Instant::now()).map_err(Unexplained::TooOften)?;
            // A look that has begun keeps its turn to its end, whoever still waits for it: on a mount that hangs
            // each one has a thread.
            let look = tokio::spawn(async move {
                let _turn = asked;
                explainer.explain(&email, &CancellationToken::new()).await
            });
            let explained = look.await.map_err(|ended| failed(&ended))?;
            explained.map_err(|error| failed(&error))
        };
        let explained = timeout(PATIENCE, asking).await;
        explained.unwrap_or(Err(Unexplained::TooSlow))
    }
}

/// Counts one more, or says how long to wait.
fn take_turn(asked: &mut SlidingWindow, now: Instant) -> Result<(), Duration> {
    asked.expire(now);
    match asked.wait(MOST, now) {
        Some(wait) => Err(wait),
        None => {
            asked.record(now);
            Ok(())
        }
    }
}

fn failed(error: &dyn std::error::Error) -> Unexplained {
    Unexplained::Failed(beginning(&error_chain(error)))
}

fn beginning(text: &str) -> String {
    let lines: Vec<_> = text.lines().take(MOST_LINES).collect();
    let more = match text.lines().nth(MOST_LINES) {
        Some(_) => "\nand more",
        None => "",
    };
    lines.join("\n") + more
}
