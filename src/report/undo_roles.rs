//! The rows of `source.roles` that restore the roles which a run overwrote.

use super::Undo;
use crate::model::{
    ChangeIntent, ChangeOutcome, ChangeRecord, Field, Observed, RoleBases, RoleChange, RoleName,
    RoleStep, StandardRole, Subject, UserMatch,
};
use crate::plan::RoleCatalogue;
use crate::roster::{RoleExportRow, export_roles};
use crate::settings::SourceSettings;

/// The rows that restore the former roles. Omni can't delete a role, so one that did not exist becomes `NO_ACCESS`,
/// which grants nothing. Connections and models have the names of the catalogue, or else their ids. A user that is gone
/// or was recreated has no row, except for the roles that the removal of the user took.
#[must_use]
pub fn undo_roles(
    changes: &[ChangeRecord],
    observed: &Observed,
    catalogue: &RoleCatalogue,
    is_protected: impl Fn(&Subject) -> bool,
    source: &SourceSettings,
) -> Undo {
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for change in changes {
        rows.extend(taken_by_removal(change, catalogue));
        let Some(role) = &change.intent.role else {
            continue;
        };
        let subject = &change.intent.subject;
        let mut note = |text: &str| notes.push(format!("{subject} on {}: {text}", role.scope));
        match &change.settled {
            None => {
                note("the outcome of its change is unknown; skipped");
                continue;
            }
            Some(settled) if settled.outcome != ChangeOutcome::Applied => continue,
            Some(_) => {}
        }
        if let Some(why) = why_skipped(&change.intent, observed) {
            note(&format!("{why}; skipped"));
            continue;
        }
        let ids = &role.scope.ids;
        let before = match (&role.from, &ids.model) {
            (Some(from), _) => from.clone(),
            (None, Some(_)) => {
                note("had no role, which can't be restored; NO_ACCESS grants nothing");
                RoleName::Standard(StandardRole::NoAccess)
            }
            (None, None) => {
                note("the API can't take the role of a whole connection away; skipped");
                continue;
            }
        };
        if let Some(now) = changed_since(&change.intent, role, &before, observed) {
            note(&format!(
                "the role was changed since, to {now}, which the row overwrites"
            ));
        }
        let step = RoleStep::between(Some(&role.to), &before, &RoleBases::default());
        let may_lower = matches!(step, RoleStep::Lower | RoleStep::Unknown);
        if may_lower && is_protected(subject) {
            note("the user is protected, so no run assigns a lower role; assign it in Omni");
        }
        let (connection, model) = catalogue.names(ids);
        rows.push(RoleExportRow {
            subject: subject.clone(),
            connection,
            model,
            role: before,
        });
    }
    Undo {
        rows: rows.len(),
        csv: export_roles(rows, source.into()),
        notes,
    }
}

/// Why the role of a user can't be restored, as a clause.
fn why_skipped(intent: &ChangeIntent, observed: &Observed) -> Option<&'static str> {
    match observed.get(intent.subject.email()?) {
        Some(UserMatch::One(user)) => {
            let is_other = intent.user_id.as_ref().is_some_and(|id| *id != user.id);
            is_other.then_some("was recreated since")
        }
        Some(UserMatch::Several(_)) => Some("several users have this email"),
        None => Some("is no longer in Omni"),
    }
}

/// The direct role as last known, if it is neither the assigned one nor the one from before.
fn changed_since<'a>(
    intent: &ChangeIntent,
    role: &RoleChange,
    before: &RoleName,
    observed: &'a Observed,
) -> Option<&'a RoleName> {
    let holder = intent.holder()?;
    let now = observed.roles().direct(&holder, &role.scope.ids)??;
    (*now != role.to && now != before).then_some(now)
}

/// The rows for the direct roles that the removal of a user took. They count once the user exists again.
fn taken_by_removal(
    change: &ChangeRecord,
    catalogue: &RoleCatalogue,
) -> impl Iterator<Item = RoleExportRow> {
    let settled = change.settled.as_ref();
    let is_applied = settled.is_some_and(|settled| settled.outcome == ChangeOutcome::Applied);
    let fields = change.intent.fields.iter().filter(move |_| is_applied);
    fields.filter_map(|one| {
        let (Field::Role(scope), Some(role)) = (&one.field, &one.from) else {
            return None;
        };
        let (connection, model) = catalogue.names(scope);
        Some(RoleExportRow {
            subject: change.intent.subject.clone(),
            connection,
            model,
            role: RoleName::parse(role.first()).ok()?,
        })
    })
}
