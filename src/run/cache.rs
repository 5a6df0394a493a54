//! What is known about Omni, and what each run adds to it. It outlasts restarts in the state database.

use super::group_cache::GroupCache;
use crate::model::{
    Action, Change, Email, Field, FieldChange, GroupId, GroupsUnknown, KnownUser,
    ObservationHeader, ObservationUpdate, Observed, ObservedGroup, ObservedGroups, ObservedUser,
    PartialListing, Schema, StoredObservation, UserId, UserMatch,
};
use crate::omni::ListPart;
use crate::state::StateDb;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an observation counts as current.
const CURRENT: Duration = Duration::from_secs(60);

/// Two changes within this time may have the same `lastModified`.
const TIME_RESOLUTION: TimeDelta = TimeDelta::seconds(2);

/// What is known about Omni. Each run passes it to the next one, with the effects of its own writes.
#[derive(Clone, Debug)]
pub struct ObservationCache {
    /// The attribute definitions, or that Omni does not show them.
    pub schema: Schema,
    /// The users.
    pub observed: Observed,
    /// When the oldest part was observed.
    pub(super) observed_at: Instant,
    /// When the definitions were read. A later observation may use them again.
    pub(super) schema_read_at: Instant,
    /// Emails that were looked up and have no user.
    pub(super) absent: HashSet<Email>,
    /// Users whose current state is unknown, with their last id.
    pub(super) uncertain: HashMap<Email, Option<UserId>>,
    /// When users were last read by id, because lists do not show their attributes.
    pub(super) verified: HashMap<UserId, DateTime<Utc>>,
    /// The listing that goes on in later runs.
    pub(super) listing: Option<PartialListing>,
    /// When users were last seen, if that was after the rest.
    seen: HashMap<UserId, DateTime<Utc>>,
    /// About the groups.
    pub(super) groups: GroupCache,
    /// What is not in the state database yet.
    unsaved: Unsaved,
}

/// What the state database does not have yet.
#[derive(Clone, Debug)]
enum Unsaved {
    /// The whole observation.
    Everything,
    /// What is known about these emails.
    Some(HashSet<Email>),
}

/// What a write did to a user, as far as it is known.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The user is like this now.
    Is(Box<ObservedUser>),
    /// The user is gone.
    Gone,
    /// The state of the user is unknown.
    Uncertain,
}

impl ObservationCache {
    /// The observation that earlier runs have stored. Without one, Omni is read as if for the first time.
    pub async fn stored(state: &StateDb) -> Option<Self> {
        match state.observation().await {
            Ok(stored) => Self::restored(stored?, Utc::now()),
            Err(error) => {
                tracing::warn!(%error, "the stored observation of Omni can't be used");
                None
            }
        }
    }

    /// An observation that was made just now.
    pub(super) fn new(schema: Schema, observed: Observed) -> Self {
        Self {
            schema,
            observed,
            observed_at: Instant::now(),
            schema_read_at: Instant::now(),
            absent: HashSet::new(),
            uncertain: HashMap::new(),
            verified: HashMap::new(),
            listing: None,
            seen: HashMap::new(),
            groups: GroupCache::default(),
            unsaved: Unsaved::Everything,
        }
    }

    /// Merges a part of the list. Returns the users that were changed in Omni since they were read.
    pub(super) fn merge(&mut self, part: ListPart) -> HashSet<UserId> {
        let ListPart {
            mut observed,
            total,
            ..
        } = part;
        observed.settle_attributes_like(&self.observed);
        let changed = observed.complete_from(|email| self.certain(email));
        let now = Utc::now();
        let ids = observed.users().map(|user| (user.id.clone(), now));
        self.seen.extend(ids);
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        self.observed.add_parts_to(now - self.age());
        let merged = self.observed.merge(observed, total);
        for email in &merged.changed {
            self.absent.remove(email);
            self.uncertain.remove(email);
            self.found_out(email);
        }
        // The user that had the email before may have been replaced, or be another one.
        let unclear = merged.unclear.into_iter().map(|email| (email, None));
        self.uncertain.extend(unclear);
        changed
    }

    /// Forgets a user.
    pub(super) fn forget(&mut self, user: &ObservedUser) {
        self.found_out(&user.email);
        self.observed.refresh(user, None);
    }

    /// Whether a user was seen since a time.
    fn was_seen_since(&self, id: &UserId, time: DateTime<Utc>) -> bool {
        self.seen.get(id).is_some_and(|seen| *seen >= time)
    }

    /// Whether a user with this id may have another address by now: the id is cached, and the user was not seen since
    /// the start of the run.
    pub(super) fn may_be_another(&self, id: &UserId, started: DateTime<Utc>) -> bool {
        self.is_cached() && !self.was_seen_since(id, started)
    }

    /// The users that were not seen since a time.
    pub(super) fn not_seen_since(&self, time: DateTime<Utc>) -> Vec<Arc<ObservedUser>> {
        let is_late =
            |user: &&Arc<ObservedUser>| self.seen.get(&user.id).is_none_or(|at| *at < time);
        self.observed.users().filter(is_late).cloned().collect()
    }

    /// Records that all parts of the list were read since a time, and why they may not show all users.
    pub(super) fn end_cycle(&mut self, time: DateTime<Utc>, doubt: Option<String>) {
        self.observed.end_cycle(time, doubt);
        let age = Utc::now().signed_duration_since(time).to_std();
        let then = Instant::now().checked_sub(age.unwrap_or_default());
        self.observed_at = then.unwrap_or(self.observed_at);
    }

    /// What is known about the users with an email, if no write may have changed it.
    fn certain(&self, email: &Email) -> Option<&UserMatch> {
        match self.uncertain.contains_key(email) {
            true => None,
            false => self.observed.get(email),
        }
    }

    /// Whether it is known which users have an email.
    pub(super) fn knows(&self, email: &Email) -> bool {
        self.observed.get(email).is_some() || self.absent.contains(email)
    }

    /// Replaces the definitions by those that were read again.
    pub(super) fn defined(&mut self, schema: Schema) {
        self.schema = schema;
        self.schema_read_at = Instant::now();
    }

    /// Takes the groups from an earlier observation.
    pub(super) fn take_groups(&mut self, earlier: &mut Self) {
        *self.observed.groups_mut() = std::mem::take(earlier.observed.groups_mut());
        self.groups = std::mem::take(&mut earlier.groups);
    }

    /// Takes in the answer to a request for the list of groups.
    pub(super) fn listed_groups(&mut self, now: ObservedGroups) {
        self.groups.listed(self.observed.groups(), &now);
        *self.observed.groups_mut() = now;
    }

    /// The run needs no groups, so none are kept.
    pub(super) fn drop_groups(&mut self) {
        if self.observed.groups().why_unknown() != Some(&GroupsUnknown::NotRead) {
            self.listed_groups(ObservedGroups::default());
        }
    }

    /// A user joined or left a group.
    pub fn member_changed(&mut self, group: &GroupId, user: &UserId, is_member: bool) {
        self.observed
            .groups_mut()
            .set_member(group, user, is_member);
        self.groups.found_out([group.clone()]);
    }

    /// A group was read or created. If it does not show members, they stay as known.
    pub fn group_seen(&mut self, mut group: ObservedGroup) {
        let groups = self.observed.groups_mut();
        if groups.is_known() {
            let known = groups.get(&group.id);
            group.members = group.members.or_else(|| known?.members.clone());
            self.groups.found_out([group.id.clone()]);
            groups.put(group);
        }
    }

    /// The members of a group may have changed, so that it is read again before it is used.
    pub fn group_unknown(&mut self, group: &GroupId) {
        self.observed.groups_mut().forget_members(group);
        self.groups.found_out([group.clone()]);
    }

    /// A group is gone.
    pub fn group_gone(&mut self, group: &GroupId) {
        self.observed.groups_mut().remove(group);
        self.groups.found_out([group.clone()]);
    }

    /// Takes fields that the list did not show from an earlier observation. Returns the users that were changed in Omni
    /// since they were read.
    pub(super) fn adopt(&mut self, earlier: &Self) -> HashSet<UserId> {
        let users = self.observed.users();
        let verified = users.filter_map(|user| earlier.verified.get_key_value(&user.id));
        self.verified = verified.map(|(id, at)| (id.clone(), *at)).collect();
        let moves = earlier.observed.last_modified_moves();
        self.observed.note_last_modified(moves);
        self.observed.complete_from(|email| earlier.certain(email))
    }

    /// Whether this run listed all users.
    pub(super) fn is_new_list(&self) -> bool {
        let is_list = self.observed.shows_everybody() || self.observed.doubt().is_some();
        is_list && !self.is_cached()
    }

    /// Records that the list does not show all users, so users that it lacks must be looked up.
    pub(super) fn distrust_list(&mut self, doubt: String) {
        self.observed = std::mem::take(&mut self.observed).with_doubt(doubt);
        self.absent.clear();
        self.unsaved = Unsaved::Everything;
    }

    /// Learns from an own update whether `lastModified` moves when attributes change.
    pub(super) fn learn_from(&mut self, change: &Change, effect: &Effect) {
        if let (Action::Update(before, fields), Effect::Is(now)) = (&change.action, effect) {
            let moves = moved_by(fields, before, now, &self.schema);
            self.observed.note_last_modified(moves);
        }
    }

    /// Applies the effect of a write.
    pub(super) fn take_in(&mut self, email: Email, id: Option<UserId>, effect: Effect) {
        self.found_out(&email);
        self.absent.remove(&email);
        match effect {
            Effect::Is(user) => {
                if user.email != email {
                    self.found_out(&user.email);
                    self.observed.remove(&email);
                    self.uncertain.insert(email, None);
                }
                self.seen.insert(user.id.clone(), Utc::now());
                self.observed.put(*user);
            }
            Effect::Gone => {
                if let Some(id) = id {
                    let groups = self.observed.groups_mut().forget_user(&id);
                    self.groups.found_out(groups);
                }
                self.observed.remove(&email);
                self.absent.insert(email);
            }
            Effect::Uncertain => drop(self.uncertain.insert(email, id)),
        }
    }

    /// Applies a read by id: the user as known before, and as it is now.
    pub(super) fn was_read(&mut self, user: &ObservedUser, now: Option<ObservedUser>) {
        self.found_out(&user.email);
        if let Some(now) = &now {
            self.found_out(&now.email);
        }
        let at = Utc::now();
        self.seen.insert(user.id.clone(), at);
        self.verified.insert(user.id.clone(), at);
        self.observed.refresh(user, now);
    }

    /// Takes in the result of a lookup; `None` if no user has the email.
    pub(super) fn looked_up(&mut self, email: &Email, now: Option<UserMatch>) {
        self.found_out(email);
        match &now {
            Some(found) => {
                self.absent.remove(email);
                if let UserMatch::One(user) = found {
                    self.seen.insert(user.id.clone(), Utc::now());
                }
            }
            None => drop(self.absent.insert(email.clone())),
        }
        self.observed.found(email, now);
    }

    /// What is known about the user with an email is too old to act on.
    pub(super) fn doubt(&mut self, email: &Email, id: Option<&UserId>) {
        self.found_out(email);
        self.absent.remove(email);
        self.uncertain.insert(email.clone(), id.cloned());
    }

    /// Marks what is known about an email to be stored.
    pub(super) fn found_out(&mut self, email: &Email) {
        if let Unsaved::Some(emails) = &mut self.unsaved {
            emails.insert(email.clone());
        }
    }

    /// Stores what is not in the state database yet. A failure does not fail the run: the next run knows less.
    pub(super) async fn keep(&mut self, state: &StateDb) {
        let Some(update) = self.update() else {
            return;
        };
        if let Err(error) = state.keep_observation(update).await {
            tracing::warn!(%error, "the observation of Omni can't be stored for later runs");
            self.unsaved = Unsaved::Everything;
            self.groups.save_everything();
        }
    }

    /// What the state database does not have yet.
    fn update(&mut self) -> Option<ObservationUpdate> {
        let groups = self.groups.take_update(self.observed.groups());
        let unsaved = Unsaved::Some(HashSet::new());
        let (emails, is_whole) = match std::mem::replace(&mut self.unsaved, unsaved) {
            Unsaved::Everything => {
                let seen = self.observed.by_email().map(|(email, _)| email);
                let unseen = self.absent.iter().chain(self.uncertain.keys());
                let unseen = unseen.filter(|email| self.observed.get(email).is_none());
                (seen.chain(unseen).cloned().collect(), true)
            }
            Unsaved::Some(emails) if emails.is_empty() && groups.is_none() => return None,
            Unsaved::Some(emails) => (emails.into_iter().collect::<Vec<_>>(), false),
        };
        let (mut users, mut forgotten) = (Vec::new(), Vec::new());
        for email in emails {
            match self.known(&email) {
                Some(known) => users.push((email, known)),
                None => forgotten.push(email),
            }
        }
        Some(ObservationUpdate {
            header: self.header(),
            users,
            forgotten,
            is_whole,
            groups: groups.unwrap_or_default(),
        })
    }

    fn header(&self) -> ObservationHeader {
        let now = Utc::now();
        ObservationHeader {
            observed: now - self.age(),
            schema: self.schema.clone(),
            schema_read: now - self.schema_read_at.elapsed(),
            summary: self.observed.summary(),
            listing: self.listing,
            groups: self.groups.listing(self.observed.groups(), now),
        }
    }

    /// What is known about the users with an email; `None` if nothing is.
    fn known(&self, email: &Email) -> Option<KnownUser> {
        if let Some(id) = self.uncertain.get(email) {
            return Some(KnownUser::Uncertain(id.clone()));
        }
        match self.observed.get(email) {
            Some(UserMatch::One(user)) => {
                let at = |times: &HashMap<_, _>| times.get(&user.id).copied();
                Some(KnownUser::One {
                    user: user.clone(),
                    seen: at(&self.seen),
                    verified: at(&self.verified),
                })
            }
            Some(UserMatch::Several(count)) => Some(KnownUser::Several(*count)),
            None => self.absent.contains(email).then_some(KnownUser::Absent),
        }
    }

    /// The observation that earlier runs have stored; `None` if the clock was set back since.
    pub(super) fn restored(stored: StoredObservation, now: DateTime<Utc>) -> Option<Self> {
        let StoredObservation {
            header,
            users,
            groups,
        } = stored;
        let instant = |time| {
            let age = now.signed_duration_since(time).to_std().ok()?;
            Instant::now().checked_sub(age)
        };
        let (observed_at, schema_read_at) =
            (instant(header.observed)?, instant(header.schema_read)?);
        let listed = header.groups.and_then(|listing| {
            let at = instant(listing.read)?;
            Some((listing, at))
        });
        let (listed, groups) = GroupCache::restored(listed, groups);
        let mut cache = Self {
            observed_at,
            schema_read_at,
            groups: listed,
            listing: header.listing,
            unsaved: Unsaved::Some(HashSet::new()),
            ..Self::new(header.schema, Observed::restored(header.summary))
        };
        for (email, known) in users {
            match known {
                KnownUser::Absent => drop(cache.absent.insert(email)),
                KnownUser::One {
                    user,
                    seen,
                    verified,
                } => {
                    let at = |at| (user.id.clone(), at);
                    cache.seen.extend(seen.map(at));
                    cache.verified.extend(verified.map(at));
                    cache.observed.restore(email, UserMatch::One(user));
                }
                KnownUser::Several(count) => {
                    cache.observed.restore(email, UserMatch::Several(count));
                }
                KnownUser::Uncertain(id) => {
                    cache.absent.remove(&email);
                    cache.found_out(&email);
                    cache.uncertain.insert(email, id);
                }
            }
        }
        *cache.observed.groups_mut() = groups;
        Some(cache)
    }

    /// Marks this observation as one of an earlier run.
    pub(super) fn cached(mut self) -> Self {
        self.observed.set_cached();
        self
    }

    /// Whether this observation is from an earlier run, so that Omni may have changed since.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.observed.is_cached()
    }

    /// Whether Omni may have changed since the observation.
    pub(super) fn may_be_stale(&self) -> bool {
        self.is_cached() || self.age() > CURRENT
    }

    /// Whether users are read again before they are removed, because their ids or fields are cached.
    pub(super) fn rechecks_removals(&self) -> bool {
        self.may_be_stale() || !self.observed.shows_attributes()
    }

    /// The cache age.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.observed_at.elapsed()
    }

    /// Whether no part is older than this.
    pub(super) fn is_younger_than(&self, age: Duration) -> bool {
        self.age().max(self.schema_read_at.elapsed()) <= age
    }
}

/// Whether `lastModified` moved by an update of attributes alone; `None` if that does not show: the update also changed
/// other fields, was not kept, or was sent within the resolution of the time.
fn moved_by(
    fields: &[FieldChange],
    before: &ObservedUser,
    now: &ObservedUser,
    schema: &Schema,
) -> Option<bool> {
    let (was, is) = (before.modified?, now.modified?);
    let is_applied = |one: &FieldChange| {
        matches!(one.field, Field::Attribute(_)) && now.shows(&one.field, one.to.as_ref(), schema)
    };
    let is_alone = now.display_name == before.display_name && now.active == before.active;
    let is_conclusive = was < is || was + TIME_RESOLUTION < Utc::now();
    (fields.iter().all(is_applied) && is_alone && is_conclusive).then_some(was < is)
}
