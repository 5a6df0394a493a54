//! One writing process per state folder.

use super::support::State;
use omni_user_sync::state::{LockError, StateLock};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    let about = std::fs::metadata(path).expect("it is there");
    about.permissions().mode() & 0o777
}

#[test]
fn a_state_folder_has_one_holder() {
    let state = State::new();
    let held = StateLock::acquire(&state.dir(), "run").expect("the lock is free");
    let error = StateLock::acquire(&state.dir(), "apply").expect_err("it is held");
    assert!(matches!(error, LockError::InUse { .. }));
    let said = error.to_string();
    let by = format!("is in use by `run` (pid {}, since 20", std::process::id());
    assert!(said.contains(&by), "{said}");
    assert!(said.contains(&state.dir().display().to_string()), "{said}");
    assert!(said.contains("stop the daemon"), "{said}");
    drop(held);
    StateLock::acquire(&state.dir(), "apply").expect("the lock is free");
}

#[test]
fn folder_and_lock_are_private() {
    let state = State::new();
    drop(StateLock::acquire(&state.dir(), "run").expect("the lock is free"));
    assert_eq!(mode(&state.dir()), 0o700);
    assert_eq!(mode(&state.file("lock")), 0o600);
}

#[test]
fn an_unnamed_holder_still_holds_the_lock() {
    let state = State::new();
    let _held = StateLock::acquire(&state.dir(), "run").expect("the lock is free");
    std::fs::write(state.file("lock"), "").expect("a file of the test");
    let error = StateLock::acquire(&state.dir(), "apply").expect_err("it is held");
    assert!(
        error.to_string().contains("in use by another process;"),
        "{error}"
    );
}

#[test]
fn a_file_as_state_folder_is_rejected() {
    let state = State::new();
    std::fs::write(state.dir(), "").expect("a file of the test");
    let error = StateLock::acquire(&state.dir(), "run").expect_err("it is a file");
    let said = error.to_string();
    assert!(matches!(error, LockError::Unusable { .. }));
    assert!(
        said.contains("set state.dir to a folder on a local disk"),
        "{said}"
    );
}

/// A child has the open files of its parent until its program begins.
#[test]
fn child_processes_do_not_keep_the_lock() {
    let state = State::new();
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            for _ in 0..100 {
                let child = std::process::Command::new("true").status();
                assert!(child.expect("it runs").success());
            }
        });
        while !starting.is_finished() {
            drop(StateLock::acquire(&state.dir(), "apply").expect("the lock is free"));
        }
    });
}

#[test]
fn the_holder_is_found_without_a_trace() {
    let state = State::new();
    assert_eq!(StateLock::holder(&state.dir()).expect("read"), None);
    assert!(!state.dir().exists());
    let lock = StateLock::acquire(&state.dir(), "run").expect("the lock is free");
    let holder = StateLock::holder(&state.dir())
        .expect("read")
        .expect("held");
    assert!(holder.is_daemon(), "{holder}");
    drop(lock);
    assert_eq!(StateLock::holder(&state.dir()).expect("read"), None);
    StateLock::acquire(&state.dir(), "apply").expect("the lock is free");
}
