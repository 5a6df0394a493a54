//! Finds things of Omni by the names that a file gives them.

use crate::model::{ObservedGroup, ObservedGroups, Text, fold, trim};
use crate::util::text::nearest;
use std::collections::HashMap;

/// Things by name. Names need not be unique.
#[derive(Clone, Debug)]
pub struct NameIndex<T> {
    things: Vec<(Text, T)>,
    exact: HashMap<Text, Vec<usize>>,
    /// By name, without case and composition.
    folded: HashMap<String, Vec<usize>>,
}

/// Why a name does not lead to one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError<'a> {
    /// Nothing has this name.
    Unknown {
        /// The nearest name, if one is near.
        nearest: Option<&'a str>,
    },
    /// Several things have this name.
    Ambiguous {
        /// Their number.
        count: usize,
    },
}

impl<T> Default for NameIndex<T> {
    fn default() -> Self {
        Self {
            things: Vec::new(),
            exact: HashMap::new(),
            folded: HashMap::new(),
        }
    }
}

impl<T> NameIndex<T> {
    /// Adds a thing. One without a name can't be found.
    pub fn add(&mut self, name: &str, thing: T) {
        let name = Text::from(trim(name));
        if name.is_empty() {
            return;
        }
        let at = self.things.len();
        self.exact.entry(name.clone()).or_default().push(at);
        self.folded
            .entry(fold(&name).into_owned())
            .or_default()
            .push(at);
        self.things.push((name, thing));
    }

    /// Finds the thing with this name: letter for letter, else without case and composition.
    ///
    /// # Errors
    /// If nothing has it, or several things have it.
    pub fn find(&self, name: &str) -> Result<&T, NameError<'_>> {
        self.get(name).map_err(|count| match count {
            0 => NameError::Unknown {
                nearest: self.nearest(name),
            },
            count => NameError::Ambiguous { count },
        })
    }

    /// Like [`find`](Self::find), without the nearest name, which takes long to find. The error is the number of things
    /// that have the name.
    ///
    /// # Errors
    /// If nothing has it, or several things have it.
    pub fn get(&self, name: &str) -> Result<&T, usize> {
        let name = trim(name);
        let exact = self.exact.get(name);
        let found = exact.or_else(|| self.folded.get(&*fold(name)));
        match found.map(Vec::as_slice) {
            Some([at]) => Ok(&self.things[*at].1),
            several => Err(several.map_or(0, <[_]>::len)),
        }
    }

    /// The nearest name, if one is near.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        nearest(trim(name), self.names())
    }

    /// The name by which [`find`](Self::find) finds this thing, if there is one.
    pub fn name_of(&self, thing: &T) -> Option<&Text>
    where
        T: PartialEq,
    {
        let mut names = self.things.iter().filter(|(_, one)| one == thing);
        let (name, _) = names.next()?;
        (self.get(name) == Ok(thing)).then_some(name)
    }

    /// The names, in the order of their addition.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.things.iter().map(|(name, _)| name.as_str())
    }
}

impl<'g> NameIndex<&'g ObservedGroup> {
    /// The groups by name.
    #[must_use]
    pub fn of_groups(groups: &'g ObservedGroups) -> Self {
        groups.iter().map(|group| (&*group.name, group)).collect()
    }
}

impl<T, N: AsRef<str>> FromIterator<(N, T)> for NameIndex<T> {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(things: I) -> Self {
        let mut index = Self::default();
        things
            .into_iter()
            .for_each(|(name, thing)| index.add(name.as_ref(), thing));
        index
    }
}
