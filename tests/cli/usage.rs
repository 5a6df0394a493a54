//! Invalid settings, invalid usage, and help.

use crate::support::{World, command as run};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread")]
async fn connection_errors_do_not_show_the_key() {
    let roster = "email,display_name\nann@x.co,Ann\n";
    for (variable, value, code, says) in [
        ("OMNI_API_KEY", "hunter2", 1, "401"),
        ("OMNI_BASE_URL", "http://acme.omniapp.co", 64, "https"),
        ("OMNI_BASE_URL", "", 64, "omni.base_url is not set"),
        (
            "OMNI_USER_SYNC__OMNI__NONSENSE",
            "1",
            64,
            "no setting has this environment variable",
        ),
        // Even if `--log` or the command's own filter takes precedence.
        ("OMNI_USER_SYNC__LOG__FILTER", "a=b=c", 64, "log.filter"),
        (
            "OMNI_USER_SYNC__POLICY__PROTECT",
            "[\"a@b.co\"]",
            64,
            "a list without brackets",
        ),
    ] {
        let world = &World::new().await.with_variable(variable, value);
        world.roster(roster);
        // In parallel, because each retries several times.
        let commands = [&["apply", "--yes"][..], &["plan"], &["check"], &["export"]];
        let ends = commands.map(|command| async move { (command, run(world, command).await) });
        for (command, ended) in futures_util::future::join_all(ends).await {
            assert_eq!(
                ended.code, code,
                "{value}: {command:?}: {}{}",
                ended.out, ended.err
            );
            assert!(
                ended.err.contains(says),
                "{value}: {command:?}: {}",
                ended.err
            );
            assert!(!ended.err.contains("hunter2"), "{}", ended.err);
        }
        assert_eq!(world.writes(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_usage_has_its_exit_code() {
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
        &["explain", "nobody"],
        &["health", "nonsense"],
        &["health", "127.0.0.1:1"],
    ] {
        assert_eq!(run(&world, wrong).await.code, 64, "{wrong:?}");
    }
    for fine in [
        &["--help"][..],
        &["--version"],
        &["apply", "--help"],
        &["apply", "--version"],
        &["history", "-V"],
    ] {
        assert_eq!(run(&world, fine).await.code, 0, "{fine:?}");
    }
}

/// Somebody must have agreed before the roster is read and anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn apply_without_a_terminal_needs_yes() {
    let world = World::new().await.without("OMNI_API_KEY");
    let ended = run(&world, &["apply", "missing.csv"]).await;
    assert_eq!(ended.code, 64);
    insta::assert_snapshot!(ended.err, @"error: `apply` needs confirmation: run it on a terminal, or add --yes");
    assert!(!world.folder.path().join("state").exists());
    assert!(world.org().requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_has_files_environment_and_exit_codes() {
    let world = World::new().await;
    let manual = run(&world, &["man"]).await.out;
    let (_, run) = manual
        .split_once(".SH \"OMNI-USER-SYNC RUN\"")
        .expect("a section");
    let (run, _) = run.split_once(".SH ").expect("more sections");
    let (_, end) = manual.split_once(".SH \"EXIT STATUS\"").expect("a section");
    insta::assert_snapshot!(format!("{run}...\n.SH \"EXIT STATUS\"{end}"), @r#"

    .SS SYNOPSIS
    \fBomni\-user\-sync run\fR [\fB\-\-dry\-run\fR] 
    .SS DESCRIPTION
    Run the daemon, which watches the roster and keeps Omni in sync with it
    .SS OPTIONS
    .TP
    \fB\-\-dry\-run\fR
    Dry run: report changes and apply none, regardless of policy.mode
    .SS EXAMPLES
    .nf
      omni\-user\-sync \-\-config /etc/omni\-user\-sync/config.toml run
      omni\-user\-sync run \-\-dry\-run          # reports changes, applies none
    .fi
    ...
    .SH "EXIT STATUS"
    .TP
    \fB0\fR
    Success: in sync, or nothing to do.
    .TP
    \fB1\fR
    Failed, stopped or declined; or one of several files was rejected and the others were applied.
    .TP
    \fB2\fR
    There are changes (plan).
    .TP
    \fB3\fR
    Some rows are invalid, or some users failed, are unread or in quarantine (apply, plan).
    .TP
    \fB4\fR
    Changes are held, or would be held (apply, plan).
    .TP
    \fB64\fR
    Invalid usage or settings, or confirmation is needed and there is no terminal.
    .SH ENVIRONMENT
    .TP
    \fBOMNI_BASE_URL\fR
    Address of the organisation (omni.base_url).
    .TP
    \fBOMNI_API_KEY\fR
    API key; overrides omni.api_key_file.
    .TP
    \fBOMNI_USER_SYNC_CONFIG\fR
    Settings file, if \-\-config is not given.
    .TP
    \fBOMNI_USER_SYNC__SECTION__KEY\fR
    A setting; overrides the settings file. Lists are separated by commas.
    .TP
    \fBHTTPS_PROXY, ALL_PROXY, NO_PROXY\fR
    Proxy for requests to Omni and to the webhook.
    .TP
    \fBNO_COLOR, CLICOLOR_FORCE\fR
    Turn colours off or on.
    .SH FILES
    .TP
    \fB/etc/omni\-user\-sync/config.toml\fR
    Settings file, if there is no other. Every setting has a default.
    .TP
    \fB/var/lib/omni\-user\-sync/state.db\fR
    State database, in the folder state.dir: history, managed users, approvals, quarantine and the cache.
    .TP
    \fBreports/\fR
    Row reports, beside the roster (source.reports).
    .SH "SEE ALSO"
    systemctl(1), crontab(5)
    "#);
    assert!(!manual.contains("run(1)"), "{manual}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_examples_and_a_manual() {
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
        "status",
        "config",
        "init",
        "pause",
        "resume",
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

#[test]
fn the_sandbox_prints_routes_and_requests() {
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
        .args(["sandbox", "--listen", "127.0.0.1:0", "--admin"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(sandbox.stdout.take().expect("piped"));
    let mut first = String::new();
    out.read_line(&mut first).expect("a line");
    let url = first
        .trim_end()
        .rsplit(' ')
        .next()
        .expect("a URL")
        .to_owned();
    let world = tempfile::tempdir().expect("a folder");
    let check = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
        .arg("export")
        .current_dir(world.path())
        .env_clear()
        .env("OMNI_BASE_URL", &url)
        .env("OMNI_API_KEY", "sandbox-key")
        .env("OMNI_USER_SYNC__STATE__DIR", world.path())
        .output()
        .expect("it runs");
    assert!(check.status.success(), "{check:?}");
    let pid = Pid::from_child(&sandbox);
    kill_process(pid, Signal::TERM).expect("it runs");
    assert!(sandbox.wait().expect("it ends").success());
    let mut text = first;
    out.read_to_string(&mut text).expect("text");
    insta::assert_snapshot!(text.replace(&url, "URL"), @r#"
    mock Omni server listening on URL
    try: OMNI_BASE_URL=URL OMNI_API_KEY=sandbox-key omni-user-sync export -o users.csv
    routes:
      GET, POST                /api/scim/v2/Users
      GET, PUT, PATCH, DELETE  /api/scim/v2/Users/{id}
      GET, POST                /api/scim/v2/Groups
      GET, PUT, PATCH, DELETE  /api/scim/v2/Groups/{id}
      GET                      /api/v1/user-attributes
      GET                      /api/v1/connections
      GET                      /api/v1/models
      GET, POST                /api/v1/users/{id}/model-roles
      GET, POST                /api/v1/user-groups/{id}/model-roles
      GET                      /api/v1/schedules
      PUT                      /api/v1/schedules/{id}/transfer-ownership
      GET                      /api/v1/documents
      GET                      /api/v1/api-keys
      GET                      /api/v1/whoami
      GET                      /sandbox/state
      GET, DELETE              /sandbox/requests
      POST                     /sandbox/users
      PATCH, DELETE            /sandbox/users/{email}
      POST                     /sandbox/groups
      POST                     /sandbox/connections
      POST                     /sandbox/models
      POST                     /sandbox/custom-roles
      POST                     /sandbox/roles
      POST                     /sandbox/schedules
      POST                     /sandbox/documents
      POST                     /sandbox/personal-tokens
      POST, DELETE             /sandbox/faults
      POST                     /sandbox/signal
    "#);
    let mut log = String::new();
    let mut err = sandbox.stderr.take().expect("piped");
    err.read_to_string(&mut log).expect("text");
    assert!(log.contains("GET /api/scim/v2/Users status=200"), "{log}");
}
