//! One change, from its line in the ledger to what became of it.

use super::attempt::Attempt;
use super::{Change, Ended, Work};
use crate::model::{ChangeOutcome, Observed, ObservedUser, Operation, Schema, UserSpec};
use crate::omni::{Edit, Failure, Found, OmniError, Reader};
use crate::plan::Action;
use crate::plan::edit_of;
use crate::plan::quarantine::Cause;
use crate::run::RunError;
use crate::run::observe::Effect;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How often a write is sent at most, where each answer is lost.
const ATTEMPTS: u32 = 6;

/// So many changes in a row without an answer to any try end a run: it is no single user's affair. That looks are
/// answered between them says nothing of the next write.
const MOST_UNANSWERED: u32 = 20;

/// For how long what was observed is taken for what is.
const JUST_NOW: Duration = Duration::from_secs(60);

pub(super) struct Worker<'a> {
    pub(super) work: &'a Work<'a>,
    /// All users, once that was needed.
    pub(super) everybody: OnceCell<Observed>,
    /// How many changes in a row had no answer to any try.
    unanswered: AtomicU32,
    /// Why nothing more is to be sent; set once.
    end: OnceLock<RunError>,
}

/// What to do after a look at a user whose write got no answer.
enum After {
    Settled(Attempt),
    SendAgain,
}

impl<'a> Worker<'a> {
    pub(super) fn new(work: &'a Work<'a>) -> Self {
        Self {
            work,
            everybody: OnceCell::new(),
            unanswered: AtomicU32::new(0),
            end: OnceLock::new(),
        }
    }

    pub(super) async fn carry_out(&self, change: &Change) -> Ended {
        if self.end.get().is_some() {
            return Attempt::new(ChangeOutcome::Unsent, "not sent: the run ended before")
                .of(change);
        }
        let ending = self.recorded(change).await;
        self.mend(change, ending).await
    }

    pub(super) fn cut_short(self) -> Option<RunError> {
        self.end.into_inner()
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.work.prepared.known.schema
    }

    pub(super) fn reader(&self) -> &Reader {
        self.work.writer.reader()
    }

    /// Whether Omni may have changed since what was planned from was seen.
    pub(super) fn may_be_stale(&self) -> bool {
        let known = &self.work.prepared.known;
        known.is_kept() || known.age() > JUST_NOW
    }

    /// Whether somebody may be there who was not seen.
    pub(super) fn may_be_overlooked(&self) -> bool {
        self.may_be_stale() || !self.work.prepared.known.observed.shows_everybody()
    }

    /// Whether a user who turns out to exist may be updated.
    pub(super) fn updates_are_free(&self) -> bool {
        self.work.prepared.verdict.updates_are_free()
    }

    /// Between two lines in the ledger, the change.
    pub(super) async fn recorded(&self, change: &Change) -> Attempt {
        let id = match self.work.ledger.intend(change).await {
            Ok(id) => id,
            Err(error) => {
                let ending = Attempt::new(ChangeOutcome::Unsent, format!("not sent: {error}"));
                self.end_run(error.into());
                return ending;
            }
        };
        let ending = self.verified(change).await;
        if ending.known {
            let Attempt {
                outcome,
                detail,
                cause,
                effect,
                ..
            } = &ending;
            let made = match (change.kind(), effect) {
                (Operation::Create, Some(Effect::Is(user))) => Some(&user.id),
                _ => None,
            };
            let settled = self
                .work
                .ledger
                .settle(id, change, *outcome, detail, *cause, made)
                .await;
            settled.unwrap_or_else(|error| self.end_run(error.into()));
        }
        ending
    }

    /// A change that was done before and is asked for again is looked at once it is done: it may be
    /// one that Omni accepts and does not keep.
    async fn verified(&self, change: &Change) -> Attempt {
        let ending = self.settle(change).await;
        if ending.outcome != ChangeOutcome::Done || !self.work.ledger.is_repeat(change) {
            return ending;
        }
        let reader = self.reader();
        let now = match change.user_id() {
            Some(id) => reader.get(id).await,
            None => match reader.find(&change.email).await {
                Ok(Found::One(user)) => Ok(Some(*user)),
                Ok(Found::Nobody) => Ok(None),
                // That says nothing of what was kept.
                Ok(Found::Several(_) | Found::UnreliableLookup) => return ending,
                Err(error) => Err(error),
            },
        };
        match (&change.action, now) {
            (_, Err(_)) | (Action::Delete(_) | Action::Deactivate(_), Ok(None)) => ending,
            (Action::Delete(_), Ok(Some(user))) => {
                not_kept_of("the user is still there").with(Effect::Is(user.into()))
            }
            (Action::Create(_) | Action::Update(..), Ok(None)) => {
                not_kept_of("the user is not there").with(Effect::Unsure)
            }
            (Action::Deactivate(_), Ok(Some(user))) => self.compare(&inactive(), user),
            (Action::Update(_, fields), Ok(Some(user))) => self.compare(&edit_of(fields), user),
            (Action::Create(spec), Ok(Some(user))) => self.compare(&wish(spec), user),
        }
    }

    /// Whoever comes second says the same.
    fn end_run(&self, error: RunError) {
        let _ = self.end.set(error);
    }

    /// Sends a change until its outcome is known.
    async fn settle(&self, change: &Change) -> Attempt {
        let ending = self.tried(change).await;
        if ending.cause != Cause::Unanswered && ending.outcome != ChangeOutcome::Unsent {
            self.unanswered.store(0, Ordering::Relaxed);
        }
        ending
    }

    async fn tried(&self, change: &Change) -> Attempt {
        let mut losses = 0;
        loop {
            let failure = match self.send(change, losses > 0).await {
                Ok(ending) => return ending,
                Err(OmniError::OutcomeUnknown(failure)) => failure,
                // What was sent before may yet arrive.
                Err(error) if losses > 0 && error.ends_run() => {
                    let ending = Attempt::unknown(&error);
                    self.conclude(error);
                    return ending;
                }
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
                Ok(After::SendAgain) => return self.give_up(losses, failure),
                Err(error) => {
                    let ending = Attempt::unknown(&error);
                    self.conclude(error);
                    return ending;
                }
            }
        }
    }

    /// Ends a change that was tried as often as is sensible, was not done, and had no answer.
    fn give_up(&self, attempts: u32, failure: Failure) -> Attempt {
        let in_a_row = self.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row >= MOST_UNANSWERED {
            let failure = failure.clone();
            self.end_run(OmniError::CircuitOpen { in_a_row, failure }.into());
        }
        Attempt {
            cause: Cause::Unanswered,
            ..Attempt::failed(&OmniError::Unavailable { attempts, failure })
        }
    }

    /// An error that ends a change, which was not done, and perhaps the run.
    fn conclude(&self, error: OmniError) -> Attempt {
        let failed = Attempt::failed(&error);
        if !error.ends_run() {
            return failed;
        }
        self.end_run(error.into());
        Attempt {
            outcome: ChangeOutcome::Unsent,
            effect: None,
            ..failed
        }
    }

    /// A look at a user whose change Omni has answered: where it can't be had, the change was sent all the same. Where
    /// it was `sent_before`, what became of that is what the look was to tell.
    fn looked(&self, look: Result<Attempt, OmniError>, answer: &str, sent_before: bool) -> Attempt {
        let error = match look {
            Ok(ending) => return ending,
            Err(error) => error,
        };
        let said = |what: &str| format!("{answer}, and a look at them failed: {what}");
        let ending = Attempt {
            logged: said(&error.without_detail()),
            detail: said(&error.to_string()),
            effect: Some(Effect::Unsure),
            known: !sent_before,
            ..Attempt::failed(&error)
        };
        if error.ends_run() {
            self.end_run(error.into());
        }
        ending
    }

    async fn send(&self, change: &Change, sent_before: bool) -> Result<Attempt, OmniError> {
        let writer = &self.work.writer;
        let sent = match &change.action {
            Action::Delete(user) => {
                let sent = writer.delete(&user.id).await;
                sent.map(|()| Attempt::done(Effect::Gone))
            }
            Action::Deactivate(user) => self.edit(user, &inactive()).await,
            Action::Update(user, fields) => self.edit(user, &edit_of(fields)).await,
            Action::Create(spec) => match writer.create(&change.email, spec).await {
                Ok(Some(user)) => Ok(self.compare(&wish(spec), user)),
                // Their id is not known.
                Ok(None) => Ok(Attempt::done(Effect::Unsure)),
                Err(error) => Err(error),
            },
        };
        match (sent, change.kind()) {
            (Err(OmniError::Conflict { .. }), Operation::Create) => {
                let who = self.on_conflict(&change.email).await;
                Ok(self.looked(who, "they exist already (409)", sent_before))
            }
            (Err(OmniError::NotFound { .. }), _) if self.may_be_stale() => {
                let who = self.on_not_found(change).await;
                Ok(self.looked(
                    who,
                    "they are gone by the id that they had (404)",
                    sent_before,
                ))
            }
            (Err(OmniError::NotFound { .. }), Operation::Delete | Operation::Deactivate) => {
                Ok(Attempt::gone())
            }
            (sent, _) => sent.map(|ending| self.drifted(change, ending)),
        }
    }

    async fn edit(&self, user: &ObservedUser, edit: &Edit) -> Result<Attempt, OmniError> {
        let answer = self.work.writer.update(&user.id, edit, self.schema());
        Ok(match answer.await? {
            Some(now) => self.compare(edit, now),
            // An empty answer says nothing.
            None => Attempt::done(Effect::Is(edit.applied_to(user).into())),
        })
    }

    /// Looks up a user whose write got no answer: by id, where they have one, since a look-up by email
    /// may miss somebody whose address is spelt in another case.
    async fn look_after_loss(&self, change: &Change, losses: u32) -> Result<After, OmniError> {
        let reader = self.reader();
        reader.back_off(losses).await?;
        let found = match change.user_id() {
            Some(id) => reader.get(id).await?,
            None => match reader.find(&change.email).await? {
                Found::One(user) => Some(*user),
                Found::Several(count) => return Err(OmniError::Ambiguous { count }),
                // If they are there after all, Omni says so when they are made again (409).
                Found::Nobody | Found::UnreliableLookup => None,
            },
        };
        Ok(match (&change.action, found) {
            (Action::Create(_), None) => After::SendAgain,
            (Action::Create(spec), Some(user)) => self.reached(&wish(spec), user),
            (Action::Delete(_) | Action::Deactivate(_), None) => {
                After::Settled(Attempt::done(Effect::Gone))
            }
            (Action::Delete(_), Some(_)) => After::SendAgain,
            (Action::Deactivate(_), Some(user)) => self.reached(&inactive(), user),
            (Action::Update(..), None) => After::Settled(Attempt::vanished()),
            (Action::Update(_, fields), Some(user)) => self.reached(&edit_of(fields), user),
        })
    }

    fn reached(&self, edit: &Edit, user: ObservedUser) -> After {
        if self.not_kept(edit, &user).is_empty() {
            After::Settled(Attempt::done(Effect::Is(user.into())))
        } else {
            After::SendAgain
        }
    }

    /// Compares what a user is now with what was asked.
    fn compare(&self, edit: &Edit, now: ObservedUser) -> Attempt {
        let not_kept = self.not_kept(edit, &now).join(", ");
        let outcome = match not_kept.as_str() {
            "" => Attempt::new(ChangeOutcome::Done, ""),
            fields => not_kept_of(fields),
        };
        outcome.with(Effect::Is(now.into()))
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
                .schema()
                .converged(name, wanted.as_ref(), user.attributes.get(name))
            {
                fields.push(name.to_string());
            }
        }
        fields
    }
}

fn not_kept_of(what: &str) -> Attempt {
    Attempt::new(
        ChangeOutcome::NotKept,
        format!("Omni accepted this and did not keep: {what}"),
    )
}

fn inactive() -> Edit {
    Edit {
        active: Some(false),
        ..Edit::default()
    }
}

/// What a user that was made should look like.
fn wish(spec: &UserSpec) -> Edit {
    let UserSpec {
        display_name,
        attributes,
    } = spec;
    let attributes = attributes.iter();
    Edit {
        display_name: display_name.clone(),
        active: None,
        attributes: attributes
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    }
}
