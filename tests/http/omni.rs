//! The client against a mock server with faults. Time is paused, so that back-off takes none.

use crate::support::logged::Logged;
use crate::support::{ATTRIBUTES, World};
use omni_user_sync::model::{
    AttributeName, Attributes, ChangeOutcome, Email, Field, FieldChange, ObservedUser, Schema,
    UserId, UserSpec, Value, ValueType,
};
use omni_user_sync::omni::{
    Client, Definitions, KeyScope, Lookup, OmniError, Reader, Whoami, WriteClient, Writer, list,
};
use omni_user_sync::sandbox::{BadKey, Fault, Filter, Options, PutMode, What, When};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn writer(world: &World) -> Writer {
    let settings = world.settings();
    let metrics = world.metrics.clone();
    let client = WriteClient::new(&settings.omni, &settings.state.dir, metrics);
    let client = client.expect("a client");
    let keys = settings.omni.keys.read().expect("keys");
    client.client().begin(&keys);
    client.writer(&CancellationToken::new())
}

fn email(text: &str) -> Email {
    Email::known(text).expect("an email")
}

fn spec(name: &str) -> UserSpec {
    UserSpec {
        display_name: Some(name.into()),
        attributes: Attributes::default(),
    }
}

fn times(times: usize, what: What) -> Fault {
    Fault {
        times,
        ..Fault::next(what)
    }
}

fn status(code: u16, retry_after: Option<u64>) -> What {
    What::Status {
        code,
        retry_after,
        body: None,
    }
}

fn says(code: u16, body: &str) -> What {
    What::Status {
        code,
        retry_after: None,
        body: Some(body.into()),
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_retried_after_temporary_failures() {
    for what in [
        status(500, None),
        status(503, Some(7)),
        status(408, None),
        What::Html { code: 200 },
        What::Html { code: 502 },
        What::CutJson,
        What::Reset,
    ] {
        let world = World::with(Options {
            users: 3,
            ..Options::default()
        })
        .await;
        world.org().fault(times(5, what.clone()));
        let observed = list(&world.reader()).await;
        assert_eq!(observed.expect("the sixth works").count(), 3, "{what:?}");
        assert_eq!(world.org().requests().len(), 6, "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_shows_the_response() {
    for (what, says) in [
        (status(500, None), "HTTP 500 Internal Server Error"),
        (What::Html { code: 200 }, "HTML instead of JSON"),
        (What::Html { code: 200 }, "it starts with \"<"),
        (What::CutJson, "connection lost"),
        (What::Reset, "connection lost"),
    ] {
        let world = World::new().await;
        world.org().fault(times(6, what.clone()));
        let error = list(&world.reader()).await.expect_err("it never works");
        assert!(
            matches!(error, OmniError::Unavailable { attempts: 6, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(says), "{what:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn final_errors_are_not_retried() {
    for (what, says) in [
        (status(401, None), "omni.api_key_file"),
        (status(403, None), "403"),
        (
            What::Redirect {
                to: "http://127.0.0.1:1/elsewhere".into(),
            },
            "redirect",
        ),
        (status(418, None), "418"),
    ] {
        let world = World::new().await;
        world.org().fault(times(9, what.clone()));
        let error = list(&world.reader()).await.expect_err("refused");
        assert!(error.to_string().contains(says), "{what:?}: {error}");
        assert!(!error.to_string().contains("sandbox-key"), "{error}");
        assert_eq!(world.org().requests().len(), 1, "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_failures_in_a_row_end_the_run() {
    let world = World::new().await;
    world.org().fault(times(99, What::Reset));
    let reader = world.reader();
    let mut last = String::new();
    for _ in 0..5 {
        let error = list(&reader).await.expect_err("it never works");
        last = error.to_string();
    }
    assert!(last.contains("20 consecutive failures"), "{last}");
    assert!(last.contains("connection lost"), "{last}");
    assert_eq!(
        world.org().requests().len(),
        20,
        "nothing is sent after that"
    );
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_an_unanswered_write_is_unknown() {
    let world = World::new().await;
    world.org().fault(times(18, What::Reset));
    world.org().fault(times(2, What::LostReply));
    let writer = writer(&world);
    for _ in 0..3 {
        list(writer.reader()).await.expect_err("it never works");
    }
    for name in ["ann", "bob"] {
        let address = email(&format!("{name}@x.co"));
        let made = writer.create(&address, &spec(name)).await;
        let error = made.expect_err("no answer");
        assert!(
            matches!(error, OmniError::OutcomeUnknown(_)),
            "{name}: {error:?}"
        );
    }
    let made = writer.create(&email("cem@x.co"), &spec("Cem")).await;
    let error = made.expect_err("nothing more is sent");
    let OmniError::CircuitOpen { in_a_row: 20, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(error.to_string().contains("connection lost"), "{error}");
    assert_eq!(world.org().users().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_429_is_retried_after_the_pause() {
    let world = World::new().await;
    world.org().fault(times(3, status(429, Some(20))));
    let start = Instant::now();
    list(&world.reader()).await.expect("the fourth works");
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(60) && waited < Duration::from_secs(70),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn repeated_429_end_the_run() {
    let world = World::new().await;
    world.org().fault(times(99, status(429, None)));
    let error = list(&world.reader()).await.expect_err("it never works");
    assert!(matches!(error, OmniError::Throttled), "{error:?}");
    assert_eq!(world.org().requests().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_zero_retry_after_does_not_exhaust_attempts() {
    let world = World::new().await;
    world.org().fault(times(5, status(429, Some(0))));
    let start = Instant::now();
    list(&world.reader()).await.expect("the sixth works");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(60), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_with_retry_after_pauses_the_key() {
    for (code, asked, seconds) in [(503, 30, 30), (500, 7, 7), (408, 45, 45), (502, 3244, 120)] {
        let world = World::new().await;
        world.org().fault(Fault::next(status(code, Some(asked))));
        let (writer, start) = (writer(&world), Instant::now());
        let made = writer.create(&email("ann@x.co"), &spec("Ann")).await;
        assert!(
            matches!(made, Err(OmniError::OutcomeUnknown(_))),
            "{made:?}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "it is reported at once"
        );
        list(writer.reader()).await.expect("it works");
        let waited = start.elapsed().as_secs();
        assert!((seconds..seconds + 2).contains(&waited), "{code}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_echoed_key_is_redacted() {
    let cut = "x".repeat(190) + "sandbox-key";
    let long = "x".repeat(390) + "sandbox-key";
    for (code, body) in [
        (401, r#"{"detail": "Invalid token: Bearer sandbox-key"}"#),
        (400, r#"{"message": "sandbox-key, sandbox\u002Dkey"}"#),
        (
            400,
            r#"{"headers": {"authorization": "Bearer sandbox\u002dkey"}}"#,
        ),
        (404, "/log-in?token=sandbox%2Dkey"),
        (
            500,
            r#"{"error": "Bearer sandbox-key is not \"sandbox-key\""}"#,
        ),
        (502, "<html><p>Bearer sandbox-key</html>"),
        (200, "<html><p>Bearer sandbox-key</html>"),
        (200, r#"{"totalResults": "sandbox-key", "Resources": []}"#),
        (200, &cut),
        (500, &long),
    ] {
        let world = World::new().await;
        world.org().fault(times(6, says(code, body)));
        let error = list(&world.reader()).await.expect_err("it never works");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("sandbox"), "{code} {body}: {text}");
        assert!(!text.contains("2dkey"), "{code} {body}: {text}");
    }
}

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

/// A user of whom no field is known.
fn known_user(id: &str) -> ObservedUser {
    ObservedUser {
        id: UserId::parse(id).expect("an id"),
        email: Email::parse("ann@x.co").expect("an email"),
        display_name: "Ann".into(),
        active: None,
        attributes: None,
        modified: None,
    }
}

#[tokio::test]
async fn a_put_without_definitions_ends_the_run() {
    let world = World::new().await.set("omni.update_method", "put");
    let error = writer(&world)
        .update(&known_user("1"), &[], &Schema::unknown())
        .await
        .expect_err("it can't be done");
    assert!(error.ends_run(), "{error:?}");
    assert!(!error.to_string().contains("403"), "{error}");
    assert!(error.to_string().contains("omni.update_method"), "{error}");
    assert!(world.org().requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_a_403_on_reads_ends_the_run() {
    let world = World::new().await;
    let writer = writer(&world);
    world.org().fault(Fault {
        when: When {
            method: Some("POST".into()),
            ..When::default()
        },
        ..Fault::next(status(403, None))
    });
    let made = writer.create(&email("ann@x.co"), &spec("Ann")).await;
    assert!(!made.expect_err("refused").ends_run());
    world.org().fault(Fault::next(status(403, None)));
    let found = writer.reader().find(&email("ann@x.co")).await;
    assert!(found.expect_err("refused").ends_run());
}

#[tokio::test(start_paused = true)]
async fn a_403_on_a_read_disables_the_key() {
    let world = World::with(Options {
        users: 3,
        keys: vec!["sandbox-key".into(), "another".into()],
        ..Options::default()
    })
    .await
    .with_variable("OMNI_API_KEY", "sandbox-key\nanother");
    world.org().fault(times(1, status(403, None)));
    let reader = world.reader();
    assert_eq!(list(&reader).await.expect("the other key").count(), 3);
    list(&reader).await.expect("the other key");
    let keys = world.org().requests().into_iter().map(|sent| sent.key);
    assert_eq!(keys.collect::<Vec<_>>(), [None, Some(1), Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_is_reported_once_per_run() {
    let world = World::new()
        .await
        .with_variable("OMNI_API_KEY", "revoked\nsandbox-key");
    let logged = Logged::default();
    let _listening = logged.listen();
    let client = world.client();
    let reader = client.reader(&CancellationToken::new());
    let all = futures_util::future::join_all((0..4).map(|_| reader.page(1))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let text = logged.text();
    assert_eq!(
        text.matches("is disabled for this run").count(),
        1,
        "{text}"
    );
    assert!(
        text.contains("WARN") && text.contains("key=1 status=401 remaining=1"),
        "{text}"
    );
    assert!(!text.contains("revoked"), "{text}");
    assert_eq!(world.metrics.keys_disabled.get(), 1);

    client.begin(&world.settings().omni.keys.read().expect("keys"));
    assert_eq!(world.metrics.keys_disabled.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_with_repeated_429_is_disabled() {
    let world = World::with(Options {
        keys: vec!["sandbox-key".into(), "another".into()],
        ..Options::default()
    })
    .await
    .with_variable("OMNI_API_KEY", "sandbox-key\nanother");
    let logged = Logged::default();
    let _listening = logged.listen();
    // One more than both keys can have nine times, and one of them ten times.
    world.org().fault(times(19, status(429, Some(0))));
    let page = world.reader().page(1).await;
    assert!(page.is_ok(), "{page:?}");
    let text = logged.text();
    assert_eq!(
        text.matches("is disabled for this run").count(),
        1,
        "{text}"
    );
    assert!(text.contains("status=429 remaining=1"), "{text}");
    assert_eq!(world.metrics.keys_disabled.get(), 1);
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

#[tokio::test]
async fn an_invalid_ca_file_is_named() {
    let world = World::new().await;
    let file = world.folder.path().join("ca.pem");
    let world = world.set("omni.ca_file", file.to_str().expect("text"));
    let problem = || {
        let (settings, metrics) = (world.settings(), world.metrics.clone());
        let made = Client::new(&settings.omni, &settings.state.dir, metrics);
        made.expect_err("no certificate").to_string()
    };
    let missing = problem();
    assert!(
        missing.contains("ca.pem") && missing.contains("No such file"),
        "{missing}"
    );
    for (text, says) in [
        ("", "no certificate found; expected PEM"),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "omni.ca_file",
        ),
    ] {
        std::fs::write(&file, text).expect("written");
        let said = problem();
        assert!(said.contains(says) && said.contains("ca.pem"), "{said}");
    }
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

#[tokio::test]
async fn a_refused_key_is_explained() {
    for (key, bad_key, whoami, says) in [
        (
            "personal",
            BadKey::Unauthorized,
            true,
            "the key is a personal access token",
        ),
        (
            "personal",
            BadKey::Unauthorized,
            false,
            "either the key is invalid, or it is a personal",
        ),
        (
            "unknown",
            BadKey::Forbidden,
            true,
            "Omni does not know the key",
        ),
        ("unknown", BadKey::Unauthorized, true, "omni.api_key_file"),
    ] {
        let world = World::with(Options {
            personal_keys: vec!["personal".into()],
            bad_key,
            whoami,
            ..Options::default()
        })
        .await
        .with_variable("OMNI_API_KEY", key);
        world.roster("email,display_name\nann@x.co,Ann\n");
        let error = world.plan().await.expect_err("refused").to_string();
        assert!(error.contains(says), "{key}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_address_or_header_is_explained() {
    let html = What::Html { code: 404 };
    for (what, says) in [
        (status(400, None), "has no quotes"),
        (
            status(404, None),
            "omni.base_url is the organisation's address",
        ),
        (html, "HTML instead of JSON"),
    ] {
        let world = World::new().await;
        world.roster("email,display_name\nann@x.co,Ann\n");
        let when = When {
            path: Some("/api/scim".into()),
            ..When::default()
        };
        world.org().fault(Fault {
            when,
            ..times(2, what)
        });
        let error = world.plan().await.expect_err("refused").to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Omni may answer 403 to a key that it does not know: then no user is to blame, and none gets into quarantine.
#[tokio::test]
async fn a_key_revoked_during_a_run_ends_it() {
    let world = World::with(Options {
        bad_key: BadKey::Forbidden,
        ..Options::default()
    })
    .await
    .set("omni.max_in_flight", "1");
    world.roster("email,display_name\nann@x.co,Ann\nbob@x.co,Bob\ncid@x.co,Cid\n");
    world.org().before(4, |org| org.revoke_key("sandbox-key"));
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "failed", "{run:?}");
    assert_eq!(run.count(ChangeOutcome::Applied), 1);
    assert_eq!(run.count(ChangeOutcome::Skipped), 2);
    assert_eq!(
        world.writes().len(),
        2,
        "one was refused, and no other sent"
    );
}
