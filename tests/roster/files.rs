//! Whole files: quotes, bytes, sizes, kinds.

use crate::support::{Folder, account, read_with, schema, settings, show};
use insta::assert_snapshot;
use omni_user_sync::settings::{Encoding, SourceSettings};

#[test]
fn a_stray_quote_rejects_the_file_and_names_both_ends() {
    assert_snapshot!(account("email,tier\na@x.co,\"gold\nb@x.co,gold\n"), @r#"error: users.csv:2: the quote that opens here, in cell 2, is never closed; write the closing quote; a quote inside a quoted cell is written twice ("")"#);
    assert_snapshot!(account("email,tier\na@x.co,\"gold\nb@x.co,\"gold\"\n"), @r#"error: users.csv:2: the quote that opens here, in cell 2, ends only on line 3, with text right after it: a closing quote is missing in lines 2 to 3; write the closing quote; a quote inside a quoted cell is written twice ("")"#);
    assert_snapshot!(account("email,tier\na@x.co,\"gold\"en\n"), @r#"error: users.csv:2: cell 2 has text right after its closing quote; put the whole cell in quotes and write a quote inside it twice ("")"#);
    assert_snapshot!(account("\"email,tier\na@x.co,gold\n"), @r#"error: users.csv:1: the quote that opens here, in cell 1, is never closed; write the closing quote; a quote inside a quoted cell is written twice ("")"#);
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["email,tier", "", "\"a@x.co\",\"x", "y\"", "ann,", ""].join(end);
        let read = crate::support::read(text).expect("a row");
        assert_eq!(read.bad_rows[0].place.line, 5, "{end:?}");
        assert_eq!(
            read.users.values().next().expect("one").place.line,
            3,
            "{end:?}"
        );
    }
}

#[test]
fn text_is_utf8_or_says_what_it_is() {
    let utf16: Vec<u8> = "\u{feff}email;display_name\na@x.co;Zoë\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_snapshot!(account(utf16), @r#"users.csv:2: a@x.co upsert "Zoë""#);
    assert_snapshot!(account("\u{feff}email;display_name\na@x.co;Zoë\n"), @r#"users.csv:2: a@x.co upsert "Zoë""#);
    assert_snapshot!(account(b"email,display_name\na@x.co,Ann\nz@x.co,Zo\xeb\n"), @r#"error: users.csv:3: here are bytes that are not UTF-8 text; save it as 'CSV UTF-8', or, if an older spreadsheet saved it, set source.encoding = "windows-1252""#);
    let windows = SourceSettings {
        encoding: Encoding::Windows1252,
        ..settings()
    };
    assert_snapshot!(show(&read_with(b"email,display_name\nz@x.co,Zo\xeb\n", windows.clone(), schema())), @r#"users.csv:2: z@x.co upsert "Zoë""#);
    assert_snapshot!(show(&read_with(b"email,display_name\nz@x.co,Zo\x81\n", windows, schema())), @r#"error: users.csv:2: here are bytes that do not exist in windows-1252; save it as 'CSV UTF-8' and set source.encoding = "auto""#);
}

#[test]
fn what_is_no_text_is_named() {
    assert_snapshot!(account(b"PK\x03\x04\x14\0\x06\0rest"), @"error: users.csv: this is a workbook (.xlsx, .ods) or a zip archive, whatever its name says; open it in the spreadsheet and save the sheet as 'CSV UTF-8'; renaming the file is not enough");
    assert_snapshot!(account(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest"), @"error: users.csv: this is an old Excel workbook (.xls), whatever its name says; open it in the spreadsheet and save the sheet as 'CSV UTF-8'; renaming the file is not enough");
    assert_snapshot!(account(b"email\na@x.co\n\0\0\0"), @"error: users.csv:3: here is a NUL byte, so this is no text file, or UTF-16 without its mark; save it as 'CSV UTF-8'");
    assert_snapshot!(account(b"e\0m\0a\0i\0l\0"), @"error: users.csv:1: here is a NUL byte, so this is no text file, or UTF-16 without its mark; save it as 'CSV UTF-8'");
    assert_snapshot!(account(b"\xff\xfeemail\n"), @"error: users.csv:1: there is no column 'email': the first row is one cell; name the column of addresses 'email', and separate the columns by comma, semicolon or tab");
}

#[test]
fn a_row_over_one_mebibyte_rejects_the_file() {
    let row = "x".repeat(1 << 20);
    assert_snapshot!(account(format!("email,tier\na@x.co,gold\nb@x.co,{row}\n")), @"error: users.csv:3: the row that starts here is longer than 1 MiB; check that this is the roster and that its rows are lines");
    assert_snapshot!(account(format!("email,tier\na@x.co,gold\nb@x.co,\"\n{row}\n")), @r#"error: users.csv:3: the row that starts here is longer than 1 MiB, and the quote that opens on line 3, in cell 2, is still open; write the closing quote; a quote inside a quoted cell is written twice ("")"#);
    assert_snapshot!(account(format!("email,{row}\n")), @"error: users.csv:1: the row that starts here is longer than 1 MiB; check that this is the roster and that its rows are lines");
}

#[test]
fn a_file_over_the_limit_is_not_read() {
    let mut folder = Folder::new();
    folder.settings.max_bytes = 20;
    let path = folder.write("users.csv", "email,tier\na@x.co,gold\n");
    assert_snapshot!(folder.show_at(&path), @"error: users.csv: it is larger than 20 B; check that this is the roster, or raise source.max_bytes");
    let path = folder.write("users.csv", "email,tier\na@x.co,x\n");
    assert_snapshot!(folder.show_at(&path), @r#"users.csv:2: a@x.co upsert "-" tier='x'"#);
}

#[test]
fn a_file_of_nothing_but_problems_is_rejected() {
    assert_snapshot!(account(format!("email\n{}", "x\n".repeat(100_001))), @"error: users.csv:2: the roster has more than 100000 problems in its rows, this file's from here on; check that this is the roster and how it was exported");
}
