//! The status page, as a person goes through it.

use super::look::{pause_and_resume, times_and_lists};
use super::preview::preview;
use super::runs::runs_and_changes;
use crate::browser::{Browser, Window};
use crate::daemon::{TOKEN, daemon, roster};
use crate::world::World;
use serde_json::json;

/// Page → run → problem → held → log in → approve → converged.
pub async fn walk(driver: u16, window: Window) {
    let (world, daemon, base) = daemon().await;
    let browser = Browser::open(driver, window, &base).await;

    // The page shows the run of a new roster without a reload.
    browser.goto("/").await;
    browser.shows("In sync except for 1 invalid row.").await;
    world.roster(&roster(10));
    browser
        .shows("10 changes are held and waiting for approval.")
        .await;
    browser.check("overview").await;

    // The picture says what the state database says.
    let bars = browser
        .script(
            "return [...document.querySelectorAll('.bar[data-run]')]
                .map((bar) => ['run', 'applied', 'failed', 'held'].map((name) => +bar.dataset[name]))",
        )
        .await;
    assert_eq!(bars, json!(pictured(&world).await), "{}", window.name);
    times_and_lists(&browser).await;
    browser.goto("/").await;

    // A run.
    browser
        .click("#runs > .scroll tbody tr:first-child a")
        .await;
    browser.shows("No changes.").await;
    browser.check("run").await;
    browser.goto("/runs/1?operation=update&text=user0029").await;
    browser.shows("1 change, in the order sent").await;
    browser.check("filtered").await;

    // The problem, and its user.
    browser.goto("/").await;
    browser.find("#roster").await;
    let location = "return document.querySelector('#roster tbody th').textContent";
    let location = browser.script(location).await;
    assert_eq!(location, "users.csv:31", "{}", window.name);
    let input = browser.find("#find").await;
    input
        .send_keys("user0030@example.com\u{e007}")
        .await
        .expect("keys");
    browser
        .shows("The row in the roster is invalid, so this user is not changed.")
        .await;
    browser.check("user").await;
    browser.click("#ask").await;
    browser
        .shows("No change: frozen: the row users.csv:31 is invalid")
        .await;
    browser.shows("users.csv:31:1 (op)").await;
    browser.check("user-now").await;

    // What is held: logging in leads back to it.
    browser.goto("/").await;
    browser.click("#approve-log-in").await;
    browser
        .find("#token")
        .await
        .send_keys("a guess\u{e007}")
        .await
        .expect("keys");
    browser.shows("Wrong admin token.").await;
    browser.check("log-in").await;
    let token = browser.find("#token").await;
    token
        .send_keys(&format!("{TOKEN}\u{e007}"))
        .await
        .expect("keys");
    browser.find("#approve").await;
    browser.check("held").await;
    preview(&browser, &world).await;
    browser.click("#approve").await;
    browser.find("#confirm").await;
    browser.check("confirm").await;
    browser.click("#confirm").await;
    browser.shows("Approved by web from 127.0.0.1").await;

    // Corrected, it converges; and again after "Run now".
    let mended = roster(10).replace("upsrt", "upsert");
    world.roster(&mended);
    browser.goto("/").await;
    browser.shows("Omni is in sync with the roster.").await;
    assert_eq!(
        world.write_counts().get("DELETE"),
        Some(&10),
        "{}",
        window.name
    );
    browser.check("converged").await;
    pause_and_resume(&browser).await;
    browser.click(".hero button").await;
    browser.shows("Run requested.").await;
    browser.goto("/runs").await;
    browser
        .until(
            "a run of this trigger",
            "return document.querySelector('[data-live=runs]').textContent.includes('request')",
        )
        .await;
    browser.check("runs").await;
    runs_and_changes(&browser).await;
    browser.check_keyboard().await;

    let cookies = "return document.cookie";
    assert_eq!(
        browser.script(cookies).await,
        json!(""),
        "no script sees the session"
    );
    browser.click(".account button").await;
    browser.find(".account a").await;

    // An open page says so when the server stops responding.
    drop(daemon);
    browser.shows("This page may be out of date.").await;
    browser.check("no-answer").await;
    browser.client.close().await.expect("it closes");
}

/// `[run, applied, failed, held]` of each run that has ended.
async fn pictured(world: &World) -> Vec<[u64; 4]> {
    use omni_user_sync::model::RunState;
    let runs = world.state_db().runs(50).await.expect("they are read");
    let ended = runs.iter().rev().filter_map(|run| match &run.state {
        RunState::Ended(end) => Some([run.number.0, end.applied, end.failed, end.held]),
        RunState::Open | RunState::Interrupted => None,
    });
    ended.collect()
}
