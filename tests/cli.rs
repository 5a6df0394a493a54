//! The commands as a shell sees them: output, exit code, and what they did to Omni.
#![cfg(feature = "sandbox")]

mod support;

use omni_user_sync::sandbox::{Fault, Options, What, When};
use serde_json::json;
use support::{World, command as run};

async fn example() -> World {
    let world = World::new().await;
    world.user(
        "ann@x.co",
        "Ann",
        json!({ "region": ["north"], "tier": "gold", "department": "a" }),
    );
    world.user("bob@x.co", "Bob", json!({}));
    world.user("same@x.co", "Same", json!({ "region": ["east", "west"] }));
    world.roster(
        "op,email,display_name,region,tier\n\
         upsert,ann@x.co,Ann Lee,\"[north,south]\",\n\
         delete,bob@x.co,,,\n\
         upsert,same@x.co,Same,\"[west, east]\",\n\
         upsert,eve@x.co,Eve,[east],gold\n",
    );
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_shows_a_diff_and_writes_nothing() {
    let world = example().await;
    let ended = run(&world, &["plan"]).await;
    assert_eq!(ended.code, 2, "{}", ended.err);
    insta::assert_snapshot!(ended.out, @r"
    - delete     bob@x.co  (users.csv:3)
    ~ update     ann@x.co  (users.csv:2)
        display_name: 'Ann' => 'Ann Lee'
        region: ['north'] => ['north', 'south']
        tier: 'gold' => (none), which falls back to the default 'standard'
    + create     eve@x.co  (users.csv:5)
        display_name: 'Eve'
        region: ['east']
        tier: 'gold'

    4 rows, 3 users in Omni: 1 to delete, 1 to update, 1 to create, 1 unchanged
    to send: 3 requests, a moment
    ");
    assert_eq!(world.writes(), Vec::<String>::new());

    let ended = run(&world, &["plan", "--json"]).await;
    assert_eq!(ended.code, 2);
    let plan: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(
        plan["counts"],
        json!({ "delete": 1, "deactivate": 0, "update": 1, "create": 1 })
    );
    assert_eq!(
        plan["changes"][1]["fields"][1]["to"],
        json!(["north", "south"])
    );
    assert_eq!(
        (&plan["requests"], &plan["unchanged"]),
        (&json!(3), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_converges_and_a_second_one_finds_nothing() {
    let world = example().await;
    let ended = run(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    // How long it took is the machine's affair.
    let (done, _time) = ended.err.rsplit_once(" in ").expect("says how long");
    insta::assert_snapshot!(done, @r"
    delete bob@x.co: done
    update ann@x.co: done
    create eve@x.co: done
    3 done; 5 requests
    ");
    assert_eq!(world.writes().len(), 3);
    world.org().clear_requests();

    let again = run(&world, &["apply"]).await;
    assert_eq!((again.code, world.writes().len()), (0, 0), "{}", again.err);
    assert!(world.org().requests().len() <= 3);
    assert_eq!(run(&world, &["plan"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_it_fine_and_export_is_a_roster_with_nothing_to_do() {
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

    let ended = run(&world, &["export", "-o", "users.csv"]).await;
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

/// The README documents this shape: fields are added, none is renamed or taken away.
#[tokio::test(flavor = "multi_thread")]
async fn what_check_tells_machines_keeps_its_shape() {
    let world = World::new().await;
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("email,region\nann@x.co,north\nb@x.co,[a]\nb@x.co,[a]\nbob,\n");
    let ended = run(&world, &["check", "--json"]).await;
    assert_eq!((ended.code, &*ended.err), (1, ""));
    let out = ended.out.replace(&world.sandbox.url(), "URL");
    insta::assert_snapshot!(out, @r#"
    {
      "ok": false,
      "roster": {
        "rows": 4,
        "checked_against_definitions": true,
        "problems": [
          {
            "kind": "list",
            "file": "users.csv",
            "line": 2,
            "column": 2,
            "column_name": "region",
            "email": "ann@x.co",
            "what": "this attribute holds a list, and 'north' is none",
            "remedy": "write '[north]'"
          },
          {
            "kind": "email",
            "file": "users.csv",
            "line": 5,
            "column": 1,
            "column_name": "email",
            "email": null,
            "what": "'bob': an email has the form local@domain, with one @",
            "remedy": "write the one address of this row's user"
          }
        ],
        "notes": [
          {
            "kind": "row_repeated",
            "file": "users.csv",
            "line": 4,
            "column": null,
            "column_name": null,
            "email": "b@x.co",
            "what": "this row says the same of 'b@x.co' as users.csv:3",
            "remedy": "one of the two rows can go"
          }
        ],
        "error": null
      },
      "omni": {
        "base_url": "URL",
        "users": 1,
        "attributes": 8,
        "error": null
      },
      "machine": {
        "problems": [],
        "warnings": []
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
        "checked_against_definitions": false,
        "problems": [],
        "notes": [],
        "error": "gone.csv: there is no such file or folder; put the roster there, or correct source.path"
      },
      "omni": null,
      "machine": {
        "problems": [],
        "warnings": []
      }
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_with_its_place_and_remedy_and_nothing_is_written() {
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
            &["users.csv", "there is no such file", "put the roster there"],
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
                    // `check` shows the cell itself, in its line.
                    let place = word.match_indices(':').nth(1).map(|(at, _)| &word[..at]);
                    let word = place.filter(|_| command[0] == "check").unwrap_or(word);
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
async fn a_wrong_key_an_unreachable_host_and_plain_http_are_told_without_the_key() {
    let roster = "email,display_name\nann@x.co,Ann\n";
    for (variable, value, code, says) in [
        ("OMNI_API_KEY", "hunter2", 1, "401"),
        ("OMNI_BASE_URL", "http://127.0.0.1:9", 1, "no connection"),
        ("OMNI_BASE_URL", "http://acme.omniapp.co", 64, "https"),
        ("OMNI_BASE_URL", "", 64, "omni.base_url is not set"),
        (
            "OMNI_USER_SYNC__OMNI__NONSENSE",
            "1",
            64,
            "no setting omni.nonsense",
        ),
    ] {
        let world = &World::new().await.with_variable(variable, value);
        world.roster(roster);
        // All at once: each tries several times before it gives up.
        let commands = ["apply", "plan", "check", "export"];
        let ends = commands.map(|command| async move { (command, run(world, &[command]).await) });
        for (command, ended) in futures_util::future::join_all(ends).await {
            assert_eq!(
                ended.code, code,
                "{value}: {command}: {}{}",
                ended.out, ended.err
            );
            assert!(
                ended.err.contains(says),
                "{value}: {command}: {}",
                ended.err
            );
            assert!(!ended.err.contains("hunter2"), "{}", ended.err);
        }
        assert_eq!(world.writes(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_and_wrong_usage_have_their_exit_codes() {
    let world = World::new().await.without("OMNI_API_KEY");
    world.roster("email\nann@x.co\n");
    let ended = run(&world, &["plan"]).await;
    assert_eq!(ended.code, 64, "{}", ended.err);
    assert!(ended.err.contains("omni.api_key_file"), "{}", ended.err);
    for wrong in [
        &["fly"][..],
        &["apply", "--force"],
        &[],
        &["plan", "--log", "=="],
    ] {
        assert_eq!(run(&world, wrong).await.code, 64, "{wrong:?}");
    }
    for fine in [&["--help"][..], &["--version"], &["apply", "--help"]] {
        assert_eq!(run(&world, fine).await.code, 0, "{fine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn held_and_failed_changes_have_their_exit_codes_and_the_rest_is_done() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let world = world.set("policy.max_removals", "0");
    world.roster(
        "op,email,display_name\ndelete,user0001@example.com,\nupsert,user0002@example.com,New\n\
         upsert,bad row,\n",
    );
    assert_eq!(run(&world, &["plan"]).await.code, 4);
    let ended = run(&world, &["apply"]).await;
    assert_eq!(ended.code, 4, "{}", ended.err);
    assert!(
        ended.out.contains("held by policy.max_removals"),
        "{}",
        ended.out
    );
    assert_eq!(world.write_counts(), [("PATCH".to_owned(), 1)].into());

    let refused = What::Status {
        code: 400,
        retry_after: None,
        body: None,
    };
    let when = When {
        method: Some("DELETE".into()),
        ..When::default()
    };
    world.org().fault(Fault {
        when,
        ..Fault::next(refused)
    });
    let world = world.set("policy.max_removals", "1");
    let ended = run(&world, &["apply"]).await;
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert!(
        ended.err.contains("delete user0001@example.com: failed"),
        "{}",
        ended.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_roster_than_the_source_never_prunes() {
    let world = World::with(Options {
        users: 3,
        ..Options::default()
    })
    .await;
    let world = world
        .set("policy.prune", "all")
        .set("policy.max_removals", "100%");
    let other = world.folder.path().join("other.csv");
    std::fs::write(&other, "email,display_name\nuser0001@example.com,New\n").expect("written");
    assert_eq!(run(&world, &["apply", "other.csv"]).await.code, 0);
    assert_eq!(world.org().users().len(), 3);
    std::fs::copy(&other, world.roster_path()).expect("copied");
    assert_eq!(run(&world, &["apply", "./users.csv"]).await.code, 0);
    assert_eq!(
        world.org().users().len(),
        1,
        "the same file by another name is the source"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_example_takes_no_more_requests_than_it_must() {
    let world = World::new().await.set("policy.max_removals", "100%");
    let mut roster = "op,email,display_name,region,department\n".to_owned();
    for number in 0..30 {
        let email = format!("u{number}@x.co");
        world.user(
            &email,
            "Same",
            json!({ "region": ["north"], "department": "a", "tier": "gold" }),
        );
        match number {
            0..2 => roster.push_str(&format!("upsert,{email},Same,\"[north,south]\",b\n")),
            2..20 => roster.push_str(&format!("upsert,{email},Same,[north],a\n")),
            _ => roster.push_str(&format!("delete,{email},,,\n")),
        }
    }
    for number in 0..10 {
        roster.push_str(&format!("upsert,new{number}@x.co,New,[east],c\n"));
    }
    world.roster(&roster);
    let ended = run(&world, &["apply", "--yes"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(world.org().requests().len(), 24, "the script needs 80");
    assert_eq!(world.attribute("u0@x.co", "tier"), json!("gold"));
    world.org().clear_requests();
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 0);
    assert_eq!((world.org().requests().len(), world.writes().len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_an_example_a_chapter_and_completions() {
    let world = World::new().await;
    let manual = run(&world, &["man"]).await;
    assert_eq!(manual.code, 0, "{}", manual.err);
    for heading in [
        ".TH ",
        ".SH NAME",
        ".SH \"OMNI-USER-SYNC APPLY\"",
        ".SS EXAMPLES",
    ] {
        assert!(manual.out.contains(heading), "{heading}: {}", manual.out);
    }
    for command in [
        "run",
        "apply",
        "plan",
        "check",
        "export",
        "explain",
        "history",
        "approve",
        "health",
        "sandbox",
        "demo",
        "completions",
        "man",
    ] {
        let help = run(&world, &[command, "--help"]).await;
        assert_eq!(help.code, 0, "{command}: {}", help.err);
        let (_, examples) = help.out.split_once("Examples:\n").expect(command);
        assert!(examples.contains(command), "{examples}");
        let chapter = format!(".SH \"OMNI-USER-SYNC {}\"", command.to_uppercase());
        assert_eq!(manual.out.matches(&chapter).count(), 1, "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&world, &["completions", shell]).await;
        assert_eq!(script.code, 0, "{shell}: {}", script.err);
        assert!(script.out.contains("offline"), "{shell}: {}", script.out);
    }
    let version = run(&world, &["--version"]).await.out;
    let number = concat!("omni-user-sync ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(number), "{version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_for_machines_says_why_there_is_none() {
    let world = World::new().await;
    world.roster("email,nonsense\nann@x.co,1\n");
    let ended = run(&world, &["plan", "--json"]).await;
    assert_eq!(ended.code, 1, "{}", ended.err);
    let doc: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert!(
        doc["error"]
            .as_str()
            .is_some_and(|text| text.contains("nonsense")),
        "{doc}"
    );
    assert_eq!(doc["problems"][0]["column"], 2, "{doc}");
    assert!(ended.err.contains("nonsense"), "people are told too");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_at_the_machine() {
    use std::os::unix::fs::PermissionsExt;
    let world = example().await;
    let path = |name: &str| world.folder.path().join(name).display().to_string();
    std::fs::write(path("key"), "sandbox-key\n").expect("written");
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path("key"), mode).expect("set");
    let (key, hook, token) = (path("key"), path("hook"), path("token"));
    let world = world.set("omni.api_key_file", &key);
    let ended = run(&world, &["check"]).await;
    assert!(ended.err.contains("OMNI_API_KEY is set"), "{}", ended.err);
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
    for said in ["the token has 7 characters", "every user of this machine"] {
        let said = format!("serve.admin_token_file: {said}");
        assert!(ended.err.contains(&said), "{}", ended.err);
    }
    assert!(!ended.err.contains("hunter2"), "{}", ended.err);

    // A file stands where folders should.
    let dir = format!("{key}/state");
    let world = world
        .set("state.dir", &dir)
        .set("source.reports", "key/reports")
        .set("notify.webhook_url_file", &hook);
    let ended = run(&world, &["check", "--json"]).await;
    assert_eq!(ended.code, 1, "{}", ended.out);
    let doc: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    let problems = doc["machine"]["problems"].to_string();
    assert!(
        problems.contains("state.dir") && problems.contains("notify.webhook"),
        "{doc}"
    );
    let warnings = doc["machine"]["warnings"].to_string();
    assert!(warnings.contains("source.reports"), "{doc}");
}
