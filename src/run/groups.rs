//! Observes groups with their members, where the roster states memberships.
//!
//! - A run that lists users also lists the groups, once. If the users show their groups, that list needs no members.
//! - Other runs use the cached groups. They list them if the roster names a group that is not known, and if the last
//!   list is older than `observe.max_age`.
//! - A group whose members are not known is read by id if the roster or `policy.managed_groups` names it.

use super::cache::ObservationCache;
use super::observe::{ObservationSource, ObserveRequest};
use crate::model::{
    GroupId, GroupName, GroupsUnknown, ListedMemberships, ObservedGroup, ObservedGroups,
};
use crate::omni::{Groups, OmniError, Reader};
use crate::plan::NameIndex;
use std::collections::HashSet;

/// What to ask for.
#[derive(Clone, Copy)]
enum GroupFields {
    Names,
    /// Also members, of this many users in Omni at most.
    Members(usize),
}

impl ObservationCache {
    /// Observes groups after users, which were observed in this way.
    pub(super) async fn observe_groups(
        &mut self,
        request: ObserveRequest<'_>,
        source: ObservationSource,
    ) -> Result<(), OmniError> {
        if !request.needs_groups {
            if matches!(source, ObservationSource::Listed(_)) {
                self.drop_groups();
            }
            return Ok(());
        }
        match source {
            ObservationSource::Listed(shown) => self.list_beside_users(request, shown).await?,
            ObservationSource::Part(shown) => self.list_beside_part(request, shown).await?,
            ObservationSource::LookedUp => self.list_with_members(request, request.reader).await?,
            ObservationSource::Cache if self.is_list_due(request) => {
                self.list_with_members(request, request.reader).await?;
            }
            ObservationSource::Cache => {}
        }
        self.read_unknown_members(request).await
    }

    /// Lists groups beside a list of all users.
    async fn list_beside_users(
        &mut self,
        request: ObserveRequest<'_>,
        shown: ListedMemberships,
    ) -> Result<(), OmniError> {
        let shows_groups = request.do_users_show_groups(&shown, false);
        self.groups.note_users_show_groups(shows_groups);
        let reader = request.reader.in_background();
        // A doubtful list may lack members.
        if !shows_groups || !shown.is_readable() || self.observed.doubt().is_some() {
            return self.list_with_members(request, &reader).await;
        }
        if let Some(listed) = request.list_groups(&reader, GroupFields::Names).await? {
            self.listed_groups(match listed {
                Ok(names) => shown.with_names(names),
                Err(why) => ObservedGroups::unknown(why),
            });
        }
        Ok(())
    }

    /// Lists groups beside a part of the list of users. The memberships of other users stay as known.
    async fn list_beside_part(
        &mut self,
        request: ObserveRequest<'_>,
        shown: ListedMemberships,
    ) -> Result<(), OmniError> {
        let shows_groups = request.do_users_show_groups(&shown, self.groups.users_show_groups());
        self.groups.note_users_show_groups(shows_groups);
        let reader = request.reader.in_background();
        if !shows_groups || !shown.is_readable() || !self.observed.groups().is_known() {
            return self.list_with_members(request, &reader).await;
        }
        let known = shown.over(self.observed.groups());
        let now = match request.list_groups(&reader, GroupFields::Names).await? {
            Some(Ok(names)) => known.renamed(names),
            Some(Err(why)) => ObservedGroups::unknown(why),
            None => known,
        };
        self.listed_groups(now);
        Ok(())
    }

    async fn list_with_members(
        &mut self,
        request: ObserveRequest<'_>,
        reader: &Reader,
    ) -> Result<(), OmniError> {
        let fields = GroupFields::Members(self.observed.count());
        if let Some(listed) = request.list_groups(reader, fields).await? {
            self.take_list(listed);
        }
        Ok(())
    }

    /// Lists the groups with their members once, where no observation has asked for them.
    pub(super) async fn read_groups(&mut self, reader: &Reader) -> Result<(), OmniError> {
        let users = self.observed.count();
        let listed = known(reader.groups(users).await)?;
        self.take_list(listed);
        Ok(())
    }

    fn take_list(&mut self, listed: Result<Vec<ObservedGroup>, GroupsUnknown>) {
        self.listed_groups(match listed {
            Ok(groups) => ObservedGroups::new(groups),
            Err(why) => ObservedGroups::unknown(why),
        });
    }

    /// Whether the cached groups are not enough.
    fn is_list_due(&self, request: ObserveRequest<'_>) -> bool {
        let groups = self.observed.groups();
        let by_name = NameIndex::of_groups(groups);
        let is_missing = |name: &&GroupName| by_name.get(name.as_str()) == Err(0);
        let names = request.group_names();
        let mut named = names.into_iter().chain(request.desired.role_groups());
        !self.groups.is_younger_than(request.max_age)
            || (groups.is_known() && named.any(|name| is_missing(&name)))
    }

    /// Reads the named groups whose members are not known.
    async fn read_unknown_members(&mut self, request: ObserveRequest<'_>) -> Result<(), OmniError> {
        let due = self.unknown_members(request);
        if due.is_empty() {
            return Ok(());
        }
        (request.expect)(due.len());
        request.budget.spend(due.len());
        for id in due {
            match request.reader.group(&id).await {
                Ok(Some(group)) => self.group_seen(group),
                Ok(None) => self.group_gone(&id),
                // A key that may not read users ends the run when it reads them.
                Err(error) if error.ends_run() && !matches!(error, OmniError::Forbidden { .. }) => {
                    return Err(error);
                }
                Err(error) => {
                    let error = error.redacted();
                    tracing::info!(group = id.as_str(), error, "a group can't be read");
                }
            }
        }
        Ok(())
    }

    fn unknown_members(&self, request: ObserveRequest<'_>) -> Vec<GroupId> {
        let groups = self.observed.groups();
        let is_unknown = |group: &&ObservedGroup| group.members.is_none();
        if !groups.iter().any(|group| is_unknown(&group)) {
            return Vec::new();
        }
        let (names, by_name) = (request.group_names(), NameIndex::of_groups(groups));
        let named = names.iter();
        let named = named.filter_map(|name| by_name.get(name.as_str()).ok().copied());
        let managed = groups.iter();
        let managed = managed.filter(|group| request.managed_groups.covers(&group.name));
        let due = named.chain(managed).filter(is_unknown);
        let due: HashSet<_> = due.map(|group| group.id.clone()).collect();
        due.into_iter().collect()
    }
}

impl ObserveRequest<'_> {
    /// Whether the users in this list, or part of a list, show their groups, so that a user without groups has no
    /// memberships. What a probe has learned goes before what a list suggests.
    fn do_users_show_groups(self, shown: &ListedMemberships, is_remembered: bool) -> bool {
        let suggested = shown.shows_groups() || is_remembered;
        self.readings.lists_carry_groups.unwrap_or(suggested)
    }

    /// The names of groups in the roster and in `source.groups`.
    fn group_names(&self) -> HashSet<&GroupName> {
        let cells = self.desired.groups_cells();
        let cells = cells.flat_map(|(_, cell)| &cell.names);
        let rows = self.desired.memberships.named_rows();
        cells.chain(rows.map(|row| &row.group)).collect()
    }

    /// The list of groups, or why they are not known; `None` if a new roster waits. A list that does not add up is read
    /// a second time.
    async fn list_groups(
        self,
        reader: &Reader,
        fields: GroupFields,
    ) -> Result<Option<Result<Vec<ObservedGroup>, GroupsUnknown>>, OmniError> {
        (self.expect)(1);
        self.budget.spend(1);
        let read = async |reader: Reader| match list_once(&reader, fields).await {
            Err(error @ OmniError::UnreliableGroups { .. }) => {
                tracing::info!("{error}; listing again");
                list_once(&reader, fields).await
            }
            listed => listed,
        };
        let answer = match self.unless_interrupted(reader, read).await {
            Err(OmniError::Stopped) if self.was_interrupted() => return Ok(None),
            answer => answer,
        };
        let listed = known(answer)?;
        match &listed {
            Ok(groups) => tracing::info!(groups = groups.len(), "fetched groups"),
            Err(why) => tracing::info!("the groups in Omni are not known: {why}"),
        }
        Ok(Some(listed))
    }
}

/// The groups, or why they are not known.
///
/// # Errors
/// Errors that end the run.
fn known(
    answer: Result<Groups, OmniError>,
) -> Result<Result<Vec<ObservedGroup>, GroupsUnknown>, OmniError> {
    Ok(Err(match answer {
        Ok(Groups::Known(groups)) => return Ok(Ok(groups)),
        Ok(Groups::Rejected(status)) => GroupsUnknown::Refused(status.as_u16()),
        Err(OmniError::UnreliableGroups { listed, total }) => {
            GroupsUnknown::Unreliable { listed, total }
        }
        Err(error) if error.ends_run() => return Err(error),
        Err(error) => GroupsUnknown::Failed(error.redacted()),
    }))
}

async fn list_once(reader: &Reader, fields: GroupFields) -> Result<Groups, OmniError> {
    match fields {
        GroupFields::Names => reader.group_names().await,
        GroupFields::Members(users) => reader.groups(users).await,
    }
}
