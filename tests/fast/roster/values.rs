//! Attribute cells.

use super::support::{account, account_unknown, read_with, schema, settings, show};
use insta::assert_snapshot;
use omni_user_sync::settings::{BlankCells, SourceSettings};

#[test]
fn a_blank_cell_clears_or_keeps() {
    let text = "email,tier,Region\na@x.co,, \nb@x.co,gold,[]\n";
    assert_snapshot!(account(text), @r#"
    users.csv:2: a@x.co upsert "-" Region=none tier=none
    users.csv:3: b@x.co upsert "-" Region=none tier='gold'
    "#);
    let keep = SourceSettings {
        blank_cells: BlankCells::Keep,
        ..settings()
    };
    assert_snapshot!(show(&read_with(text, keep, schema())), @r#"
    users.csv:2: a@x.co upsert "-"
    users.csv:3: b@x.co upsert "-" Region=none tier='gold'
    "#);
}

#[test]
fn cells_and_items_are_trimmed() {
    assert_snapshot!(account(
        "email,tier,Region\n\
         a@x.co,\u{a0}gold\t,\"[ a , b ]\"\n\
         b@x.co,\"it's, \"\"gold\"\"\",\"[\"\"a,b\"\",\"\"c\"\"]\"\n\
         c@x.co,]x[,[a]\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-" Region=['a', 'b'] tier='gold'
    users.csv:3: b@x.co upsert "-" Region=['a,b', 'c'] tier='it's, "gold"'
    users.csv:4: c@x.co upsert "-" Region=['a'] tier=']x['
    "#);
}

#[test]
fn single_values_and_lists_are_not_interchangeable() {
    assert_snapshot!(account(
        "email,tier,Region\n\
         a@x.co,gold,north\n\
         b@x.co,[gold],[north]\n\
         c@x.co,[gold,[north\n\
         d@x.co,[],\"[a,,b]\"\n\
         e@x.co,,\"[\"\"a\"\"b]\"\n\
         f@x.co,,\"[[a],[b]]\"\n"
    ), @r#"
    frozen: a@x.co (users.csv:2)
    frozen: b@x.co (users.csv:3)
    frozen: c@x.co (users.csv:4)
    frozen: d@x.co (users.csv:5)
    frozen: e@x.co (users.csv:6)
    frozen: f@x.co (users.csv:7)
    bad: users.csv:2:3 (Region): expected a list, found 'north'; write '[north]'
    bad: users.csv:3:2 (tier): expected a single value, found the list '[gold]'; write the value without brackets, or leave the cell blank for no value
    bad: users.csv:4:2 (tier): the list '[gold' has no closing bracket; write [a,b], and quote the cell if it contains the delimiter
    bad: users.csv:4:3 (Region): the list '[north' has no closing bracket; write [a,b], and quote the cell if it contains the delimiter
    bad: users.csv:5:2 (tier): expected a single value, found the list '[]'; write the value without brackets, or leave the cell blank for no value
    bad: users.csv:5:3 (Region): the list '[a,,b]' has a blank item; remove the extra comma, or write the missing item
    bad: users.csv:6:3 (Region): '["a"b]' starts like a JSON array and is not valid JSON; write ["a","b"]; in a CSV file, write each quote twice
    bad: users.csv:7:3 (Region): the list '[[a],[b]]' contains brackets; lists can't be nested; write items that contain brackets or commas as ["a,b","[c]"]
    "#);
}

#[test]
fn number_attributes_accept_only_decimals() {
    assert_snapshot!(account(
        "email;seats;codes\n\
         a@x.co;12345678901234567890.5;[1,2.50]\n\
         b@x.co;1,5;\n\
         c@x.co;1.2E+05;\n\
         d@x.co;2024-01-05;\n\
         e@x.co;1 000;\n\
         f@x.co;many;\n\
         g@x.co;;[1,x]\n\
         h@x.co;;[1E9]\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-" codes=['1', '2.50'] seats='12345678901234567890.5'
    frozen: b@x.co (users.csv:3)
    frozen: c@x.co (users.csv:4)
    frozen: d@x.co (users.csv:5)
    frozen: e@x.co (users.csv:6)
    frozen: f@x.co (users.csv:7)
    frozen: g@x.co (users.csv:8)
    frozen: h@x.co (users.csv:9)
    bad: users.csv:3:2 (seats): expected a decimal number, found '1,5'; write a decimal point (1.5) and no thousands separator
    bad: users.csv:4:2 (seats): expected a decimal number, found '1.2E+05'; the spreadsheet shortened the number; format the column as text and enter all digits again
    bad: users.csv:5:2 (seats): expected a decimal number, found '2024-01-05'; the spreadsheet turned the number into a date; format the column as text and enter it again
    bad: users.csv:6:2 (seats): expected a decimal number, found '1 000'; write the number with a decimal point and without thousands separators
    bad: users.csv:7:2 (seats): expected a decimal number, found 'many'; write only digits and a decimal point, or leave the cell blank for no value
    bad: users.csv:8:3 (codes): expected a decimal number, found 'x'; write only digits and a decimal point, or leave the cell blank for no value
    bad: users.csv:9:3 (codes): expected a decimal number, found '1E9'; the spreadsheet shortened the number; format the column as text and enter all digits again
    "#);
}

#[test]
fn brackets_make_lists_without_definitions() {
    assert_snapshot!(account_unknown(
        "email,whatever,seats\na@x.co,\"[a,b]\",1E5\nb@x.co,a,[7]\nc@x.co,[a,\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-" seats='1E5' whatever=['a', 'b']
    users.csv:3: b@x.co upsert "-" seats=['7'] whatever='a'
    frozen: c@x.co (users.csv:4)
    bad: users.csv:4:2 (whatever): the list '[a' has no closing bracket; write [a,b], and quote the cell if it contains the delimiter
    "#);
}
