//! The documents that users created. They stay when a user is removed, so runs do not read them.

use super::error::OmniError;
use super::owned::{outcome, shown};
use super::reader::Reader;
use super::records::RecordList;
use crate::model::{DocumentsByCreator, OwnedDocuments, OwnedPart, UserId};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The number of documents to name.
const NAMED: &str = "10";

#[derive(Deserialize)]
struct DocumentDoc<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

fn read_document(entry: &RawValue) -> Option<String> {
    let doc: DocumentDoc<'_> = serde_json::from_str(entry.get()).ok()?;
    Some(doc.name.into_owned())
}

impl Reader {
    /// The documents that a user created.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors.
    pub async fn documents_of(
        &self,
        creator: &UserId,
    ) -> Result<OwnedPart<OwnedDocuments>, OmniError> {
        let mut url = self.client.endpoint(&["api", "v1", "documents"]);
        url.query_pairs_mut()
            .append_pair("creatorId", creator.as_str())
            .append_pair("pageSize", NAMED);
        let list = RecordList {
            url,
            max_pages: 1,
            priority: self.priority,
            read: read_document,
        };
        let page = self.record_page(&list, None).await;
        shown(page.map(|page| OwnedDocuments {
            count: page.total.unwrap_or(page.len()),
            names: page.entries,
        }))
    }
}

/// The documents of these users, with one request for each; one refusal counts for all. A list that can't be read is an
/// outcome and no error.
///
/// # Errors
/// Errors that end the run.
pub async fn read_documents(
    reader: &Reader,
    creators: &[UserId],
) -> Result<DocumentsByCreator, OmniError> {
    let read = async |creator: &UserId| {
        let documents = outcome(reader.documents_of(creator).await)?;
        Ok((creator.clone(), documents))
    };
    let Some((first, others)) = creators.split_first() else {
        return Ok(DocumentsByCreator::new());
    };
    let first = read(first).await?;
    if first.1 == OwnedPart::NotShown {
        let not_shown = |creator: &UserId| (creator.clone(), OwnedPart::NotShown);
        return Ok(creators.iter().map(not_shown).collect());
    }
    let others: Vec<_> = stream::iter(others.iter().map(read))
        .buffer_unordered(reader.concurrency())
        .collect()
        .await;
    std::iter::once(Ok(first)).chain(others).collect()
}
