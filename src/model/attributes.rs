//! What a user's attributes hold, by name.

use super::{AttributeName, Value};
use foldhash::fast::RandomState;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::iter::Zip;
use std::slice;
use std::sync::Arc;

/// Something of each of a user's attributes, sorted by name, each name once. The names are shared among
/// those who have the same attributes: there are millions of users, and few sets of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<T> {
    names: Arc<Vec<AttributeName>>,
    /// One for each name, in the same order.
    values: Box<[T]>,
}

impl<T> Attributes<T> {
    /// Values of names that are sorted and known already.
    pub(crate) fn of(names: Arc<Vec<AttributeName>>, values: Vec<T>) -> Self {
        debug_assert_eq!(names.len(), values.len());
        debug_assert!(names.is_sorted_by(|a, b| a < b));
        let values = values.into();
        Self { names, values }
    }

    /// Every name with what stands under it, in the order of the names.
    pub fn iter(&self) -> Pairs<'_, T> {
        self.names.iter().zip(&self.values)
    }

    /// What stands under a name.
    #[must_use]
    pub fn get(&self, name: &AttributeName) -> Option<&T> {
        let at = self.names.binary_search(name).ok()?;
        Some(&self.values[at])
    }

    /// What stands under several names, which are sorted.
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

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Names, each with what stands under it.
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

/// Sorts; of several under one name the first is kept.
impl<T> FromIterator<(AttributeName, T)> for Attributes<T> {
    fn from_iter<I: IntoIterator<Item = (AttributeName, T)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|(later, _), (first, _)| later == first);
        let (names, values): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        Self::of(Arc::new(names), values)
    }
}

/// Names and values that were met before, so that users who have the same share them. There is an
/// end to it: what always differs, such as numbers of employees, is not worth looking up.
#[derive(Clone, Debug, Default)]
pub struct Interner {
    names: HashSet<AttributeName, RandomState>,
    sets: HashSet<Arc<Vec<AttributeName>>, RandomState>,
    values: HashSet<Value, RandomState>,
}

impl Interner {
    const MOST_NAMES: usize = 4_096;
    const MOST_SETS: usize = 4_096;
    const MOST_VALUES: usize = 65_536;

    /// The same attributes, shared with those who have the same names or values.
    #[must_use]
    pub fn share(&mut self, attributes: Attributes<Value>) -> Attributes<Value> {
        let Attributes { names, mut values } = attributes;
        for value in &mut values {
            known(&mut self.values, value, Self::MOST_VALUES);
        }
        let names = self.names(names);
        Attributes { names, values }
    }

    /// The same names.
    pub(crate) fn names(&mut self, mut names: Arc<Vec<AttributeName>>) -> Arc<Vec<AttributeName>> {
        if let Some(same) = self.sets.get(&names) {
            return same.clone();
        }
        // A new set of names, most of which are known.
        for name in Arc::make_mut(&mut names) {
            known(&mut self.names, name, Self::MOST_NAMES);
        }
        if self.sets.len() < Self::MOST_SETS {
            self.sets.insert(names.clone());
        }
        names
    }
}

/// Takes the one of `all` that is the same, or adds it.
fn known<T: Clone + Eq + std::hash::Hash>(
    all: &mut HashSet<T, RandomState>,
    one: &mut T,
    most: usize,
) {
    if let Some(same) = all.get(one) {
        *one = same.clone();
    } else if all.len() < most {
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
    fn are_sorted_and_have_each_name_once() {
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
    fn what_is_shared_is_the_same() {
        let mut known = Interner::default();
        let one = known.share(attributes(&[("a", "north"), ("b", "1")]));
        let other = known.share(attributes(&[("a", "north"), ("b", "2")]));
        assert_eq!(other, attributes(&[("a", "north"), ("b", "2")]));
        assert!(Arc::ptr_eq(&one.names, &other.names));
        assert!(std::ptr::eq(one.values[0].texts(), other.values[0].texts()));
        let apart = known.share(attributes(&[("b", "2")]));
        assert_eq!(
            apart.names[0].as_str().as_ptr(),
            one.names[1].as_str().as_ptr()
        );
        for number in 0..Interner::MOST_VALUES + 10 {
            let text = number.to_string();
            let some = known.share(attributes(&[("a", &text), (&text, "x")]));
            assert_eq!(some, attributes(&[("a", &text), (&text, "x")]));
        }
        assert_eq!(known.values.len(), Interner::MOST_VALUES);
        assert_eq!(known.sets.len(), Interner::MOST_SETS);
        assert_eq!(known.names.len(), Interner::MOST_NAMES);
        let last = known.share(attributes(&[("b", "2"), ("z", "1")]));
        assert_eq!(
            last.names[0].as_str().as_ptr(),
            one.names[1].as_str().as_ptr()
        );
    }
}
