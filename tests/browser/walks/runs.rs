//! Runs, and the changes of all runs.

use crate::browser::Browser;

/// From a bar of the chart to its run, the runs of one result, the undo roster of the first run, and the changes of all
/// runs.
pub async fn runs_and_changes(browser: &Browser) {
    browser.enter_by_keyboard("a.bar").await;
    browser.find("#downloads").await;
    browser.goto("/runs").await;
    browser.click("#result option:nth-of-type(4)").await;
    browser.click(".filter button").await;
    browser.shows("Clear filter").await;
    let results = "const rows = [...document.querySelectorAll('[data-live=runs] > .scroll tbody tr')];
        return rows.length > 0 && rows.every((row) => row.querySelector('.badge').textContent === 'held')";
    browser.until("only runs that held changes", results).await;
    browser.goto("/runs/1").await;
    browser.click("#downloads a[href$='/undo']").await;
    browser.find("#download-undo").await;
    browser.check("undo").await;
    browser.goto("/changes?prefix=user000").await;
    browser.shows(" changes, newest first").await;
    browser.check("changes").await;
}
