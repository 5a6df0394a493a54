//! Carries out what passed the guard.
//!
//! - **Order**: removals, then updates, then creations; within one, `omni.max_in_flight` at once. So
//!   that when a run is cut short, the access that had to go is gone, and nobody new has come.
//! - **Not the first error, all of them**: a user's failure is that user's. Only what concerns
//!   everybody (a refused key, too many failures in a row) ends the run; what was not sent by then
//!   is told as unsent.
//! - **It stops between two changes**, never inside one.
//! - **A write whose answer was lost is looked up before it is sent again**: it may have been done.

use super::guard::Verdict;
use super::plan::{Action, Change, FieldChange, differences, edit_of};
use super::{Applied, Kind, Outcome};
use crate::omni::{Edit, Found, OmniError, Writer, backoff};
use crate::user::{Email, ObservedUser, Schema, UserSpec};
use futures_util::StreamExt;
use std::sync::OnceLock;

/// How often a write is sent at most, where each answer is lost.
const ATTEMPTS: u32 = 6;

/// What became of all changes.
#[derive(Debug)]
pub struct Report {
    /// One for each change that passed, in the order in which they ended.
    pub applied: Vec<Applied>,
    /// Why nothing more was sent, where the run was cut short.
    pub cut_short: Option<OmniError>,
}

/// Carries out what passed. `told` hears of each change as it ends.
pub async fn apply(
    writer: &Writer,
    verdict: &Verdict,
    schema: &Schema,
    max_in_flight: usize,
    mut told: impl FnMut(&Applied),
) -> Report {
    let worker = Worker {
        writer,
        schema,
        end: OnceLock::new(),
    };
    let mut applied = Vec::new();
    let phases: [fn(Kind) -> bool; 3] = [
        Kind::is_removal,
        |kind| kind == Kind::Update,
        |kind| kind == Kind::Create,
    ];
    for phase in phases {
        // Collected: a stream that holds these closures can't be seen to be `Send`, and the
        // daemon's loop is a task of its own.
        let changes: Vec<_> = verdict
            .passed()
            .iter()
            .filter(|change| phase(change.kind()))
            .map(|change| worker.carry_out(change))
            .collect();
        let mut ends = futures_util::stream::iter(changes).buffer_unordered(max_in_flight);
        while let Some(one) = ends.next().await {
            told(&one);
            applied.push(one);
        }
    }
    Report {
        applied,
        cut_short: worker.end.into_inner(),
    }
}

struct Worker<'a> {
    writer: &'a Writer,
    schema: &'a Schema,
    /// Why nothing more is to be sent; set once.
    end: OnceLock<OmniError>,
}

/// How a change ended, told twice: in full, and without what Omni said of it, which may hold values,
/// for the log.
struct Ending {
    outcome: Outcome,
    detail: String,
    logged: String,
}

impl Ending {
    fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            outcome,
            logged: detail.clone(),
            detail,
        }
    }

    fn done() -> Self {
        Self::new(Outcome::Done, "")
    }

    fn failed(error: &OmniError) -> Self {
        Self {
            outcome: Outcome::Failed,
            detail: error.to_string(),
            logged: error.without_detail(),
        }
    }
}

/// What to do after a look at a user whose write got no answer.
enum After {
    Settled(Ending),
    SendAgain,
}

impl Worker<'_> {
    async fn carry_out(&self, change: &Change) -> Applied {
        let ending = match self.end.get() {
            Some(_) => Ending::new(Outcome::Unsent, "not sent: the run ended before"),
            None => self.settle(change).await,
        };
        let applied = Applied {
            email: change.email.clone(),
            kind: change.kind(),
            outcome: ending.outcome,
            detail: ending.detail,
        };
        log(&applied, &ending.logged);
        applied
    }

    /// Sends a change until its outcome is known.
    async fn settle(&self, change: &Change) -> Ending {
        let mut losses = 0;
        loop {
            let error = match self.send(change).await {
                Ok(ending) => return ending,
                Err(OmniError::Lost(failure)) => {
                    losses += 1;
                    tracing::info!(
                        user = %change.email, kind = %change.kind(), failure = failure.without_detail(),
                        "the answer to a change was lost; the user is looked up"
                    );
                    match self.look_after_loss(change, losses).await {
                        Ok(After::Settled(ending)) => return ending,
                        Ok(After::SendAgain) if losses < ATTEMPTS => continue,
                        Ok(After::SendAgain) => OmniError::Unavailable {
                            attempts: losses,
                            failure,
                        },
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            return self.conclude(error, losses > 0);
        }
    }

    /// An error that ends a change, and perhaps the run.
    fn conclude(&self, error: OmniError, outcome_unknown: bool) -> Ending {
        let ends_run = error.ends_run();
        let ending = match (ends_run, outcome_unknown) {
            (true, true) => Ending {
                outcome: Outcome::Failed,
                detail: format!("whether this was done is not known: {error}"),
                logged: format!(
                    "whether this was done is not known: {}",
                    error.without_detail()
                ),
            },
            (true, false) => Ending {
                outcome: Outcome::Unsent,
                ..Ending::failed(&error)
            },
            (false, _) => Ending::failed(&error),
        };
        if ends_run {
            // Whoever comes second says the same.
            let _ = self.end.set(error);
        }
        ending
    }

    async fn send(&self, change: &Change) -> Result<Ending, OmniError> {
        match &change.action {
            Action::Delete(user) => match self.writer.delete(&user.id).await {
                Err(OmniError::NotFound { .. }) => Ok(gone()),
                other => other.map(|()| Ending::done()),
            },
            Action::Deactivate(user) => {
                let edit = Edit {
                    active: Some(false),
                    ..Edit::default()
                };
                match self.writer.update(&user.id, &edit, self.schema).await {
                    Err(OmniError::NotFound { .. }) => Ok(gone()),
                    other => other.map(|answer| self.compare(&edit, answer.as_ref())),
                }
            }
            Action::Update(user, fields) => {
                let edit = edit_of(fields);
                let answer = self.writer.update(&user.id, &edit, self.schema).await?;
                Ok(self.compare(&edit, answer.as_ref()))
            }
            Action::Create(spec) => match self.writer.create(&change.email, spec).await {
                Err(OmniError::Conflict { .. }) => self.update_instead(&change.email, spec).await,
                other => other.map(|answer| self.compare(&wish(spec), answer.as_ref())),
            },
        }
    }

    /// Creating someone who exists becomes an update. It clears nothing: clears are for the guard to
    /// count, and this update has not been before it.
    async fn update_instead(&self, email: &Email, spec: &UserSpec) -> Result<Ending, OmniError> {
        let user = match self.writer.reader().find(email).await? {
            Found::One(user) => user,
            Found::Several(count) => return Err(OmniError::Ambiguous { count }),
            Found::Unclear => return Err(OmniError::Unclear),
            Found::Nobody => {
                return Ok(Ending::new(
                    Outcome::Failed,
                    "Omni says that this user exists already (409) and shows nobody with this \
                     email; ask Omni's support who has it",
                ));
            }
        };
        let (clears, sets): (Vec<_>, Vec<_>) = differences(spec, &user, self.schema)
            .into_iter()
            .partition(FieldChange::is_clear);
        let ending = if sets.is_empty() {
            Ending::done()
        } else {
            let edit = edit_of(&sets);
            let answer = self.writer.update(&user.id, &edit, self.schema).await?;
            self.compare(&edit, answer.as_ref())
        };
        let left = match (clears.is_empty(), user.active) {
            (false, _) => "some of their values are to be cleared, which is left to the next run",
            (true, false) => "they are inactive, which is left to the next run",
            (true, true) if ending.outcome == Outcome::Done => {
                return Ok(Ending::new(
                    Outcome::Done,
                    "they existed already, and were updated",
                ));
            }
            (true, true) => return Ok(ending),
        };
        Ok(Ending::new(
            Outcome::Failed,
            format!("they existed already; {left}"),
        ))
    }

    /// Looks up a user whose write got no answer.
    async fn look_after_loss(&self, change: &Change, losses: u32) -> Result<After, OmniError> {
        let reader = self.writer.reader();
        reader.rest(backoff(losses)).await?;
        let found = match reader.find(&change.email).await? {
            Found::Several(count) => return Err(OmniError::Ambiguous { count }),
            Found::Unclear => return Err(OmniError::Unclear),
            Found::One(user) => Some(user),
            Found::Nobody => None,
        };
        Ok(match (&change.action, found) {
            (Action::Create(_), None) => After::SendAgain,
            (Action::Create(spec), Some(user)) => self.reached(&wish(spec), &user),
            (Action::Delete(_) | Action::Deactivate(_), None) => After::Settled(gone()),
            (Action::Update(..), None) => After::Settled(vanished()),
            (Action::Delete(before), Some(user)) if user.id == before.id => After::SendAgain,
            (Action::Delete(_), Some(_)) => After::Settled(remade()),
            (Action::Deactivate(before) | Action::Update(before, _), Some(user))
                if user.id != before.id =>
            {
                After::Settled(remade())
            }
            (Action::Deactivate(_), Some(user)) => self.reached(
                &Edit {
                    active: Some(false),
                    ..Edit::default()
                },
                &user,
            ),
            (Action::Update(_, fields), Some(user)) => self.reached(&edit_of(fields), &user),
        })
    }

    fn reached(&self, edit: &Edit, user: &ObservedUser) -> After {
        if self.not_kept(edit, user).is_empty() {
            After::Settled(Ending::done())
        } else {
            After::SendAgain
        }
    }

    /// Compares what the server answered with what was asked. An empty answer says nothing.
    fn compare(&self, edit: &Edit, answer: Option<&ObservedUser>) -> Ending {
        let not_kept = answer
            .map(|user| self.not_kept(edit, user))
            .unwrap_or_default();
        if not_kept.is_empty() {
            return Ending::done();
        }
        let fields = not_kept.join(", ");
        Ending::new(
            Outcome::NotKept,
            format!("Omni accepted this and did not keep: {fields}"),
        )
    }

    /// The fields that are not as asked for.
    fn not_kept(&self, edit: &Edit, user: &ObservedUser) -> Vec<String> {
        let Edit {
            display_name,
            active,
            attributes,
        } = edit;
        let mut fields = Vec::new();
        if display_name
            .as_ref()
            .is_some_and(|name| *name != user.display_name)
        {
            fields.push("display_name".to_owned());
        }
        if active.is_some_and(|active| active != user.active) {
            fields.push("active".to_owned());
        }
        for (name, wanted) in attributes {
            if !self
                .schema
                .converged(name, wanted.as_ref(), user.attribute(name))
            {
                fields.push(name.to_string());
            }
        }
        fields
    }
}

/// What a user that was made should look like.
fn wish(spec: &UserSpec) -> Edit {
    let UserSpec {
        display_name,
        attributes,
    } = spec.clone();
    Edit {
        display_name,
        active: None,
        attributes,
    }
}

fn gone() -> Ending {
    Ending::new(Outcome::Done, "was gone already")
}

fn vanished() -> Ending {
    Ending::new(
        Outcome::Failed,
        "is no longer in Omni; the next run sees to it",
    )
}

fn remade() -> Ending {
    Ending::new(
        Outcome::Failed,
        "was removed and made again by someone else meanwhile; the next run sees to it",
    )
}

fn log(applied: &Applied, detail: &str) {
    let (user, kind, outcome) = (&applied.email, applied.kind, applied.outcome.as_str());
    match applied.outcome {
        Outcome::Done => tracing::info!(%user, %kind, outcome, detail, "change"),
        Outcome::Unsent => tracing::debug!(%user, %kind, outcome, detail, "change"),
        Outcome::NotKept | Outcome::Failed => {
            tracing::warn!(%user, %kind, outcome, detail, "change");
        }
    }
}
