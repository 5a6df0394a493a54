//! Lints that compare with Omni: planned values that are probably not intended. They contain no values.

use crate::model::{
    Action, Change, Field, FieldChange, Location, Problem, ProblemKind, Texts, Value, nfc,
};
use std::collections::BTreeMap;

/// The minimum number of changes of letter case alone.
const MIN_CASE_CHANGES: usize = 3;

/// Words for true and false as spreadsheets write them, in lower case.
const BOOLEANS: [&str; 14] = [
    "true",
    "false",
    "wahr",
    "falsch",
    "vrai",
    "faux",
    "verdadero",
    "falso",
    "vero",
    "verdadeiro",
    "waar",
    "onwaar",
    "prawda",
    "fałsz",
];

/// Values of one field with the same lint.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LintedRows {
    count: usize,
    /// The first row.
    location: Location,
}

/// Values by lint and field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanLints(BTreeMap<(PlanLint, Field), LintedRows>);

/// What is probably not intended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PlanLint {
    Boolean,
    LostLetter,
    LetterCase,
    Respelled,
}

impl PlanLints {
    fn add(&mut self, kind: PlanLint, field: &Field, location: &Location) {
        let one = self.0.entry((kind, field.clone()));
        let one = one.or_insert_with(|| LintedRows {
            count: 0,
            location: location.clone(),
        });
        one.count += 1;
        if is_before(location, &one.location) {
            one.location = location.clone();
        }
    }

    /// Notes a value that is equal to Omni's and has other characters.
    pub(super) fn respelled(&mut self, field: &Field, location: &Location) {
        self.add(PlanLint::Respelled, field, location);
    }

    /// Adds the values of other rows.
    pub(super) fn join(&mut self, other: Self) {
        for ((kind, field), found) in other.0 {
            let LintedRows { count, location } = found;
            self.add(kind, &field, &location);
            if let Some(one) = self.0.get_mut(&(kind, field)) {
                one.count += count - 1;
            }
        }
    }
}

fn is_before(a: &Location, b: &Location) -> bool {
    (&a.file, a.line) < (&b.file, b.line)
}

/// Whether a value equals Omni's and has other characters, because letters are composed or decomposed.
pub(super) fn is_respelled(a: &Value, b: &Value) -> bool {
    let is_plain = |value: &Value| value.items().iter().all(|text| text.is_ascii());
    if is_plain(a) && is_plain(b) {
        return false;
    }
    let composed = |value: &Value| {
        let mut items: Vec<_> = value
            .items()
            .iter()
            .map(|text| nfc(text).into_owned())
            .collect();
        items.sort();
        items
    };
    let plain = |value: &Value| {
        let mut items: Vec<_> = value.items().to_vec();
        items.sort();
        items
    };
    plain(a) != plain(b) && composed(a) == composed(b)
}

/// The lints on changes, and on values that are equal. `upserted` is the number of users in Omni that the roster
/// upserts.
pub(super) fn lints(changes: &[Change], equal: &PlanLints, upserted: usize) -> Vec<Problem> {
    let mut found = equal.clone();
    for change in changes {
        if let Action::Update(_, fields) = &change.action {
            fields
                .iter()
                .for_each(|field| check(change, field, &mut found));
        }
    }
    let is_usual = |((kind, _), found): &(&(PlanLint, Field), &LintedRows)| {
        *kind != PlanLint::LetterCase
            || (found.count >= MIN_CASE_CHANGES && 2 * found.count > upserted)
    };
    let all = found.0.iter().filter(is_usual);
    all.map(|((kind, field), found)| problem(*kind, field, found))
        .collect()
}

fn check(change: &Change, field: &FieldChange, found: &mut PlanLints) {
    let (Some(from), Some(to), Some(location)) = (&field.from, &field.to, &change.location) else {
        return;
    };
    if from.items().len() != to.items().len() || field.field == Field::Active {
        return;
    }
    let is_list = matches!(from.texts(), Texts::Many(_));
    let pairs = || from.items().iter().zip(to.items());
    let kind = if pairs().any(|(from, to)| is_boolean(from, to)) {
        PlanLint::Boolean
    } else if pairs().any(|(from, to)| is_lost(from, to)) {
        PlanLint::LostLetter
    } else if !is_list && pairs().all(|(from, to)| from.to_lowercase() == to.to_lowercase()) {
        PlanLint::LetterCase
    } else {
        return;
    };
    found.add(kind, &field.field, location);
}

/// Whether a boolean is replaced by a spreadsheet's word for one.
fn is_boolean(from: &str, to: &str) -> bool {
    let is_omnis = |text: &str| matches!(text, "true" | "false");
    is_omnis(from) && !is_omnis(to) && BOOLEANS.contains(&&*to.to_lowercase())
}

/// Whether letters of a text are replaced by `?` or U+FFFD, and all else is equal.
fn is_lost(from: &str, to: &str) -> bool {
    let mut is_lost = false;
    let (from, to) = (nfc(from), nfc(to));
    let (mut a, mut b) = (from.chars(), to.chars());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return is_lost,
            (Some(a), Some('?' | '\u{fffd}')) if a.is_alphabetic() => is_lost = true,
            (a, b) if a == b => {}
            _ => return false,
        }
    }
}

fn problem(kind: PlanLint, field: &Field, found: &LintedRows) -> Problem {
    let (kind, message, remedy) = match kind {
        PlanLint::Boolean => (
            ProblemKind::Boolean,
            "Omni has true or false, and the roster a spreadsheet's word for it",
            "format the column as text and write true or false",
        ),
        PlanLint::LostLetter => (
            ProblemKind::LostCharacter,
            "has ? or U+FFFD where Omni has a letter",
            "export the roster again in UTF-8",
        ),
        PlanLint::LetterCase => (
            ProblemKind::LetterCase,
            "differs from Omni in letter case alone, for most users",
            "check how the roster was exported",
        ),
        PlanLint::Respelled => (
            ProblemKind::Decomposed,
            "differs from Omni's value in Unicode form alone (Omni stores accents as separate characters)",
            "no action is needed; other programs may treat the two as different",
        ),
    };
    let count = match found.count {
        1 => String::new(),
        count => format!(" ({count} rows)"),
    };
    Problem {
        kind,
        location: found.location.clone(),
        message: format!("{field}: {message}{count}"),
        remedy: remedy.into(),
        email: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_lost_letters_and_booleans() {
        assert!(is_lost("Müller", "M?ller") && is_lost("Zoë", "Zo\u{fffd}"));
        assert!(!is_lost("Why?", "Why?") && !is_lost("Müller", "Muller") && !is_lost("a b", "a?b"));
        assert!(is_boolean("true", "TRUE") && is_boolean("false", "WAHR"));
        assert!(!is_boolean("true", "false") && !is_boolean("yes", "TRUE"));
    }
}
