//! The header row: the meaning of each column. An unclear header rejects the file, since it applies
//! to every row.

use super::budget::MAX_COLUMNS;
use super::cell::Shape;
use super::text::{Issue, did_you_mean, quoted, truncated};
use crate::model::{
    AttributeName, Email, Location, MembershipRow, Problem, ProblemKind, RoleColumn, Schema, trim,
};
use crate::util::text::nearest;
use ::csv::StringRecord;
use std::collections::HashMap;
use std::sync::Arc;

/// The header of the column with the groups of each user.
pub(super) const GROUPS: &str = "groups";
/// The header of the column with the successor of a user who leaves.
const SUCCESSOR: &str = "successor";
/// The header of the column with the day on which a user leaves.
const LEAVE_ON: &str = "leave_on";
const OWN: [&str; 6] = ["op", "email", "display_name", GROUPS, SUCCESSOR, LEAVE_ON];
/// The columns that Omni may have an attribute for, and their meaning.
const OPTIONAL: [(&str, &str); 3] = [
    (GROUPS, "the groups of each user"),
    (SUCCESSOR, "the successor of each user who leaves"),
    (LEAVE_ON, "the day on which each user leaves"),
];
/// The prefix of system attributes, by which they are recognised without definitions.
const SYSTEM_PREFIX: &str = "omni_user_";
/// The maximum number of listed problems of one header. The others are counted.
const MAX_LISTED: usize = 20;

/// The meaning of each column.
#[derive(Debug)]
pub(super) struct Columns {
    /// The names of the columns in messages.
    pub(super) labels: Vec<Arc<str>>,
    pub(super) op: Option<usize>,
    pub(super) email: usize,
    pub(super) display_name: Option<usize>,
    pub(super) groups: Option<usize>,
    pub(super) successor: Option<usize>,
    pub(super) leave_on: Option<usize>,
    /// Sorted by name, so that the attributes of every row are sorted.
    pub(super) attributes: Vec<AttributeColumn>,
    /// The names of the attributes, shared by all rows.
    pub(super) names: Arc<Vec<AttributeName>>,
    /// The columns without a header.
    pub(super) blank: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct AttributeColumn {
    pub(super) at: usize,
    pub(super) name: AttributeName,
    /// The shape of its values, if there is a definition.
    pub(super) shape: Option<Shape>,
}

/// Whether a header row has the only required column.
pub(super) fn has_email(header: &StringRecord) -> bool {
    header
        .iter()
        .any(|cell| trim(cell).eq_ignore_ascii_case("email"))
}

impl Columns {
    /// Reads the header row, which starts at `location`.
    pub(super) fn new(
        header: &StringRecord,
        location: &Location,
        schema: &Schema,
    ) -> Result<Self, Vec<Problem>> {
        let names: Vec<&str> = header.iter().map(trim).collect();
        let named = names.iter().filter(|name| !name.is_empty()).count();
        if named > MAX_COLUMNS {
            return Err(vec![
                too_many(named)
                    .kind(ProblemKind::Column)
                    .at(location.clone()),
            ]);
        }
        let mut reader = HeaderReader::new(schema);
        for (at, name) in names.iter().enumerate() {
            if let Err(issue) = reader.column(at, name) {
                reader.issues.push((at, issue));
            }
        }
        reader.finish(&names, location)
    }

    /// Finds the first cell of a row that is not blank and has no header.
    pub(super) fn find_unnamed(&self, row: &StringRecord) -> Option<usize> {
        let filled = |at: &&usize| row.get(**at).is_some_and(|cell| !trim(cell).is_empty());
        self.blank.iter().find(filled).copied()
    }
}

/// Reads a header column by column.
struct HeaderReader<'a> {
    schema: &'a Schema,
    /// The first column of each name. The names of [`OWN`] columns are in lower case.
    seen: HashMap<String, usize>,
    attributes: Vec<AttributeColumn>,
    blank: Vec<usize>,
    issues: Vec<(usize, Issue)>,
}

impl<'a> HeaderReader<'a> {
    fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            seen: HashMap::new(),
            attributes: Vec::new(),
            blank: Vec::new(),
            issues: Vec::new(),
        }
    }

    fn column(&mut self, at: usize, name: &str) -> Result<(), Issue> {
        if name.is_empty() {
            self.blank.push(at);
            return Ok(());
        }
        if name.starts_with('"') {
            return Err(quoted_after_blank(name));
        }
        let own = OWN.into_iter().find(|own| own.eq_ignore_ascii_case(name));
        let first = *self
            .seen
            .entry(own.unwrap_or(name).to_owned())
            .or_insert(at);
        if first != at {
            return Err(Issue::new(
                format!(
                    "the column {} appears twice, as columns {} and {}",
                    quoted(name),
                    first + 1,
                    at + 1
                ),
                "keep one of them",
            ));
        }
        if let Some(own) = own {
            return not_an_attribute(name, own, self.schema);
        }
        let name = AttributeName::new(name);
        let shape = attribute(&name, self.schema)?;
        self.attributes.push(AttributeColumn { at, name, shape });
        Ok(())
    }

    fn finish(mut self, names: &[&str], location: &Location) -> Result<Columns, Vec<Problem>> {
        let own = |name: &str| self.seen.get(name).copied();
        let rejected = |issue: Issue| vec![issue.kind(ProblemKind::Column).at(location.clone())];
        let email = own("email");
        if (email.is_none() || !self.issues.is_empty())
            && let Some(setting) = setting_of(names)
        {
            return Err(rejected(other_file(setting)));
        }
        let Some(email) = email else {
            return Err(rejected(no_email(names)));
        };
        let labels: Vec<Arc<str>> = names.iter().map(|name| truncated(name).into()).collect();
        if !self.issues.is_empty() {
            return Err(problems(self.issues, &labels, location));
        }
        self.attributes.sort_by(|a, b| a.name.cmp(&b.name));
        let names = self.attributes.iter().map(|column| column.name.clone());
        Ok(Columns {
            labels,
            op: own("op"),
            email,
            display_name: own("display_name"),
            groups: own(GROUPS),
            successor: own(SUCCESSOR),
            leave_on: own(LEAVE_ON),
            names: Arc::new(names.collect()),
            attributes: self.attributes,
            blank: self.blank,
        })
    }
}

/// The setting of the other file that has exactly these columns.
fn setting_of(names: &[&str]) -> Option<&'static str> {
    let has = |columns: &[&str]| {
        let is_in = |column: &&str| names.iter().any(|name| name.eq_ignore_ascii_case(column));
        names.len() == columns.len() && columns.iter().all(is_in)
    };
    if has(&MembershipRow::COLUMNS) {
        Some("source.groups")
    } else if has(&RoleColumn::ALL.map(RoleColumn::as_str)) {
        Some("source.roles")
    } else {
        None
    }
}

fn other_file(setting: &str) -> Issue {
    Issue::new(
        format!("this looks like a file for {setting}, not a roster"),
        format!("set {setting} to its path; a roster has the columns op, email and display_name"),
    )
}

fn problems(issues: Vec<(usize, Issue)>, labels: &[Arc<str>], location: &Location) -> Vec<Problem> {
    let more = issues.len().saturating_sub(MAX_LISTED);
    let mut problems: Vec<_> = issues
        .into_iter()
        .take(MAX_LISTED)
        .map(|(at, issue)| {
            let column = Some((at + 1, labels[at].clone()));
            issue.kind(ProblemKind::Column).at(Location {
                column,
                ..location.clone()
            })
        })
        .collect();
    if more > 0 {
        let issue = Issue::new(
            format!("{more} more columns have errors"),
            "check that this is the roster's header",
        );
        problems.push(issue.kind(ProblemKind::Column).at(location.clone()));
    }
    problems
}

fn too_many(named: usize) -> Issue {
    Issue::new(
        format!("the header has {named} columns; the limit is {MAX_COLUMNS}"),
        "check that this is the roster's header",
    )
}

/// The message contains no cell: without an email column the first row may be data, and a log must
/// not contain values.
fn no_email(names: &[&str]) -> Issue {
    let number = |is: &dyn Fn(&str) -> bool| Some(names.iter().position(|name| is(name))? + 1);
    if let Some(cell) = number(&|name| Email::parse(name).is_ok()) {
        return Issue::new(
            format!("the first row is not a header: cell {cell} is an email address"),
            "add a header above it: op,email,display_name and the attributes",
        );
    }
    let is_quoted = |name: &str| name.trim_matches('"').eq_ignore_ascii_case("email");
    if let Some(cell) = number(&is_quoted) {
        return Issue::new(
            format!(
                "there is no column 'email': cell {cell} has a space before its quote, which makes the quotes part of the name"
            ),
            "remove the spaces between delimiters and quotes, in all rows",
        );
    }
    let message = match names.len() {
        1 => "there is no column 'email': the first row is a single cell".to_owned(),
        count => {
            let meant = number(&|name| nearest(name, ["email"]).is_some())
                .map(|cell| format!(" (did you mean cell {cell}?)"));
            let meant = meant.unwrap_or_default();
            format!("there is no column 'email' among the {count} cells of the first row{meant}")
        }
    };
    Issue::new(
        message,
        "name the column of addresses 'email', and separate the columns with commas, semicolons or tabs",
    )
}

fn quoted_after_blank(name: &str) -> Issue {
    Issue::new(
        format!(
            "the quotes are part of the name {}, because a space precedes them",
            quoted(name)
        ),
        "remove the spaces between delimiters and quotes, in all rows",
    )
}

/// Whether a column of this name is never an attribute's.
pub(super) fn is_own(name: &AttributeName) -> bool {
    OWN.iter()
        .any(|own| own.eq_ignore_ascii_case(name.as_str()))
}

/// Checks that Omni has no attribute that one of the [`OPTIONAL`] columns may mean. The others are required by their
/// name.
fn not_an_attribute(column: &str, own: &str, schema: &Schema) -> Result<(), Issue> {
    let Some((_, meaning)) = OPTIONAL.into_iter().find(|(name, _)| *name == own) else {
        return Ok(());
    };
    let mut settable = schema.definitions().filter(|one| !one.system);
    let Some(same) = settable.find(|one| one.name.as_str().eq_ignore_ascii_case(own)) else {
        return Ok(());
    };
    Err(Issue::new(
        format!(
            "the column {} may be {meaning}, or Omni's user attribute {}",
            quoted(column),
            quoted(same.name.as_str())
        ),
        "rename the attribute in Omni, or remove the column; a later version decides this by source.columns",
    ))
}

/// The shape of an attribute's values, if there is a definition. An error if it can't be set.
fn attribute(name: &AttributeName, schema: &Schema) -> Result<Option<Shape>, Issue> {
    match schema.get(name) {
        Some(definition) if definition.system => Err(system(name)),
        Some(definition) => Ok(Some(Shape::of(definition))),
        None if schema.is_known() => Err(unknown(name, schema)),
        None if name.as_str().starts_with(SYSTEM_PREFIX) => Err(system(name)),
        None => misspelled_own(name).map_or(Ok(None), Err),
    }
}

fn system(name: &AttributeName) -> Issue {
    Issue::new(
        format!(
            "{} is set by Omni and can't be changed",
            quoted(name.as_str())
        ),
        "remove the column",
    )
}

fn unknown(name: &AttributeName, schema: &Schema) -> Issue {
    let settable = || {
        schema
            .definitions()
            .filter(|one| !one.system)
            .map(|one| one.name.as_str())
    };
    if let Some(same) = settable().find(|one| one.to_lowercase() == name.as_str().to_lowercase()) {
        return Issue::new(
            format!(
                "Omni has no user attribute {}, but it has {}",
                quoted(name.as_str()),
                quoted(same)
            ),
            "use the same letter case",
        );
    }
    let suggestion = nearest(name.as_str(), settable().chain(OWN));
    Issue::new(
        format!(
            "Omni has no user attribute {}{}",
            quoted(name.as_str()),
            did_you_mean(suggestion)
        ),
        "correct the name, remove the column, or define the attribute in Omni first",
    )
}

/// Without definitions any name may be an attribute, except another spelling of an [`OWN`] column:
/// `E-mail` beside `email`, or `Display Name`, is a mistake.
fn misspelled_own(name: &AttributeName) -> Option<Issue> {
    let bare = |text: &str| -> String {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let own = OWN
        .into_iter()
        .find(|own| bare(own) == bare(name.as_str()))?;
    Some(Issue::new(
        format!(
            "the column {} looks like a misspelling of {}",
            quoted(name.as_str()),
            quoted(own)
        ),
        format!("write {}", quoted(own)),
    ))
}
