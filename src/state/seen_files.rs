//! The files of a folder, by the run that first saw them.

use super::sql::FileTime;
use super::{StateDb, StateError};
use crate::model::{FileRead, RunNumber};
use rusqlite::Connection;
use std::collections::HashMap;

impl StateDb {
    /// The run that first saw each file.
    pub async fn seen_files(&self) -> Result<HashMap<FileRead, RunNumber>, StateError> {
        self.read(seen_files).await
    }

    /// Records the files that a run sees in the folder. Others are forgotten, except for those of the accepted roster.
    pub async fn record_files(
        &self,
        run: RunNumber,
        files: Vec<FileRead>,
    ) -> Result<(), StateError> {
        self.write(move |db| record(db, run, &files)).await
    }
}

pub(super) fn seen_files(db: &Connection) -> rusqlite::Result<HashMap<FileRead, RunNumber>> {
    db.prepare_cached("SELECT name, modified, run FROM seen_files")?
        .query_map([], |row| {
            let name: String = row.get(0)?;
            let file = FileRead {
                name: name.into(),
                modified: row.get::<_, FileTime>(1)?.0,
            };
            Ok((file, row.get(2)?))
        })?
        .collect()
}

fn record(db: &Connection, run: RunNumber, files: &[FileRead]) -> rusqlite::Result<()> {
    let mut known = seen_files(db)?;
    let mut insert = db.prepare_cached("INSERT INTO seen_files VALUES (?1, ?2, ?3)")?;
    for file in files {
        if known.remove(file).is_none() {
            insert.execute((&file.name, FileTime(file.modified), run))?;
        }
    }
    let mut delete = db.prepare_cached(
        "DELETE FROM seen_files WHERE name = ?1 AND modified = ?2
            AND NOT EXISTS (SELECT 1 FROM roster_files WHERE name = ?1 AND modified = ?2)",
    )?;
    known.keys().try_for_each(|gone| {
        let row = (&gone.name, FileTime(gone.modified));
        delete.execute(row).map(drop)
    })
}
