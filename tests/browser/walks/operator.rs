//! What an operator does: sees changes before they happen, approves them, follows them, stops, resumes and undoes them.
//! Dry run → plan preview → preview of a file → held with fields → approve one → approve the rest → progress → pause →
//! stop → resume → converged → undo roster.

use crate::browser::{Browser, Window};
use crate::daemon::{TOKEN, eventually, serve};
use crate::world::World;
use omni_user_sync::sandbox::{Fault, Options, What, When};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const USERS: usize = 60;
/// More removals than the limit of 10% allows.
const REMOVED: usize = 10;
/// More emptied departments than the limit of 10% allows: two of ten users have none.
const CLEARED: usize = 8;
const HELD: usize = REMOVED + CLEARED;

/// A roster that renames the first ten users, removes the next ten, and clears the departments of the ten after these.
fn roster(world: &World) -> String {
    let mut text = "op,email,display_name,department\n".to_owned();
    for number in 1..=USERS {
        let email = format!("user{number:04}@example.com");
        let department = world.attribute(&email, "department");
        let department = department.as_str().unwrap_or_default();
        let row = match number {
            1..=10 => format!("upsert,{email},Name {number},{department}"),
            11..=20 => format!("delete,{email},,"),
            21..=30 => format!("upsert,{email},,"),
            _ => format!("upsert,{email},,{department}"),
        };
        writeln!(text, "{row}").expect("memory");
    }
    text
}

/// Walks in one window.
pub async fn walk(driver: u16, window: Window) {
    let world = World::with(Options {
        users: USERS,
        ..Options::default()
    })
    .await
    .set("omni.max_in_flight", "1");
    let settings = world.folder.path().join("config.toml");
    fs::write(&settings, "[policy]\nmode = \"dry-run\"\n").expect("written");
    let world = world.with_variable("OMNI_USER_SYNC_CONFIG", settings.to_str().expect("text"));
    world.roster(&roster(&world));
    let (world, daemon, base) = serve(world).await;
    let browser = Browser::open(driver, window, &base).await;

    dry_run(&browser, &world).await;
    let draft = draft(&world);
    preview(&browser, &draft).await;
    assert!(world.writes().is_empty(), "{}", window.name);

    fs::write(&settings, "").expect("written");
    daemon.hang_up();
    approve_one(&browser, &world).await;
    approve_the_rest(&browser, &world).await;
    stop_and_resume(&browser, &world).await;
    undo(&browser).await;
    world.assert_well_behaved();
    browser.client.close().await.expect("it closes");
}

/// Each planned change with its fields; what would be held can't be approved.
async fn dry_run(browser: &Browser, world: &World) {
    browser.goto("/").await;
    browser
        .shows("A dry run: these changes would be held.")
        .await;
    browser.check("dry-run").await;
    browser.goto("/runs/1").await;
    browser.shows("10 changes").await;
    browser.shows("'Name 1'").await;
    browser.check("dry-run-changes").await;
    assert!(world.writes().is_empty());
}

/// A file that is no roster of the daemon: its second row is invalid.
fn draft(world: &World) -> PathBuf {
    let file = world.folder.path().join("draft.csv");
    let rows =
        "op,email,display_name\nupsert,user0029@example.com,Draft\nupsrt,user0028@example.com,\n";
    fs::write(&file, rows).expect("written");
    file
}

async fn preview(browser: &Browser, draft: &std::path::Path) {
    log_in(browser, "/login?next=%2Fpreview").await;
    browser.shows("Would be held by policy.max_removals").await;
    browser.check("plan-preview").await;
    let field = browser.find("#upload").await;
    field
        .send_keys(draft.to_str().expect("text"))
        .await
        .expect("a file");
    browser.click("[data-drop] button").await;
    browser.shows("Preview of draft.csv").await;
    browser.shows("draft.csv:3").await;
    browser.shows("'Draft'").await;
    browser.check("file-preview").await;
}

async fn log_in(browser: &Browser, form: &str) {
    browser.goto(form).await;
    let token = browser.find("#token").await;
    let typed = token.send_keys(&format!("{TOKEN}\u{e007}")).await;
    typed.expect("keys");
    browser.find("form[action='/logout']").await;
}

/// The fields of what is held, and the approval of a single removal.
async fn approve_one(browser: &Browser, world: &World) {
    browser.goto("/").await;
    browser.shows(&format!("{HELD} changes are held")).await;
    browser.shows("8 × department → empty").await;
    browser.find("#held .fields").await;
    browser.check("held-with-fields").await;
    // New settings end the sessions.
    log_in(browser, "/login?next=%2F").await;
    browser
        .click("[aria-label='Approve only delete user0011@example.com']")
        .await;
    browser.find("#confirm").await;
    browser.shows("1 to delete").await;
    browser.check("confirm-one").await;
    browser.click("#confirm").await;
    browser.shows("Approved.").await;
    deleted(world, 1).await;
}

/// The others, slowly, so that the progress can be seen.
async fn approve_the_rest(browser: &Browser, world: &World) {
    world.org().fault(Fault {
        when: When {
            method: Some("DELETE".into()),
            ..When::default()
        },
        what: What::Late(Duration::from_secs(4)),
        times: usize::MAX,
    });
    browser.goto("/").await;
    browser
        .shows(&format!("{} changes are held", HELD - 1))
        .await;
    browser.click("#approve").await;
    browser.shows("9 to delete, 8 to update").await;
    browser.click("#confirm").await;
    browser.shows("Approved.").await;
    browser.goto("/").await;
    let progress = format!("/applying changes: [1-9]\\d* of {}/", HELD - 1);
    let script = format!("return {progress}.test(document.body.innerText)");
    browser.until(&progress, &script).await;
    browser.check("progress").await;
}

/// A stop between two changes; the pause keeps the next run away until the end of the pause.
async fn stop_and_resume(browser: &Browser, world: &World) {
    browser.click("form.pause button").await;
    browser.find("#resume").await;
    browser.click("form[action='/stop'] button").await;
    browser
        .until(
            "a stopped run",
            "return !document.querySelector(\"form[action='/stop']\")",
        )
        .await;
    let sent = world.write_counts()["DELETE"];
    assert!(sent < REMOVED, "stopped before the end: {sent}");
    browser.check("stopped").await;
    browser.click("form[action='/reconcile'] button").await;
    browser.shows("Run requested.").await;
    world.org().clear_faults();
    browser.goto("/").await;
    browser.click("#resume").await;
    deleted(world, REMOVED).await;
    browser.goto("/").await;
    browser.shows("Omni is in sync with the roster.").await;
    browser.check("resumed-and-converged").await;
}

async fn deleted(world: &World, count: usize) {
    eventually(&format!("{count} deleted"), || {
        world.write_counts().get("DELETE") == Some(&count)
    })
    .await;
}

/// The roster that undoes the first run that applied changes.
async fn undo(browser: &Browser) {
    browser.goto("/runs/2").await;
    browser.click("#downloads a[href='/runs/2/undo']").await;
    browser.shows("Undo roster: 10 rows").await;
    browser.check("undo").await;
    let link = browser.find("#download-undo").await;
    let link = link.attr("href").await.expect("read").expect("a link");
    let file = reqwest::get(format!("{}{link}", browser.base)).await;
    let file = file.expect("an answer").text().await.expect("text");
    assert!(file.contains("user0001@example.com,Ada Abbott"), "{file}");
}
