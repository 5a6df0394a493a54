//! Roles: what runs have read and assigned, and the rows of `source.roles` that were accepted.

use super::sql::{Time, role_scope};
use super::{StateDb, StateError};
use crate::model::{
    ConnectionId, GroupId, KnownRoles, ModelId, ObservedConnection, ObservedModel, ObservedRole,
    ObservedRolesUpdate, Operation, RoleHolder, RoleName, RoleOrigin, RoleScope, RoleScopeList,
    RoleUpdate, StandardRole, StatedRole, StoredRoles, Subject, UserId,
};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

const USER: &str = "user";
const GROUP: &str = "group";

#[derive(Serialize, Deserialize)]
struct StoredConnection {
    id: String,
    name: String,
    base_role: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredModel {
    id: String,
    name: String,
    connection: String,
}

/// A role of a holder that the row names.
#[derive(Serialize, Deserialize)]
struct StoredRole {
    connection: String,
    model: Option<String>,
    role: String,
    base: Option<String>,
    origin: StoredOrigin,
    resolved: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredOrigin {
    Direct,
    Group { id: Option<String>, name: String },
    Base,
    Other,
}

impl StateDb {
    /// Known roles.
    pub async fn observed_roles(&self) -> Result<StoredRoles, StateError> {
        self.read(load).await
    }

    /// Stores what a run has read about roles.
    pub async fn keep_roles(&self, update: ObservedRolesUpdate) -> Result<(), StateError> {
        self.write(move |db| keep(db, &update)).await
    }
}

fn load(db: &Connection) -> rusqlite::Result<StoredRoles> {
    let scopes = db
        .prepare_cached("SELECT read, connections, models FROM role_scopes")?
        .query_row([], |row| {
            let Time(read) = row.get("read")?;
            Ok((scopes(row)?, read))
        })
        .optional()?;
    let holders = db
        .prepare_cached("SELECT holder, id, read, roles FROM observed_roles")?
        .query_map([], |row| {
            let holder = holder(row)?;
            let known = known_roles(row, &holder)?;
            Ok((holder, known))
        })?
        .collect::<Result<_, _>>()?;
    Ok(StoredRoles {
        scopes,
        holders,
        unsettled: unsettled(db)?,
    })
}

/// The holders of assignments whose outcome is not known.
fn unsettled(db: &Connection) -> rusqlite::Result<Vec<RoleHolder>> {
    let sql =
        "SELECT DISTINCT user_id, group_id FROM changes WHERE settled IS NULL AND operation = ?1";
    let ids = db
        .prepare_cached(sql)?
        .query_map([Operation::Assign], |row| {
            let (user, group): (Option<UserId>, Option<GroupId>) = (row.get(0)?, row.get(1)?);
            let user = user.map(RoleHolder::User);
            Ok(user.or_else(|| group.map(RoleHolder::Group)))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(ids.into_iter().flatten().collect())
}

fn keep(db: &Connection, update: &ObservedRolesUpdate) -> rusqlite::Result<()> {
    let ObservedRolesUpdate { scopes, holders } = update;
    if let Some((list, read)) = scopes {
        let connections: Vec<_> = list
            .connections
            .iter()
            .map(StoredConnection::from)
            .collect();
        let models: Vec<_> = list.models.iter().map(StoredModel::from).collect();
        let json = (to_json(&connections), to_json(&models));
        db.prepare_cached(
            "INSERT OR REPLACE INTO role_scopes (id, read, connections, models) VALUES (1, ?1, ?2, ?3)",
        )?
        .execute((Time(*read), json.0, json.1))?;
    }
    holders
        .iter()
        .try_for_each(|(holder, known)| put(db, holder, known))
}

fn put(db: &Connection, holder: &RoleHolder, known: &KnownRoles) -> rusqlite::Result<()> {
    let (kind, id) = columns(holder);
    let roles: Vec<_> = known.roles.iter().map(StoredRole::from).collect();
    db.prepare_cached(
        "INSERT OR REPLACE INTO observed_roles (holder, id, read, roles) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((kind, id, known.read.map(Time), to_json(&roles)))
    .map(drop)
}

/// Stores what a roster or a change does to the records of roles.
pub(super) fn store(db: &Connection, update: &RoleUpdate) -> rusqlite::Result<()> {
    let RoleUpdate {
        stated,
        not_stated,
        assigned,
        uncertain,
    } = update;
    let mut put_stated = db.prepare_cached(
        "INSERT OR REPLACE INTO stated_roles (subject_key, role_scope, subject) VALUES (?1, ?2, ?3)",
    )?;
    for StatedRole { subject, scope } in stated {
        put_stated.execute((subject.folded(), scope.text(), subject.cell()))?;
    }
    let mut delete =
        db.prepare_cached("DELETE FROM stated_roles WHERE subject_key = ?1 AND role_scope = ?2")?;
    for StatedRole { subject, scope } in not_stated {
        delete.execute((subject.folded(), scope.text()))?;
    }
    for (holder, scope, role) in assigned {
        let mut known = find(db, holder)?.unwrap_or_default();
        known.assign(holder, scope, role);
        put(db, holder, &known)?;
    }
    for holder in uncertain {
        if let Some(mut known) = find(db, holder)? {
            // What Omni never shows stays as known.
            known.roles.retain(|one| one.scope.is_hidden_of(holder));
            known.read = None;
            put(db, holder, &known)?;
        }
    }
    Ok(())
}

/// Forgets the roles of users that were removed.
pub(super) fn forget<'a>(
    db: &Connection,
    users: impl Iterator<Item = &'a UserId>,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM observed_roles WHERE holder = ?1 AND id = ?2";
    let mut delete = db.prepare_cached(sql)?;
    for user in users {
        delete.execute((USER, user))?;
    }
    Ok(())
}

fn find(db: &Connection, holder: &RoleHolder) -> rusqlite::Result<Option<KnownRoles>> {
    db.prepare_cached("SELECT read, roles FROM observed_roles WHERE holder = ?1 AND id = ?2")?
        .query_row(columns(holder), |row| known_roles(row, holder))
        .optional()
}

/// The rows of `source.roles` that the last accepted roster stated.
pub(super) fn stated(db: &Connection) -> rusqlite::Result<HashSet<StatedRole>> {
    db.prepare_cached("SELECT subject, role_scope FROM stated_roles")?
        .query_map([], |row| {
            let subject: String = row.get("subject")?;
            let invalid = || broken(row, "subject", "not a subject");
            Ok(StatedRole {
                subject: Subject::stored(&subject).ok_or_else(invalid)?,
                scope: role_scope(row)?.ok_or_else(invalid)?,
            })
        })?
        .collect()
}

fn columns(holder: &RoleHolder) -> (&'static str, &str) {
    match holder {
        RoleHolder::User(id) => (USER, id.as_str()),
        RoleHolder::Group(id) => (GROUP, id.as_str()),
    }
}

fn holder(row: &Row<'_>) -> rusqlite::Result<RoleHolder> {
    match row.get_ref("holder")?.as_str()? {
        USER => Ok(RoleHolder::User(row.get("id")?)),
        GROUP => Ok(RoleHolder::Group(row.get("id")?)),
        _ => Err(broken(row, "holder", "not a holder")),
    }
}

fn scopes(row: &Row<'_>) -> rusqlite::Result<RoleScopeList> {
    let connections: Vec<StoredConnection> = from_json(row, "connections")?;
    let models: Vec<StoredModel> = from_json(row, "models")?;
    let connections = connections.into_iter().map(|one| {
        Some(ObservedConnection {
            id: ConnectionId::parse(&one.id)?,
            name: one.name.as_str().into(),
            base_role: one.base_role.as_deref().map(RoleName::known),
        })
    });
    let models = models.into_iter().map(|one| {
        Some(ObservedModel {
            id: ModelId::parse(&one.id)?,
            name: one.name.as_str().into(),
            connection: ConnectionId::parse(&one.connection)?,
        })
    });
    let list = || {
        Some(RoleScopeList {
            connections: connections.collect::<Option<_>>()?,
            models: models.collect::<Option<_>>()?,
        })
    };
    list().ok_or_else(|| broken(row, "connections", "not an id"))
}

fn known_roles(row: &Row<'_>, holder: &RoleHolder) -> rusqlite::Result<KnownRoles> {
    let docs: Vec<StoredRole> = from_json(row, "roles")?;
    let roles = docs.into_iter().map(|doc| doc.role(holder));
    let read: Option<Time> = row.get("read")?;
    Ok(KnownRoles {
        read: read.map(|Time(at)| at),
        roles: roles
            .collect::<Option<_>>()
            .ok_or_else(|| broken(row, "roles", "not an id"))?,
    })
}

impl StoredRole {
    fn role(self, holder: &RoleHolder) -> Option<ObservedRole> {
        Some(ObservedRole {
            holder: holder.clone(),
            scope: RoleScope::parse(&self.connection, self.model.as_deref())?,
            role: RoleName::known(&self.role),
            base: self.base.as_deref().and_then(StandardRole::parse),
            origin: match self.origin {
                StoredOrigin::Direct => RoleOrigin::Direct,
                StoredOrigin::Group { id, name } => RoleOrigin::Group {
                    id: id.and_then(|id| GroupId::parse(&id)),
                    name: name.as_str().into(),
                },
                StoredOrigin::Base => RoleOrigin::Base,
                StoredOrigin::Other => RoleOrigin::Other,
            },
            is_resolved: self.resolved,
        })
    }
}

impl From<&ObservedRole> for StoredRole {
    fn from(role: &ObservedRole) -> Self {
        Self {
            connection: role.scope.connection.as_str().to_owned(),
            model: role.scope.model.as_ref().map(|id| id.as_str().to_owned()),
            role: role.role.as_str().to_owned(),
            base: role.base.map(|base| base.as_str().to_owned()),
            origin: match &role.origin {
                RoleOrigin::Direct => StoredOrigin::Direct,
                RoleOrigin::Group { id, name } => StoredOrigin::Group {
                    id: id.as_ref().map(|id| id.as_str().to_owned()),
                    name: name.to_string(),
                },
                RoleOrigin::Base => StoredOrigin::Base,
                RoleOrigin::Other => StoredOrigin::Other,
            },
            resolved: role.is_resolved,
        }
    }
}

impl From<&ObservedConnection> for StoredConnection {
    fn from(connection: &ObservedConnection) -> Self {
        let base = connection.base_role.as_ref();
        Self {
            id: connection.id.as_str().to_owned(),
            name: connection.name.to_string(),
            base_role: base.map(|role| role.as_str().to_owned()),
        }
    }
}

impl From<&ObservedModel> for StoredModel {
    fn from(model: &ObservedModel) -> Self {
        Self {
            id: model.id.as_str().to_owned(),
            name: model.name.to_string(),
            connection: model.connection.as_str().to_owned(),
        }
    }
}

fn to_json<T: Serialize>(values: &[T]) -> String {
    super::sql::to_json(values)
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    Ok(super::sql::from_json(row.get_ref(column)?)?)
}

/// The error of a file that was altered.
fn broken(row: &Row<'_>, column: &str, what: &str) -> rusqlite::Error {
    let at = row.as_ref().column_index(column).unwrap_or_default();
    let problem = FromSqlError::Other(what.into());
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, problem.into())
}
