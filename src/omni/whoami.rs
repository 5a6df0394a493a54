//! What Omni says of an API key, and of errors that concern the key or the address.

use super::error::{ForbiddenCause, OmniError};
use super::exchange::ApiRequest;
use super::reader::Reader;
use crate::model::UserId;
use crate::settings::ApiKeys;
use reqwest::StatusCode;
use serde::Deserialize;
use std::fmt;

/// The owner that a key acts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// The organisation: the only kind that the SCIM API accepts.
    Organisation,
    /// One person.
    Personal,
}

impl KeyScope {
    /// The name of the scope in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Personal => "personal",
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organisation => "organisation API key",
            Self::Personal => "personal access token, which Omni's SCIM API refuses",
        })
    }
}

/// What Omni says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIdentity {
    /// The owner that it acts for.
    pub scope: KeyScope,
    /// Whether its user is an administrator of the organisation.
    pub is_admin: bool,
    /// The ids of its user: of the user, and of the membership. The documents do not say which of them the SCIM API
    /// has.
    pub user_ids: Vec<UserId>,
}

/// The answer to [`Reader::whoami`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whoami {
    /// Omni knows the key.
    Known(KeyIdentity),
    /// Omni does not know the key.
    Refused,
    /// This Omni does not say, because it is older.
    Unknown,
}

#[derive(Deserialize)]
struct WhoamiDoc {
    #[serde(rename = "keyScope")]
    scope: Option<String>,
    #[serde(rename = "orgRole")]
    role: Option<String>,
    user: Option<WhoamiUserDoc>,
}

#[derive(Deserialize)]
struct WhoamiUserDoc {
    id: Option<String>,
    #[serde(rename = "membershipId")]
    membership_id: Option<String>,
}

impl WhoamiDoc {
    fn read(self) -> Whoami {
        let scope = match self.scope.as_deref() {
            Some("organization") => KeyScope::Organisation,
            Some("user") => KeyScope::Personal,
            _ => return Whoami::Unknown,
        };
        let ids = self.user.map(|user| [user.id, user.membership_id]);
        let ids = ids.into_iter().flatten().flatten();
        Whoami::Known(KeyIdentity {
            scope,
            is_admin: self.role.as_deref() == Some("ORG_ADMIN"),
            user_ids: ids.filter_map(|id| UserId::parse(&id)).collect(),
        })
    }
}

impl Reader {
    /// Asks whose the key in use is.
    ///
    /// # Errors
    /// As [`Reader::page`]; 401, 403 and 404 are not errors.
    pub async fn whoami(&self) -> Result<Whoami, OmniError> {
        let url = self.client.endpoint(&["api", "v1", "whoami"]);
        let request = ApiRequest::get_optional(url);
        let parse = |body: &[u8]| serde_json::from_slice::<WhoamiDoc>(body).map(WhoamiDoc::read);
        match self.read(request, parse).await {
            Err(OmniError::Unauthorized { .. } | OmniError::Forbidden { .. }) => {
                Ok(Whoami::Refused)
            }
            Err(OmniError::NotFound { .. }) => Ok(Whoami::Unknown),
            answer => answer,
        }
    }
}

/// Says more about an error of reading users: what kind of key Omni refuses, or that the address is wrong. Sends a
/// request only after a 403.
pub async fn diagnose(reader: &Reader, keys: &ApiKeys, error: OmniError) -> OmniError {
    match error {
        OmniError::Forbidden { detail, .. } => {
            let cause = forbidden_cause(reader, keys).await;
            OmniError::Forbidden { detail, cause }
        }
        OmniError::Rejected { status, detail } if status == StatusCode::BAD_REQUEST => {
            OmniError::Malformed { detail }
        }
        OmniError::NotFound { detail } => OmniError::WrongAddress { detail },
        other => other,
    }
}

/// Asks about the first key; all of them were refused.
async fn forbidden_cause(reader: &Reader, keys: &ApiKeys) -> ForbiddenCause {
    let Some(key) = keys.each().next() else {
        return ForbiddenCause::Unknown;
    };
    reader.client.begin(&key);
    let answer = reader.whoami().await;
    match answer {
        Ok(Whoami::Known(identity)) => match identity.scope {
            KeyScope::Personal => ForbiddenCause::PersonalToken,
            KeyScope::Organisation => ForbiddenCause::NoPermission,
        },
        Ok(Whoami::Refused) => ForbiddenCause::InvalidKey,
        Ok(Whoami::Unknown) | Err(_) => ForbiddenCause::Unknown,
    }
}
