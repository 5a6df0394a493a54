//! Values of user attributes.

use super::{Escaped, Text, trim};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The value of an attribute. Copies are shared, since an organisation has millions of values and few
/// different ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Value(Arc<Texts>);

/// One text, or a list of texts. Never empty: "no value" is `Option::None`. Numbers are texts too, as
/// Omni returns them for precision. [`Schema::same`](super::Schema::same) compares them as numbers.
#[derive(Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum Texts {
    /// A single value: trimmed, not empty.
    One(Text),
    /// A list of at least one item, in the order written; items are trimmed, unique and not empty.
    Many(Box<[Text]>),
}

impl Value {
    /// A single value; `None` if it is blank.
    #[must_use]
    pub fn one(text: &str) -> Option<Self> {
        let text = trim(text);
        (!text.is_empty()).then(|| Self(Arc::new(Texts::One(text.into()))))
    }

    /// A list without blank and repeated items; `None` if it is empty.
    #[must_use]
    pub fn many<I: AsRef<str>>(items: impl IntoIterator<Item = I>) -> Option<Self> {
        let mut unique = UniqueItems::default();
        for item in items {
            let item = trim(item.as_ref());
            if !item.is_empty() {
                unique.add(item.into());
            }
        }
        let items = unique.items;
        (!items.is_empty()).then(|| Self(Arc::new(Texts::Many(items.into()))))
    }

    /// The value of a yes-or-no field: `true` or `false`.
    #[must_use]
    pub fn flag(flag: bool) -> Self {
        Self(Arc::new(Texts::One(
            if flag { "true" } else { "false" }.into(),
        )))
    }

    /// Whether this is the single value `true`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        *self.texts() == Texts::One("true".into())
    }

    /// The first text; the only one of a single value.
    #[must_use]
    pub fn first(&self) -> &Text {
        match self.texts() {
            Texts::One(text) => text,
            Texts::Many(items) => &items[0],
        }
    }

    /// The text or the list.
    #[must_use]
    pub fn texts(&self) -> &Texts {
        &self.0
    }

    /// All texts.
    #[must_use]
    pub fn items(&self) -> &[Text] {
        match self.texts() {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Many(items) => items,
        }
    }
}

/// Collects unique items.
#[derive(Default)]
struct UniqueItems {
    items: Vec<Text>,
    /// The items, once there are many. A few are searched faster one by one.
    seen: HashSet<Text>,
}

impl UniqueItems {
    const MAX_LINEAR: usize = 16;

    fn add(&mut self, item: Text) {
        if self.items.len() < Self::MAX_LINEAR {
            if !self.items.contains(&item) {
                self.items.push(item);
            }
            return;
        }
        if self.seen.is_empty() {
            self.seen.extend(self.items.iter().cloned());
        }
        if self.seen.insert(item.clone()) {
            self.items.push(item);
        }
    }
}

/// Formats a value for people: `'north'`, `['north', 'south']`. Control characters are escaped, so that
/// a value stays on its line.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.texts() {
            Texts::One(text) => quoted(f, text),
            Texts::Many(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    quoted(f, item)?;
                }
                f.write_str("]")
            }
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "'{}'", Escaped(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_are_none() {
        assert_eq!(Value::one(" \t\u{a0}"), None);
        assert_eq!(Value::many([" ", ""]), None);
        assert_eq!(Value::many(Vec::<&str>::new()), None);
    }

    #[test]
    fn list_items_are_trimmed_unique_and_ordered() {
        let value = Value::many([" south", "north ", "south"]).expect("two items");
        assert_eq!(value.to_string(), "['south', 'north']");
        assert_eq!(Value::one(" a b ").expect("text").to_string(), "'a b'");
        for count in [1, 15, 16, 17, 200] {
            let items: Vec<_> = (0..count).map(|item| item.to_string()).collect();
            let twice = Value::many(items.iter().chain(&items)).expect("items");
            assert!(twice.items().iter().eq(&items), "{count}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let value = Value::one("a\u{1b}[2Jb\u{202e}c").expect("text");
        assert_eq!(value.to_string(), "'a\\u{1b}[2Jb\\u{202e}c'");
    }
}
