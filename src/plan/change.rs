//! One change, and how it follows from what is wanted and what is there.

use crate::model::{
    AttributeName, Email, Location, ObservedUser, Operation, Schema, Text, UserId, UserSpec, Value,
};
use crate::omni::Edit;
use std::sync::Arc;

/// One change of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub email: Email,
    /// What.
    pub action: Action,
    /// The row that asks for it; `None` where the roster's silence does.
    pub place: Option<Location>,
}

/// What is to be done with a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Revoke the membership.
    Delete(Arc<ObservedUser>),
    /// Take the access and leave the user.
    Deactivate(Arc<ObservedUser>),
    /// Change fields.
    Update(Arc<ObservedUser>, Vec<FieldChange>),
    /// Make the user.
    Create(UserSpec),
}

/// One field that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldChange {
    /// The name shown.
    DisplayName {
        /// What it is.
        from: Text,
        /// What it is to be.
        to: Text,
    },
    /// From inactive to active.
    Reactivate,
    /// An attribute.
    Attribute {
        /// Which.
        name: AttributeName,
        /// What it is.
        from: Option<Value>,
        /// What it is to be; `None` clears it.
        to: Option<Value>,
        /// What applies once it is cleared.
        falls_back_to: Option<Value>,
    },
}

impl FieldChange {
    /// Whether it empties a value that is there.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        matches!(
            self,
            Self::Attribute {
                from: Some(_),
                to: None,
                ..
            }
        )
    }

    /// What applies once it is cleared, by Omni's definition.
    #[must_use]
    pub fn falls_back_to(&self) -> Option<&Value> {
        match self {
            Self::Attribute { falls_back_to, .. } => falls_back_to.as_ref(),
            Self::DisplayName { .. } | Self::Reactivate => None,
        }
    }

    /// The field's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::DisplayName { .. } => "display_name",
            Self::Reactivate => "active",
            Self::Attribute { name, .. } => name.as_str(),
        }
    }
}

impl Change {
    /// The same user's, asked for by the same row, and another action.
    pub(crate) fn with(&self, action: Action) -> Self {
        Self {
            email: self.email.clone(),
            action,
            place: self.place.clone(),
        }
    }

    /// Of which kind it is.
    #[must_use]
    pub fn kind(&self) -> Operation {
        match self.action {
            Action::Delete(_) => Operation::Delete,
            Action::Deactivate(_) => Operation::Deactivate,
            Action::Update(..) => Operation::Update,
            Action::Create(_) => Operation::Create,
        }
    }

    /// Whose id it goes by; a user to be made has none.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        match &self.action {
            Action::Delete(user) | Action::Deactivate(user) | Action::Update(user, _) => {
                Some(&user.id)
            }
            Action::Create(_) => None,
        }
    }

    /// Whether it empties a value that is there.
    #[must_use]
    pub fn clears(&self) -> bool {
        matches!(&self.action, Action::Update(_, fields) if fields.iter().any(FieldChange::is_clear))
    }
}

/// What a plan sends for changed fields.
#[must_use]
pub(crate) fn edit_of(fields: &[FieldChange]) -> Edit {
    let mut edit = Edit::default();
    for field in fields {
        match field {
            FieldChange::DisplayName { to, .. } => edit.display_name = Some(to.clone()),
            FieldChange::Reactivate => edit.active = Some(true),
            FieldChange::Attribute { name, to, .. } => {
                edit.attributes.push((name.clone(), to.clone()));
            }
        }
    }
    edit
}

/// What differs between what is wanted of a user and what is there.
#[must_use]
pub(crate) fn differences(
    spec: &UserSpec,
    user: &ObservedUser,
    schema: &Schema,
) -> Vec<FieldChange> {
    let UserSpec {
        display_name,
        attributes,
    } = spec;
    let mut fields = Vec::new();
    if let Some(to) = display_name
        .as_ref()
        .filter(|to| ***to != *user.display_name)
    {
        fields.push(FieldChange::DisplayName {
            from: user.display_name.clone(),
            to: to.clone(),
        });
    }
    let present = user
        .attributes
        .get_all(attributes.iter().map(|(name, _)| name));
    for ((name, to), from) in attributes.iter().zip(present) {
        if !schema.converged(name, to.as_ref(), from) {
            let default = || {
                schema
                    .get(name)
                    .and_then(|definition| definition.default.clone())
            };
            fields.push(FieldChange::Attribute {
                name: name.clone(),
                from: from.cloned(),
                to: to.clone(),
                falls_back_to: if to.is_none() { default() } else { None },
            });
        }
    }
    fields
}
