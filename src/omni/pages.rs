//! Pages of the list, and how many users each is asked for.
//!
//! Omni's default is 100, and no maximum is documented. Larger pages take fewer requests, so they are tried first. One
//! that Omni does not give is read as a page of 100 at once. So are all pages for a day, unless the larger page before it
//! worked.

use super::error::{AttemptError, Failure, OmniError};
use super::exchange::ApiRequest;
use super::limiter::Priority;
use super::reader::Reader;
use super::wire::UserListPage;
use crate::settings::PageSize;
use crate::util::sync::lock;
use reqwest::StatusCode;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The length of a page that always works: Omni's default.
const DEFAULT: u32 = 100;
/// The length that is tried first.
const LARGE: u32 = 1000;
/// The time after a failure in which no larger pages are requested.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// What is known of the length of pages.
#[derive(Debug)]
pub(super) struct PageSizes {
    setting: PageSize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The longest page that a probe has seen.
    probed: Option<u32>,
    larger: Larger,
    /// The number of users on the last page that was not the end of the list.
    length: Option<usize>,
}

/// Whether pages above the default work.
#[derive(Clone, Copy, Debug, Default)]
enum Larger {
    #[default]
    Unknown,
    Works,
    /// Since this time they do not.
    Fails(Instant),
}

impl PageSizes {
    pub(super) fn new(setting: PageSize) -> Self {
        Self {
            setting,
            known: Mutex::default(),
        }
    }

    /// Follows what a probe has learned.
    pub(super) fn follow(&self, max_page: Option<u32>) {
        lock(&self.known).probed = max_page;
    }

    /// How many users to ask for.
    fn count(&self) -> u32 {
        let known = lock(&self.known);
        let wanted = match self.setting {
            PageSize::Auto => known.probed.unwrap_or(LARGE).max(1),
            PageSize::Users(users) => users,
        };
        match known.larger {
            Larger::Fails(since) if since.elapsed() < REMEMBERED => wanted.min(DEFAULT),
            _ => wanted,
        }
    }

    /// Records a page with this number of users, which was asked for `count` of them.
    fn received(&self, count: u32, length: usize, is_last: bool) {
        let mut known = lock(&self.known);
        if count > DEFAULT {
            known.larger = Larger::Works;
        }
        if !is_last {
            known.length = Some(length);
        }
    }

    /// Records that a larger page did not work, and that one of the default length did right after it. One such page
    /// after others that worked may be chance.
    fn larger_failed(&self) {
        let mut known = lock(&self.known);
        known.larger = match known.larger {
            Larger::Works => Larger::Unknown,
            Larger::Unknown | Larger::Fails(_) => Larger::Fails(Instant::now()),
        };
    }

    /// The number of requests that list this many users, by the pages seen so far.
    fn pages(&self, users: usize) -> usize {
        let length = lock(&self.known).length;
        let usual = || self.count().min(DEFAULT) as usize;
        users.div_ceil(length.unwrap_or_else(usual).max(1))
    }
}

impl Reader {
    /// One page of the list that starts at this user, counted from 1.
    ///
    /// # Errors
    /// After the last attempt, or at once if a retry can't help.
    pub async fn page(&self, start: u64) -> Result<UserListPage, OmniError> {
        let count = self.client.page_sizes.count();
        self.page_of(start, count).await
    }

    /// Whether a page is shorter than the next one would be, because a longer one has just failed.
    pub(super) fn is_shortened(&self, page: &UserListPage) -> bool {
        page.asked < self.client.page_sizes.count()
    }

    /// At most this many users of the list. If Omni does not give a page that large, it is read as one of the default
    /// length at once.
    ///
    /// # Errors
    /// As [`Reader::page`].
    pub async fn page_of(&self, start: u64, count: u32) -> Result<UserListPage, OmniError> {
        let sizes = &self.client.page_sizes;
        let (mut count, mut failures, mut fell_back) = (count, 0, false);
        loop {
            let request = self.page_request(start, count);
            let page = self
                .client
                .exchange(&request, &self.stop, UserListPage::parse);
            match page.await {
                Ok(mut page) => {
                    page.asked = count;
                    if fell_back {
                        sizes.larger_failed();
                    }
                    sizes.received(count, page.len(), page.is_last(start));
                    return Ok(page);
                }
                Err(error) if count > DEFAULT && may_be_too_large(&error) => {
                    tracing::info!(
                        count,
                        "a page of the list can't be read; trying a shorter one"
                    );
                    (count, fell_back) = (DEFAULT, true);
                    failures += 1;
                }
                Err(AttemptError::Final(error)) => return Err(error),
                Err(AttemptError::Failed(failure)) => {
                    // A failure of both says nothing about the length.
                    fell_back = false;
                    self.after_failure(&mut failures, failure).await?;
                }
            }
        }
    }

    fn page_request(&self, start: u64, count: u32) -> ApiRequest {
        let mut url = self.users_url();
        url.query_pairs_mut()
            .append_pair("count", &count.to_string())
            .append_pair("startIndex", &start.to_string());
        ApiRequest::get(url).with_priority(Priority::Background)
    }

    /// The number of requests that list this many users, by the length of the pages seen so far.
    #[must_use]
    pub fn pages(&self, users: usize) -> usize {
        self.client.page_sizes.pages(users)
    }
}

/// Whether a page failed in a way that a shorter one may not.
fn may_be_too_large(error: &AttemptError) -> bool {
    match error {
        AttemptError::Final(OmniError::Rejected { status, .. }) => {
            [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE].contains(status)
        }
        AttemptError::Final(_) | AttemptError::Failed(Failure::Connection(_)) => false,
        AttemptError::Failed(Failure::TimedOut | Failure::Status(..) | Failure::Unreadable(_)) => {
            true
        }
    }
}
