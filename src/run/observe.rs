//! Observes the users in Omni in the cheapest sufficient way: the cached observation of the previous run, one lookup
//! per user in the roster, or the whole list.
//!
//! One request returns the number of users, which shows whether lookups or the list take fewer requests. Lookups don't
//! cover other users, so pruning needs the list. A list that exceeds the budget, or that a new roster interrupts, is
//! read in parts, over what earlier runs have read.

use super::cache::ObservationCache;
use super::read_budget::ReadBudget;
use crate::model::{
    Desired, DesiredUser, Email, GroupGlobs, ListedMemberships, Observed, ObservedUser,
    PartialListing, Readings, Schema, UserId, UserMatch,
};
use crate::omni::{self, ListPart, OmniError, Reader, UserListPage};
use crate::state::StateDb;
use chrono::Utc;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// The number of users that are read by id before what was read is stored.
const KEPT_AT_ONCE: usize = 50;

/// The part of the named users that each run reads by id where lists do not show attributes, with its limits.
const VERIFIED_SHARE: usize = 100;
const MIN_VERIFIED: usize = 10;
const MAX_VERIFIED: usize = 100;

/// The number of users that each run reads by id where lists do not show attributes, of this number in the roster.
#[must_use]
pub fn verified_per_run(named: usize) -> usize {
    let part = named.div_ceil(VERIFIED_SHARE);
    part.clamp(MIN_VERIFIED, MAX_VERIFIED)
}

/// Where an observation comes from. A list has the memberships that its users show.
#[derive(Debug)]
pub(super) enum ObservationSource {
    Listed(ListedMemberships),
    LookedUp,
    Cache,
    Part(ListedMemberships),
}

impl ObservationSource {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Listed(_) => "list",
            Self::LookedUp => "lookup",
            Self::Cache => "cache",
            Self::Part(_) => "part of the list",
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
    /// The state database that stores what was read; `None` if nothing may be written.
    pub(super) keep_in: Option<&'a StateDb>,
    /// The requests that reading may take.
    pub(super) budget: &'a ReadBudget,
    /// What probes have learned. It overrides what responses suggest.
    pub(super) readings: &'a Readings,
    /// Whether the run needs groups.
    pub(super) needs_groups: bool,
    /// Groups that are managed although no cell names them.
    pub(super) managed_groups: &'a GroupGlobs,
    /// The maximum age of cached groups.
    pub(super) max_age: Duration,
}

impl ObservationCache {
    /// Observes Omni afresh. Fields that lists do not show are taken from an earlier observation, or read by id.
    pub(super) async fn fresh(
        schema: Schema,
        request: ObserveRequest<'_>,
        earlier: Option<Self>,
    ) -> Result<(Self, ObservationSource), OmniError> {
        let listing = earlier.as_ref().and_then(|earlier| earlier.listing);
        let listing = listing.filter(|_| request.budget.is_limited());
        let earlier = match (earlier, listing) {
            (Some(earlier), Some(listing)) => {
                return earlier.list_on(schema, request, listing).await;
            }
            (earlier, _) => earlier,
        };
        let may_stop = earlier
            .as_ref()
            .is_some_and(|one| one.observed.is_of_list());
        let may_read = request.budget.take();
        let earlier = match earlier {
            Some(earlier) if may_stop && !may_read => {
                return earlier.without_list(schema, request).await;
            }
            earlier => earlier,
        };
        let started = Utc::now();
        let (first, mut earlier) = match earlier {
            Some(earlier) if may_stop => match request.page(1).await? {
                Some(first) => (first, Some(earlier)),
                None => return earlier.without_list(schema, request).await,
            },
            earlier => (request.reader.page(1).await?, earlier),
        };
        let mut cache = Self::new(schema, Observed::default());
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
                let part = request.list(first, may_stop).await?;
                match earlier {
                    Some(earlier) if part.next.is_some() => {
                        let listing = PartialListing { started, next: 1 };
                        return earlier
                            .take_part(cache.schema, request, listing, part)
                            .await;
                    }
                    rest => earlier = rest,
                }
                cache.observed = part.observed;
                ObservationSource::Listed(part.memberships)
            }
        };
        if let Some(earlier) = &mut earlier {
            cache.take_groups(earlier);
        }
        cache.complete(request, earlier).await?;
        Ok((cache, source))
    }

    /// Adds to a list, or to lookups, what these do not show: it is known from an earlier observation, or read by id.
    async fn complete(
        &mut self,
        request: ObserveRequest<'_>,
        earlier: Option<Self>,
    ) -> Result<(), OmniError> {
        if request.readings.lists_carry_attributes == Some(true) {
            self.observed.expect_attributes();
        }
        if let Some(earlier) = &earlier {
            self.doubt_list(request, earlier).await?;
        }
        if self.observed.doubt().is_some() {
            // Otherwise the doubt remains.
            self.look_up_open_if_reliable(request).await?;
        }
        // In a doubtful list, only lookups show that a user does not exist.
        if self.observed.doubt().is_none() {
            let absent = request.named(|email, _| self.observed.get(email).is_none());
            self.absent = absent.into_iter().cloned().collect();
        }
        let changed = earlier.map(|earlier| self.adopt(&earlier));
        let due = self.to_read(request, &changed.unwrap_or_default());
        let reader = request.reader.in_background();
        self.read_for(request, &reader, due).await
    }

    /// Reads the next part of a listing.
    async fn list_on(
        self,
        schema: Schema,
        request: ObserveRequest<'_>,
        listing: PartialListing,
    ) -> Result<(Self, ObservationSource), OmniError> {
        if !request.budget.take() {
            return self.without_list(schema, request).await;
        }
        let listing = PartialListing {
            // The clock may have been set back.
            started: listing.started.min(Utc::now()),
            ..listing
        };
        let Some(first) = request.page(listing.next).await? else {
            return self.without_list(schema, request).await;
        };
        let part = request.part(first, listing.next).await?;
        self.take_part(schema, request, listing, part).await
    }

    /// Reads only what the roster needs: the budget is spent.
    async fn without_list(
        mut self,
        schema: Schema,
        request: ObserveRequest<'_>,
    ) -> Result<(Self, ObservationSource), OmniError> {
        self.defined(schema);
        self.look_up_open_if_reliable(request).await?;
        Ok((self.cached(), ObservationSource::Cache))
    }

    /// Merges a part of a listing.
    async fn take_part(
        mut self,
        schema: Schema,
        request: ObserveRequest<'_>,
        listing: PartialListing,
        mut part: ListPart,
    ) -> Result<(Self, ObservationSource), OmniError> {
        self.defined(schema);
        let memberships = std::mem::take(&mut part.memberships);
        self.listing = part.next.map(|end| PartialListing {
            started: listing.started,
            next: listing.with_overlap(end, part.page),
        });
        let changed = self.merge(part);
        if self.listing.is_none() {
            let unlisted = self.not_seen_since(listing.started);
            let doubt = self.test_unlisted(request, unlisted).await?;
            self.end_cycle(listing.started, doubt);
        }
        self.look_up_open_if_reliable(request).await?;
        let due = self.to_read(request, &changed);
        let reader = request.reader.in_background();
        self.read_for(request, &reader, due).await?;
        Ok((self.cached(), ObservationSource::Part(memberships)))
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
        let part = verified_per_run(request.desired.users.len());
        due.extend(rest.into_iter().take(part).cloned());
        due
    }

    /// The users whose rows rest on fields that are not known.
    fn unread(&self, request: ObserveRequest<'_>) -> Vec<Arc<ObservedUser>> {
        let is_due = |want: &DesiredUser, user: &ObservedUser| match want {
            DesiredUser::Upsert(spec) => !user.is_read_for(spec),
            // The history keeps the values of a removed user.
            DesiredUser::Delete(_) | DesiredUser::Deactivate(_) => !user.is_read(),
        };
        let found = request.found(&self.observed);
        let due = found.filter(|(want, user)| is_due(want, user));
        due.map(|(_, user)| user.clone()).collect()
    }

    /// Reads users by id. If they are many, what was read is stored in between: an interrupted run loses little.
    pub(super) async fn read(
        &mut self,
        reader: &Reader,
        users: Vec<Arc<ObservedUser>>,
        keep_in: Option<&StateDb>,
    ) -> Result<(), OmniError> {
        self.read_within(None, reader, users, keep_in).await
    }

    /// Reads users by id within the budget of a run. The others stay as known.
    async fn read_for(
        &mut self,
        request: ObserveRequest<'_>,
        reader: &Reader,
        users: Vec<Arc<ObservedUser>>,
    ) -> Result<(), OmniError> {
        (request.expect)(users.len().min(request.budget.left()));
        let read = async |reader: Reader| {
            let read = self.read_within(Some(request.budget), &reader, users, request.keep_in);
            read.await
        };
        match request.unless_interrupted(reader, read).await {
            Err(OmniError::Stopped) if request.was_interrupted() => Ok(()),
            read => read,
        }
    }

    async fn read_within(
        &mut self,
        budget: Option<&ReadBudget>,
        reader: &Reader,
        users: Vec<Arc<ObservedUser>>,
        keep_in: Option<&StateDb>,
    ) -> Result<(), OmniError> {
        let keep_in = keep_in.filter(|_| users.len() > KEPT_AT_ONCE);
        if let Some(state) = keep_in {
            self.keep(state).await;
        }
        for some in users.chunks(KEPT_AT_ONCE) {
            let may_read = |_: &&Arc<ObservedUser>| budget.is_none_or(ReadBudget::take);
            let some = some.iter().take_while(may_read).cloned().collect();
            let read = omni::read_users(reader, some, |user, now| self.was_read(user, now)).await;
            if let Some(state) = keep_in {
                self.keep(state).await;
            }
            read?;
        }
        Ok(())
    }

    /// Reuses this observation and looks up only new rows. Observes afresh if that takes fewer requests, or if this
    /// observation does not show enough.
    pub(super) async fn again(
        mut self,
        request: ObserveRequest<'_>,
    ) -> Result<(Self, ObservationSource), OmniError> {
        // A list that is read in parts goes on later.
        let shows_enough = self.observed.shows_everybody() || self.observed.parts_since().is_some();
        let is_enough = shows_enough || !request.everybody;
        let look_ups = self.open(request).len() + self.uncertain.len();
        let is_cheap = look_ups <= request.reader.pages(self.observed.count());
        if is_enough && is_cheap {
            match self.look_up_open(request).await {
                // An entry that can't be read, or an unreliable filter: a listing shows more.
                Err(OmniError::UnreliableLookup) => {}
                looked_up => {
                    looked_up?;
                    let unread = self.unread(request);
                    self.read_for(request, request.reader, unread).await?;
                    return Ok((self, ObservationSource::Cache));
                }
            }
        }
        let schema_read_at = self.schema_read_at;
        let schema = self.schema.clone();
        let (mut fresh, source) = Self::fresh(schema, request, Some(self)).await?;
        fresh.schema_read_at = schema_read_at;
        Ok((fresh, source))
    }

    /// The users to look up before planning: users to be removed that were not seen, those that only rows of
    /// `source.groups` name, and, if only some users were looked up, users that were not among them.
    fn open<'a>(&self, request: ObserveRequest<'a>) -> Vec<&'a Email> {
        let shows_some = !self.observed.shows_everybody() && self.observed.doubt().is_none();
        request.named(|email, want| {
            (shows_some || !matches!(want, Some(DesiredUser::Upsert(_))))
                && self.observed.get(email).is_none()
                && !self.absent.contains(email)
                && !self.uncertain.contains_key(email)
        })
    }

    /// Like [`Self::look_up_open`], until the first unreliable lookup. From then on, users are only read by id. The
    /// remaining users stay open or uncertain.
    async fn look_up_open_if_reliable(
        &mut self,
        request: ObserveRequest<'_>,
    ) -> Result<(), OmniError> {
        let mut is_reliable = is_reliable(self.look_up_new(request).await)?;
        for (email, id) in self.all_uncertain() {
            let by_id = read_now(request.reader, id.as_ref(), &email).await?;
            if by_id.is_none() && is_reliable {
                let found = self.look_up_uncertain(request.reader, email);
                is_reliable = self::is_reliable(found.await)?;
            } else if by_id.is_some() {
                self.no_longer_uncertain(&email, by_id);
            }
        }
        Ok(())
    }

    /// Looks up all users whose state is open or uncertain.
    async fn look_up_open(&mut self, request: ObserveRequest<'_>) -> Result<(), OmniError> {
        self.look_up_new(request).await?;
        for (email, id) in self.all_uncertain() {
            match read_now(request.reader, id.as_ref(), &email).await? {
                None => self.look_up_uncertain(request.reader, email).await?,
                by_id => self.no_longer_uncertain(&email, by_id),
            }
        }
        Ok(())
    }

    /// Looks up all users whose state is open, and counts the requests for those whose state is uncertain.
    async fn look_up_new(&mut self, request: ObserveRequest<'_>) -> Result<(), OmniError> {
        let open: Vec<_> = self.open(request).into_iter().cloned().collect();
        let requests = open.len() + self.uncertain.len();
        (request.expect)(requests);
        request.budget.spend(requests);
        let found = |email: Email, now| self.looked_up(&email, now);
        omni::look_up_each(request.reader, open, found).await
    }

    async fn look_up_uncertain(&mut self, reader: &Reader, email: Email) -> Result<(), OmniError> {
        let now = reader.find(&email).await?.into_match()?;
        self.no_longer_uncertain(&email, now);
        Ok(())
    }

    fn all_uncertain(&self) -> Vec<(Email, Option<UserId>)> {
        let uncertain = self.uncertain.iter();
        uncertain
            .map(|(email, id)| (email.clone(), id.clone()))
            .collect()
    }

    fn no_longer_uncertain(&mut self, email: &Email, now: Option<UserMatch>) {
        self.uncertain.remove(email);
        self.looked_up(email, now);
    }
}

impl<'a> ObserveRequest<'a> {
    /// The emails of matching rows. Rows of `source.groups` and `source.roles` may name more users.
    fn named(self, matches: impl Fn(&Email, Option<&DesiredUser>) -> bool) -> Vec<&'a Email> {
        let named = self.desired.named();
        let named = named.filter(|(email, want)| matches(email, Some(want)));
        let mut emails: Vec<_> = named.map(|(email, _)| email).collect();
        let rows = self.desired.memberships.named_rows().map(|row| &row.email);
        let roles = self.desired.roles.iter().flat_map(|roles| &roles.rows);
        let rows = rows.chain(roles.filter_map(|row| row.subject.email()));
        let others = rows.filter(|email| !self.desired.users.contains_key(*email));
        let others: HashSet<_> = others.filter(|email| matches(email, None)).collect();
        emails.extend(others);
        emails
    }

    /// The users that the roster names, as observed, with what their rows ask for.
    fn found<'o>(
        self,
        observed: &'o Observed,
    ) -> impl Iterator<Item = (&'a DesiredUser, &'o Arc<ObservedUser>)> {
        let rows = self.desired.named();
        rows.filter_map(|(email, want)| match observed.get(email)? {
            UserMatch::One(user) => Some((want, user)),
            UserMatch::Several(_) => None,
        })
    }

    /// Looks up the users that the roster names, if that takes fewer requests than the rest of the list and the lookup
    /// is reliable.
    async fn look_up(self, first: &UserListPage) -> Result<Option<Observed>, OmniError> {
        let emails = self.named(|_, _| true);
        let named = emails.len();
        let takes_fewer = named + 1 < first.pages_left();
        let Some(known_user) = first.users.first().filter(|_| takes_fewer) else {
            return Ok(None);
        };
        self.budget.spend(1);
        if !omni::filter_ignores_case(self.reader, known_user).await? {
            return Ok(None);
        }
        (self.expect)(named);
        self.budget.spend(named);
        let total = usize::try_from(first.total).unwrap_or(usize::MAX);
        let mut observed = Observed::of_some([], total);
        observed.note_attributes(&first.users);
        let emails = emails.into_iter().cloned().collect();
        let found = |email: Email, user| observed.found(&email, user);
        match omni::look_up_each(self.reader, emails, found).await {
            Ok(()) => Ok(Some(observed)),
            Err(OmniError::UnreliableLookup) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether a lookup was reliable.
fn is_reliable(looked_up: Result<(), OmniError>) -> Result<bool, OmniError> {
    match looked_up {
        Ok(()) => Ok(true),
        Err(OmniError::UnreliableLookup) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a user by id if the id is known, because a lookup by email may depend on letter case. `None` if the user is
/// gone or has another address by now.
async fn read_now(
    reader: &Reader,
    id: Option<&UserId>,
    email: &Email,
) -> Result<Option<UserMatch>, OmniError> {
    let Some(id) = id else {
        return Ok(None);
    };
    let user = reader.get(id).await?;
    let user = user.filter(|user| user.email == *email);
    Ok(user.map(|user| UserMatch::One(Arc::new(user))))
}
