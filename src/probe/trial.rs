//! The user and the group under test, and the requests that the readings share.

use super::group::OwnGroup;
use super::sample::Samples;
use super::steps::{Answer, Steps};
use super::user::{FilterAnswer, UserEnd};
use crate::model::{AttributeName, ClearForm, ObservedUser, PatchForm, Readings, Schema, Value};
use crate::omni::{OmniError, Writer};
use chrono::{DateTime, Utc};
use std::time::Duration;

/// The requests kept for the end: a `DELETE` of the user and one of the group, and before them the search for a user
/// that Omni has created again.
const RESERVED: u64 = 3;

/// How many forms were tried with a result.
#[derive(Default)]
pub(super) struct Tried {
    pub(super) patch_forms: usize,
    pub(super) clears: usize,
}

/// The user as last read, and what it has shown.
pub(super) struct Trial<'a> {
    pub(super) writer: &'a Writer,
    pub(super) schema: &'a Schema,
    pub(super) filter: FilterAnswer,
    pub(super) user: ObservedUser,
    /// The group of the probe; `None` if Omni refused it.
    pub(super) group: Option<OwnGroup>,
    /// The attributes to try.
    pub(super) samples: Option<Samples>,
    /// Whether the user is active, as last read; `None` if it is gone.
    pub(super) active: Option<bool>,
    /// Whether a list has shown the user.
    pub(super) is_listed: bool,
    pub(super) readings: Readings,
    pub(super) tried: Tried,
    pub(super) steps: Steps,
    /// Whether Omni may have created a second user with the email.
    pub(super) may_be_recreated: bool,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        writer: &'a Writer,
        user: ObservedUser,
        group: Option<OwnGroup>,
        schema: &'a Schema,
        filter: FilterAnswer,
    ) -> Self {
        Self {
            writer,
            schema,
            filter,
            user,
            group,
            samples: Samples::of(schema),
            active: Some(true),
            is_listed: false,
            readings: Readings::default(),
            tried: Tried::default(),
            steps: Steps::default(),
            may_be_recreated: false,
        }
    }

    /// Whether this many requests may be sent.
    pub(super) fn affords(&mut self, requests: u64, what: &'static str) -> bool {
        let affords = self.writer.reader().requests_left() >= requests + RESERVED;
        if !affords {
            self.steps.add(what, Answer::Skipped);
        }
        affords
    }

    /// Reads the user.
    pub(super) async fn read(&mut self) -> Result<(), OmniError> {
        let user = self.writer.reader().get(&self.user.id).await?;
        self.user = user.ok_or_else(|| OmniError::NotFound {
            detail: "the user of the probe is gone".into(),
        })?;
        Ok(())
    }

    /// What is known of the user now.
    pub(super) fn end(&self) -> UserEnd {
        match self.active {
            None if self.may_be_recreated => UserEnd::MayBeRecreated(self.filter),
            None => UserEnd::Gone,
            Some(_) => UserEnd::Present,
        }
    }

    /// Whether a user has this value of an attribute.
    pub(super) fn shows(&self, user: &ObservedUser, name: &AttributeName, value: &Value) -> bool {
        self.schema.same(name, user.value(name), Some(value))
    }

    /// A value that was not tried before. `None` if there is no attribute to set.
    pub(super) fn next_value(&mut self) -> Option<Value> {
        Some(self.samples.as_mut()?.next())
    }

    /// An attribute that has a value of the probe, with the value.
    pub(super) fn valued(&self) -> Option<(&AttributeName, &Value)> {
        let mut valued = self.samples.as_ref()?.with_value();
        valued.next().map(|(_, name, value)| (name, value))
    }

    /// What the user has shown. A list of forms counts only if each form was tried.
    pub(super) fn learned(&self) -> Readings {
        let mut readings = self.readings.clone();
        readings.patch_forms = readings
            .patch_forms
            .filter(|_| self.tried.patch_forms == PatchForm::ALL.len());
        readings.clears_by = readings
            .clears_by
            .filter(|_| self.tried.clears == ClearForm::ALL.len());
        readings
    }

    /// A form of `PATCH` that works.
    pub(super) fn patch_form(&self) -> Option<PatchForm> {
        self.readings.patch_forms.iter().flatten().next().copied()
    }

    /// Waits until the time of a change must differ from the last one that Omni has shown.
    pub(super) async fn pass_time(&self) {
        let in_seconds = |time: DateTime<Utc>| time.timestamp_subsec_nanos() == 0;
        let wait = match self.user.modified.is_some_and(in_seconds) {
            true => Duration::from_millis(1100),
            false => Duration::from_millis(20),
        };
        tokio::time::sleep(wait).await;
    }

    /// Learns whether `lastModified` moves, from a change that took effect.
    pub(super) fn compare_times(&mut self, before: &ObservedUser) {
        let moves = &mut self.readings.last_modified_moves;
        *moves = moves.or(moved(before.modified, self.user.modified));
    }
}

/// Whether `lastModified` has moved; `None` if Omni does not show it.
fn moved(before: Option<DateTime<Utc>>, after: Option<DateTime<Utc>>) -> Option<bool> {
    Some(after? > before?)
}
