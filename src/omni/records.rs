//! Lists below `/api/v1/`, page by page, with a cursor.

use super::error::OmniError;
use super::exchange::ApiRequest;
use super::limiter::Priority;
use super::reader::Reader;
use reqwest::Url;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;

/// The number of entries to request per page, the maximum by Omni's OpenAPI document.
pub(super) const PAGE: &str = "100";

#[derive(Deserialize)]
struct RecordsDoc<'a> {
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
    #[serde(rename = "pageInfo", borrow)]
    page: Option<PageInfoDoc<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageInfoDoc<'a> {
    #[serde(rename = "hasNextPage")]
    has_next: Option<bool>,
    #[serde(rename = "nextCursor", borrow)]
    next: Option<Cow<'a, str>>,
    #[serde(rename = "totalRecords", borrow)]
    total: Option<&'a RawValue>,
}

/// A page, or the pages so far.
#[derive(Debug)]
pub(super) struct ListedRecords<T> {
    pub(super) entries: Vec<T>,
    /// The number of entries that can't be read. They must not hide the others.
    pub(super) unreadable: usize,
    /// The number of entries in the whole list, if Omni says so.
    pub(super) total: Option<usize>,
    /// Whether the pages differ in their total, because the list changed meanwhile.
    pub(super) has_changed: bool,
    /// Whether a page says that another one follows, and not how to get it.
    pub(super) lacks_cursor: bool,
    /// The cursor of the next page; `None` after the last one.
    pub(super) next: Option<String>,
}

impl<T> ListedRecords<T> {
    pub(super) fn parse(body: &[u8], read: fn(&RawValue) -> Option<T>) -> serde_json::Result<Self> {
        let doc: RecordsDoc<'_> = serde_json::from_slice(body)?;
        let page = doc.page.unwrap_or_default();
        let next = page.next.filter(|next| !next.is_empty());
        let next = next.filter(|_| page.has_next != Some(false));
        let total = page.total;
        let lacks_cursor = next.is_none() && page.has_next == Some(true);
        let entries: Vec<_> = doc.records.iter().filter_map(|one| read(one)).collect();
        Ok(Self {
            unreadable: doc.records.len() - entries.len(),
            entries,
            total: total.and_then(|total| total.get().parse().ok()),
            has_changed: false,
            lacks_cursor,
            next: next.map(Cow::into_owned),
        })
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.unreadable
    }

    /// The number of pages after this one, if it is the first; `None` if Omni does not say.
    pub(super) fn pages_left(&self) -> Option<usize> {
        if self.next.is_none() {
            return Some(0);
        }
        let left = self.total?.saturating_sub(self.len());
        Some(left.div_ceil(self.len().max(1)))
    }

    fn append(&mut self, page: Self) {
        self.has_changed |= self.total != page.total;
        self.lacks_cursor |= page.lacks_cursor;
        self.entries.extend(page.entries);
        self.unreadable += page.unreadable;
        self.next = page.next;
    }
}

/// A list to read.
pub(super) struct RecordList<T> {
    /// The address, with all parameters but the cursor.
    pub(super) url: Url,
    /// The limit of pages.
    pub(super) max_pages: usize,
    pub(super) priority: Priority,
    /// Reads an entry.
    pub(super) read: fn(&RawValue) -> Option<T>,
}

impl Reader {
    /// The page of a list at this cursor, or the first one.
    pub(super) async fn record_page<T>(
        &self,
        list: &RecordList<T>,
        cursor: Option<&str>,
    ) -> Result<ListedRecords<T>, OmniError> {
        let mut url = list.url.clone();
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let request = ApiRequest::get_optional(url).with_priority(list.priority);
        let parse = |body: &[u8]| ListedRecords::parse(body, list.read);
        self.read(request, parse).await
    }

    /// A list. If the result has a next page, the list has no end, or too many pages.
    pub(super) async fn records<T>(
        &self,
        list: &RecordList<T>,
    ) -> Result<ListedRecords<T>, OmniError> {
        let first = self.record_page(list, None).await?;
        self.records_from(list, first).await
    }

    /// A list whose first page is given.
    pub(super) async fn records_from<T>(
        &self,
        list: &RecordList<T>,
        first: ListedRecords<T>,
    ) -> Result<ListedRecords<T>, OmniError> {
        let (mut records, mut cursors) = (first, HashSet::new());
        while let Some(cursor) = records.next.clone() {
            if cursors.len() + 1 >= list.max_pages || !cursors.insert(cursor.clone()) {
                break;
            }
            records.append(self.record_page(list, Some(&cursor)).await?);
        }
        Ok(records)
    }
}
