//! What errors say, and which of them end a run.

use super::{email, known_user, says, spec, status, times, writer};
use crate::support::World;
use insta::assert_snapshot;
use omni_user_sync::model::{ChangeOutcome, Schema};
use omni_user_sync::omni::{Client, OmniError, list};
use omni_user_sync::sandbox::{BadKey, Fault, Options, What, When};

const ANN: &str = "email,display_name\nann@x.co,Ann\n";

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_shows_the_response() {
    let mut shown = Vec::new();
    for what in [
        status(500, None),
        What::Html { code: 200 },
        What::CutJson,
        What::Reset,
    ] {
        let world = World::new().await;
        world.org().fault(times(6, what.clone()));
        let error = list(&world.reader()).await.expect_err("it never works");
        assert!(
            matches!(error, OmniError::Unavailable { attempts: 6, .. }),
            "{error:?}"
        );
        shown.push(error.to_string());
    }
    assert_snapshot!(shown.join("\n"), @r#"
    Omni can't be reached: HTTP 500 Internal Server Error: injected fault (6 attempts)
    Omni can't be reached: the response can't be read: HTML instead of JSON (a proxy or a login page?); it starts with "<!doctype html><title>Sandbox</title><p>An HTML page.</p>" (6 attempts)
    Omni can't be reached: connection lost: end of file before message length reached (6 attempts)
    Omni can't be reached: connection lost: connection closed before message completed (6 attempts)
    "#);
}

#[tokio::test(start_paused = true)]
async fn final_errors_are_not_retried() {
    let elsewhere = "http://127.0.0.1:1/elsewhere".into();
    let mut shown = Vec::new();
    for what in [
        status(401, None),
        status(403, None),
        What::Redirect { to: elsewhere },
        status(418, None),
    ] {
        let world = World::new().await;
        world.org().fault(times(9, what.clone()));
        let error = list(&world.reader()).await.expect_err("refused");
        assert_eq!(world.org().requests().len(), 1, "{what:?}");
        shown.push(error.to_string());
    }
    assert_snapshot!(shown.join("\n"), @"
    Omni rejected the API key (401): injected fault; check omni.api_key_file or OMNI_API_KEY, and omni.base_url: a key is valid for one organisation only
    Omni rejected the API key (403): injected fault; either the key is invalid, or it is a personal access token, which Omni's SCIM API refuses; use an organisation API key of this organisation
    Omni responded with a redirect (307 Temporary Redirect); redirects are not followed, since the key would be sent along; check omni.base_url
    Omni rejected the request (418 I'm a teapot): injected fault
    ");
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

#[tokio::test]
async fn an_invalid_ca_file_is_named() {
    let world = World::new().await;
    let file = world.folder.path().join("ca.pem");
    let world = world.set("omni.ca_file", file.to_str().expect("text"));
    let problem = || {
        let (settings, metrics) = (world.settings(), world.metrics.clone());
        let made = Client::new(&settings.omni, &settings.state.dir, metrics);
        let error = made.expect_err("no certificate").to_string();
        error.replace(file.to_str().expect("text"), "ca.pem")
    };
    let mut shown = vec![problem()];
    for text in [
        "",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&file, text).expect("written");
        shown.push(problem());
    }
    assert_snapshot!(shown.join("\n"), @"
    omni.ca_file ca.pem: No such file or directory (os error 2)
    omni.ca_file ca.pem: no certificate found; expected PEM
    omni.ca_file ca.pem: not certificates in PEM format: invalid certificate encoding; the file may be incomplete
    ");
}

#[tokio::test]
async fn a_refused_key_is_explained() {
    let mut shown = Vec::new();
    for (key, bad_key, whoami) in [
        ("personal", BadKey::Unauthorized, true),
        ("personal", BadKey::Unauthorized, false),
        ("unknown", BadKey::Forbidden, true),
        ("unknown", BadKey::Unauthorized, true),
    ] {
        let world = World::with(Options {
            personal_keys: vec!["personal".into()],
            bad_key,
            whoami,
            ..Options::default()
        })
        .await
        .with_variable("OMNI_API_KEY", key);
        world.roster(ANN);
        shown.push(world.plan().await.expect_err("refused").to_string());
    }
    assert_snapshot!(shown.join("\n"), @"
    Omni rejected the API key (403): User-scoped API keys are not allowed to access the SCIM API; the key is a personal access token, which Omni's SCIM API refuses; use an organisation API key
    Omni rejected the API key (403): User-scoped API keys are not allowed to access the SCIM API; either the key is invalid, or it is a personal access token, which Omni's SCIM API refuses; use an organisation API key of this organisation
    Omni rejected the API key (403): Invalid bearer token; Omni does not know the key: check omni.api_key_file or OMNI_API_KEY, and omni.base_url: a key is valid for one organisation only
    Omni rejected the API key (401): Unauthorized: Missing or invalid API key; check omni.api_key_file or OMNI_API_KEY, and omni.base_url: a key is valid for one organisation only
    ");
}

#[tokio::test]
async fn a_wrong_address_or_header_is_explained() {
    let mut shown = Vec::new();
    for what in [
        status(400, None),
        status(404, None),
        What::Html { code: 404 },
    ] {
        let world = World::new().await;
        world.roster(ANN);
        let when = When {
            path: Some("/api/scim".into()),
            ..When::default()
        };
        world.org().fault(Fault {
            when,
            ..times(2, what)
        });
        shown.push(world.plan().await.expect_err("refused").to_string());
    }
    assert_snapshot!(shown.join("\n"), @r#"
    Omni rejected a request as malformed (400): injected fault; check that the API key is whole and has no quotes or other characters around it, and omni.base_url
    no users API at this address (404): injected fault; check that omni.base_url is the organisation's address, https://<organisation>.omniapp.co
    no users API at this address (404): HTML instead of JSON (a proxy or a login page?); it starts with "<!doctype html><title>Sandbox</title><p>An HTML page.</p>"; check that omni.base_url is the organisation's address, https://<organisation>.omniapp.co
    "#);
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
