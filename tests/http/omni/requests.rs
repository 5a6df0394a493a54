//! Lookups, definitions and updates.

use super::{email, known_user, says, status, times, writer};
use crate::support::{ATTRIBUTES, World};
use omni_user_sync::model::{AttributeName, Field, FieldChange, UserId, Value, ValueType};
use omni_user_sync::omni::{Definitions, KeyScope, Lookup, OmniError, Reader, Whoami};
use omni_user_sync::sandbox::{Fault, Filter, Options, PutMode, What};
use serde_json::json;

#[tokio::test]
async fn a_put_clears_values_in_both_modes() {
    for put in [PutMode::Replace, PutMode::Merge] {
        let world = World::with(Options {
            put,
            ..Options::default()
        })
        .await
        .set("omni.update_method", "put");
        world.user(
            "ann@x.co",
            "Ann",
            json!({ "region": ["n"], "tier": "gold", "department": "Sales" }),
        );
        world.org().set_active("ann@x.co", false);
        let writer = writer(&world);
        let attribute =
            |name: &str, to| FieldChange::new(Field::Attribute(AttributeName::new(name)), None, to);
        let fields = [
            FieldChange::display_name("Ann", "Ann B"),
            attribute("region", None),
            attribute("quota", None),
            attribute("tier", Value::one("silver")),
        ];
        let user = world.org().user("ann@x.co").expect("there");
        let known = known_user(user["id"].as_str().expect("a text"));
        let definitions = writer.reader().definitions().await;
        let Ok(Definitions::Known(schema)) = definitions else {
            panic!("{definitions:?}");
        };
        writer
            .update(&known, &fields, &schema)
            .await
            .expect("it works");
        let user = world.org().user("ann@x.co").expect("there");
        assert_eq!(
            user[ATTRIBUTES],
            json!({ "tier": "silver", "department": "Sales" }),
            "{put:?}"
        );
        assert_eq!(
            (&user["displayName"], &user["active"]),
            (&json!("Ann B"), &json!(false)),
            "{put:?}"
        );
    }
}

#[tokio::test]
async fn look_up_by_email_accepts_only_matches() {
    let world = World::new().await;
    world.user(r#"a"b\c+d&e=f@x.co"#, "Odd", json!({}));
    world.user("ann@x.co", "Ann", json!({}));
    let reader = world.reader();
    let odd = find(&reader, r#"A"B\c+d&e=f@x.co"#).await;
    assert!(matches!(odd, Lookup::One(_)), "{odd:?}");
    assert!(matches!(find(&reader, "ANN@x.co").await, Lookup::One(_)));
    assert!(matches!(
        find(&reader, "nobody@x.co").await,
        Lookup::NotFound
    ));
    world.user("Ann@x.co", "Ann too", json!({}));
    assert!(matches!(
        find(&reader, "ann@x.co").await,
        Lookup::Several(2)
    ));
}

async fn find(reader: &Reader, text: &str) -> Lookup {
    reader.find(&email(text)).await.expect("an answer")
}

#[tokio::test]
async fn a_look_up_with_other_users_is_unreliable() {
    let world = World::with(Options {
        users: 3,
        filter: Filter::Ignored,
        ..Options::default()
    })
    .await;
    let reader = world.reader();
    for asked in ["user0002@example.com", "ann@x.co"] {
        let found = find(&reader, asked).await;
        assert!(matches!(found, Lookup::Unreliable), "{asked}: {found:?}");
    }
    for body in [
        r#"{"totalResults": 1}"#,
        r#"{"totalResults": 2, "Resources": [{"id": "1", "userName": "ann@x.co"}]}"#,
        r#"{"totalResults": 1, "Resources": [{"id": "../1", "userName": "ann@x.co"}]}"#,
    ] {
        world.org().fault(Fault::next(says(200, body)));
        let found = find(&reader, "ann@x.co").await;
        assert!(matches!(found, Lookup::Unreliable), "{body}: {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn looks_up_by_id() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({ "tier": "gold" }));
    world.user("bob@x.co", "Bob", json!({}));
    let id = |email: &str| {
        let user = world.org().user(email).expect("there");
        UserId::parse(user["id"].as_str().expect("a text")).expect("an id")
    };
    let (ann, bob, reader) = (id("ann@x.co"), id("bob@x.co"), world.reader());
    let found = reader.get(&ann).await.expect("an answer").expect("Ann");
    assert_eq!((found.email, found.id), (email("ann@x.co"), ann.clone()));
    world.org().remove_user("bob@x.co");
    assert!(reader.get(&bob).await.expect("an answer").is_none());

    let stranger = format!(r#"{{"id": "{bob}", "userName": "bob@x.co"}}"#);
    let nameless = format!(r#"{{"id": "{ann}", "userName": "ann"}}"#);
    for body in ["{}", &stranger, &nameless] {
        world.org().fault(times(6, says(200, body)));
        let error = reader.get(&ann).await.expect_err("not Ann");
        let OmniError::Unavailable { .. } = &error else {
            panic!("{body}: {error:?}");
        };
    }
    world.org().fault(Fault::next(status(403, None)));
    let error = reader.get(&ann).await.expect_err("refused");
    assert!(error.ends_run(), "{error:?}");
}

#[tokio::test]
async fn unavailable_definitions_are_not_an_error() {
    let world = World::with(Options {
        definitions: false,
        ..Options::default()
    })
    .await;
    let definitions = world.reader().definitions().await.expect("an answer");
    assert!(matches!(definitions, Definitions::Rejected(code) if code == 403));
}

/// One incomplete definition does not affect the others.
#[tokio::test]
async fn a_definition_without_type_is_a_string() {
    let world = World::new().await;
    let records = json!({ "records": [
        { "name": "odd", "type": null },
        { "name": "seats", "type": "Number", "multiple_values": false },
    ] });
    world.org().fault(times(
        1,
        What::Status {
            code: 200,
            retry_after: None,
            body: Some(records.to_string()),
        },
    ));
    let definitions = world.reader().definitions().await.expect("they are read");
    let schema = definitions.into_schema();
    for (name, operation) in [("odd", ValueType::String), ("seats", ValueType::Number)] {
        let definition = schema.get(&AttributeName::new(name)).expect("is known");
        assert_eq!(
            (definition.value_type, definition.multiple),
            (operation, false),
            "{name}"
        );
    }
}

#[tokio::test]
async fn whoami_tells_kinds_of_keys_apart() {
    for (key, whoami, known) in [
        ("sandbox-key", true, Some(KeyScope::Organisation)),
        ("personal", true, Some(KeyScope::Personal)),
        ("sandbox-key", false, None),
    ] {
        let world = World::with(Options {
            personal_keys: vec!["personal".into()],
            whoami,
            ..Options::default()
        })
        .await
        .with_variable("OMNI_API_KEY", key);
        let scope = match world.reader().whoami().await.expect("an answer") {
            Whoami::Known(identity) => Some(identity.scope),
            Whoami::Unknown => None,
            Whoami::Refused => panic!("{key} is valid"),
        };
        assert_eq!(scope, known, "{key}");
    }
}
