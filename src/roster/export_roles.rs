//! Roles → a file for `source.roles` that states them.

use super::export::{ExportFormat, csv_text};
use crate::model::{RoleColumn, RoleName, Subject, Text};

/// One row of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleExportRow {
    /// The user or group.
    pub subject: Subject,
    /// The name or id of the connection.
    pub connection: Text,
    /// The name or id of the model; `None` for the whole connection.
    pub model: Option<Text>,
    /// The role.
    pub role: RoleName,
}

impl RoleExportRow {
    /// The cells, in the order of [`RoleColumn`].
    fn cells(&self) -> [String; RoleColumn::ALL.len()] {
        [
            self.subject.cell(),
            self.connection.to_string(),
            self.model.clone().unwrap_or_default().to_string(),
            self.role.as_str().to_owned(),
        ]
    }
}

/// Writes rows as a file for `source.roles`, sorted.
#[must_use]
pub fn export_roles(mut rows: Vec<RoleExportRow>, format: ExportFormat) -> String {
    rows.sort();
    let header = RoleColumn::ALL.map(|column| column.as_str().to_owned());
    let rows = rows.iter().map(RoleExportRow::cells);
    csv_text(format, std::iter::once(header).chain(rows))
}
