//! The observed state: the users in Omni.

use super::{
    Attributes, ByEmail, Email, Interner, ObservedGroups, ObservedRoles, ObservedUser, Owned,
    UserId,
};
use chrono::{DateTime, Utc};
use indexmap::map::Entry;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The users in Omni that have an email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserMatch {
    /// One user.
    One(Arc<ObservedUser>),
    /// Several users whose emails differ at most in letter case. None of them may be changed.
    Several(usize),
}

impl UserMatch {
    /// The user has no attributes: the list shows those of other users, and none of this one.
    fn settle_attributes(&mut self) {
        if let Self::One(user) = self
            && user.attributes.is_none()
        {
            Arc::make_mut(user).attributes = Some(Attributes::default());
        }
    }

    /// The number of users.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Several(count) => *count,
        }
    }
}

/// The users in Omni: all of them, or those that were looked up.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    users: ByEmail<UserMatch>,
    interner: Interner,
    count: usize,
    /// Entries of the list that can't be read, with their ids if these are usable.
    unreadable: Vec<Option<UserId>>,
    extent: Extent,
    /// Whether a list has shown the attributes of any user.
    shows_attributes: bool,
    /// Whether `lastModified` moved when an own update changed attributes.
    last_modified_moves: Option<bool>,
    /// Whether an earlier run made this observation, or a part of it.
    is_cached: bool,
    /// If the list was read in parts: when the oldest of them was read.
    parts_since: Option<DateTime<Utc>>,
    groups: ObservedGroups,
    pub(super) roles: ObservedRoles,
}

/// What a part of a list has changed in an observation.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Emails whose users may have changed.
    pub(crate) changed: Vec<Email>,
    /// Emails of other users than before, which several users may have.
    pub(crate) unclear: Vec<Email>,
}

/// What an observation says apart from the users whose emails are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedSummary {
    count: usize,
    unreadable: Vec<Option<UserId>>,
    extent: Extent,
    shows_attributes: bool,
    #[serde(default)]
    last_modified_moves: Option<bool>,
    #[serde(default)]
    parts_since: Option<DateTime<Utc>>,
}

/// How much of Omni an observation shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Extent {
    #[default]
    Everybody,
    /// All users, or not all of them for this reason.
    Doubtful(String),
    /// The users that were looked up.
    Some,
    /// One user was looked up, and only this one matters.
    One,
}

impl Observed {
    /// The result of a listing. `others` is the number of users whose `userName` is not an email; they are counted and
    /// never changed.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = ObservedUser>, others: usize) -> Self {
        let mut observed = Self::default();
        users.into_iter().for_each(|user| observed.add(user));
        observed.add_others(others);
        observed
    }

    /// Adds a user of a listing.
    pub(crate) fn add(&mut self, user: ObservedUser) {
        self.count += 1;
        self.insert(user);
    }

    /// Counts users of a listing whose `userName` is not an email.
    pub(crate) fn add_others(&mut self, others: usize) {
        self.count += others;
    }

    /// Counts entries of a listing that can't be read, with their ids if these are usable. They are never changed.
    pub(crate) fn add_unreadable(&mut self, ids: impl Iterator<Item = Option<UserId>>) {
        self.unreadable.extend(ids);
        self.unreadable.sort();
        self.count += self.unreadable.len();
    }

    /// The entries of the list that can't be read, with their ids if these are usable. Each may be a user with any
    /// email.
    #[must_use]
    pub fn unreadable(&self) -> &[Option<UserId>] {
        &self.unreadable
    }

    /// Some of the `count` users of an organisation. Nothing is known about the others.
    #[must_use]
    pub fn of_some(users: impl IntoIterator<Item = ObservedUser>, count: usize) -> Self {
        let mut observed = Self {
            count,
            extent: Extent::Some,
            ..Self::default()
        };
        users.into_iter().for_each(|user| observed.insert(user));
        observed
    }

    /// An observation that is about one user, still without it.
    #[must_use]
    pub fn of_one() -> Self {
        Self {
            extent: Extent::One,
            ..Self::default()
        }
    }

    /// What the observation says apart from the users.
    #[must_use]
    pub fn summary(&self) -> ObservedSummary {
        ObservedSummary {
            count: self.count,
            unreadable: self.unreadable.clone(),
            extent: self.extent.clone(),
            shows_attributes: self.shows_attributes,
            last_modified_moves: self.last_modified_moves,
            parts_since: self.parts_since,
        }
    }

    /// A stored observation, still without its users.
    #[must_use]
    pub fn restored(summary: ObservedSummary) -> Self {
        let ObservedSummary {
            count,
            unreadable,
            extent,
            shows_attributes,
            last_modified_moves,
            parts_since,
        } = summary;
        Self {
            count,
            unreadable,
            extent,
            shows_attributes,
            last_modified_moves,
            parts_since,
            is_cached: true,
            ..Self::default()
        }
    }

    /// Adds stored users. They are counted already.
    pub fn restore(&mut self, email: Email, mut found: UserMatch) {
        if let UserMatch::One(user) = &mut found {
            self.share(Arc::make_mut(user));
        }
        self.users.insert(email, found);
    }

    /// All emails with their users.
    pub fn by_email(&self) -> impl Iterator<Item = (&Email, &UserMatch)> {
        self.users.iter()
    }

    fn insert(&mut self, mut user: ObservedUser) {
        self.shows_attributes |= user.attributes.is_some();
        self.share(&mut user);
        match self.users.entry(user.email.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(UserMatch::One(Arc::new(user)))),
            Entry::Occupied(mut taken) => {
                let count = taken.get().count();
                taken.insert(UserMatch::Several(count + 1));
            }
        }
    }

    fn share(&mut self, user: &mut ObservedUser) {
        let known = user.attributes.take();
        user.attributes = known.map(|known| self.interner.share(known));
    }

    /// Adds what users own, by id.
    pub(crate) fn note_owned(&mut self, owned: HashMap<UserId, Owned>) {
        let owned = owned.into_iter().map(|(id, owned)| (id, Arc::new(owned)));
        let owned: HashMap<_, _> = owned.collect();
        for found in self.users.values_mut() {
            // A user is known by two addresses if the address has changed.
            if let UserMatch::One(user) = found
                && let Some(owned) = owned.get(&user.id)
            {
                Arc::make_mut(user).owned = Some(owned.clone());
            }
        }
    }

    /// Whether a list has shown the attributes of any user.
    #[must_use]
    pub fn shows_attributes(&self) -> bool {
        self.shows_attributes
    }

    /// Whether `lastModified` moves when attributes change, as far as own updates have shown it.
    #[must_use]
    pub fn last_modified_moves(&self) -> Option<bool> {
        self.last_modified_moves
    }

    /// Takes in what an own update has shown.
    pub(crate) fn note_last_modified(&mut self, moves: Option<bool>) {
        self.last_modified_moves = moves.or(self.last_modified_moves);
    }

    /// Records whether a page of the list shows attributes.
    pub(crate) fn note_attributes(&mut self, users: &[ObservedUser]) {
        self.shows_attributes |= users.iter().any(|user| user.attributes.is_some());
    }

    /// Takes fields that a list did not show from what was known of the same users earlier. Returns those that were
    /// changed in Omni since; they keep their former time.
    pub(crate) fn complete_from<'a>(
        &mut self,
        earlier: impl Fn(&Email) -> Option<&'a UserMatch>,
    ) -> HashSet<UserId> {
        let mut changed = HashSet::new();
        for (email, found) in &mut self.users {
            let (UserMatch::One(user), Some(UserMatch::One(before))) = (found, earlier(email))
            else {
                continue;
            };
            if user.is_read() || !before.is_read() || user.id != before.id {
                continue;
            }
            let user = Arc::make_mut(user);
            user.active = user.active.or(before.active);
            user.attributes.clone_from(&before.attributes);
            if user.modified.is_some() && user.modified != before.modified {
                user.modified = before.modified;
                changed.insert(user.id.clone());
            }
        }
        changed
    }

    /// Takes in a part of a later list. `total` is the number of users in Omni.
    pub(crate) fn merge(&mut self, part: Self, total: usize) -> Merged {
        let mut merged = Merged::default();
        let found = part.users();
        let found: HashMap<_, _> = found
            .map(|user| (user.id.clone(), user.email.clone()))
            .collect();
        let moved = self.users().filter(|user| {
            let now = found.get(&user.id);
            now.is_some_and(|now| *now != user.email)
        });
        merged.changed.extend(moved.map(|user| user.email.clone()));
        for email in &merged.changed {
            self.users.swap_remove(email);
        }
        let is_found = |id: &UserId| found.contains_key(id);
        let is_known = |id: &Option<UserId>| id.as_ref().is_some_and(is_found);
        self.unreadable.retain(|id| !is_known(id));
        for id in part.unreadable {
            if !self.unreadable.contains(&id) {
                self.unreadable.push(id);
            }
        }
        self.unreadable.sort();
        for (email, found) in part.users {
            match (self.users.get(&email), &found) {
                // Another part may show the other users. Only a whole list shows that there are none.
                (Some(UserMatch::Several(_)), UserMatch::One(_)) => continue,
                (Some(UserMatch::One(known)), UserMatch::One(now))
                    if known.id != now.id && !is_found(&known.id) =>
                {
                    merged.unclear.push(email.clone());
                }
                _ => {}
            }
            merged.changed.push(email.clone());
            self.restore(email, found);
        }
        self.count = total;
        merged
    }

    /// Lists show attributes, so users without them have none.
    pub(crate) fn expect_attributes(&mut self) {
        self.shows_attributes = true;
        self.settle_attributes();
    }

    /// If a list is known to show attributes, users without them have none.
    pub(crate) fn settle_attributes_like(&mut self, other: &Self) {
        self.shows_attributes |= other.shows_attributes;
        self.settle_attributes();
    }

    /// If the list shows attributes, users without them have none.
    pub(crate) fn settle_attributes(&mut self) {
        if self.shows_attributes {
            let found = self.users.values_mut();
            found.for_each(UserMatch::settle_attributes);
        }
    }

    /// The same observation with a reason to doubt that it shows all users.
    #[must_use]
    pub fn with_doubt(self, doubt: String) -> Self {
        Self {
            extent: Extent::Doubtful(doubt),
            ..self
        }
    }

    /// The users with an email; `None` if no known user has it.
    #[must_use]
    pub fn get(&self, email: &Email) -> Option<&UserMatch> {
        self.users.get(email)
    }

    /// Whether a user has this email, letter for letter.
    #[must_use]
    pub fn has_exactly(&self, email: &Email) -> bool {
        match self.get(email) {
            Some(UserMatch::One(user)) => user.email.as_str() == email.as_str(),
            Some(UserMatch::Several(_)) => true,
            None => false,
        }
    }

    /// The groups, as far as they were read.
    #[must_use]
    pub fn groups(&self) -> &ObservedGroups {
        &self.groups
    }

    /// The same, to bring changes in.
    pub fn groups_mut(&mut self) -> &mut ObservedGroups {
        &mut self.groups
    }

    /// The users whose email is unambiguous, in no order.
    pub fn users(&self) -> impl Iterator<Item = &Arc<ObservedUser>> {
        self.users.values().filter_map(|found| match found {
            UserMatch::One(user) => Some(user),
            UserMatch::Several(_) => None,
        })
    }

    /// The number of users in Omni.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether a user that is not in this observation is not in Omni. All users that matter to an observation of one
    /// are that one.
    #[must_use]
    pub fn shows_everybody(&self) -> bool {
        matches!(self.extent, Extent::Everybody | Extent::One)
    }

    /// Whether this is about one user.
    #[must_use]
    pub fn is_of_one(&self) -> bool {
        self.extent == Extent::One
    }

    /// Marks this observation as one of an earlier run.
    pub(crate) fn set_cached(&mut self) {
        self.is_cached = true;
    }

    /// Whether an earlier run made this observation, or a part of it.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// Whether this run listed all users, and the list added up.
    #[must_use]
    pub fn is_whole_listing(&self) -> bool {
        self.extent == Extent::Everybody && !self.is_cached
    }

    /// When the oldest part was read, if the list was read in parts.
    #[must_use]
    pub fn parts_since(&self) -> Option<DateTime<Utc>> {
        self.parts_since
    }

    /// Records that parts of a list were added to an observation from this time.
    pub(crate) fn add_parts_to(&mut self, oldest: DateTime<Utc>) {
        self.parts_since.get_or_insert(oldest);
    }

    /// Records that all parts of the list were read since this time, and why they may not show all users.
    pub(crate) fn end_cycle(&mut self, started: DateTime<Utc>, doubt: Option<String>) {
        self.parts_since = Some(started);
        self.extent = doubt.map_or(Extent::Everybody, Extent::Doubtful);
    }

    /// Whether this is a list, also one that may not show all users.
    pub(crate) fn is_of_list(&self) -> bool {
        !matches!(self.extent, Extent::Some | Extent::One)
    }

    /// Why a listing may not show all users; `None` if it added up.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        match &self.extent {
            Extent::Doubtful(doubt) => Some(doubt),
            Extent::Everybody | Extent::Some | Extent::One => None,
        }
    }

    /// Replaces the earlier result for this email with the result of a lookup.
    pub fn found(&mut self, email: &Email, now: Option<UserMatch>) {
        let size = |found: Option<&UserMatch>| found.map_or(0, UserMatch::count);
        // If only some users were looked up, all users are counted already.
        if self.extent != Extent::Some {
            let (before, after) = (size(self.users.get(email)), size(now.as_ref()));
            self.count = (self.count + after).saturating_sub(before);
        }
        match now {
            Some(mut found) => {
                if self.shows_attributes {
                    found.settle_attributes();
                }
                self.users.insert(email.clone(), found);
            }
            None => drop(self.users.swap_remove(email)),
        }
    }

    /// Replaces a user by the result of a read by id. A user with another address by now is known by that one.
    pub fn refresh(&mut self, user: &ObservedUser, now: Option<ObservedUser>) {
        let is_same = |now: &ObservedUser| now.email == user.email;
        let known = self.get(&user.email);
        let is_known = matches!(known, Some(UserMatch::One(known)) if known.id == user.id);
        if is_known && !now.as_ref().is_some_and(is_same) {
            self.remove(&user.email);
        }
        if let Some(now) = now {
            self.put(now);
        }
    }

    /// Inserts or replaces a user that was created or changed.
    pub fn put(&mut self, mut user: ObservedUser) {
        self.share(&mut user);
        let email = user.email.clone();
        let user = UserMatch::One(Arc::new(user));
        if self.users.insert(email, user).is_none() {
            self.count += 1;
        }
    }

    /// Applies the removal of a user.
    pub fn remove(&mut self, email: &Email) {
        if self.users.swap_remove(email).is_some() {
            self.count = self.count.saturating_sub(1);
        }
    }
}
