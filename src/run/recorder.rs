//! One run's page in the journal: what is about to be sent, and what became of it.

use crate::model::{
    ChangeId, ChangeIntent, ChangeOutcome, Field, FieldRecord, Memory, ObservedUser, RunNumber,
    Settled, UserId, Value,
};
use crate::plan::is_approved;
use crate::plan::quarantine::{self, Cause};
use crate::plan::{Action, Change, FieldChange};
use crate::state::{StateDb, StateError};
use chrono::Utc;

/// Writes a run's changes to the journal.
#[derive(Debug)]
pub struct ChangeRecorder<'a> {
    journal: &'a StateDb,
    run: RunNumber,
    memory: &'a Memory,
}

impl<'a> ChangeRecorder<'a> {
    /// The page of a run that has begun.
    #[must_use]
    pub fn new(journal: &'a StateDb, run: RunNumber, memory: &'a Memory) -> Self {
        Self {
            journal,
            run,
            memory,
        }
    }

    /// Whether a person approved just this.
    pub(super) fn is_approved(&self, change: &Change) -> bool {
        is_approved(change, self.memory)
    }

    /// A change is about to be sent; it is on the disk once this returns.
    pub(super) async fn intend(&self, change: &Change) -> Result<ChangeId, StateError> {
        let intent = ChangeIntent {
            intended: Utc::now(),
            email: change.email.clone(),
            user_id: change.user_id().cloned(),
            kind: change.kind(),
            fields: fields_of(change),
            approved: self.is_approved(change),
        };
        self.journal.intend(self.run, &intent).await
    }

    /// It is known what became of a change; `made` is who was made by it.
    pub(super) async fn settle(
        &self,
        id: ChangeId,
        change: &Change,
        outcome: ChangeOutcome,
        detail: &str,
        cause: Cause,
        made: Option<&UserId>,
    ) -> Result<(), StateError> {
        let settled = Settled {
            at: Utc::now(),
            outcome,
            detail: detail.to_owned(),
        };
        let quarantined = quarantine::after(change, &settled, cause, self.memory);
        let put = async {
            match &quarantined {
                Some(quarantined) => {
                    self.journal
                        .quarantine_put(&change.email, quarantined)
                        .await
                }
                None => Ok(()),
            }
        };
        // Asked for at the same time, so that both share one commit.
        let settle = async {
            match made {
                Some(made) => self.journal.settle_creation(id, &settled, made).await,
                None => self.journal.settle(id, &settled).await,
            }
        };
        tokio::try_join!(settle, put).map(drop)
    }

    /// Whether a change was done before, and is asked for again.
    pub(super) fn is_repeat(&self, change: &Change) -> bool {
        quarantine::is_repeat(change, self.memory)
    }
}

/// What a change does, field by field. A removal takes all of them: so that it can be undone.
pub(crate) fn fields_of(change: &Change) -> Vec<FieldRecord> {
    match &change.action {
        Action::Delete(user) => all_of(user),
        Action::Deactivate(_) => vec![active(true, false)],
        Action::Update(_, fields) => fields.iter().map(record).collect(),
        Action::Create(spec) => {
            let name = spec.display_name.as_deref().and_then(Value::one);
            let name = FieldRecord {
                field: Field::DisplayName,
                from: None,
                to: name,
            };
            let given = spec.attributes.iter().filter(|(_, value)| value.is_some());
            let given = given.map(|(name, value)| FieldRecord {
                field: Field::Attribute(name.clone()),
                from: None,
                to: value.clone(),
            });
            std::iter::once(name).chain(given).collect()
        }
    }
}

fn all_of(user: &ObservedUser) -> Vec<FieldRecord> {
    let name = FieldRecord {
        field: Field::DisplayName,
        from: Value::one(&user.display_name),
        to: None,
    };
    let values = user.attributes.iter().map(|(name, value)| FieldRecord {
        field: Field::Attribute(name.clone()),
        from: Some(value.clone()),
        to: None,
    });
    let inactive = (!user.active).then(|| active(false, false));
    std::iter::once(name)
        .chain(inactive)
        .chain(values)
        .collect()
}

fn record(field: &FieldChange) -> FieldRecord {
    match field {
        FieldChange::DisplayName { from, to } => FieldRecord {
            field: Field::DisplayName,
            from: Value::one(from),
            to: Value::one(to),
        },
        FieldChange::Reactivate => active(false, true),
        FieldChange::Attribute {
            name,
            from,
            to,
            falls_back_to: _,
        } => FieldRecord {
            field: Field::Attribute(name.clone()),
            from: from.clone(),
            to: to.clone(),
        },
    }
}

fn active(from: bool, to: bool) -> FieldRecord {
    let value = |active: bool| Value::one(if active { "true" } else { "false" });
    FieldRecord {
        field: Field::Active,
        from: value(from),
        to: value(to),
    }
}
