//! What runs have observed in Omni.

use super::sql::{Count, Time, from_json, keyed_email, last_number, to_json};
use super::{StateDb, StateError, observed_groups};
use crate::model::{
    ChangeOutcome, Email, GroupListing, KnownUser, ObservationHeader, ObservationUpdate,
    ObservedUser, PartialListing, StoredObservation, UserId,
};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashSet;
use std::sync::Arc;

impl StateDb {
    /// The observation that the last runs have stored; `None` if there is none.
    pub async fn observation(&self) -> Result<Option<StoredObservation>, StateError> {
        self.read(load).await
    }

    /// When the oldest part of the stored observation was observed, and the number of users in it.
    pub async fn observation_age(&self) -> Result<Option<(DateTime<Utc>, u64)>, StateError> {
        self.read(|db| {
            let sql = "SELECT observed, (SELECT count(*) FROM observed_users WHERE users = 1) FROM observation";
            let row = db.prepare_cached(sql)?.query_row([], |row| {
                Ok((row.get::<_, Time>(0)?.0, row.get::<_, Count>(1)?.0))
            });
            row.optional()
        })
        .await
    }

    /// Stores what a run has observed. Writes only differences.
    pub async fn keep_observation(&self, update: ObservationUpdate) -> Result<(), StateError> {
        self.write(move |db| {
            if update.is_whole {
                forget_others(db, &update.users)?;
            }
            let mut delete = db.prepare_cached(DELETE)?;
            for email in &update.forgotten {
                delete.execute([email.folded()])?;
            }
            let mut put = db.prepare_cached(PUT)?;
            for (email, known) in &update.users {
                put.execute(StoredUser::from(known).with(email))?;
            }
            observed_groups::store(db, &update.groups)?;
            put_header(db, &update.header)
        })
        .await
    }
}

const DELETE: &str = "DELETE FROM observed_users WHERE email_key = ?1";

/// Writes a row if it differs.
const PUT: &str = "INSERT INTO observed_users
        (email_key, email, users, user_id, user, seen, verified)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
     ON CONFLICT (email_key) DO UPDATE SET
        email = excluded.email, users = excluded.users, user_id = excluded.user_id,
        user = excluded.user, seen = excluded.seen, verified = excluded.verified
     WHERE (email, users, user_id, user, seen, verified) IS NOT
        (excluded.email, excluded.users, excluded.user_id, excluded.user, excluded.seen, excluded.verified)";

/// A known user as stored.
struct StoredUser {
    users: Option<u64>,
    id: Option<UserId>,
    user: Option<String>,
    seen: Option<Time>,
    verified: Option<Time>,
}

impl From<&KnownUser> for StoredUser {
    fn from(known: &KnownUser) -> Self {
        let of = |users| Self {
            users,
            id: None,
            user: None,
            seen: None,
            verified: None,
        };
        match known {
            KnownUser::Absent => of(Some(0)),
            KnownUser::One {
                user,
                seen,
                verified,
            } => Self {
                id: Some(user.id.clone()),
                user: Some(to_json(&**user)),
                seen: seen.map(Time),
                verified: verified.map(Time),
                ..of(Some(1))
            },
            KnownUser::Several(users) => of(Some(*users as u64)),
            KnownUser::Uncertain(id) => Self {
                id: id.clone(),
                ..of(None)
            },
        }
    }
}

impl StoredUser {
    fn with(self, email: &Email) -> impl rusqlite::Params {
        let Self {
            users,
            id,
            user,
            seen,
            verified,
        } = self;
        let (key, email) = (email.folded().into_owned(), email.clone());
        (key, email, users.map(Count), id, user, seen, verified)
    }
}

fn put_header(db: &Connection, header: &ObservationHeader) -> rusqlite::Result<()> {
    let last_change = last_number(db, "changes")?.unwrap_or(0);
    let (definitions, summary) = (to_json(&header.schema), to_json(&header.summary));
    db.prepare_cached(
        "INSERT OR REPLACE INTO observation
         (id, observed, definitions, definitions_read, summary, listing_started, listing_next,
          last_change, groups_read, groups_refused, users_show_groups)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        Time(header.observed),
        definitions,
        Time(header.schema_read),
        summary,
        header.listing.map(|listing| Time(listing.started)),
        header.listing.map(|listing| Count(listing.next)),
        last_change,
        header.groups.map(|groups| Time(groups.read)),
        header.groups.and_then(|groups| groups.refused),
        header.groups.is_some_and(|groups| groups.users_show_groups),
    ))
    .map(drop)
}

/// Removes the rows of users that a whole observation does not have.
fn forget_others(db: &Connection, users: &[(Email, KnownUser)]) -> rusqlite::Result<()> {
    let observed: HashSet<_> = users.iter().map(|(email, _)| email.folded()).collect();
    let mut query = db.prepare_cached("SELECT email_key FROM observed_users")?;
    let keys = query.query_map([], |row| row.get::<_, String>(0))?;
    let mut gone = Vec::new();
    for key in keys {
        let key = key?;
        if !observed.contains(key.as_str()) {
            gone.push(key);
        }
    }
    let mut delete = db.prepare_cached(DELETE)?;
    gone.iter()
        .try_for_each(|key| delete.execute([key]).map(drop))
}

fn load(db: &Connection) -> rusqlite::Result<Option<StoredObservation>> {
    let header = db.prepare_cached("SELECT * FROM observation")?;
    let header = { header }.query_row([], header_of).optional()?;
    let Some((header, last_change)) = header else {
        return Ok(None);
    };
    let mut users = Vec::new();
    let mut query = db.prepare_cached("SELECT * FROM observed_users")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let email = keyed_email(row)?;
        let known = known_user(row, &email)?;
        users.push((email, known));
    }
    // The history has the outcomes of these changes, but not the current state of the users.
    users.extend(changed_since(db, last_change)?);
    Ok(Some(StoredObservation {
        groups: observed_groups::load(db, last_change)?,
        header,
        users,
    }))
}

/// The only user with an email.
pub(super) fn observed(
    db: &Connection,
    email: &Email,
) -> rusqlite::Result<Option<Arc<ObservedUser>>> {
    let known = db
        .prepare_cached("SELECT * FROM observed_users WHERE email_key = ?1")?
        .query_row([email.folded()], |row| known_user(row, email))
        .optional()?;
    Ok(match known {
        Some(KnownUser::One { user, .. }) => Some(user),
        _ => None,
    })
}

fn header_of(row: &Row<'_>) -> rusqlite::Result<(ObservationHeader, i64)> {
    let header = ObservationHeader {
        observed: row.get::<_, Time>("observed")?.0,
        schema: from_json(row.get_ref("definitions")?)?,
        schema_read: row.get::<_, Time>("definitions_read")?.0,
        summary: from_json(row.get_ref("summary")?)?,
        listing: listing_of(row)?,
        groups: groups_of(row)?,
    };
    Ok((header, row.get("last_change")?))
}

fn listing_of(row: &Row<'_>) -> rusqlite::Result<Option<PartialListing>> {
    let started: Option<Time> = row.get("listing_started")?;
    let next: Option<Count> = row.get("listing_next")?;
    let both = started.zip(next);
    Ok(both.map(|(Time(started), Count(next))| PartialListing { started, next }))
}

fn groups_of(row: &Row<'_>) -> rusqlite::Result<Option<GroupListing>> {
    let Some(Time(read)) = row.get("groups_read")? else {
        return Ok(None);
    };
    Ok(Some(GroupListing {
        read,
        refused: row.get("groups_refused")?,
        users_show_groups: row.get("users_show_groups")?,
    }))
}

fn known_user(row: &Row<'_>, email: &Email) -> rusqlite::Result<KnownUser> {
    let users: Option<Count> = row.get("users")?;
    Ok(match users {
        None => KnownUser::Uncertain(row.get("user_id")?),
        Some(Count(0)) => KnownUser::Absent,
        Some(Count(1)) => {
            let user: ObservedUser = from_json(row.get_ref("user")?)?;
            if user.email != *email {
                return Ok(KnownUser::Uncertain(None));
            }
            let (seen, verified): (Option<Time>, Option<Time>) =
                (row.get("seen")?, row.get("verified")?);
            KnownUser::One {
                user: Arc::new(user),
                seen: seen.map(|Time(at)| at),
                verified: verified.map(|Time(at)| at),
            }
        }
        Some(Count(users)) => KnownUser::Several(usize::try_from(users).unwrap_or(usize::MAX)),
    })
}

/// The users with changes after this one that may have been sent.
fn changed_since(db: &Connection, last_change: i64) -> rusqlite::Result<Vec<(Email, KnownUser)>> {
    let sql = "SELECT email, email_key, user_id FROM changes
               WHERE id > ?1 AND (outcome IS NULL OR outcome <> ?2) AND group_name IS NULL AND role IS NULL ORDER BY id";
    db.prepare_cached(sql)?
        .query_map((last_change, ChangeOutcome::Skipped), |row| {
            Ok((keyed_email(row)?, KnownUser::Uncertain(row.get("user_id")?)))
        })?
        .collect()
}
