//! Rows of a file that are about the same: equal ones are one row, different ones are all invalid.

use super::text::Issue;
use crate::model::{Location, ProblemKind};
use std::collections::HashMap;
use std::hash::Hash;

/// A row among those about the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// The first row, and no other one states something else.
    First,
    /// Repeats the first row, which is there.
    Duplicate(Location),
    /// States something else than the row there.
    Conflict(Location),
}

/// Compares rows, each with what it is about, what it states, and its location. Returns one result for each row.
pub(crate) fn repetitions<'a, K: Eq + Hash, V: PartialEq + 'a>(
    rows: impl Iterator<Item = (K, &'a V, &'a Location)>,
) -> Vec<Repetition> {
    let mut seen: HashMap<K, usize> = HashMap::new();
    let mut firsts: Vec<FirstRow<'a, V>> = Vec::new();
    let mut all = Vec::new();
    for (key, value, location) in rows {
        let is_first = !seen.contains_key(&key);
        let at = *seen.entry(key).or_insert(firsts.len());
        if is_first {
            firsts.push(FirstRow {
                value,
                location,
                different: None,
            });
        }
        let first = &mut firsts[at];
        let is_same = first.value == value;
        if !is_same {
            first.different.get_or_insert(location);
        }
        all.push((at, is_first, is_same));
    }
    let repetition = |(at, is_first, is_same): (usize, bool, bool)| {
        let first = &firsts[at];
        match first.different {
            None if is_first => Repetition::First,
            None => Repetition::Duplicate(first.location.clone()),
            Some(different) if is_same => Repetition::Conflict(different.clone()),
            Some(_) => Repetition::Conflict(first.location.clone()),
        }
    };
    all.into_iter().map(repetition).collect()
}

/// The first row about something.
struct FirstRow<'a, V> {
    value: &'a V,
    location: &'a Location,
    /// The first row that states something else.
    different: Option<&'a Location>,
}

/// The lint on a valid row about the same as an invalid one: it is unknown which one is right.
pub(super) fn skipped(reason: &Location) -> Issue {
    let issue = Issue::new(
        format!("this row is skipped, because {reason} is about the same and is invalid"),
        "correct that row",
    );
    issue.kind(ProblemKind::SkippedRow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_one_and_different_ones_conflict() {
        let line = |line| Location::line(&"a.csv".into(), line);
        let rows = [("a", 1), ("b", 1), ("a", 1), ("b", 2), ("b", 1), ("c", 1)];
        let lines: Vec<_> = (1..).take(rows.len()).map(line).collect();
        let rows = rows.iter().zip(&lines);
        let found = repetitions(rows.map(|((key, value), line)| (key, value, line)));
        assert_eq!(
            found,
            [
                Repetition::First,
                Repetition::Conflict(line(4)),
                Repetition::Duplicate(line(1)),
                Repetition::Conflict(line(2)),
                Repetition::Conflict(line(4)),
                Repetition::First,
            ]
        );
    }
}
