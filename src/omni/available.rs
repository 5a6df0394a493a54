//! Answers of endpoints that a key may have no access to, or that an older Omni does not have.

use super::error::OmniError;
use crate::model::{ObservedGroup, Schema};
use reqwest::StatusCode;

/// The answer of such an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Available<T> {
    /// The answer.
    Known(T),
    /// Not available: no permission for this key, or no such endpoint.
    Rejected(StatusCode),
}

/// The organisation's groups, in Omni's order.
pub type Groups = Available<Vec<ObservedGroup>>;

/// The organisation's attribute definitions.
pub type Definitions = Available<Schema>;

impl<T> Available<T> {
    /// Takes 403 and 404 as values.
    pub(super) fn of(result: Result<T, OmniError>) -> Result<Self, OmniError> {
        match result {
            Ok(value) => Ok(Self::Known(value)),
            Err(OmniError::Forbidden { .. }) => Ok(Self::Rejected(StatusCode::FORBIDDEN)),
            Err(OmniError::NotFound { .. }) => Ok(Self::Rejected(StatusCode::NOT_FOUND)),
            Err(error) => Err(error),
        }
    }
}

impl Definitions {
    /// The definitions, or an unknown schema.
    #[must_use]
    pub fn into_schema(self) -> Schema {
        match self {
            Self::Known(schema) => schema,
            Self::Rejected(_) => Schema::unknown(),
        }
    }
}
