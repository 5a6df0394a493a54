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
fn cells_and_items_are_trimmed_and_json_keeps_commas() {
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
fn one_value_and_many_are_not_mixed_up() {
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
    bad: users.csv:2:3 (Region): this attribute holds a list, and 'north' is none; write '[north]'
    bad: users.csv:3:2 (tier): this attribute holds one value, and '[gold]' is a list; write the value without brackets, or leave the cell blank for none
    bad: users.csv:4:2 (tier): '[gold' begins a list that does not end; write [a,b], and put the cell in quotes where the delimiter is in it
    bad: users.csv:4:3 (Region): '[north' begins a list that does not end; write [a,b], and put the cell in quotes where the delimiter is in it
    bad: users.csv:5:2 (tier): this attribute holds one value, and '[]' is a list; write the value without brackets, or leave the cell blank for none
    bad: users.csv:5:3 (Region): '[a,,b]' has a blank item; remove the comma that is too many, or write the missing item
    bad: users.csv:6:3 (Region): '["a"b]' begins as a JSON array and is none; write ["a","b"], in a CSV file with each quote twice
    bad: users.csv:7:3 (Region): '[[a],[b]]' has brackets inside; a list can't hold lists; items with brackets or commas are written as ["a,b","[c]"]
    "#);
}

#[test]
fn numbers_are_decimal_numbers() {
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
    bad: users.csv:3:2 (seats): this attribute is a number, and '1,5' is no decimal number; write the decimal mark as a point (1.5), and no mark between thousands
    bad: users.csv:4:2 (seats): this attribute is a number, and '1.2E+05' is no decimal number; the spreadsheet has shortened the number: format the column as text and enter all digits again
    bad: users.csv:5:2 (seats): this attribute is a number, and '2024-01-05' is no decimal number; the spreadsheet has made a date of it: format the column as text and enter the number again
    bad: users.csv:6:2 (seats): this attribute is a number, and '1 000' is no decimal number; write the number without marks between thousands, and the decimal mark as a point
    bad: users.csv:7:2 (seats): this attribute is a number, and 'many' is no decimal number; write the bare number with digits and a decimal point, or leave the cell blank for none
    bad: users.csv:8:3 (codes): this attribute is a number, and 'x' is no decimal number; write the bare number with digits and a decimal point, or leave the cell blank for none
    bad: users.csv:9:3 (codes): this attribute is a number, and '1E9' is no decimal number; the spreadsheet has shortened the number: format the column as text and enter all digits again
    "#);
}

#[test]
fn without_definitions_brackets_make_the_list() {
    assert_snapshot!(account_unknown(
        "email,whatever,seats\na@x.co,\"[a,b]\",1E5\nb@x.co,a,[7]\nc@x.co,[a,\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-" seats='1E5' whatever=['a', 'b']
    users.csv:3: b@x.co upsert "-" seats=['7'] whatever='a'
    frozen: c@x.co (users.csv:4)
    bad: users.csv:4:2 (whatever): '[a' begins a list that does not end; write [a,b], and put the cell in quotes where the delimiter is in it
    "#);
}
