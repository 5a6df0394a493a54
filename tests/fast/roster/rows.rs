//! Rows: ops, emails, names, lengths, repeats.

use super::support::{Folder, account};
use insta::assert_snapshot;

#[test]
fn the_file_of_omnis_script_is_read() {
    assert_snapshot!(account(
        "op,email,display_name,Region,tier,seats\n\
         upsert,ann@x.co,Ann,\"[north,south,east]\",gold,7\n\
         delete,bob@x.co,,,,\n"
    ), @r#"
    users.csv:2: ann@x.co upsert "Ann" Region=['north', 'south', 'east'] seats='7' tier='gold'
    users.csv:3: bob@x.co delete
    "#);
}

#[test]
fn columns_have_any_order_and_case() {
    assert_snapshot!(account(
        "tier, Display_Name ,EMAIL, seats ,Op\n gold , Ann ,Ann@X.co,7,UPSERT\n"
    ), @r#"users.csv:2: Ann@X.co upsert "Ann" seats='7' tier='gold'"#);
}

#[test]
fn every_row_upserts_without_an_op_column() {
    assert_snapshot!(account("email,display_name\nann@x.co,Ann\nbob@x.co, \n"), @r#"
    users.csv:2: ann@x.co upsert "Ann"
    users.csv:3: bob@x.co upsert "-"
    "#);
}

#[test]
fn ops_ignore_case() {
    assert_snapshot!(account(
        "op,email\n\
         UpSert,a@x.co\n\
         Delete,b@x.co\n\
         DEACTIVATE,c@x.co\n\
         delet,d@x.co\n\
         ,e@x.co\n\
         remove all,f@x.co\n\
         qqq,\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-"
    users.csv:3: b@x.co delete
    users.csv:4: c@x.co deactivate
    frozen: d@x.co (users.csv:5)
    frozen: e@x.co (users.csv:6)
    frozen: f@x.co (users.csv:7)
    unnamed: 1
    bad: users.csv:5:1 (op): unknown op 'delet' (did you mean 'delete'?); write upsert, delete or deactivate
    bad: users.csv:6:1 (op): the op is blank; write upsert, delete or deactivate
    bad: users.csv:7:1 (op): unknown op 'remove all'; write upsert, delete or deactivate
    bad: users.csv:8:1 (op): unknown op 'qqq'; write upsert, delete or deactivate
    bad: users.csv:8:2 (email): the email is blank; write one email address
    "#);
}

#[test]
fn ops_of_other_programs_are_read_and_noted() {
    assert_snapshot!(account(
        "op,email\n\
         Create,a@x.co\n\
         add,b@x.co\n\
         update,c@x.co\n\
         REMOVE,d@x.co\n\
         disable,e@x.co\n\
         removed,f@x.co\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-"
    users.csv:3: b@x.co upsert "-"
    users.csv:4: c@x.co upsert "-"
    users.csv:5: d@x.co delete
    users.csv:6: e@x.co deactivate
    frozen: f@x.co (users.csv:7)
    bad: users.csv:7:1 (op): unknown op 'removed'; write upsert, delete or deactivate
    note: users.csv:2:1 (op): this is the word of another program for an op (5 cells in this column); write upsert for create, add and update; delete for remove; deactivate for disable
    "#);
}

#[test]
fn unreadable_emails_count_as_unnamed_rows() {
    assert_snapshot!(account(
        "email,display_name\n\
         ,Blank\n\
         ann,No at\n\
         a@x.co b@x.co,Two\n\
         a@x.co;b@x.co,Two\n\
         a@b@c,Two ats\n\
         \"a\r\nb@x.co\",Broken\n\
         ok@x.co,Fine\n"
    ), @r#"
    users.csv:9: ok@x.co upsert "Fine"
    frozen: a@x.co (users.csv:4)
    frozen: b@x.co (users.csv:4)
    frozen: ab@x.co (users.csv:7)
    unnamed: 6
    bad: users.csv:2:1 (email): the email is blank; write one email address
    bad: users.csv:3:1 (email): 'ann': an email has the form local@domain, with one @; write one email address
    bad: users.csv:4:1 (email): 'a@x.co b@x.co': an email can't contain spaces, control characters or invisible characters; write one row per address; frozen until the row is corrected: 'a@x.co', 'b@x.co'
    bad: users.csv:5:1 (email): 'a@x.co;b@x.co': an email has the form local@domain, with one @; write one row per address; frozen until the row is corrected: 'a@x.co', 'b@x.co'
    bad: users.csv:6:1 (email): 'a@b@c': an email has the form local@domain, with one @; write one email address
    bad: users.csv:7:1 (email): 'a\r\nb@x.co': an email can't contain spaces, control characters or invisible characters; it contains an invisible character; type the address again; frozen until the row is corrected: 'b@x.co', 'ab@x.co'
    "#);
    let long = format!("email,tier\n{}@x.co,gold\nok@x.co,\n", "x".repeat(320));
    assert_snapshot!(account(long), @r#"
    users.csv:3: ok@x.co upsert "-" tier=none
    unnamed: 1
    bad: users.csv:2:1 (email): 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…': an email has at most 254 bytes; write one email address
    "#);
}

#[test]
fn removal_rows_need_only_an_email() {
    assert_snapshot!(account(
        "op,email,display_name,Region,seats\n\
         delete,a@x.co,,north,many\n\
         deactivate,b@x.co,,[,x\n"
    ), @r"
    users.csv:2: a@x.co delete
    users.csv:3: b@x.co deactivate
    ");
}

#[test]
fn a_row_of_wrong_length_freezes_all_addresses() {
    assert_snapshot!(account(
        "op,email,display_name,tier\n\
         upsert,a@x.co,Ann\n\
         upsert,b@x.co,Bob, Jr.,gold\n\
         boss@x.co,c@x.co\n\
         upsert,d@x.co,Dan,gold,\n\
         upsert\n\
         upsert,ok@x.co,Fine,gold\n"
    ), @r#"
    users.csv:7: ok@x.co upsert "Fine" tier='gold'
    frozen: a@x.co (users.csv:2)
    frozen: b@x.co (users.csv:3)
    frozen: boss@x.co (users.csv:4)
    frozen: c@x.co (users.csv:4)
    frozen: d@x.co (users.csv:5)
    unnamed: 5
    bad: users.csv:2: too short: this row has 3 cells, the header has 4; write every cell, also blank ones; a missing cell is never treated as a blank one
    bad: users.csv:3: too long: this row has 5 cells, the header has 4; quote the cells that contain the delimiter, or remove the extra cells
    bad: users.csv:4: too short: this row has 2 cells, the header has 4; write every cell, also blank ones; a missing cell is never treated as a blank one
    bad: users.csv:5: too long: this row has 5 cells, the header has 4; quote the cells that contain the delimiter, or remove the extra cells
    bad: users.csv:6: too short: this row has 1 cell, the header has 4; write every cell, also blank ones; a missing cell is never treated as a blank one
    "#);
}

#[test]
fn blank_rows_are_skipped_whatever_their_length() {
    let read = super::support::read(
        "\n,,,\n email,tier\n\r\n,\n , ,,,,\nann@x.co,gold\n\u{a0},\u{200b}\n\n",
    );
    let read = read.expect("a row");
    assert_eq!(
        (read.rows, read.users.len(), read.bad_rows.len()),
        (1, 1, 0)
    );
    assert_eq!(read.users.values().next().expect("one").location.line, 7);
}

#[test]
fn every_problem_of_a_row_is_reported() {
    assert_snapshot!(account(
        "op,email,Region,seats,codes\n\
         upsert,ann,north,\"1,5\",\"[1,x]\"\n\
         nope,bob,,,\n\
         upsert,ok@x.co,,,\n"
    ), @r#"
    users.csv:4: ok@x.co upsert "-" Region=none codes=none seats=none
    unnamed: 2
    bad: users.csv:2:2 (email): 'ann': an email has the form local@domain, with one @; write one email address
    bad: users.csv:2:3 (Region): expected a list, found 'north'; write '[north]'
    bad: users.csv:2:4 (seats): expected a decimal number, found '1,5'; write a decimal point (1.5) and no thousands separator
    bad: users.csv:2:5 (codes): expected a decimal number, found 'x'; write only digits and a decimal point, or leave the cell blank for no value
    bad: users.csv:3:1 (op): unknown op 'nope'; write upsert, delete or deactivate
    bad: users.csv:3:2 (email): 'bob': an email has the form local@domain, with one @; write one email address
    "#);
}

#[test]
fn equal_rows_are_merged_with_a_note() {
    assert_snapshot!(account(
        "email,display_name,seats,Region\n\
         ann@x.co,Ann,7,\"[a,b]\"\n\
         ANN@x.co , Ann,7.0,\"[b, a]\"\n\
         ann@x.co,Ann,07,\"[\"\"a\"\",\"\"b\"\"]\"\n"
    ), @r#"
    users.csv:2: ann@x.co upsert "Ann" Region=['a', 'b'] seats='7'
    note: users.csv:3: repeats users.csv:2 for 'ann@x.co'; remove one of the two rows
    note: users.csv:4: repeats users.csv:2 for 'ann@x.co'; remove one of the two rows
    "#);
}

#[test]
fn duplicate_rows_are_listed_up_to_a_limit() {
    let rows = "ann@x.co,Ann\nbob@x.co,Bob\n".repeat(601);
    let read = super::support::read(format!("email,display_name\n{rows}")).expect("two users");
    assert_eq!((read.users.len(), read.lints.len()), (2, 1_001));
    assert_snapshot!(read.lints[1_000], @"users.csv: 200 more rows, in this file or others, are repeated or skipped; write one row per user");
    let differ: String = (0..=100_000).map(|at| format!("ann@x.co,{at}\n")).collect();
    assert_snapshot!(account(format!("email,display_name\n{differ}ok@x.co,\n")), @"error: users.csv:2: the roster has more than 100000 problems in its rows, such as the conflicting rows of this user; check that this file is the roster and how it was exported");
}

#[test]
fn conflicting_rows_are_all_bad() {
    assert_snapshot!(account(
        "op,email,tier\n\
         upsert,ann@x.co,gold\n\
         upsert,ann@x.co,gold\n\
         delete,Ann@x.co,\n\
         upsert,bob@x.co,gold\n\
         upsert,bob@x.co,silver\n\
         upsert,ok@x.co,gold\n"
    ), @r#"
    users.csv:7: ok@x.co upsert "-" tier='gold'
    frozen: ann@x.co (users.csv:2)
    frozen: bob@x.co (users.csv:5)
    bad: users.csv:2: conflicts with users.csv:4 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:3: conflicts with users.csv:4 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:4: conflicts with users.csv:2 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:5: conflicts with users.csv:6 for 'bob@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:6: conflicts with users.csv:5 for 'bob@x.co'; keep only the correct row; until then this user is frozen
    "#);
}

#[test]
fn a_bad_row_overrides_valid_rows() {
    assert_snapshot!(account(
        "op,email,seats\n\
         delete,ann@x.co,\n\
         upsert,ann@x.co,many\n\
         upsert,ok@x.co,1\n"
    ), @r#"
    users.csv:4: ok@x.co upsert "-" seats='1'
    frozen: ann@x.co (users.csv:3)
    bad: users.csv:3:3 (seats): expected a decimal number, found 'many'; write only digits and a decimal point, or leave the cell blank for no value
    note: users.csv:2: this row is skipped: 'ann@x.co' is frozen because of users.csv:3; correct that row
    "#);
}

#[test]
fn conflicting_files_freeze_their_user() {
    let folder = Folder::new();
    folder.write(
        "a.csv",
        "email,tier\nann@x.co,gold\nbob@x.co,gold\nall@x.co,gold\n",
    );
    folder.write("b.csv", "email,tier\nann@x.co,silver\nbob@x.co,gold\n");
    folder.write("c.csv", "op,email\ndelete,all@x.co\n");
    assert_snapshot!(folder.show(), @r#"
    a.csv:3: bob@x.co upsert "-" tier='gold'
    frozen: ann@x.co (a.csv:2)
    frozen: all@x.co (a.csv:4)
    bad: a.csv:2: conflicts with b.csv:2 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    bad: a.csv:4: conflicts with c.csv:2 for 'all@x.co'; keep only the correct row; until then this user is frozen
    bad: b.csv:2: conflicts with a.csv:2 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    bad: c.csv:2: conflicts with a.csv:4 for 'all@x.co'; keep only the correct row; until then this user is frozen
    note: b.csv:3: repeats a.csv:3 for 'bob@x.co'; remove one of the two rows
    "#);
}

#[test]
fn a_bad_row_freezes_its_user_everywhere() {
    let folder = Folder::new();
    folder.write("a.csv", "email,seats\nann@x.co,7\nbob@x.co,1\n");
    folder.write("b.csv", "email,seats\nann@x.co,many\n");
    assert_snapshot!(folder.show(), @r#"
    a.csv:3: bob@x.co upsert "-" seats='1'
    frozen: ann@x.co (b.csv:2)
    bad: b.csv:2:2 (seats): expected a decimal number, found 'many'; write only digits and a decimal point, or leave the cell blank for no value
    note: a.csv:2: this row is skipped: 'ann@x.co' is frozen because of b.csv:2; correct that row
    "#);
}

#[test]
fn rows_swallowed_by_quotes_are_frozen() {
    assert_snapshot!(account(
        "email,display_name\n\
         ann@x.co,\"Ann\n\
         bob@x.co,\"\n\
         eve@x.co,Eve\n"
    ), @r#"
    users.csv:4: eve@x.co upsert "Eve"
    frozen: ann@x.co (users.csv:2)
    frozen: bob@x.co (users.csv:2)
    unnamed: 1
    bad: users.csv:2:2 (display_name): this cell contains whole rows, so a quote is missing or misplaced; close the quote where the cell ends; inside a quoted cell, write each quote twice ("")
    "#);
    assert_snapshot!(account("email,display_name\nann@x.co,\"Ann\r\nof the North\"\n"), @r#"
    users.csv:2: ann@x.co upsert "Ann\r\nof the North"
    note: users.csv:2:2 (display_name): contains a line break; write the value on one line
    "#);
}

/// The order of the columns and the positions of the quotes make no difference.
#[test]
fn rows_swallowed_in_any_cell_are_frozen() {
    for text in [
        // The address is further left in the cell's first line than in a row.
        "op,display_name,email,tier\nupsert,\"Ann,ann@x.co,gold\nupsert,Bob\",bob@x.co,gold\n",
        "op,display_name,email,tier\nupsert,\"Ann,ann@x.co,gold\nupsert,eve,eve@x.co,\nupsert,Bob\",bob@x.co,gold\n",
        // A delimiter in quotes, written twice, comes before it.
        "display_name,email,tier\n\"Lee, Ann\",bob@x.co,\"gold\n\"\"Lee, Ann\"\",ann@x.co,gold\nEve,eve@x.co,\"\n",
        "display_name,email,tier\nBob,bob@x.co,\"gold\n\"\"Lee, Ann\"\",ann@x.co,\"\n",
        "email,display_name,tier\nbob@x.co,Bob,\"gold\nann@x.co,\"\"Lee, Ann\"\",\"\n",
        // Two rows short of a cell.
        "op,email,display_name,tier\nupsert,bob@x.co,\"Bob,gold\nupsert,ann@x.co\nupsert,eve@x.co,Eve\",gold\n",
    ] {
        let read = super::support::read(text).expect(text);
        let ann = omni_user_sync::model::Email::parse("ann@x.co").expect("valid");
        assert!(read.frozen.contains_key(&ann), "{text}");
        assert_eq!((read.users.len(), read.unnamed), (0, 1), "{text}");
    }
}

#[test]
fn cells_may_have_several_lines() {
    for text in [
        // A lone address, one in a sentence, and too few delimiters for a row.
        "email,display_name\nann@x.co,\"Ann\nann@x.co\"\n",
        "email,display_name\nann@x.co,\"bob@x.co, Bob's friend,\nof the North\"\n",
        "op,email,display_name,tier\nupsert,ann@x.co,\"write to bob@x.co, now, or\nnever\",gold\n",
        "op,email,display_name,tier\nupsert,ann@x.co,\"Ann\nann@home, x, y, z\nLee\",gold\n",
        "op,email,display_name,tier\nupsert,ann@x.co,\"Ann\nLee, bob, boss@x.co\nx\",gold\n",
        "display_name,email,tier\n\"Ann,\nann@x.co\",ann@x.co,gold\n",
    ] {
        let read = super::support::read(text).expect(text);
        assert_eq!(
            (read.users.len(), read.bad_rows.len()),
            (1, 0),
            "{text}: {:?}",
            read.bad_rows
        );
    }
}
