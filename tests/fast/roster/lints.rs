//! Lints: notes on valid values that are probably not intended. They contain no values.

use super::support::{account, account_unknown, read_with, schema, settings};
use insta::assert_snapshot;
use omni_user_sync::model::Schema;
use omni_user_sync::settings::{BlankCells, SourceSettings};

/// Only the notes.
fn notes(text: &str) -> String {
    only_notes(&account(text))
}

fn only_notes(account: &str) -> String {
    assert!(
        !account.contains("bad:") && !account.contains("error:"),
        "{account}"
    );
    let notes = account.lines().filter(|line| line.starts_with("note: "));
    notes.collect::<Vec<_>>().join("\n")
}

/// A roster with one attribute of these cells.
fn column(name: &str, cells: &[&str]) -> String {
    let row =
        |(at, cell): (usize, &&str)| format!("u{at}@x.co,\"{}\"\n", cell.replace('"', "\"\""));
    let rows: String = cells.iter().enumerate().map(row).collect();
    format!("email,{name}\n{rows}")
}

#[test]
fn lists_with_wrong_separators_or_quotes_are_noted() {
    assert_snapshot!(notes(&column("Region", &["[a;b]", "[a|b]", "[a,b;c]", "[\"a;b\"]", "[a]"])), @"note: users.csv:2:2 (Region): this list is a single item that contains ; or | (2 cells in this column); separate items with commas: [a,b]");
    assert_snapshot!(notes(&column("Region", &["['a','b']", "[“a”,“b”]", "['']", "[it's]"])), @r#"note: users.csv:2:2 (Region): the quotes in this list are part of its items (3 cells in this column); write [a,b], or ["a","b"] with straight double quotes; in a CSV file, write each quote twice"#);
    assert_eq!(notes(&column("tier", &["a;b", "a|b", "'a'"])), "");
}

#[test]
fn unbracketed_lists_in_unknown_attributes_are_noted() {
    assert_snapshot!(only_notes(&account_unknown(column("Region", &["[a,b]", "a;b", "c|d", "e"]))), @"note: users.csv:3:2 (Region): contains ; or | without brackets, while other cells in this column are lists (2 cells in this column); write lists as [a,b]");
    assert_eq!(
        only_notes(&account_unknown(column("Region", &["a;b", "c"]))),
        ""
    );
}

#[test]
fn numbers_changed_by_a_spreadsheet_are_noted() {
    assert_snapshot!(notes(&column("tier", &["1.2E+05", "gold", "4,5E+11"])), @"note: users.csv:2:2 (tier): looks like a long number that a spreadsheet shortened (2 cells in this column); format the column as text and enter all digits again");
    assert_snapshot!(notes(&column("tier", &["1", "2.5", "3", "2024-05-01", "4", "5"])), @"note: users.csv:5:2 (tier): looks like a date that a spreadsheet made of a number, since the other values in this column are numbers; format the column as text and enter the value again");
    assert_snapshot!(notes(&column("tier", &["1", "2.5", "3", "4", "1,5"])), @"note: users.csv:6:2 (tier): has a decimal comma, while the other numbers in this column have none; write a decimal point (1.5)");
    // In a column of mixed texts they are probably intended.
    assert_eq!(
        notes(&column("tier", &["2024-05-01", "2024-06-01", "1,5", "x"])),
        ""
    );
}

#[test]
fn lost_leading_zeros_are_noted() {
    assert_snapshot!(notes(&column("tier", &["00123", "00456", "789"])), @"note: users.csv:4:2 (tier): shorter than the other numbers in this column; a spreadsheet may have dropped leading zeros; if zeros are missing, format the column as text and enter the numbers again");
    let mut codes = vec!["28001"; 12];
    codes[5] = "8001";
    assert_snapshot!(notes(&column("tier", &codes)), @"note: users.csv:7:2 (tier): shorter than the other numbers in this column; a spreadsheet may have dropped leading zeros; if zeros are missing, format the column as text and enter the numbers again");
    assert_eq!(notes(&column("tier", &["1", "12", "123", "1234"])), "");
    codes[6] = "unknown";
    assert_eq!(notes(&column("tier", &codes)), "");
    // Leading zeros of a number attribute have no meaning.
    assert_eq!(notes(&column("seats", &["00123", "00456", "789"])), "");
}

#[test]
fn invisible_characters_are_noted() {
    assert_snapshot!(notes("email,display_name,tier\na@x.co,An\u{200b}n,go\u{a0}ld\nb@x.co,Bob\u{a0},x\u{a0}y\n"), @r"
    note: users.csv:2:2 (display_name): contains an invisible character, such as a no-break space; type the text again if it was copied from a web page or a document
    note: users.csv:2:3 (tier): contains an invisible character, such as a no-break space (2 cells in this column); type the text again if it was copied from a web page or a document
    ");
    assert_eq!(
        notes("email,display_name\na@x.co,\u{a0}Ann\u{200b}\nb@x.co,👩\u{200d}💻 Zoë\n"),
        ""
    );
}

#[test]
fn a_blank_column_is_noted() {
    let text = "email,tier,Region\na@x.co,,[a]\nb@x.co, ,\nc@x.co,\u{a0},\n";
    assert_snapshot!(notes(text), @"note: users.csv:1:2 (tier): every readable cell in this column is blank, which clears the attribute of all 3 users in this file; fill in the column or remove it; an attribute without a column is never changed");
    let keep = SourceSettings {
        blank_cells: BlankCells::Keep,
        ..settings()
    };
    assert!(
        read_with(text, keep, schema())
            .expect("rows")
            .lints
            .is_empty()
    );
    // A single user is too few.
    assert_eq!(notes("email,tier\na@x.co,\n"), "");
    // Rows that delete have no values.
    assert_eq!(
        notes("op,email,tier\ndelete,a@x.co,\ndelete,b@x.co,\ndelete,c@x.co,\nupsert,d@x.co,\n"),
        ""
    );
}

#[test]
fn lints_are_limited_and_contain_no_value() {
    let header: String = (0..300).map(|at| format!(",c{at}")).collect();
    let rows: String = (0..50)
        .map(|at| format!("u{at}@x.co{}\n", ",s3cret\u{a0}s3cret".repeat(300)))
        .collect();
    let read = read_with(
        format!("email{header}\n{rows}"),
        settings(),
        Schema::unknown(),
    );
    let notes = read.expect("rows").lints;
    assert_eq!(notes.len(), 100);
    assert!(
        notes
            .iter()
            .all(|note| !note.to_string().contains("s3cret"))
    );
}

#[test]
fn bad_cells_suggest_a_remedy() {
    assert_snapshot!(account(
        "email,Region,seats\n\
         Ann Lee <ann@x.co>,,\n\
         a@x.co; b@x.co,,\n\
         c\u{200b}c@x.co,,\n\
         d@x.co,a;b,5-Jan\n\
         e@x.co,\"a, b\",\"1.234,5\"\n\
         ok@x.co,,\n"
    ), @r#"
    users.csv:7: ok@x.co upsert "-" Region=none seats=none
    frozen: ann@x.co (users.csv:2)
    frozen: a@x.co (users.csv:3)
    frozen: b@x.co (users.csv:3)
    frozen: cc@x.co (users.csv:4)
    frozen: d@x.co (users.csv:5)
    frozen: e@x.co (users.csv:6)
    unnamed: 3
    bad: users.csv:2:1 (email): 'Ann Lee <ann@x.co>': an email can't contain spaces, control characters or invisible characters; write only the address; until the row is corrected, 'ann@x.co' is frozen
    bad: users.csv:3:1 (email): 'a@x.co; b@x.co': an email can't contain spaces, control characters or invisible characters; write one row per address; frozen until the row is corrected: 'a@x.co', 'b@x.co'
    bad: users.csv:4:1 (email): 'c\u{200b}c@x.co': an email can't contain spaces, control characters or invisible characters; it contains an invisible character; type the address again; until the row is corrected, 'cc@x.co' is frozen
    bad: users.csv:5:2 (Region): expected a list, found 'a;b'; write '[a,b]'
    bad: users.csv:5:3 (seats): expected a decimal number, found '5-Jan'; the spreadsheet turned the number into a date; format the column as text and enter it again
    bad: users.csv:6:2 (Region): expected a list, found 'a, b'; write '[a,b]'
    bad: users.csv:6:3 (seats): expected a decimal number, found '1.234,5'; write the number with a decimal point and without thousands separators
    "#);
}

#[test]
fn values_of_other_programs_are_noted() {
    let cells = |cells: &[&str]| notes(&column("tier", cells));
    assert_snapshot!(cells(&["NULL", "gold", "n/a"]), @"note: users.csv:2:2 (tier): is a word for 'no value', as databases and spreadsheets write it, and would be set as text (2 cells in this column); leave the cell blank for no value");
    assert_snapshot!(cells(&["1001.0", "1002.0"]), @"note: users.csv:2:2 (tier): ends in .0, as programs write whole numbers that they read as decimals (2 cells in this column); write the number as before (1001), and read the column as text wherever it is imported");
    assert_eq!(cells(&["1.0", "1.5", "gold"]), "");
    assert_snapshot!(cells(&["M\u{c3}\u{bc}ller"]), @"note: users.csv:2:2 (tier): looks like UTF-8 that was read in another encoding ('Ã¼' for 'ü'); export it again, and read it as UTF-8 wherever it is imported");
    assert_snapshot!(cells(&["M\u{fffd}ller"]), @"note: users.csv:2:2 (tier): contains a replacement character (U+FFFD): part of the text could not be decoded; export it again in UTF-8, or type the text again");
    assert_snapshot!(cells(&["R&amp;D"]), @"note: users.csv:2:2 (tier): contains an HTML entity, such as &amp; for &; write the character itself");
    assert_snapshot!(cells(&["a\nb"]), @"note: users.csv:2:2 (tier): contains a line break; write the value on one line");
    assert_snapshot!(cells(&["Jose\u{301}"]), @"note: users.csv:2:2 (tier): contains decomposed letters (a letter and an accent apart), which are sent composed (NFC); export it in composed form, so that other programs see equal texts as equal");
    assert_snapshot!(notes("email,tier\nann@x.co, \"gold\"\n"), @"note: users.csv:2:2 (tier): has a space before its quote, so the quotes are part of the value; remove the space between the delimiter and the quote");
}
