//! The last accepted roster, with which later ones are compared.

use super::sql::{Count, FileTime, Time};
use super::{StateDb, StateError, managed};
use crate::model::{AcceptedRoster, FileRead, OwnershipUpdate};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension};

impl StateDb {
    /// Records what a roster changes in the ownership of users, and the roster itself if it is accepted. Writes only
    /// differences.
    pub async fn record_roster(
        &self,
        ownership: OwnershipUpdate,
        accepted: Option<AcceptedRoster>,
        now: DateTime<Utc>,
    ) -> Result<(), StateError> {
        if ownership == OwnershipUpdate::default() && accepted.is_none() {
            return Ok(());
        }
        self.write(move |db| {
            managed::store(db, &ownership, now)?;
            accepted.map_or(Ok(()), |accepted| store(db, &accepted, now))
        })
        .await
    }
}

pub(super) fn load(db: &Connection) -> rusqlite::Result<Option<AcceptedRoster>> {
    let roster = db
        .query_row("SELECT fingerprint, rows FROM roster", [], |row| {
            Ok((row.get(0)?, row.get::<_, Count>(1)?.0))
        })
        .optional()?;
    let Some((fingerprint, rows)) = roster else {
        return Ok(None);
    };
    let files = db
        .prepare_cached("SELECT name, modified FROM roster_files ORDER BY name")?
        .query_map([], |row| {
            Ok(FileRead {
                name: row.get(0)?,
                modified: row.get::<_, FileTime>(1)?.0,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(AcceptedRoster {
        fingerprint,
        rows,
        files,
    }))
}

fn store(db: &Connection, accepted: &AcceptedRoster, now: DateTime<Utc>) -> rusqlite::Result<()> {
    if load(db)?.as_ref() == Some(accepted) {
        return Ok(());
    }
    let AcceptedRoster {
        fingerprint,
        rows,
        files,
    } = accepted;
    db.execute(
        "INSERT OR REPLACE INTO roster (id, accepted, fingerprint, rows) VALUES (1, ?1, ?2, ?3)",
        (Time(now), fingerprint, Count(*rows)),
    )?;
    db.execute("DELETE FROM roster_files", [])?;
    let mut insert =
        db.prepare_cached("INSERT OR REPLACE INTO roster_files (name, modified) VALUES (?1, ?2)")?;
    for FileRead { name, modified } in files {
        insert.execute((name, FileTime(*modified)))?;
    }
    Ok(())
}
