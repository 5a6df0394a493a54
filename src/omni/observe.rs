//! The observed state: who is in Omni now.

use super::{Found, OmniError, Reader};
use crate::user::{Email, ObservedUser, UserId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What an email stands for in Omni.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// One user.
    One(Arc<ObservedUser>),
    /// Several users that differ in the case of their emails at most. None of them may be touched.
    Several(usize),
}

/// Who is in Omni, as listed.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    users: HashMap<Email, Sighting>,
    count: usize,
    doubt: Option<String>,
}

impl Observed {
    /// What a listing showed. `others` are users whose `userName` is no email: they are counted and
    /// never touched.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = ObservedUser>, others: usize) -> Self {
        let mut observed = Self {
            count: others,
            ..Self::default()
        };
        users.into_iter().for_each(|user| observed.add(user));
        observed
    }

    fn add(&mut self, user: ObservedUser) {
        use std::collections::hash_map::Entry;
        self.count += 1;
        match self.users.entry(user.email.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(Sighting::One(Arc::new(user)))),
            Entry::Occupied(mut taken) => {
                let before = match taken.get() {
                    Sighting::One(_) => 1,
                    Sighting::Several(count) => *count,
                };
                taken.insert(Sighting::Several(before + 1));
            }
        }
    }

    /// The same, with a reason to doubt that it shows everybody.
    #[must_use]
    pub fn with_doubt(self, doubt: String) -> Self {
        Self {
            doubt: Some(doubt),
            ..self
        }
    }

    /// What an email stands for; `None` where nobody has it.
    #[must_use]
    pub fn get(&self, email: &Email) -> Option<&Sighting> {
        self.users.get(email)
    }

    /// Every email that stands for one user, with that user, in no order.
    pub fn users(&self) -> impl Iterator<Item = &Arc<ObservedUser>> {
        self.users.values().filter_map(|sighting| match sighting {
            Sighting::One(user) => Some(user),
            Sighting::Several(_) => None,
        })
    }

    /// How many users there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Why this may not show everybody, so that nobody may be called missing. `None` where the
    /// listing added up.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }
}

/// Lists all users, page by page. It goes by what came back, never by what was asked for: paging by
/// offset can skip or repeat users while others come and go, so repeats are dropped by id, and what
/// does not add up is said.
///
/// # Errors
/// When a page can't be had: what was listed before is then of no use.
pub async fn list(reader: &Reader) -> Result<Observed, OmniError> {
    let mut tally = Tally::default();
    loop {
        let page = reader.page(tally.received + 1).await?;
        if !tally.take(page) {
            return Ok(tally.finish());
        }
    }
}

/// Looks one user up, and nobody else.
///
/// # Errors
/// When the answer can't be had, or can't be relied on.
pub async fn look_up(reader: &Reader, email: &Email) -> Result<Observed, OmniError> {
    Ok(match reader.find(email).await? {
        Found::One(user) => Observed::new([*user], 0),
        Found::Nobody => Observed::default(),
        Found::Several(count) => {
            let users = HashMap::from([(email.clone(), Sighting::Several(count))]);
            Observed {
                users,
                count,
                doubt: None,
            }
        }
        Found::Unclear => return Err(OmniError::Unclear),
    })
}

#[derive(Default)]
struct Tally {
    users: Vec<ObservedUser>,
    ids: HashSet<UserId>,
    others: HashSet<String>,
    received: u64,
    total: Option<u64>,
    doubt: Option<String>,
}

impl Tally {
    /// Takes a page; says whether there is another one.
    fn take(&mut self, page: super::Page) -> bool {
        let known = self.ids.len() + self.others.len();
        let (length, total) = (page.len() as u64, page.total);
        if self.total.is_some_and(|before| before != total) {
            self.doubt("the number of users changed while they were listed");
        }
        self.total = Some(total);
        self.received += length;
        for user in page.users {
            if self.ids.insert(user.id.clone()) {
                self.users.push(user);
            }
        }
        self.others.extend(page.others);
        let new = self.ids.len() + self.others.len() - known;
        if (new as u64) < length {
            self.doubt("a user was listed twice");
        }
        // A page with nobody new on it brings us no nearer to the end, whatever the total says.
        new > 0 && self.received < total
    }

    fn doubt(&mut self, why: &str) {
        self.doubt.get_or_insert_with(|| why.to_owned());
    }

    fn finish(mut self) -> Observed {
        let listed = (self.ids.len() + self.others.len()) as u64;
        if let Some(total) = self.total.filter(|total| *total != listed) {
            self.doubt(&format!(
                "{listed} users were listed, and Omni says that there are {total}"
            ));
        }
        let observed = Observed::new(self.users, self.others.len());
        match self.doubt {
            Some(doubt) => observed.with_doubt(doubt),
            None => observed,
        }
    }
}
