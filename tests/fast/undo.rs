//! Undo rosters as a function of values.

use chrono::DateTime;
use omni_user_sync::model::{
    AttributeName, Attributes, ChangeId, ChangeIntent, ChangeOutcome, ChangeRecord, Email, Field,
    FieldChange, Observed, ObservedUser, Operation, RunNumber, Schema, Settled, UserId, Value,
};
use omni_user_sync::report::undo;
use omni_user_sync::settings::{Environment, SourceSettings, load};

fn source() -> SourceSettings {
    load(None, &Environment::default())
        .expect("the defaults are fine")
        .source
}

/// An applied update of the department from `old` to `new`.
fn update(name: &str) -> ChangeRecord {
    let at = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    let department = Field::Attribute(AttributeName::new("department"));
    ChangeRecord {
        id: ChangeId(1),
        run: RunNumber(1),
        is_planned: false,
        intent: ChangeIntent {
            intended: at,
            subject: email(name).into(),
            user_id: Some(id(name)),
            operation: Operation::Update,
            group: None,
            role: None,
            fields: vec![FieldChange::new(
                department,
                Value::one("old"),
                Value::one("new"),
            )],
            approved: false,
        },
        settled: Some(Settled {
            at,
            outcome: ChangeOutcome::Applied,
            detail: String::new(),
        }),
    }
}

fn email(name: &str) -> Email {
    Email::parse(&format!("{name}@x.co")).expect("an email")
}

fn id(name: &str) -> UserId {
    UserId::parse(&format!("id-{name}")).expect("an id")
}

fn user(name: &str, attributes: Option<Attributes<Value>>) -> ObservedUser {
    ObservedUser {
        id: id(name),
        email: email(name),
        display_name: name.into(),
        active: Some(true),
        attributes,
        modified: None,
        owned: None,
    }
}

/// A blank cell would clear the attributes that are not known.
#[test]
fn users_with_unknown_fields_are_skipped() {
    let new = (AttributeName::new("department"), Value::one("new"));
    let known = [new]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let users = [user("ann", Some(known.collect())), user("ben", None)];
    let observed = Observed::new(users, 0);
    let changes = [update("ann"), update("ben")];
    let undo = undo(&changes, &observed, &Schema::unknown(), &source());
    assert_eq!(
        undo.csv,
        "op,email,display_name,department\nupsert,ann@x.co,ann,old\n"
    );
    assert_eq!(undo.rows, 1);
    let note = "ben@x.co: its current fields are not known; skipped";
    assert_eq!(undo.notes, [note]);
}
