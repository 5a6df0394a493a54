//! Sets the version and, for release builds, the commit: from `BUILD_COMMIT`, or from git in
//! a checkout. A tarball has no commit. Time and place of the build are not included, so that builds are
//! reproducible. Debug builds have no commit, because each new commit would recompile everything.
#![allow(
    clippy::print_stdout,
    reason = "this is how build scripts talk to cargo"
)]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    let given = variable("BUILD_COMMIT");
    let is_release = variable("PROFILE").is_some_and(|profile| profile == "release");
    let commit = given
        .or_else(|| is_release.then(checked_out_commit).flatten())
        .filter(|commit| commit.chars().all(|c| c.is_ascii_alphanumeric()));
    let commit = commit.unwrap_or_default();
    let number = variable("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match commit.as_str() {
        "" => number,
        commit => format!("{number} ({commit})"),
    };
    println!("cargo::rustc-env=BUILT_COMMIT={commit}");
    println!("cargo::rustc-env=BUILT_VERSION={version}");
}

fn variable(name: &str) -> Option<String> {
    let text = std::env::var(name).ok()?;
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The commit that is checked out here. A repository in a parent folder, into which a tarball was
/// unpacked, does not count.
fn checked_out_commit() -> Option<String> {
    let here = Path::new(&variable("CARGO_MANIFEST_DIR")?).canonicalize();
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize();
    if here.ok()? != top.ok()? {
        return None;
    }
    // This log gets a line with each checkout and commit.
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
