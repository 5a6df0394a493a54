//! Carries out what passed the guard.
//!
//! - **Order**: removals, then updates, then creations; within one, `omni.max_in_flight` at once. So
//!   that when a run is cut short, the access that had to go is gone, and nobody new has come.
//! - **Not the first error, all of them**: a user's failure is that user's. Only what concerns
//!   everybody (a refused key, too many failures in a row) ends the run; what was not sent by then
//!   is told as unsent.
//! - **It stops between two changes**, never inside one.
//! - **A write whose answer was lost is looked up before it is sent again**: it may have been done.
//! - **Nothing is sent that the ledger does not have**, and it is told what became of it once that is
//!   known. What is not known, the next run's look at Omni says.

use super::guard::Verdict;
use super::ledger::Ledger;
use super::plan::{Action, Change, FieldChange, differences, edit_of};
use super::{Applied, Kind, Outcome, RunError};
use crate::omni::{Edit, Found, OmniError, Writer, backoff};
use crate::user::{Email, ObservedUser, Schema, UserSpec};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// How often a write is sent at most, where each answer is lost.
const ATTEMPTS: u32 = 6;

/// What became of all changes.
#[derive(Debug)]
pub struct Report {
    /// One for each change that passed, in the order in which they ended.
    pub applied: Vec<Applied>,
    /// Why nothing more was sent, where the run was cut short.
    pub cut_short: Option<RunError>,
}

/// Carries out what passed. `told` hears of each change as it ends.
pub async fn apply(
    writer: &Writer,
    verdict: &Verdict,
    schema: &Schema,
    ledger: &Ledger<'_>,
    max_in_flight: usize,
    told: impl FnMut(&Applied) + Send,
) -> Report {
    let worker = Worker {
        writer,
        schema,
        ledger,
        updates_are_free: verdict.updates_are_free(),
        end: OnceLock::new(),
    };
    let ends = Mutex::new((Vec::new(), told));
    let phases: [fn(Kind) -> bool; 3] = [
        Kind::is_removal,
        |kind| kind == Kind::Update,
        |kind| kind == Kind::Create,
    ];
    for phase in phases {
        let changes: Vec<_> = verdict
            .passed()
            .iter()
            .filter(|change| phase(change.kind()))
            .collect();
        let next = AtomicUsize::new(0);
        // Each takes the next change when it has ended one: what waits costs nothing.
        let hands = (0..max_in_flight).map(|_| async {
            while let Some(change) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
                let one = worker.carry_out(change).await;
                let (applied, told) = &mut *lock(&ends);
                told(&one);
                applied.push(one);
            }
        });
        futures_util::future::join_all(hands).await;
    }
    let (applied, _) = ends.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report {
        applied,
        cut_short: worker.end.into_inner(),
    }
}

/// A lock that is never held over an await, and that no panic leaves half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker<'a> {
    writer: &'a Writer,
    schema: &'a Schema,
    ledger: &'a Ledger<'a>,
    /// Whether a user who turns out to exist may be updated.
    updates_are_free: bool,
    /// Why nothing more is to be sent; set once.
    end: OnceLock<RunError>,
}

/// How a change ended, told twice: in full, and without what Omni said of it, which may hold values,
/// for the log.
struct Ending {
    outcome: Outcome,
    detail: String,
    logged: String,
    /// Whether Omni itself said no, so that it will again.
    refused: bool,
    /// Whether it is known that it was done, or that it was not.
    known: bool,
    /// Who was to be made and exists already.
    exists: Option<Box<ObservedUser>>,
}

impl Ending {
    fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            outcome,
            logged: detail.clone(),
            detail,
            refused: false,
            known: true,
            exists: None,
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
            refused: error.is_refusal(),
            known: true,
            exists: None,
        }
    }

    /// The answer was lost, and so was the look at what became of it.
    fn unknown(error: &OmniError) -> Self {
        let said = |what: &str| format!("whether this was done is not known: {what}");
        Self {
            outcome: Outcome::Failed,
            detail: said(&error.to_string()),
            logged: said(&error.without_detail()),
            refused: false,
            known: false,
            exists: None,
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
            None => self.recorded(change).await,
        };
        match (&ending.exists, &change.action) {
            (Some(user), Action::Create(spec)) if self.updates_are_free => {
                self.update_instead(change, spec, user).await
            }
            _ => self.told(change, ending),
        }
    }

    /// Creating someone who exists becomes an update, with its own lines in the ledger. It clears
    /// nothing: clears are for the guard to count, and this update has not been before it.
    async fn update_instead(
        &self,
        change: &Change,
        spec: &UserSpec,
        user: &ObservedUser,
    ) -> Applied {
        let (clears, sets): (Vec<_>, Vec<_>) = differences(spec, user, self.schema)
            .into_iter()
            .partition(FieldChange::is_clear);
        let update = Change {
            action: Action::Update(user.clone().into(), sets),
            ..change.clone()
        };
        let mut ending = match &update.action {
            Action::Update(_, sets) if sets.is_empty() => Ending::done(),
            _ => self.recorded(&update).await,
        };
        let left = match (clears.is_empty(), user.active) {
            (false, _) => {
                Some("some of their values are to be cleared, which is left to the next run")
            }
            (true, false) => Some("they are inactive, which is left to the next run"),
            (true, true) => None,
        };
        if ending.outcome == Outcome::Done {
            ending = match left {
                Some(left) => Ending::new(Outcome::Failed, format!("they existed already; {left}")),
                None => Ending::new(
                    Outcome::Done,
                    "they existed already, and are as the roster says",
                ),
            };
        }
        self.told(&update, ending)
    }

    fn told(&self, change: &Change, ending: Ending) -> Applied {
        let applied = Applied {
            email: change.email.clone(),
            kind: change.kind(),
            outcome: ending.outcome,
            detail: ending.detail,
            refused: ending.refused,
        };
        log(&applied, &ending.logged);
        applied
    }

    /// Between two lines in the ledger, the change.
    async fn recorded(&self, change: &Change) -> Ending {
        let id = match self.ledger.intend(change).await {
            Ok(id) => id,
            Err(error) => {
                let ending = Ending::new(Outcome::Unsent, format!("not sent: {error}"));
                self.end_run(error.into());
                return ending;
            }
        };
        let ending = self.verified(change).await;
        if ending.known {
            let Ending {
                outcome,
                detail,
                refused,
                ..
            } = &ending;
            let settled = self
                .ledger
                .settle(id, change, *outcome, detail, *refused)
                .await;
            settled.unwrap_or_else(|error| self.end_run(error.into()));
        }
        ending
    }

    /// A change that was done before and is asked for again is looked at once it is done: it may be
    /// one that Omni accepts and does not keep.
    async fn verified(&self, change: &Change) -> Ending {
        let ending = self.settle(change).await;
        if ending.outcome != Outcome::Done || !self.ledger.is_back(change) {
            return ending;
        }
        let reader = self.writer.reader();
        let now = match change.user_id() {
            Some(id) => reader.get(id).await,
            None => reader.find(&change.email).await.map(|found| match found {
                Found::One(user) => Some(*user),
                Found::Nobody | Found::Several(_) | Found::Unclear => None,
            }),
        };
        let not_kept = |what: &str| {
            Ending::new(
                Outcome::NotKept,
                format!("Omni accepted this and did not keep: {what}"),
            )
        };
        match (&change.action, now) {
            (_, Err(_)) | (Action::Delete(_) | Action::Deactivate(_), Ok(None)) => ending,
            (Action::Delete(_), Ok(Some(_))) => not_kept("the user is still there"),
            (Action::Create(_) | Action::Update(..), Ok(None)) => not_kept("the user is not there"),
            (Action::Deactivate(_), Ok(Some(user))) => self.compare(
                &Edit {
                    active: Some(false),
                    ..Edit::default()
                },
                Some(&user),
            ),
            (Action::Update(_, fields), Ok(Some(user))) => {
                self.compare(&edit_of(fields), Some(&user))
            }
            (Action::Create(spec), Ok(Some(user))) => self.compare(&wish(spec), Some(&user)),
        }
    }

    /// Whoever comes second says the same.
    fn end_run(&self, error: RunError) {
        let _ = self.end.set(error);
    }

    /// Sends a change until its outcome is known.
    async fn settle(&self, change: &Change) -> Ending {
        let mut losses = 0;
        loop {
            let failure = match self.send(change).await {
                Ok(ending) => return ending,
                Err(OmniError::Lost(failure)) => failure,
                Err(error) => return self.conclude(error),
            };
            losses += 1;
            tracing::info!(
                user = %change.email, kind = %change.kind(), failure = failure.without_detail(),
                "the answer to a change was lost; the user is looked up"
            );
            match self.look_after_loss(change, losses).await {
                Ok(After::Settled(ending)) => return ending,
                Ok(After::SendAgain) if losses < ATTEMPTS => {}
                Ok(After::SendAgain) => {
                    return self.conclude(OmniError::Unavailable {
                        attempts: losses,
                        failure,
                    });
                }
                Err(error) => {
                    let ending = Ending::unknown(&error);
                    self.conclude(error);
                    return ending;
                }
            }
        }
    }

    /// An error that ends a change, which was not done, and perhaps the run.
    fn conclude(&self, error: OmniError) -> Ending {
        let failed = Ending::failed(&error);
        if !error.ends_run() {
            return failed;
        }
        self.end_run(error.into());
        Ending {
            outcome: Outcome::Unsent,
            ..failed
        }
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
                Err(OmniError::Conflict { .. }) => self.who_exists(&change.email).await,
                other => other.map(|answer| self.compare(&wish(spec), answer.as_ref())),
            },
        }
    }

    /// Who has the email of somebody who was to be made.
    async fn who_exists(&self, email: &Email) -> Result<Ending, OmniError> {
        let refused = |what: &str| Ending {
            refused: true,
            ..Ending::new(Outcome::Failed, what)
        };
        Ok(match self.writer.reader().find(email).await? {
            Found::One(user) => Ending {
                exists: Some(user),
                ..Ending::new(
                    Outcome::Failed,
                    "they exist already (409); the next run sees to it",
                )
            },
            Found::Several(count) => return Err(OmniError::Ambiguous { count }),
            Found::Unclear => return Err(OmniError::Unclear),
            Found::Nobody => refused(
                "Omni says that this user exists already (409) and shows nobody with this email; ask \
                 Omni's support who has it",
            ),
        })
    }

    /// Looks up a user whose write got no answer: by id, where they have one, since a look-up by email
    /// may miss somebody whose address is spelt in another case.
    async fn look_after_loss(&self, change: &Change, losses: u32) -> Result<After, OmniError> {
        let reader = self.writer.reader();
        reader.rest(backoff(losses)).await?;
        let found = match change.user_id() {
            Some(id) => reader.get(id).await?,
            None => match reader.find(&change.email).await? {
                Found::One(user) => Some(*user),
                Found::Several(count) => return Err(OmniError::Ambiguous { count }),
                // If they are there after all, Omni says so when they are made again (409).
                Found::Nobody | Found::Unclear => None,
            },
        };
        Ok(match (&change.action, found) {
            (Action::Create(_), None) => After::SendAgain,
            (Action::Create(spec), Some(user)) => self.reached(&wish(spec), &user),
            (Action::Delete(_) | Action::Deactivate(_), None) => After::Settled(Ending::done()),
            (Action::Delete(_), Some(_)) => After::SendAgain,
            (Action::Deactivate(_), Some(user)) => self.reached(
                &Edit {
                    active: Some(false),
                    ..Edit::default()
                },
                &user,
            ),
            (Action::Update(..), None) => After::Settled(vanished()),
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

/// The log's own name for these lines, so that a command that tells its changes itself can leave
/// them out.
pub const CHANGES: &str = "omni_user_sync::change";

fn log(applied: &Applied, detail: &str) {
    let (user, kind, outcome) = (&applied.email, applied.kind, applied.outcome.as_str());
    match applied.outcome {
        Outcome::Done => tracing::info!(target: CHANGES, %user, %kind, outcome, detail, "change"),
        Outcome::Unsent => {
            tracing::debug!(target: CHANGES, %user, %kind, outcome, detail, "change")
        }
        Outcome::NotKept | Outcome::Failed => {
            tracing::warn!(target: CHANGES, %user, %kind, outcome, detail, "change");
        }
    }
}
