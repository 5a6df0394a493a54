//! Omni's attribute definitions, and the comparison of values by them.

use super::{AttributeName, Decimal, Text, Texts, Value, nfc, same_text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The type of an attribute's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// Text, compared exactly.
    String,
    /// A number, compared as an exact decimal.
    Number,
}

/// One attribute as Omni defines it (`GET /api/v1/user-attributes`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The reference, which is the header of the CSV column.
    pub name: AttributeName,
    /// The type of its values.
    pub value_type: ValueType,
    /// Whether it holds a list.
    pub multiple: bool,
    /// Whether only Omni can set it.
    pub system: bool,
    /// The value that applies to users without a value.
    pub default: Option<Value>,
}

/// All definitions of the organisation, or the fact that they are not available.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema {
    definitions: Option<BTreeMap<AttributeName, Definition>>,
}

impl Schema {
    /// The definitions from Omni.
    #[must_use]
    pub fn new(definitions: impl IntoIterator<Item = Definition>) -> Self {
        let by_name = definitions
            .into_iter()
            .map(|one| (one.name.clone(), one))
            .collect();
        Self {
            definitions: Some(by_name),
        }
    }

    /// A schema without definitions (403, 404, offline): attributes can't be checked, and values are
    /// compared as texts.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Whether the definitions are available.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.definitions.is_some()
    }

    /// The definition of an attribute; `None` if there is none, or definitions are not available.
    #[must_use]
    pub fn get(&self, name: &AttributeName) -> Option<&Definition> {
        self.definitions.as_ref()?.get(name)
    }

    /// All definitions by name; empty if they are not available.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.iter().flat_map(BTreeMap::values)
    }

    /// Whether two values of an attribute are equal: numbers as exact decimals, lists as sets, texts
    /// exactly but for the composition of letters. No value equals no value.
    #[must_use]
    pub fn same(&self, name: &AttributeName, a: Option<&Value>, b: Option<&Value>) -> bool {
        match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) if a == b => true,
            (Some(a), Some(b)) => self.same_texts(name, a.texts(), b.texts()),
            _ => false,
        }
    }

    /// Whether an attribute has the desired value, or, if it is to be cleared, its default.
    #[must_use]
    pub fn converged(
        &self,
        name: &AttributeName,
        desired: Option<&Value>,
        observed: Option<&Value>,
    ) -> bool {
        let default = || {
            self.get(name)
                .and_then(|definition| definition.default.as_ref())
        };
        self.same(name, desired, observed)
            || (desired.is_none() && observed.is_some() && self.same(name, default(), observed))
    }

    fn same_texts(&self, name: &AttributeName, a: &Texts, b: &Texts) -> bool {
        match (a, b) {
            (Texts::One(a), Texts::One(b)) => {
                same_text(a, b) || (self.is_number(name) && number_key(a) == number_key(b))
            }
            (Texts::Many(a), Texts::Many(b)) => same_set(a, b, self.is_number(name)),
            _ => false,
        }
    }

    fn is_number(&self, name: &AttributeName) -> bool {
        self.get(name)
            .is_some_and(|definition| definition.value_type == ValueType::Number)
    }
}

/// A key that is equal for equal numbers; the text itself if it is not a number.
fn number_key(text: &str) -> Result<Decimal, &str> {
    Decimal::parse(text).ok_or(text)
}

fn same_set(a: &[Text], b: &[Text], numbers: bool) -> bool {
    use std::collections::HashSet;
    if numbers {
        let keys = |items: &'_ [Text]| -> HashSet<_> {
            items
                .iter()
                .map(|item| number_key(item).map_err(str::to_owned))
                .collect()
        };
        keys(a) == keys(b)
    } else {
        let set = |items: &'_ [Text]| -> HashSet<_> {
            items.iter().map(|item| nfc(item).into_owned()).collect()
        };
        set(a) == set(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, value_type: ValueType, default: Option<Value>) -> Definition {
        Definition {
            name: AttributeName::new(name),
            value_type,
            multiple: false,
            system: false,
            default,
        }
    }

    fn same(name: &str, a: Option<Value>, b: Option<Value>) -> bool {
        let schema = Schema::new([
            definition("n", ValueType::Number, None),
            definition("s", ValueType::String, None),
        ]);
        schema.same(&AttributeName::new(name), a.as_ref(), b.as_ref())
    }

    #[test]
    fn numbers_and_texts_are_compared_by_type() {
        assert!(same("n", Value::one("7"), Value::one("7.0")));
        assert!(!same(
            "n",
            Value::one("9007199254740993"),
            Value::one("9007199254740992")
        ));
        assert!(!same("s", Value::one("7"), Value::one("7.0")));
        assert!(same(
            "n",
            Value::many(["1", "2.0"]),
            Value::many(["2", "1.00"])
        ));
        assert!(!same("n", Value::one("x"), Value::one("y")));
    }

    #[test]
    fn lists_are_compared_as_sets() {
        assert!(same("s", Value::many(["a", "b"]), Value::many(["b", "a"])));
        assert!(!same("s", Value::many(["a", "b"]), Value::many(["a", "c"])));
        assert!(!same("s", Value::many(["a"]), Value::one("a")));
        assert!(same("s", None, None));
        assert!(!same("s", None, Value::one("a")));
    }

    #[test]
    fn composed_and_decomposed_letters_are_equal() {
        let [composed, decomposed] = ["Jos\u{e9}", "Jose\u{301}"];
        assert!(same("s", Value::one(composed), Value::one(decomposed)));
        assert!(same(
            "s",
            Value::many([composed, "a"]),
            Value::many(["a", decomposed])
        ));
        assert!(!same("s", Value::one("Jose"), Value::one(decomposed)));
    }

    #[test]
    fn a_cleared_value_converges_to_its_default() {
        let tier = definition("tier", ValueType::String, Value::one("standard"));
        let (name, schema) = (tier.name.clone(), Schema::new([tier]));
        let standard = Value::one("standard");
        assert!(schema.converged(&name, None, standard.as_ref()));
        assert!(schema.converged(&name, None, None));
        assert!(!schema.converged(&name, None, Value::one("gold").as_ref()));
        assert!(!schema.converged(&name, standard.as_ref(), None));
    }
}
