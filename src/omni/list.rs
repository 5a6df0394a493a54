//! The listing: all users, page by page.
//!
//! Pages are counted by what a response has, not by what was requested. Paging by offset can skip or
//! repeat users while others are added or removed, so repeats are dropped by id, and a list that does
//! not add up is marked as doubtful. A list beyond the size of any real organisation is an error.

use super::{OmniError, Reader, UserListPage};
use crate::model::{ListedMemberships, Observed, UserId};
use futures_util::stream::{self, StreamExt};
use std::collections::HashSet;

/// The limit of users: twice the size that this program supports. A larger organisation gets an error
/// after the first page.
const MAX_USERS: u64 = 2_000_000;

/// The limit of pages, if they have 100 users, as by Omni's default.
const MAX_PAGES: u64 = 20_000;

/// The size limit of all pages together: a fixed part, and a part per user.
const MAX_BYTES: u64 = 256 << 20;
const MAX_BYTES_PER_USER: u64 = 32 << 10;

/// A listing may grow by its initial total and this many users, since a list that grows faster than it
/// is read never ends.
const MAX_NEW_USERS: u64 = 1000;

/// Lists all users.
///
/// # Errors
/// If a page can't be read: a partial list is unusable.
pub async fn list(reader: &Reader) -> Result<Observed, OmniError> {
    list_from(reader, reader.page(1).await?).await
}

/// Lists all users after a given first page.
///
/// # Errors
/// As [`list`].
pub async fn list_from(reader: &Reader, first: UserListPage) -> Result<Observed, OmniError> {
    Ok(list_part(reader, first, 1, &|| true).await?.observed)
}

/// A part of the list.
#[derive(Debug)]
pub struct ListPart {
    /// Its users. Only if it is the whole list, it can be doubtful.
    pub observed: Observed,
    /// The groups of its users, if they were asked for.
    pub memberships: ListedMemberships,
    /// The number of users in Omni.
    pub total: u64,
    /// The number of users on its first page.
    pub page: u64,
    /// The first user after it, counted from 1; `None` if it goes to the end.
    pub next: Option<u64>,
}

/// Lists users after a given page that begins with this user, until the end, or until a page may not be requested. The
/// same ends the wait for pages if it stops the reader.
///
/// # Errors
/// As [`list`].
pub async fn list_part(
    reader: &Reader,
    first: UserListPage,
    start: u64,
    may_request: &(dyn Fn() -> bool + Sync),
) -> Result<ListPart, OmniError> {
    let mut listing = Listing::new(first.total);
    listing.received = start - 1;
    listing.page = first.len() as u64;
    let mut page = first;
    loop {
        let more = listing.take_with_following(reader, page, may_request);
        match more.await {
            Ok(true) => {}
            Ok(false) => break,
            // What was read before it made way is a part.
            Err(OmniError::Stopped) if !may_request() => return Ok(listing.part_so_far()),
            Err(error) => return Err(error),
        }
        if !may_request() {
            return Ok(listing.part_so_far());
        }
        // After a shorter page, or for users added during the listing.
        page = match reader.page(listing.received + 1).await {
            Err(OmniError::Stopped) if !may_request() => return Ok(listing.part_so_far()),
            page => page?,
        };
    }
    // A page without users before the end is not the end.
    let next = (listing.received < listing.total).then_some(listing.received + 1);
    Ok(match start {
        1 => listing.whole(),
        _ => listing.part(next),
    })
}

#[derive(Default)]
struct Listing {
    observed: Observed,
    ids: HashSet<UserId>,
    memberships: ListedMemberships,
    others: HashSet<UserId>,
    unreadable: HashSet<String>,
    /// The number of users on the first page.
    page: u64,
    received: u64,
    total: u64,
    /// Why users may be missing.
    doubt: Option<String>,
    pages: u64,
    bytes: u64,
    max_users: u64,
}

impl Listing {
    /// A listing of this many users, according to its first page.
    fn new(total: u64) -> Self {
        Self {
            max_users: (2 * total.min(MAX_USERS) + MAX_NEW_USERS).min(MAX_USERS),
            ..Self::default()
        }
    }

    /// Adds a page, and the following ones while they are as long: their offsets are known, so several are requested at
    /// once. Returns whether there is another one.
    async fn take_with_following(
        &mut self,
        reader: &Reader,
        page: UserListPage,
        may_request: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, OmniError> {
        let (length, is_shortened) = (page.len(), reader.is_shortened(&page));
        let mut more = self.take(page)?;
        if !more || is_shortened {
            return Ok(more);
        }
        let count = u32::try_from(length).unwrap_or(u32::MAX);
        let starts = (self.received + 1..=self.total).step_by(length);
        let mut pages = stream::iter(starts.take_while(|_| may_request()))
            .map(|start| reader.page_of(start, count))
            .buffered(reader.concurrency());
        while more && let Some(page) = pages.next().await {
            let page = page?;
            let is_full = page.len() == length;
            more = self.take(page)?;
            if !is_full {
                break;
            }
        }
        Ok(more)
    }

    /// Adds a page. Returns whether there is another one, which is an error past the limits.
    fn take(&mut self, page: UserListPage) -> Result<bool, OmniError> {
        let known = self.listed();
        let (length, total) = (page.len() as u64, page.total);
        // New users are at the end, and are read there. A removed user moves others to pages that
        // were read already.
        if total < self.total {
            self.doubt("users were removed during the listing");
        }
        self.total = total;
        self.received += length;
        self.pages += 1;
        self.bytes += page.bytes as u64;
        for user in page.users {
            if self.ids.insert(user.id.clone()) {
                self.observed.add(user);
            }
        }
        self.memberships.append(page.memberships);
        self.others.extend(page.others);
        self.unreadable.extend(page.unreadable);
        let new = self.listed() - known;
        if (new as u64) < length {
            self.doubt("a user was listed twice");
        }
        // A page without new users means the end, whatever the total says.
        let more = new > 0 && self.received < total;
        if more && self.exceeds_limits() {
            let (pages, users) = (self.pages, self.received);
            return Err(OmniError::ListTooLong {
                total,
                pages,
                users,
            });
        }
        Ok(more)
    }

    /// The number of different users so far.
    fn listed(&self) -> usize {
        self.ids.len() + self.others.len() + self.unreadable.len()
    }

    fn exceeds_limits(&self) -> bool {
        self.pages >= MAX_PAGES
            || self.total > MAX_USERS
            || self.received >= self.max_users
            || self.bytes >= MAX_BYTES + MAX_BYTES_PER_USER * self.received
    }

    fn doubt(&mut self, reason: &str) {
        self.doubt.get_or_insert_with(|| reason.to_owned());
    }

    fn part_so_far(self) -> ListPart {
        let next = self.received + 1;
        self.part(Some(next))
    }

    fn part(mut self, next: Option<u64>) -> ListPart {
        let memberships = std::mem::take(&mut self.memberships);
        ListPart {
            memberships: memberships.of(std::mem::take(&mut self.ids)),
            total: self.total,
            page: self.page,
            next,
            observed: self.finish(),
        }
    }

    fn whole(mut self) -> ListPart {
        let (listed, total) = (self.listed() as u64, self.total);
        if total != listed {
            self.doubt(&format!(
                "{listed} users were listed, but Omni counts {total}"
            ));
        }
        self.part(None)
    }

    fn finish(mut self) -> Observed {
        self.observed.add_others(self.others.len());
        let ids = self.unreadable.iter().map(|id| UserId::parse(id));
        self.observed.add_unreadable(ids);
        self.observed.settle_attributes();
        match self.doubt {
            Some(doubt) => self.observed.with_doubt(doubt),
            None => self.observed,
        }
    }
}
