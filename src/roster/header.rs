//! The header row: which column is what. A header that leaves anything open rejects the file, since
//! every row would be read by it.

use super::budget::MAX_COLUMNS;
use super::cell::Shape;
use super::words::{Issue, did_you_mean, label, nearest, shown};
use crate::model::{AttributeName, Email, Location, Problem, ProblemKind, Schema, trim};
use ::csv::StringRecord;
use std::collections::HashMap;
use std::sync::Arc;

const OWN: [&str; 3] = ["op", "email", "display_name"];
/// Omni's own attributes begin so; all that can be known without the definitions.
const SYSTEM: &str = "omni_user_";
/// So many problems of one header are listed; the rest is counted.
const LISTED: usize = 20;

/// What each column is.
#[derive(Debug)]
pub(super) struct Columns {
    /// What the columns are called in messages.
    pub(super) labels: Vec<Arc<str>>,
    pub(super) op: Option<usize>,
    pub(super) email: usize,
    pub(super) display_name: Option<usize>,
    /// Sorted by name, so that every row's attributes are.
    pub(super) attributes: Vec<AttributeColumn>,
    /// What they are called, for all rows to share.
    pub(super) names: Arc<Vec<AttributeName>>,
    /// Columns without a header.
    pub(super) blank: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct AttributeColumn {
    pub(super) at: usize,
    pub(super) name: AttributeName,
    /// What the definition says, where there is one.
    pub(super) shape: Option<Shape>,
}

/// Whether a header row has the one column that it needs.
pub(super) fn has_email(header: &StringRecord) -> bool {
    header
        .iter()
        .any(|cell| trim(cell).eq_ignore_ascii_case("email"))
}

impl Columns {
    /// Reads the header row, which starts at `place`.
    pub(super) fn new(
        header: &StringRecord,
        place: &Location,
        schema: &Schema,
    ) -> Result<Self, Vec<Problem>> {
        let names: Vec<&str> = header.iter().map(trim).collect();
        let named = names.iter().filter(|name| !name.is_empty()).count();
        if named > MAX_COLUMNS {
            return Err(vec![
                too_many(named).kind(ProblemKind::Column).at(place.clone()),
            ]);
        }
        let mut reading = Reading::new(schema);
        for (at, name) in names.iter().enumerate() {
            if let Err(flaw) = reading.column(at, name) {
                reading.flaws.push((at, flaw));
            }
        }
        reading.finish(&names, place)
    }

    /// The first cell of a row under no header that has something in it.
    pub(super) fn stray(&self, row: &StringRecord) -> Option<usize> {
        let filled = |at: &&usize| row.get(**at).is_some_and(|cell| !trim(cell).is_empty());
        self.blank.iter().find(filled).copied()
    }
}

/// A header, read so far.
struct Reading<'a> {
    schema: &'a Schema,
    /// Where each name stood first: our own in lower case.
    seen: HashMap<String, usize>,
    attributes: Vec<AttributeColumn>,
    blank: Vec<usize>,
    flaws: Vec<(usize, Issue)>,
}

impl<'a> Reading<'a> {
    fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            seen: HashMap::new(),
            attributes: Vec::new(),
            blank: Vec::new(),
            flaws: Vec::new(),
        }
    }

    fn column(&mut self, at: usize, name: &str) -> Result<(), Issue> {
        if name.is_empty() {
            self.blank.push(at);
            return Ok(());
        }
        let own = OWN.into_iter().find(|own| own.eq_ignore_ascii_case(name));
        let first = *self
            .seen
            .entry(own.unwrap_or(name).to_owned())
            .or_insert(at);
        if first != at {
            return Err(Issue::new(
                format!(
                    "the column {} is there twice, as columns {} and {}",
                    shown(name),
                    first + 1,
                    at + 1
                ),
                "keep one of them",
            ));
        }
        if own.is_none() {
            let name = AttributeName::new(name);
            let shape = attribute(&name, self.schema)?;
            self.attributes.push(AttributeColumn { at, name, shape });
        }
        Ok(())
    }

    fn finish(mut self, names: &[&str], place: &Location) -> Result<Columns, Vec<Problem>> {
        let own = |name: &str| self.seen.get(name).copied();
        let (op, email, display_name) = (own("op"), own("email"), own("display_name"));
        let Some(email) = email else {
            return Err(vec![
                no_email(names).kind(ProblemKind::Column).at(place.clone()),
            ]);
        };
        let labels: Vec<Arc<str>> = names.iter().map(|name| label(name).into()).collect();
        if !self.flaws.is_empty() {
            return Err(problems(self.flaws, &labels, place));
        }
        self.attributes.sort_by(|a, b| a.name.cmp(&b.name));
        let names = self.attributes.iter().map(|column| column.name.clone());
        Ok(Columns {
            labels,
            op,
            email,
            display_name,
            names: Arc::new(names.collect()),
            attributes: self.attributes,
            blank: self.blank,
        })
    }
}

fn problems(flaws: Vec<(usize, Issue)>, labels: &[Arc<str>], place: &Location) -> Vec<Problem> {
    let more = flaws.len().saturating_sub(LISTED);
    let mut problems: Vec<_> = flaws
        .into_iter()
        .take(LISTED)
        .map(|(at, flaw)| {
            let column = Some((at + 1, labels[at].clone()));
            flaw.kind(ProblemKind::Column).at(Location {
                column,
                ..place.clone()
            })
        })
        .collect();
    if more > 0 {
        let flaw = Issue::new(
            format!("{more} more columns are wrong"),
            "check that this is the roster's header",
        );
        problems.push(flaw.kind(ProblemKind::Column).at(place.clone()));
    }
    problems
}

fn too_many(named: usize) -> Issue {
    Issue::new(
        format!("the header has {named} columns, and a roster has at most {MAX_COLUMNS}"),
        "check that this is the roster's header",
    )
}

/// Names no cell: without the email column nothing says that this is a header, and the cells of a
/// first row that is none are values.
fn no_email(names: &[&str]) -> Issue {
    let number = |is: &dyn Fn(&str) -> bool| Some(names.iter().position(|name| is(name))? + 1);
    if let Some(cell) = number(&|name| Email::parse(name).is_ok()) {
        return Issue::new(
            format!("the first row is no header: its cell {cell} is an address"),
            "write the columns' names above it: op,email,display_name and the attributes",
        );
    }
    let what = match names.len() {
        1 => "there is no column 'email': the first row is one cell".to_owned(),
        count => {
            let meant = number(&|name| nearest(name, ["email"]).is_some())
                .map(|cell| format!(" (did you mean cell {cell}?)"));
            let meant = meant.unwrap_or_default();
            format!("there is no column 'email' among the {count} cells of the first row{meant}")
        }
    };
    Issue::new(
        what,
        "name the column of addresses 'email', and separate the columns by comma, semicolon or tab",
    )
}

/// Whether an attribute may be set, and what its values are.
fn attribute(name: &AttributeName, schema: &Schema) -> Result<Option<Shape>, Issue> {
    match schema.get(name) {
        Some(definition) if definition.system => Err(system(name)),
        Some(definition) => Ok(Some(Shape::of(definition))),
        None if schema.is_known() => Err(unknown(name, schema)),
        None if name.as_str().starts_with(SYSTEM) => Err(system(name)),
        None => own_misspelt(name).map_or(Ok(None), Err),
    }
}

fn system(name: &AttributeName) -> Issue {
    Issue::new(
        format!("Omni itself sets {}, nobody else can", shown(name.as_str())),
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
                "Omni has no user attribute {}: it is spelt {}",
                shown(name.as_str()),
                shown(same)
            ),
            "write it with the same capital and small letters",
        );
    }
    let meant = nearest(name.as_str(), settable().chain(OWN));
    Issue::new(
        format!(
            "Omni has no user attribute {}{}",
            shown(name.as_str()),
            did_you_mean(meant)
        ),
        "correct the name, remove the column, or define the attribute in Omni first",
    )
}

/// Without definitions any name may be an attribute's, but not one of ours in another spelling:
/// a roster with `E-mail` beside `email` or a misread `Display Name` is not as it was meant.
fn own_misspelt(name: &AttributeName) -> Option<Issue> {
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
            "the column {} looks like {} misspelt",
            shown(name.as_str()),
            shown(own)
        ),
        format!("write {}", shown(own)),
    ))
}
