//! What a roster that was read says of who is ours, and the roster that was last accepted.

use super::sql::{Count, FileTime, Time};
use super::{StateDb, StateError, managed};
use crate::model::{
    Desired, DesiredUser, Email, FileRead, Fingerprint, Observed, UserId, UserMatch,
};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashSet;

/// A roster that was read, and who was in Omni then.
#[derive(Clone, Copy, Debug)]
pub struct RosterRecord<'a> {
    /// When.
    pub now: DateTime<Utc>,
    /// The roster. One that is not of `source.path` makes nobody managed and is never accepted.
    pub desired: &'a Desired,
    /// Who is in Omni.
    pub observed: &'a Observed,
    /// Whether the roster is accepted: the next one is compared with it. One that lost most of its rows is
    /// not, until a person says so; whom it does not name is missing from now on all the same.
    pub is_accepted: bool,
}

/// The roster that was last accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) fingerprint: Fingerprint,
    pub(super) rows: u64,
    pub(super) files: Vec<FileRead>,
}

impl StateDb {
    /// Takes note of a roster: whom it upserts becomes managed, whom it no longer names is missing
    /// from now on, and who is gone from both, or gone as it asks for, is forgotten. Writes what is
    /// different from what is there.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub async fn record_roster(&self, note: RosterRecord<'_>) -> Result<(), StateError> {
        let stored = self.read(Stored::load).await?;
        let difference = note.difference(&stored);
        let accepted = note.accepted();
        drop(stored);
        if difference.is_empty() && accepted.is_none() {
            return Ok(());
        }
        let now = note.now;
        self.write(move |db| {
            difference.store(db, now)?;
            accepted.map_or(Ok(()), |accepted| accepted.store(db, now))
        })
        .await
    }
}

/// What is there.
struct Stored {
    managed: Vec<(Email, Option<DateTime<Utc>>)>,
    deactivated: Vec<(UserId, Email)>,
}

impl Stored {
    fn load(db: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            managed: managed::all(db)?,
            deactivated: managed::all_deactivated(db)?,
        })
    }
}

/// What is to be written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    new: Vec<Email>,
    forgotten: Vec<Email>,
    missing: Vec<Email>,
    found: Vec<Email>,
    not_deactivated: Vec<UserId>,
}

impl RosterRecord<'_> {
    fn difference(&self, stored: &Stored) -> Difference {
        let mut difference = Difference::default();
        let not_deactivated = stored
            .deactivated
            .iter()
            .filter(|(id, email)| !self.may_be_inactive(id, email));
        difference.not_deactivated = not_deactivated.map(|(id, _)| id.clone()).collect();
        if !self.desired.is_source {
            return difference;
        }
        for (email, missing_since) in &stored.managed {
            self.look_at(email, missing_since.is_some(), &mut difference);
        }
        let known: HashSet<&Email> = stored.managed.iter().map(|(email, _)| email).collect();
        let new = self.desired.users.iter().filter(|(email, entry)| {
            matches!(entry.want, DesiredUser::Upsert(_)) && !known.contains(email)
        });
        difference.new = new.map(|(email, _)| email.clone()).collect();
        // In the order of the table: a million rows in any other would rewrite its pages again and again.
        difference
            .new
            .sort_by_cached_key(|email| email.folded().into_owned());
        difference
    }

    /// What this says of one managed user.
    fn look_at(&self, email: &Email, was_missing: bool, difference: &mut Difference) {
        let (list, applies) = match self.desired.users.get(email).map(|entry| &entry.want) {
            Some(DesiredUser::Delete | DesiredUser::Deactivate) if self.is_gone(email) => {
                (&mut difference.forgotten, true)
            }
            Some(_) => (&mut difference.found, was_missing),
            // A bad row names its user, whatever it wants.
            None if self.desired.frozen.contains_key(email) => (&mut difference.found, was_missing),
            // They may stand in what could not be read.
            None if !self.tells_missing() => return,
            None if self.is_gone(email) => (&mut difference.forgotten, true),
            None => (&mut difference.missing, !was_missing),
        };
        if applies {
            list.push(email.clone());
        }
    }

    fn tells_missing(&self) -> bool {
        self.desired.pruning_allowed().is_ok()
    }

    fn is_gone(&self, email: &Email) -> bool {
        self.observed.shows_everybody() && self.observed.get(email).is_none()
    }

    /// Whether somebody whom we deactivated may still be so.
    fn may_be_inactive(&self, id: &UserId, email: &Email) -> bool {
        match self.observed.get(email) {
            Some(UserMatch::One(user)) => user.id == *id && !user.active,
            Some(UserMatch::Several(_)) => true,
            None => !self.observed.shows_everybody(),
        }
    }

    fn accepted(&self) -> Option<Accepted> {
        let Desired {
            fingerprint,
            rows,
            files,
            rejected,
            is_source,
            ..
        } = self.desired;
        let accepted = self.is_accepted && *is_source && rejected.is_empty();
        accepted.then(|| Accepted {
            fingerprint: *fingerprint,
            rows: *rows,
            files: files.clone(),
        })
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn store(&self, db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<()> {
        let Self {
            new,
            forgotten,
            missing,
            found,
            not_deactivated,
        } = self;
        new.iter()
            .try_for_each(|email| managed::add(db, email, now))?;
        forgotten
            .iter()
            .try_for_each(|email| managed::remove(db, email))?;
        missing
            .iter()
            .try_for_each(|email| managed::set_missing(db, email, now))?;
        found
            .iter()
            .try_for_each(|email| managed::clear_missing(db, email))?;
        not_deactivated
            .iter()
            .try_for_each(|id| managed::remove_deactivated(db, id))
    }
}

impl Accepted {
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Option<Self>> {
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
        Ok(Some(Self {
            fingerprint,
            rows,
            files,
        }))
    }

    fn store(&self, db: &Connection, now: DateTime<Utc>) -> rusqlite::Result<()> {
        if Self::load(db)?.as_ref() == Some(self) {
            return Ok(());
        }
        let Self {
            fingerprint,
            rows,
            files,
        } = self;
        db.execute(
            "INSERT OR REPLACE INTO roster (id, accepted, fingerprint, rows) VALUES (1, ?1, ?2, ?3)",
            (Time(now), fingerprint, Count(*rows)),
        )?;
        db.execute("DELETE FROM roster_files", [])?;
        let mut insert = db.prepare_cached(
            "INSERT OR REPLACE INTO roster_files (name, modified) VALUES (?1, ?2)",
        )?;
        for FileRead { name, modified } in files {
            insert.execute((name, FileTime(*modified)))?;
        }
        Ok(())
    }
}
