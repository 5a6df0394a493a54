//! Texts for people: numbers, durations, suggestions.

use std::fmt::Display;
use std::time::Duration;

/// The word that agrees with a count: `exceeds` with 1, `exceed` with 2.
#[must_use]
pub(crate) fn agree<'a, N: PartialEq + From<u8>>(
    count: N,
    one: &'a str,
    several: &'a str,
) -> &'a str {
    if count == N::from(1) { one } else { several }
}

/// `1 request`, `2 requests`.
#[must_use]
pub(crate) fn plural<N: Display + PartialEq + From<u8> + Copy>(count: N, noun: &str) -> String {
    format!("{count} {noun}{}", agree(count, "", "s"))
}

/// `1 request is`, `2 requests are`.
#[must_use]
pub(crate) fn plural_are<N: Display + PartialEq + From<u8> + Copy>(count: N, noun: &str) -> String {
    format!("{} {}", plural(count, noun), agree(count, "is", "are"))
}

/// The first few of these texts and the number of the others.
pub(crate) fn first_few<T: AsRef<str>>(texts: impl ExactSizeIterator<Item = T>) -> String {
    const MAX_SHOWN: usize = 5;
    let count = texts.len();
    let shown: Vec<_> = texts.take(MAX_SHOWN).collect();
    let shown: Vec<_> = shown.iter().map(AsRef::as_ref).collect();
    let mut text = shown.join(", ");
    if count > MAX_SHOWN {
        text.push_str(&format!(" and {} more", count - MAX_SHOWN));
    }
    text
}

/// A rough duration: `less than 2s`, `about 3m 20s`.
#[must_use]
pub(crate) fn about(duration: Duration) -> String {
    match duration.as_secs() {
        0..=1 => "less than 2s".into(),
        seconds => format!(
            "about {}",
            humantime::format_duration(Duration::from_secs(seconds))
        ),
    }
}

/// Longer names are no misspellings, and comparing them takes time.
const MAX_COMPARED: usize = 100;

/// The candidate most similar to `name`, ignoring case, if one is similar enough to suggest it.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    nearest_by(candidates, |candidate| similarity(name, candidate))
}

/// The candidate with the highest similarity, if that is high enough to suggest it.
pub(crate) fn nearest_by<'a>(
    candidates: impl IntoIterator<Item = &'a str>,
    similarity: impl Fn(&str) -> f64,
) -> Option<&'a str> {
    let candidates = candidates.into_iter();
    candidates
        .map(|candidate| (candidate, similarity(candidate)))
        .filter(|(_, similarity)| *similarity > 0.75)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(candidate, _)| candidate)
}

/// The similarity of a written name to a known one, ignoring case, from 0 to 1. It is 0 if more than half of the
/// written letters would have to change: `y` is not a misspelt `Yap`.
pub(crate) fn similarity(written: &str, known: &str) -> f64 {
    if written.len() > MAX_COMPARED || known.len() > MAX_COMPARED {
        return 0.0;
    }
    let [written, known] = [written, known].map(str::to_lowercase);
    if 2 * strsim::osa_distance(&written, &known) > written.chars().count() {
        return 0.0;
    }
    strsim::jaro_winkler(&written, &known)
}

/// The text with the case of each ASCII letter swapped.
pub(crate) fn swap_ascii_case(text: &str) -> String {
    let swap = |c: char| match c.is_ascii_lowercase() {
        true => c.to_ascii_uppercase(),
        false => c.to_ascii_lowercase(),
    };
    text.chars().map(swap).collect()
}

/// Whether at most `edits` letters must be inserted, removed, replaced or swapped with their neighbour to turn one text
/// into another. Unlike a distance, this ends at the first edit too many, because every user may be compared.
pub(crate) fn is_within_edits(a: &str, b: &str, edits: usize) -> bool {
    a.len().abs_diff(b.len()) <= 4 * edits && within_edits(a, b, edits)
}

fn within_edits(a: &str, b: &str, edits: usize) -> bool {
    let (mut a, mut b) = (a.chars(), b.chars());
    loop {
        let rest = (a.as_str(), b.as_str());
        match (a.next(), b.next()) {
            (None, None) => return true,
            (one, other) if one == other => {}
            _ if edits == 0 => return false,
            (one, other) => {
                let is_swapped = || {
                    let (mut a, mut b) = (a.clone(), b.clone());
                    let swapped = one.is_some() && a.next() == other && b.next() == one;
                    swapped && within_edits(a.as_str(), b.as_str(), edits - 1)
                };
                return within_edits(a.as_str(), b.as_str(), edits - 1)
                    || within_edits(a.as_str(), rest.1, edits - 1)
                    || within_edits(rest.0, b.as_str(), edits - 1)
                    || is_swapped();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_name() {
        let ops = ["upsert", "delete", "deactivate"];
        assert_eq!(nearest("Delet", ops), Some("delete"));
        assert_eq!(nearest("qqq", ops), None);
        // Short texts begin many names.
        assert_eq!(nearest("d", ops), None);
        assert_eq!(nearest("up", ops), None);
        assert_eq!(nearest(&"delete".repeat(1000), ops), None);
    }

    #[test]
    fn counts_edits_like_strsim() {
        let texts = [
            "",
            "a",
            "ab",
            "ba",
            "abc",
            "acb",
            "zoe@exmaple.com",
            "zoe@example.com",
            "zo@exmple.com",
            "é",
            "éa",
        ];
        for a in texts {
            for b in texts {
                for edits in 0..3 {
                    let expected = strsim::osa_distance(a, b) <= edits;
                    assert_eq!(is_within_edits(a, b, edits), expected, "{a} {b} {edits}");
                }
            }
        }
    }

    #[test]
    fn only_a_count_of_one_is_singular() {
        assert_eq!(plural(0_usize, "row"), "0 rows");
        assert_eq!(plural(1_u64, "row"), "1 row");
        assert_eq!(plural(2_u32, "row"), "2 rows");
    }

    #[test]
    fn durations_are_whole_seconds() {
        assert_eq!(about(Duration::from_millis(1999)), "less than 2s");
        assert_eq!(about(Duration::from_millis(200_900)), "about 3m 20s");
    }
}
