//! Properties of the roster reader that must hold for all bytes.

use super::budget::{MAX_LISTED_LINTS, MAX_PROBLEMS};
use super::cell::{self, Shape};
use super::export::{self, ExportFormat, ExportRow};
use super::{SourceError, read};
use crate::fuzzing::checks::{SECRET, assert_harmless};
use crate::model::{
    AttributeName, Decimal, Definition, Desired, DesiredMemberships, DesiredUser, Email, GroupName,
    Leaving, Location, Problem, ProblemKind, Schema, Texts, Value, ValueType, fold, trim,
};
use crate::settings::{BlankCells, Encoding, Select, SourceSettings, Watch};
use std::collections::HashSet;
use std::fs;
use std::time::Duration;

/// Separates two files.
const SEPARATOR: u8 = 0x1e;
/// Bits of the first byte. [`settings`] uses the others.
const AGAIN: u8 = 0x20;
const TWO_FILES: u8 = 0x40;
/// The second file is that of `source.groups`, not of the roster.
const GROUPS_FILE: u8 = 0x10;
const NO_DEFINITIONS: u8 = 0x80;

/// Checks a file of `source.groups`. The first byte selects the settings, the others are the content.
pub fn groups(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    let how = how | TWO_FILES | GROUPS_FILE;
    let roster = b"email\na@x.co\n";
    roster_with(how, &[roster, &[SEPARATOR][..], bytes].concat());
}

/// Checks a roster. The first byte selects the settings, the others are the content.
pub fn roster(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    roster_with(how, bytes);
}

fn roster_with(how: u8, bytes: &[u8]) {
    let world = RosterFolder::new(how, bytes);
    let outcome = world.read();
    if how & AGAIN != 0 {
        assert_eq!(summary(&outcome), summary(&world.read()), "deterministic");
    }
    match outcome {
        Ok(desired) if how & AGAIN != 0 => world.check_round_trip(&desired),
        Ok(desired) => world.check(&desired),
        Err(error) => {
            assert!(!error.problems().is_empty());
            world.check_rejected(error.problems());
        }
    }
}

/// The outcome as text, independent of the order of maps.
fn summary(outcome: &Result<Desired, SourceError>) -> String {
    match outcome {
        Ok(desired) => {
            let mut users: Vec<_> = desired.users.iter().collect();
            users.sort_by_key(|(email, _)| *email);
            let mut frozen: Vec<_> = desired.frozen.iter().collect();
            frozen.sort_by_key(|(email, _)| *email);
            let problems = (
                &desired.bad_rows,
                &desired.doubtful,
                &desired.rejected,
                &desired.lints,
            );
            let mut groups: Vec<_> = desired.memberships.cells.iter().collect();
            groups.sort_by_key(|(email, _)| *email);
            let stated = &desired.memberships;
            let unreadable = (stated.unnamed, &stated.unreadable);
            let rows = (&stated.rows, &stated.doubtful, unreadable);
            let counts = (desired.unnamed, desired.rows, desired.fingerprint);
            format!("{users:?} {groups:?} {rows:?} {frozen:?} {problems:?} {counts:?}")
        }
        Err(error) => error.to_string(),
    }
}

/// A folder with a roster, and the settings to read it.
struct RosterFolder {
    folder: tempfile::TempDir,
    files: Vec<(String, Vec<u8>)>,
    settings: SourceSettings,
    schema: Schema,
}

impl RosterFolder {
    fn new(how: u8, bytes: &[u8]) -> Self {
        let files = match how & TWO_FILES {
            0 => vec![bytes],
            _ => bytes.splitn(2, |byte| *byte == SEPARATOR).collect(),
        };
        let files: Vec<_> = ["a.csv", "b.csv"]
            .into_iter()
            .zip(files)
            .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
            .collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in &files {
            fs::write(folder.path().join(name), bytes).expect("the folder is writable");
        }
        let schema = match how & NO_DEFINITIONS {
            0 => schema(),
            _ => Schema::unknown(),
        };
        let groups = folder.path().join("b.csv");
        let has_groups = how & GROUPS_FILE != 0 && files.len() > 1;
        Self {
            settings: SourceSettings {
                groups: has_groups.then_some(groups),
                ..settings(how)
            },
            folder,
            files,
            schema,
        }
    }

    fn read(&self) -> Result<Desired, SourceError> {
        read(&self.settings, self.folder.path(), true, &self.schema)
    }

    fn check(&self, desired: &Desired) {
        self.check_rejected(&desired.rejected);
        self.check_groups_file(&desired.memberships);
        let doubtful = desired.doubtful.iter().map(|row| &row.problem);
        let bad_rows = desired.bad_rows.iter().chain(doubtful);
        for problem in bad_rows.chain(&desired.lints) {
            self.check_location(&problem.location);
            assert_harmless(&problem.to_string());
        }
        for lint in &desired.lints {
            assert!(!has_secret(lint), "{lint}");
        }
        assert!(
            desired
                .problems()
                .is_sorted_by(|a, b| a.in_order(b).is_le())
        );
        assert!(desired.bad_rows.len() <= 2 * MAX_PROBLEMS);
        for problem in desired.bad_rows.iter().filter(|one| self.is_in_roster(one)) {
            let frozen = |email: &Email| desired.frozen.contains_key(email);
            assert!(problem.email.as_ref().is_none_or(frozen), "{problem}");
        }
        for (email, entry) in &desired.users {
            assert!(!desired.frozen.contains_key(email), "{email}");
            self.check_location(&entry.location);
            self.check_want(&entry.want);
        }
        for (email, cell) in &desired.memberships.cells {
            let entry = &desired.users[email];
            assert!(matches!(entry.want, DesiredUser::Upsert(_)), "{email}");
            assert_eq!(entry.location.line, cell.location.line);
            self.check_location(&cell.location);
            let names = cell.names.iter().map(|name| fold(name.as_str()));
            let unique: HashSet<_> = names.collect();
            assert_eq!(unique.len(), cell.names.len(), "{cell:?}");
        }
        desired
            .frozen
            .values()
            .for_each(|reason| self.check_location(reason));
        self.check_rows(desired);
    }

    /// Whether a problem is of the roster, not of `source.groups`.
    fn is_in_roster(&self, problem: &Problem) -> bool {
        self.settings.groups.is_none() || &*problem.location.file != "b.csv"
    }

    /// Each membership is stated at most once, and not if it is frozen.
    fn check_groups_file(&self, stated: &DesiredMemberships) {
        self.check_rejected(stated.unreadable.as_slice());
        let key = |email: &Email, group: &GroupName| (email.clone(), group.clone());
        let frozen = stated.frozen.iter();
        let frozen = frozen.filter_map(|one| Some((one.subject.email()?, one.group.as_ref())));
        let (all, frozen): (Vec<_>, Vec<_>) = frozen.partition(|(_, group)| group.is_none());
        let frozen = frozen.into_iter();
        let frozen = frozen.filter_map(|(email, group)| Some(key(email, group?)));
        let frozen: HashSet<_> = frozen.collect();
        let without_any: HashSet<_> = all.into_iter().map(|(email, _)| email).collect();
        let mut seen = HashSet::new();
        for row in stated.named_rows() {
            self.check_location(&row.location);
            assert!(!without_any.contains(&row.email), "{row:?}");
            let key = key(&row.email, &row.group);
            assert!(!frozen.contains(&key) && seen.insert(key), "{row:?}");
        }
        let is_empty = seen.is_empty() && stated.frozen.is_empty();
        assert!(stated.unreadable.is_none() || is_empty);
    }

    /// Problems of rejected files are logged, so they contain no values. A header is not a value.
    fn check_rejected(&self, rejected: &[Problem]) {
        for problem in rejected {
            self.check_location(&problem.location);
            assert_harmless(&problem.to_string());
            assert!(!has_secret(problem), "{problem}");
        }
    }

    /// No location is outside its file: there are no more lines than line breaks, and no more cells
    /// than bytes.
    fn check_location(&self, location: &Location) {
        let file = self.files.iter().find(|(name, _)| **name == *location.file);
        check_location(&file.expect("a known file").1, location);
    }

    fn check_want(&self, want: &DesiredUser) {
        let Some(spec) = want.spec() else {
            return;
        };
        assert!(spec.attributes.iter().is_sorted_by(|(a, _), (b, _)| a < b));
        let name = spec.display_name.as_deref();
        assert!(name.is_none_or(|name| trim(name) == name && !name.is_empty()));
        for (name, value) in &spec.attributes {
            let definition = self.schema.get(name);
            assert_eq!(definition.is_some(), self.schema.is_known(), "{name}");
            assert!(definition.is_none_or(|one| !one.system));
            check_value(value.as_ref(), definition);
        }
    }

    /// Every row is accounted for: it is used, or bad, or there is a note about it.
    fn check_rows(&self, desired: &Desired) {
        if desired.lints.len() >= MAX_LISTED_LINTS {
            return;
        }
        let used = desired.users.values().map(|entry| &entry.location);
        // This lint is at the header.
        let in_row = |lint: &&Problem| lint.kind != ProblemKind::BlankColumn;
        let lints = desired.lints.iter().filter(in_row);
        let doubtful = desired.doubtful.iter().map(|row| &row.problem);
        let problems = desired.bad_rows.iter().chain(doubtful).chain(lints);
        let problems = problems.filter(|one| self.is_in_roster(one));
        let rows: HashSet<_> = used
            .chain(problems.map(|problem| &problem.location))
            .filter(|location| location.line > 0)
            .map(|location| (&location.file, location.line))
            .collect();
        assert_eq!(rows.len() as u64, desired.rows);
    }

    /// An exported roster is read as the same users.
    fn check_round_trip(&self, desired: &Desired) {
        let mut specs = desired
            .users
            .values()
            .filter_map(|entry| match &entry.want {
                DesiredUser::Upsert(spec) => Some(spec),
                DesiredUser::Delete(_) | DesiredUser::Deactivate(_) => None,
            });
        let columns: Vec<AttributeName> = specs.next().map_or(Vec::new(), |spec| {
            spec.attributes
                .iter()
                .map(|(name, _)| name.clone())
                .collect()
        });
        let users: Vec<_> = desired
            .users
            .iter()
            .filter_map(|(email, entry)| Some((email, export_row(email, &entry.want, &columns)?)))
            .filter(|(_, row)| export::row_round_trips(row, &columns, &self.schema))
            .collect();
        if users.is_empty() {
            return;
        }
        let rows: Vec<_> = users.iter().map(|(_, row)| row.clone()).collect();
        let again = RosterFolder {
            settings: settings(0),
            schema: self.schema.clone(),
            ..RosterFolder::new(
                0,
                export::write(&columns, &rows, ExportFormat::default()).as_bytes(),
            )
        };
        let read = again.read().expect("a roster");
        for (email, _) in users {
            match read.users.get(email) {
                Some(entry) => self.assert_same(&desired.users[email].want, &entry.want),
                // With another delimiter, a text of several lines may look like rows that a quote
                // swallowed.
                None => assert!(
                    read.frozen.contains_key(email) && read.unnamed > 0,
                    "{email}"
                ),
            }
        }
    }

    fn assert_same(&self, one: &DesiredUser, other: &DesiredUser) {
        let (DesiredUser::Upsert(a), DesiredUser::Upsert(b)) = (one, other) else {
            return assert_eq!(one, other);
        };
        assert_eq!(a.display_name, b.display_name);
        assert_eq!(a.attributes.len(), b.attributes.len());
        for ((name, a), (_, b)) in a.attributes.iter().zip(&b.attributes) {
            assert!(
                self.schema.same(name, a.as_ref(), b.as_ref()),
                "{name}: {a:?} {b:?}"
            );
        }
    }
}

/// Checks that a location is inside a file with these bytes.
pub(super) fn check_location(bytes: &[u8], location: &Location) {
    let ends = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
    assert!(location.line <= ends as u64 + 1, "{location}");
    if let Some((number, _)) = &location.column {
        assert!((1..=bytes.len() + 1).contains(number), "{location}");
    }
}

/// A user's row; `None` if it does not have all columns.
fn export_row(email: &Email, want: &DesiredUser, columns: &[AttributeName]) -> Option<ExportRow> {
    let blank = ExportRow::removal(email, columns.len());
    // An export has no columns for these.
    if want
        .leaving()
        .is_some_and(|leaving| *leaving != Leaving::default())
    {
        return None;
    }
    let spec = match want {
        DesiredUser::Delete(_) => return Some(blank),
        DesiredUser::Deactivate(_) => {
            return Some(ExportRow {
                op: "deactivate",
                ..blank
            });
        }
        DesiredUser::Upsert(spec) => spec,
    };
    let names = spec.attributes.iter().map(|(name, _)| name);
    names.eq(columns).then(|| ExportRow {
        op: "upsert",
        display_name: spec.display_name.as_deref().and_then(Value::one),
        values: spec
            .attributes
            .iter()
            .map(|(_, value)| value.clone())
            .collect(),
        ..blank
    })
}

/// Whether a problem contains a value. A column's name is not a value.
pub(super) fn has_secret(problem: &Problem) -> bool {
    let is_name = |(_, name): &(usize, std::sync::Arc<str>)| name.contains(SECRET);
    let in_name = problem.location.column.as_ref().is_some_and(is_name);
    // Emails are allowed.
    let email = problem
        .email
        .as_ref()
        .is_some_and(|email| email.as_str().contains(SECRET));
    !in_name && !email && problem.to_string().contains(SECRET)
}

/// Checks an attribute cell. The first byte selects its definition.
pub fn cell(data: &[u8]) {
    let Some((&how, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let schema = schema();
    let names = ["tier", "Region", "seats", "codes"].map(AttributeName::new);
    let definition = names
        .get(usize::from(how % 5))
        .and_then(|name| schema.get(name));
    let outcome = cell::value(text, definition.map(Shape::of));
    assert_eq!(outcome, cell::value(text, definition.map(Shape::of)));
    match outcome {
        Err(issue) => {
            assert_harmless(&issue.message);
            assert_harmless(&issue.remedy);
            assert!(!trim(text).is_empty(), "a blank cell is valid");
        }
        Ok(value) => {
            check_value(value.as_ref(), definition);
            assert_eq!(
                value.is_none(),
                matches!(trim(text), "") || is_empty_list(text)
            );
            check_items(text, value.as_ref());
        }
    }
}

fn is_empty_list(text: &str) -> bool {
    between_brackets(trim(text)).is_some_and(|inner| trim(inner).is_empty())
}

fn between_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// Compares with two simple independent rules, if they apply.
fn check_items(text: &str, value: Option<&Value>) {
    let text = trim(text);
    let expected = if !text.starts_with('[') {
        Value::one(text)
    } else if let Ok(items) = serde_json::from_str::<Vec<String>>(text) {
        Value::many(items)
    } else if let Some(inner) = between_brackets(text).filter(|inner| !inner.contains('"')) {
        Value::many(inner.split(','))
    } else {
        return;
    };
    assert_eq!(value, expected.as_ref(), "{text:?}");
}

/// Checks that a value is in canonical form and matches its definition.
fn check_value(value: Option<&Value>, definition: Option<&Definition>) {
    let Some(value) = value else { return };
    let items = value.items();
    assert!(!items.is_empty());
    assert!(
        items
            .iter()
            .all(|item| trim(item) == &**item && !item.is_empty()),
        "{value:?}"
    );
    assert_eq!(
        items.iter().collect::<HashSet<_>>().len(),
        items.len(),
        "{value:?}"
    );
    if let Some(definition) = definition {
        assert_eq!(
            matches!(value.texts(), Texts::Many(_)),
            definition.multiple,
            "{value:?}"
        );
        let number = definition.value_type == ValueType::Number;
        assert!(
            !number || items.iter().all(|item| Decimal::parse(item).is_some()),
            "{value:?}"
        );
    }
}

pub(super) fn settings(how: u8) -> SourceSettings {
    SourceSettings {
        path: None,
        select: Select::All,
        watch: Watch::Auto,
        poll_interval: Duration::from_secs(10),
        settle: Duration::ZERO,
        blank_cells: [BlankCells::Clear, BlankCells::Keep][usize::from(how & 1)],
        encoding: [Encoding::Auto, Encoding::Windows1252][usize::from(how >> 1 & 1)],
        delimiter: [None, Some(b','), Some(b';'), Some(b'\t')][usize::from(how >> 2 & 3)],
        max_bytes: 1 << 30,
        reports: None,
        groups: None,
        roles: None,
    }
}

/// One attribute of each type, and a system attribute.
fn schema() -> Schema {
    use ValueType::{Number, String};
    let definition = |name, value_type, multiple, system| Definition {
        name: AttributeName::new(name),
        value_type,
        multiple,
        system,
        default: None,
    };
    Schema::new([
        definition("tier", String, false, false),
        definition("Region", String, true, false),
        definition("seats", Number, false, false),
        definition("codes", Number, true, false),
        definition("omni_user_email", String, false, true),
    ])
}
