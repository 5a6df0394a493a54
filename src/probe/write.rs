//! The writes of a probe. One whose response was lost is sent again, unless the user shows its effect: a lost response
//! says nothing about the reading.

use super::sample::Sample;
use super::steps::Answer;
use super::trial::Trial;
use crate::model::{AttributeName, ClearForm, PatchForm, Value};
use crate::omni::OmniError;

/// How often a write is sent at most.
const MAX_ATTEMPTS: u32 = 3;

const READ: &str = "GET of the user";

/// A write of the user of the probe.
#[derive(Debug)]
pub(super) enum Write {
    /// Sets all attributes.
    Set(PatchForm, Value),
    /// Clears the attribute at this position, with this form of `PATCH` unless the form of clearing has its own.
    Clear(ClearForm, PatchForm, usize),
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
            Self::Clear(ClearForm::Null, ..) => "PATCH of an attribute to null",
            Self::Clear(ClearForm::Empty, ..) => "PATCH of an attribute to an empty value",
            Self::Clear(ClearForm::Remove, ..) => "PATCH that removes an attribute",
            Self::PutNames => "PUT without attributes",
            Self::Active(true) => "PATCH of active to true",
            Self::Active(false) => "PATCH of active to false",
        }
    }

    /// The name of a read after it.
    fn read_name(&self) -> &'static str {
        match self {
            Self::Clear(ClearForm::Null, ..) => "GET of the user, after null",
            Self::Clear(ClearForm::Empty, ..) => "GET of the user, after an empty value",
            Self::Clear(ClearForm::Remove, ..) => "GET of the user, after remove",
            Self::Set(..) | Self::PutNames | Self::Active(_) => READ,
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

/// The delivery of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Refused,
    Accepted,
    /// The response was lost, and the user shows the effect.
    Shown,
    /// Each response was lost.
    Lost,
}

impl Trial<'_> {
    /// Sends a write, and reads the user after it.
    pub(super) async fn try_write(&mut self, write: &Write) -> Result<Written, OmniError> {
        let written = self.try_writes(std::slice::from_ref(write)).await?;
        Ok(written.first().copied().unwrap_or(Written::Lost))
    }

    /// Sends writes, and reads the user once after them. Clears may follow a write that sets all attributes, as long as
    /// one attribute is not cleared.
    pub(super) async fn try_writes(&mut self, writes: &[Write]) -> Result<Vec<Written>, OmniError> {
        let mut delivered = Vec::new();
        for write in writes {
            let delivery = self.deliver(write).await?;
            delivered.push(delivery);
            // Without values, there is nothing to clear.
            if matches!(write, Write::Set(..)) && delivery == Delivery::Refused {
                break;
            }
        }
        let sent = writes.iter().zip(&delivered);
        let accepted = sent.filter(|(_, delivery)| **delivery == Delivery::Accepted);
        let cleared = accepted.filter_map(|(write, _)| match write {
            Write::Clear(_, _, at) => Some(*at),
            Write::Set(..) | Write::PutNames | Write::Active(_) => None,
        });
        let cleared: Vec<_> = cleared.collect();
        let mut is_read = false;
        let mut written = Vec::new();
        for (write, delivery) in writes.iter().zip(delivered) {
            written.push(match delivery {
                Delivery::Refused => Written::Refused,
                Delivery::Shown => Written::Settled(true),
                Delivery::Lost => Written::Lost,
                Delivery::Accepted if is_read => {
                    Written::Settled(self.shows_effect(write, &cleared))
                }
                Delivery::Accepted => {
                    is_read = true;
                    Written::Settled(self.read_effect(write, &cleared).await?)
                }
            });
        }
        Ok(written)
    }

    /// Sets the attributes with a form that works, unless one has a value of the probe. Returns whether one has.
    pub(super) async fn ensure_value(&mut self) -> Result<bool, OmniError> {
        if self.valued().is_none()
            && let Some(form) = self.patch_form()
            && let Some(value) = self.next_value()
        {
            let set = Write::Set(form, value.clone());
            // The form is known to work. The user is read only after a lost response.
            let delivered = self.deliver(&set).await?;
            if let (Delivery::Accepted | Delivery::Shown, Some(samples)) =
                (delivered, &mut self.samples)
            {
                samples.note_set_again(&value);
            }
        }
        Ok(self.valued().is_some())
    }

    /// Sends a write until Omni answers, or the user shows its effect.
    async fn deliver(&mut self, write: &Write) -> Result<Delivery, OmniError> {
        for attempt in 1..=MAX_ATTEMPTS {
            let sent = self.send(write).await;
            match self.steps.wrote(write.name(), sent)? {
                Answer::Refused(_) => return Ok(Delivery::Refused),
                Answer::Accepted => return Ok(Delivery::Accepted),
                Answer::Lost | Answer::Shows(_) | Answer::Skipped => {}
            }
            if self.read_effect(write, &[]).await? {
                return Ok(Delivery::Shown);
            }
            if attempt == MAX_ATTEMPTS || !self.affords(2, write.name()) {
                break;
            }
            self.writer.reader().back_off(attempt).await?;
        }
        Ok(Delivery::Lost)
    }

    async fn send(&self, write: &Write) -> Result<(), OmniError> {
        let (writer, id) = (self.writer, &self.user.id);
        match (write, &self.samples) {
            (Write::Active(active), _) => writer.set_active(id, *active).await,
            (Write::PutNames, _) => writer.put_names(&self.user).await,
            (Write::Set(form, value), Some(samples)) => {
                writer.set_by(*form, id, &samples.names(), value).await
            }
            (Write::Clear(form, patch, at), Some(samples)) => match samples.get(*at) {
                Some(Sample { name, .. }) => {
                    let multiple = samples.multiple;
                    writer.clear_by(*form, *patch, id, name, multiple).await
                }
                None => Ok(()),
            },
            // Without an attribute, none is written.
            (Write::Set(..) | Write::Clear(..), None) => Ok(()),
        }
    }

    /// Reads the user. Returns whether it shows the effect of a write, after which these attributes were cleared.
    async fn read_effect(&mut self, write: &Write, cleared: &[usize]) -> Result<bool, OmniError> {
        match write {
            Write::Active(active) => {
                self.read_active().await?;
                Ok(self.active.is_none() || self.active == Some(*active))
            }
            Write::Set(..) | Write::Clear(..) | Write::PutNames => {
                self.read().await?;
                Ok(self.shows_effect(write, cleared))
            }
        }
    }

    /// Whether the user, as last read, shows the effect of a write of attributes, after which these were cleared. Takes
    /// in which values it shows.
    fn shows_effect(&mut self, write: &Write, cleared: &[usize]) -> bool {
        let Some(mut samples) = self.samples.take() else {
            return false;
        };
        let shows = |name: &AttributeName, value: &Value| self.shows(&self.user, name, value);
        let (is_shown, has_effect) = match write {
            Write::Set(_, value) => {
                let is_set = samples.note_set(value, cleared, |name| shows(name, value));
                (is_set, is_set)
            }
            Write::Clear(_, _, at) => {
                let sample = samples.get(*at);
                let value = sample.and_then(|sample| Some((&sample.name, sample.value.as_ref()?)));
                let is_shown = value.map(|(name, value)| shows(name, value));
                if is_shown == Some(false) {
                    samples.note(*at, None);
                }
                // Without a value, nothing was cleared.
                (is_shown == Some(true), is_shown == Some(false))
            }
            Write::PutNames => {
                let is_shown = samples
                    .with_value()
                    .any(|(_, name, value)| shows(name, value));
                if !is_shown {
                    samples.note_reset();
                }
                (is_shown, !is_shown)
            }
            Write::Active(_) => (false, false),
        };
        self.samples = Some(samples);
        let answer = Answer::attribute(is_shown);
        self.steps.add(write.read_name(), answer);
        has_effect
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
