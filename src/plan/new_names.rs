//! Names of groups that Omni does not have: those that `policy.create_groups` creates, and those that a managed group
//! had before.

use super::name_index::{NameError, NameIndex};
use crate::model::{
    Escaped, GroupMemory, GroupName, GroupRef, ObservedGroup, ObservedGroups, Text, fold,
};
use crate::util::text::is_within_edits;
use std::collections::{BTreeMap, HashMap};

/// A new group with a name this near to another one is probably misspelt.
const MAX_EDITS: usize = 2;

/// The nearest of these names, if one is so near that a new group is probably misspelt.
pub(super) fn near<'n>(
    name: &str,
    others: impl Iterator<Item = &'n str> + Clone,
) -> Option<&'n str> {
    let name = fold(name);
    (1..=MAX_EDITS).find_map(|edits| {
        let is_near = |other: &&str| is_within_edits(&name, &fold(other), edits);
        others.clone().filter(is_near).min()
    })
}

/// The groups that a roster creates if the policy allows it.
#[derive(Default)]
pub(super) struct NewNames {
    /// By folded name: the group, and the nearest name of another new group if one is near.
    groups: BTreeMap<String, (GroupRef, Option<GroupName>)>,
    /// The number of groups in Omni.
    present: usize,
}

/// With these groups, Omni would have more than are supported.
#[derive(Clone, Copy)]
pub(super) struct TooManyGroups {
    pub(super) new: usize,
    pub(super) present: usize,
}

impl NewNames {
    /// Takes those of these names that Omni does not have. A renamed group is not created again with its former name.
    pub(super) fn new<'n>(
        named: impl Iterator<Item = &'n GroupName>,
        groups: &NameIndex<&ObservedGroup>,
        former: &FormerNames,
    ) -> Self {
        let mut new = BTreeMap::new();
        for name in named {
            let folded = fold(name.as_str());
            let is_new = || is_unknown(groups, name) && !former.is_of_renamed(&folded);
            if !new.contains_key(&*folded) && is_new() {
                new.insert(folded.into_owned(), name);
            }
        }
        let present = groups.names().count();
        // Each name is compared with all others.
        let nearest = match is_too_many(new.len(), present) {
            true => vec![None; new.len()],
            false => nearest_of_each(&new),
        };
        let groups = new.into_iter().zip(nearest);
        let groups =
            groups.map(|((folded, name), near)| (folded, (new_group(name), near.cloned())));
        Self {
            groups: groups.collect(),
            present,
        }
    }

    /// How many groups there would be, if these are too many. None is created then.
    pub(super) fn too_many(&self) -> Option<TooManyGroups> {
        let (new, present) = (self.groups.len(), self.present);
        is_too_many(new, present).then_some(TooManyGroups { new, present })
    }

    /// The new group of a name. The error is the nearest name of another new group, if that is so near that one of the
    /// two is probably misspelt.
    pub(super) fn get(&self, name: &GroupName) -> Option<Result<GroupRef, &GroupName>> {
        Some(match self.groups.get(&*fold(name.as_str()))? {
            (_, Some(near)) => Err(near),
            (group, None) => Ok(group.clone()),
        })
    }
}

fn is_too_many(new: usize, present: usize) -> bool {
    new > 0 && new + present > ObservedGroups::MAX
}

fn is_unknown(groups: &NameIndex<&ObservedGroup>, name: &GroupName) -> bool {
    matches!(groups.find(name.as_str()), Err(NameError::Unknown { .. }))
}

fn new_group(name: &GroupName) -> GroupRef {
    GroupRef {
        id: None,
        name: name.clone(),
    }
}

/// For each name the nearest other one, if one is near. Few pairs have almost the same letters, so few are compared.
fn nearest_of_each<'n>(names: &BTreeMap<String, &'n GroupName>) -> Vec<Option<&'n GroupName>> {
    let letters = |name: &str| {
        name.chars()
            .fold(0_u128, |set, c| set | 1 << (c as u32 % 128))
    };
    let sets: Vec<_> = names.keys().map(|name| letters(name)).collect();
    let all: Vec<_> = names.values().copied().collect();
    // An edit adds and removes one letter at most.
    let may_be_near = |a: &u128, b: &u128| (a ^ b).count_ones() as usize <= 2 * MAX_EDITS;
    let nearest = sets.iter().enumerate().map(|(at, set)| {
        let others = sets.iter().enumerate();
        let others = others.filter(|(other, letters)| *other != at && may_be_near(set, letters));
        let others: Vec<_> = others.map(|(other, _)| all[other]).collect();
        let near = near(all[at].as_str(), others.iter().map(|name| name.as_str()))?;
        others.into_iter().find(|name| name.as_str() == near)
    });
    nearest.collect()
}

/// Why Omni does not have the name of a managed group any more.
pub(super) enum FormerName {
    /// The group has this name now.
    Renamed(Text),
    /// The group is gone.
    Deleted,
}

/// The former names of managed groups, in lower case.
pub(super) struct FormerNames(HashMap<String, FormerName>);

impl FormerNames {
    pub(super) fn new(memory: &GroupMemory, groups: &ObservedGroups) -> Self {
        let mut former = HashMap::new();
        for (id, known) in &memory.managed {
            let name = fold(known.name.as_str()).into_owned();
            match groups.get(id) {
                Some(group) if fold(&group.name) != *name => {
                    former.insert(name, FormerName::Renamed(group.name.clone()));
                }
                Some(_) => {}
                None => drop(former.entry(name).or_insert(FormerName::Deleted)),
            }
        }
        Self(former)
    }

    /// Whether the group that had this folded name has another one now.
    fn is_of_renamed(&self, folded: &str) -> bool {
        matches!(self.0.get(folded), Some(FormerName::Renamed(_)))
    }

    /// Why Omni does not have the name of a managed group any more, as a clause, and the remedy.
    pub(super) fn get(&self, name: &GroupName) -> Option<(String, String)> {
        Some(match self.0.get(&*fold(name.as_str()))? {
            FormerName::Renamed(now) => (
                format!("the group was renamed to '{}'", Escaped(now)),
                "write the new name, or rename the group back in Omni".to_owned(),
            ),
            FormerName::Deleted => (
                "the group was deleted".to_owned(),
                "remove the name, or create the group in Omni".to_owned(),
            ),
        })
    }
}
