//! Reading the list of users within the budget of a run. It makes way for a new roster.

use super::observe::ObserveRequest;
use crate::omni::{self, ListPart, OmniError, Reader, UserListPage};

impl ObserveRequest<'_> {
    /// Lists all users; a second time if the list is inconsistent and pruning depends on it. A list that `may_stop`
    /// ends where the budget does.
    pub(super) async fn list(
        self,
        first: UserListPage,
        may_stop: bool,
    ) -> Result<ListPart, OmniError> {
        let Self { reader, budget, .. } = self;
        let pages = first.pages_left();
        (self.expect)(if may_stop {
            pages.min(budget.left())
        } else {
            pages
        });
        let part = match may_stop {
            true => self.part(first, 1).await?,
            false => {
                omni::list_part(reader, first, 1, &|| {
                    budget.take();
                    true
                })
                .await?
            }
        };
        let doubt = part.observed.doubt();
        let Some(doubt) = doubt.filter(|_| self.everybody && part.next.is_none()) else {
            return Ok(part);
        };
        let again = reader.pages(part.observed.count());
        if budget.left() < again {
            tracing::info!("the listing does not add up: {doubt}; a later run lists again");
            return Ok(part);
        }
        tracing::info!("the listing does not add up: {doubt}; listing again");
        (self.expect)(again);
        budget.spend(again);
        omni::list_part(reader, reader.page(1).await?, 1, &|| true).await
    }

    /// One page of the list; `None` if a new roster waits first.
    pub(super) async fn page(self, start: u64) -> Result<Option<UserListPage>, OmniError> {
        let read = async |reader: Reader| reader.page(start).await;
        match self.unless_interrupted(self.reader, read).await {
            Err(OmniError::Stopped) if self.was_interrupted() => Ok(None),
            page => page.map(Some),
        }
    }

    /// The list after a page that begins with this user, as far as the budget and a new roster allow.
    pub(super) async fn part(self, first: UserListPage, start: u64) -> Result<ListPart, OmniError> {
        let may_request = || self.budget.take();
        let read =
            async |reader: Reader| omni::list_part(&reader, first, start, &may_request).await;
        let part = self.unless_interrupted(self.reader, read).await?;
        match self.reader.stop().is_cancelled() {
            true => Err(OmniError::Stopped),
            false => Ok(part),
        }
    }

    /// Reads with a reader that stops when a new roster waits: a wait for the right to send a request would delay it.
    pub(super) async fn unless_interrupted<T>(
        self,
        reader: &Reader,
        read: impl AsyncFnOnce(Reader) -> Result<T, OmniError>,
    ) -> Result<T, OmniError> {
        let stop = reader.stop().child_token();
        let make_way = async {
            self.budget.interrupted().await;
            stop.cancel();
            std::future::pending().await
        };
        tokio::select! {
            read = read(reader.until(&stop)) => read,
            never = make_way => never,
        }
    }

    /// Whether a new roster waits, and the run is not stopped.
    pub(super) fn was_interrupted(self) -> bool {
        self.budget.left() == 0 && !self.reader.stop().is_cancelled()
    }
}
