//! Held changes on pages.

use super::rows::{FieldRow, SubjectLink, Timestamp};
use crate::model::{HeldChange, HeldRecord};
use crate::serve::queries::HeldView;
use crate::state::APPROVAL_VALID;
use crate::state::render::held_change_doc;
use crate::util::text::plural;
use chrono::{DateTime, Utc};

/// Held users that are listed for each rule.
const MAX_HELD_USERS: usize = 200;

/// The maximum number of schedules that are named for each user.
const MAX_SCHEDULES: usize = 100;

/// Held changes, and the forms to approve them.
#[derive(Debug)]
pub(super) struct HeldCard {
    pub(super) run: u64,
    pub(super) changes: String,
    /// What an approval would cover, unless no change waits for one.
    pub(super) open: Option<String>,
    /// Whether they remove users.
    pub(super) is_danger: bool,
    /// Equal for equal sets of changes that wait for an approval.
    pub(super) set: String,
    pub(super) rules: Vec<RuleCard>,
    pub(super) approved: Option<ApprovalCard>,
    pub(super) is_dry_run: bool,
}

/// The changes that one safety limit holds.
#[derive(Debug)]
pub(super) struct RuleCard {
    pub(super) rule: String,
    pub(super) reason: String,
    pub(super) counts: Vec<String>,
    pub(super) changes: Vec<HeldChangeRow>,
    pub(super) more: usize,
}

/// A held change.
#[derive(Debug)]
pub(super) struct HeldChangeRow {
    pub(super) operation: &'static str,
    pub(super) user: SubjectLink,
    /// The fields, unless the user is removed.
    pub(super) fields: Vec<FieldRow>,
    /// What a removal deletes with the user: `owns 2 schedules: daily, weekly`.
    pub(super) owned: Option<String>,
    pub(super) is_approved: bool,
}

/// An approval, and the end of its validity.
#[derive(Debug)]
pub(super) struct ApprovalCard {
    pub(super) by: String,
    pub(super) at: Timestamp,
    pub(super) until: Timestamp,
}

impl ApprovalCard {
    pub(super) fn new((by, at): &(String, DateTime<Utc>), now: DateTime<Utc>) -> Self {
        Self {
            by: by.clone(),
            at: Timestamp::new(*at, now),
            until: Timestamp::new(*at + APPROVAL_VALID, now),
        }
    }
}

impl HeldCard {
    /// `None` if no change is held.
    pub(super) fn new(view: &HeldView, now: DateTime<Utc>) -> Option<Self> {
        let open = view.open().count();
        (view.count() > 0).then(|| Self {
            run: view.run.0,
            changes: plural(view.count(), "change"),
            open: match open {
                0 => None,
                all if all == view.count() => Some(plural(all, "change")),
                // An approval renews those that are approved already.
                _ => Some("all changes".to_owned()),
            },
            is_danger: view.open().any(|change| change.operation.is_removal()),
            set: set_of(view),
            rules: view
                .held
                .iter()
                .map(|held| RuleCard::new(held, view))
                .collect(),
            approved: view
                .approval()
                .map(|approval| ApprovalCard::new(approval, now)),
            is_dry_run: view.is_dry_run,
        })
    }
}

/// A digest of the changes that wait for an approval.
fn set_of(view: &HeldView) -> String {
    let mut hasher = blake3::Hasher::new();
    for change in view.open() {
        hasher.update(held_change_doc(change).to_string().as_bytes());
    }
    hasher.finalize().to_string()
}

impl RuleCard {
    fn new(held: &HeldRecord, view: &HeldView) -> Self {
        let changes = HeldChange::sorted(&held.changes);
        let changes = changes.iter().take(MAX_HELD_USERS);
        Self {
            rule: held.rule.label(),
            reason: held.reason.clone(),
            counts: held
                .field_counts()
                .iter()
                .map(ToString::to_string)
                .collect(),
            changes: changes
                .map(|change| HeldChangeRow::new(change, view.is_approved(change)))
                .collect(),
            more: held.changes.len().saturating_sub(MAX_HELD_USERS),
        }
    }
}

impl HeldChangeRow {
    pub(super) fn new(change: &HeldChange, is_approved: bool) -> Self {
        let fields = match change.operation.is_removal() {
            true => Vec::new(),
            false => FieldRow::all(
                &change.fields,
                change.operation,
                change.group.as_ref(),
                change.role.as_ref(),
            ),
        };
        Self {
            operation: change.operation.as_str(),
            user: SubjectLink::new(&change.subject, ""),
            fields,
            owned: owned(change),
            is_approved,
        }
    }
}

/// `owns 2 schedules: daily, weekly`, if a removal deletes some.
pub(super) fn owned(removal: &HeldChange) -> Option<String> {
    let names = removal.lost_schedules();
    let count = plural(names.len(), "schedule");
    let shown = &names[..names.len().min(MAX_SCHEDULES)];
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| format!("owns {count}: {}{more}", shown.join(", ")))
}
