//! Problems that switch off removals.

use super::support::{Folder, read, schema, settings, show};
use insta::assert_snapshot;
use omni_user_sync::roster;

#[test]
fn a_complete_roster_allows_removals_and_pruning() {
    let read = read("op,email\nupsert,a@x.co\ndelete,b@x.co\nupsrt,c@x.co\n").expect("a roster");
    assert_eq!(read.removals_allowed(), Ok(()));
    assert_eq!(read.pruning_allowed(), Ok(()));
}

#[test]
fn a_rejected_file_disables_removals() {
    let folder = Folder::new();
    folder.write("a.csv", "op,email\nupsert,a@x.co\ndelete,b@x.co\n");
    folder.write("b.csv", "email\n\"c@x.co\n");
    folder.write("c.csv", "");
    folder.write("d.csv", "email,tier,x\n");
    assert_snapshot!(folder.show(), @r#"
    a.csv:2: a@x.co upsert "-"
    a.csv:3: b@x.co delete
    bad: b.csv:2: the quote opened in cell 1 is never closed; add the closing quote; inside a quoted cell, write each quote twice ("")
    bad: c.csv: the file is empty; write a header (op,email,display_name and the attributes) and one row per user
    bad: d.csv:1:3 (x): Omni has no user attribute 'x'; correct the name, remove the column, or define the attribute in Omni first
    "#);
    let read = folder.read().expect("one good file");
    assert_snapshot!(read.removals_allowed().expect_err("rejected"), @"A file of the roster could not be read (b.csv:2 and 2 more), so no user is removed.");
    assert_eq!(read.pruning_allowed(), read.removals_allowed());
}

#[test]
fn rejected_files_are_all_reported() {
    let folder = Folder::new();
    folder.write("b.csv", "email\n");
    folder.write("a.csv", "email,x,y\n");
    assert_snapshot!(folder.show(), @r"
    error: a.csv:1:2 (x): Omni has no user attribute 'x'; correct the name, remove the column, or define the attribute in Omni first
    a.csv:1:3 (y): Omni has no user attribute 'y'; correct the name, remove the column, or define the attribute in Omni first
    b.csv: the file has a header and no rows; write one row per user; a roster without rows is treated as a mistake
    ");
}

#[test]
fn an_unreadable_email_disables_only_pruning() {
    let one = read("email\na@x.co\nb\n").expect("a row");
    assert_eq!(one.removals_allowed(), Ok(()));
    assert_snapshot!(one.pruning_allowed().expect_err("unnamed"), @"1 row of the roster without a readable email may belong to any user, so no user is pruned.");
    let two = read("email\na@x.co\nb\nc\n").expect("a row");
    assert_snapshot!(two.pruning_allowed().expect_err("unnamed"), @"2 rows of the roster without a readable email may belong to any user, so no user is pruned.");
}

#[test]
fn a_roster_without_upserts_prunes_no_users() {
    let read = read("op,email\ndelete,a@x.co\nupsert,b@x.co\nupsert,b@x.co\nupsrt,c@x.co\n");
    assert!(read.expect("rows").pruning_allowed().is_ok());
    let read = super::support::read("op,email\ndelete,a@x.co\nupsert,b@x.co\ndelete,b@x.co\n");
    let read = read.expect("rows");
    assert_eq!(read.removals_allowed(), Ok(()));
    assert_snapshot!(read.pruning_allowed().expect_err("no upsert"), @"The roster has no row that upserts a user, so no user is pruned.");
}

#[test]
fn a_roster_other_than_the_source_never_prunes() {
    let folder = Folder::new();
    let path = folder.write("users.csv", "email\na@x.co\n");
    let read = roster::read(&settings(), &path, false, &schema());
    assert_snapshot!(show(&read), @r#"users.csv:2: a@x.co upsert "-""#);
    let refused = read.expect("a roster").pruning_allowed();
    assert_snapshot!(refused.expect_err("not the source"), @"This is not the roster of source.path, so no user is pruned.");
}
