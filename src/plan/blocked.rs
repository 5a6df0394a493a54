//! Changes that a plan leaves out, because the roster or the listing does not allow them.

use crate::model::Email;
use crate::util::text::plural_are;
use serde::Serialize;
use std::fmt;

/// What a plan leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockedOperation {
    /// Removals of users.
    Removal,
    /// Leaves from groups.
    Leave,
}

/// Changes that a plan leaves out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// What is left out.
    pub operation: BlockedOperation,
    /// The reason, as a sentence.
    pub reason: String,
    /// The users, one for each change.
    pub emails: Vec<Email>,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = match self.operation {
            BlockedOperation::Removal => "removal",
            BlockedOperation::Leave => "leave",
        };
        let are = plural_are(self.emails.len(), noun);
        write!(f, "{are} not planned: {}", self.reason)
    }
}
