//! Finds out which commit a release is of: `OMNI_USER_SYNC_COMMIT` says so, else git does, where this
//! is a checkout; a tarball has none. Nothing of when or where it is built goes in, so that the same
//! commit makes the same program. Other builds are of no commit: each one would compile all anew.
#![allow(clippy::print_stdout, reason = "so is cargo told")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=OMNI_USER_SYNC_COMMIT");
    let said = variable("OMNI_USER_SYNC_COMMIT");
    let is_release = variable("PROFILE").is_some_and(|profile| profile == "release");
    let commit = said
        .or_else(|| is_release.then(of_checkout).flatten())
        .filter(|commit| commit.chars().all(|c| c.is_ascii_alphanumeric()));
    let commit = commit.unwrap_or_default();
    let number = variable("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match commit.as_str() {
        "" => number,
        commit => format!("{number} ({commit})"),
    };
    println!("cargo::rustc-env=OMNI_USER_SYNC_BUILT_OF={commit}");
    println!("cargo::rustc-env=OMNI_USER_SYNC_VERSION={version}");
}

fn variable(name: &str) -> Option<String> {
    let text = std::env::var(name).ok()?;
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The commit that is checked out here: not in a folder above, into which a tarball was unpacked.
fn of_checkout() -> Option<String> {
    let here = Path::new(&variable("CARGO_MANIFEST_DIR")?).canonicalize();
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize();
    if here.ok()? != top.ok()? {
        return None;
    }
    // One line for each time that something else is checked out.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
