//! Which files are the roster.

use super::support::Folder;
use crate::support::logged::Logged;
use insta::assert_snapshot;
use omni_user_sync::roster::{fingerprint, stamp};
use omni_user_sync::settings::Select;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};
use tracing::Level;

const GOOD: &str = "email,tier\na@x.co,gold\n";

fn set_age(path: &std::path::Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(time))
        .expect("a file of the test");
}

#[test]
fn a_missing_roster_is_explained() {
    let folder = Folder::new();
    assert_snapshot!(folder.show_at(&folder.path().join("users.csv")), @"error: DIR/users.csv: no such file or folder; put the roster there, or correct the path");
    assert_snapshot!(folder.show(), @"error: DIR: this folder contains no *.csv; put the roster there, saved as 'CSV UTF-8' (workbooks such as .xlsx are not read)");
    fs::create_dir(folder.path().join("users.csv")).expect("a folder");
    assert_snapshot!(folder.show_at(&folder.path().join("users.csv")), @"error: DIR/users.csv: this is an empty folder, not a CSV file; container runtimes create one if the file to mount is missing: create the file and mount it again");
    assert_snapshot!(folder.show(), @"error: users.csv: this is a folder; put the CSV file itself here");
}

#[test]
fn only_csv_files_are_read() {
    let folder = Folder::new();
    folder.write("a.csv", "email\na@x.co\n");
    folder.write("B.CSV", "email\nb@x.co\n");
    for other in [
        "~$a.csv",
        ".a.csv",
        "a.csv.tmp",
        "a.csv.part",
        "a.csv.crdownload",
        "a.xlsx",
        "csv",
    ] {
        folder.write(other, "email\nno@x.co\n");
    }
    fs::create_dir(folder.path().join("reports")).expect("a folder");
    assert_snapshot!(folder.show(), @r#"
    B.CSV:2: b@x.co upsert "-"
    a.csv:2: a@x.co upsert "-"
    note: a.xlsx: this workbook is not read; save it as 'CSV UTF-8', or move it elsewhere
    "#);
    let names: Vec<_> = folder
        .read()
        .expect("two")
        .files
        .into_iter()
        .map(|f| f.name)
        .collect();
    assert_eq!(names, ["B.CSV".into(), "a.csv".into()]);
}

#[test]
fn ignored_files_are_logged_at_debug() {
    let folder = Folder::new();
    folder.write("a.csv", GOOD);
    for other in [
        "~$a.csv",
        ".a.csv",
        ".~lock.a.csv#",
        "a.csv.tmp",
        "b.TMP",
        "a.csv.part",
        "a.csv.crdownload",
    ] {
        folder.write(other, GOOD);
    }
    for other in ["reports", "old"] {
        fs::create_dir(folder.path().join(other)).expect("a folder");
        folder.write(&format!("{other}/b.csv"), "email\nno@x.co\n");
    }
    let logged = Logged::default();
    let listening = logged.listen_at(Level::DEBUG);
    let shown = folder.show();
    drop(listening);
    assert_snapshot!(shown, @r#"a.csv:2: a@x.co upsert "-" tier='gold'"#);
    let logged = logged.text();
    let mut lines: Vec<_> = logged.lines().map(str::trim).collect();
    lines.sort_unstable();
    assert_snapshot!(lines.join("\n"), @r#"
    DEBUG file is not part of the roster file=.a.csv reason="hidden file"
    DEBUG file is not part of the roster file=.~lock.a.csv# reason="hidden file"
    DEBUG file is not part of the roster file=a.csv.crdownload reason="not a .csv file"
    DEBUG file is not part of the roster file=a.csv.part reason="not a .csv file"
    DEBUG file is not part of the roster file=a.csv.tmp reason="not a .csv file"
    DEBUG file is not part of the roster file=b.TMP reason="not a .csv file"
    DEBUG file is not part of the roster file=old reason="not a .csv file"
    DEBUG file is not part of the roster file=reports reason="not a .csv file"
    DEBUG file is not part of the roster file=~$a.csv reason="lock file of a spreadsheet program"
    "#);
}

#[test]
fn columns_may_differ_between_files() {
    let folder = Folder::new();
    folder.write("a.csv", "tier;email\ngold;a@x.co\n");
    folder.write(
        "b.csv",
        "EMAIL,Region,display_name,op\nb@x.co,[n],Bea,upsert\nc@x.co,,,delete\n",
    );
    assert_snapshot!(folder.show(), @r#"
    a.csv:2: a@x.co upsert "-" tier='gold'
    b.csv:2: b@x.co upsert "Bea" Region=['n']
    b.csv:3: c@x.co delete
    "#);
}

#[test]
fn the_newest_file_is_by_time_then_name() {
    let mut folder = Folder::new();
    folder.settings.select = Select::Newest;
    let (a, b) = (
        folder.write("a.csv", "email\na@x.co\n"),
        folder.write("b.csv", "email\nb@x.co\n"),
    );
    set_age(&a, 10);
    set_age(&b, 60);
    assert_snapshot!(folder.show(), @r#"a.csv:2: a@x.co upsert "-""#);
    let time = fs::metadata(&a).and_then(|a| a.modified()).expect("a time");
    let set = |file: File| file.set_modified(time);
    File::options()
        .write(true)
        .open(&b)
        .and_then(set)
        .expect("a file of the test");
    assert_snapshot!(folder.show(), @r#"b.csv:2: b@x.co upsert "-""#);
}

#[test]
fn a_rejected_newest_file_is_not_skipped() {
    let mut folder = Folder::new();
    folder.settings.select = Select::Newest;
    folder.write("a.csv", GOOD);
    symlink("nowhere.csv", folder.path().join("b.csv")).expect("a link");
    assert_snapshot!(folder.show(), @"error: b.csv: the file has vanished, or is a broken link; restore the file, or remove the link");
}

#[test]
fn outside_and_broken_links_are_rejected() {
    let folder = Folder::new();
    let elsewhere = Folder::new();
    let target = elsewhere.write("secret.csv", GOOD);
    folder.write("good.csv", GOOD);
    fs::create_dir(folder.path().join("dir.csv")).expect("a folder");
    symlink("/dev/zero", folder.path().join("device.csv")).expect("a link");
    symlink(&target, folder.path().join("out.csv")).expect("a link");
    symlink("nowhere.csv", folder.path().join("dangling.csv")).expect("a link");
    assert_snapshot!(folder.show(), @r#"
    good.csv:2: a@x.co upsert "-" tier='gold'
    bad: dangling.csv: the file has vanished, or is a broken link; restore the file, or remove the link
    bad: device.csv: this link points outside the folder; put the file itself in the folder, or set source.path to its location
    bad: dir.csv: this is a folder; put the CSV file itself here
    bad: out.csv: this link points outside the folder; put the file itself in the folder, or set source.path to its location
    "#);
}

#[test]
fn unreadable_files_do_not_reject_readable_ones() {
    let folder = Folder::new();
    folder.write("good.csv", GOOD);
    let pipe = folder.path().join("pipe.csv");
    let made = rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU);
    made.expect("a pipe");
    symlink("pipe.csv", folder.path().join("to_pipe.csv")).expect("a link");
    symlink("loop.csv", folder.path().join("loop.csv")).expect("a link");
    assert_snapshot!(folder.show(), @r#"
    good.csv:2: a@x.co upsert "-" tier='gold'
    bad: loop.csv: can't be read: Too many levels of symbolic links (os error 40); give the service user read permission
    bad: pipe.csv: this is a pipe or a device, not a file; save the rows to a file
    bad: to_pipe.csv: this is a pipe or a device, not a file; save the rows to a file
    "#);
    let read = folder.read().expect("one good file");
    assert!(read.removals_allowed().is_err());
    // A poll does not hang either.
    stamp(&folder.settings, folder.path()).expect("a roster");
    fingerprint(&folder.settings, folder.path()).expect("a roster");
}

#[test]
fn a_pipe_does_not_hang() {
    let folder = Folder::new();
    let path = folder.path().join("users.csv");
    let made = rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU);
    made.expect("a pipe");
    assert_snapshot!(folder.show_at(&path), @"error: users.csv: this is a pipe or a device, not a file; save the rows to a file");
    assert_snapshot!(folder.show_at("/dev/null".as_ref()), @"error: null: this is a pipe or a device, not a file; save the rows to a file");
}

#[test]
fn links_within_the_folder_are_followed() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("..2026_01")).expect("a folder");
    folder.write("..2026_01/users.csv", GOOD);
    symlink("..2026_01", folder.path().join("..data")).expect("a link");
    symlink("..data/users.csv", folder.path().join("users.csv")).expect("a link");
    assert_snapshot!(folder.show(), @r#"users.csv:2: a@x.co upsert "-" tier='gold'"#);
    let before = stamp(&folder.settings, folder.path()).expect("a roster");
    let content = fingerprint(&folder.settings, folder.path()).expect("a roster");

    fs::create_dir(folder.path().join("..2026_02")).expect("a folder");
    folder.write("..2026_02/users.csv", GOOD);
    symlink("..2026_02", folder.path().join("..new")).expect("a link");
    fs::rename(folder.path().join("..new"), folder.path().join("..data")).expect("a swap");
    assert_ne!(
        stamp(&folder.settings, folder.path()).expect("a roster"),
        before
    );
    assert_eq!(
        fingerprint(&folder.settings, folder.path()).expect("a roster"),
        content
    );
}

#[test]
fn undecodable_file_names_are_escaped() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    folder.write("good.csv", "email\nok@x.co\n");
    let name = std::ffi::OsStr::from_bytes(b"a\xff\n\x1b[2J.csv");
    fs::write(folder.path().join(name), "nothing").expect("a file");
    assert_snapshot!(folder.show(), @r#"
    good.csv:2: ok@x.co upsert "-"
    bad: a�\n\u{1b}[2J.csv:1: there is no column 'email': the first row is a single cell; name the column of addresses 'email', and separate the columns with commas, semicolons or tabs
    "#);
}

#[test]
fn the_stamp_changes_without_the_content() {
    let folder = Folder::new();
    let path = folder.write("users.csv", GOOD);
    let look = || {
        let (settings, path) = (&folder.settings, folder.path());
        let content = fingerprint(settings, path).expect("a roster");
        (stamp(settings, path).expect("a roster"), content)
    };
    let (stamp, content) = look();
    assert_eq!(folder.read().expect("a roster").fingerprint, content);
    set_age(&path, 3600);
    assert_ne!(look().0, stamp);
    assert_eq!(look().1, content);
    folder.write("users.csv", "email,tier\nb@x.co,gold\n");
    assert_ne!(look().1, content);
}

#[test]
fn read_and_fingerprint_agree_on_rejected_files() {
    let mut folder = Folder::new();
    folder.write("good.csv", GOOD);
    folder.write("quote.csv", format!("email\n\"{}", "x".repeat(3 << 20)));
    folder.write("book.csv", b"PK\x03\x04");
    folder.write("bytes.csv", b"email\n\xff rest");
    folder.settings.max_bytes = 4 << 20;
    folder.write("large.csv", vec![b'x'; 5 << 20]);
    let read = folder.read().expect("one good file");
    assert_eq!(read.rejected.len(), 4);
    let content = fingerprint(&folder.settings, folder.path()).expect("a roster");
    assert_eq!(read.fingerprint, content);
}
