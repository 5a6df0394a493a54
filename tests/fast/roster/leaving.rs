//! The columns `successor` and `leave_on`.

use super::support::{Folder, account, account_unknown, read, read_with, schema, settings, show};
use insta::assert_snapshot;
use omni_user_sync::model::{
    AttributeName, Definition, DesiredUser, Email, Entry, Schema, UserSpec, ValueType,
};
use omni_user_sync::settings::{BlankCells, SourceSettings};

#[test]
fn rows_state_successor_and_day() {
    assert_snapshot!(account(
        "op,email,display_name,tier,groups,Successor,leave_on\n\
         upsert,a@x.co,Ann,gold,,,\n\
         delete,b@x.co,,,,,\n\
         delete,c@x.co,,,,a@x.co,\n\
         deactivate,d@x.co,Dan,gold,[Sales], Zoe\u{301}@x.co ,2026-12-24\n\
         delete,e@x.co,,,,,2028-02-29\n"
    ), @r#"
    users.csv:2: a@x.co upsert "Ann" tier='gold'
    users.csv:3: b@x.co delete
    users.csv:4: c@x.co delete successor=a@x.co
    users.csv:5: d@x.co deactivate successor=Zoé@x.co on 2026-12-24, until then upsert "Dan" tier='gold'
    users.csv:6: e@x.co delete on 2028-02-29, until then upsert "-"
    users.csv:2:5 (groups): a@x.co in []
    users.csv:5:5 (groups): d@x.co in ["Sales"]
    "#);
}

#[test]
fn blank_cells_keep_until_the_day() {
    for blank_cells in [BlankCells::Clear, BlankCells::Keep] {
        let settings = SourceSettings {
            blank_cells,
            ..settings()
        };
        let text = "op,email,tier,Region,groups,leave_on\ndelete,a@x.co,,[north],,2026-12-24\n";
        let read = read_with(text, settings, schema()).expect("a roster");
        let on = read.users[0]
            .want
            .leaving()
            .and_then(|leaving| leaving.on.as_ref());
        let names = on
            .expect("a day")
            .until
            .attributes
            .iter()
            .map(|(name, _)| name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["Region"]);
        assert!(read.memberships.cells.is_empty());
    }
}

#[test]
fn invalid_cells_freeze_their_user() {
    assert_snapshot!(account(
        "op,email,seats,successor,leave_on\n\
         delete,a@x.co,,<z@x.co>,\n\
         delete,b@x.co,,nobody,\n\
         delete,c@x.co,,b@x.co;d@x.co,\n\
         delete,d@x.co,,,24.12.2026\n\
         delete,e@x.co,,,2026-1-5\n\
         delete,f@x.co,,,0026-12-24\n\
         delete,g@x.co,,,2026-12-24T00:00\n\
         upsert,h@x.co,,,2026-12-24\n\
         delete,i@x.co,many,,2026-12-24\n\
         delete,j@x.co,many,,\n\
         leave,k@x.co,,,2026-12-24\n"
    ), @"
    users.csv:11: j@x.co delete
    frozen: i@x.co (users.csv:10)
    frozen: k@x.co (users.csv:12)
    frozen: a@x.co (users.csv:2)
    frozen: b@x.co (users.csv:3)
    frozen: c@x.co (users.csv:4)
    frozen: d@x.co (users.csv:5)
    frozen: e@x.co (users.csv:6)
    frozen: f@x.co (users.csv:7)
    frozen: g@x.co (users.csv:8)
    frozen: h@x.co (users.csv:9)
    bad: users.csv:2:4 (successor): '<z@x.co>': not exactly one email address (RFC 5321); write only the address, such as 'z@x.co'
    bad: users.csv:3:4 (successor): 'nobody': an email has the form local@domain, with one @; write one email address, or clear the cell
    bad: users.csv:4:4 (successor): 'b@x.co;d@x.co': an email has the form local@domain, with one @; write only the address, such as 'b@x.co'
    bad: users.csv:5:5 (leave_on): expected a date, found '24.12.2026'; write the day as YYYY-MM-DD, such as 2026-12-24
    bad: users.csv:6:5 (leave_on): expected a date, found '2026-1-5'; write the day as YYYY-MM-DD, such as 2026-12-24
    bad: users.csv:7:5 (leave_on): no user can leave on '0026-12-24'; correct the date
    bad: users.csv:8:5 (leave_on): expected a date, found '2026-12-24T00:00'; write the day as YYYY-MM-DD, such as 2026-12-24
    bad: users.csv:9:5 (leave_on): a user with the op upsert does not leave; write delete or deactivate as op (until that day, the row upserts its user), or clear the cell
    bad: users.csv:10:3 (seats): expected a decimal number, found 'many'; write only digits and a decimal point, or leave the cell blank for no value
    bad: users.csv:12:1 (op): unknown op 'leave'; write upsert, delete or deactivate
    ");
    assert_snapshot!(account("email,leave_on\na@x.co,2026-12-24\nb@x.co,\n"), @r#"
    users.csv:3: b@x.co upsert "-"
    frozen: a@x.co (users.csv:2)
    bad: users.csv:2:2 (leave_on): a user with the op upsert does not leave; write delete or deactivate as op (until that day, the row upserts its user), or clear the cell
    "#);
}

#[test]
fn a_successor_of_an_upsert_is_noted() {
    assert_snapshot!(account(
        "op,email,successor\n\
         upsert,a@x.co,b@x.co\n\
         upsert,b@x.co,nobody\n\
         delete,c@x.co,b@x.co\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-"
    users.csv:3: b@x.co upsert "-"
    users.csv:4: c@x.co delete successor=b@x.co
    note: users.csv:2:3 (successor): a successor has no effect while the user stays (2 cells in this column); write delete or deactivate as op once the user leaves, or clear the cell
    "#);
}

#[test]
fn values_until_the_day_are_linted() {
    assert_snapshot!(account(
        "op,email,tier,leave_on\n\
         upsert,a@x.co,,\n\
         upsert,b@x.co,,\n\
         delete,c@x.co,NULL,2026-12-24\n\
         delete,d@x.co,NULL,\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-" tier=none
    users.csv:3: b@x.co upsert "-" tier=none
    users.csv:4: c@x.co delete on 2026-12-24, until then upsert "-" tier='NULL'
    users.csv:5: d@x.co delete
    note: users.csv:4:3 (tier): is a word for 'no value', as databases and spreadsheets write it, and would be set as text; leave the cell blank for no value
    "#);
}

#[test]
fn rows_of_one_user_must_agree() {
    assert_snapshot!(account(
        "op,email,tier,successor,leave_on\n\
         delete,same@x.co,gold,A@x.co,2026-12-24\n\
         delete,same@x.co,gold,a@x.co,2026-12-24\n\
         delete,day@x.co,,,2026-12-24\n\
         delete,day@x.co,,,2026-12-25\n\
         delete,until@x.co,gold,,2026-12-24\n\
         delete,until@x.co,silver,,2026-12-24\n\
         delete,to@x.co,,a@x.co,\n\
         delete,to@x.co,,b@x.co,\n\
         deactivate,op@x.co,,,2026-12-24\n\
         delete,op@x.co,,,2026-12-24\n"
    ), @r#"
    users.csv:2: same@x.co delete successor=A@x.co on 2026-12-24, until then upsert "-" tier='gold'
    frozen: op@x.co (users.csv:10)
    frozen: day@x.co (users.csv:4)
    frozen: until@x.co (users.csv:6)
    frozen: to@x.co (users.csv:8)
    bad: users.csv:4: conflicts with users.csv:5 for 'day@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:5: conflicts with users.csv:4 for 'day@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:6: conflicts with users.csv:7 for 'until@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:7: conflicts with users.csv:6 for 'until@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:8: conflicts with users.csv:9 for 'to@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:9: conflicts with users.csv:8 for 'to@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:10: conflicts with users.csv:11 for 'op@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:11: conflicts with users.csv:10 for 'op@x.co'; keep only the correct row; until then this user is frozen
    note: users.csv:3: repeats users.csv:2 for 'same@x.co'; remove one of the two rows
    "#);
    let folder = Folder::new();
    folder.write("a.csv", "op,email\ndelete,ann@x.co\ndelete,bob@x.co\n");
    folder.write(
        "b.csv",
        "op,email,leave_on\ndelete,ann@x.co,2026-12-24\ndelete,bob@x.co,\n",
    );
    assert_snapshot!(folder.show(), @"
    a.csv:3: bob@x.co delete
    frozen: ann@x.co (a.csv:2)
    bad: a.csv:2: conflicts with b.csv:2 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    bad: b.csv:2: conflicts with a.csv:2 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    note: b.csv:3: repeats a.csv:3 for 'bob@x.co'; remove one of the two rows
    ");
}

#[test]
fn attributes_of_these_names_reject_the_file() {
    let with = |name, system| {
        let attribute = Definition {
            name: AttributeName::new(name),
            value_type: ValueType::String,
            multiple: false,
            system,
            default: None,
        };
        let text = "op,email,successor,leave_on\ndelete,a@x.co,b@x.co,\n";
        show(&read_with(text, settings(), Schema::new([attribute])))
    };
    assert_snapshot!(with("successor", false), @"error: users.csv:1:3 (successor): the column 'successor' may be the successor of each user who leaves, or Omni's user attribute 'successor'; rename the attribute in Omni, or remove the column; a later version decides this by source.columns");
    assert_snapshot!(with("Leave_On", false), @"error: users.csv:1:4 (leave_on): the column 'leave_on' may be the day on which each user leaves, or Omni's user attribute 'Leave_On'; rename the attribute in Omni, or remove the column; a later version decides this by source.columns");
    assert_snapshot!(with("leave_on", true), @"users.csv:2: a@x.co delete successor=b@x.co");
    assert_snapshot!(account_unknown("email,Leave On,success-or\na@x.co,,\n"), @"
    error: users.csv:1:2 (Leave On): the column 'Leave On' looks like a misspelling of 'leave_on'; write 'leave_on'
    users.csv:1:3 (success-or): the column 'success-or' looks like a misspelling of 'successor'; write 'successor'
    ");
}

/// A roster may have millions of rows, most of them without a day.
#[test]
fn days_make_no_row_larger() {
    assert!(size_of::<DesiredUser>() <= size_of::<UserSpec>());
    assert!(size_of::<Entry>() <= 104, "{}", size_of::<Entry>());
}

#[test]
fn a_row_of_an_existing_address_leaves_too() {
    let csv = "op,email,successor,leave_on\ndelete,ann@localhost,a@x.co,2026-12-24\n";
    let mut desired = read(csv).expect("a roster");
    desired.settle_doubtful(&schema(), |_| true);
    let ann = &desired.users[&Email::known("ann@localhost").expect("an address")];
    assert!(
        ann.want
            .leaving()
            .is_some_and(|leaving| leaving.on.is_some())
    );
}
