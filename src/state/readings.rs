//! What is known of Omni beside its users: the readings of probes, the user that a probe has not deleted yet, a refused
//! page, and the users of the API keys.

use super::sql::{Time, from_json};
use super::{StateDb, StateError};
use crate::model::{ProbeUser, Readings, UserId};
use crate::settings::KeyHash;
use chrono::{DateTime, Utc};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// The ids of the users of each API key; none if Omni names none.
pub type KeyUsers = HashMap<KeyHash, HashSet<UserId>>;

impl StateDb {
    /// What probes have learned.
    pub async fn readings(&self) -> Result<Readings, StateError> {
        self.read(readings).await
    }

    /// Stores what a probe has learned. Earlier readings that it could not confirm stay.
    pub async fn record_readings(
        &self,
        learned: &Readings,
        at: DateTime<Utc>,
    ) -> Result<(), StateError> {
        let fields = match serde_json::to_value(learned) {
            Ok(Value::Object(fields)) => fields,
            other => unreachable!("readings are a JSON object, not {other:?}"),
        };
        self.write(move |db| {
            let sql = "INSERT OR REPLACE INTO readings (name, value, learned) VALUES (?1, ?2, ?3)";
            let mut insert = db.prepare_cached(sql)?;
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                insert.execute((name, value.to_string(), Time(at)))?;
            }
            Ok(())
        })
        .await
    }

    /// When Omni last refused a large page of the list.
    pub async fn refused_page(&self) -> Result<Option<DateTime<Utc>>, StateError> {
        self.read(|db| {
            let at = db
                .prepare_cached("SELECT at FROM refused_page")?
                .query_row([], |row| row.get::<_, Time>(0));
            Ok(at.optional()?.map(|Time(at)| at))
        })
        .await
    }

    /// The users of the API keys that Omni was asked about.
    pub async fn key_users(&self) -> Result<KeyUsers, StateError> {
        self.read(|db| {
            let mut users = KeyUsers::new();
            let mut query = db.prepare_cached("SELECT key, user_id FROM key_users")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let user: Option<UserId> = row.get("user_id")?;
                let of_key = users.entry(KeyHash::stored(row.get("key")?));
                of_key.or_default().extend(user);
            }
            Ok(users)
        })
        .await
    }

    /// Stores the users of the API keys, in place of the former ones.
    pub async fn record_key_users(&self, users: KeyUsers) -> Result<(), StateError> {
        self.write(move |db| {
            db.execute("DELETE FROM key_users", [])?;
            let mut insert = db.prepare_cached("INSERT INTO key_users VALUES (?1, ?2)")?;
            for (key, users) in &users {
                let none = users.is_empty().then_some(None);
                for user in users.iter().map(Some).chain(none) {
                    insert.execute((key.as_str(), user))?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Stores when Omni refused a large page of the list.
    pub async fn record_refused_page(&self, at: DateTime<Utc>) -> Result<(), StateError> {
        let sql = "INSERT OR REPLACE INTO refused_page (id, at) VALUES (1, ?1)";
        self.write(move |db| db.execute(sql, [Time(at)]).map(drop))
            .await
    }

    /// The user that a probe was about to create, or has created, and has not deleted.
    pub async fn probe_user(&self) -> Result<Option<ProbeUser>, StateError> {
        let sql = "SELECT email, display_name, user_id FROM probe_user";
        self.read(move |db| {
            let user = db.prepare_cached(sql)?.query_row([], |row| {
                Ok(ProbeUser {
                    email: row.get("email")?,
                    display_name: row.get("display_name")?,
                    id: row.get("user_id")?,
                })
            });
            user.optional()
        })
        .await
    }

    /// Stores a user before a probe creates it.
    ///
    /// # Errors
    /// Also if another one is stored.
    pub async fn begin_probe(&self, user: &ProbeUser) -> Result<(), StateError> {
        let ProbeUser {
            email,
            display_name,
            id,
        } = user.clone();
        let sql =
            "INSERT INTO probe_user (id, email, display_name, user_id) VALUES (1, ?1, ?2, ?3)";
        self.write(move |db| db.execute(sql, (email, display_name, id)).map(drop))
            .await
    }

    /// Stores the id of the user that a probe has created.
    pub async fn record_probe_id(&self, id: &UserId) -> Result<(), StateError> {
        let id = id.clone();
        self.write(move |db| {
            db.execute("UPDATE probe_user SET user_id = ?1", [id])
                .map(drop)
        })
        .await
    }

    /// Deletes the stored user of a probe.
    pub async fn end_probe(&self) -> Result<(), StateError> {
        self.write(|db| db.execute("DELETE FROM probe_user", []).map(drop))
            .await
    }
}

/// The ids of the users of the API keys.
pub(super) fn key_user_ids(db: &Connection) -> rusqlite::Result<HashSet<UserId>> {
    db.prepare_cached("SELECT user_id FROM key_users WHERE user_id IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn readings(db: &Connection) -> rusqlite::Result<Readings> {
    let mut query = db.prepare_cached("SELECT name, value FROM readings")?;
    let rows = query.query_map([], |row| {
        Ok((row.get("name")?, from_json(row.get_ref("value")?)?))
    })?;
    let fields: Map<String, Value> = rows.collect::<rusqlite::Result<_>>()?;
    // A value that is no reading means that the file was altered.
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, error.into()))
}
