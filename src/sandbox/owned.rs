//! What users own: schedules and personal tokens, which a removal of the user affects, and documents, which stay.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::store::Store;
use super::user::Id;

/// The first id of what users own.
const FIRST_ID: u64 = 1 << 41;

#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) owner: Id,
    /// The number of recipients; `None` for another destination than email.
    pub(super) recipients: Option<u32>,
    /// The users who can't see its content.
    pub(super) hidden_from: BTreeSet<Id>,
}

impl Schedule {
    pub(super) fn to_json(&self, users: &Store) -> Value {
        let owner = users.get(self.owner).map(|user| &user.display_name);
        json!({
            "id": self.id.to_string(),
            "name": self.name,
            "ownerId": self.owner.to_string(),
            "ownerName": owner,
            "recipientCount": self.recipients.map_or(-1, i64::from),
            "destinationType": if self.recipients.is_some() { "email" } else { "webhook" },
            "schedule": "0 9 ? * MON *",
            "timezone": "UTC",
            "format": "pdf",
            "content": "dashboard",
            "dashboardName": self.name,
            "identifier": &self.id.to_string()[..8],
            "disabledAt": null,
            "lastCompletedAt": null,
            "lastStatus": null,
            "slackRecipientType": null,
            "systemDisabledAt": null,
            "systemDisabledReason": null,
        })
    }
}

#[derive(Debug)]
pub(super) struct Document {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) creator: Id,
}

impl Document {
    pub(super) fn to_json(&self, users: &Store) -> Value {
        let owner = users.get(self.creator).map(|user| &user.display_name);
        let identifier = &self.id.to_string()[..8];
        json!({
            "identifier": identifier,
            "name": self.name,
            "owner": {"id": self.creator.to_string(), "name": owner},
            "type": "document",
            "scope": "organization",
            "deleted": false,
            "hasDashboard": true,
            "folder": null,
            "connectionId": Id::nth(1).to_string(),
            "updatedAt": null,
            "url": format!("https://sandbox.omniapp.co/dashboards/{identifier}"),
        })
    }
}

#[derive(Debug)]
pub(super) struct PersonalToken {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) owner: Id,
    pub(super) enabled: bool,
}

impl PersonalToken {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "name": self.name,
            "type": "personal",
            "enabled": self.enabled,
            "membershipId": self.owner.to_string(),
            "createdAt": "2026-01-15T10:00:00.000Z",
        })
    }
}

/// A schedule that was deleted with its owner, or transferred.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub(super) schedule: Schedule,
    /// The email of the owner before.
    pub(super) from: String,
}

/// What the users of an organisation own, in order of creation.
#[derive(Debug, Default)]
pub(super) struct Owned {
    pub(super) schedules: Vec<Schedule>,
    pub(super) documents: Vec<Document>,
    pub(super) tokens: Vec<PersonalToken>,
    /// The schedules that were deleted with their owners.
    pub(super) lost: Vec<Moved>,
    /// The transfers, each with the schedule after it.
    pub(super) transfers: Vec<Moved>,
    made: u64,
}

impl Owned {
    /// A new id.
    pub(super) fn take_id(&mut self) -> Id {
        self.made += 1;
        Id::nth(FIRST_ID + self.made)
    }

    pub(super) fn schedule(&self, id: Id) -> Option<&Schedule> {
        self.schedules.iter().find(|schedule| schedule.id == id)
    }

    /// A schedule with a new id, which is not added yet.
    pub(super) fn new_schedule(
        &mut self,
        owner: Id,
        name: &str,
        recipients: Option<u32>,
    ) -> Schedule {
        Schedule {
            id: self.take_id(),
            name: name.to_owned(),
            owner,
            recipients,
            hidden_from: BTreeSet::new(),
        }
    }

    /// Changes the owner of a schedule from the user with this email.
    pub(super) fn transfer(&mut self, id: Id, from: String, to: Id) {
        let mut schedules = self.schedules.iter_mut();
        if let Some(schedule) = schedules.find(|schedule| schedule.id == id) {
            schedule.owner = to;
            let schedule = schedule.clone();
            self.transfers.push(Moved { schedule, from });
        }
    }

    /// Deletes the schedules of a removed user with this email, and disables the tokens.
    pub(super) fn forget(&mut self, owner: Id, email: &str) {
        let lost = self.schedules.extract_if(.., |one| one.owner == owner);
        self.lost.extend(lost.map(|schedule| Moved {
            schedule,
            from: email.to_owned(),
        }));
        for token in &mut self.tokens {
            token.enabled &= token.owner != owner;
        }
    }
}
