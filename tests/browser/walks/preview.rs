//! What the next run and what a file would do.

use crate::browser::Browser;
use crate::world::World;

/// What the next run would do, then what a file would do that is dropped onto the page, and one that is chosen. Ends
/// where the changes that are held can be approved.
pub async fn preview(browser: &Browser, world: &World) {
    browser.goto("/").await;
    browser.click(".hero a[href='/preview']").await;
    browser.shows("Would be held by policy.max_removals").await;
    browser.shows("10 removals exceed the limit").await;
    browser.check("preview").await;
    let dropped = "
        const transfer = new DataTransfer();
        transfer.items.add(new File(['email\\n'], 'dropped.csv'));
        const drop = new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.querySelector('[data-drop]').dispatchEvent(drop);
        return document.querySelector('#upload').files[0]?.name";
    assert_eq!(browser.script(dropped).await, "dropped.csv");
    let file = world.folder.path().join("draft.csv");
    let rows = format!(
        "op,email,display_name\nupsert,user0029@example.com,{}\nupsrt,user0028@example.com,Name\n",
        "a long name ".repeat(50)
    );
    std::fs::write(&file, rows).expect("written");
    let before = world.org().requests().len();
    let field = browser.find("#upload").await;
    let path = file.to_str().expect("text");
    field.send_keys(path).await.expect("a file");
    browser.click("[data-drop] button").await;
    browser.shows("Preview of draft.csv").await;
    browser.shows("draft.csv:3").await;
    browser.shows("a long name a long name").await;
    browser.check("preview-file").await;
    assert_eq!(world.org().requests().len(), before, "no request to Omni");
    browser.goto("/").await;
    browser.find("#approve").await;
}
