//! The rows of `source.groups` that undo the memberships which a run changed.

use super::Undo;
use crate::model::{
    ChangeOutcome, ChangeRecord, Field, MembershipChange, MembershipRow, Observed, Operation,
    Subject, UserMatch, reverting,
};
use crate::roster::export;
use crate::settings::SourceSettings;

/// The rows that undo the memberships which a run changed and did not revert itself. A user that is gone or was
/// recreated has no row, except for the memberships that the removal of the user ended.
#[must_use]
pub fn undo_groups(
    changes: &[ChangeRecord],
    observed: &Observed,
    is_protected: impl Fn(&Subject) -> bool,
    source: &SourceSettings,
) -> Undo {
    let (mut rows, mut notes) = (vec![MembershipRow::COLUMNS], Vec::new());
    let reverting = reverting(changes);
    for change in changes {
        let intent = &change.intent;
        rows.extend(ended_by_removal(change));
        let (Some(change_back), Some(group), Some(email)) =
            (reverse(change), &intent.group, intent.subject.email())
        else {
            continue;
        };
        let skip = |why: &str| format!("{email}: {why}; skipped");
        match (&change.settled, observed.get(email)) {
            (None, _) => notes.push(skip("the outcome of its membership is unknown")),
            (Some(settled), _) if settled.outcome != ChangeOutcome::Applied => {}
            (Some(_), _) if reverting.contains(&change.id) => {}
            (Some(_), Some(UserMatch::One(user)))
                if intent.user_id.as_ref().is_none_or(|id| *id == user.id) =>
            {
                let op = match change_back {
                    MembershipChange::Join => "+",
                    MembershipChange::Leave => "-",
                };
                if change_back == MembershipChange::Leave && is_protected(&intent.subject) {
                    notes.push(format!(
                        "{email}: the user is protected, so no run takes the user out of a group; do it in Omni"
                    ));
                }
                rows.push([op, email.as_str(), group.name.as_str()]);
            }
            (Some(_), Some(UserMatch::One(_))) => notes.push(skip("was recreated since")),
            (Some(_), Some(UserMatch::Several(_))) => {
                notes.push(skip("several users have this email"));
            }
            (Some(_), None) => notes.push(skip("is no longer in Omni")),
        }
    }
    Undo {
        rows: rows.len() - 1,
        csv: export::csv_text(source.into(), rows),
        notes,
    }
}

/// The rows for the memberships that the removal of a user ended. They count once the user exists again.
fn ended_by_removal(change: &ChangeRecord) -> impl Iterator<Item = [&str; 3]> {
    let settled = change.settled.as_ref();
    let is_applied = settled.is_some_and(|settled| settled.outcome == ChangeOutcome::Applied);
    let fields = change.intent.fields.iter().filter(move |_| is_applied);
    fields.filter_map(|one| match (&one.field, change.intent.subject.email()) {
        (Field::Group(group), Some(email)) => Some(["+", email.as_str(), group.as_str()]),
        _ => None,
    })
}

/// The membership change that undoes a change.
fn reverse(change: &ChangeRecord) -> Option<MembershipChange> {
    match change.intent.operation {
        Operation::Leave => Some(MembershipChange::Join),
        Operation::Join => Some(MembershipChange::Leave),
        Operation::Delete
        | Operation::Deactivate
        | Operation::Update
        | Operation::Create
        | Operation::Assign
        | Operation::Transfer => None,
    }
}
