//! The contents of lists and tables on pages, formatted so that templates only place them.

use crate::model::{
    Change, ChangeRecord, Email, FieldChange, GroupRef, Leaver, Operation, RoleChange, RunEnd,
    RunRecord, Subject, Value,
};
use crate::serve::response::url_encode;
use crate::serve::summary::Severity;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A time, absolute and relative to now.
#[derive(Debug)]
pub(super) struct Timestamp {
    pub(super) iso: String,
    pub(super) clock: String,
    pub(super) day: String,
    pub(super) relative: String,
}

impl Timestamp {
    pub(super) fn new(at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self {
            iso: at.to_rfc3339_opts(SecondsFormat::Secs, true),
            clock: format_clock(at),
            day: at.format("%Y-%m-%d").to_string(),
            relative: match now - at {
                past if past >= TimeDelta::zero() => format!("{} ago", rough_duration(past)),
                future => format!("in {}", rough_duration(-future)),
            },
        }
    }
}

/// `2026-03-10 12:00:00 UTC`.
pub(super) fn format_clock(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `5 s`, `3 min`, `2 h`, `4 days`.
fn rough_duration(duration: TimeDelta) -> String {
    match duration.num_seconds() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// `40 ms`, `1.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn format_duration(duration: TimeDelta) -> String {
    let millis = duration.num_milliseconds().max(0);
    // Rounded once, to the precision that is shown.
    match (millis, (millis + 500) / 1000) {
        (0..950, _) => format!("{millis} ms"),
        (0..9950, _) => format!("{}.{} s", (millis + 50) / 1000, (millis + 50) / 100 % 10),
        (_, seconds @ 0..60) => format!("{seconds} s"),
        (_, seconds @ 60..3600) => format!("{} min {} s", seconds / 60, seconds % 60),
        (_, seconds) => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A run in a table.
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) number: u64,
    pub(super) started: Timestamp,
    pub(super) trigger: &'static str,
    pub(super) result: &'static str,
    pub(super) severity: Severity,
    /// Empty until the run has finished.
    pub(super) duration: String,
    end: Option<RunEnd>,
}

impl RunRow {
    pub(super) fn new(run: &RunRecord, now: DateTime<Utc>) -> Self {
        let result = run.state.as_str();
        let end = run.end().cloned();
        let duration = end.as_ref().map(|end| end.ended - run.start.started);
        Self {
            number: run.number.0,
            started: Timestamp::new(run.start.started, now),
            trigger: run.start.trigger.as_str(),
            severity: Severity::of(result),
            result,
            duration: duration.map_or_else(String::new, format_duration),
            end,
        }
    }

    /// The counts of a finished run: the name, the count and the CSS class of each.
    pub(super) fn counts(&self) -> [(&'static str, String, &'static str); 5] {
        let count = |of: fn(&RunEnd) -> u64| {
            let end = self.end.as_ref();
            end.map_or_else(|| "–".to_owned(), |end| of(end).to_string())
        };
        [
            ("Applied", count(|end| end.applied), "number"),
            ("Failed", count(|end| end.failed), "number"),
            ("Held", count(|end| end.held), "number"),
            ("Invalid rows", count(|end| end.bad_rows), "number wide"),
            ("Requests", count(|end| end.requests), "number wide"),
        ]
    }
}

/// A change in a table.
#[derive(Debug)]
pub(super) struct ChangeRow {
    pub(super) run: u64,
    pub(super) at: Timestamp,
    pub(super) operation: &'static str,
    pub(super) user: SubjectLink,
    pub(super) outcome: &'static str,
    pub(super) severity: Severity,
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
    /// The default that applies once the field is cleared; known only for pending changes.
    pub(super) default: Option<String>,
}

impl ChangeRow {
    pub(super) fn new(change: &ChangeRecord, now: DateTime<Utc>) -> Self {
        let outcome = change.outcome_word();
        let detail = match &change.settled {
            Some(settled) => settled.detail.as_str(),
            None if change.is_planned => "",
            None => "the outcome is not known yet",
        };
        let intent = &change.intent;
        Self {
            run: change.run.0,
            at: Timestamp::new(intent.intended, now),
            operation: intent.operation.as_str(),
            user: SubjectLink::new(&intent.subject, ""),
            outcome,
            severity: Severity::of(outcome),
            detail: detail.into(),
            approved: intent.approved,
            fields: FieldRow::all(
                &intent.fields,
                intent.operation,
                intent.group.as_ref(),
                intent.role.as_ref(),
            ),
        }
    }
}

impl FieldRow {
    pub(super) fn new(change: &FieldChange) -> Self {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
        Self {
            name: change.field.name().into(),
            from: text(&change.from),
            to: text(&change.to),
            default: text(&change.default),
        }
    }

    /// The fields of a change; a membership has one, its group, and so has a role.
    pub(super) fn all(
        fields: &[FieldChange],
        operation: Operation,
        group: Option<&GroupRef>,
        role: Option<&RoleChange>,
    ) -> Vec<Self> {
        let role = role.map(|role| Self {
            name: format!("role on {}{}", role.scope, role.mark()),
            from: role.from.as_ref().map(ToString::to_string),
            to: Some(role.to.to_string()),
            default: None,
        });
        let group = group.filter(|_| operation.is_membership());
        let group = group.map(|group| {
            let name = || Some(group.marked());
            let (from, to) = match operation {
                Operation::Leave => (name(), None),
                _ => (None, name()),
            };
            Self {
                name: "group".into(),
                from,
                to,
                default: None,
            }
        });
        let fields = fields.iter().map(Self::new);
        fields.chain(group).chain(role).collect()
    }

    /// The fields of a pending change.
    pub(super) fn of_pending(change: &Change) -> Vec<Self> {
        Self::all(
            &change.fields(),
            change.operation(),
            change.group(),
            change.role(),
        )
    }
}

/// The maximum number of users who leave soon to list.
const MAX_LEAVERS: usize = 50;

/// The length of an email from which on it may be broken, in bytes.
const MAX_UNBROKEN: usize = 32;

/// A user with a link to the page, or a group, which has none; with a note.
#[derive(Debug)]
pub(super) struct SubjectLink {
    pub(super) text: String,
    /// The email, encoded for use in a URL; empty for a group.
    pub(super) path: String,
    /// The email, or the group with its mark, encoded for use in a URL.
    pub(super) cell: String,
    pub(super) note: String,
}

impl SubjectLink {
    pub(super) fn new(subject: &Subject, note: impl Into<String>) -> Self {
        let email = subject.email().map_or("", Email::as_str);
        Self {
            text: subject.to_string(),
            path: url_encode(email),
            cell: url_encode(&subject.cell()),
            note: note.into(),
        }
    }

    /// The first users who leave soon. `count` is the number of all.
    pub(super) fn of_leavers(leavers: &[Leaver], count: usize) -> Vec<Self> {
        let shown = leavers.iter().take(MAX_LEAVERS);
        let links = shown.map(|leaver| {
            let note = format!("{}, {}", leaver.operation, leaver.detail());
            Self::new(&Subject::from(&leaver.email), note)
        });
        let mut links: Vec<_> = links.collect();
        if let (more @ 1.., Some(last)) = (count - links.len(), links.last_mut()) {
            last.note.push_str(&format!(" (and {more} more)"));
        }
        links
    }

    pub(super) fn is_user(&self) -> bool {
        !self.path.is_empty()
    }

    /// The parts between which a browser may break the line. An email of usual length is not broken.
    pub(super) fn parts(&self) -> Vec<&str> {
        match self.text.len() > MAX_UNBROKEN {
            true => self.text.split_inclusive(['@', '.', '+', '_']).collect(),
            false => vec![&self.text],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_once() {
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
            let duration = TimeDelta::milliseconds(millis);
            assert_eq!(format_duration(duration), text, "{millis}");
        }
    }

    #[test]
    fn timestamps_are_relative_to_now() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        let relative = |seconds| Timestamp::new(now - TimeDelta::seconds(seconds), now).relative;
        assert_eq!(relative(5), "5 s ago");
        assert_eq!(relative(125), "2 min ago");
        assert_eq!(relative(-7200), "in 2 h");
        assert_eq!(relative(300_000), "3 days ago");
    }
}
