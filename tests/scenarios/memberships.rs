//! What must hold for memberships: no user joins or leaves a group unless the roster of that run states it, and the
//! safety limits hold.

use crate::access::{former_names, is_of_groups};
use crate::invariants::{Invariants, email_of, is_of_user, whose};
use crate::record::{Window, member_history};
use crate::scenario::PROTECTED;
use crate::stated::{NONE, Source, Stated, Statements};
use omni_user_sync::model::Operation;
use omni_user_sync::sandbox::Changed;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The ids of the members of a group, as the history shows it.
pub(crate) fn members_of(group: Option<&Value>) -> BTreeSet<&str> {
    let members = group.and_then(|group| group["members"].as_array());
    let ids = members.into_iter().flatten();
    ids.filter_map(|member| member["value"].as_str()).collect()
}

pub(crate) fn name_of(group: &Value) -> &str {
    group["displayName"].as_str().unwrap_or_default()
}

pub(crate) fn id_of(subject: &Value) -> &str {
    subject["id"].as_str().unwrap_or_default()
}

/// The names of all groups at one time.
type Names = BTreeSet<String>;

/// A membership that a request of ours changed.
struct Changing<'a> {
    at: usize,
    number: u64,
    window: &'a Window,
    user: &'a str,
    /// Of the user; `None` for a member that no list of users shows.
    email: Option<&'a str>,
    group: &'a str,
    name: &'a str,
    joins: bool,
}

/// The organisation up to a change in the history.
#[derive(Default)]
struct Past<'a> {
    /// The emails of all users that ever were, by id.
    emails: BTreeMap<&'a str, String>,
    /// The name of each group, by id.
    names: BTreeMap<&'a str, &'a str>,
    /// After each change.
    all_names: Vec<Names>,
}

impl Invariants<'_> {
    /// No stranger joins or leaves any group, and no group is renamed, replaced or removed.
    pub(crate) fn every_membership_is_stated(&mut self) {
        let all = member_history(self.record.world.org());
        let (mut past, mut wrong) = (Past::default(), Vec::new());
        for (at, change) in all.iter().enumerate() {
            past.take_in(change);
            let window = change.request.and_then(|number| self.window_of(number));
            let (Some(number), Some(window), false) = (change.request, window, is_of_user(change))
            else {
                continue;
            };
            let mut complain = |why: &str| wrong.push(format!("{why}: {change:?} in {window:?}"));
            if let Err(why) = self.is_group_kept(change, &past, window, &all) {
                complain(why);
            }
            let (before, after) = (
                members_of(change.before.as_ref()),
                members_of(change.after.as_ref()),
            );
            let group = change
                .after
                .as_ref()
                .or(change.before.as_ref())
                .expect("a group");
            for user in before.symmetric_difference(&after) {
                let changing = Changing {
                    at,
                    number,
                    window,
                    user,
                    email: past.emails.get(user).map(String::as_str),
                    group: id_of(group),
                    name: name_of(group),
                    joins: after.contains(user),
                };
                if let Err(why) = self.is_stated(&changing, &past, &all) {
                    complain(&format!("{why}: {user} ({:?})", changing.email));
                }
            }
        }
        self.wrong.extend(wrong);
    }

    /// Whether a request changed nothing of a group but its members, or created an empty group that the roster names.
    fn is_group_kept(
        &self,
        change: &Changed,
        past: &Past<'_>,
        window: &Window,
        all: &[Changed],
    ) -> Result<(), &'static str> {
        match (&change.before, &change.after) {
            (Some(before), Some(after)) if name_of(before) == name_of(after) => Ok(()),
            (Some(_), Some(_)) => Err("a group was renamed"),
            (_, None) => Err("a group was removed"),
            (None, Some(group)) => {
                let creates = self
                    .record
                    .scenario
                    .access
                    .as_ref()
                    .is_some_and(|one| one.creates);
                let is_stated = |names: &Names| {
                    let mut before = names.clone();
                    before.remove(name_of(group));
                    let new = name_of(group).to_lowercase();
                    [&NONE, &former_names(&before)].into_iter().any(|renamed| {
                        let stated = self.statements(window, &before, renamed);
                        stated.is_some_and(|stated| stated.groups().contains(&new))
                    })
                };
                let is_empty = members_of(Some(group)).is_empty();
                match creates
                    && is_empty
                    && past
                        .recent_names(self, change.request, all)
                        .iter()
                        .any(is_stated)
                {
                    true => Ok(()),
                    false => Err("a group was created that the roster does not ask for"),
                }
            }
        }
    }

    /// What a roster states. It is not known here which renamed groups were managed, and so are not created again.
    fn statements<'a>(
        &'a self,
        window: &'a Window,
        names: &'a Names,
        renamed: &'a Names,
    ) -> Option<Statements<'a>> {
        let roster = window.roster.as_ref()?;
        Statements::new(
            self.record.scenario,
            roster,
            window.groups_file.as_ref(),
            names,
            renamed,
        )
    }

    fn is_stated(
        &self,
        changing: &Changing<'_>,
        past: &Past<'_>,
        all: &[Changed],
    ) -> Result<(), &'static str> {
        let Some(email) = changing.email else {
            return Err("a member that no list shows was changed");
        };
        if self.reverts(changing, past, all) {
            return Ok(());
        }
        let of_request = all[..changing.at]
            .iter()
            .filter(|change| is_of_user(change))
            .count();
        if self.twins_before(of_request, email)
            && !self.last_listing_is_wrong(changing.window, Some(changing.number))
            && !self.a_user_vanished_before_writing(changing.window)
        {
            return Err("a membership of one of several users with one email changed");
        }
        let (mut why, recent) = (
            "without a roster",
            past.recent_names(self, Some(changing.number), all),
        );
        let former: Vec<_> = recent.iter().map(former_names).collect();
        let variants = recent.iter().zip(&former);
        let variants = variants.flat_map(|(names, former)| [(names, &NONE), (names, former)]);
        for (names, renamed) in variants {
            let Some(stated) = self.statements(changing.window, names, renamed) else {
                continue;
            };
            let mut names_now = vec![changing.name];
            names_now.extend(
                past.names_ever(changing.group, all)
                    .filter(|name| names.contains(*name)),
            );
            for name in names_now {
                match self.is_allowed(changing, email, name, stated, past, all) {
                    Ok(()) => return Ok(()),
                    Err(other) => why = other,
                }
            }
        }
        Err(why)
    }

    fn is_allowed(
        &self,
        changing: &Changing<'_>,
        email: &str,
        name: &str,
        stated: Statements<'_>,
        past: &Past<'_>,
        all: &[Changed],
    ) -> Result<(), &'static str> {
        let wanted = stated.about(email, name);
        if changing.joins {
            return match wanted {
                Stated::Join(_) => Ok(()),
                _ => Err("joined a group against the roster"),
            };
        }
        if email == PROTECTED {
            return Err("a protected user left a group");
        }
        if !stated.may_leave() {
            return Err("left a group while source.groups is unreadable");
        }
        let source = match wanted {
            Stated::Leave(source) => source,
            Stated::LeaveIfRecorded if self.was_stated(changing, email, past, all) => Source::Cell,
            _ => return Err("left a group against the roster"),
        };
        let is_first = source == Source::Cell && !self.was_managed_before(changing, past, all);
        match is_first && !self.is_approved_leave(changing.user, changing.group, changing.number) {
            true => Err("left a group in its first contact"),
            false => Ok(()),
        }
    }

    /// Whether this undoes a change of the same run, because the group turned out to be renamed.
    fn reverts(&self, changing: &Changing<'_>, past: &Past<'_>, all: &[Changed]) -> bool {
        let within = |change: &&Changed| change.request >= Some(changing.window.first);
        let ours = all[..changing.at].iter().filter(within);
        let mut of_group =
            ours.filter(|change| !is_of_user(change) && id_of(whose(change)) == changing.group);
        let is_opposite = |change: &Changed| {
            let had = members_of(change.before.as_ref()).contains(changing.user);
            let has = members_of(change.after.as_ref()).contains(changing.user);
            had == changing.joins && has != changing.joins
        };
        past.names_ever(changing.group, all).count() > 1 && of_group.any(is_opposite)
    }

    /// Whether an earlier roster stated the membership, or a request of ours added it.
    fn was_stated(
        &self,
        changing: &Changing<'_>,
        email: &str,
        past: &Past<'_>,
        all: &[Changed],
    ) -> bool {
        let names: Vec<_> = past.names_ever(changing.group, all).collect();
        let stated = self.runs_until(changing.window).any(|window| {
            past.all_names.iter().any(|all| {
                let stated = self.statements(window, all, &NONE);
                stated.is_some_and(|one| names.iter().any(|name| one.names_in_cell(email, name)))
            })
        });
        let joined = all[..changing.at].iter().any(|change| {
            change.request.is_some()
                && id_of(whose(change)) == changing.group
                && members_of(change.after.as_ref()).contains(changing.user)
                && !members_of(change.before.as_ref()).contains(changing.user)
        });
        stated || joined
    }

    /// Whether a run before this one managed the group under its name, or created it.
    fn was_managed_before(
        &self,
        changing: &Changing<'_>,
        past: &Past<'_>,
        all: &[Changed],
    ) -> bool {
        let created = all.iter().any(|change| {
            change.before.is_none()
                && change.request.is_some()
                && id_of(whose(change)) == changing.group
        });
        let names: Vec<_> = past.names_ever(changing.group, all).collect();
        let earlier = self.runs_until(changing.window);
        let mut earlier = earlier.filter(|window| window.first < changing.window.first);
        created
            || earlier.any(|window| {
                past.all_names.iter().any(|all| {
                    let stated = self.statements(window, all, &NONE);
                    stated.is_some_and(|one| names.iter().any(|name| one.manages(name)))
                })
            })
    }

    fn runs_until(&self, until: &Window) -> impl Iterator<Item = &Window> {
        let first = until.first;
        let runs = self.record.windows.iter();
        runs.filter(move |window| !window.is_dry && window.first <= first)
    }

    pub(crate) fn is_approved_leave(&self, user: &str, group: &str, number: u64) -> bool {
        self.approvals_before(number).any(|approved| {
            approved.id == user
                && approved.operation == Operation::Leave
                && approved.group.as_deref() == Some(group)
        })
    }

    /// Groups are created and their members added or removed one by one; nothing else is sent.
    pub(crate) fn groups_are_never_replaced(&mut self) {
        let is_fine = |body: &Value, method: &str| match method {
            "GET" => true,
            "POST" => body
                .as_object()
                .is_some_and(|body| body.keys().eq(["displayName"])),
            "PATCH" => {
                let mut operations = body["Operations"].as_array().into_iter().flatten();
                operations.all(|one| one["op"] == json!("add") || one["op"] == json!("remove"))
            }
            _ => false,
        };
        let empty = Value::Null;
        let of_groups = self
            .requests
            .iter()
            .filter(|request| is_of_groups(&request.path));
        let other = of_groups
            .filter(|request| !is_fine(request.body.as_ref().unwrap_or(&empty), &request.method));
        let other: Vec<_> = other
            .map(|request| format!("never to be sent: {request:?}"))
            .collect();
        self.wrong.extend(other);
    }
}

impl<'a> Past<'a> {
    fn take_in(&mut self, change: &'a Changed) {
        let subject = whose(change);
        match (is_of_user(change), &change.after) {
            (true, _) => drop(self.emails.insert(id_of(subject), email_of(subject))),
            (false, Some(group)) => drop(self.names.insert(id_of(group), name_of(group))),
            (false, None) => drop(self.names.remove(id_of(subject))),
        }
        let names = self.names.values().map(|name| (*name).to_owned());
        self.all_names.push(names.collect());
    }

    /// The names that a group had at any time.
    fn names_ever(
        &self,
        group: &str,
        all: &'a [Changed],
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        let of_group = all.iter().filter(|change| !is_of_user(change));
        let shown = of_group
            .flat_map(|change| [&change.before, &change.after])
            .flatten();
        let of_it = shown.filter(|one| id_of(one) == group).map(name_of);
        of_it.collect::<BTreeSet<_>>().into_iter()
    }

    /// The names that a run may know: those since the second last list of groups that was answered, or since the
    /// beginning.
    fn recent_names(
        &self,
        invariants: &Invariants<'_>,
        before: Option<u64>,
        all: &[Changed],
    ) -> BTreeSet<Names> {
        let lists = invariants.requests.iter().rev().filter(|request| {
            Some(request.number) < before
                && is_of_groups(&request.path)
                && request.query.ends_with("startIndex=1")
                && request.status == 200
        });
        let since = lists.map(|request| request.number).nth(1).unwrap_or(0);
        let is_before = |change: &Changed| change.request.is_some_and(|number| number < since);
        let from = all[..self.all_names.len()]
            .iter()
            .rposition(is_before)
            .unwrap_or(0);
        self.all_names[from..].iter().cloned().collect()
    }
}
