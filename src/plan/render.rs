//! A plan as a person reads it, and as a machine does. Sorted, so that the same plan is the same
//! text.

use super::{Action, Change, FieldChange};
use crate::model::{Counts, Escaped, Operation, Value};
use crate::run::Prepared;
use serde::Serialize;
use std::fmt::{self, Write};
use std::time::Duration;

/// What carrying a plan out takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Requests.
    pub requests: usize,
    /// Time, at the rate that is set.
    pub time: Duration,
}

/// A plan as text: one block a change, old → new, then what is held, then the counts and the cost.
#[must_use]
pub fn text(prepared: &Prepared, cost: Cost) -> String {
    let mut out = String::new();
    write_text(&mut out, prepared, cost).expect("a String takes every write");
    out
}

fn write_text(out: &mut String, prepared: &Prepared, cost: Cost) -> fmt::Result {
    let Prepared { verdict, .. } = prepared;
    for change in verdict.passed() {
        write_change(out, change)?;
    }
    for (held, changes) in verdict.held() {
        writeln!(
            out,
            "\nheld by policy.{} ({}): {}",
            held.rule, held.count, held.why
        )?;
        for change in changes {
            write_change(out, change)?;
        }
    }
    for change in verdict.protected() {
        writeln!(out, "  protected, not removed: {}", change.email)?;
    }
    for change in verdict.quarantined() {
        writeln!(
            out,
            "  in quarantine, tried later (by `apply` at once): {}",
            change.email
        )?;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    write_summary(out, prepared, cost)
}

fn write_summary(out: &mut String, prepared: &Prepared, cost: Cost) -> fmt::Result {
    let Prepared {
        verdict,
        desired,
        known,
        problems,
        unchanged,
        ambiguous,
        ..
    } = prepared;
    let passed = Counts::of(verdict.passed().iter().map(Change::kind));
    let held: usize = verdict.held().iter().map(|(held, _)| held.count).sum();
    writeln!(
        out,
        "{} rows, {} users in Omni: {}, {} unchanged",
        desired.rows,
        known.observed.count(),
        counted(&passed),
        unchanged
    )?;
    let others = [
        (held, "held"),
        (verdict.protected().len(), "protected"),
        (verdict.quarantined().len(), "in quarantine"),
        (desired.frozen.len(), "frozen by bad rows"),
        (problems.len(), "that can't be made"),
        (ambiguous.len(), "ambiguous"),
        (prepared.unnamed, "whom the roster does not name"),
    ];
    let others: Vec<_> = others
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if !others.is_empty() {
        writeln!(out, "not touched: {}", others.join(", "))?;
    }
    for why in &prepared.withheld {
        writeln!(out, "withheld: {why}")?;
    }
    match cost.requests {
        0 => writeln!(out, "nothing to send"),
        requests => writeln!(
            out,
            "to send: {}, {}",
            plural(requests, "request"),
            about(cost.time)
        ),
    }
}

/// `2 to delete, 1 to update`; `nothing to do`.
#[must_use]
pub fn counted(counts: &Counts) -> String {
    let parts: Vec<_> = Operation::ALL
        .iter()
        .filter(|kind| counts.get(**kind) > 0)
        .map(|kind| format!("{} to {kind}", counts.get(*kind)))
        .collect();
    if parts.is_empty() {
        "nothing to do".into()
    } else {
        parts.join(", ")
    }
}

/// `1 request`, `2 requests`.
#[must_use]
pub fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A time as a person says it: `a moment`, `about 3m 20s`.
#[must_use]
pub fn about(time: Duration) -> String {
    match time.as_secs() {
        0..=1 => "a moment".into(),
        seconds => format!(
            "about {}",
            humantime::format_duration(Duration::from_secs(seconds))
        ),
    }
}

/// One change as a plan shows it.
#[must_use]
pub fn change_text(change: &Change) -> String {
    let mut out = String::new();
    write_change(&mut out, change).expect("a String takes every write");
    out
}

fn write_change(out: &mut String, change: &Change) -> fmt::Result {
    let sign = match change.kind() {
        Operation::Delete | Operation::Deactivate => '-',
        Operation::Update => '~',
        Operation::Create => '+',
    };
    write!(
        out,
        "{sign} {:<10} {}",
        change.kind().as_str(),
        change.email
    )?;
    match &change.place {
        Some(place) => writeln!(out, "  ({}:{})", place.file, place.line)?,
        None => writeln!(out, "  (the roster does not name them)")?,
    }
    match &change.action {
        Action::Delete(_) | Action::Deactivate(_) => Ok(()),
        Action::Update(_, fields) => fields.iter().try_for_each(|field| write_field(out, field)),
        Action::Create(spec) => {
            let name = Value::one(spec.display_name.as_deref().unwrap_or_default());
            let values = spec
                .attributes
                .iter()
                .map(|(name, value)| (name.as_str(), value));
            for (field, value) in std::iter::once(("display_name", &name)).chain(values) {
                if let Some(value) = value {
                    writeln!(out, "    {}: {value}", Escaped(field))?;
                }
            }
            Ok(())
        }
    }
}

fn write_field(out: &mut String, field: &FieldChange) -> fmt::Result {
    write!(out, "    {}: ", Escaped(field.name()))?;
    match field {
        FieldChange::DisplayName { from, to } => {
            writeln!(
                out,
                "{} => {}",
                shown(Value::one(from).as_ref()),
                shown(Value::one(to).as_ref())
            )
        }
        FieldChange::Reactivate => writeln!(out, "no => yes"),
        FieldChange::Attribute {
            from,
            to,
            falls_back_to,
            name: _,
        } => {
            write!(out, "{} => {}", shown(from.as_ref()), shown(to.as_ref()))?;
            match falls_back_to {
                Some(default) => writeln!(out, ", which falls back to the default {default}"),
                None => writeln!(out),
            }
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "(none)".into(), Value::to_string)
}

/// A plan for machines. Fields are only ever added.
#[derive(Debug, Serialize)]
pub struct PlanDoc<'a> {
    rows: u64,
    users: usize,
    unchanged: usize,
    unnamed: usize,
    counts: CountsDoc,
    changes: Vec<ChangeDoc<'a>>,
    held: Vec<HeldDoc<'a>>,
    protected: Vec<&'a str>,
    quarantined: Vec<&'a str>,
    frozen: Vec<&'a str>,
    ambiguous: Vec<&'a str>,
    problems: Vec<ProblemDoc<'a>>,
    withheld: Vec<WithheldDoc<'a>>,
    warnings: &'a [String],
    requests: usize,
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct CountsDoc {
    delete: usize,
    deactivate: usize,
    update: usize,
    create: usize,
}

#[derive(Debug, Serialize)]
struct WithheldDoc<'a> {
    why: &'a str,
    emails: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct HeldDoc<'a> {
    rule: &'a str,
    count: usize,
    why: &'a str,
    changes: Vec<ChangeDoc<'a>>,
}

/// A change, for machines.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeDoc<'a> {
    kind: &'static str,
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldDoc<'a>>,
}

#[derive(Debug, Serialize)]
struct FieldDoc<'a> {
    name: &'a str,
    from: ValueDoc<'a>,
    to: ValueDoc<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    falls_back_to: Option<ValueDoc<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ValueDoc<'a> {
    None,
    Flag(bool),
    Name(&'a str),
    Value(&'a Value),
}

/// Something wrong in the roster, for machines.
#[derive(Debug, Serialize)]
pub struct ProblemDoc<'a> {
    kind: &'static str,
    file: &'a str,
    line: u64,
    column: Option<usize>,
    column_name: Option<&'a str>,
    email: Option<&'a str>,
    what: &'a str,
    remedy: &'a str,
}

impl<'a> From<&'a crate::model::Problem> for ProblemDoc<'a> {
    fn from(problem: &'a crate::model::Problem) -> Self {
        let column = problem.place.column.as_ref();
        Self {
            kind: problem.kind.as_str(),
            file: &problem.place.file,
            line: problem.place.line,
            column: column.map(|(number, _)| *number),
            column_name: column.map(|(_, name)| &**name),
            email: problem.email.as_ref().map(|email| email.as_str()),
            what: &problem.what,
            remedy: &problem.remedy,
        }
    }
}

impl<'a> PlanDoc<'a> {
    /// The document of a plan.
    #[must_use]
    pub fn new(prepared: &'a Prepared, cost: Cost) -> Self {
        let Prepared {
            desired,
            known,
            verdict,
            drift,
            problems,
            ..
        } = prepared;
        let mut frozen: Vec<_> = desired.frozen.keys().collect();
        frozen.sort();
        Self {
            rows: desired.rows,
            users: known.observed.count(),
            unchanged: prepared.unchanged,
            unnamed: prepared.unnamed,
            counts: CountsDoc {
                delete: drift.get(Operation::Delete),
                deactivate: drift.get(Operation::Deactivate),
                update: drift.get(Operation::Update),
                create: drift.get(Operation::Create),
            },
            changes: verdict.passed().iter().map(ChangeDoc::from).collect(),
            held: verdict
                .held()
                .iter()
                .map(|(held, changes)| HeldDoc {
                    rule: held.rule,
                    count: held.count,
                    why: &held.why,
                    changes: changes.iter().map(ChangeDoc::from).collect(),
                })
                .collect(),
            protected: emails(verdict.protected()),
            quarantined: emails(verdict.quarantined()),
            frozen: frozen.into_iter().map(|email| email.as_str()).collect(),
            ambiguous: prepared
                .ambiguous
                .iter()
                .map(|email| email.as_str())
                .collect(),
            problems: desired
                .problems()
                .into_iter()
                .chain(problems)
                .map(Into::into)
                .collect(),
            withheld: prepared
                .withheld
                .iter()
                .map(|one| WithheldDoc {
                    why: &one.why,
                    emails: one.emails.iter().map(|email| email.as_str()).collect(),
                })
                .collect(),
            warnings: &prepared.warnings,
            requests: cost.requests,
            seconds: cost.time.as_secs(),
        }
    }
}

fn emails(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.email.as_str()).collect()
}

impl<'a> From<&'a Change> for ChangeDoc<'a> {
    fn from(change: &'a Change) -> Self {
        let (id, fields) = match &change.action {
            Action::Delete(user) | Action::Deactivate(user) => (Some(&user.id), Vec::new()),
            Action::Update(user, fields) => {
                (Some(&user.id), fields.iter().map(FieldDoc::from).collect())
            }
            Action::Create(spec) => {
                let name = spec
                    .display_name
                    .as_deref()
                    .map_or(ValueDoc::None, ValueDoc::Name);
                let name = FieldDoc::made("display_name", name);
                let values = spec.attributes.iter().filter(|(_, value)| value.is_some());
                let values = values
                    .map(|(name, value)| FieldDoc::made(name.as_str(), value.as_ref().into()));
                (None, std::iter::once(name).chain(values).collect())
            }
        };
        Self {
            kind: change.kind().as_str(),
            email: change.email.as_str(),
            id: id.map(|id| id.as_str()),
            file: change.place.as_ref().map(|place| &*place.file),
            line: change.place.as_ref().map(|place| place.line),
            fields,
        }
    }
}

impl<'a> FieldDoc<'a> {
    fn made(name: &'a str, to: ValueDoc<'a>) -> Self {
        Self {
            name,
            from: ValueDoc::None,
            to,
            falls_back_to: None,
        }
    }
}

impl<'a> From<&'a FieldChange> for FieldDoc<'a> {
    fn from(field: &'a FieldChange) -> Self {
        let (from, to, falls_back_to) = match field {
            FieldChange::DisplayName { from, to } => {
                (ValueDoc::Name(from), ValueDoc::Name(to), None)
            }
            FieldChange::Reactivate => (ValueDoc::Flag(false), ValueDoc::Flag(true), None),
            FieldChange::Attribute {
                from,
                to,
                falls_back_to,
                name: _,
            } => (
                from.as_ref().into(),
                to.as_ref().into(),
                falls_back_to.as_ref().map(|value| Some(value).into()),
            ),
        };
        Self {
            name: field.name(),
            from,
            to,
            falls_back_to,
        }
    }
}

impl<'a> From<Option<&'a Value>> for ValueDoc<'a> {
    fn from(value: Option<&'a Value>) -> Self {
        value.map_or(Self::None, Self::Value)
    }
}
