//! Connections and models by name: the rows of `source.roles` with the ids that they mean.

use super::name_index::{NameError, NameIndex};
use crate::model::{
    ConnectionId, DesiredRole, DesiredRoles, ModelId, Problem, ProblemKind, RoleColumn, RoleScope,
    RoleScopeList, Text,
};
use crate::roster::{Issue, did_you_mean, merge_roles, quoted, skipped_role};
use std::collections::HashMap;

/// The connections and models of an organisation, by name. A name that is the id of one means that one, so that those
/// with equal names can be told apart.
#[derive(Clone, Debug, Default)]
pub struct RoleCatalogue {
    connections: NameIndex<ConnectionId>,
    models: HashMap<ConnectionId, ModelsByName>,
}

#[derive(Clone, Debug, Default)]
struct ModelsByName {
    names: NameIndex<ModelId>,
    ids: Vec<ModelId>,
}

/// The role of a row with the ids of its connection and model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedRole {
    /// The row.
    pub row: DesiredRole,
    /// The connection or model.
    pub scope: RoleScope,
}

/// The rows of a file with their ids.
#[derive(Clone, Debug, Default)]
pub struct ScopedRoles {
    /// One for each subject and connection or model.
    pub roles: Vec<ScopedRole>,
    /// Problems of names, and rows that turn out to be about the same.
    pub problems: Vec<Problem>,
    /// Lints.
    pub lints: Vec<Problem>,
}

impl RoleCatalogue {
    /// The catalogue of these connections and models.
    #[must_use]
    pub fn new(list: &RoleScopeList) -> Self {
        let RoleScopeList {
            connections,
            models,
        } = list;
        let named = connections.iter().map(|one| (&one.name, one.id.clone()));
        let ids = connections.iter().map(|one| one.id.clone());
        let mut by_name: HashMap<_, ModelsByName> =
            ids.map(|id| (id, ModelsByName::default())).collect();
        for model in models {
            let of_connection = by_name.entry(model.connection.clone()).or_default();
            of_connection.names.add(&model.name, model.id.clone());
            of_connection.ids.push(model.id.clone());
        }
        Self {
            connections: named.collect(),
            models: by_name,
        }
    }

    /// The connection of this name or id.
    ///
    /// # Errors
    /// If nothing has it, or several things have it.
    pub fn connection(&self, name: &str) -> Result<ConnectionId, NameError<'_>> {
        let by_id = ConnectionId::parse(name).filter(|id| self.models.contains_key(id));
        by_id.map_or_else(|| self.connections.find(name).cloned(), Ok)
    }

    /// The model of this name or id in a connection.
    ///
    /// # Errors
    /// As [`Self::connection`].
    pub fn model(&self, connection: &ConnectionId, name: &str) -> Result<ModelId, NameError<'_>> {
        let unknown = NameError::Unknown { nearest: None };
        let models = self.models.get(connection).ok_or(unknown)?;
        let by_id = ModelId::parse(name).filter(|id| models.ids.contains(id));
        by_id.map_or_else(|| models.names.find(name).cloned(), Ok)
    }

    /// How a file names a connection or model: by name, or by id if the name does not lead to it.
    #[must_use]
    pub fn names(&self, scope: &RoleScope) -> (Text, Option<Text>) {
        let RoleScope { connection, model } = scope;
        // A row with a line break is invalid.
        let is_cell = |name: &&Text| !name.contains(['\n', '\r']);
        let name = self.connections.name_of(connection).filter(is_cell);
        let name = name.filter(|name| self.connection(name).as_ref() == Ok(connection));
        let model = model.as_ref().map(|id| {
            let models = self.models.get(connection);
            let name = models.and_then(|models| models.names.name_of(id));
            let name = name.filter(is_cell);
            let name = name.filter(|name| self.model(connection, name).as_ref() == Ok(id));
            name.cloned().unwrap_or_else(|| id.as_str().into())
        });
        let connection = name.cloned().unwrap_or_else(|| connection.as_str().into());
        (connection, model)
    }

    /// The rows of a file with the ids that they mean. A row with the subject and scope of an unclear one is skipped.
    #[must_use]
    pub fn resolve(&self, desired: &DesiredRoles) -> ScopedRoles {
        let unclear = desired.unclear.iter().filter_map(|row| {
            let scope = self.ids(&row.connection, row.model.as_deref()).ok()?;
            Some(((row.subject.folded(), scope), &row.location))
        });
        let unclear: HashMap<_, _> = unclear.collect();
        let mut found = ScopedRoles::default();
        let mut rows = Vec::new();
        for row in &desired.rows {
            let key = self.scope(desired, row);
            match key.map(|scope| (row.subject.folded(), scope)) {
                Ok(key) => match unclear.get(&key) {
                    None => rows.push((key, row.clone())),
                    Some(reason) => found.lints.push(skipped_role(row, reason)),
                },
                Err(problem) => found.problems.push(problem),
            }
        }
        let merged = merge_roles(rows);
        let roles = merged.rows.into_iter();
        found.roles = roles
            .map(|((_, scope), row)| ScopedRole { row, scope })
            .collect();
        found.problems.extend(merged.bad_rows);
        found.problems.sort_by(Problem::in_order);
        found.lints.extend(merged.lints);
        found
    }

    fn scope(&self, desired: &DesiredRoles, row: &DesiredRole) -> Result<RoleScope, Problem> {
        let model = row.model.as_deref();
        self.ids(&row.connection, model).map_err(|(column, error)| {
            let name = match column {
                RoleColumn::Model => model.unwrap_or_default(),
                _ => &row.connection,
            };
            Problem {
                email: row.subject.email().cloned(),
                ..name_issue(column, name, &error).at(desired.cell(row, column))
            }
        })
    }

    /// The ids of a connection and its model, or the column of the name that leads to none.
    fn ids(
        &self,
        connection: &str,
        model: Option<&str>,
    ) -> Result<RoleScope, (RoleColumn, NameError<'_>)> {
        let connection = self.connection(connection);
        let connection = connection.map_err(|error| (RoleColumn::Connection, error))?;
        let model = match model {
            None => None,
            Some(name) => match self.model(&connection, name) {
                Ok(model) => Some(model),
                Err(error) => return Err((RoleColumn::Model, error)),
            },
        };
        Ok(RoleScope { connection, model })
    }
}

/// Why a cell names no connection, or no model.
fn name_issue(column: RoleColumn, name: &str, error: &NameError<'_>) -> Issue {
    let (place, noun) = match column {
        RoleColumn::Model => ("this connection has", "shared model"),
        _ => ("Omni has", "connection"),
    };
    let name = quoted(name);
    let (message, remedy) = match error {
        NameError::Unknown { nearest } => (
            format!("{place} no {noun} {name}{}", did_you_mean(*nearest)),
            "correct the name, or write the id".to_owned(),
        ),
        NameError::Ambiguous { count } => (
            format!("{place} {count} {noun}s with the name {name}"),
            "rename one of them in Omni, or write the id".to_owned(),
        ),
    };
    Issue::new(message, remedy).kind(ProblemKind::Role)
}
