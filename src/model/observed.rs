//! The observed state: who is in Omni now, as a value.

use super::{ByEmail, Email, Interner, ObservedUser};
use indexmap::map::Entry;
use std::sync::Arc;

/// What an email stands for in Omni.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserMatch {
    /// One user.
    One(Arc<ObservedUser>),
    /// Several users that differ in the case of their emails at most. None of them may be touched.
    Several(usize),
}

/// Who is in Omni: everybody, or those who were looked for.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    users: ByEmail<UserMatch>,
    /// What their attributes share.
    known: Interner,
    count: usize,
    extent: Extent,
}

/// How much of Omni an observation shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Extent {
    #[default]
    Everybody,
    /// Everybody, were it not for this.
    Doubtful(String),
    /// Those who were looked for, and perhaps others.
    Some,
}

impl Observed {
    /// What a listing showed. `others` are users whose `userName` is no email: they are counted and
    /// never touched.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = ObservedUser>, others: usize) -> Self {
        let mut observed = Self::default();
        users.into_iter().for_each(|user| observed.add(user));
        observed.add_others(others);
        observed
    }

    /// Takes in a user of a listing.
    pub(crate) fn add(&mut self, user: ObservedUser) {
        self.count += 1;
        self.see(user);
    }

    /// Takes in users of a listing whose `userName` is no email.
    pub(crate) fn add_others(&mut self, others: usize) {
        self.count += others;
    }

    /// Some users of an organisation of so many: nothing is known of those who are not in here.
    #[must_use]
    pub fn of_some(users: impl IntoIterator<Item = ObservedUser>, count: usize) -> Self {
        let mut observed = Self {
            count,
            extent: Extent::Some,
            ..Self::default()
        };
        users.into_iter().for_each(|user| observed.see(user));
        observed
    }

    fn see(&mut self, mut user: ObservedUser) {
        user.attributes = self.known.share(user.attributes);
        match self.users.entry(user.email.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(UserMatch::One(Arc::new(user)))),
            Entry::Occupied(mut taken) => {
                let before = match taken.get() {
                    UserMatch::One(_) => 1,
                    UserMatch::Several(count) => *count,
                };
                taken.insert(UserMatch::Several(before + 1));
            }
        }
    }

    /// The same, with a reason to doubt that it shows everybody.
    #[must_use]
    pub fn with_doubt(self, doubt: String) -> Self {
        Self {
            extent: Extent::Doubtful(doubt),
            ..self
        }
    }

    /// What an email stands for; `None` where nobody has it, as far as is known.
    #[must_use]
    pub fn get(&self, email: &Email) -> Option<&UserMatch> {
        self.users.get(email)
    }

    /// Every email that stands for one user, with that user, in no order.
    pub fn users(&self) -> impl Iterator<Item = &Arc<ObservedUser>> {
        self.users.values().filter_map(|sighting| match sighting {
            UserMatch::One(user) => Some(user),
            UserMatch::Several(_) => None,
        })
    }

    /// How many users there are in Omni.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether whoever is not in here is not in Omni. Only then may anybody be called missing.
    #[must_use]
    pub fn shows_everybody(&self) -> bool {
        self.extent == Extent::Everybody
    }

    /// Why this may not show everybody, where it was to. `None` where the listing added up.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        match &self.extent {
            Extent::Doubtful(doubt) => Some(doubt),
            Extent::Everybody | Extent::Some => None,
        }
    }

    /// Takes in what a look-up showed: who has an email now, whoever had it before.
    pub fn found(&mut self, email: &Email, now: Option<UserMatch>) {
        let size = |sighting: Option<&UserMatch>| match sighting {
            None => 0,
            Some(UserMatch::One(_)) => 1,
            Some(UserMatch::Several(count)) => *count,
        };
        // Among some of so many, whoever is found was counted before.
        if self.extent != Extent::Some {
            let (before, after) = (size(self.users.get(email)), size(now.as_ref()));
            self.count = (self.count + after).saturating_sub(before);
        }
        match now {
            Some(sighting) => drop(self.users.insert(email.clone(), sighting)),
            None => drop(self.users.swap_remove(email)),
        }
    }

    /// Takes in that a user was made, or is now so.
    pub fn put(&mut self, user: ObservedUser) {
        let email = user.email.clone();
        let user = UserMatch::One(Arc::new(user));
        if self.users.insert(email, user).is_none() {
            self.count += 1;
        }
    }

    /// Takes in that a user was removed.
    pub fn remove(&mut self, email: &Email) {
        if self.users.swap_remove(email).is_some() {
            self.count = self.count.saturating_sub(1);
        }
    }
}
