//! Changes members of one group, up to [`GroupRules::max_members`](crate::omni::GroupRules::max_members) with one
//! request.
//!
//! - Omni applies a request as a whole or not at all. If it refuses one, the group is read and compared: members that
//!   are as they should be count as applied. If all are still to be changed, they are halved, down to one that fails.
//!   Where a probe has learned that Omni accepts members that are as they should be, they are halved at once.
//! - If a response is lost, the group is read, and the rest is sent again.
//! - Omni may accept a request and not keep it. The group is read back if the response shows that, if a change was sent
//!   in an earlier run, and after removals with an id for which Omni's documents have no path, unless a probe has
//!   learned that it works.
//! - A group may have been renamed since it was observed. Then the roster does not name it, and the change is reverted.

use super::attempt::Attempt;
use super::members::{Batch, BatchEnd, Member};
use super::worker::{MAX_ATTEMPTS, Worker};
use super::{EndedChange, OnEnd};
use crate::model::{
    Action, Change, ChangeOutcome, Escaped, GroupId, GroupName, Membership, MembershipChange,
    ObservedGroup,
};
use crate::omni::{Failure, OmniError};
use crate::plan::quarantine::Cause;
use crate::run::effects::GroupEffect;
use crate::util::sync::{into_inner, lock};
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

/// Changes members of one group in one direction.
pub(super) struct GroupWrite<'a, 'w> {
    worker: &'a Worker<'w>,
    id: GroupId,
    name: GroupName,
    direction: MembershipChange,
    on_end: OnEnd<'a>,
    /// Whether this reverts changes, which were sent before the group was found to be renamed.
    reverts: bool,
    /// Why nothing more is sent to this group.
    renamed: OnceLock<String>,
}

impl<'a, 'w> GroupWrite<'a, 'w> {
    pub(super) fn new(
        worker: &'a Worker<'w>,
        id: GroupId,
        name: GroupName,
        direction: MembershipChange,
        on_end: OnEnd<'a>,
    ) -> Self {
        Self {
            worker,
            id,
            name,
            direction,
            on_end,
            reverts: false,
            renamed: OnceLock::new(),
        }
    }

    /// Why no more changes may be sent. A request whose response was lost is sent again until its outcome is known.
    pub(super) fn closed(&self, losses: u32) -> Option<Attempt> {
        let not_sent = || (losses == 0 && self.worker.has_ended()).then(Attempt::not_sent);
        self.is_another().or_else(not_sent)
    }

    /// How changes end that are not sent because the group was renamed.
    fn is_another(&self) -> Option<Attempt> {
        let renamed = self.renamed.get()?;
        let detail = format!("{renamed}; the next run handles this");
        Some(Attempt::new(ChangeOutcome::Failed, detail))
    }

    /// Sends changes until the outcome of each is known, or nothing more may be sent.
    pub(super) async fn send(&self, members: Vec<Member>) {
        let mut waiting: Vec<_> = (!members.is_empty())
            .then(|| Batch::new(members))
            .into_iter()
            .collect();
        while let Some(batch) = waiting.pop() {
            let BatchEnd { ended, open } = match self.closed(batch.losses) {
                Some(closed) => batch.end(&closed),
                None => self.send_batch(batch).await,
            };
            self.worker.settle_members(ended, self.on_end).await;
            waiting.extend(open);
        }
    }

    async fn send_batch(&self, batch: Batch) -> BatchEnd {
        let worker = self.worker;
        let ids = batch.ids();
        let sent = worker
            .work
            .writer
            .change_members(&self.id, self.direction, &ids);
        let error = match sent.await {
            Ok(shown) => {
                worker.note_answer();
                return self.accepted(batch, shown).await;
            }
            Err(OmniError::OutcomeUnknown(failure)) => return self.lost(batch, failure).await,
            Err(error) => worker.checked(error).await,
        };
        if error.ends_run() {
            // An earlier attempt may still arrive.
            let attempt = match batch.losses {
                0 => worker.conclude(error),
                _ => worker.unresolved(error),
            };
            return batch.end(&attempt);
        }
        worker.note_answer();
        match error {
            OmniError::NotFound { .. }
            | OmniError::Conflict { .. }
            | OmniError::Rejected { .. } => self.refused(batch, &error).await,
            _ => batch.end(&Attempt::failed(&error)),
        }
    }

    /// Compares the group with what was sent, where it is shown.
    async fn accepted(&self, batch: Batch, shown: Option<ObservedGroup>) -> BatchEnd {
        let must_read = batch.members.iter().any(|one| self.is_doubtful(one))
            || shown.as_ref().is_some_and(|group| {
                group.members.is_some() && !batch.members.iter().all(|one| self.is_done(group, one))
            });
        let now = match must_read {
            false => shown.map(|group| ObservedGroup {
                members: None,
                ..group
            }),
            true => match self.read().await {
                Ok(Some(now)) => Some(now),
                Ok(None) => return self.gone(batch),
                Err(_) => {
                    self.note(GroupEffect::Unknown(self.id.clone()));
                    shown
                }
            },
        };
        if let Some(now) = &now {
            self.note_name(now);
        }
        let is_kept = |one: &Member| match &now {
            Some(now) if now.members.is_some() => self.is_done(now, one),
            _ => true,
        };
        let (kept, others): (Vec<_>, Vec<_>) = batch.members.into_iter().partition(is_kept);
        let not_kept = Attempt::not_kept(match self.direction {
            MembershipChange::Join => "the user is not a member",
            MembershipChange::Leave => "the user is still a member",
        });
        let others = others.into_iter().map(|one| (one, not_kept.clone()));
        BatchEnd::ended(self.changed(kept).await).and(others.collect())
    }

    /// Whether Omni may not have kept a change that it accepted.
    fn is_doubtful(&self, member: &Member) -> bool {
        let rules = self.worker.reader().group_rules();
        self.worker.work.recorder.is_repeat(&member.change)
            || self.direction == MembershipChange::Leave && !rules.removes(member.id())
    }

    /// Determines what is left to do after Omni refused a request.
    async fn refused(&self, batch: Batch, error: &OmniError) -> BatchEnd {
        let rules = self.worker.reader().group_rules();
        let must_compare = match error {
            OmniError::Rejected { status, .. } if *status == StatusCode::PAYLOAD_TOO_LARGE => false,
            // The group may be gone by now.
            OmniError::NotFound { .. } => true,
            // No member that is as it should be is the cause.
            _ if rules.accepts_repeated(self.direction) => false,
            _ => !batch.is_compared,
        };
        if !must_compare {
            return batch.halve(error);
        }
        let now = match self.read().await {
            Ok(Some(now)) => now,
            Ok(None) => return self.gone(batch),
            Err(read) => {
                let sent_before = batch.losses > 0;
                let answer = error.redacted();
                let attempt = self.worker.looked_up(Err(read), &answer, sent_before);
                return batch.end(&attempt);
            }
        };
        self.note_name(&now);
        if let Some(another) = self.is_another() {
            return batch.end(&another);
        }
        let all = batch.members.len();
        let (done, open) = self.compare(batch, &now);
        let was_done = match self.direction {
            MembershipChange::Join => "was already a member",
            MembershipChange::Leave => "was no longer a member",
        };
        let done: Vec<_> = done
            .into_iter()
            .map(|one| (one, Attempt::new(ChangeOutcome::Applied, was_done)))
            .collect();
        let rest = match open.members.len() {
            0 => BatchEnd::ended(Vec::new()),
            left if left == all => Batch {
                is_compared: true,
                ..open
            }
            .halve(error),
            _ => BatchEnd::again(open),
        };
        rest.and(done)
    }

    /// Determines what is left to do after a response was lost.
    async fn lost(&self, batch: Batch, failure: Failure) -> BatchEnd {
        let worker = self.worker;
        let batch = Batch {
            losses: batch.losses + 1,
            is_compared: false,
            ..batch
        };
        tracing::info!(
            group = %self.name, operation = self.direction.as_str(), failure = %failure.redacted(),
            "the response to a change of members was lost; reading the group"
        );
        let read = async {
            worker.reader().back_off(batch.losses).await?;
            self.read().await
        };
        let now = match read.await {
            Ok(Some(now)) => now,
            Ok(None) => return self.gone(batch),
            Err(error) => return batch.end(&worker.unresolved(error)),
        };
        self.note_name(&now);
        let (done, open) = self.compare(batch, &now);
        let done = self.changed(done).await;
        let rest = match open.members.is_empty() {
            true => BatchEnd::ended(Vec::new()),
            false if open.losses < MAX_ATTEMPTS => BatchEnd::again(open),
            false => {
                let attempt = worker.give_up(open.losses, failure);
                open.end(&attempt)
            }
        };
        rest.and(done)
    }

    /// Splits members into those whose membership is as it should be, and those who are still to be changed.
    fn compare(&self, batch: Batch, now: &ObservedGroup) -> (Vec<Member>, Batch) {
        let members = batch.members.into_iter();
        let (done, members) = members.partition(|one| self.is_done(now, one));
        (done, Batch { members, ..batch })
    }

    fn is_done(&self, group: &ObservedGroup, member: &Member) -> bool {
        let members = group.members.as_ref();
        let is_member = members.is_some_and(|all| all.contains(member.id()));
        is_member == self.joins()
    }

    fn joins(&self) -> bool {
        self.direction == MembershipChange::Join
    }

    /// The group is gone, and with it all memberships.
    fn gone(&self, batch: Batch) -> BatchEnd {
        self.note(GroupEffect::Gone(self.id.clone()));
        batch.end(&match self.direction {
            MembershipChange::Leave => {
                Attempt::new(ChangeOutcome::Applied, "the group was already gone")
            }
            MembershipChange::Join => Attempt {
                cause: Cause::Rejected,
                ..Attempt::new(ChangeOutcome::Failed, "the group is no longer in Omni")
            },
        })
    }

    /// Ends changes that Omni has applied. If the group was renamed, they are reverted.
    async fn changed(&self, members: Vec<Member>) -> Vec<(Member, Attempt)> {
        for member in &members {
            let (group, user) = (self.id.clone(), member.id().clone());
            self.note(GroupEffect::Member(group, user, self.joins()));
        }
        if let Some(renamed) = self.renamed.get() {
            return self.revert(members, renamed).await;
        }
        let applied = Attempt::new(ChangeOutcome::Applied, "");
        let members = members.into_iter();
        members.map(|one| (one, applied.clone())).collect()
    }

    /// Reverts changes, with records of their own. The future is boxed, because reverting sends changes too.
    fn revert<'s>(
        &'s self,
        members: Vec<Member>,
        renamed: &'s str,
    ) -> BoxFuture<'s, Vec<(Member, Attempt)>> {
        Box::pin(async move {
            let ended = Mutex::new(HashMap::new());
            let on_end = |one: EndedChange| {
                lock(&ended).insert(one.applied.subject.clone(), one.applied);
            };
            let direction = self.direction.reverse();
            let back = |one: &Member| (back(&one.change, direction), one.user.clone());
            let back = members.iter().map(back).collect();
            let recorded = self.worker.record_members(back, &on_end).await;
            let write = GroupWrite {
                reverts: true,
                direction,
                on_end: &on_end,
                id: self.id.clone(),
                name: self.name.clone(),
                renamed: OnceLock::new(),
                worker: self.worker,
            };
            write.send(recorded).await;
            let ended = into_inner(ended);
            let attempt = |one: &Member| match ended.get(&one.change.subject) {
                Some(back) if back.outcome == ChangeOutcome::Applied => {
                    let detail = format!("{renamed}, so the change was reverted");
                    Attempt::new(ChangeOutcome::Failed, detail)
                }
                back => {
                    let logged = format!("{renamed}, and the change can't be reverted");
                    let why = back.map_or("", |back| &back.detail);
                    Attempt {
                        logged: logged.clone(),
                        ..Attempt::new(ChangeOutcome::Failed, format!("{logged}: {why}"))
                    }
                }
            };
            let members = members.into_iter();
            members
                .map(|one| {
                    let attempt = attempt(&one);
                    (one, attempt)
                })
                .collect()
        })
    }

    /// Notes whether a group has another name than when it was observed.
    fn note_name(&self, now: &ObservedGroup) {
        let is_same =
            GroupName::parse(&now.name).is_ok_and(|now| now.is_same_ignoring_case(&self.name));
        if !is_same && !self.reverts {
            let name = Escaped(&now.name);
            let _ = self
                .renamed
                .set(format!("the group is named {name} in Omni by now"));
        }
    }

    /// Reads the group; `None` if it is gone.
    async fn read(&self) -> Result<Option<ObservedGroup>, OmniError> {
        match self.worker.reader().group(&self.id).await {
            Ok(Some(group)) => {
                self.note(GroupEffect::Seen(group.clone()));
                Ok(Some(group))
            }
            Err(OmniError::Forbidden { detail, .. }) => {
                let error = OmniError::WriteForbidden { detail };
                Err(self.worker.checked(error).await)
            }
            read => read,
        }
    }

    fn note(&self, effect: GroupEffect) {
        self.worker.note_group(effect);
    }
}

/// The change that reverts a change of a membership.
fn back(change: &Change, direction: MembershipChange) -> Change {
    match change.membership() {
        Some(membership) => change.with(Action::Membership(Membership {
            change: direction,
            ..membership.clone()
        })),
        None => change.clone(),
    }
}
