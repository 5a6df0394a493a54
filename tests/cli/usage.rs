//! Invalid settings, invalid usage, and help.

use crate::support::{World, command as run};

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
