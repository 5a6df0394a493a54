//! The writes of a probe. One whose response was lost is sent again, unless the user shows its effect: a lost response says
//! nothing about the reading.

use super::steps::Answer;
use super::trial::Trial;
use crate::model::{ClearForm, PatchForm, Value};
use crate::omni::OmniError;

/// How often a write is sent at most.
const MAX_ATTEMPTS: u32 = 3;

const READ: &str = "GET of the user";

/// A write of the user of the probe.
#[derive(Debug)]
pub(super) enum Write {
    /// Sets the attribute.
    Set(PatchForm, Value),
    /// Clears the attribute.
    Clear(ClearForm),
    /// A `PUT` without attributes.
    PutNames,
    /// Sets `active`.
    Active(bool),
}

impl Write {
    /// The name for the report.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Set(PatchForm::NoPath, _) => "PATCH of an attribute without a path",
            Self::Set(PatchForm::Path, _) => "PATCH of an attribute by its path",
            Self::Clear(ClearForm::Null) => "PATCH of an attribute to null",
            Self::Clear(ClearForm::Empty) => "PATCH of an attribute to an empty value",
            Self::Clear(ClearForm::Remove) => "PATCH that removes an attribute",
            Self::PutNames => "PUT without attributes",
            Self::Active(true) => "PATCH of active to true",
            Self::Active(false) => "PATCH of active to false",
        }
    }
}

/// What a write has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Omni refused it.
    Refused,
    /// Omni accepted it, or the user shows the effect: whether it does.
    Settled(bool),
    /// Each response was lost, and the effect does not show.
    Lost,
}

impl Written {
    /// Whether the write has the effect; `None` if that is unknown.
    pub(super) fn has_effect(self) -> Option<bool> {
        match self {
            Self::Refused => Some(false),
            Self::Settled(has_effect) => Some(has_effect),
            Self::Lost => None,
        }
    }
}

impl Trial<'_> {
    /// Sends a write, and reads the user after it.
    pub(super) async fn try_write(&mut self, write: &Write) -> Result<Written, OmniError> {
        self.write(write, true).await
    }

    /// Sends a write that is known to work. The user is read only after a lost response.
    pub(super) async fn repeat_write(&mut self, write: &Write) -> Result<Written, OmniError> {
        self.write(write, false).await
    }

    /// Sets the attribute with a form that works, unless it has a value of the probe.
    pub(super) async fn ensure_value(&mut self) -> Result<Option<Value>, OmniError> {
        if self.value.is_none()
            && let Some(form) = self.patch_form()
            && let Some(value) = self.next_value()
        {
            let set = Write::Set(form, value.clone());
            let is_set = self.repeat_write(&set).await? == Written::Settled(true);
            self.value = is_set.then_some(value);
        }
        Ok(self.value.clone())
    }

    async fn write(&mut self, write: &Write, is_verified: bool) -> Result<Written, OmniError> {
        for attempt in 1..=MAX_ATTEMPTS {
            let sent = self.send(write).await;
            let answer = self.steps.wrote(write.name(), sent)?;
            match answer {
                Answer::Refused(_) => return Ok(Written::Refused),
                Answer::Accepted if !is_verified => return Ok(Written::Settled(true)),
                _ => {}
            }
            let has_effect = self.read_effect(write).await?;
            if has_effect || answer == Answer::Accepted {
                return Ok(Written::Settled(has_effect));
            }
            if attempt == MAX_ATTEMPTS || !self.affords(2, write.name()) {
                break;
            }
            self.writer.reader().back_off(attempt).await?;
        }
        Ok(Written::Lost)
    }

    async fn send(&self, write: &Write) -> Result<(), OmniError> {
        let (writer, id) = (self.writer, &self.user.id);
        match (write, &self.sample) {
            (Write::Active(active), _) => writer.set_active(id, *active).await,
            (Write::PutNames, _) => writer.put_names(&self.user).await,
            (Write::Set(form, value), Some(sample)) => {
                writer.set_by(*form, id, &sample.name, value).await
            }
            (Write::Clear(form), Some(sample)) => match self.patch_form() {
                Some(patch) => {
                    let (name, multiple) = (&sample.name, sample.multiple);
                    writer.clear_by(*form, patch, id, name, multiple).await
                }
                None => Ok(()),
            },
            // Without an attribute, none is written.
            (Write::Set(..) | Write::Clear(_), None) => Ok(()),
        }
    }

    /// Reads the user. Returns whether it shows the effect of a write.
    async fn read_effect(&mut self, write: &Write) -> Result<bool, OmniError> {
        let value = match write {
            Write::Active(active) => {
                self.read_active().await?;
                return Ok(self.active.is_none() || self.active == Some(*active));
            }
            Write::Set(_, value) => Some(value.clone()),
            Write::Clear(_) | Write::PutNames => self.value.clone(),
        };
        self.read().await?;
        let is_shown = value.is_some_and(|value| self.shows(&self.user, &value));
        self.steps.add(READ, Answer::attribute(is_shown));
        Ok(is_shown == matches!(write, Write::Set(..)))
    }

    async fn read_active(&mut self) -> Result<(), OmniError> {
        let user = self.writer.reader().get(&self.user.id).await?;
        self.active = user.map(|user| !user.is_inactive());
        self.steps.add(
            READ,
            Answer::Shows(match self.active {
                Some(true) => "an active user",
                Some(false) => "an inactive user",
                None => "no user",
            }),
        );
        Ok(())
    }
}
