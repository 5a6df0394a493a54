//! Observes the users in Omni in the cheapest sufficient way: the cached observation of the previous run, one lookup
//! per user in the roster, or the whole list.
//!
//! One request returns the number of users, which shows whether lookups or the list take fewer requests. Lookups don't
//! cover other users, so pruning needs the list.

use crate::model::{
    Desired, DesiredUser, Email, Entry, Observed, ObservedUser, Schema, UserId, UserMatch,
};
use crate::omni::{self, OmniError, Reader, UserListPage};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an observation counts as current.
const CURRENT: Duration = Duration::from_secs(60);

/// The number of users in a page, by Omni's default.
const PAGE: usize = 100;

/// The part of the named users that each run reads by id where lists do not show attributes, with its limits.
const VERIFIED_SHARE: usize = 100;
const MIN_VERIFIED: usize = 10;
const MAX_VERIFIED: usize = 100;

/// What is known about Omni. Each run leaves it to the next one, with its own writes in it.
#[derive(Clone, Debug)]
pub struct ObservationCache {
    /// The attribute definitions, or that Omni does not show them.
    pub schema: Schema,
    /// The users.
    pub observed: Observed,
    /// When the oldest part was observed.
    observed_at: Instant,
    /// When the definitions were read. A later observation may use them again.
    schema_read_at: Instant,
    /// Emails that were looked up and have no user.
    absent: HashSet<Email>,
    /// Users whose present state is unknown, with their last id.
    uncertain: HashMap<Email, Option<UserId>>,
    /// When users were last read by id, because lists do not show their attributes.
    verified: HashMap<UserId, DateTime<Utc>>,
    /// Whether an earlier run left this.
    is_cached: bool,
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

/// Where an observation comes from, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObservationSource {
    Listed,
    LookedUp,
    Cache,
}

impl ObservationSource {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "list",
            Self::LookedUp => "lookup",
            Self::Cache => "cache",
        }
    }
}

/// What to observe.
#[derive(Clone, Copy)]
pub(super) struct ObserveRequest<'a> {
    pub(super) reader: &'a Reader,
    pub(super) desired: &'a Desired,
    /// Whether users that the roster does not name matter.
    pub(super) everybody: bool,
    /// Receives the number of requests still to come.
    pub(super) expect: &'a (dyn Fn(usize) + Sync),
}

impl ObservationCache {
    pub(super) fn new(schema: Schema, observed: Observed) -> Self {
        Self {
            schema,
            observed,
            observed_at: Instant::now(),
            schema_read_at: Instant::now(),
            absent: HashSet::new(),
            uncertain: HashMap::new(),
            verified: HashMap::new(),
            is_cached: false,
        }
    }

    /// Observes Omni afresh. Fields that lists do not show are taken from an earlier observation, or read by id.
    pub(super) async fn fresh(
        schema: Schema,
        request: ObserveRequest<'_>,
        earlier: Option<&Self>,
    ) -> Result<(Self, ObservationSource), OmniError> {
        let mut cache = Self::new(schema, Observed::default());
        let first = request.reader.page(1).await?;
        let looked_up = match request.everybody {
            true => None,
            false => request.look_up(&first).await?,
        };
        let source = match looked_up {
            Some(observed) => {
                cache.observed = observed;
                ObservationSource::LookedUp
            }
            None => {
                cache.observed = request.list(first).await?;
                ObservationSource::Listed
            }
        };
        if cache.observed.doubt().is_some() {
            match cache.look_up_open(request).await {
                // The doubt remains.
                Err(OmniError::UnreliableLookup) => {}
                looked_up => looked_up?,
            }
        }
        let absent = request.named(|email, _| cache.observed.get(email).is_none());
        cache.absent = absent.into_iter().cloned().collect();
        let changed = earlier.map(|earlier| cache.adopt(earlier));
        let due = cache.to_read(request, &changed.unwrap_or_default());
        (request.expect)(due.len());
        cache.read(request.reader, due).await?;
        Ok((cache, source))
    }

    /// Takes fields that the list did not show from an earlier observation. Returns the users that were changed in Omni
    /// since they were read.
    fn adopt(&mut self, earlier: &Self) -> HashSet<UserId> {
        let mut changed = HashSet::new();
        self.observed.complete_from(&earlier.observed, |id| {
            changed.insert(id.clone());
        });
        let known = self.observed.users().map(|user| &user.id);
        let known: HashSet<_> = known.collect();
        let verified = earlier.verified.iter();
        let verified = verified.filter(|(id, _)| known.contains(id));
        self.verified = verified.map(|(id, at)| (id.clone(), *at)).collect();
        changed
    }

    /// The users that the roster names and whose fields are to be read by id: the list does not show them, and they are
    /// not known, were changed since, or are among those that were read the longest ago.
    fn to_read(
        &self,
        request: ObserveRequest<'_>,
        changed: &HashSet<UserId>,
    ) -> Vec<Arc<ObservedUser>> {
        let (mut due, mut rest) = (self.unread(request), Vec::new());
        if self.observed.shows_attributes() {
            return due;
        }
        for (_, user) in request.found(&self.observed) {
            match changed.contains(&user.id) {
                true => due.push(user.clone()),
                false if user.attributes.is_some() => rest.push(user),
                false => {}
            }
        }
        rest.sort_by_cached_key(|user| self.verified.get(&user.id));
        let slice = request.desired.users.len().div_ceil(VERIFIED_SHARE);
        let slice = slice.clamp(MIN_VERIFIED, MAX_VERIFIED);
        due.extend(rest.into_iter().take(slice).cloned());
        due
    }

    /// The users whose rows rest on fields that are not known.
    fn unread(&self, request: ObserveRequest<'_>) -> Vec<Arc<ObservedUser>> {
        let is_due = |entry: &Entry, user: &ObservedUser| match &entry.want {
            DesiredUser::Upsert(spec) => !user.is_read_for(spec),
            // The history keeps the values of a removed user.
            DesiredUser::Delete | DesiredUser::Deactivate => !user.is_read(),
        };
        let found = request.found(&self.observed);
        let due = found.filter(|(entry, user)| is_due(entry, user));
        due.map(|(_, user)| user.clone()).collect()
    }

    /// Reads users by id.
    pub(super) async fn read(
        &mut self,
        reader: &Reader,
        users: Vec<Arc<ObservedUser>>,
    ) -> Result<(), OmniError> {
        let Self {
            observed, verified, ..
        } = self;
        omni::read_users(reader, users, |user, now| {
            verified.insert(user.id.clone(), Utc::now());
            observed.refresh(user, now);
        })
        .await
    }

    /// Reuses this observation and looks up only new rows. Observes afresh if that takes fewer requests, or if this
    /// observation does not show enough.
    pub(super) async fn again(
        mut self,
        request: ObserveRequest<'_>,
    ) -> Result<(Self, ObservationSource), OmniError> {
        let is_enough = self.observed.shows_everybody() || !request.everybody;
        let look_ups = self.open(request).len() + self.uncertain.len();
        let is_cheap = look_ups <= self.observed.count().div_ceil(PAGE);
        if is_enough && is_cheap {
            match self.look_up_open(request).await {
                // An entry that can't be read, or an unreliable filter: a listing shows more.
                Err(OmniError::UnreliableLookup) => {}
                looked_up => {
                    looked_up?;
                    let unread = self.unread(request);
                    (request.expect)(unread.len());
                    self.read(request.reader, unread).await?;
                    return Ok((self, ObservationSource::Cache));
                }
            }
        }
        let schema_read_at = self.schema_read_at;
        let schema = self.schema.clone();
        let (fresh, source) = Self::fresh(schema, request, Some(&self)).await?;
        let fresh = Self {
            schema_read_at,
            ..fresh
        };
        Ok((fresh, source))
    }

    /// The users to look up before planning: users to be removed that were not seen, and, if only some users were looked
    /// up, users that were not among them.
    fn open<'a>(&self, request: ObserveRequest<'a>) -> Vec<&'a Email> {
        let shows_some = !self.observed.shows_everybody() && self.observed.doubt().is_none();
        request.named(|email, want| {
            (shows_some || !matches!(want, DesiredUser::Upsert(_)))
                && self.observed.get(email).is_none()
                && !self.absent.contains(email)
                && !self.uncertain.contains_key(email)
        })
    }

    /// Looks up all users whose state is open or uncertain.
    async fn look_up_open(&mut self, request: ObserveRequest<'_>) -> Result<(), OmniError> {
        let ObserveRequest { reader, expect, .. } = request;
        let open: Vec<_> = self.open(request).into_iter().cloned().collect();
        expect(open.len() + self.uncertain.len());
        omni::look_up_into(reader, open.clone(), &mut self.observed).await?;
        for (email, id) in std::mem::take(&mut self.uncertain) {
            let now = look_up_now(reader, id.as_ref(), &email).await?;
            self.observed.found(&email, now);
        }
        let absent = open
            .into_iter()
            .filter(|email| self.observed.get(email).is_none());
        self.absent.extend(absent);
        Ok(())
    }

    /// Brings the effect of a write in.
    pub(super) fn take_in(&mut self, email: Email, id: Option<UserId>, effect: Effect) {
        self.absent.remove(&email);
        match effect {
            Effect::Is(user) => {
                if user.email != email {
                    self.observed.remove(&email);
                    self.uncertain.insert(email, None);
                }
                self.observed.put(*user);
            }
            Effect::Gone => {
                self.observed.remove(&email);
                self.absent.insert(email);
            }
            Effect::Uncertain => drop(self.uncertain.insert(email, id)),
        }
    }

    /// Marks this observation as left by an earlier run.
    pub(super) fn cached(self) -> Self {
        Self {
            is_cached: true,
            ..self
        }
    }

    /// Whether an earlier run left this observation, so that Omni may have changed since.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// Whether Omni may have changed since the observation.
    pub(super) fn may_be_stale(&self) -> bool {
        self.is_cached || self.age() > CURRENT
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

impl<'a> ObserveRequest<'a> {
    /// The emails of matching rows.
    fn named(self, matches: impl Fn(&Email, &DesiredUser) -> bool) -> Vec<&'a Email> {
        let named = self.desired.named();
        let named = named.filter(|(email, want)| matches(email, want));
        named.map(|(email, _)| email).collect()
    }

    /// The users that the roster names, as observed, with their rows.
    fn found<'o>(
        self,
        observed: &'o Observed,
    ) -> impl Iterator<Item = (&'a Entry, &'o Arc<ObservedUser>)> {
        let rows = self.desired.users.iter();
        rows.filter_map(|(email, entry)| match observed.get(email)? {
            UserMatch::One(user) => Some((entry, user)),
            UserMatch::Several(_) => None,
        })
    }

    /// Looks up the users that the roster names, if that takes fewer requests than the rest of the list and the lookup
    /// is reliable.
    async fn look_up(self, first: &UserListPage) -> Result<Option<Observed>, OmniError> {
        let named = self.desired.named().count();
        let takes_fewer = named + 1 < pages_left(first);
        let Some(known_user) = first.users.first().filter(|_| takes_fewer) else {
            return Ok(None);
        };
        if !omni::filter_ignores_case(self.reader, known_user).await? {
            return Ok(None);
        }
        (self.expect)(named);
        let total = usize::try_from(first.total).unwrap_or(usize::MAX);
        let mut observed = Observed::of_some([], total);
        observed.note_attributes(&first.users);
        let emails = self.named(|_, _| true).into_iter().cloned().collect();
        match omni::look_up_into(self.reader, emails, &mut observed).await {
            Ok(()) => Ok(Some(observed)),
            Err(OmniError::UnreliableLookup) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists all users; a second time if the list is inconsistent and pruning depends on it.
    async fn list(self, first: UserListPage) -> Result<Observed, OmniError> {
        (self.expect)(pages_left(&first));
        let observed = omni::list_from(self.reader, first).await?;
        let Some(doubt) = observed.doubt().filter(|_| self.everybody) else {
            return Ok(observed);
        };
        tracing::info!("the listing does not add up: {doubt}; listing again");
        (self.expect)(observed.count().div_ceil(PAGE));
        omni::list(self.reader).await
    }
}

/// The number of pages after the first one.
fn pages_left(first: &UserListPage) -> usize {
    let length = first.len().max(1) as u64;
    let left = first.total.saturating_sub(length).div_ceil(length);
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// Looks up a user by id if the id is known, because a lookup by email may depend on letter case.
async fn look_up_now(
    reader: &Reader,
    id: Option<&UserId>,
    email: &Email,
) -> Result<Option<UserMatch>, OmniError> {
    if let Some(id) = id
        && let Some(user) = reader.get(id).await?
        && user.email == *email
    {
        return Ok(Some(UserMatch::One(Arc::new(user))));
    }
    reader.find(email).await?.into_match()
}
