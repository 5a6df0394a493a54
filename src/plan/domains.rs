//! Domains of new users that are probably misspelt: one wrong domain in a roster would give every user a second
//! account.

use crate::model::{Approvals, Change, Email, Observed, Operation, Problem, ProblemKind};
use crate::util::text::plural;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// The minimum number of creations in a domain that are held. Fewer are a lint.
const MIN_CREATED: usize = 5;
/// The minimum number of users in Omni that make a domain the usual one.
const MIN_KNOWN: usize = 10;
/// The maximum number of edits between a misspelt domain and the right one.
const MAX_EDITS: usize = 2;

/// The domain of an email, in small letters.
pub(super) fn of(email: &Email) -> Cow<'_, str> {
    let domain = |folded: &str| folded.rfind('@').map_or(0, |at| at + 1);
    match email.folded() {
        Cow::Borrowed(folded) => Cow::Borrowed(&folded[domain(folded)..]),
        Cow::Owned(folded) => Cow::Owned(folded[domain(&folded)..].to_owned()),
    }
}

/// A domain that no user in Omni has and that resembles one that many have.
pub(super) struct Misspelt {
    /// The similar domain.
    pub(super) usual: String,
    /// The number of created users.
    created: usize,
}

impl Misspelt {
    /// Whether this many creations need an approval.
    pub(super) fn is_held(&self) -> bool {
        self.created >= MIN_CREATED
    }
}

/// The domains of created users that are probably misspelt.
pub(super) fn misspelt<'a>(
    created: impl Iterator<Item = &'a Email>,
    observed: &'a Observed,
) -> BTreeMap<String, Misspelt> {
    let new = count(created);
    if new.is_empty() {
        return BTreeMap::new();
    }
    let present = count(observed.users().map(|user| &user.email));
    let usual = |new: &str| {
        let usual = present.iter().filter(|(_, users)| **users >= MIN_KNOWN);
        usual
            .map(|(domain, _)| (strsim::osa_distance(domain, new), domain))
            .filter(|(edits, _)| *edits <= MAX_EDITS)
            .min()
            .map(|(_, domain)| domain.to_string())
    };
    let is_new = |(domain, _): &(Cow<'_, str>, usize)| !present.contains_key(domain);
    new.into_iter()
        .filter(is_new)
        .filter_map(|(domain, created)| {
            let usual = usual(&domain)?;
            Some((domain.into_owned(), Misspelt { usual, created }))
        })
        .collect()
}

/// Lints on creations that are too few to be held.
pub(super) fn lints(
    passed: &[Change],
    observed: &Observed,
    approved: &Approvals,
) -> impl Iterator<Item = Problem> {
    let created: Vec<_> = passed
        .iter()
        .filter(|change| change.operation() == Operation::Create && !approved.covers(change))
        .filter_map(|change| Some((change.email()?, change)))
        .collect();
    let misspelt = misspelt(created.iter().map(|(email, _)| *email), observed);
    misspelt.into_iter().filter_map(move |(domain, found)| {
        let Misspelt {
            usual,
            created: count,
        } = found;
        let first = created
            .iter()
            .filter(|(email, _)| of(email) == domain)
            .filter_map(|(_, change)| change.location.as_ref())
            .min_by_key(|location| (location.file.clone(), location.line))?;
        Some(Problem {
            kind: ProblemKind::NewDomain,
            location: first.clone(),
            message: format!(
                "{} would be created in {domain}, a domain that no user in Omni has",
                plural(count, "user")
            ),
            remedy: format!("write {usual} if that is meant"),
            email: None,
        })
    })
}

fn count<'a>(emails: impl Iterator<Item = &'a Email>) -> HashMap<Cow<'a, str>, usize> {
    let mut counts = HashMap::new();
    for email in emails {
        *counts.entry(of(email)).or_default() += 1;
    }
    counts
}
