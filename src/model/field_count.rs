//! Counts changes by field, so that many changes can be reviewed at a glance.

use super::{Field, FieldChange, HeldChange, Operation, Value};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How many updates set one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldCount {
    /// The number of updates.
    pub count: usize,
    /// The field.
    pub field: Field,
    /// The new values.
    pub to: NewValues,
}

/// The new values of one field in several updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NewValues {
    /// The field is cleared.
    Empty,
    /// All updates set the same value.
    Same(Value),
    /// The number of different values.
    Different(usize),
}

impl FieldCount {
    /// Counts the fields of updates, the most frequent first. Cleared fields count apart.
    #[must_use]
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a HeldChange>) -> Vec<Self> {
        let updates = changes.into_iter();
        let updates = updates.filter(|change| change.operation == Operation::Update);
        let mut groups: BTreeMap<(&Field, bool), Vec<&FieldChange>> = BTreeMap::new();
        for field in updates.flat_map(|change| &change.fields) {
            let group = groups.entry((&field.field, field.to.is_none()));
            group.or_default().push(field);
        }
        let groups = groups.into_iter();
        let mut counts: Vec<_> = groups
            .map(|((field, _), changes)| Self {
                count: changes.len(),
                field: field.clone(),
                to: NewValues::of(&changes),
            })
            .collect();
        counts.sort_by_key(|one| std::cmp::Reverse(one.count));
        counts
    }
}

impl NewValues {
    fn of(changes: &[&FieldChange]) -> Self {
        let mut values: Vec<_> = changes.iter().filter_map(|one| one.to.as_ref()).collect();
        values.sort_by_cached_key(|value| value.to_string());
        values.dedup();
        match values[..] {
            [] => Self::Empty,
            [value] => Self::Same(value.clone()),
            _ => Self::Different(values.len()),
        }
    }
}

/// `32 × department → empty`
impl fmt::Display for FieldCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, field, to } = self;
        write!(f, "{count} × {field} → {to}")
    }
}

impl fmt::Display for NewValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Same(value) => value.fmt(f),
            Self::Different(count) => write!(f, "{count} different values"),
        }
    }
}
