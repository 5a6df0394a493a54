//! Where the roster lies, and the places that were refused.

use super::sql::{Time, last_number};
use super::{StateDb, StateError};
use crate::model::{RosterPlace, RunNumber};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

impl StateDb {
    /// Where the roster of a path lay last; `None` if no run has accepted it.
    pub async fn place(&self, path: &Path) -> Result<Option<RosterPlace>, StateError> {
        let path = bytes(path);
        let sql = "SELECT mount_point, kind, is_share FROM roster_places WHERE path = ?1";
        self.read(move |db| db.prepare_cached(sql)?.query_row([path], place).optional())
            .await
    }

    /// Remembers where the roster of a path lies.
    pub async fn remember_place(&self, path: &Path, place: &RosterPlace) -> Result<(), StateError> {
        let row = as_row(path, place);
        let sql = "INSERT OR REPLACE INTO roster_places (path, mount_point, kind, is_share)
                   VALUES (?1, ?2, ?3, ?4)";
        self.write(move |db| db.execute(sql, row).map(drop)).await
    }

    /// Records that a run refused a roster because of its place.
    pub async fn refuse_place(
        &self,
        run: RunNumber,
        path: &Path,
        place: &RosterPlace,
    ) -> Result<(), StateError> {
        let (path, mount_point, kind, is_share) = as_row(path, place);
        let sql = "INSERT OR REPLACE INTO refused_places (run, path, mount_point, kind, is_share)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        self.write(move |db| {
            let row = (run, path, mount_point, kind, is_share);
            db.execute(sql, row).map(drop)
        })
        .await
    }
}

/// The place that a run refused.
pub(super) fn refused(db: &Connection, run: RunNumber) -> rusqlite::Result<Option<RosterPlace>> {
    let sql = "SELECT mount_point, kind, is_share FROM refused_places WHERE run = ?1";
    db.prepare_cached(sql)?.query_row([run], place).optional()
}

/// Accepts the place that a run refused.
pub(super) fn accept(
    db: &Connection,
    run: RunNumber,
    by: &str,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO roster_places (path, mount_point, kind, is_share)
         SELECT path, mount_point, kind, is_share FROM refused_places WHERE run = ?1",
        [run],
    )?;
    db.execute(
        "INSERT INTO place_approvals (run, approved_by, approved) VALUES (?1, ?2, ?3)",
        (run, by, Time(now)),
    )
    .map(drop)
}

/// A number that changes with each accepted place.
pub(super) fn approval_mark(db: &Connection) -> rusqlite::Result<i64> {
    Ok(last_number(db, "place_approvals")?.unwrap_or(0))
}

fn place(row: &Row<'_>) -> rusqlite::Result<RosterPlace> {
    let mount_point: Vec<u8> = row.get("mount_point")?;
    Ok(RosterPlace {
        mount_point: PathBuf::from(OsStr::from_bytes(&mount_point)),
        kind: row.get("kind")?,
        is_share: row.get("is_share")?,
    })
}

/// The path of a roster and its place as stored.
fn as_row(path: &Path, place: &RosterPlace) -> (Vec<u8>, Vec<u8>, String, bool) {
    let RosterPlace {
        mount_point,
        kind,
        is_share,
    } = place;
    (bytes(path), bytes(mount_point), kind.clone(), *is_share)
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
