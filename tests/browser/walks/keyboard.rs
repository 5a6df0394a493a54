//! The pages without a mouse.

use crate::browser::{Browser, window};
use crate::daemon::{TOKEN, daemon, eventually, roster};

/// All that can be done, without a mouse.
pub async fn walk(driver: u16) {
    let window = window("keyboard", 1280, 900, false, false);
    let (world, _daemon, base) = daemon().await;
    world.roster(&roster(10));
    let browser = Browser::open(driver, window, &base).await;
    browser.goto("/").await;
    browser
        .shows("10 changes are held and waiting for approval.")
        .await;
    browser.enter_by_keyboard("#approve-log-in").await;
    browser.find("#token").await;
    // The field has the focus already.
    browser.press(&format!("{TOKEN}\u{e007}")).await;
    browser.enter_by_keyboard("#approve").await;
    browser.enter_by_keyboard("#confirm").await;
    browser.shows("Approved by web from 127.0.0.1").await;
    browser.goto("/").await;
    browser.enter_by_keyboard(".hero form button").await;
    browser.shows("Run requested.").await;
    browser.goto("/users/user0029@example.com").await;
    browser.enter_by_keyboard("#ask").await;
    browser.shows("In sync: no change needed.").await;
    eventually("what was approved is applied", || {
        world.write_counts().get("DELETE") == Some(&10)
    })
    .await;
    browser.client.close().await.expect("it closes");
}
