//! The list of groups, page by page.
//!
//! A page with members may be large, because a group has up to all users as members. The first page is short enough for
//! that case; the following ones are sized by what came.

use super::available::{Available, Groups};
use super::error::{AttemptError, Failure, OmniError};
use super::exchange::{ApiRequest, MAX_BODY};
use super::pages::may_be_too_large;
use super::reader::Reader;
use crate::model::{GroupId, GroupName, ObservedGroup, ObservedGroups, UserId};
use crate::util::sync::lock;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Mutex;

/// The number of groups on a page at most.
const MAX_PAGE: usize = 100;

/// The number of groups on the first page at least, unless Omni refuses it.
const MIN_FIRST_PAGE: usize = 10;

/// The size of a member in a response, roughly.
const MEMBER_BYTES: usize = 100;

/// The aim for the size of a page with members.
const PAGE_BYTES: usize = MAX_BODY / 2;

#[derive(Deserialize)]
struct GroupListDoc<'a> {
    #[serde(rename = "Resources", borrow, default)]
    resources: Vec<&'a RawValue>,
    #[serde(rename = "totalResults")]
    total: usize,
}

#[derive(Deserialize)]
struct GroupDoc<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "displayName", borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    members: Option<Vec<MemberDoc<'a>>>,
}

#[derive(Deserialize)]
struct MemberDoc<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

impl GroupDoc<'_> {
    /// The group; `None` without a usable id. Its members share the ids that are known already. A member without a
    /// usable id is left out: it is in no list of users.
    fn read(self, ids: &mut HashSet<UserId>) -> Option<ObservedGroup> {
        let mut shared = |member: &MemberDoc<'_>| {
            let id: &str = &member.value;
            if let Some(known) = ids.get(id) {
                return Some(known.clone());
            }
            let id = UserId::parse(id)?;
            ids.insert(id.clone());
            Some(id)
        };
        let members = self.members.as_ref();
        Some(ObservedGroup {
            id: GroupId::parse(&self.id)?,
            name: self.name.as_ref().into(),
            members: members.map(|members| members.iter().filter_map(&mut shared).collect()),
        })
    }
}

/// The group in a response about one group.
pub(super) fn parse_group(body: &[u8]) -> serde_json::Result<ObservedGroup> {
    let unusable = || serde::de::Error::custom("the response has an id that can't be used");
    let group = serde_json::from_slice::<GroupDoc<'_>>(body)?;
    group.read(&mut HashSet::new()).ok_or_else(unusable)
}

/// One page of the list.
#[derive(Debug)]
struct GroupPage {
    groups: Vec<ObservedGroup>,
    /// The number of entries that can't be read. They must not hide the others.
    unreadable: usize,
    /// The number of groups, according to Omni.
    total: usize,
    bytes: usize,
}

impl GroupPage {
    fn parse(body: &[u8], ids: &Mutex<HashSet<UserId>>) -> serde_json::Result<Self> {
        let doc: GroupListDoc<'_> = serde_json::from_slice(body)?;
        let entries = doc.resources.len();
        let mut ids = lock(ids);
        let groups = doc.resources.into_iter().filter_map(|entry| {
            let group: GroupDoc<'_> = serde_json::from_str(entry.get()).ok()?;
            group.read(&mut ids)
        });
        let groups: Vec<_> = groups.collect();
        Ok(Self {
            unreadable: entries - groups.len(),
            groups,
            total: doc.total,
            bytes: body.len(),
        })
    }

    fn len(&self) -> usize {
        self.groups.len() + self.unreadable
    }
}

/// How many groups a page is asked for.
#[derive(Debug)]
struct PageLength {
    groups: usize,
    max: usize,
}

impl PageLength {
    /// Of pages without members.
    fn of_names() -> Self {
        Self {
            groups: MAX_PAGE,
            max: MAX_PAGE,
        }
    }

    /// Of pages with members, where Omni has this many users.
    fn with_members(users: usize) -> Self {
        let fit = MAX_BODY / (MEMBER_BYTES * users.max(1));
        Self {
            groups: fit.clamp(MIN_FIRST_PAGE, MAX_PAGE),
            max: MAX_PAGE,
        }
    }

    /// Takes in a page.
    fn received(&mut self, page: &GroupPage) {
        let each = page.bytes.div_ceil(page.len().max(1));
        self.groups = (PAGE_BYTES / each.max(1)).clamp(1, self.max);
    }

    /// Takes in that a page was too long, maybe. Returns whether a shorter one is possible.
    fn halve(&mut self) -> bool {
        let half = self.groups / 2;
        if half > 0 {
            (self.groups, self.max) = (half, half);
        }
        half > 0
    }
}

impl Reader {
    /// All groups with their members. `users` is the number of users in Omni, by which the pages are sized. If any
    /// group in the list shows members, one without them has none.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors. [`OmniError::UnreliableGroups`] if the list does not add up.
    pub async fn groups(&self, users: usize) -> Result<Groups, OmniError> {
        let listed = self.list_groups(PageLength::with_members(users), true);
        Available::of(listed.await.map(settle_members))
    }

    /// All groups with their names, without members.
    ///
    /// # Errors
    /// As [`Reader::groups`].
    pub async fn group_names(&self) -> Result<Groups, OmniError> {
        let listed = self.list_groups(PageLength::of_names(), false);
        Available::of(listed.await)
    }

    /// The groups that Omni's filter finds for a name. It may depend on letter case, or be ignored, so compare the
    /// names.
    ///
    /// # Errors
    /// As [`Reader::page`]; 403 and 404 are not errors.
    pub async fn groups_named(&self, name: &GroupName) -> Result<Groups, OmniError> {
        let quoted = serde_json::to_string(name.as_str()).expect("a text is JSON");
        let mut url = self.groups_url();
        url.query_pairs_mut()
            .append_pair("filter", &format!("displayName eq {quoted}"));
        let ids = Mutex::default();
        let parse = |body: &[u8]| GroupPage::parse(body, &ids).map(|page| page.groups);
        Available::of(self.read(ApiRequest::get_optional(url), parse).await)
    }

    /// Groups with the one of this name among them, in any letter case, if there is one: what the filter finds where a
    /// probe has learned that it ignores case, else all.
    ///
    /// # Errors
    /// As [`Reader::groups`].
    pub async fn groups_for(&self, name: &GroupName) -> Result<Groups, OmniError> {
        if self.group_rules().filter_ignores_case {
            let found = self.groups_named(name).await?;
            let is_same = |group: &ObservedGroup| {
                GroupName::parse(&group.name).is_ok_and(|other| other.is_same_ignoring_case(name))
            };
            if matches!(&found, Available::Known(groups) if groups.iter().any(is_same)) {
                return Ok(found);
            }
        }
        self.group_names().await
    }

    async fn list_groups(
        &self,
        mut length: PageLength,
        with_members: bool,
    ) -> Result<Vec<ObservedGroup>, OmniError> {
        // The pages share the ids of their members.
        let ids = Mutex::default();
        let (mut groups, mut received) = (Vec::new(), 0);
        let (mut total, mut unreadable) = (None, 0);
        while total.is_none_or(|total| received < total && received < ObservedGroups::MAX) {
            let page = self.group_page(received + 1, &mut length, with_members, &ids);
            let page = page.await?;
            // A group that was created or removed meanwhile may have moved others past the pages.
            if total.is_some_and(|total| total != page.total) || page.len() == 0 {
                total.get_or_insert(page.total);
                break;
            }
            total = Some(page.total);
            received += page.len();
            unreadable += page.unreadable;
            groups.extend(page.groups);
        }
        let different: HashSet<_> = groups.iter().map(|group| &group.id).collect();
        let (listed, total) = (different.len() + unreadable, total.unwrap_or(0));
        match listed == total {
            true => Ok(groups),
            false => Err(OmniError::UnreliableGroups { listed, total }),
        }
    }

    /// The page that starts at this group, counted from 1. A shorter one if Omni does not give it.
    async fn group_page(
        &self,
        start: usize,
        length: &mut PageLength,
        with_members: bool,
        ids: &Mutex<HashSet<UserId>>,
    ) -> Result<GroupPage, OmniError> {
        let mut failures = 0;
        loop {
            let request = self.group_page_request(start, length.groups, with_members);
            let parse = |body: &[u8]| GroupPage::parse(body, ids);
            let error = match self.client.exchange(&request, &self.stop, parse).await {
                Ok(page) => {
                    length.received(&page);
                    return Ok(page);
                }
                Err(error) => error,
            };
            let count = length.groups;
            let is_shorter = may_be_too_large(&error) && length.halve();
            if is_shorter {
                tracing::info!(
                    count,
                    "a page of the list of groups can't be read; trying a shorter one"
                );
            }
            match error {
                AttemptError::Final(_) | AttemptError::Failed(Failure::TooLarge(_))
                    if is_shorter => {}
                AttemptError::Final(error) => return Err(error),
                AttemptError::Failed(failure) => self.after_failure(&mut failures, failure).await?,
            }
        }
    }

    fn group_page_request(&self, start: usize, count: usize, with_members: bool) -> ApiRequest {
        let mut url = self.groups_url();
        let mut query = url.query_pairs_mut();
        query.append_pair("count", &count.to_string());
        query.append_pair("startIndex", &start.to_string());
        if !with_members {
            query.append_pair("excludedAttributes", "members");
        }
        drop(query);
        ApiRequest::get_optional(url).with_priority(self.priority)
    }
}

/// The groups of a list, in which one without members has none if another one shows some.
fn settle_members(mut groups: Vec<ObservedGroup>) -> Vec<ObservedGroup> {
    if groups.iter().any(|group| group.members.is_some()) {
        for group in &mut groups {
            group.members.get_or_insert_default();
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(groups: usize, bytes: usize) -> GroupPage {
        GroupPage {
            groups: Vec::new(),
            unreadable: groups,
            total: 300,
            bytes,
        }
    }

    #[test]
    fn pages_with_members_fit_a_response() {
        for (users, groups) in [(0, 100), (5_000, 67), (100_000, 10), (1_000_000, 10)] {
            assert_eq!(PageLength::with_members(users).groups, groups, "{users}");
        }
        let mut length = PageLength::with_members(100_000);
        length.received(&page(10, 10_000));
        assert_eq!(length.groups, 100, "small groups");
        length.received(&page(100, 30 << 20));
        assert_eq!(length.groups, 53, "large groups");
        assert!(length.halve());
        length.received(&page(26, 10_000));
        assert_eq!(length.groups, 26, "a longer page failed");
        let halved = std::iter::from_fn(|| length.halve().then_some(length.groups));
        assert_eq!(halved.collect::<Vec<_>>(), [13, 6, 3, 1]);
    }
}
