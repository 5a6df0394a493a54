//! Who is in Omni, by the cheapest true way: what the run before left, one look-up for each user
//! whom the roster names, or the whole listing.
//!
//! One request tells how many users there are, and so which takes fewer. Look-ups say nothing of
//! those who were not asked for, so pruning needs the listing.

use crate::model::{
    Desired, DesiredUser, Email, Observed, ObservedUser, Schema, UserId, UserMatch,
};
use crate::omni::{self, OmniError, Page, Reader};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many users a page holds, by Omni's default.
const PAGE: usize = 100;

/// What is known of Omni. A run leaves it to the next one, with its own writes in it.
#[derive(Debug)]
pub struct ObservationCache {
    /// Omni's attribute definitions, or that they can't be had.
    pub schema: Schema,
    /// Who is there.
    pub observed: Observed,
    /// When that was seen, at the earliest.
    seen: Instant,
    /// When the definitions were asked for, which a later observation may still go by.
    defined: Instant,
    /// Of whom it was found out, one by one, that they are not there.
    absent: HashSet<Email>,
    /// Of whom it is not known how they are now, with the id that they had.
    unsure: HashMap<Email, Option<UserId>>,
    /// Whether it was left by an earlier run.
    is_kept: bool,
}

/// What a write has done to a user, as far as is known.
#[derive(Clone, Debug)]
pub enum Effect {
    /// They are so now.
    Is(Box<ObservedUser>),
    /// They are no longer there.
    Gone,
    /// Something else than was thought, or perhaps nothing.
    Unsure,
}

/// How an observation came about, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObservationSource {
    Listed,
    LookedUp,
    Kept,
}

impl ObservationSource {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::LookedUp => "looked up",
            Self::Kept => "kept",
        }
    }
}

/// What is to be found out, and whom to tell how many requests that will take.
#[derive(Clone, Copy)]
pub(super) struct ObserveRequest<'a> {
    pub(super) reader: &'a Reader,
    pub(super) desired: &'a Desired,
    /// Whether those count whom the roster does not name.
    pub(super) everybody: bool,
    pub(super) expect: &'a (dyn Fn(usize) + Sync),
}

impl ObservationCache {
    /// Nothing but the definitions, and nobody yet.
    pub(super) fn new(schema: Schema, observed: Observed) -> Self {
        Self {
            schema,
            observed,
            seen: Instant::now(),
            defined: Instant::now(),
            absent: HashSet::new(),
            unsure: HashMap::new(),
            is_kept: false,
        }
    }

    /// Looks at Omni anew.
    pub(super) async fn anew(
        schema: Schema,
        question: ObserveRequest<'_>,
    ) -> Result<(Self, ObservationSource), OmniError> {
        let mut known = Self::new(schema, Observed::default());
        let first = question.reader.page(1).await?;
        let looked_up = match question.everybody {
            true => None,
            false => question.look_up(&first).await?,
        };
        let how = match looked_up {
            Some(observed) => {
                known.observed = observed;
                ObservationSource::LookedUp
            }
            None => {
                known.observed = question.list(first).await?;
                ObservationSource::Listed
            }
        };
        if known.observed.doubt().is_some() {
            match known.ask(question).await {
                // Then it stays in doubt.
                Err(OmniError::UnreliableLookup) => {}
                asked => asked?,
            }
        }
        let absent = question.named(|email, _| known.observed.get(email).is_none());
        known.absent = absent.into_iter().cloned().collect();
        Ok((known, how))
    }

    /// The same once more, with what is new in the roster looked up; anew where that takes fewer
    /// requests, or this does not tell enough.
    pub(super) async fn again(
        mut self,
        question: ObserveRequest<'_>,
    ) -> Result<(Self, ObservationSource), OmniError> {
        let is_enough = self.observed.shows_everybody() || !question.everybody;
        let questions = self.open(question).len() + self.unsure.len();
        let is_cheap = questions <= self.observed.count().div_ceil(PAGE);
        if !is_enough || !is_cheap {
            let defined = self.defined;
            let (anew, how) = Self::anew(self.schema, question).await?;
            return Ok((Self { defined, ..anew }, how));
        }
        self.ask(question).await?;
        Ok((self, ObservationSource::Kept))
    }

    /// Whom to look up before planning: who is to be removed and does not seem to be there; and where
    /// only some were looked for, who was not.
    fn open<'a>(&self, question: ObserveRequest<'a>) -> Vec<&'a Email> {
        let shows_some = !self.observed.shows_everybody() && self.observed.doubt().is_none();
        question.named(|email, want| {
            (shows_some || !matches!(want, DesiredUser::Upsert(_)))
                && self.observed.get(email).is_none()
                && !self.absent.contains(email)
                && !self.unsure.contains_key(email)
        })
    }

    /// Looks up whom it takes.
    async fn ask(&mut self, question: ObserveRequest<'_>) -> Result<(), OmniError> {
        let ObserveRequest { reader, expect, .. } = question;
        let open: Vec<_> = self.open(question).into_iter().cloned().collect();
        expect(open.len() + self.unsure.len());
        omni::look_up_into(reader, open.clone(), &mut self.observed).await?;
        for (email, id) in std::mem::take(&mut self.unsure) {
            let now = now(reader, id.as_ref(), &email).await?;
            self.observed.found(&email, now);
        }
        let still = open
            .into_iter()
            .filter(|email| self.observed.get(email).is_none());
        self.absent.extend(still);
        Ok(())
    }

    /// Takes in what a run has done.
    pub(super) fn take_in(&mut self, email: Email, id: Option<UserId>, effect: Effect) {
        self.absent.remove(&email);
        match effect {
            Effect::Is(user) => {
                if user.email != email {
                    self.observed.remove(&email);
                }
                self.observed.put(*user);
            }
            Effect::Gone => {
                self.observed.remove(&email);
                self.absent.insert(email);
            }
            Effect::Unsure => drop(self.unsure.insert(email, id)),
        }
    }

    /// The same as left to a later run.
    pub(super) fn kept(self) -> Self {
        Self {
            is_kept: true,
            ..self
        }
    }

    /// Whether it was left by an earlier run, so that Omni may have changed since.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// How old it is.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.seen.elapsed()
    }

    /// Whether no part of it is older than this.
    pub(super) fn is_younger_than(&self, age: Duration) -> bool {
        self.seen.elapsed().max(self.defined.elapsed()) <= age
    }
}

impl<'a> ObserveRequest<'a> {
    fn named(self, wanted: impl Fn(&Email, &DesiredUser) -> bool) -> Vec<&'a Email> {
        let named = self.desired.users.iter();
        let named = named.filter(|(email, entry)| wanted(email, &entry.want));
        named.map(|(email, _)| email).collect()
    }

    /// Looks up whom the roster names, if that is less than listing the rest and proves as much.
    async fn look_up(self, first: &Page) -> Result<Option<Observed>, OmniError> {
        let named = self.desired.users.len();
        let Some(somebody) = first.users.first().filter(|_| named + 1 < left(first)) else {
            return Ok(None);
        };
        if !omni::filter_ignores_case(self.reader, somebody).await? {
            return Ok(None);
        }
        (self.expect)(named);
        let total = usize::try_from(first.total).unwrap_or(usize::MAX);
        let mut observed = Observed::of_some([], total);
        let emails = self.desired.users.keys().cloned().collect();
        match omni::look_up_into(self.reader, emails, &mut observed).await {
            Ok(()) => Ok(Some(observed)),
            Err(OmniError::UnreliableLookup) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists everybody; a second time where that does not add up and it matters.
    async fn list(self, first: Page) -> Result<Observed, OmniError> {
        (self.expect)(left(&first));
        let observed = omni::list_from(self.reader, first).await?;
        let Some(doubt) = observed.doubt().filter(|_| self.everybody) else {
            return Ok(observed);
        };
        tracing::info!("the listing does not add up: {doubt}; it is read once more");
        (self.expect)(observed.count().div_ceil(PAGE));
        omni::list(self.reader).await
    }
}

/// How many pages there are after the first one.
fn left(first: &Page) -> usize {
    let length = first.len().max(1) as u64;
    let left = first.total.saturating_sub(length).div_ceil(length);
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// A user as they are now: by id, where they had one, since a look-up by email may miss somebody
/// whose address is spelt in another case.
async fn now(
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
    reader.find(email).await?.sighting()
}
