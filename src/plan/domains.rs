//! Domains of new users that are probably misspelt: one wrong domain in a roster would give every user a second account.

use crate::model::{Email, Observed};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// The minimum number of creations in a domain. Fewer are seen by whoever reads the plan.
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

/// The domains of created users that no user in Omni has, each with the similar domain that many have.
pub(super) fn misspelt<'a>(
    created: impl Iterator<Item = &'a Email>,
    observed: &'a Observed,
) -> BTreeMap<String, String> {
    let mut new = count(created);
    new.retain(|_, created| *created >= MIN_CREATED);
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
    new.into_keys()
        .filter(|domain| !present.contains_key(domain))
        .filter_map(|domain| Some((domain.to_string(), usual(&domain)?)))
        .collect()
}

fn count<'a>(emails: impl Iterator<Item = &'a Email>) -> HashMap<Cow<'a, str>, usize> {
    let mut counts = HashMap::new();
    for email in emails {
        *counts.entry(of(email)).or_default() += 1;
    }
    counts
}
