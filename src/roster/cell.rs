//! An attribute cell → its value, checked against the attribute's definition.

use super::number_shape::looks_like_date;
use super::text::{Issue, quoted};
use crate::model::{Decimal, Definition, ProblemKind, Value, ValueType, nfc, trim};
use foldhash::fast::RandomState;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// The shape of an attribute's values by Omni's definition.
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

/// What the cells of one column are read as. Most columns repeat a few strings: each is read once, and all its
/// rows share the result.
#[derive(Debug)]
pub(super) struct CellCache<T> {
    /// The cells read so far; `None` once the column has too many different texts.
    read: Option<HashMap<Box<str>, T, RandomState>>,
    max: usize,
}

impl<T: Clone> CellCache<T> {
    /// The maximum number of cached cells of a file, over all columns.
    const MAX_CACHED: usize = 65_536;
    /// Longer cells are not cached.
    const MAX_LENGTH: usize = 256;

    /// `columns` is the number of columns that share the limit, at least one.
    pub(super) fn new(columns: usize) -> Self {
        Self {
            read: Some(HashMap::default()),
            max: Self::MAX_CACHED / columns,
        }
    }

    /// Reads a cell with `read`, unless it was read before.
    pub(super) fn get(
        &mut self,
        cell: &str,
        read: impl FnOnce(&str) -> Result<T, Issue>,
    ) -> Result<T, Issue> {
        if let Some(value) = self.read.as_ref().and_then(|cache| cache.get(cell)) {
            return Ok(value.clone());
        }
        let value = read(cell)?;
        self.add(cell, &value);
        Ok(value)
    }

    fn add(&mut self, cell: &str, value: &T) {
        let Some(cache) = &mut self.read else {
            return;
        };
        if cache.len() == self.max {
            self.read = None;
        } else if cell.len() <= Self::MAX_LENGTH {
            cache.insert(cell.into(), value.clone());
        }
    }
}

/// Reads the cells of one attribute column.
#[derive(Debug)]
pub(super) struct CellReader {
    shape: Option<Shape>,
    cache: CellCache<Option<Value>>,
}

impl CellReader {
    /// `columns` is the number of columns that share the cache, at least one.
    pub(super) fn new(shape: Option<Shape>, columns: usize) -> Self {
        Self {
            shape,
            cache: CellCache::new(columns),
        }
    }

    /// Reads a cell, as [`value`] does.
    pub(super) fn value(&mut self, cell: &str) -> Result<Option<Value>, Issue> {
        self.cache.get(cell, |cell| value(cell, self.shape))
    }
}

/// Reads a cell; `None` is "no value". Without a shape the attribute is not known, and a cell in
/// brackets is a list.
pub(super) fn value(cell: &str, shape: Option<Shape>) -> Result<Option<Value>, Issue> {
    let cell = &*nfc(trim(cell));
    if cell.is_empty() {
        return Ok(None);
    }
    let value = if !cell.starts_with('[') {
        single(cell, shape)
    } else if shape.is_some_and(|shape| !shape.multiple) {
        Err(not_single(cell))
    } else {
        items(cell).map(Value::many)
    };
    let value = value.map_err(|issue| issue.kind(ProblemKind::List))?;
    if shape.is_some_and(|shape| shape.number) {
        value
            .iter()
            .flat_map(Value::items)
            .try_for_each(|item| number(item))?;
    }
    Ok(value)
}

fn single(cell: &str, shape: Option<Shape>) -> Result<Option<Value>, Issue> {
    match shape.is_some_and(|shape| shape.multiple) {
        true => Err(no_list(cell)),
        false => Ok(Value::one(cell)),
    }
}

/// The problem of a cell without brackets that is not a list.
pub(super) fn no_list(cell: &str) -> Issue {
    Issue::new(
        format!("expected a list, found {}", quoted(cell)),
        format!("write {}", quoted(&as_list(cell))),
    )
}

fn not_single(cell: &str) -> Issue {
    // An unquoted list that contains the delimiter is split into such halves.
    if let Err(issue) = between_brackets(cell) {
        return issue;
    }
    Issue::new(
        format!("expected a single value, found the list {}", quoted(cell)),
        "write the value without brackets, or leave the cell blank for no value",
    )
}

/// The list that a cell without brackets is probably meant to be.
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

fn between_brackets(cell: &str) -> Result<&str, Issue> {
    let rest = cell.strip_prefix('[');
    rest.and_then(|rest| rest.strip_suffix(']')).ok_or_else(|| {
        Issue::new(
            format!("the list {} has no closing bracket", quoted(cell)),
            "write [a,b], and quote the cell if it contains the delimiter",
        )
    })
}

/// The items of a cell that starts with a bracket, as written: none is blank, and some may be equal.
pub(super) fn items(cell: &str) -> Result<Vec<Cow<'_, str>>, Issue> {
    let inner = between_brackets(cell)?;
    if trim(inner).is_empty() {
        return Ok(Vec::new());
    }
    let json = inner.contains('"').then(|| json_items(cell)).flatten();
    let items: Vec<Cow<'_, str>> = match json {
        Some(items) => {
            let composed = |item: String| Cow::Owned(nfc(&item).into_owned());
            items.into_iter().map(composed).collect()
        }
        None => plain_items(cell, inner)?.map(Cow::Borrowed).collect(),
    };
    if items.iter().any(|item| trim(item).is_empty()) {
        return Err(Issue::new(
            format!("the list {} has a blank item", quoted(cell)),
            "remove the extra comma, or write the missing item",
        ));
    }
    Ok(items)
}

/// `[a, b]`, separated by commas, as Omni's own script reads it.
fn plain_items<'a>(cell: &str, inner: &'a str) -> Result<impl Iterator<Item = &'a str>, Issue> {
    if trim(inner).starts_with('"') {
        return Err(Issue::new(
            format!(
                "{} starts like a JSON array and is not valid JSON",
                quoted(cell)
            ),
            r#"write ["a","b"]; in a CSV file, write each quote twice"#,
        ));
    }
    let items = inner.split(',').map(trim);
    if items
        .clone()
        .any(|item| item.starts_with('[') || item.ends_with(']'))
    {
        return Err(Issue::new(
            format!("the list {} contains brackets", quoted(cell)),
            r#"lists can't be nested; write items that contain brackets or commas as ["a,b","[c]"]"#,
        ));
    }
    Ok(items)
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
        format!("expected a decimal number, found {}", quoted(text)),
        number_remedy(text),
    )
    .kind(ProblemKind::Number))
}

/// The remedy for what a spreadsheet probably did to a number.
fn number_remedy(text: &str) -> &'static str {
    let only = |marks: &str| {
        text.chars()
            .all(|c| c.is_ascii_digit() || marks.contains(c))
    };
    let count = |marks: &[char]| text.matches(marks).count();
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        "the spreadsheet shortened the number; format the column as text and enter all digits again"
    } else if only("-+,") && count(&[',']) == 1 {
        "write a decimal point (1.5) and no thousands separator"
    } else if looks_like_date(text)
        || (only("-./:T Z") && count(&['-', '.', '/', ':']) >= 1 && !text.starts_with('-'))
    {
        "the spreadsheet turned the number into a date; format the column as text and enter it again"
    } else if only("-+.,' \u{a0}\u{202f}") {
        "write the number with a decimal point and without thousands separators"
    } else {
        "write only digits and a decimal point, or leave the cell blank for no value"
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
    fn reads_plain_and_json_lists() {
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
    fn rejects_broken_lists() {
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
    fn suggests_the_intended_list() {
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
            let issue = value(cell, MANY).expect_err(cell);
            assert_eq!(issue.remedy, format!("write '{list}'"), "{cell}");
        }
    }

    #[test]
    fn recognises_numbers_that_a_spreadsheet_changed() {
        for (text, expected) in [
            ("1,5", "a decimal point (1.5)"),
            ("1,234.50", "without thousands"),
            ("1 000", "without thousands"),
            ("1.2E+05", "shortened"),
            ("2024-01-05", "a date"),
            ("5.1.2024", "a date"),
            ("1/2", "a date"),
            ("5-Jan", "a date"),
            ("05.Jan.24", "a date"),
            ("12%", "only digits"),
            ("NaN", "only digits"),
            ("inf", "only digits"),
        ] {
            let issue = number(text).expect_err(text);
            assert!(issue.remedy.contains(expected), "{text}: {}", issue.remedy);
        }
        assert_eq!(number("-1234567890123456789012.5"), Ok(()));
    }

    #[test]
    fn cached_cells_read_the_same() {
        let mut cells = CellReader::new(MANY, CellCache::<()>::MAX_CACHED / 3);
        let texts = ["[a]", "a", "", "[b]", " ", "[c]", "[d]", "[e]"];
        for text in texts.iter().cycle().take(3 * texts.len()) {
            assert_eq!(cells.value(text), value(text, MANY), "{text}");
        }
        assert!(cells.cache.read.is_none(), "too many different texts");

        let mut cells = CellReader::new(MANY, 1);
        let long = format!("[{}]", "a".repeat(CellCache::<()>::MAX_LENGTH));
        for text in ["[a]", &long, "b", "[a]"] {
            assert_eq!(cells.value(text), value(text, MANY), "{text}");
        }
        let cache = cells.cache.read.expect("few different texts");
        assert!(
            cache.keys().eq(["[a]"].map(Box::from).iter()),
            "no long or invalid cells"
        );
    }

    proptest! {
        #[test]
        fn json_arrays_keep_any_text(items in prop::collection::vec("\\PC{1,20}", 1..5)) {
            prop_assume!(items.iter().all(|item| !trim(item).is_empty()));
            let cell = serde_json::to_string(&items).expect("texts are JSON");
            let composed = items.iter().map(|item| nfc(item));
            prop_assert_eq!(value(&cell, MANY), Ok(Value::many(composed)));
        }
    }
}
