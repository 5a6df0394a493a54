//! The attributes that a probe sets and clears.

use crate::model::{AttributeName, ClearForm, Schema, Value, ValueType};

/// With this many attributes, all forms of clearing are tried with one read.
const MAX_SAMPLES: usize = ClearForm::ALL.len();

/// An attribute.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: AttributeName,
    /// The current value, if the probe has set it.
    pub(super) value: Option<Value>,
    /// Whether it took each value that others took.
    works: bool,
}

/// Attributes of one type, with values to try.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) multiple: bool,
    value_type: ValueType,
    all: Vec<Sample>,
    used: u32,
}

impl Samples {
    /// The best attributes to try: texts without a default. `None` if no attribute can be set.
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        let mut settable: Vec<_> = schema.definitions().filter(|one| !one.system).collect();
        settable.sort_by_key(|one| {
            let is_number = one.value_type == ValueType::Number;
            (one.multiple, is_number, one.default.is_some())
        });
        let best = *settable.first()?;
        let (multiple, value_type) = (best.multiple, best.value_type);
        let alike = settable.into_iter();
        let alike = alike.filter(|one| (one.multiple, one.value_type) == (multiple, value_type));
        let sample = |name: &AttributeName| Sample {
            name: name.clone(),
            value: None,
            works: true,
        };
        Some(Self {
            multiple,
            value_type,
            all: alike
                .take(MAX_SAMPLES)
                .map(|one| sample(&one.name))
                .collect(),
            used: 9000,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn names(&self) -> Vec<AttributeName> {
        self.all.iter().map(|sample| sample.name.clone()).collect()
    }

    /// The attributes that have a value of the probe, with their positions.
    pub(super) fn with_value(&self) -> impl Iterator<Item = (usize, &AttributeName, &Value)> {
        let all = self.all.iter().enumerate();
        all.filter_map(|(at, sample)| Some((at, &sample.name, sample.value.as_ref()?)))
    }

    /// The attribute at a position.
    pub(super) fn get(&self, at: usize) -> Option<&Sample> {
        self.all.get(at)
    }

    /// Takes in that an attribute has a value of the probe, or none.
    pub(super) fn note(&mut self, at: usize, value: Option<Value>) {
        if let Some(sample) = self.all.get_mut(at) {
            sample.value = value;
        }
    }

    /// Takes in which attributes show a value that was set for all with one request. If any does, so did those at these
    /// positions, which were cleared since. Returns whether any does.
    pub(super) fn note_set(
        &mut self,
        value: &Value,
        cleared: &[usize],
        shows: impl Fn(&AttributeName) -> bool,
    ) -> bool {
        let all = self.all.iter().enumerate();
        let shown: Vec<_> = all
            .map(|(at, sample)| !cleared.contains(&at) && shows(&sample.name))
            .collect();
        let is_set = shown.contains(&true);
        for (at, sample) in self.all.iter_mut().enumerate().filter(|_| is_set) {
            sample.works &= shown[at] || cleared.contains(&at);
            sample.value = sample.works.then(|| value.clone());
        }
        is_set
    }

    /// Takes in that all attributes that worked so far have a value.
    pub(super) fn note_set_again(&mut self, value: &Value) {
        for sample in self.all.iter_mut().filter(|sample| sample.works) {
            sample.value = Some(value.clone());
        }
    }

    /// Takes in that no attribute has a value of the probe.
    pub(super) fn note_reset(&mut self) {
        self.all.iter_mut().for_each(|sample| sample.value = None);
    }

    /// Leaves out all attributes but the first. Returns whether there were others.
    pub(super) fn keep_first(&mut self) -> bool {
        let had_others = self.all.len() > 1;
        self.all.truncate(1);
        had_others
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
