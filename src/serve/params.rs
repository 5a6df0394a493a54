//! Parameters that pages and the API share.

use super::queries::ChangeQuery;
use super::response::url_encode;
use crate::model::{Operation, RunNumber, RunRef};
use crate::state::{ChangeFilter, OutcomeFilter};
use serde::Deserialize;

/// Parses a reference to a run: a number or `latest`.
pub(super) fn parse_run_ref(text: &str) -> Option<RunRef> {
    match text {
        "latest" => Some(RunRef::Latest),
        number => parse_run_number(number).map(RunRef::Number),
    }
}

/// Parses the number of a run. Approvals do not accept `latest`, because a newer run may have replaced
/// the run that the user reviewed.
pub(super) fn parse_run_number(text: &str) -> Option<RunNumber> {
    text.parse().ok().map(RunNumber)
}

/// The query string of a run: which of its changes to show.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ChangeParams {
    #[serde(default)]
    pub(super) operation: String,
    #[serde(default)]
    pub(super) outcome: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) skip: usize,
    limit: Option<usize>,
    pub(super) notice: Option<String>,
}

impl ChangeParams {
    /// The query, with at most `max` changes.
    ///
    /// # Errors
    /// For an unknown operation or outcome, with a sentence that lists the valid words.
    pub(super) fn query(&self, max: usize) -> Result<ChangeQuery, String> {
        let operations = Operation::ALL.map(|operation| (operation.as_str(), operation));
        let filter = ChangeFilter {
            operation: parse_word("operation", &self.operation, &operations)?,
            outcome: parse_word("outcome", &self.outcome, &outcomes())?,
            text: self.text.clone(),
        };
        Ok(ChangeQuery {
            filter,
            skip: self.skip,
            limit: self.limit.unwrap_or(max).min(max),
        })
    }

    pub(super) fn is_filtered(&self) -> bool {
        [&self.operation, &self.outcome, &self.text]
            .iter()
            .any(|value| !value.trim().is_empty())
    }

    /// A link to the page of a run with the same filter and another offset.
    pub(super) fn link(&self, run: u64, skip: usize) -> String {
        let values = [&self.operation, &self.outcome, &self.text];
        let [operation, outcome, text] = values.map(|value| url_encode(value));
        format!(
            "/runs/{run}?operation={operation}&outcome={outcome}&text={text}&skip={skip}#changes"
        )
    }
}

/// The outcomes to filter by.
pub(super) fn outcomes() -> [(&'static str, OutcomeFilter); OutcomeFilter::ALL.len()] {
    OutcomeFilter::ALL.map(|outcome| (outcome.as_str(), outcome))
}

fn parse_word<T: Copy>(name: &str, text: &str, words: &[(&str, T)]) -> Result<Option<T>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| Some(*value)).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("Invalid {name}: expected one of {}.", words.join(", "))
    })
}
