//! The attributes of a user, by name.

use super::{AttributeName, Value};
use foldhash::fast::RandomState;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::iter::Zip;
use std::slice;
use std::sync::Arc;

/// A map of a user's attributes, sorted by name, with unique names. Users with the same attributes
/// share the names, since there are millions of users and few sets of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<T> {
    names: Arc<Vec<AttributeName>>,
    /// One for each name, in the same order.
    values: Box<[T]>,
}

impl<T> Attributes<T> {
    /// The values of names that are already sorted.
    pub(crate) fn of(names: Arc<Vec<AttributeName>>, values: Vec<T>) -> Self {
        debug_assert_eq!(names.len(), values.len());
        debug_assert!(names.is_sorted_by(|a, b| a < b));
        let values = values.into();
        Self { names, values }
    }

    /// All names with their values, in the order of the names.
    pub fn iter(&self) -> Pairs<'_, T> {
        self.names.iter().zip(&self.values)
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &AttributeName) -> Option<&T> {
        let at = self.names.binary_search(name).ok()?;
        Some(&self.values[at])
    }

    /// The values of several names, which must be sorted.
    pub fn get_all<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a AttributeName>,
    ) -> impl Iterator<Item = Option<&'a T>> {
        let mut rest = self.iter().peekable();
        names.into_iter().map(move |name| {
            while let Some((have, value)) = rest.peek().copied() {
                match have.cmp(name) {
                    Ordering::Less => drop(rest.next()),
                    Ordering::Equal => return Some(value),
                    Ordering::Greater => return None,
                }
            }
            None
        })
    }

    /// The number of attributes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no attributes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Names with their values.
pub type Pairs<'a, T> = Zip<slice::Iter<'a, AttributeName>, slice::Iter<'a, T>>;

impl<'a, T> IntoIterator for &'a Attributes<T> {
    type Item = (&'a AttributeName, &'a T);
    type IntoIter = Pairs<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> Default for Attributes<T> {
    fn default() -> Self {
        Self {
            names: Arc::default(),
            values: Box::default(),
        }
    }
}

impl<T: Serialize> Serialize for Attributes<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Attributes<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Sorts by name. If a name is repeated, the first value is kept.
impl<T> FromIterator<(AttributeName, T)> for Attributes<T> {
    fn from_iter<I: IntoIterator<Item = (AttributeName, T)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|(later, _), (first, _)| later == first);
        let (names, values): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        Self::of(Arc::new(names), values)
    }
}

/// Shares equal names and values between users. The number of stored values is limited, since values
/// that always differ, such as employee numbers, are not worth looking up.
#[derive(Clone, Debug, Default)]
pub struct Interner {
    names: HashSet<AttributeName, RandomState>,
    sets: HashSet<Arc<Vec<AttributeName>>, RandomState>,
    values: HashSet<Value, RandomState>,
}

impl Interner {
    const MAX_NAMES: usize = 4_096;
    const MAX_SETS: usize = 4_096;
    const MAX_VALUES: usize = 65_536;

    /// The same attributes, with names and values shared with earlier users.
    #[must_use]
    pub fn share(&mut self, attributes: Attributes<Value>) -> Attributes<Value> {
        let Attributes { names, mut values } = attributes;
        for value in &mut values {
            intern(&mut self.values, value, Self::MAX_VALUES);
        }
        let names = self.names(names);
        Attributes { names, values }
    }

    /// The same names, shared with earlier users.
    pub(crate) fn names(&mut self, mut names: Arc<Vec<AttributeName>>) -> Arc<Vec<AttributeName>> {
        if let Some(same) = self.sets.get(&names) {
            return same.clone();
        }
        // A new set of names, most of which are already stored.
        for name in Arc::make_mut(&mut names) {
            intern(&mut self.names, name, Self::MAX_NAMES);
        }
        if self.sets.len() < Self::MAX_SETS {
            self.sets.insert(names.clone());
        }
        names
    }
}

/// Replaces `one` by its equal in `all`, or adds it.
fn intern<T: Clone + Eq + std::hash::Hash>(
    all: &mut HashSet<T, RandomState>,
    one: &mut T,
    max: usize,
) {
    if let Some(same) = all.get(one) {
        *one = same.clone();
    } else if all.len() < max {
        all.insert(one.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes<Value> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                (
                    AttributeName::new(name),
                    Value::one(value).expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn attributes_are_sorted_with_unique_names() {
        let some = attributes(&[("c", "1"), ("a", "2"), ("c", "3")]);
        let shown: Vec<_> = some
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(shown, ["a='2'", "c='1'"]);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(AttributeName::new);
        assert_eq!(some.get(&b), None);
        assert_eq!(some.get(&c), Value::one("1").as_ref());
        let found: Vec<_> = some
            .get_all([&a, &b, &c, &d])
            .map(|found| found.is_some())
            .collect();
        assert_eq!(found, [true, false, true, false]);
    }

    #[test]
    fn shared_attributes_are_equal() {
        let mut interner = Interner::default();
        let one = interner.share(attributes(&[("a", "north"), ("b", "1")]));
        let other = interner.share(attributes(&[("a", "north"), ("b", "2")]));
        assert_eq!(other, attributes(&[("a", "north"), ("b", "2")]));
        assert!(Arc::ptr_eq(&one.names, &other.names));
        assert!(std::ptr::eq(one.values[0].texts(), other.values[0].texts()));
        let apart = interner.share(attributes(&[("b", "2")]));
        assert_eq!(
            apart.names[0].as_str().as_ptr(),
            one.names[1].as_str().as_ptr()
        );
        for number in 0..Interner::MAX_VALUES + 10 {
            let text = number.to_string();
            let some = interner.share(attributes(&[("a", &text), (&text, "x")]));
            assert_eq!(some, attributes(&[("a", &text), (&text, "x")]));
        }
        assert_eq!(interner.values.len(), Interner::MAX_VALUES);
        assert_eq!(interner.sets.len(), Interner::MAX_SETS);
        assert_eq!(interner.names.len(), Interner::MAX_NAMES);
        let last = interner.share(attributes(&[("b", "2"), ("z", "1")]));
        assert_eq!(
            last.names[0].as_str().as_ptr(),
            one.names[1].as_str().as_ptr()
        );
    }
}
