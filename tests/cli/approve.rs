//! The prompts of `approve` and `apply` for held changes.

use super::example;
use super::terminal::Session;
use crate::support::{World, command as run};

/// A world in which the deletion of a user and the update of another are held.
async fn holding() -> World {
    let world = example().await;
    world
        .set("policy.max_removals", "0")
        .set("policy.max_clears", "0")
}

/// Runs a command at a terminal, and answers its questions in this order. Returns the exit code, and what was shown
/// without the questions' answers.
async fn at_terminal(
    world: &World,
    arguments: &[&str],
    answers: &[(&'static str, &'static str)],
) -> (Option<i32>, String) {
    let mut session = Session::start(world, arguments);
    let answers = answers.to_vec();
    let asked = tokio::task::spawn_blocking(move || {
        let mut shown = String::new();
        for (question, answer) in answers {
            shown += &session.until(question);
            shown += question;
            shown += &session.answer("? [y/N] ", answer);
            shown += "? [y/N] ";
        }
        let (code, rest) = session.end();
        (code, shown + &rest)
    });
    asked.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn approve_asks_and_shows_the_fields() {
    let world = holding().await;
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 4);
    let question = "Approve 2 changes of run 1 (1 to delete, 1 to update) in ";
    let (code, shown) = at_terminal(&world, &["approve", "latest"], &[(question, "n")]).await;
    assert_eq!(code, Some(1), "{shown}");
    let shown = shown.replace(&world.sandbox.url(), "URL");
    insta::assert_snapshot!(shown, @r"
    held by policy.max_clears (1): 1 update that clears a value exceeds the limit of 0 (max_clears)
      1 × display_name → 'Ann Lee'
      1 × region → ['north', 'south']
      1 × tier → empty
      update     ann@x.co
          display_name: 'Ann' => 'Ann Lee'
          region: ['north'] => ['north', 'south']
          tier: 'gold' => (none)
    held by policy.max_removals (1): 1 removal exceeds the limit of 0 (max_removals)
      delete     bob@x.co
          display_name: 'Bob' => (none)
    Approve 2 changes of run 1 (1 to delete, 1 to update) in URL? [y/N] n
    nothing was approved
    ");
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 4);
    assert!(world.org().user("bob@x.co").is_some());
    let question = "Approve 2 changes of run 2 (1 to delete, 1 to update) in ";
    let (code, shown) = at_terminal(&world, &["approve", "latest"], &[(question, "y")]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(run(&world, &["apply", "--yes"]).await.code, 0);
    assert!(world.org().user("bob@x.co").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_offers_to_approve() {
    const OFFER: &str = "Also approve the 2 held changes (1 to delete, 1 to update) in ";
    const APPLY: &str = "Apply these changes";
    let world = holding().await;
    let (code, shown) = at_terminal(&world, &["apply"], &[(OFFER, "y"), (APPLY, "n")]).await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(world.writes().is_empty());
    let (code, shown) = at_terminal(&world, &["apply"], &[(OFFER, "n"), (APPLY, "y")]).await;
    assert_eq!(code, Some(4), "{shown}");
    assert_eq!(world.writes().len(), 1, "what is not held goes on");
    // A confirmed run asks nothing and approves nothing.
    let (code, shown) = at_terminal(&world, &["apply", "--yes"], &[]).await;
    assert_eq!(code, Some(4), "{shown}");
    assert!(!shown.contains("[y/N]"), "{shown}");
    let summary = "4 users in Omni: nothing to apply until held changes are approved, 2 unchanged";
    assert!(shown.contains(summary), "{shown}");
    let (code, shown) = at_terminal(&world, &["apply"], &[(OFFER, "y")]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(world.org().user("bob@x.co").is_none());
    world.assert_well_behaved();
}
