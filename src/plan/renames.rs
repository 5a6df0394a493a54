//! Users who may have a new address.

use super::Plan;
use crate::model::{Action, Subject, UserSpec};
use std::collections::HashMap;

impl Plan {
    /// Warnings about pairs of a removal and a creation with the same display name. Such a pair is most likely one
    /// person with a new address, and a removal takes the person's history and groups.
    #[must_use]
    pub fn rename_warnings(&self) -> Vec<String> {
        let mut created: HashMap<&str, &Subject> = HashMap::new();
        for change in &self.changes {
            if let Action::Create(UserSpec {
                display_name: Some(name),
                ..
            }) = &change.action
            {
                created.insert(name, &change.subject);
            }
        }
        let pairs = self
            .changes
            .iter()
            .filter_map(|change| match &change.action {
                Action::Delete(user) | Action::Deactivate(user) => {
                    Some((&change.subject, *created.get(&*user.display_name)?))
                }
                Action::Update(..)
                | Action::Create(_)
                | Action::Membership(_)
                | Action::Role(_)
                | Action::Transfer(_) => None,
            });
        let warning = |(old, new)| {
            format!(
                "{old} will be removed and {new} created with the same display name; if this is one \
                 person, keep the old address in the roster, because a new user has no groups and content"
            )
        };
        pairs.map(warning).collect()
    }
}
