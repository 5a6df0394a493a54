//! The pages without their script.

use crate::browser::{Browser, GENEROUS, window};
use crate::daemon::{TOKEN, daemon, roster};
use serde_json::json;

/// Without the script everything is there, and everything can be done.
pub async fn walk(driver: u16) {
    let window = window("no-script", 1280, 900, false, false);
    let (world, _daemon, base) = daemon().await;
    world.roster(&roster(10));
    let browser = Browser::open(driver, window, &base).await;
    let off = json!({ "value": true });
    browser
        .chromium("Emulation.setScriptExecutionDisabled", off)
        .await;
    let asking = async {
        loop {
            browser.goto("/").await;
            let heading = browser.find("#state").await.text().await.expect("text");
            if heading.starts_with("10 changes are held") {
                return;
            }
        }
    };
    tokio::time::timeout(GENEROUS, asking)
        .await
        .expect("it is held");
    browser.click("#approve-log-in").await;
    let token = browser.find("#token").await;
    token
        .send_keys(&format!("{TOKEN}\u{e007}"))
        .await
        .expect("keys");
    browser.click("#approve").await;
    browser.click("#confirm").await;
    let said = browser
        .find(".notice:not([hidden])")
        .await
        .text()
        .await
        .expect("text");
    assert!(said.starts_with("Approved."), "{said}");
    browser.client.close().await.expect("it closes");
}
