//! An attribute cell → the value it asks for, checked against the attribute's definition.

use super::doubts::looks_like_date;
use super::words::{Issue, shown};
use crate::model::{Decimal, Definition, ProblemKind, Value, ValueType, trim};
use foldhash::fast::RandomState;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// What Omni's definition says about an attribute's values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) multiple: bool,
    pub(super) number: bool,
}

impl Shape {
    pub(super) fn of(definition: &Definition) -> Self {
        Self {
            multiple: definition.multiple,
            number: definition.value_type == ValueType::Number,
        }
    }
}

/// Reads the cells of one column. In most columns the same few texts come again and again: each is read
/// once, and all rows that have it share its value.
#[derive(Debug)]
pub(super) struct Cells {
    shape: Option<Shape>,
    /// What was read; `None` once there is too much of it, since the column's cells differ.
    known: Option<HashMap<Box<str>, Option<Value>, RandomState>>,
    /// So many are kept at most.
    most: usize,
}

impl Cells {
    /// Of all columns of a file.
    const MOST: usize = 65_536;
    /// Longer ones are not kept.
    const LONGEST: usize = 256;

    /// For one of so many columns.
    pub(super) fn new(shape: Option<Shape>, columns: usize) -> Self {
        Self {
            shape,
            known: Some(HashMap::default()),
            most: Self::MOST / columns,
        }
    }

    /// Reads a cell, as [`value`] does.
    pub(super) fn value(&mut self, cell: &str) -> Result<Option<Value>, Issue> {
        if let Some(value) = self.known.as_ref().and_then(|known| known.get(cell)) {
            return Ok(value.clone());
        }
        let value = value(cell, self.shape)?;
        self.keep(cell, value.as_ref());
        Ok(value)
    }

    fn keep(&mut self, cell: &str, value: Option<&Value>) {
        let Some(known) = &mut self.known else {
            return;
        };
        if known.len() == self.most {
            self.known = None;
        } else if cell.len() <= Self::LONGEST {
            known.insert(cell.into(), value.cloned());
        }
    }
}

/// Reads a cell; `None` is "no value". Without a shape nothing is known of the attribute, and a
/// list is what is written as one.
pub(super) fn value(cell: &str, shape: Option<Shape>) -> Result<Option<Value>, Issue> {
    let cell = trim(cell);
    if cell.is_empty() {
        return Ok(None);
    }
    let value = if cell.starts_with('[') {
        list(cell, shape)
    } else {
        single(cell, shape)
    };
    let value = value.map_err(|flaw| flaw.kind(ProblemKind::List))?;
    if shape.is_some_and(|shape| shape.number) {
        value
            .iter()
            .flat_map(Value::items)
            .try_for_each(|item| number(item))?;
    }
    Ok(value)
}

fn single(cell: &str, shape: Option<Shape>) -> Result<Option<Value>, Issue> {
    if shape.is_some_and(|shape| shape.multiple) {
        return Err(Issue::new(
            format!("this attribute holds a list, and {} is none", shown(cell)),
            format!("write {}", shown(&as_list(cell))),
        ));
    }
    Ok(Value::one(cell))
}

/// The list that a cell without brackets probably means.
fn as_list(cell: &str) -> String {
    let mark = [';', '|', ',']
        .into_iter()
        .find(|mark| cell.contains(*mark));
    let inner = [('(', ')'), ('{', '}')]
        .into_iter()
        .find_map(|(open, close)| cell.strip_prefix(open)?.strip_suffix(close));
    let items = inner.unwrap_or(cell).split(mark.unwrap_or(','));
    let items: Vec<_> = items.map(trim).filter(|item| !item.is_empty()).collect();
    if items.iter().any(|item| item.contains([',', '[', ']', '"'])) {
        return serde_json::to_string(&items).expect("texts are JSON");
    }
    format!("[{}]", items.join(","))
}

fn list(cell: &str, shape: Option<Shape>) -> Result<Option<Value>, Issue> {
    // First, since half a list is what a delimiter inside an unquoted one leaves behind.
    let Some(inner) = cell
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return Err(Issue::new(
            format!("{} begins a list that does not end", shown(cell)),
            "write [a,b], and put the cell in quotes where the delimiter is in it",
        ));
    };
    if shape.is_some_and(|shape| !shape.multiple) {
        return Err(Issue::new(
            format!(
                "this attribute holds one value, and {} is a list",
                shown(cell)
            ),
            "write the value without brackets, or leave the cell blank for none",
        ));
    }
    if trim(inner).is_empty() {
        return Ok(None);
    }
    if inner.contains('"')
        && let Some(items) = json_items(cell)
    {
        return items_value(cell, &items);
    }
    plain_items(cell, inner)
}

/// `[a, b]`, as the original script reads it: the commas separate.
fn plain_items(cell: &str, inner: &str) -> Result<Option<Value>, Issue> {
    if trim(inner).starts_with('"') {
        return Err(Issue::new(
            format!("{} begins as a JSON array and is none", shown(cell)),
            r#"write ["a","b"], in a CSV file with each quote twice"#,
        ));
    }
    let items: Vec<_> = inner.split(',').map(trim).collect();
    if items
        .iter()
        .any(|item| item.starts_with('[') || item.ends_with(']'))
    {
        return Err(Issue::new(
            format!("{} has brackets inside", shown(cell)),
            r#"a list can't hold lists; items with brackets or commas are written as ["a,b","[c]"]"#,
        ));
    }
    items_value(cell, &items)
}

fn items_value<I: AsRef<str>>(cell: &str, items: &[I]) -> Result<Option<Value>, Issue> {
    if items.iter().any(|item| trim(item.as_ref()).is_empty()) {
        return Err(Issue::new(
            format!("{} has a blank item", shown(cell)),
            "remove the comma that is too many, or write the missing item",
        ));
    }
    Ok(Value::many(items))
}

/// The items of a JSON array of texts and numbers; numbers keep their digits.
fn json_items(cell: &str) -> Option<Vec<String>> {
    let items: Vec<&RawValue> = serde_json::from_str(cell).ok()?;
    items
        .into_iter()
        .map(|item| match item.get().as_bytes().first()? {
            b'"' => serde_json::from_str(item.get()).ok(),
            b'-' | b'0'..=b'9' => Some(item.get().to_owned()),
            _ => None,
        })
        .collect()
}

fn number(text: &str) -> Result<(), Issue> {
    if Decimal::parse(text).is_some() {
        return Ok(());
    }
    Err(Issue::new(
        format!(
            "this attribute is a number, and {} is no decimal number",
            shown(text)
        ),
        number_remedy(text),
    )
    .kind(ProblemKind::Number))
}

/// What spreadsheets make of numbers, and how to undo it.
fn number_remedy(text: &str) -> &'static str {
    let only = |marks: &str| {
        text.chars()
            .all(|c| c.is_ascii_digit() || marks.contains(c))
    };
    let count = |marks: &[char]| text.matches(marks).count();
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        "the spreadsheet has shortened the number: format the column as text and enter all digits again"
    } else if only("-+,") && count(&[',']) == 1 {
        "write the decimal mark as a point (1.5), and no mark between thousands"
    } else if looks_like_date(text)
        || (only("-./:T Z") && count(&['-', '.', '/', ':']) >= 1 && !text.starts_with('-'))
    {
        "the spreadsheet has made a date of it: format the column as text and enter the number again"
    } else if only("-+.,' \u{a0}\u{202f}") {
        "write the number without marks between thousands, and the decimal mark as a point"
    } else {
        "write the bare number with digits and a decimal point, or leave the cell blank for none"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MANY: Option<Shape> = Some(Shape {
        multiple: true,
        number: false,
    });

    fn many(items: &[&str]) -> Option<Value> {
        Value::many(items)
    }

    #[test]
    fn reads_lists_as_people_and_programs_write_them() {
        for (cell, want) in [
            ("[a,b]", many(&["a", "b"])),
            (" [ a b , c ] ", many(&["a b", "c"])),
            ("[a]", many(&["a"])),
            ("[]", None),
            ("[ ]", None),
            (r#"["a,b", "c"]"#, many(&["a,b", "c"])),
            (
                r#"[12345678901234567890.10, "x"]"#,
                many(&["12345678901234567890.10", "x"]),
            ),
            (r#"["[x]"]"#, many(&["[x]"])),
            (r#"[5" pipe,6" pipe]"#, many(&["5\" pipe", "6\" pipe"])),
            ("[true,null]", many(&["true", "null"])),
        ] {
            assert_eq!(value(cell, None), Ok(want.clone()), "{cell}");
            assert_eq!(value(cell, MANY), Ok(want), "{cell}");
        }
    }

    #[test]
    fn guesses_at_no_list_that_is_broken() {
        for cell in [
            "[a",
            "[",
            "[a,,b]",
            "[,]",
            "[a,]",
            r#"["a"b]"#,
            r#"["a",""]"#,
            "[[a],[b]]",
            r#"["a",["b"]]"#,
        ] {
            assert!(value(cell, None).is_err(), "{cell}");
            assert!(value(cell, MANY).is_err(), "{cell}");
        }
    }

    #[test]
    fn says_how_to_write_what_is_meant() {
        for (cell, list) in [
            ("a", "[a]"),
            ("a, b", "[a,b]"),
            ("a;b", "[a,b]"),
            ("a|b|", "[a,b]"),
            ("(a,b)", "[a,b]"),
            (
                "Paris, France; Rome, Italy",
                r#"["Paris, France","Rome, Italy"]"#,
            ),
            ("a]", r#"["a]"]"#),
            (";", "[]"),
        ] {
            assert_eq!(as_list(cell), list, "{cell}");
            let flaw = value(cell, MANY).expect_err(cell);
            assert_eq!(flaw.remedy, format!("write '{list}'"), "{cell}");
        }
    }

    #[test]
    fn knows_what_spreadsheets_make_of_numbers() {
        for (text, says) in [
            ("1,5", "decimal mark"),
            ("1,234.50", "between thousands"),
            ("1 000", "between thousands"),
            ("1.2E+05", "shortened"),
            ("2024-01-05", "a date"),
            ("5.1.2024", "a date"),
            ("1/2", "a date"),
            ("5-Jan", "a date"),
            ("05.Jan.24", "a date"),
            ("12%", "bare number"),
            ("NaN", "bare number"),
            ("inf", "bare number"),
        ] {
            let flaw = number(text).expect_err(text);
            assert!(flaw.remedy.contains(says), "{text}: {}", flaw.remedy);
        }
        assert_eq!(number("-1234567890123456789012.5"), Ok(()));
    }

    #[test]
    fn a_cell_that_was_read_before_is_read_alike() {
        let mut cells = Cells::new(MANY, Cells::MOST / 3);
        let texts = ["[a]", "a", "", "[b]", " ", "[c]", "[d]", "[e]"];
        for text in texts.iter().cycle().take(3 * texts.len()) {
            assert_eq!(cells.value(text), value(text, MANY), "{text}");
        }
        assert!(cells.known.is_none(), "too many that differ");

        let mut cells = Cells::new(MANY, 1);
        let long = format!("[{}]", "a".repeat(Cells::LONGEST));
        for text in ["[a]", &long, "b", "[a]"] {
            assert_eq!(cells.value(text), value(text, MANY), "{text}");
        }
        let known = cells.known.expect("few that differ");
        assert!(
            known.keys().eq(["[a]"].map(Box::from).iter()),
            "neither long nor bad"
        );
    }

    proptest! {
        #[test]
        fn any_texts_come_back_from_a_json_array(items in prop::collection::vec("\\PC{1,20}", 1..5)) {
            prop_assume!(items.iter().all(|item| !trim(item).is_empty()));
            let cell = serde_json::to_string(&items).expect("texts are JSON");
            prop_assert_eq!(value(&cell, MANY), Ok(Value::many(&items)));
        }
    }
}
