//! Names of groups that Omni does not have: those that `policy.create_groups` creates, and those that a managed group
//! had before.

use super::name_index::NameIndex;
use crate::model::{
    Escaped, GroupMemory, GroupName, GroupRef, ObservedGroup, ObservedGroups, Text, fold,
};
use crate::util::letter_counts::LetterCounts;
use crate::util::text::is_within_edits;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// A new group with a name this near to another one is probably misspelt.
const MAX_EDITS: usize = 2;

/// Names that others are compared with.
pub(super) struct Spellings<'n>(Vec<Spelling<'n>>);

struct Spelling<'n> {
    name: &'n str,
    folded: Cow<'n, str>,
    letters: LetterCounts,
}

impl<'n> Spelling<'n> {
    fn new(name: &'n str) -> Self {
        let folded = fold(name);
        Self {
            name,
            letters: LetterCounts::of(&folded),
            folded,
        }
    }

    fn is_within(&self, other: &Self, edits: usize) -> bool {
        self.letters.may_be_within(&other.letters, edits)
            && is_within_edits(&self.folded, &other.folded, edits)
    }
}

impl<'n> Spellings<'n> {
    pub(super) fn new(names: impl Iterator<Item = &'n str>) -> Self {
        let mut spellings: Vec<_> = names.map(Spelling::new).collect();
        spellings.sort_by_key(|spelling| spelling.name);
        Self(spellings)
    }

    /// The nearest other name, if one is so near that a new group is probably misspelt.
    pub(super) fn nearest(&self, name: &str) -> Option<&'n str> {
        let name = Spelling::new(name);
        let mut nearest = None;
        for other in self.0.iter().filter(|other| other.folded != name.folded) {
            if name.is_within(other, 1) {
                return Some(other.name);
            }
            if nearest.is_none() && name.is_within(other, MAX_EDITS) {
                nearest = Some(other.name);
            }
        }
        nearest
    }
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
        // This compares each name with all others, which takes long.
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

    /// The numbers of groups, if there would be too many. Then none is created.
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
    groups.get(name.as_str()) == Err(0)
}

fn new_group(name: &GroupName) -> GroupRef {
    GroupRef {
        id: None,
        name: name.clone(),
    }
}

/// For each name the nearest other one, if one is near.
fn nearest_of_each<'n>(names: &BTreeMap<String, &'n GroupName>) -> Vec<Option<&'n GroupName>> {
    let spellings = Spellings::new(names.values().map(|name| name.as_str()));
    let nearest = names.values().map(|name| {
        let near = spellings.nearest(name.as_str())?;
        names.get(&*fold(near)).copied()
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
