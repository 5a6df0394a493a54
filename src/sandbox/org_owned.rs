//! What the users of the organisation own, for tests. Changes bypass the rules.

use serde_json::{Value, json};

use super::org::{Org, State};
use super::owned::{Document, Moved, PersonalToken, Schedule};
use super::user::Id;
use super::world::Change;

impl Org {
    /// Adds a schedule of a user and returns its id. It has this number of email recipients; `None` is another
    /// destination.
    ///
    /// # Panics
    /// If there is no such user.
    #[track_caller]
    pub fn add_schedule(&self, owner: &str, name: &str, recipients: Option<u32>) -> String {
        let owner = self.id_of(owner);
        let mut state = self.lock();
        let schedule = state.world.owned.new_schedule(owner, name, recipients);
        let id = schedule.id.to_string();
        state.change(None, Change::AddSchedule(Box::new(schedule)));
        id
    }

    /// Deletes a schedule, as its owner does.
    ///
    /// # Panics
    /// If there is no such schedule.
    #[track_caller]
    pub fn remove_schedule(&self, id: &str) {
        let mut state = self.lock();
        let id = state.schedule_id(id);
        state.change(None, Change::RemoveSchedule(id));
    }

    /// Hides the content of a schedule from a user, so that it can't be transferred to this user.
    ///
    /// # Panics
    /// If there is no such schedule or user.
    #[track_caller]
    pub fn hide_schedule(&self, id: &str, from: &str) {
        let user = self.id_of(from);
        let schedules = &mut self.lock().world.owned.schedules;
        let found = schedules.iter_mut().find(|one| one.id.to_string() == id);
        let found = found.expect("the sandbox has no such schedule");
        found.hidden_from.insert(user);
    }

    /// Transfers a schedule, as another client does.
    ///
    /// # Panics
    /// If there is no such schedule or user.
    #[track_caller]
    pub fn transfer_schedule(&self, id: &str, to: &str) {
        let to = self.id_of(to);
        let mut state = self.lock();
        let id = state.schedule_id(id);
        state.change(None, Change::TransferSchedule { id, to });
    }

    /// Adds a document that a user created, and returns its id.
    ///
    /// # Panics
    /// If there is no such user.
    #[track_caller]
    pub fn add_document(&self, creator: &str, name: &str) -> String {
        let creator = self.id_of(creator);
        let owned = &mut self.lock().world.owned;
        let id = owned.take_id();
        owned.documents.push(Document {
            id,
            name: name.to_owned(),
            creator,
        });
        id.to_string()
    }

    /// Adds a personal token of a user, and returns its id.
    ///
    /// # Panics
    /// If there is no such user.
    #[track_caller]
    pub fn add_personal_token(&self, owner: &str, name: &str) -> String {
        let owner = self.id_of(owner);
        let owned = &mut self.lock().world.owned;
        let id = owned.take_id();
        owned.tokens.push(PersonalToken {
            id,
            name: name.to_owned(),
            owner,
            enabled: true,
        });
        id.to_string()
    }

    /// The schedules in order of creation: id, name, and the owner's email.
    #[must_use]
    pub fn schedules(&self) -> Vec<(String, String, String)> {
        let world = &self.lock().world;
        let schedules = world.owned.schedules.iter();
        schedules
            .map(|one| named(one, world.email(one.owner)))
            .collect()
    }

    /// The schedules that were deleted with their owners: id, name, and the owner's email.
    #[must_use]
    pub fn lost_schedules(&self) -> Vec<(String, String, String)> {
        let lost = &self.lock().world.owned.lost;
        let one = |lost: &Moved| named(&lost.schedule, lost.from.clone());
        lost.iter().map(one).collect()
    }

    /// The transfers of schedules in their order: id, and emails of the former and the new owner.
    #[must_use]
    pub fn transfers(&self) -> Vec<(String, String, String)> {
        let world = &self.lock().world;
        let transfers = world.owned.transfers.iter();
        let one = |moved: &Moved| {
            let id = moved.schedule.id.to_string();
            (id, moved.from.clone(), world.email(moved.schedule.owner))
        };
        transfers.map(one).collect()
    }

    /// The names of the personal tokens that can be used, each with the email of its owner.
    #[must_use]
    pub fn personal_tokens(&self) -> Vec<(String, String)> {
        let world = &self.lock().world;
        let tokens = world.owned.tokens.iter().filter(|token| token.enabled);
        tokens
            .map(|token| (token.name.clone(), world.email(token.owner)))
            .collect()
    }

    /// All that users own, each with the email of its owner.
    pub(super) fn all_owned(&self) -> Value {
        let world = &self.lock().world;
        let owned = &world.owned;
        let entry = |mut shown: Value, owner: Id| {
            shown["owner"] = json!(world.email(owner));
            shown
        };
        let lost = |lost: &Moved| {
            let mut shown = lost.schedule.to_json(&world.users);
            shown["owner"] = json!(lost.from);
            shown
        };
        let schedules = owned.schedules.iter();
        let schedules = schedules.map(|one| entry(one.to_json(&world.users), one.owner));
        let documents = owned.documents.iter();
        let documents = documents.map(|one| entry(one.to_json(&world.users), one.creator));
        let tokens = owned.tokens.iter();
        let tokens = tokens.map(|one| entry(one.to_json(), one.owner));
        json!({
            "schedules": Value::from_iter(schedules),
            "lost_schedules": Value::from_iter(owned.lost.iter().map(lost)),
            "documents": Value::from_iter(documents),
            "personal_tokens": Value::from_iter(tokens),
        })
    }
}

fn named(schedule: &Schedule, owner: String) -> (String, String, String) {
    (schedule.id.to_string(), schedule.name.clone(), owner)
}

impl State {
    /// # Panics
    /// If there is no such schedule.
    #[track_caller]
    fn schedule_id(&self, id: &str) -> Id {
        let id = Id::parse(id).filter(|id| self.world.owned.schedule(*id).is_some());
        id.expect("the sandbox has no such schedule")
    }
}
