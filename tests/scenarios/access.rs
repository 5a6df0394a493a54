//! Groups of a scenario: who is in them, cells of the `groups` column, `source.groups`, and changes that others make.

use crate::limits::Allowance;
use crate::scenario::{chance, pick};
use crate::trouble::fault_of_kind;
use fastrand::Rng;
use omni_user_sync::sandbox::{Org, What, When};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The groups that cells and rows name. A pattern of `policy.managed_groups` may cover the last two.
pub(crate) const GROUPS: [&str; 5] = ["Sales", "Board", "Legal", "eu-north", "eu-south"];
/// A group that neither the roster nor a pattern names.
const UNNAMED: &str = "Others";
/// A name within two edits of a group.
const MISSPELT: &str = "Salse";
/// A name that only `policy.create_groups` makes usable.
const NEW: &str = "Newcomers";
const PATTERN: &str = "eu-*";
const EMBED_USER: &str = "0e0e0e0e-0000-4000-8000-0000000000e0";
const GROUPS_PATH: &str = "/api/scim/v2/Groups";

/// The groups at the start, and the settings about them.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) has_pattern: bool,
    pub(crate) creates: bool,
    pub(crate) max_leaves: Allowance,
    pub(crate) max_joins: Allowance,
    pub(crate) has_column: bool,
    pub(crate) file: Option<GroupsFile>,
    /// The groups that cells mostly state, by email.
    usual: BTreeMap<String, BTreeSet<&'static str>>,
    /// The emails of the members, by group.
    members: BTreeMap<&'static str, Vec<String>>,
}

/// The file of `source.groups`.
#[derive(Clone, Debug)]
pub(crate) struct GroupsFile {
    pub(crate) rows: Vec<MemberRow>,
    pub(crate) state: GroupsFileState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupsFileState {
    Whole,
    Gone,
    NoRows,
    OpenQuote,
}

#[derive(Clone, Debug)]
pub(crate) struct MemberRow {
    pub(crate) joins: bool,
    pub(crate) email: String,
    pub(crate) group: &'static str,
    /// Whether the op is unknown.
    pub(crate) is_invalid: bool,
}

/// A change of groups that others make in Omni.
#[derive(Clone, Debug)]
pub(crate) enum OutsideGroup {
    Join(&'static str, String),
    Leave(&'static str, String),
    JoinEmbedUser(&'static str),
    Rename(&'static str),
    Remove(&'static str),
    Recreate(&'static str, Vec<String>),
}

impl GroupsFile {
    /// The text of the file; `None` if there is no file.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text = "op,email,group_name\n".to_owned();
        match self.state {
            GroupsFileState::Gone => return None,
            GroupsFileState::NoRows => return Some(text),
            GroupsFileState::Whole => {}
            GroupsFileState::OpenQuote => text += "+,\"open@x.co,Sales\n",
        }
        for row in &self.rows {
            let op = match (row.is_invalid, row.joins) {
                (true, _) => "?",
                (false, true) => "+",
                (false, false) => "-",
            };
            writeln!(text, "{op},{},{}", row.email, row.group).expect("a String");
        }
        Some(text)
    }

    /// Whether it can be used.
    pub(crate) fn is_readable(&self) -> bool {
        self.state == GroupsFileState::Whole && !self.rows.is_empty()
    }

    fn drawn(random: &mut Rng, emails: &[String]) -> Self {
        let count = random.usize(1..8);
        let rows = (0..count).map(|_| MemberRow::drawn(random, emails));
        Self {
            rows: rows.collect(),
            state: GroupsFileState::Whole,
        }
    }

    /// The same with other rows, or in another state.
    pub(crate) fn edited(&self, random: &mut Rng, emails: &[String]) -> Self {
        use GroupsFileState::{Gone, NoRows, OpenQuote, Whole};
        let mut file = self.clone();
        file.state = *pick(
            random,
            &[Whole, Whole, Whole, Whole, Gone, NoRows, OpenQuote],
        );
        file.rows.retain(|_| chance(random, 75));
        while file.rows.is_empty() || chance(random, 50) {
            file.rows.push(MemberRow::drawn(random, emails));
        }
        if chance(random, 25) {
            // Two rows that contradict each other.
            let row = pick(random, &file.rows).clone();
            let joins = !row.joins;
            file.rows.push(MemberRow { joins, ..row });
        }
        file
    }
}

impl MemberRow {
    fn drawn(random: &mut Rng, emails: &[String]) -> Self {
        let group = match random.u32(..100) {
            0..4 => MISSPELT,
            4..10 => NEW,
            10..16 => "board",
            _ => pick(random, &GROUPS),
        };
        Self {
            joins: chance(random, 55),
            email: match chance(random, 4) {
                true => "unknown@y.co".to_owned(),
                false => pick(random, emails).clone(),
            },
            group,
            is_invalid: chance(random, 7),
        }
    }
}

impl Access {
    pub(crate) fn drawn(random: &mut Rng, emails: &[String]) -> Self {
        let some = |random: &mut Rng, percent| {
            let names = GROUPS.into_iter().filter(|_| chance(random, percent));
            names.collect::<BTreeSet<_>>()
        };
        let usual: BTreeMap<_, _> = emails
            .iter()
            .map(|email| (email.clone(), some(random, 35)))
            .collect();
        let mut members = BTreeMap::new();
        for group in some(random, 85) {
            // Mostly as the cells state it, so that the first contact holds nothing.
            let stray = *pick(random, &[0, 0, 0, 15]);
            let is_in = |random: &mut Rng, email: &str| match usual[email].contains(group) {
                true => chance(random, 85),
                false => chance(random, stray),
            };
            let of = emails.iter().filter(|email| is_in(random, email));
            members.insert(group, of.cloned().collect());
        }
        members.insert(UNNAMED, emails.iter().step_by(2).cloned().collect());
        let limit = |random: &mut Rng| match random.u32(..100) {
            0..15 => Allowance::Count(random.usize(..4)),
            15..40 => Allowance::Percent(20),
            _ => Allowance::Percent(100),
        };
        Self {
            has_pattern: chance(random, 30),
            creates: chance(random, 50),
            max_leaves: limit(random),
            max_joins: limit(random),
            has_column: chance(random, 85),
            file: chance(random, 50).then(|| GroupsFile::drawn(random, emails)),
            usual,
            members,
        }
    }

    pub(crate) fn settings(&self) -> [(&'static str, String); 4] {
        let patterns = if self.has_pattern { PATTERN } else { "" };
        [
            ("policy.managed_groups", patterns.to_owned()),
            ("policy.create_groups", self.creates.to_string()),
            ("policy.max_leaves", self.max_leaves.to_string()),
            ("policy.max_joins", self.max_joins.to_string()),
        ]
    }

    /// Whether `policy.managed_groups` covers a group.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.has_pattern && name.starts_with("eu-")
    }

    /// Creates the groups with those members that exist.
    pub(crate) fn begin(&self, org: &Org) {
        for (group, members) in &self.members {
            create(org, group, members);
            if group.len() % 2 == 0 {
                org.join_embed_user(group, EMBED_USER);
            }
        }
    }

    /// A cell of the `groups` column; `None` if it is blank.
    pub(crate) fn cell(&self, random: &mut Rng, email: &str) -> Option<Vec<&'static str>> {
        if chance(random, 8) {
            return None;
        }
        let usual = &self.usual[email];
        let is_named = |random: &mut Rng, name: &str| match usual.contains(name) {
            true => chance(random, 92),
            false => chance(random, 7),
        };
        let named = GROUPS.into_iter().filter(|name| is_named(random, name));
        let mut cell: Vec<_> = named.collect();
        if let (Some(first), true) = (cell.first_mut(), chance(random, 6)) {
            *first = match *first {
                "Sales" => "SALES",
                "Board" => "board",
                other => other,
            };
        }
        let others = [(2, MISSPELT), (6, NEW)];
        cell.extend(
            others
                .iter()
                .filter(|(percent, _)| chance(random, *percent))
                .map(|one| one.1),
        );
        Some(cell)
    }

    pub(crate) fn outside(random: &mut Rng, emails: &[String]) -> OutsideGroup {
        let group = *pick(random, &GROUPS);
        let email = pick(random, emails).clone();
        match random.u32(..100) {
            0..30 => OutsideGroup::Join(group, email),
            30..60 => OutsideGroup::Leave(group, email),
            60..70 => OutsideGroup::JoinEmbedUser(group),
            70..80 => OutsideGroup::Rename(group),
            80..88 => OutsideGroup::Remove(group),
            _ => {
                let members = emails.iter().filter(|_| chance(random, 40));
                OutsideGroup::Recreate(group, members.cloned().collect())
            }
        }
    }

    /// A fault of requests about groups.
    pub(crate) fn fault(random: &mut Rng) -> (What, When) {
        let codes = [400, 400, 403, 404, 409, 413, 413, 422, 500, 503];
        let others = [
            What::LostReply,
            What::CutJson,
            What::Reset,
            What::IgnoreWrite,
            What::StaleAnswer,
            What::Html { code: 200 },
        ];
        let what = fault_of_kind(random, (&codes, 45), 10, &others);
        let methods = ["GET", "POST", "PATCH", "PATCH", "PATCH"];
        let when = When {
            method: chance(random, 80).then(|| pick(random, &methods).to_string()),
            path: Some(GROUPS_PATH.to_owned()),
            ..When::default()
        };
        (what, when)
    }
}

/// Whether a path is about groups.
pub(crate) fn is_of_groups(path: &str) -> bool {
    path.starts_with(GROUPS_PATH)
}

fn create(org: &Org, group: &str, members: &[String]) {
    let there = members.iter().filter(|email| org.user(email).is_some());
    let there: Vec<_> = there.map(String::as_str).collect();
    org.add_group(group, &there);
}

/// The name that a group gets when others rename it.
fn other_name(group: &str) -> String {
    format!("former {group}")
}

/// The former names of groups that others renamed, in lower case.
pub(crate) fn former_names(names: &BTreeSet<String>) -> BTreeSet<String> {
    let former = names.iter().filter_map(|name| name.strip_prefix("former "));
    former.map(str::to_lowercase).collect()
}

impl OutsideGroup {
    pub(crate) fn act(&self, org: &Org) {
        let exists = |group: &str| org.members(group).is_some();
        match self {
            Self::Join(group, email) if exists(group) && org.user(email).is_some() => {
                org.join(group, email);
            }
            Self::Leave(group, email) if exists(group) && org.user(email).is_some() => {
                org.leave(group, email);
            }
            Self::JoinEmbedUser(group) if exists(group) => org.join_embed_user(group, EMBED_USER),
            Self::Rename(group) if exists(group) && !exists(&other_name(group)) => {
                org.rename_group(group, &other_name(group));
            }
            // It gets its name back.
            Self::Rename(group) if !exists(group) && exists(&other_name(group)) => {
                org.rename_group(&other_name(group), group);
            }
            Self::Remove(group) if exists(group) => org.remove_group(group),
            Self::Recreate(group, members) => {
                if exists(group) {
                    org.remove_group(group);
                }
                create(org, group, members);
            }
            _ => {}
        }
    }
}
