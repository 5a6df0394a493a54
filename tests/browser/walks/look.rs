//! What a person looks at beside the runs: times, users, settings, a page that does not exist, and a pause.

use crate::browser::Browser;

/// Whether all times are those of [`Browser::open`]'s zone, 4 h ahead of UTC, with UTC as tooltips. The page refreshes
/// itself meanwhile.
const HAS_LOCAL_TIMES: &str = r#"
const clock = (time) => new Date(+new Date(time.dateTime) + 14400000).toISOString().slice(11, 16);
const isLocal = (time) => time.textContent.includes(clock(time)) && time.title.endsWith(" UTC");
const times = [...document.querySelectorAll("main time")];
return times.length > 0 && times.every(isLocal)
  && document.querySelector('#zone').textContent.includes("Asia/Dubai");
"#;

/// On the overview: times, then users, settings and an error.
pub async fn times_and_lists(browser: &Browser) {
    browser.until("local times", HAS_LOCAL_TIMES).await;
    for (path, name) in [
        ("/users?state=managed", "users"),
        ("/settings", "settings"),
        ("/nothing", "not-found"),
    ] {
        browser.goto(path).await;
        browser.find("nav[aria-label=Pages]").await;
        browser.check(name).await;
    }
}

/// On the overview, logged in.
pub async fn pause_and_resume(browser: &Browser) {
    browser.click("form.pause button").await;
    browser.shows("Paused until it is resumed").await;
    browser.check("paused").await;
    browser.click("#resume").await;
    browser.shows("Resumed.").await;
}
