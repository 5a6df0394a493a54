//! Changes of memberships on their way: recorded, in one request with others, ended.

use super::OnEnd;
use super::attempt::Attempt;
use super::worker::Worker;
use crate::model::{Action, Change, GroupRef, Membership, ObservedUser, UserId};
use crate::omni::OmniError;
use crate::run::effects::GroupEffect;
use crate::run::recorder::Recorded;
use futures_util::future::join_all;
use std::sync::Arc;

/// A recorded change of a membership.
pub(super) struct Member {
    pub(super) change: Change,
    pub(super) user: Arc<ObservedUser>,
    recorded: Recorded,
}

impl Member {
    pub(super) fn id(&self) -> &UserId {
        &self.user.id
    }

    /// The same in a group that has an id by now.
    pub(super) fn of(self, group: &GroupRef) -> Self {
        Self {
            change: completed(&self.change, group, &self.user),
            ..self
        }
    }
}

/// The change of a membership with the ids that are known by now.
pub(super) fn completed(change: &Change, group: &GroupRef, user: &Arc<ObservedUser>) -> Change {
    match change.membership() {
        Some(membership) => change.with(Action::Membership(Membership {
            group: group.clone(),
            user: Some(user.clone()),
            ..membership.clone()
        })),
        None => change.clone(),
    }
}

/// The members of one request.
pub(super) struct Batch {
    pub(super) members: Vec<Member>,
    /// The number of lost responses.
    pub(super) losses: u32,
    /// Whether the group was read since, and showed that all of them are still to be changed.
    pub(super) is_compared: bool,
}

impl Batch {
    pub(super) fn new(members: Vec<Member>) -> Self {
        Self {
            members,
            losses: 0,
            is_compared: false,
        }
    }

    pub(super) fn ids(&self) -> Vec<UserId> {
        let ids = self.members.iter().map(Member::id);
        ids.cloned().collect()
    }

    /// Ends all members in the same way.
    pub(super) fn end(self, attempt: &Attempt) -> BatchEnd {
        let members = self.members.into_iter();
        let ended = members.map(|one| (one, attempt.clone()));
        BatchEnd::ended(ended.collect())
    }

    /// Two halves. A single member fails.
    pub(super) fn halve(mut self, error: &OmniError) -> BatchEnd {
        if self.members.len() == 1 {
            return self.end(&Attempt::failed(error));
        }
        let second = Self {
            members: self.members.split_off(self.members.len() / 2),
            ..self
        };
        BatchEnd {
            ended: Vec::new(),
            open: vec![second, self],
        }
    }
}

/// The result of one request.
pub(super) struct BatchEnd {
    pub(super) ended: Vec<(Member, Attempt)>,
    /// What is still to be sent, the last one first.
    pub(super) open: Vec<Batch>,
}

impl BatchEnd {
    pub(super) fn ended(ended: Vec<(Member, Attempt)>) -> Self {
        Self {
            ended,
            open: Vec::new(),
        }
    }

    pub(super) fn again(batch: Batch) -> Self {
        Self {
            ended: Vec::new(),
            open: vec![batch],
        }
    }

    pub(super) fn and(mut self, ended: Vec<(Member, Attempt)>) -> Self {
        self.ended.extend(ended);
        self
    }
}

impl Worker<'_> {
    /// Records changes that are about to be sent. If one can't be recorded, none may be sent, and all end.
    pub(super) async fn record_members(
        &self,
        changes: Vec<(Change, Arc<ObservedUser>)>,
        on_end: OnEnd<'_>,
    ) -> Vec<Member> {
        let recorder = self.work.recorder;
        let recorded = changes.iter().map(|(change, _)| recorder.intend(change));
        let recorded = join_all(recorded).await;
        let (mut members, mut failure) = (Vec::new(), None);
        for ((change, user), recorded) in changes.into_iter().zip(recorded) {
            match recorded {
                Ok(recorded) => members.push(Member {
                    change,
                    user,
                    recorded,
                }),
                Err(error) => {
                    let attempt = Attempt::skipped(format!("not sent: {error}"));
                    self.end_run(error.into());
                    on_end(attempt.clone().end(&change));
                    failure = Some(attempt);
                }
            }
        }
        match failure {
            None => members,
            Some(failure) => {
                let all = Batch::new(members).end(&failure);
                self.settle_members(all.ended, on_end).await;
                Vec::new()
            }
        }
    }

    /// Records the outcomes of changes, as far as they are known.
    pub(super) async fn settle_members(&self, ended: Vec<(Member, Attempt)>, on_end: OnEnd<'_>) {
        let settle = ended.into_iter().map(|(member, mut attempt)| async move {
            let Member {
                change, recorded, ..
            } = member;
            // No write of a membership changes the user.
            if let (Some(_), Some(group)) = (attempt.effect.take(), change.group())
                && let Some(id) = &group.id
            {
                self.note_group(GroupEffect::Unknown(id.clone()));
            }
            if attempt.known {
                let Attempt {
                    outcome,
                    detail,
                    cause,
                    ..
                } = &attempt;
                let recorder = self.work.recorder;
                recorder
                    .settle(recorded, &change, *outcome, detail, *cause, None)
                    .await
                    .unwrap_or_else(|error| self.end_run(error.into()));
            }
            on_end(attempt.end(&change));
        });
        join_all(settle).await;
    }
}
