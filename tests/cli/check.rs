//! `check` and `export`.

use super::example;
use crate::support::{World, command as run};
use omni_user_sync::sandbox::Options;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn check_passes_and_an_export_plans_nothing() {
    let world = example().await;
    world.user(
        "o'neil+\"x\"@x.co",
        "  =Quote, \"me\"\nplease ",
        json!({ "region": ["a,b", "[c]", "d"] }),
    );
    world.user(
        "off@x.co",
        "Off",
        json!({ "quota": ["1.50", "2"], "cost_center": "007" }),
    );
    world.org().set_active("off@x.co", false);
    let ended = run(&world, &["check"]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);

    let ended = run(&world, &["export", "-o", "users.csv", "--force"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let roster = std::fs::read_to_string(world.roster_path()).expect("written");
    insta::assert_snapshot!(roster, @r#"
    op,email,display_name,cost_center,department,quota,region,tier
    upsert,ann@x.co,Ann,,a,,[north],gold
    upsert,bob@x.co,Bob,,,,,
    upsert,"o'neil+""x""@x.co","=Quote, ""me""
    please",,,,"[""a,b"",""[c]"",""d""]",
    deactivate,off@x.co,Off,007,,"[1.50,2]",,
    upsert,same@x.co,Same,,,,"[east,west]",
    "#);
    let plan = run(&world, &["plan"]).await;
    assert_eq!(plan.code, 0, "{}{}", plan.out, plan.err);
    assert_eq!(world.writes(), Vec::<String>::new());
}

/// docs/roster.md documents this shape: fields are only added.
#[tokio::test(flavor = "multi_thread")]
async fn check_json_keeps_its_shape() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({ "omni_is_org_admin": true }));
    world.roster("email,region\nann@x.co,north\nb@x.co,[a]\nb@x.co,[a]\nbob,\n");
    let ended = run(&world, &["check", "--json"]).await;
    assert_eq!((ended.code, &*ended.err), (1, ""));
    let out = ended.out.replace(&world.sandbox.url(), "URL");
    insta::assert_snapshot!(out, @r#"
    {
      "ok": false,
      "roster": {
        "rows": 4,
        "group_rows": null,
        "role_rows": null,
        "checked_against_definitions": true,
        "problems": [
          {
            "kind": "list",
            "file": "users.csv",
            "line": 2,
            "column": 2,
            "column_name": "region",
            "email": "ann@x.co",
            "message": "expected a list, found 'north'",
            "remedy": "write '[north]'"
          },
          {
            "kind": "email",
            "file": "users.csv",
            "line": 5,
            "column": 1,
            "column_name": "email",
            "email": null,
            "message": "'bob': an email has the form local@domain, with one @",
            "remedy": "write one email address"
          }
        ],
        "lints": [
          {
            "kind": "duplicate_row",
            "file": "users.csv",
            "line": 4,
            "column": null,
            "column_name": null,
            "email": "b@x.co",
            "message": "repeats users.csv:3 for 'b@x.co'",
            "remedy": "remove one of the two rows"
          }
        ],
        "error": null
      },
      "omni": {
        "base_url": "URL",
        "users": 1,
        "keys": [
          {
            "scope": "organisation",
            "organisation_admin": true,
            "user": "ann@x.co"
          }
        ],
        "attributes": 8,
        "schedules": true,
        "error": null
      },
      "host": {
        "problems": [],
        "warnings": [
          "policy.protect is empty; list the accounts that must never be removed, starting with your own"
        ]
      },
      "readings": {
        "lists_carry_attributes": null,
        "put_replaces": null,
        "inactive_revokes": null,
        "filter_ignores_case": null,
        "last_modified_moves": null,
        "max_page": null,
        "clears_by": null,
        "patch_forms": null,
        "lists_carry_groups": null,
        "adds_present_member": null,
        "removes_absent_member": null,
        "removes_by_any_id": null,
        "max_members_per_request": null,
        "group_filter_ignores_case": null
      }
    }
    "#);
    let ended = run(&world, &["check", "--json", "--offline", "gone.csv"]).await;
    assert_eq!(ended.code, 1);
    insta::assert_snapshot!(ended.out, @r#"
    {
      "ok": false,
      "roster": {
        "rows": null,
        "group_rows": null,
        "role_rows": null,
        "checked_against_definitions": false,
        "problems": [],
        "lints": [],
        "error": "gone.csv: no such file or folder; put the roster there, or correct the path"
      },
      "omni": null,
      "host": {
        "problems": [],
        "warnings": [
          "policy.protect is empty; list the accounts that must never be removed, starting with your own"
        ]
      },
      "readings": {
        "lists_carry_attributes": null,
        "put_replaces": null,
        "inactive_revokes": null,
        "filter_ignores_case": null,
        "last_modified_moves": null,
        "max_page": null,
        "clears_by": null,
        "patch_forms": null,
        "lists_carry_groups": null,
        "adds_present_member": null,
        "removes_absent_member": null,
        "removes_by_any_id": null,
        "max_members_per_request": null,
        "group_filter_ignores_case": null
      }
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_input_is_reported_with_place_and_remedy() {
    type Case = (
        &'static str,
        Option<&'static [u8]>,
        i32,
        &'static [&'static str],
    );
    let cases: &[Case] = &[
        (
            "missing",
            None,
            1,
            &["users.csv", "no such file", "put the roster there"],
        ),
        ("empty", Some(b""), 1, &["users.csv"]),
        (
            "only a header",
            Some(b"op,email,display_name,region\n"),
            1,
            &["users.csv"],
        ),
        (
            "no header",
            Some(b"upsert,ann@x.co,Ann\nupsert,bob@x.co,Bob\n"),
            1,
            &["users.csv:1", "email"],
        ),
        (
            "no email",
            Some(b"op,mail,display_name\nupsert,a@x.co,A\n"),
            1,
            &["users.csv:1", "email", "mail"],
        ),
        (
            "doubled header",
            Some(b"email,region,region\na@x.co,,\n"),
            1,
            &["users.csv:1:3", "region"],
        ),
        (
            "unknown column",
            Some(b"email,regoin\na@x.co,x\n"),
            1,
            &["users.csv:1:2", "regoin", "region"],
        ),
        (
            "system column",
            Some(b"email,omni_user_id\na@x.co,x\n"),
            1,
            &["users.csv:1:2", "omni_user_id"],
        ),
        (
            "unclosed quote",
            Some(b"email,display_name\na@x.co,\"Ann\nb@x.co,Bob\n"),
            1,
            &["users.csv:2", "quote"],
        ),
        (
            "workbook",
            Some(b"PK\x03\x04\x14\0\x06\0"),
            1,
            &["users.csv", "CSV"],
        ),
        ("binary", Some(b"\x7fELF\x02\x01\0\0\0"), 1, &["users.csv"]),
        (
            "bad row",
            Some(b"op,email,display_name\nupsrt,a@x.co,A\n"),
            3,
            &["users.csv:2:1 (op)", "upsert"],
        ),
        (
            "bad list",
            Some(b"email,region\nann@x.co,north\n"),
            3,
            &["users.csv:2:2 (region)", "[north]"],
        ),
        (
            "bad number",
            Some(b"email,cost_center\nann@x.co,\"1,5\"\n"),
            3,
            &["users.csv:2:2 (cost_center)", "1.5"],
        ),
        (
            "nameless",
            Some(b"email,region\nnew@x.co,\n"),
            3,
            &["users.csv:2", "display_name"],
        ),
    ];
    for (name, text, code, says) in cases {
        let world = World::new().await;
        world.user("ann@x.co", "Ann", json!({}));
        if let Some(text) = text {
            std::fs::write(world.roster_path(), text).expect("written");
        }
        for command in [&["apply", "--yes"][..], &["plan"], &["check"]] {
            let ended = run(&world, command).await;
            let code = if command[0] == "check" && *name != "nameless" {
                1
            } else {
                *code
            };
            if command[0] != "check" || *name != "nameless" {
                assert_eq!(
                    ended.code, code,
                    "{name}: {command:?}: {}{}",
                    ended.out, ended.err
                );
                for word in *says {
                    // `check` shows an excerpt with the cell.
                    let location = word.match_indices(':').nth(1).map(|(at, _)| &word[..at]);
                    let word = location.filter(|_| command[0] == "check").unwrap_or(word);
                    assert!(
                        ended.err.contains(word),
                        "{name}: {command:?} says no {word:?}: {}",
                        ended.err
                    );
                }
            }
            assert!(
                !ended.err.contains("panicked") && !ended.err.contains("Error {"),
                "{}",
                ended.err
            );
        }
        assert_eq!(world.writes(), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_validates_the_host() {
    use std::os::unix::fs::PermissionsExt;
    let world = example().await;
    let path = |name: &str| world.folder.path().join(name).display().to_string();
    std::fs::write(path("key"), "sandbox-key\n").expect("written");
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path("key"), mode).expect("set");
    let (key, hook, token) = (path("key"), path("hook"), path("token"));
    let world = world.set("omni.api_key_file", &key);
    let ended = run(&world, &["check"]).await;
    assert!(
        ended.err.contains("OMNI_API_KEY overrides"),
        "{}",
        ended.err
    );
    let world = world.without("OMNI_API_KEY");
    let ended = run(&world, &["check"]).await;
    assert_eq!(ended.code, 0, "a warning: {}{}", ended.out, ended.err);
    assert!(
        ended.err.contains("omni.api_key_file: every user"),
        "{}",
        ended.err
    );

    std::fs::write(&token, "hunter2").expect("written");
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&token, mode).expect("set");
    let world = world.set("serve.admin_token_file", &token);
    let ended = run(&world, &["check"]).await;
    assert_eq!(ended.code, 0, "warnings: {}{}", ended.out, ended.err);
    for said in [
        "the token has only 7 characters",
        "every user of this machine",
    ] {
        let said = format!("serve.admin_token_file: {said}");
        assert!(ended.err.contains(&said), "{}", ended.err);
    }
    assert!(!ended.err.contains("hunter2"), "{}", ended.err);

    // A file where a folder is expected.
    let dir = format!("{key}/state");
    let world = world
        .set("state.dir", &dir)
        .set("source.reports", "key/reports")
        .set("notify.webhook_url_file", &hook);
    let ended = run(&world, &["check", "--json"]).await;
    assert_eq!(ended.code, 1, "{}", ended.out);
    let doc: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    let problems = doc["host"]["problems"].to_string();
    assert!(
        problems.contains("state.dir") && problems.contains("notify.webhook"),
        "{doc}"
    );
    let warnings = doc["host"]["warnings"].to_string();
    assert!(warnings.contains("source.reports"), "{doc}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_kind_of_each_key() {
    let options = Options {
        keys: vec!["sandbox-key".into(), "another".into()],
        personal_keys: vec!["personal".into()],
        ..Options::default()
    };
    let world = World::with(options)
        .await
        .with_variable("OMNI_API_KEY", "sandbox-key\nanother");
    world.user("ann@x.co", "Ann", json!({ "omni_is_org_admin": true }));
    world.roster("email,display_name\nann@x.co,Ann\n");
    let ended = run(&world, &["check"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let line = "key 2:      organisation API key of ann@x.co (organisation admin)";
    assert!(ended.out.contains(line), "{}", ended.out);
    assert!(!ended.out.contains("another"), "{}", ended.out);
    let world = world.with_variable("OMNI_API_KEY", "personal");
    let ended = run(&world, &["check"]).await;
    assert_eq!(ended.code, 1, "{}", ended.out);
    assert!(
        ended.err.contains("is a personal access token"),
        "{}",
        ended.err
    );
}

/// A certificate file that was cut, and a proxy that would be ignored without a word.
#[tokio::test(flavor = "multi_thread")]
async fn broken_files_and_addresses_are_named() {
    let world = World::new().await;
    world.roster("email\nann@x.co\n");
    let begin = "-----BEGIN CERTIFICATE-----\nMIIDAzCCAeugAwIBAgIUY7\n";
    let half = world.folder.path().join("half.pem").display().to_string();
    let world = world.set("omni.ca_file", &half);
    let end = "-----END CERTIFICATE-----\n";
    for pem in [begin.to_owned(), begin.to_owned() + end] {
        std::fs::write(&half, pem).expect("written");
        let ended = run(&world, &["check"]).await;
        assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
        let says = format!("omni.ca_file {half}: ");
        assert!(ended.err.contains(&says), "{}", ended.err);
        for unclear in ["builder error", "connection lost"] {
            assert!(!ended.err.contains(unclear), "{}", ended.err);
        }
    }
    let world = world
        .set("omni.ca_file", "")
        .with_variable("OMNI_BASE_URL", "https://acme.invalid")
        .with_variable("HTTPS_PROXY", "http://hunter2@[::1");
    let ended = run(&world, &["check"]).await;
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert!(
        ended
            .err
            .contains("HTTPS_PROXY: expected the address of a proxy"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains("hunter2"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_of_open_files_is_named() {
    let world = World::new().await;
    world.roster("email\nann@x.co\n");
    for limit in [6, 16, 64] {
        let script = format!("ulimit -n {limit}; exec \"$0\" check --offline");
        let ended = std::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_omni-user-sync")])
            .env_clear()
            .envs(world.variables())
            .current_dir(world.folder.path())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{limit}: {said}");
        let says = format!("only {limit} open files are allowed; raise the limit (ulimit -n)");
        assert!(said.contains(&says), "{limit}: {said}");
    }
}

/// Write access to the roster's folder must not give read access to other files through a link.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_email_column_is_hidden() {
    let world = World::new().await;
    for text in [
        "root:hunter2:0:0\nbin:x\n",
        "root,hunter2\n\"hunter2",
        "hunter2\u{0}\n",
    ] {
        let secret = world.folder.path().join("secret");
        std::fs::write(&secret, text).expect("written");
        let _ = std::fs::remove_file(world.roster_path());
        std::os::unix::fs::symlink(&secret, world.roster_path()).expect("linked");
        for arguments in [
            &["check"][..],
            &["check", "--json"],
            &["plan"],
            &["apply", "--yes"],
        ] {
            let ended = run(&world, arguments).await;
            assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
            let said = ended.out + &ended.err;
            assert!(!said.contains("hunter2"), "{arguments:?}: {said}");
        }
    }
    for (name, text) in world.reports() {
        assert!(!text.contains("hunter2"), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_overwrites_only_with_force() {
    let world = example().await;
    let edited = "email\nann@x.co\n";
    world.roster(edited);
    let ended = run(&world, &["export", "-o", "users.csv"]).await;
    assert_eq!(ended.code, 1);
    insta::assert_snapshot!(ended.err, @"error: users.csv exists; add --force to overwrite it");
    let roster = || std::fs::read_to_string(world.roster_path()).expect("there");
    assert_eq!(roster(), edited);
    assert!(world.org().requests().is_empty(), "before anything is sent");
    let ended = run(&world, &["export", "-o", "users.csv", "--force"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_ne!(roster(), edited);
}
