//! The group of a probe: found, created, deleted. Its name is unique to the probe, so a group with exactly this name is
//! its own.

use super::ProbeFailure;
use super::deletion::Created;
use super::steps::{Answer, Steps};
use crate::model::{GroupId, GroupName, ObservedGroup, ProbeUser};
use crate::omni::{Available, OmniError, Reader, Writer};

/// How often the creation is sent at most if its responses are lost.
const MAX_ATTEMPTS: u32 = 3;

const POST: &str = "POST of a group";

/// The group of a probe.
#[derive(Clone, Debug)]
pub(super) struct OwnGroup {
    pub(super) id: GroupId,
    pub(super) name: GroupName,
    /// Whether the user of the probe is a member, as last read.
    pub(super) is_member: bool,
}

/// The name of the group of a probe, which has this user.
#[must_use]
pub fn group_name(user: &ProbeUser) -> Option<GroupName> {
    GroupName::parse(&user.display_name).ok()
}

/// Creates a group without members. `None` if Omni refuses that.
pub(super) async fn create(
    writer: &Writer,
    name: &GroupName,
    steps: &mut Steps,
) -> Result<Option<OwnGroup>, ProbeFailure> {
    for attempt in 1..=MAX_ATTEMPTS {
        let created = writer.create_group(name).await;
        let shown = match &created {
            Ok(Some(group)) => Some(group.id.clone()),
            Ok(None) | Err(_) => None,
        };
        let id = match (steps.wrote(POST, created)?, shown) {
            (Answer::Accepted, Some(id)) => Some(id),
            // An earlier attempt has probably created it.
            (Answer::Refused(409), _) if attempt > 1 => find(writer.reader(), name).await?,
            (Answer::Refused(_), _) => return Ok(None),
            _ => find(writer.reader(), name).await?,
        };
        if let Some(id) = id {
            let (name, is_member) = (name.clone(), false);
            return Ok(Some(OwnGroup {
                id,
                name,
                is_member,
            }));
        }
        writer.reader().back_off(attempt).await?;
    }
    Ok(None)
}

/// The id of the group with exactly this name. If the filter is ignored, the list is read.
async fn find(reader: &Reader, name: &GroupName) -> Result<Option<GroupId>, OmniError> {
    let is_it = |group: &ObservedGroup| *group.name == *name.as_str();
    let found = match reader.groups_named(name).await? {
        Available::Known(groups) if !groups.is_empty() && !groups.iter().any(is_it) => {
            reader.group_names().await?
        }
        found => found,
    };
    Ok(match found {
        Available::Known(groups) => groups.into_iter().find(is_it).map(|group| group.id),
        // What may not be listed can't have been created either.
        Available::Rejected(_) => None,
    })
}

/// Deletes the group with exactly this name, if there is one. Returns whether there was.
pub(super) async fn delete_named(writer: &Writer, name: &GroupName) -> Result<bool, ProbeFailure> {
    match find(writer.reader(), name).await? {
        Some(id) => delete(writer, &id, name).await.map(|()| true),
        None => Ok(false),
    }
}

/// Deletes a group.
pub(super) async fn delete(
    writer: &Writer,
    id: &GroupId,
    name: &GroupName,
) -> Result<(), ProbeFailure> {
    let deleted = Created::Group(id).delete(writer, true).await;
    deleted.map_err(|cause| ProbeFailure::GroupNotDeleted {
        name: name.clone(),
        cause,
    })
}
