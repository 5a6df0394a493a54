//! What a roster and `source.roles` state about roles, without any of the program's types.

use crate::roles::{Catalogue, RoleRow, RolesFile, Scope};
use crate::roster::{Op, Roster, Wanted};
use std::collections::BTreeSet;

/// A roster with `source.roles`.
#[derive(Clone, Copy)]
pub(crate) struct RoleStatements<'a> {
    roster: &'a Roster,
    rows: &'a [RoleRow],
    catalogue: &'a Catalogue,
}

/// A role that is stated for a user or group.
#[derive(Clone, Debug)]
pub(crate) struct StatedRole {
    /// In lower case.
    pub(crate) subject: String,
    pub(crate) scope: Scope,
    pub(crate) role: &'static str,
}

impl StatedRole {
    /// The name of the group; `None` for a user.
    pub(crate) fn group(&self) -> Option<&str> {
        self.subject.strip_prefix("group:")
    }
}

impl<'a> RoleStatements<'a> {
    pub(crate) fn new(
        roster: &'a Roster,
        file: Option<&'a RolesFile>,
        catalogue: &'a Catalogue,
    ) -> Self {
        Self {
            roster,
            rows: file.map_or(&[], RolesFile::readable),
            catalogue,
        }
    }

    fn scope(self, row: &RoleRow) -> Option<Scope> {
        self.catalogue.find(row.connection, row.model)
    }

    /// The role of a user or group, unless rows contradict each other, one of them is invalid, or the roster does not
    /// keep the user.
    pub(crate) fn about(self, subject: &str, scope: &Scope) -> Option<&'static str> {
        let is_kept = match self.roster.want(&subject.to_lowercase()) {
            Wanted::Frozen => false,
            Wanted::Row(row) => row.op == Op::Upsert,
            Wanted::Nothing => true,
        };
        let mut rows = self.rows.iter().filter(|row| {
            row.subject.eq_ignore_ascii_case(subject) && self.scope(row).as_ref() == Some(scope)
        });
        let first = rows.next().filter(|_| is_kept)?;
        let is_fine = !first.is_invalid()
            && rows.all(|other| other.role == first.role && !other.is_invalid());
        is_fine.then_some(first.role)
    }

    /// All roles that are stated.
    pub(crate) fn all(self) -> Vec<StatedRole> {
        let keys: BTreeSet<_> = self
            .rows
            .iter()
            .filter_map(|row| Some((row.subject.to_lowercase(), self.scope(row)?)))
            .collect();
        let stated = keys.into_iter().filter_map(|(subject, scope)| {
            let role = self.about(&subject, &scope)?;
            Some(StatedRole {
                subject,
                scope,
                role,
            })
        });
        stated.collect()
    }
}
