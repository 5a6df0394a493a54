//! Pages of the list. A larger one that Omni does not give is read as a page of 100 at once.

use super::error::{AttemptError, Failure, OmniError};
use super::exchange::ApiRequest;
use super::limiter::Priority;
use super::page_sizes::DEFAULT;
use super::reader::Reader;
use super::wire::UserListPage;
use reqwest::StatusCode;

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
        let mut was_refused = false;
        loop {
            let request = self.page_request(start, count);
            let page = self
                .client
                .exchange(&request, &self.stop, self.parse_page());
            match page.await {
                Ok(mut page) => {
                    page.asked = count;
                    page.longer_was_refused = was_refused;
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
                    was_refused = matches!(error, AttemptError::Final(_));
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
pub(super) fn may_be_too_large(error: &AttemptError) -> bool {
    match error {
        AttemptError::Final(OmniError::Rejected { status, .. }) => {
            [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE].contains(status)
        }
        AttemptError::Final(_) | AttemptError::Failed(Failure::Connection(_)) => false,
        AttemptError::Failed(
            Failure::TimedOut | Failure::Status(..) | Failure::TooLarge(_) | Failure::Unreadable(_),
        ) => true,
    }
}
