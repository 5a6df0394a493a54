//! The status page in a real browser, as a person goes through it: wide and on a phone, in light and in
//! dark. It needs Debian's `chromium` and `chromium-driver`, and the release binary: `bash .ci/full browser` installs,
//! builds and runs all of it.
//! With `SCREENSHOTS=folder` it leaves pictures of what it saw.

mod browser;
mod daemon;
mod walks;
#[allow(dead_code)] // the tests of the program use the rest
#[path = "../support/world.rs"]
mod world;

use browser::{Window, window};
use daemon::{free_port, listening, start};
use std::process::Command;
use walks::{keyboard, operator, status, without_script};

const WINDOWS: [Window; 4] = [
    window("wide-light", 1280, 900, false, false),
    window("phone-dark", 390, 844, true, true),
    window("wide-dark", 1280, 900, false, true),
    window("phone-light", 390, 844, true, false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_page_in_a_browser() {
    let port = free_port();
    let _driver = start(Command::new("chromedriver").arg(format!("--port={port}")));
    listening(port).await;
    for window in WINDOWS {
        status::walk(port, window).await;
    }
    without_script::walk(port).await;
    keyboard::walk(port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_before_during_and_after_they_happen() {
    let port = free_port();
    let _driver = start(Command::new("chromedriver").arg(format!("--port={port}")));
    listening(port).await;
    for window in &WINDOWS[..2] {
        operator::walk(port, *window).await;
    }
}
