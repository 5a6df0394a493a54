//! Fixtures for rosters: text in, a readable summary of the result out.

use omni_user_sync::model::{
    AttributeName, ByEmail, Definition, Desired, DesiredUser, GroupName, Location, Schema, Value,
    ValueType,
};
use omni_user_sync::roster::{self, SourceError};
use omni_user_sync::settings::{BlankCells, Encoding, Select, SourceSettings, Watch};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The settings' defaults.
pub(crate) fn settings() -> SourceSettings {
    SourceSettings {
        path: None,
        select: Select::All,
        watch: Watch::Auto,
        poll_interval: Duration::from_secs(10),
        settle: Duration::from_secs(2),
        blank_cells: BlankCells::Clear,
        encoding: Encoding::Auto,
        delimiter: None,
        max_bytes: 1 << 30,
        reports: None,
        groups: None,
        roles: None,
    }
}

/// A schema with one attribute of each type, and a system attribute.
pub(crate) fn schema() -> Schema {
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

/// A folder for rosters.
pub(crate) struct Folder {
    dir: TempDir,
    pub(crate) settings: SourceSettings,
    pub(crate) schema: Schema,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            settings: settings(),
            schema: schema(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).expect("a file in a temporary folder");
        path
    }

    pub(crate) fn read(&self) -> Result<Desired, SourceError> {
        self.read_at(self.path())
    }

    pub(crate) fn read_at(&self, path: &Path) -> Result<Desired, SourceError> {
        roster::read(&self.settings, path, true, &self.schema)
    }

    /// The summary of the whole folder.
    pub(crate) fn show(&self) -> String {
        self.show_at(self.path())
    }

    pub(crate) fn show_at(&self, path: &Path) -> String {
        let shown = show(&self.read_at(path));
        shown.replace(&self.path().display().to_string(), "DIR")
    }
}

/// Reads a file `users.csv`.
pub(crate) fn read(bytes: impl AsRef<[u8]>) -> Result<Desired, SourceError> {
    read_with(bytes, settings(), schema())
}

pub(crate) fn read_with(
    bytes: impl AsRef<[u8]>,
    settings: SourceSettings,
    schema: Schema,
) -> Result<Desired, SourceError> {
    let folder = Folder {
        settings,
        schema,
        ..Folder::new()
    };
    folder.read_at(&folder.write("users.csv", bytes))
}

/// The summary of a file `users.csv`.
pub(crate) fn account(bytes: impl AsRef<[u8]>) -> String {
    show(&read(bytes))
}

/// The summary of a file, without definitions.
pub(crate) fn account_unknown(bytes: impl AsRef<[u8]>) -> String {
    show(&read_with(bytes, settings(), Schema::unknown()))
}

pub(crate) fn show(read: &Result<Desired, SourceError>) -> String {
    match read {
        Ok(desired) => show_desired(desired),
        Err(error) => format!("error: {error}"),
    }
}

fn show_desired(desired: &Desired) -> String {
    let mut text = String::new();
    for (location, email, entry) in sorted(&desired.users, |entry| &entry.location) {
        let _ = writeln!(text, "{location}: {email} {}", show_want(&entry.want));
    }
    for (location, email, cell) in sorted(&desired.memberships.cells, |cell| &cell.location) {
        let names: Vec<_> = cell.names.iter().map(GroupName::as_str).collect();
        let _ = writeln!(text, "{location}: {email} in {names:?}");
    }
    for row in &desired.memberships.rows {
        let (location, email, change) = (&row.location, &row.email, row.change.as_str());
        let _ = writeln!(
            text,
            "{location}: {email} {change} {:?}",
            row.group.as_str()
        );
    }
    let frozen = desired.memberships.frozen.iter();
    let frozen = frozen.map(|key| (&key.subject, key.group.as_ref().map(GroupName::as_str)));
    let mut frozen: Vec<_> = frozen.collect();
    frozen.sort();
    for (email, group) in frozen {
        let group = group.map_or("all groups".to_owned(), |name| format!("{name:?}"));
        let _ = writeln!(text, "frozen: {email} in {group}");
    }
    if desired.memberships.unnamed > 0 {
        let _ = writeln!(text, "about any user: {}", desired.memberships.unnamed);
    }
    for (location, email, _) in sorted(&desired.frozen, |location| location) {
        let _ = writeln!(text, "frozen: {email} ({location})");
    }
    if desired.unnamed > 0 {
        let _ = writeln!(text, "unnamed: {}", desired.unnamed);
    }
    for problem in desired.problems() {
        let _ = writeln!(text, "bad: {problem}");
    }
    for note in &desired.lints {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// Sorts by location, then address.
fn sorted<T>(map: &ByEmail<T>, location: impl Fn(&T) -> &Location) -> Vec<(String, String, &T)> {
    let mut all: Vec<_> = map
        .iter()
        .map(|(email, value)| (location(value).to_string(), email.to_string(), value))
        .collect();
    all.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    all
}

fn show_want(want: &DesiredUser) -> String {
    let mut text = String::new();
    if let Some(leaving) = want.leaving() {
        text += match want {
            DesiredUser::Deactivate(_) => "deactivate",
            _ => "delete",
        };
        if let Some(successor) = &leaving.successor {
            let _ = write!(text, " successor={}", successor.email);
        }
        if let Some(on) = &leaving.on {
            let _ = write!(text, " on {}, until then ", on.date);
        }
    }
    let Some(spec) = want.spec() else {
        return text;
    };
    let _ = write!(
        text,
        "upsert {:?}",
        spec.display_name.as_deref().unwrap_or("-")
    );
    for (name, value) in &spec.attributes {
        let value = value.as_ref().map_or("none".into(), Value::to_string);
        let _ = write!(text, " {name}={value}");
    }
    text
}
