//! Roles on connections and models: their names, and the roles that a file states.

use super::word::word_enum;
use super::{Fingerprint, Location, Problem, Subject, Text, nfc, trim};
use std::fmt;

word_enum! {
    /// A role that every organisation has, from the least to the most permissive.
    pub enum StandardRole {
        /// Grants nothing, and revokes nothing that another source grants.
        NoAccess = "NO_ACCESS",
        /// Views content.
        Viewer = "VIEWER",
        /// Queries single topics. Omni's pages call it restricted querier.
        QueryTopics = "QUERY_TOPICS",
        /// Queries the model.
        Querier = "QUERIER",
        /// Edits the model.
        Modeler = "MODELER",
        /// Administers the whole connection.
        ConnectionAdmin = "CONNECTION_ADMIN",
    }
}

/// Another name of [`StandardRole::QueryTopics`], in embed links and on Omni's pages.
const RESTRICTED_QUERIER: &str = "restrictedquerier";

impl StandardRole {
    /// The role in another spelling, such as `Viewer` or `No access`.
    fn respelled(text: &str) -> Option<Self> {
        let bare = |text: &str| -> String {
            let letters = text.chars().filter(|c| c.is_alphanumeric());
            letters.flat_map(char::to_lowercase).collect()
        };
        let text = bare(text);
        if text == RESTRICTED_QUERIER {
            return Some(Self::QueryTopics);
        }
        Self::ALL
            .into_iter()
            .find(|role| bare(role.as_str()) == text)
    }
}

/// The name of a role. Custom names have no rank: Omni has no list of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// A role that every organisation has.
    Standard(StandardRole),
    /// Any other name.
    Custom(Text),
}

/// The reason why a text is not the name of a role. `Display` is a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleNameError {
    /// The text is blank.
    #[error("the role is blank")]
    Blank,
    /// The text contains a control character.
    #[error("the name of a role can't contain control characters")]
    ControlCharacter,
    /// The text is a standard role in another spelling.
    #[error("not the exact name of the role {0}")]
    Respelled(StandardRole),
}

impl RoleName {
    /// The only role of a whole connection.
    pub const CONNECTION_ADMIN: Self = Self::Standard(StandardRole::ConnectionAdmin);

    /// Parses a name from a file.
    ///
    /// # Errors
    /// If the text is no name, or a standard role in another spelling: as a custom name, it would have no rank.
    pub fn parse(text: &str) -> Result<Self, RoleNameError> {
        let name = nfc(trim(text));
        if name.is_empty() {
            return Err(RoleNameError::Blank);
        }
        if name.chars().any(char::is_control) {
            return Err(RoleNameError::ControlCharacter);
        }
        match (StandardRole::parse(&name), StandardRole::respelled(&name)) {
            (Some(role), _) => Ok(Self::Standard(role)),
            (None, Some(role)) => Err(RoleNameError::Respelled(role)),
            (None, None) => Ok(Self::Custom(name.as_ref().into())),
        }
    }

    /// Takes a name as Omni spells it.
    #[must_use]
    pub fn known(text: &str) -> Self {
        let standard = StandardRole::parse(text).map(Self::Standard);
        standard.unwrap_or_else(|| Self::Custom(text.into()))
    }

    /// The name as Omni spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Standard(role) => role.as_str(),
            Self::Custom(name) => name,
        }
    }

    /// The standard role with this name; `None` for a custom name.
    #[must_use]
    pub fn standard(&self) -> Option<StandardRole> {
        match self {
            Self::Standard(role) => Some(*role),
            Self::Custom(_) => None,
        }
    }
}

/// For people, without characters that a terminal interprets.
impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::Escaped(self.as_str()).fmt(f)
    }
}

word_enum! {
    /// A column of `source.roles`.
    pub enum RoleColumn {
        /// A user or a group.
        Subject = "subject",
        /// The connection.
        Connection = "connection",
        /// The model; blank for the whole connection.
        Model = "model",
        /// The role.
        Role = "role",
    }
}

/// A role that a file states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredRole {
    /// The user or group.
    pub subject: Subject,
    /// The name of the connection, or its id.
    pub connection: Text,
    /// The name of the model, or its id; `None` for the whole connection.
    pub model: Option<Text>,
    /// The role.
    pub role: RoleName,
    /// The row.
    pub location: Location,
    /// Why an address may be wrong that breaks the rule for new users. It counts unless a user has exactly this
    /// address.
    pub doubt: Option<Problem>,
}

/// The subject and scope of a row whose role is unknown, because the row is invalid or another one contradicts it. Rows
/// that spell the same subject and scope in another way assign nothing either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnclearRole {
    /// The user or group.
    pub subject: Subject,
    /// The name of the connection, or its id.
    pub connection: Text,
    /// The name of the model, or its id; `None` for the whole connection.
    pub model: Option<Text>,
    /// The row.
    pub location: Location,
}

impl From<&DesiredRole> for UnclearRole {
    fn from(row: &DesiredRole) -> Self {
        Self {
            subject: row.subject.clone(),
            connection: row.connection.clone(),
            model: row.model.clone(),
            location: row.location.clone(),
        }
    }
}

/// The content of `source.roles`.
#[derive(Clone, Debug)]
pub struct DesiredRoles {
    /// The valid rows in their order, one for each subject, connection and model.
    pub rows: Vec<DesiredRole>,
    /// The subjects and scopes of rows with problems.
    pub unclear: Vec<UnclearRole>,
    /// All problems of rows. Their roles are not assigned.
    pub bad_rows: Vec<Problem>,
    /// Problems of the file. With any, there are no rows.
    pub rejected: Vec<Problem>,
    /// Lints.
    pub lints: Vec<Problem>,
    /// The number of each column, from 1.
    pub columns: [usize; RoleColumn::ALL.len()],
    /// The number of rows; `None` if the file can't be used.
    pub count: Option<u64>,
    /// The fingerprint of the content; `None` if the file could not be read.
    pub fingerprint: Option<Fingerprint>,
}

impl DesiredRoles {
    /// All problems of rows and of the file, by location.
    #[must_use]
    pub fn problems(&self) -> Vec<&Problem> {
        let mut all: Vec<_> = self.rejected.iter().chain(&self.bad_rows).collect();
        all.sort_by(|a, b| a.in_order(b));
        all
    }

    /// The location of a cell.
    #[must_use]
    pub fn cell(&self, row: &DesiredRole, column: RoleColumn) -> Location {
        Location {
            column: Some((self.columns[column as usize], column.as_str().into())),
            ..row.location.clone()
        }
    }
}
