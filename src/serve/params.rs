//! Parameters that pages and the API share.

use super::queries::{ChangeQuery, RunQuery};
use super::response::url_encode;
use crate::model::{
    ChangeId, ChangeRecord, Operation, RunNumber, RunRecord, RunRef, Trigger, UserFilter,
};
use crate::state::{ChangeFilter, OutcomeFilter, ResultFilter, RunFilter, UserQuery};
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

/// The query string of the list of runs.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RunParams {
    #[serde(default)]
    pub(super) with_changes: String,
    #[serde(default)]
    pub(super) result: String,
    #[serde(default)]
    pub(super) trigger: String,
    pub(super) before: Option<u64>,
    limit: Option<usize>,
}

impl RunParams {
    /// The query, with `default` and at most `max` runs.
    ///
    /// # Errors
    /// For an unknown word, with a sentence that lists the valid words.
    pub(super) fn query(&self, default: usize, max: usize) -> Result<RunQuery, String> {
        let results: Vec<_> = ResultFilter::all().map(|it| (it.as_str(), it)).collect();
        let triggers = Trigger::ALL.map(|trigger| (trigger.as_str(), trigger));
        let with_changes = [("true", true), ("false", false)];
        let with_changes = parse_word("with_changes", &self.with_changes, &with_changes)?;
        Ok(RunQuery {
            filter: RunFilter {
                with_changes: with_changes.unwrap_or(false),
                result: parse_word("result", &self.result, &results)?,
                trigger: parse_word("trigger", &self.trigger, &triggers)?,
            },
            before: self.before.map(RunNumber),
            limit: self.limit.unwrap_or(default).min(max),
        })
    }

    /// A link to the page with the same filter and the runs before a run.
    pub(super) fn link(&self, before: u64) -> String {
        let values = [&self.with_changes, &self.result, &self.trigger];
        let [with_changes, result, trigger] = values.map(|value| url_encode(value));
        format!(
            "/runs?with_changes={with_changes}&result={result}&trigger={trigger}&before={before}"
        )
    }
}

/// The number of the run before which the next page starts; `None` on the last page.
pub(super) fn next_runs(runs: &[RunRecord], limit: usize) -> Option<u64> {
    let last = runs.last().filter(|_| runs.len() == limit);
    last.map(|run| run.number.0)
}

/// The query string of the changes of all runs.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PrefixParams {
    /// The beginning of an email.
    #[serde(default)]
    pub(super) prefix: String,
    pub(super) before: Option<u64>,
    limit: Option<usize>,
}

impl PrefixParams {
    pub(super) fn before(&self) -> Option<ChangeId> {
        self.before.map(ChangeId)
    }

    /// The number of changes: the default, or what is asked for, and at most `max`.
    pub(super) fn limit(&self, default: usize, max: usize) -> usize {
        self.limit.unwrap_or(default).min(max)
    }
}

/// The number of the change before which the next page starts; `None` on the last page.
pub(super) fn next_changes(changes: &[ChangeRecord], limit: usize) -> Option<u64> {
    let last = changes.last().filter(|_| changes.len() == limit);
    last.map(|change| change.id.0)
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

/// The maximum length of a searched text, in bytes. No email is longer.
const MAX_TEXT: usize = 1280;

/// The query string of a list of users.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct UserParams {
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) prefix: String,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

impl UserParams {
    /// All users with a prefix.
    pub(super) fn of_prefix(prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self {
            prefix,
            ..Self::default()
        }
    }

    /// The query, with at most `max` users.
    ///
    /// # Errors
    /// For an unknown state or a text that is too long, with a sentence.
    pub(super) fn query(&self, default: usize, max: usize) -> Result<UserQuery, String> {
        if self.prefix.len() > MAX_TEXT || self.after.len() > MAX_TEXT {
            return Err(format!(
                "Invalid prefix: it has more than {MAX_TEXT} bytes."
            ));
        }
        let states = UserFilter::ALL.map(|filter| (filter.as_str(), filter));
        Ok(UserQuery {
            filter: parse_word("state", &self.state, &states)?.unwrap_or(UserFilter::All),
            prefix: self.prefix.trim().to_owned(),
            after: self.after.clone(),
            limit: self.limit.unwrap_or(default).clamp(1, max),
        })
    }

    /// A link to the page with this list, in another state or from another user on.
    pub(super) fn link(&self, state: UserFilter, after: &str) -> String {
        let [prefix, after] = [self.prefix.trim(), after].map(url_encode);
        let state = match state {
            UserFilter::All => "",
            state => state.as_str(),
        };
        let parts = [("state", state), ("prefix", &prefix), ("after", &after)];
        let parts = parts.iter().filter(|(_, value)| !value.is_empty());
        let parts: Vec<_> = parts
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        match parts.is_empty() {
            true => "/users".into(),
            false => format!("/users?{}", parts.join("&")),
        }
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
