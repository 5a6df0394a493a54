//! The groups that runs have observed, with their members.

use crate::model::{ChangeOutcome, GroupId, ObservedGroup, ObservedGroupsUpdate, UserId, UserIds};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};
use std::collections::{HashMap, HashSet};

/// Stores what a run has found out about groups. Writes only differences.
pub(super) fn store(db: &Connection, update: &ObservedGroupsUpdate) -> rusqlite::Result<()> {
    let ObservedGroupsUpdate {
        groups,
        forgotten,
        is_whole,
    } = update;
    let mut removed = 0;
    if *is_whole {
        removed += forget_others(db, groups.iter().map(|group| &group.id))?;
    }
    for id in forgotten {
        removed += forget(db, id)?;
    }
    if !groups.is_empty() {
        let mut writer = GroupWriter::new(db)?;
        for group in groups {
            removed += writer.put(group)?;
        }
    }
    match removed {
        0 => Ok(()),
        _ => forget_users(db),
    }
}

/// Writes groups.
struct GroupWriter<'a> {
    /// The numbers of users, as far as they were needed.
    users: HashMap<UserId, i64>,
    put_group: CachedStatement<'a>,
    find_user: CachedStatement<'a>,
    put_user: CachedStatement<'a>,
    find_members: CachedStatement<'a>,
    put_member: CachedStatement<'a>,
    delete_member: CachedStatement<'a>,
}

impl<'a> GroupWriter<'a> {
    fn new(db: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            users: HashMap::new(),
            put_group: db.prepare_cached(
                "INSERT INTO observed_groups (id, name, members_known) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, members_known = excluded.members_known
                 RETURNING number",
            )?,
            find_user: db.prepare_cached("SELECT number FROM group_users WHERE id = ?1")?,
            put_user: db
                .prepare_cached("INSERT INTO group_users (id) VALUES (?1) RETURNING number")?,
            find_members: db
                .prepare_cached("SELECT user_number FROM observed_members WHERE group_number = ?1")?,
            put_member: db.prepare_cached("INSERT INTO observed_members VALUES (?1, ?2)")?,
            delete_member: db.prepare_cached(
                "DELETE FROM observed_members WHERE group_number = ?1 AND user_number = ?2",
            )?,
        })
    }

    /// Writes a group. Returns the number of members that were removed.
    fn put(&mut self, group: &ObservedGroup) -> rusqlite::Result<usize> {
        let values = (&group.id, &*group.name, group.members.is_some());
        let number = |row: &Row<'_>| row.get::<_, i64>(0);
        let group_number = self.put_group.query_row(values, number)?;
        let stored = self.find_members.query_map([group_number], number)?;
        let mut gone: HashSet<i64> = stored.collect::<Result<_, _>>()?;
        let members = group.members.iter().flatten();
        let numbers = members
            .map(|user| self.number(user))
            .collect::<Result<Vec<_>, _>>();
        let mut new: Vec<_> = numbers?
            .into_iter()
            .filter(|user| !gone.remove(user))
            .collect();
        // In the order of the table.
        new.sort_unstable();
        for user in new {
            self.put_member.execute((group_number, user))?;
        }
        for user in &gone {
            self.delete_member.execute((group_number, user))?;
        }
        Ok(gone.len())
    }

    /// The number of a user.
    fn number(&mut self, user: &UserId) -> rusqlite::Result<i64> {
        if let Some(number) = self.users.get(user) {
            return Ok(*number);
        }
        let number = |row: &Row<'_>| row.get(0);
        let known = self.find_user.query_row([user], number).optional()?;
        let number = match known {
            Some(number) => number,
            None => self.put_user.query_row([user], number)?,
        };
        self.users.insert(user.clone(), number);
        Ok(number)
    }
}

/// Removes a group. Returns the number of its members.
fn forget(db: &Connection, id: &GroupId) -> rusqlite::Result<usize> {
    let number: Option<i64> = db
        .prepare_cached("DELETE FROM observed_groups WHERE id = ?1 RETURNING number")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    match number {
        Some(number) => db
            .prepare_cached("DELETE FROM observed_members WHERE group_number = ?1")?
            .execute([number]),
        None => Ok(0),
    }
}

/// Removes the groups that a whole list does not have. Returns the number of their members.
fn forget_others<'a>(
    db: &Connection,
    ids: impl Iterator<Item = &'a GroupId>,
) -> rusqlite::Result<usize> {
    let observed: HashSet<_> = ids.collect();
    let stored: Vec<GroupId> = db
        .prepare_cached("SELECT id FROM observed_groups")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let gone = stored.iter().filter(|id| !observed.contains(id));
    gone.map(|id| forget(db, id)).sum()
}

/// Removes users that are in no group any more.
fn forget_users(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM group_users WHERE number NOT IN (SELECT user_number FROM observed_members)",
    )?
    .execute([])
    .map(drop)
}

/// All groups. The members of those with changes after this one that may have been sent are not known.
pub(super) fn load(db: &Connection, last_change: i64) -> rusqlite::Result<Vec<ObservedGroup>> {
    let users: HashMap<i64, UserId> = db
        .prepare_cached("SELECT number, id FROM group_users")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let uncertain = changed_since(db, last_change)?;
    let mut find_members =
        db.prepare_cached("SELECT user_number FROM observed_members WHERE group_number = ?1")?;
    let mut members_of = |group: i64| -> rusqlite::Result<UserIds> {
        let numbers = find_members.query_map([group], |row| row.get::<_, i64>(0))?;
        let numbers = numbers.collect::<rusqlite::Result<Vec<_>>>()?;
        let members = numbers.iter().filter_map(|number| users.get(number));
        Ok(members.cloned().collect())
    };
    db.prepare_cached("SELECT number, id, name, members_known FROM observed_groups")?
        .query_and_then([], |row| {
            let (number, id, name): (_, GroupId, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let is_known = row.get(3)? && !uncertain.contains(&id);
            let members = is_known.then(|| members_of(number)).transpose()?;
            Ok(ObservedGroup {
                id,
                name: name.into(),
                members,
            })
        })?
        .collect()
}

/// The groups with changes of memberships after this one that may have been sent.
fn changed_since(db: &Connection, last_change: i64) -> rusqlite::Result<HashSet<GroupId>> {
    let sql = "SELECT group_id FROM changes
               WHERE id > ?1 AND (outcome IS NULL OR outcome <> ?2) AND group_id IS NOT NULL AND role IS NULL";
    db.prepare_cached(sql)?
        .query_map((last_change, ChangeOutcome::Skipped), |row| row.get(0))?
        .collect()
}
