//! The listing: all users, page by page.
//!
//! It goes by what came back, never by what was asked for. Paging by offset can skip or repeat users
//! while others come and go, so repeats are dropped by id, and what does not add up is said. A list that
//! goes on beyond what any organisation has is given up.

use super::{OmniError, Page, Reader};
use crate::model::{Observed, UserId};
use futures_util::stream::{self, StreamExt};
use std::collections::HashSet;

/// The most users that are listed: twice as many as this program is made for. Who has more is told so
/// at the first page, which is all that is read then.
const MOST_USERS: u64 = 2_000_000;

/// The most pages that are read. Omni's have 100 users.
const MOST_PAGES: u64 = 20_000;

/// The most bytes that all pages together may have: so many, and so many for each user.
const MOST_BYTES: u64 = 256 << 20;
const MOST_BYTES_EACH: u64 = 32 << 10;

/// How many users may come while all are listed, besides as many again as there were: who come faster
/// than they are read never end.
const MOST_NEW: u64 = 1000;

/// Lists all users.
///
/// # Errors
/// When a page can't be had: what was listed before is then of no use.
pub async fn list(reader: &Reader) -> Result<Observed, OmniError> {
    list_from(reader, reader.page(1).await?).await
}

/// Lists all users, the first page of whom is there already. While pages are as long as the first
/// one, it is known where the next ones begin, and several are asked for at once.
///
/// # Errors
/// As [`list`].
pub async fn list_from(reader: &Reader, first: Page) -> Result<Observed, OmniError> {
    let (length, total) = (first.len() as u64, first.total);
    let mut tally = Tally::of(total);
    let mut more = tally.take(first)?;
    if more {
        let starts = (1 + length..=total).step_by(usize::try_from(length).unwrap_or(usize::MAX));
        let mut pages = stream::iter(starts)
            .map(|start| reader.page(start))
            .buffered(reader.at_once());
        while let Some(page) = pages.next().await {
            let page = page?;
            let is_whole = page.len() as u64 == length;
            more = tally.take(page)?;
            if !more || !is_whole {
                break;
            }
        }
    }
    // A page that was shorter than the first one, or users who have come meanwhile.
    while more {
        more = tally.take(reader.page(tally.received + 1).await?)?;
    }
    Ok(tally.finish())
}

#[derive(Default)]
struct Tally {
    observed: Observed,
    ids: HashSet<UserId>,
    others: HashSet<String>,
    received: u64,
    total: u64,
    doubt: Option<String>,
    pages: u64,
    bytes: u64,
    most_users: u64,
}

impl Tally {
    /// That of a list whose first page says how many users there are.
    fn of(total: u64) -> Self {
        Self {
            most_users: (2 * total.min(MOST_USERS) + MOST_NEW).min(MOST_USERS),
            ..Self::default()
        }
    }

    /// Takes a page; says whether there is another one.
    ///
    /// # Errors
    /// When there is, and it has been too many already.
    fn take(&mut self, page: Page) -> Result<bool, OmniError> {
        let known = self.ids.len() + self.others.len();
        let (length, total) = (page.len() as u64, page.total);
        // Who comes stands at the end, and is read there. Who goes makes others move up, out of sight.
        if total < self.total {
            self.doubt("users went while they were listed");
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
        self.others.extend(page.others);
        let new = self.ids.len() + self.others.len() - known;
        if (new as u64) < length {
            self.doubt("a user was listed twice");
        }
        // A page with nobody new on it brings us no nearer to the end, whatever the total says.
        let more = new > 0 && self.received < total;
        if more && self.is_too_much() {
            let (pages, users) = (self.pages, self.received);
            return Err(OmniError::ListTooLong {
                total,
                pages,
                users,
            });
        }
        Ok(more)
    }

    fn is_too_much(&self) -> bool {
        self.pages >= MOST_PAGES
            || self.total > MOST_USERS
            || self.received >= self.most_users
            || self.bytes >= MOST_BYTES + MOST_BYTES_EACH * self.received
    }

    fn doubt(&mut self, why: &str) {
        self.doubt.get_or_insert_with(|| why.to_owned());
    }

    fn finish(mut self) -> Observed {
        let listed = (self.ids.len() + self.others.len()) as u64;
        if self.total != listed {
            let total = self.total;
            self.doubt(&format!(
                "{listed} users were listed, and Omni says that there are {total}"
            ));
        }
        self.observed.add_others(self.others.len());
        match self.doubt {
            Some(doubt) => self.observed.with_doubt(doubt),
            None => self.observed,
        }
    }
}
