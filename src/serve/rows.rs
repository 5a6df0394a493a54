//! What stands in a page's tables: every word ready, so that a template only places it.

use super::standing::Severity;
use crate::model::{Change, ChangeRecord, FieldChange, RunEnd, RunRecord, RunState, Value};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A moment, as machines and people read it.
#[derive(Debug)]
pub(super) struct When {
    pub(super) iso: String,
    pub(super) clock: String,
    pub(super) ago: String,
}

impl When {
    pub(super) fn new(at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self {
            iso: at.to_rfc3339_opts(SecondsFormat::Secs, true),
            clock: at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            ago: match now - at {
                past if past >= TimeDelta::zero() => format!("{} ago", rough(past)),
                future => format!("in {}", rough(-future)),
            },
        }
    }
}

/// `5 s`, `3 min`, `2 h`, `4 days`.
fn rough(span: TimeDelta) -> String {
    match span.num_seconds() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// How long something took: `40 ms`, `1.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn took(span: TimeDelta) -> String {
    let millis = span.num_milliseconds().max(0);
    // Rounded once, to what is shown.
    match (millis, (millis + 500) / 1000) {
        (0..950, _) => format!("{millis} ms"),
        (0..9950, _) => format!("{}.{} s", (millis + 50) / 1000, (millis + 50) / 100 % 10),
        (_, seconds @ 0..60) => format!("{seconds} s"),
        (_, seconds @ 60..3600) => format!("{} min {} s", seconds / 60, seconds % 60),
        (_, seconds) => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    let Ok(encoded) = askama::filters::urlencode_strict(text);
    encoded.to_string()
}

/// A run in a list.
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) number: u64,
    pub(super) started: When,
    pub(super) trigger: &'static str,
    pub(super) outcome: String,
    pub(super) tone: Severity,
    pub(super) took: String,
    pub(super) end: Option<Box<RunEnd>>,
}

impl RunRow {
    pub(super) fn new(run: &RunRecord, now: DateTime<Utc>) -> Self {
        let outcome = run.state.as_str().to_owned();
        let end = match &run.state {
            RunState::Ended(end) => Some(end.clone()),
            RunState::Open | RunState::Interrupted => None,
        };
        Self {
            number: run.number.0,
            started: When::new(run.start.started, now),
            trigger: run.start.trigger.as_str(),
            tone: Severity::of(&outcome),
            outcome,
            took: end
                .as_ref()
                .map_or_else(String::new, |end| took(end.ended - run.start.started)),
            end,
        }
    }

    /// The counts of the run's end, with their names and the class of their column.
    pub(super) fn counts(&self) -> [(&'static str, String, &'static str); 5] {
        let count = |of: fn(&RunEnd) -> u64| {
            let end = self.end.as_deref();
            end.map_or_else(|| "–".to_owned(), |end| of(end).to_string())
        };
        [
            ("Done", count(|end| end.applied), "number"),
            ("Failed", count(|end| end.failed), "number"),
            ("Held", count(|end| end.held), "number"),
            ("Bad rows", count(|end| end.bad_rows), "number wide"),
            ("Requests", count(|end| end.requests), "number wide"),
        ]
    }
}

/// A change in a list.
#[derive(Debug)]
pub(super) struct ChangeRow {
    pub(super) run: u64,
    pub(super) at: When,
    pub(super) operation: &'static str,
    pub(super) email: String,
    pub(super) link: String,
    pub(super) outcome: &'static str,
    pub(super) tone: Severity,
    pub(super) detail: String,
    pub(super) approved: bool,
    pub(super) fields: Vec<FieldRow>,
}

/// A field that changes.
#[derive(Debug)]
pub(super) struct FieldRow {
    pub(super) name: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// What applies once it is cleared; told of what is still to come.
    pub(super) falls_back_to: Option<String>,
}

impl ChangeRow {
    pub(super) fn new(change: &ChangeRecord, now: DateTime<Utc>) -> Self {
        let (outcome, detail) = match &change.settled {
            None => ("unknown", "what became of it is not known yet"),
            Some(settled) => (settled.outcome.as_str(), settled.detail.as_str()),
        };
        let intent = &change.intent;
        Self {
            run: change.run.0,
            at: When::new(intent.intended, now),
            operation: intent.operation.as_str(),
            email: intent.email.as_str().into(),
            link: encoded(intent.email.as_str()),
            outcome,
            tone: Severity::of(outcome),
            detail: detail.into(),
            approved: intent.approved,
            fields: intent.fields.iter().map(FieldRow::new).collect(),
        }
    }
}

impl FieldRow {
    pub(super) fn new(record: &FieldChange) -> Self {
        let shown = |value: &Option<Value>| value.as_ref().map(Value::to_string);
        Self {
            name: record.field.name().into(),
            from: shown(&record.from),
            to: shown(&record.to),
            falls_back_to: shown(&record.default),
        }
    }

    /// The fields of a change that is still to come.
    pub(super) fn all_of(change: &Change) -> Vec<Self> {
        change.fields().iter().map(Self::new).collect()
    }
}

/// Somebody, and where more is told of them.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) email: String,
    pub(super) link: String,
    pub(super) what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_people_say_them() {
        let told = |millis| took(TimeDelta::milliseconds(millis));
        for (millis, text) in [
            (-5, "0 ms"),
            (449, "449 ms"),
            (950, "1.0 s"),
            (9_949, "9.9 s"),
            (9_950, "10 s"),
            (10_499, "10 s"),
            (10_500, "11 s"),
            (59_499, "59 s"),
            (59_999, "1 min 0 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(told(millis), text, "{millis}");
        }
    }

    #[test]
    fn moments_are_told_from_now() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        let ago = |seconds| When::new(now - TimeDelta::seconds(seconds), now).ago;
        assert_eq!(ago(5), "5 s ago");
        assert_eq!(ago(125), "2 min ago");
        assert_eq!(ago(-7200), "in 2 h");
        assert_eq!(ago(300_000), "3 days ago");
    }

    #[test]
    fn texts_are_encoded_for_addresses() {
        assert_eq!(encoded("a/b+c@x.co"), "a%2Fb%2Bc%40x.co");
    }
}
