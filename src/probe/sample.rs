//! The attribute that a probe sets and clears.

use crate::model::{AttributeName, Definition, Schema, Value, ValueType};

/// An attribute of the organisation, with values to try.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: AttributeName,
    pub(super) multiple: bool,
    value_type: ValueType,
    used: u32,
}

impl Sample {
    /// The best attribute to try: a text without a default. `None` if no attribute can be set.
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        let settable = schema.definitions().filter(|one| !one.system);
        let definition: &Definition = settable.min_by_key(|one| {
            let is_number = one.value_type == ValueType::Number;
            (one.multiple, is_number, one.default.is_some())
        })?;
        Some(Self {
            name: definition.name.clone(),
            multiple: definition.multiple,
            value_type: definition.value_type,
            used: 9000,
        })
    }

    /// A value that was not tried before.
    pub(super) fn next(&mut self) -> Value {
        self.used += 1;
        let text = match self.value_type {
            ValueType::String => format!("probe {}", self.used),
            ValueType::Number => self.used.to_string(),
        };
        let value = match self.multiple {
            true => Value::many([text]),
            false => Value::one(&text),
        };
        value.expect("the text is not blank")
    }
}
