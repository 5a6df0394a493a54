//! Managed groups, and the memberships that a roster stated. Which these are is decided in
//! [`ownership`](crate::plan::ownership).

use super::sql::{Time, keyed_email};
use crate::model::{GroupMemory, GroupUpdate, ManagedGroup};
use chrono::{DateTime, Utc};
use rusqlite::Connection;

pub(super) fn memory(db: &Connection) -> rusqlite::Result<GroupMemory> {
    let managed = db
        .prepare_cached("SELECT id, name, confirmed FROM managed_groups")?
        .query_map([], |row| {
            let (name, is_confirmed) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, ManagedGroup { name, is_confirmed }))
        })?
        .collect::<Result<_, _>>()?;
    let mut memberships =
        db.prepare_cached("SELECT group_id, email_key, email FROM stated_memberships")?;
    let mut rows = memberships.query([])?;
    let mut memory = GroupMemory {
        managed,
        ..GroupMemory::default()
    };
    while let Some(row) = rows.next()? {
        memory.state(keyed_email(row)?, row.get(0)?);
    }
    Ok(memory)
}

/// Stores what a roster or a change does to the records of groups.
pub(super) fn store(
    db: &Connection,
    update: &GroupUpdate,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let GroupUpdate {
        managed,
        stated,
        not_stated,
        created,
    } = update;
    let mut put = db.prepare_cached(
        "INSERT INTO managed_groups (id, name, since, confirmed) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, confirmed = excluded.confirmed",
    )?;
    for (id, group) in managed {
        put.execute((id, &group.name, Time(now), group.is_confirmed))?;
    }
    let mut add = db.prepare_cached(
        "INSERT OR IGNORE INTO stated_memberships (group_id, email_key, email) VALUES (?1, ?2, ?3)",
    )?;
    for (group, email) in stated {
        add.execute((group, email.folded(), email))?;
    }
    let mut delete =
        db.prepare_cached("DELETE FROM stated_memberships WHERE group_id = ?1 AND email_key = ?2")?;
    for (group, email) in not_stated {
        delete.execute((group, email.folded()))?;
    }
    // The run in progress is the latest one.
    let mut create = db.prepare_cached(
        "INSERT OR REPLACE INTO created_groups (id, name, run) SELECT ?1, ?2, max(number) FROM runs",
    )?;
    for (group, name) in created {
        create.execute((group, name))?;
    }
    Ok(())
}
