//! One change, from its record to its outcome.

use super::attempt::Attempt;
use super::{ApplyContext, EndedChange};
use crate::model::{
    Action, Change, ChangeOutcome, Email, Field, FieldChange, Observed, ObservedGroup,
    ObservedUser, Operation, OwnedSchedules, Schema,
};
use crate::omni::{Failure, Lookup, OmniError, Reader};
use crate::plan::quarantine::Cause;
use crate::run::RunError;
use crate::run::cache::Effect;
use crate::run::effects::GroupEffect;
use crate::util::sync::{into_inner, lock};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use tokio::sync::OnceCell;

/// How often a write is sent at most if each response is lost.
pub(super) const MAX_ATTEMPTS: u32 = 6;

/// This many unanswered changes in a row end the run, because the cause is not a single user. Lookups that are answered
/// in between say nothing about the next write.
const MAX_UNANSWERED: u32 = 20;

pub(super) struct Worker<'a> {
    pub(super) work: &'a ApplyContext<'a>,
    /// All users, once they were needed.
    pub(super) everybody: OnceCell<Observed>,
    /// Whether a user was read after an update to learn whether `lastModified` moves.
    time_read: AtomicBool,
    /// Whether Omni was asked if a 403 on a write concerns the key.
    key_checked: OnceCell<()>,
    /// The number of unanswered changes in a row.
    unanswered: AtomicU32,
    /// What happened to groups.
    groups: Mutex<Vec<GroupEffect>>,
    /// The number of users that may still be updated beside the plan.
    spare_updates: AtomicUsize,
    /// Users that exist and that the list of this run did not show.
    pub(super) unlisted: Mutex<Vec<Email>>,
    /// Why nothing more is sent.
    end: OnceLock<RunError>,
}

/// What to do after the lookup of a user whose write got no response.
enum AfterLoss {
    Settled(Attempt),
    SendAgain,
}

impl<'a> Worker<'a> {
    pub(super) fn new(work: &'a ApplyContext<'a>) -> Self {
        Self {
            work,
            everybody: OnceCell::new(),
            time_read: AtomicBool::new(false),
            key_checked: OnceCell::new(),
            unanswered: AtomicU32::new(0),
            groups: Mutex::default(),
            spare_updates: work.prepared.assessment.verdict.spare_updates().into(),
            unlisted: Mutex::default(),
            end: OnceLock::new(),
        }
    }

    pub(super) async fn apply(&self, change: &Change) -> EndedChange {
        if self.has_ended() {
            return Attempt::not_sent().end(change);
        }
        let attempt = self.recorded(change).await;
        self.follow_up(change, attempt).await
    }

    /// Why nothing more was sent, the users that the list did not show, and what happened to groups.
    pub(super) fn finish(self) -> (Option<RunError>, Vec<Email>, Vec<GroupEffect>) {
        let (unlisted, groups) = (into_inner(self.unlisted), into_inner(self.groups));
        (self.end.into_inner(), unlisted, groups)
    }

    /// Whether nothing more is sent.
    pub(super) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    /// Notes what happened to a group.
    pub(super) fn note_group(&self, effect: GroupEffect) {
        lock(&self.groups).push(effect);
    }

    /// The groups that were created.
    pub(super) fn created_groups(&self) -> Vec<ObservedGroup> {
        let effects = lock(&self.groups);
        let created = effects.iter().filter_map(|effect| match effect {
            GroupEffect::Created(group) => Some(group.clone()),
            _ => None,
        });
        created.collect()
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.work.prepared.cache.schema
    }

    pub(super) fn reader(&self) -> &Reader {
        self.work.writer.reader()
    }

    /// Whether Omni may have changed since the observation.
    pub(super) fn may_be_stale(&self) -> bool {
        self.work.prepared.cache.may_be_stale()
    }

    /// Whether a user may exist that was not seen.
    pub(super) fn may_be_overlooked(&self) -> bool {
        self.may_be_stale() || !self.work.prepared.cache.observed.shows_everybody()
    }

    /// Whether one more user may be updated, who turned out to exist or to differ. The limit counts distinct users.
    pub(super) fn may_update(&self, change: &Change) -> bool {
        let take = |spare: usize| spare.checked_sub(1);
        change.operation() == Operation::Update
            || self
                .spare_updates
                .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
    }

    /// A looked-up user with all fields: reads the user by id if the lookup did not show all of them.
    pub(super) async fn complete(
        &self,
        mut user: ObservedUser,
    ) -> Result<Option<ObservedUser>, OmniError> {
        if self.work.prepared.cache.observed.shows_attributes() {
            user.attributes.get_or_insert_default();
        }
        match user.is_read() {
            true => Ok(Some(user)),
            false => self.reader().get(&user.id).await,
        }
    }

    /// Records a change, sends it, and records its outcome.
    pub(super) async fn recorded(&self, change: &Change) -> Attempt {
        let sent = async {
            match &change.action {
                Action::Role(assignment) => self.assign(change, assignment).await,
                Action::Transfer(transfer) => self.transfer(change, transfer).await,
                _ => self.verified(change).await,
            }
        };
        self.record(change, sent).await
    }

    /// Records a change that fails before it is sent.
    pub(super) async fn unsent(&self, change: &Change, why: String) -> Attempt {
        let failed = async { Attempt::new(ChangeOutcome::Failed, why) };
        self.record(change, failed).await
    }

    async fn record(&self, change: &Change, attempt: impl Future<Output = Attempt>) -> Attempt {
        let recorder = self.work.recorder;
        let recorded = match recorder.intend(change).await {
            Ok(recorded) => recorded,
            Err(error) => {
                let attempt = Attempt::new(ChangeOutcome::Skipped, format!("not sent: {error}"));
                self.end_run(error.into());
                return attempt;
            }
        };
        let attempt = attempt.await;
        if attempt.known {
            let Attempt {
                outcome,
                detail,
                cause,
                effect,
                ..
            } = &attempt;
            let created = match (change.operation(), effect) {
                (Operation::Create, Some(Effect::Is(user))) => Some(&user.id),
                _ => None,
            };
            recorder
                .settle(recorded, change, *outcome, detail, *cause, created)
                .await
                .unwrap_or_else(|error| self.end_run(error.into()));
        }
        attempt
    }

    /// Reads the user back after a repeated change, because Omni may accept it and not keep it, and after a
    /// reactivation, which is not possible by Omni's newer documents.
    async fn verified(&self, change: &Change) -> Attempt {
        let mut attempt = self.settle(change).await;
        if attempt.outcome == ChangeOutcome::Applied && is_unchecked(change) {
            attempt.add_detail("schedules not checked");
        }
        let is_doubtful = change.reactivates() || self.work.recorder.is_repeat(change);
        if attempt.outcome != ChangeOutcome::Applied || !is_doubtful {
            return attempt;
        }
        let reader = self.reader();
        // A list may lag behind a creation, so the user is read by the id in the response.
        let id = match (change.user_id(), &attempt.effect) {
            (None, Some(Effect::Is(created))) => Some(&created.id),
            (id, _) => id,
        };
        let now = match id {
            Some(id) => reader.get(id).await,
            None => match self.find_subject(change).await {
                Ok(Lookup::One(user)) => self.complete(*user).await,
                Ok(Lookup::NotFound) => Ok(None),
                // This does not show what Omni kept.
                Ok(Lookup::Several(_) | Lookup::Unreliable) => return attempt,
                Err(error) => Err(error),
            },
        };
        match (&change.action, now) {
            (Action::Membership(_) | Action::Role(_) | Action::Transfer(_), _)
            | (_, Err(_))
            | (Action::Delete(_) | Action::Deactivate(_), Ok(None)) => attempt,
            (Action::Delete(_), Ok(Some(user))) => {
                Attempt::not_kept("the user still exists").with(Effect::Is(user.into()))
            }
            (Action::Create(_) | Action::Update(..), Ok(None)) => {
                Attempt::not_kept("the user does not exist").with(Effect::Uncertain)
            }
            (Action::Deactivate(_) | Action::Create(_) | Action::Update(..), Ok(Some(user))) => {
                self.compare(&expected(change), user)
            }
        }
    }

    /// Ends the run. Only the first error is kept.
    pub(super) fn end_run(&self, error: RunError) {
        let _ = self.end.set(error);
    }

    /// Sends a change until its outcome is known.
    async fn settle(&self, change: &Change) -> Attempt {
        let attempt = self.attempt(change).await;
        if attempt.cause != Cause::Unanswered && attempt.outcome != ChangeOutcome::Skipped {
            self.note_answer();
        }
        attempt
    }

    /// Notes that a write got an answer.
    pub(super) fn note_answer(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    async fn attempt(&self, change: &Change) -> Attempt {
        let mut losses = 0;
        loop {
            let failure = match self.send(change, losses > 0).await {
                Ok(attempt) => return attempt,
                Err(OmniError::OutcomeUnknown(failure)) => failure,
                // An earlier attempt may still arrive.
                Err(error) if losses > 0 && error.ends_run() => return self.unresolved(error),
                Err(error) => return self.conclude(error),
            };
            losses += 1;
            tracing::info!(
                user = %change.subject, operation = %change.operation(), failure = %failure.redacted(),
                "the response to a change was lost; looking the user up"
            );
            match self.look_up_after_loss(change, losses).await {
                Ok(AfterLoss::Settled(attempt)) => return attempt,
                Ok(AfterLoss::SendAgain) if losses < MAX_ATTEMPTS => {}
                Ok(AfterLoss::SendAgain) => return self.give_up(losses, failure),
                Err(error) => return self.unresolved(error),
            }
        }
    }

    /// Ends a change that may have been applied, and the run if the error concerns all changes.
    pub(super) fn unresolved(&self, error: OmniError) -> Attempt {
        let attempt = Attempt::unknown(&error);
        self.conclude(error);
        attempt
    }

    /// Ends a change that was not applied and got no response to any attempt.
    pub(super) fn give_up(&self, attempts: u32, failure: Failure) -> Attempt {
        let in_a_row = self.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row >= MAX_UNANSWERED {
            let failure = failure.clone();
            self.end_run(OmniError::CircuitOpen { in_a_row, failure }.into());
        }
        Attempt {
            cause: Cause::Unanswered,
            ..Attempt::failed(&OmniError::Unavailable { attempts, failure })
        }
    }

    /// Ends a change that was not applied, and the run if the error concerns all changes.
    pub(super) fn conclude(&self, error: OmniError) -> Attempt {
        let failed = Attempt::failed(&error);
        if !error.ends_run() {
            return failed;
        }
        self.end_run(error.into());
        Attempt {
            outcome: ChangeOutcome::Skipped,
            effect: None,
            ..failed
        }
    }

    /// Whether an error concerns this change alone, or how the change ends if the error concerns all changes.
    pub(super) async fn refusal(
        &self,
        error: OmniError,
        sent_before: bool,
    ) -> ControlFlow<Attempt, OmniError> {
        let error = self.checked(error).await;
        match error.ends_run() {
            // An earlier attempt may still arrive.
            true if sent_before => ControlFlow::Break(self.unresolved(error)),
            true => ControlFlow::Break(self.conclude(error)),
            false => {
                self.note_answer();
                ControlFlow::Continue(error)
            }
        }
    }

    /// The result of a lookup after Omni responded to a change. If the lookup failed, the change was sent all the same.
    /// If it was `sent_before`, the outcome of the earlier attempt stays unknown.
    pub(super) fn looked_up(
        &self,
        look_up: Result<Attempt, OmniError>,
        answer: &str,
        sent_before: bool,
    ) -> Attempt {
        let error = match look_up {
            Ok(attempt) => return attempt,
            Err(error) => error,
        };
        let text = |error: &str| format!("{answer}, and the lookup failed: {error}");
        let attempt = Attempt {
            logged: text(&error.redacted()),
            detail: text(&error.to_string()),
            effect: Some(Effect::Uncertain),
            known: !sent_before,
            ..Attempt::failed(&error)
        };
        if error.ends_run() {
            self.end_run(error.into());
        }
        attempt
    }

    async fn send(&self, change: &Change, sent_before: bool) -> Result<Attempt, OmniError> {
        // After a lost response the user was just read.
        if !sent_before && let Some(attempt) = self.recheck_removal(change).await? {
            return Ok(attempt);
        }
        let writer = &self.work.writer;
        let fields = expected(change);
        let sent = match &change.action {
            Action::Delete(user) => {
                let sent = writer.delete(&user.id).await;
                sent.map(|()| Attempt::applied(Effect::Gone))
            }
            Action::Update(user, _) => self.update(user, &fields).await,
            Action::Deactivate(user) => {
                let sent = self.update(user, &fields).await;
                sent.map(Attempt::distrust_unless_applied)
            }
            Action::Create(spec) => self.create(change, spec, &fields).await,
            // Memberships are sent by group; `assign` and `transfer` send the others.
            Action::Membership(_) | Action::Role(_) | Action::Transfer(_) => {
                Ok(Attempt::vanished())
            }
        };
        match (sent, change.operation()) {
            (Err(OmniError::Conflict { .. }), Operation::Create) => {
                let found = self.on_conflict(change, sent_before).await;
                Ok(self.looked_up(found, "the user exists already (409)", sent_before))
            }
            (Err(OmniError::NotFound { .. }), Operation::Delete | Operation::Deactivate) => {
                Ok(Attempt::gone())
            }
            (Err(OmniError::NotFound { .. }), _) if self.may_be_stale() => {
                let found = self.on_not_found(change).await;
                let answer = "no user has the cached id (404)";
                Ok(self.looked_up(found, answer, sent_before))
            }
            (Err(error @ OmniError::WriteForbidden { .. }), _) => Err(self.checked(error).await),
            (sent, _) => sent.map(|attempt| self.recheck_drift(change, attempt)),
        }
    }

    /// Distinguishes a key that is no longer valid from a change that is not permitted: an invalid key can't read
    /// either, which ends the run. Sends one request per run.
    pub(super) async fn checked(&self, error: OmniError) -> OmniError {
        if !matches!(error, OmniError::WriteForbidden { .. }) {
            return error;
        }
        let read = || async { self.reader().page(1).await.map(drop) };
        match self.key_checked.get_or_try_init(read).await {
            Ok(()) => error,
            Err(error) => error,
        }
    }

    async fn update(
        &self,
        user: &ObservedUser,
        fields: &[FieldChange],
    ) -> Result<Attempt, OmniError> {
        let answer = self.work.writer.update(user, fields, self.schema());
        let now = match answer.await? {
            Some(now) => now,
            // An empty response shows nothing.
            None if !self.may_be_stale() && !self.would_learn(user, fields) => {
                return Ok(Attempt::applied(Effect::Is(user.with(fields).into())));
            }
            None => match self.reader().get(&user.id).await {
                Ok(Some(now)) => now,
                Ok(None) => return Ok(Attempt::vanished()),
                Err(_) if !self.may_be_stale() => {
                    return Ok(Attempt::applied(Effect::Is(user.with(fields).into())));
                }
                Err(error) => return Ok(self.unresolved(error)),
            },
        };
        Ok(match now.email == user.email {
            true => self.compare(fields, now),
            false => Attempt::misdirected(now),
        })
    }

    /// Whether a read after an update would show whether `lastModified` moves when attributes change. One read per run
    /// is enough.
    fn would_learn(&self, user: &ObservedUser, fields: &[FieldChange]) -> bool {
        let is_attribute = |one: &FieldChange| matches!(one.field, Field::Attribute(_));
        self.work
            .prepared
            .cache
            .observed
            .last_modified_moves()
            .is_none()
            && user.modified.is_some()
            && fields.iter().all(is_attribute)
            && !self.time_read.swap(true, Ordering::Relaxed)
    }

    /// Looks up a user whose write got no response: by id if there is one, because a lookup by email may depend on
    /// letter case.
    async fn look_up_after_loss(
        &self,
        change: &Change,
        losses: u32,
    ) -> Result<AfterLoss, OmniError> {
        let reader = self.reader();
        reader.back_off(losses).await?;
        let found = match change.user_id() {
            Some(id) => reader.get(id).await?,
            None => match self.find_subject(change).await? {
                Lookup::One(user) => self.complete(*user).await?,
                Lookup::Several(count) => return Err(OmniError::Ambiguous { count }),
                // If the user exists after all, the next attempt gets a 409.
                Lookup::NotFound | Lookup::Unreliable => None,
            },
        };
        Ok(match (&change.action, found) {
            (Action::Create(_), None)
            | (Action::Membership(_) | Action::Role(_) | Action::Transfer(_), _) => {
                AfterLoss::SendAgain
            }
            (Action::Delete(_) | Action::Deactivate(_), None) => {
                AfterLoss::Settled(Attempt::applied(Effect::Gone))
            }
            (Action::Update(..), None) => AfterLoss::Settled(Attempt::vanished()),
            (Action::Deactivate(_) | Action::Update(..), Some(user))
                if change.subject != user.email && self.shows(change, &user) =>
            {
                AfterLoss::Settled(Attempt::misdirected(user))
            }
            (Action::Delete(_) | Action::Deactivate(_) | Action::Update(..), Some(user))
                if change.subject != user.email =>
            {
                AfterLoss::Settled(Attempt::moved(user))
            }
            (Action::Delete(_), Some(_)) => AfterLoss::SendAgain,
            (Action::Create(_) | Action::Deactivate(_) | Action::Update(..), Some(user)) => {
                if self.shows(change, &user) {
                    AfterLoss::Settled(Attempt::applied(Effect::Is(user.into())))
                } else {
                    AfterLoss::SendAgain
                }
            }
        })
    }

    /// Whether a user already has the values that a change sets.
    fn shows(&self, change: &Change, user: &ObservedUser) -> bool {
        self.not_kept(&expected(change), user).is_empty()
    }

    /// Compares a user with the expected fields.
    pub(super) fn compare(&self, expected: &[FieldChange], now: ObservedUser) -> Attempt {
        let not_kept = self.not_kept(expected, &now).join(", ");
        let attempt = match not_kept.as_str() {
            "" => Attempt::new(ChangeOutcome::Applied, ""),
            fields => Attempt::not_kept(fields),
        };
        attempt.with(Effect::Is(now.into()))
    }

    /// The names of fields that a user does not show as expected.
    fn not_kept(&self, expected: &[FieldChange], user: &ObservedUser) -> Vec<String> {
        let differs = |one: &&FieldChange| !user.shows(&one.field, one.to.as_ref(), self.schema());
        let differing = expected.iter().filter(differs);
        differing.map(|one| one.field.to_string()).collect()
    }
}

/// Whether Omni does not show the schedules of the user to be removed.
fn is_unchecked(change: &Change) -> bool {
    let owned = change.removed().and_then(|user| user.owned.as_deref());
    owned.is_some_and(|owned| owned.schedules == OwnedSchedules::NotShown)
}

/// The fields that a user should show after a change.
fn expected(change: &Change) -> Vec<FieldChange> {
    match &change.action {
        Action::Create(spec) => spec.fields(),
        Action::Deactivate(_) => vec![FieldChange::active(true, false)],
        Action::Delete(_)
        | Action::Update(..)
        | Action::Membership(_)
        | Action::Role(_)
        | Action::Transfer(_) => change.fields(),
    }
}
