//! `config`: the settings in force.

use crate::support::{World, command as run};

#[tokio::test(flavor = "multi_thread")]
async fn settings_in_force_have_their_origin() {
    let world = World::new().await;
    let file = world.folder.path().join("config.toml");
    let text = "[policy]\nprotect = [\"ann@x.co\", \"*@y.co\"]\nprune = \"all\"\n[omni]\napi_key_file = \"hunter2\"\n";
    std::fs::write(&file, text).expect("written");
    let world = world
        .with_variable("OMNI_USER_SYNC_CONFIG", "config.toml")
        .set("policy.prune", "managed");
    let ended = run(&world, &["config", "--origin"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.err.contains("OMNI_API_KEY overrides"),
        "{}",
        ended.err
    );
    assert!(!ended.out.contains("hunter2") && !ended.out.contains("sandbox-key"));
    let shown = [
        "[omni]",
        "# The API key",
        "base_url",
        "api_key_file",
        "[policy]",
        "protect =",
        "prune",
        "mode",
    ];
    let lines = ended
        .out
        .lines()
        .filter(|line| shown.iter().any(|it| line.starts_with(it)));
    let lines: Vec<_> = lines.collect();
    let text = lines.join("\n").replace(&world.sandbox.url(), "URL");
    insta::assert_snapshot!(text, @r#"
    [omni]
    # The API key is in OMNI_API_KEY (not shown).
    api_key_file = "(not shown, since it may be a key; set the path of a file that contains the key)" # config.toml
    base_url = "URL" # OMNI_BASE_URL
    [policy]
    mode = "apply" # default
    protect = ["ann@x.co", "*@y.co"] # config.toml
    prune = "managed" # OMNI_USER_SYNC__POLICY__PRUNE
    prune_grace = "0s" # default
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_in_force_are_a_settings_file() {
    let world = World::new().await.set("policy.protect", "ann@x.co,b@x.co");
    let shown = run(&world, &["config"]).await;
    assert_eq!(shown.code, 0, "{}", shown.err);
    let file = world.folder.path().join("config.toml");
    std::fs::write(&file, &shown.out).expect("written");
    let world = world.with_variable("OMNI_USER_SYNC_CONFIG", "config.toml");
    let again = run(&world, &["config"]).await;
    assert_eq!((again.code, again.out), (0, shown.out), "{}", again.err);
    let wrong = run(&world.set("policy.mode", "x"), &["config"]).await;
    assert_eq!(wrong.code, 64);
}
