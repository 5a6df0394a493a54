//! Groups: resolves the names that a roster uses, and decides which groups are managed.

use super::name_index::NameIndex;
use super::new_names::{FormerNames, NewNames, Spellings, TooManyGroups};
use crate::model::{
    Change, Desired, DesiredMemberships, Email, GroupId, GroupMemory, GroupName, GroupRef,
    Location, MembershipChange, MembershipRow, MembershipSource, Memory, Observed, ObservedGroup,
    ObservedGroups, Policy, Problem, ProblemKind, fold, trim,
};
use crate::roster::{Repetition, conflicting_membership, repetitions};
use crate::util::text::plural;
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

/// How far the memberships of a managed group are managed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ManagedScope {
    /// All of them: a cell names the group, or a pattern matches it.
    Whole,
    /// Those that an accepted roster stated, or that this program added.
    Stated,
}

/// Groups of which no member may leave without approval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstContact {
    /// Those that become managed, or were renamed or recreated.
    pub any: HashSet<GroupId>,
    /// Those whose first leaves were not approved before cells ceased to name them. Rows of `source.groups` no longer
    /// need an approval.
    pub by_cells: HashSet<GroupId>,
}

impl FirstContact {
    /// Whether a change is a leave that needs an approval.
    pub(super) fn holds(&self, change: &Change) -> bool {
        let Some(membership) = change.membership() else {
            return false;
        };
        let is_held = |id: &GroupId| {
            let is_of_cell = membership.source == MembershipSource::Cell;
            self.any.contains(id) || is_of_cell && self.by_cells.contains(id)
        };
        let id = membership.group.id.as_ref();
        membership.change == MembershipChange::Leave && id.is_some_and(is_held)
    }
}

/// What the name of a group stands for.
pub(super) enum Resolved {
    /// A group in Omni, or one to be created.
    Group(GroupRef),
    /// No usable group, with the problem and its remedy.
    Unusable(String, String),
    /// No group, because the roster names too many new ones. One problem is about all of them.
    TooMany,
}

/// What the names of a roster stand for.
#[derive(Default)]
pub(super) struct ResolvedNames<'a> {
    names: HashMap<&'a GroupName, Resolved, RandomState>,
    /// Why no group is created, if the roster names too many new ones.
    too_many: Option<TooManyGroups>,
}

impl ResolvedNames<'_> {
    /// What a name stands for.
    pub(super) fn get(&self, name: &GroupName) -> Option<&Resolved> {
        self.names.get(name)
    }

    /// The problem of a roster that names too many new groups, at the first cell or row with such a name.
    pub(super) fn too_many(&self, desired: &Desired) -> Option<Problem> {
        let TooManyGroups { new, present } = self.too_many.as_ref()?;
        let is_new = |name: &GroupName| matches!(self.get(name), Some(Resolved::TooMany));
        let mut uses = uses(&desired.memberships);
        let (_, email, location) = uses.find(|(name, ..)| is_new(name))?;
        let message = format!(
            "the roster names {} that Omni does not have, and with the {present} that it has there would be more than \
             {}, so none is created",
            plural(*new, "group"),
            ObservedGroups::MAX
        );
        let remedy = "check that this column has the names of groups".into();
        Some(problem(location, message, remedy).of(email))
    }
}

/// The names in cells and rows, with the user and the place.
fn uses(stated: &DesiredMemberships) -> impl Iterator<Item = (&GroupName, &Email, &Location)> {
    let in_cells = stated.cells.iter().flat_map(|(email, cell)| {
        let names = cell.names.iter();
        names.map(move |name| (name, email, &cell.location))
    });
    let rows = stated.rows.iter();
    in_cells.chain(rows.map(|row| (&row.group, &row.email, &row.location)))
}

/// All names of the roster, resolved once.
pub(super) fn names<'a>(
    desired: &'a Desired,
    groups: &ObservedGroups,
    memory: &GroupMemory,
    policy: &Policy,
) -> ResolvedNames<'a> {
    let stated = &desired.memberships;
    let named = || {
        let in_cells = stated.cells.values().flat_map(|cell| &cell.names);
        let in_rows = stated.rows.iter().map(|row| &row.group);
        let frozen = stated.frozen.iter().filter_map(|key| key.group.as_ref());
        in_cells.chain(in_rows).chain(frozen)
    };
    let former = FormerNames::new(memory, groups);
    let groups = NameIndex::of_groups(groups);
    // Only a join creates a group. A row that is invalid may be one.
    let joined = || {
        let in_cells = stated.cells.values().flat_map(|cell| &cell.names);
        let joins = stated.rows.iter();
        let joins = joins.filter(|row| row.change == MembershipChange::Join);
        let frozen = stated.frozen.iter().filter_map(|key| key.group.as_ref());
        in_cells.chain(joins.map(|row| &row.group)).chain(frozen)
    };
    let creates = policy.create_groups;
    let mut resolver = Resolver {
        new: creates.then(|| NewNames::new(joined(), &groups, &former)),
        spellings: Spellings::new(groups.names()),
        groups: &groups,
        former,
        suggestions: MAX_SUGGESTIONS,
    };
    let mut names = HashMap::default();
    for name in named() {
        names.entry(name).or_insert_with(|| resolver.resolve(name));
    }
    ResolvedNames {
        names,
        too_many: resolver.new.as_ref().and_then(NewNames::too_many),
    }
}

/// The maximum number of unknown names that are compared with all groups to suggest the nearest one.
const MAX_SUGGESTIONS: usize = 1_000;

struct Resolver<'a> {
    groups: &'a NameIndex<&'a ObservedGroup>,
    spellings: Spellings<'a>,
    former: FormerNames,
    /// `None` if the policy creates no groups.
    new: Option<NewNames>,
    /// The number of suggestions that are left.
    suggestions: usize,
}

impl Resolver<'_> {
    fn resolve(&mut self, name: &GroupName) -> Resolved {
        match self.groups.get(name.as_str()) {
            Ok(group) => match reference(group) {
                Some(group) => Resolved::Group(group),
                None => Resolved::Unusable(
                    format!("the name of the group '{name}' in Omni can't be written in a roster"),
                    "rename the group in Omni".into(),
                ),
            },
            Err(1..) => Resolved::Unusable(
                format!("several groups in Omni have the name '{name}' in different letter case"),
                "write the name exactly as Omni shows it".into(),
            ),
            Err(0) => {
                if let Some(part) = self.known_part(name) {
                    return joined_names(name, part);
                }
                let new = self.new.as_ref();
                let Some(group) = new.and_then(|new| new.get(name)) else {
                    return self.unknown(name);
                };
                if new.is_some_and(|new| new.too_many().is_some()) {
                    return Resolved::TooMany;
                }
                new_or_misspelt(name, self.spellings.nearest(name.as_str()), group)
            }
        }
    }

    /// The part of a name that is the name of a group. Such a name is probably a list with another separator.
    fn known_part<'n>(&self, name: &'n GroupName) -> Option<&'n str> {
        let mut parts = name.as_str().split([';', '|']).map(trim);
        parts.find(|part| *part != name.as_str() && self.groups.get(part).is_ok())
    }

    /// A name that Omni does not have, and that no join creates.
    fn unknown(&mut self, name: &GroupName) -> Resolved {
        let message = format!("Omni has no group '{name}'");
        if let Some((why, remedy)) = self.former.get(name) {
            return Resolved::Unusable(format!("{message}: {why}"), remedy);
        }
        let creates = self.new.is_some();
        let remedy = match self.suggestion(name) {
            Some(near) => format!("did you mean '{near}'?"),
            None if creates => "correct the name, or remove the row".into(),
            None => "create the group in Omni, or set policy.create_groups = true".into(),
        };
        Resolved::Unusable(message, remedy)
    }

    fn suggestion(&mut self, name: &GroupName) -> Option<&str> {
        self.suggestions = self.suggestions.checked_sub(1)?;
        let near = self.spellings.nearest(name.as_str());
        near.or_else(|| self.groups.nearest(name.as_str()))
    }
}

fn joined_names(name: &GroupName, part: &str) -> Resolved {
    Resolved::Unusable(
        format!("Omni has no group '{name}', but it has '{part}'"),
        "separate the names in a list with commas".into(),
    )
}

/// A name that Omni does not have, if a join may create the group. One that is probably misspelt is not created.
fn new_or_misspelt(
    name: &GroupName,
    near: Option<&str>,
    group: Result<GroupRef, &GroupName>,
) -> Resolved {
    let (near, others) = match (near, group) {
        (None, Ok(group)) => return Resolved::Group(group),
        (Some(near), _) => (near, ""),
        (None, Err(near)) => (near.as_str(), ", which is new too"),
    };
    Resolved::Unusable(
        format!("Omni has no group '{name}'"),
        format!("did you mean '{near}'{others}? If not, create the group in Omni"),
    )
}

/// The problems of names that stand for no group of Omni, each at the first cell or row that has it.
#[must_use]
pub fn group_name_problems(
    desired: &Desired,
    groups: &ObservedGroups,
    memory: &GroupMemory,
    policy: &Policy,
) -> Vec<Problem> {
    let names = names(desired, groups, memory, policy);
    let mut seen = HashSet::new();
    let found = uses(&desired.memberships).filter(|(name, ..)| seen.insert(*name));
    let found = found.filter_map(|(name, email, location)| match names.get(name)? {
        Resolved::Group(_) | Resolved::TooMany => None,
        Resolved::Unusable(message, remedy) => {
            Some(problem(location, message.clone(), remedy.clone()).of(email))
        }
    });
    names.too_many(desired).into_iter().chain(found).collect()
}

/// The problems of rows of `source.groups` that contradict each other, or the user's cell. As long as Omni does not
/// show its groups, names that differ in letter case alone count as equal.
#[must_use]
pub fn group_contradictions(
    desired: &Desired,
    groups: &ObservedGroups,
    memory: &GroupMemory,
    policy: &Policy,
) -> Vec<Problem> {
    let names = names(desired, groups, memory, policy);
    let stated = &desired.memberships;
    let meaning = |name: &GroupName| match names.get(name) {
        Some(Resolved::Group(group)) => Ok(group.clone()),
        _ => Err(fold(name.as_str()).into_owned()),
    };
    let rows = stated.rows.iter();
    let rows = rows.map(|row| ((&row.email, meaning(&row.group)), row));
    let conflicts = merge_rows(rows).filter_map(|(_, merged)| merged.err());
    let is_same = |one: &GroupName, other: &GroupName| match (names.get(one), names.get(other)) {
        (Some(Resolved::Group(one)), Some(Resolved::Group(other))) => one == other,
        _ => fold(one.as_str()) == fold(other.as_str()),
    };
    let leaves = stated.rows.iter();
    let leaves = leaves.filter(|row| row.change == MembershipChange::Leave);
    let problems = leaves.filter_map(|row| {
        let mut in_cell = stated.cells.get(&row.email)?.names.iter();
        let name = in_cell.find(|name| is_same(name, &row.group))?;
        Some(contradiction(row, name))
    });
    conflicts.chain(problems).collect()
}

/// Compares rows, each with the user and the group that it is about. Of several rows about one membership the first
/// counts, or none if others have the opposite op, which is a problem of each. Returns the rows that count and those
/// with a problem.
pub(super) fn merge_rows<'r, K: Clone + Eq + Hash>(
    rows: impl Iterator<Item = (K, &'r MembershipRow)>,
) -> impl Iterator<Item = (K, Result<&'r MembershipRow, Problem>)> {
    let rows: Vec<_> = rows.collect();
    let about = rows.iter();
    let about = about.map(|(key, row)| (key.clone(), &row.change, &row.location));
    let found = repetitions(about);
    let merged = rows.into_iter().zip(found);
    merged.filter_map(|((key, row), repetition)| match repetition {
        Repetition::First => Some((key, Ok(row))),
        Repetition::Duplicate(_) => None,
        Repetition::Conflict(other) => {
            let problem = Problem {
                kind: ProblemKind::Group,
                ..conflicting_membership(row, &other)
            };
            Some((key, Err(problem)))
        }
    })
}

/// The problem of a row that takes a user out of a group that the user's cell names.
pub(super) fn contradiction(row: &MembershipRow, group: &GroupName) -> Problem {
    let email = &row.email;
    let message = format!("the row contradicts the groups cell of {email}, which names '{group}'");
    let remedy = "remove the row, or the name from the cell".into();
    problem(&row.location, message, remedy).of(email)
}

/// A problem about a group.
pub(super) fn problem(location: &Location, message: String, remedy: String) -> Problem {
    Problem {
        kind: ProblemKind::Group,
        location: location.clone(),
        message,
        remedy,
        email: None,
    }
}

/// A group as changes name it, if a roster can name it.
pub(super) fn reference(group: &ObservedGroup) -> Option<GroupRef> {
    Some(GroupRef {
        id: Some(group.id.clone()),
        name: GroupName::parse(&group.name).ok()?,
    })
}

/// The managed groups that Omni has.
pub(super) fn managed(
    names: &ResolvedNames<'_>,
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    policy: &Policy,
) -> BTreeMap<GroupId, (GroupRef, ManagedScope)> {
    let in_cells = desired.memberships.cells.values();
    let in_cells: HashSet<_> = in_cells.flat_map(|cell| &cell.names).collect();
    let named: HashSet<_> = in_cells
        .into_iter()
        .filter_map(|name| match names.get(name)? {
            Resolved::Group(group) => group.id.as_ref(),
            Resolved::Unusable(..) | Resolved::TooMany => None,
        })
        .collect();
    let groups = observed.groups().iter().filter_map(|group| {
        let is_whole = named.contains(&group.id) || policy.managed_groups.covers(&group.name);
        let scope = match is_whole {
            true => ManagedScope::Whole,
            false if memory.groups.managed.contains_key(&group.id) => ManagedScope::Stated,
            false => return None,
        };
        Some((group.id.clone(), (reference(group)?, scope)))
    });
    groups.collect()
}
