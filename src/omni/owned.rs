//! What users own and a removal affects: schedules and personal tokens.
//!
//! A schedule must not be missed, because its loss can't be undone. So a list that does not add up, or has an entry
//! that can't be read, is an error, unless the schedules can be read owner by owner.

use super::available::Available;
use super::error::OmniError;
use super::exchange::ApiRequest;
use super::reader::Reader;
use super::records::{ListedRecords, PAGE, RecordList};
use super::writer::Writer;
use crate::model::{Owned, OwnedPart, OwnedSchedule, OwnedSchedules, ScheduleId, UserId};
use chrono::Utc;
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::slice;

/// The number of owners to look up at most, to learn whether they are users.
const MAX_OWNERS: usize = 3;

/// The limit of pages of one user's schedules, and of personal tokens.
const MAX_PAGES: usize = 1_000;

#[derive(Deserialize)]
struct ScheduleDoc<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "ownerId", borrow)]
    owner: Option<&'a RawValue>,
    #[serde(rename = "recipientCount", borrow)]
    recipients: Option<&'a RawValue>,
}

/// A schedule in a list. The owner is `None` if the entry does not show a usable one, as on Omni's older pages.
pub(super) struct ListedSchedule {
    pub(super) schedule: OwnedSchedule,
    owner: Option<UserId>,
}

pub(super) fn read_schedule(entry: &RawValue) -> Option<ListedSchedule> {
    let doc: ScheduleDoc<'_> = serde_json::from_str(entry.get()).ok()?;
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    let owner = doc.owner.and_then(text);
    // Negative for other destinations than email.
    let recipients = doc.recipients.and_then(|count| count.get().parse().ok());
    Some(ListedSchedule {
        schedule: OwnedSchedule {
            id: ScheduleId::parse(&doc.id)?,
            name: doc.name.unwrap_or_default().into_owned(),
            recipients,
        },
        owner: owner.and_then(|id| UserId::parse(&id)),
    })
}

#[derive(Deserialize)]
struct TokenDoc<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "membershipId", borrow)]
    owner: Cow<'a, str>,
    enabled: Option<bool>,
}

/// The owner and the name of a personal token that can be used.
fn read_token(entry: &RawValue) -> Option<(UserId, String)> {
    let doc: TokenDoc<'_> = serde_json::from_str(entry.get()).ok()?;
    let is_personal = doc.kind.is_none_or(|kind| kind == "personal");
    let is_usable = is_personal && doc.enabled != Some(false);
    let name = doc.name.unwrap_or_default().into_owned();
    Some((UserId::parse(&doc.owner).filter(|_| is_usable)?, name))
}

/// The answer to a transfer.
#[derive(Deserialize)]
struct TransferredDoc {
    success: Option<bool>,
}

fn same_id(a: &UserId, b: &UserId) -> bool {
    a.as_str().eq_ignore_ascii_case(b.as_str())
}

/// The schedules of a list that adds up.
///
/// # Errors
/// [`OmniError::UnreliableSchedules`].
fn settled(records: ListedRecords<ListedSchedule>) -> Result<Vec<ListedSchedule>, OmniError> {
    let ids: HashSet<_> = records.entries.iter().map(|one| &one.schedule.id).collect();
    let is_complete = records.total.is_none_or(|total| total == ids.len());
    let doubt = if records.unreadable > 0 {
        "an entry can't be read"
    } else if records.lacks_cursor {
        "it lacks the cursor of its next page"
    } else if records.next.is_some() {
        "it does not end"
    } else if records.has_changed || ids.len() < records.len() || !is_complete {
        "it does not add up, so schedules may have changed during the listing"
    } else {
        return Ok(records.entries);
    };
    Err(OmniError::UnreliableSchedules { doubt })
}

/// Whether a schedule belongs to a user. One that shows no owner does, if Omni shows it for the user.
fn is_of(shown: &ListedSchedule, owner: &UserId) -> bool {
    shown.owner.as_ref().is_none_or(|id| same_id(id, owner))
}

fn by_name(mut schedules: Vec<OwnedSchedule>) -> Vec<OwnedSchedule> {
    schedules.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    schedules
}

/// The schedules of each of these users in a list of all. `None` if an entry shows no owner.
fn of_each(all: Vec<ListedSchedule>, owners: &[UserId]) -> Option<HashMap<UserId, OwnedSchedules>> {
    let mut found: HashMap<String, Vec<OwnedSchedule>> = HashMap::new();
    for ListedSchedule { schedule, owner } in all {
        let owner = owner?.as_str().to_ascii_lowercase();
        found.entry(owner).or_default().push(schedule);
    }
    let of = |owner: &UserId| found.get(&owner.as_str().to_ascii_lowercase()).cloned();
    let owned = owners.iter().map(|owner| {
        let schedules = by_name(of(owner).unwrap_or_default());
        (owner.clone(), OwnedSchedules::Read(schedules))
    });
    Some(owned.collect())
}

/// What was read, or why it can't be read. Only an error that ends the run stays an error.
pub(super) fn outcome<T>(read: Result<OwnedPart<T>, OmniError>) -> Result<OwnedPart<T>, OmniError> {
    match read {
        Err(error) if !error.ends_run() => Ok(OwnedPart::Failed(error.redacted())),
        read => read,
    }
}

/// Takes 403 and 404 as values.
pub(super) fn shown<T>(read: Result<T, OmniError>) -> Result<OwnedPart<T>, OmniError> {
    Ok(match Available::of(read)? {
        Available::Known(value) => OwnedPart::Read(value),
        Available::Rejected(_) => OwnedPart::NotShown,
    })
}

impl Reader {
    /// The schedules of a user.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors. [`OmniError::UnreliableSchedules`] if the list does not add up.
    pub async fn schedules_of(&self, owner: &UserId) -> Result<OwnedSchedules, OmniError> {
        let mut list = self.schedule_list(MAX_PAGES);
        list.url
            .query_pairs_mut()
            .append_pair("ownerId", owner.as_str());
        let own = match self.records(&list).await.and_then(settled) {
            Ok(shown) => self.of_owner(shown, owner).await,
            Err(error) => Err(error),
        };
        shown(own)
    }

    /// The schedules of a user among those that Omni shows for the user, by name. If Omni shows others too, it ignores
    /// the filter, or the owners have another kind of id, and these could be the user's.
    async fn of_owner(
        &self,
        shown: Vec<ListedSchedule>,
        owner: &UserId,
    ) -> Result<Vec<OwnedSchedule>, OmniError> {
        let is_clear = shown.iter().all(|one| is_of(one, owner));
        if !is_clear && !self.shows_users(&shown, slice::from_ref(owner)).await? {
            let doubt = "it shows the schedules of one user as those of another";
            return Err(OmniError::UnreliableSchedules { doubt });
        }
        let own = shown.into_iter().filter(|one| is_of(one, owner));
        Ok(by_name(own.map(|one| one.schedule).collect()))
    }

    /// Whether Omni shows schedules with the keys in use.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors.
    pub async fn shows_schedules(&self) -> Result<bool, OmniError> {
        let first = self.record_page(&self.schedule_list(1), None).await;
        Ok(matches!(Available::of(first)?, Available::Known(_)))
    }

    /// The schedules of these users: from the list of all if that takes fewer requests, else user by user.
    async fn schedules_of_each(
        &self,
        owners: &[UserId],
    ) -> Result<HashMap<UserId, OwnedSchedules>, OmniError> {
        if owners.len() > 1
            && let Some(owned) = self.schedules_among_all(owners).await?
        {
            return Ok(owned);
        }
        let reads = owners.iter().cloned().map(|owner| async move {
            let schedules = outcome(self.schedules_of(&owner).await)?;
            Ok((owner, schedules))
        });
        let reads: Vec<_> = stream::iter(reads)
            .buffer_unordered(self.concurrency())
            .collect()
            .await;
        reads.into_iter().collect()
    }

    /// The schedules of these users in the list of all. `None` if that would take more requests than users, or if the
    /// list is unreliable.
    async fn schedules_among_all(
        &self,
        owners: &[UserId],
    ) -> Result<Option<HashMap<UserId, OwnedSchedules>>, OmniError> {
        let list = self.schedule_list(owners.len() + 1);
        let same = |schedules: OwnedSchedules| {
            let owners = owners.iter().cloned();
            Some(owners.map(|owner| (owner, schedules.clone())).collect())
        };
        let first = match Available::of(self.record_page(&list, None).await) {
            Ok(Available::Known(first)) => first,
            Ok(Available::Rejected(_)) => return Ok(same(OwnedSchedules::NotShown)),
            Err(error) => return outcome(Err(error)).map(same),
        };
        if first.pages_left().is_none_or(|left| left > owners.len()) {
            return Ok(None);
        }
        let all = self.records_from(&list, first).await.and_then(settled);
        match Available::of(all) {
            Ok(Available::Known(all)) => Ok(match self.shows_users(&all, owners).await? {
                true => of_each(all, owners),
                false => None,
            }),
            Ok(Available::Rejected(_)) => Ok(same(OwnedSchedules::NotShown)),
            Err(error) if error.ends_run() => Err(error),
            Err(error) => {
                let error = error.redacted();
                tracing::info!(%error, "reading schedules user by user");
                Ok(None)
            }
        }
    }

    /// Whether the owners in a list have the ids of users: one of them is among these users, or is found by a lookup. A
    /// positive answer is remembered. Omni's documents call an owner a user or a membership, which have different ids.
    async fn shows_users(
        &self,
        all: &[ListedSchedule],
        users: &[UserId],
    ) -> Result<bool, OmniError> {
        let shown: BTreeSet<_> = all.iter().filter_map(|one| one.owner.as_ref()).collect();
        let known = &self.client.owners_are_users;
        let is_shown = |user| shown.iter().any(|owner| same_id(owner, user));
        let mut are_users = shown.is_empty() || known.get().is_some() || users.iter().any(is_shown);
        for owner in shown.iter().take(MAX_OWNERS) {
            if are_users {
                break;
            }
            are_users = match self.get(owner).await {
                Ok(user) => user.is_some(),
                Err(error) if error.ends_run() => return Err(error),
                Err(_) => false,
            };
        }
        if are_users && !shown.is_empty() {
            known.get_or_init(|| ());
        }
        Ok(are_users)
    }

    fn schedule_list(&self, max_pages: usize) -> RecordList<ListedSchedule> {
        let mut url = self.client.endpoint(&["api", "v1", "schedules"]);
        url.query_pairs_mut().append_pair("pageSize", PAGE);
        RecordList {
            url,
            max_pages,
            priority: self.priority,
            read: read_schedule,
        }
    }

    /// The personal tokens of all users by their owners.
    async fn personal_tokens(&self) -> Result<OwnedPart<HashMap<UserId, Vec<String>>>, OmniError> {
        let mut url = self.client.endpoint(&["api", "v1", "api-keys"]);
        url.query_pairs_mut()
            .append_pair("type", "personal")
            .append_pair("pageSize", PAGE);
        let list = RecordList {
            url,
            max_pages: MAX_PAGES,
            priority: self.priority,
            read: read_token,
        };
        let read = self.records(&list).await.map(|records| {
            let mut tokens: HashMap<_, Vec<_>> = HashMap::new();
            for (owner, name) in records.entries {
                tokens.entry(owner).or_default().push(name);
            }
            tokens
        });
        outcome(shown(read))
    }
}

/// What these users own, with as few requests as possible. Each user is in the result. A list that can't be read is an
/// outcome and no error.
///
/// # Errors
/// Errors that end the run.
pub async fn read_owned(
    reader: &Reader,
    owners: &[UserId],
) -> Result<HashMap<UserId, Owned>, OmniError> {
    if owners.is_empty() {
        return Ok(HashMap::new());
    }
    let read = Utc::now();
    let schedules = reader.schedules_of_each(owners).await?;
    let tokens = reader.personal_tokens().await?;
    let owned = schedules.into_iter().map(|(owner, schedules)| {
        let tokens = tokens.map(|all| all.get(&owner).cloned().unwrap_or_default());
        let owned = Owned {
            read,
            schedules,
            tokens,
        };
        (owner, owned)
    });
    Ok(owned.collect())
}

impl Writer {
    /// Makes a user the owner of a schedule. The former owner can't undo this, and later deliveries have the access of
    /// the new owner.
    ///
    /// # Errors
    /// [`OmniError::OutcomeUnknown`] if the response was lost: [`Reader::schedules_of`] shows the outcome.
    pub async fn transfer_schedule(
        &self,
        schedule: &ScheduleId,
        to: &UserId,
    ) -> Result<(), OmniError> {
        let path = [
            "api",
            "v1",
            "schedules",
            schedule.as_str(),
            "transfer-ownership",
        ];
        let url = self.reader().client.endpoint(&path);
        let request = ApiRequest::with_body(Method::PUT, url, &json!({ "userId": to.as_str() }));
        let parse = |body: &[u8]| match serde_json::from_slice::<TransferredDoc>(body)?.success {
            Some(false) => Err(serde::de::Error::custom("`success` is false")),
            Some(true) | None => Ok(Some(())),
        };
        self.write_once(request, parse).await.map(drop)
    }
}
