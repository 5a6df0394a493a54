//! Whole files: quotes, encodings, sizes, formats.

use super::support::{Folder, account, read_with, schema, settings, show};
use insta::assert_snapshot;
use omni_user_sync::model::{AttributeName, DesiredUser, Email, UserSpec, Value};
use omni_user_sync::settings::{Encoding, SourceSettings};

#[test]
fn a_stray_quote_rejects_the_file() {
    assert_snapshot!(account("email,tier\na@x.co,\"gold\nb@x.co,gold\n"), @r#"error: users.csv:2: the quote opened in cell 2 is never closed; add the closing quote; inside a quoted cell, write each quote twice ("")"#);
    assert_snapshot!(account("email,tier\na@x.co,\"gold\nb@x.co,\"gold\"\n"), @r#"error: users.csv:2: the quote opened in cell 2 closes only on line 3, with text right after it: a closing quote is missing in lines 2 to 3; add the closing quote; inside a quoted cell, write each quote twice ("")"#);
    assert_snapshot!(account("email,tier\na@x.co,\"gold\"en\n"), @r#"error: users.csv:2: cell 2 has text after its closing quote; quote the whole cell, and write each quote inside it twice ("")"#);
    assert_snapshot!(account("\"email,tier\na@x.co,gold\n"), @r#"error: users.csv:1: the quote opened in cell 1 is never closed; add the closing quote; inside a quoted cell, write each quote twice ("")"#);
}

#[test]
fn line_numbers_match_those_of_an_editor() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["email,tier", "", "\"a@x.co\",\"x", "y\"", "ann,", ""].join(end);
        let read = super::support::read(text).expect("a row");
        assert_eq!(read.bad_rows[0].location.line, 5, "{end:?}");
        assert_eq!(
            read.users.values().next().expect("one").location.line,
            3,
            "{end:?}"
        );
    }
}

#[test]
fn encodings_are_detected_or_rejected() {
    let utf16: Vec<u8> = "\u{feff}email;display_name\na@x.co;Zoë\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_snapshot!(account(utf16), @r#"users.csv:2: a@x.co upsert "Zoë""#);
    assert_snapshot!(account("\u{feff}email;display_name\na@x.co;Zoë\n"), @r#"users.csv:2: a@x.co upsert "Zoë""#);
    assert_snapshot!(account(b"email,display_name\na@x.co,Ann\nz@x.co,Zo\xeb\n"), @r#"error: users.csv:3: not valid UTF-8; save the file as 'CSV UTF-8', or set source.encoding = "windows-1252" if an older spreadsheet program saved it"#);
    let windows = SourceSettings {
        encoding: Encoding::Windows1252,
        ..settings()
    };
    assert_snapshot!(show(&read_with(b"email,display_name\nz@x.co,Zo\xeb\n", windows.clone(), schema())), @r#"users.csv:2: z@x.co upsert "Zoë""#);
    assert_snapshot!(show(&read_with(b"email,display_name\nz@x.co,Zo\x81\n", windows, schema())), @r#"error: users.csv:2: contains a byte that is not defined in windows-1252; save the file as 'CSV UTF-8' and set source.encoding = "auto""#);
}

/// Without a line break there is no second line.
#[test]
fn bytes_after_the_sep_prefix_are_line_one() {
    assert_snapshot!(account(b"sep=;\xff\n"), @r#"error: users.csv:1: not valid UTF-8; save the file as 'CSV UTF-8', or set source.encoding = "windows-1252" if an older spreadsheet program saved it"#);
    assert_snapshot!(account(b"sep=;\n\xff\n"), @r#"error: users.csv:2: not valid UTF-8; save the file as 'CSV UTF-8', or set source.encoding = "windows-1252" if an older spreadsheet program saved it"#);
}

/// The same roster in all encodings, delimiters and line breaks.
#[test]
fn encodings_delimiters_and_line_ends_combine_freely() {
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("\u{feff}{text}")
            .encode_utf16()
            .flat_map(bytes)
            .collect()
    };
    let spec = |name: &str, tier: Option<&str>| {
        DesiredUser::Upsert(UserSpec {
            display_name: Some(name.into()),
            attributes: [(AttributeName::new("tier"), tier.and_then(Value::one))]
                .into_iter()
                .collect(),
        })
    };
    let want = [spec("Zoë 😀", None), spec("Ann", Some("gold"))];
    let rows = [
        "email,display_name,tier",
        "a@x.co,Zoë 😀,",
        "b@x.co,\"Ann\",gold",
        "",
    ];
    for (delimiter, line_end) in [",", ";", "\t"]
        .into_iter()
        .flat_map(|delimiter| ["\n", "\r\n", "\r"].map(|line_end| (delimiter, line_end)))
    {
        let text = rows.join(line_end).replace(',', delimiter);
        let sep = format!("sep={delimiter}{line_end}{text}");
        for bytes in [
            text.clone().into_bytes(),
            format!("\u{feff}{text}").into_bytes(),
            utf16(&text, u16::to_le_bytes),
            utf16(&text, u16::to_be_bytes),
            sep.clone().into_bytes(),
            utf16(&sep, u16::to_le_bytes),
        ] {
            let read = super::support::read(&bytes).expect("a roster");
            let wants: Vec<_> = ["a@x.co", "b@x.co"]
                .map(|email| Email::parse(email).expect("an email"))
                .map(|email| read.users[&email].want.clone())
                .into();
            assert_eq!(wants, want, "{delimiter:?} {line_end:?} {bytes:?}");
            assert_eq!((read.rows, read.lints.len()), (2, 0));
        }
    }
}

#[test]
fn a_byte_order_mark_overrides_the_encoding() {
    let windows = SourceSettings {
        encoding: Encoding::Windows1252,
        ..settings()
    };
    let utf16: Vec<u8> = "\u{feff}email,display_name\na@x.co,Zoë\n"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    for bytes in [
        "\u{feff}email,display_name\na@x.co,Zoë\n".as_bytes(),
        &utf16,
    ] {
        let shown = show(&read_with(bytes, windows.clone(), schema()));
        assert_eq!(shown, "users.csv:2: a@x.co upsert \"Zoë\"\n");
    }
}

#[test]
fn a_configured_delimiter_is_not_detected() {
    let set = |delimiter| SourceSettings {
        delimiter: Some(delimiter),
        ..settings()
    };
    let read = |text: &str, delimiter| show(&read_with(text, set(delimiter), schema()));
    assert_snapshot!(read("email;tier\na@x.co;a,b\n", b';'), @r#"users.csv:2: a@x.co upsert "-" tier='a,b'"#);
    assert_snapshot!(read("email;tier\na@x.co;gold\n", b','), @"error: users.csv:1: there is no column 'email': the first row is a single cell; name the column of addresses 'email', and separate the columns with commas, semicolons or tabs");
    // The setting applies to all files, so it takes precedence over the line in a file.
    assert_snapshot!(read("sep=;\nemail,tier\na@x.co,a;b\n", b','), @r#"users.csv:3: a@x.co upsert "-" tier='a;b'"#);
}

#[test]
fn other_file_formats_are_named() {
    assert_snapshot!(account(b"PK\x03\x04\x14\0\x06\0rest"), @"error: users.csv: this is a workbook (.xlsx, .ods) or a zip archive, not a CSV file; open it in a spreadsheet program and save the sheet as 'CSV UTF-8'; renaming the file is not enough");
    assert_snapshot!(account(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest"), @"error: users.csv: this is an Excel workbook (.xls, or one with a password), not a CSV file; open it in a spreadsheet program and save the sheet as 'CSV UTF-8'; renaming the file is not enough");
    assert_snapshot!(account(b"<?xml version=\"1.0\"?><Workbook>"), @"error: users.csv: this is a web page or XML, which some programs save as .xls, not a CSV file; open it in a spreadsheet program and save the sheet as 'CSV UTF-8'; renaming the file is not enough");
    insta::allow_duplicates! { for packed in [&b"\x1f\x8b\x08\0"[..], b"BZh91AY", b"\x28\xb5\x2f\xfd\0"] {
        assert_snapshot!(account(packed), @"error: users.csv: this is a compressed file (gzip or similar), not a CSV file; decompress it first; compressed files are not read");
    } }
    insta::allow_duplicates! { for json in ["{\"error\":\"expired\"}", "\u{feff}\n [{\"email\":1}]"] {
        assert_snapshot!(account(json), @"error: users.csv: this is JSON, not a CSV file; open it in a text editor: it may be an error or login page of the system that exports the file; correct that and export again");
    } }
    assert_snapshot!(account("\n<!doctype html><title>Log in</title>"), @"error: users.csv: this is a web page, not a CSV file; open it in a text editor: it may be an error or login page of the system that exports the file; correct that and export again");
    assert_snapshot!(account(b"%PDF-1.7"), @"error: users.csv: this is a PDF, not a CSV file; open it in a spreadsheet program and save the sheet as 'CSV UTF-8'; renaming the file is not enough");
    assert_snapshot!(account(b"email\na@x.co\n\0\0\0"), @"error: users.csv:3: contains a NUL byte: this is a binary file, or UTF-16 without a byte order mark; save the file as 'CSV UTF-8'");
    assert_snapshot!(account(b"e\0m\0a\0i\0l\0"), @"error: users.csv:1: contains a NUL byte: this is a binary file, or UTF-16 without a byte order mark; save the file as 'CSV UTF-8'");
    assert_snapshot!(account(b"\xff\xfeemail\n"), @"error: users.csv:1: there is no column 'email': the first row is a single cell; name the column of addresses 'email', and separate the columns with commas, semicolons or tabs");
}

#[test]
fn a_row_over_one_mebibyte_rejects_the_file() {
    let row = "x".repeat(1 << 20);
    assert_snapshot!(account(format!("email,tier\na@x.co,gold\nb@x.co,{row}\n")), @"error: users.csv:3: the row that starts here is longer than 1 MiB; check that this is the intended file and that each row is a line");
    assert_snapshot!(account(format!("email,tier\na@x.co,gold\nb@x.co,\"\n{row}\n")), @r#"error: users.csv:3: the row that starts here is longer than 1 MiB, and the quote opened on line 3, in cell 2, is still open; add the closing quote; inside a quoted cell, write each quote twice ("")"#);
    assert_snapshot!(account(format!("email,{row}\n")), @"error: users.csv:1: the row that starts here is longer than 1 MiB; check that this is the intended file and that each row is a line");
}

#[test]
fn a_file_over_the_limit_is_not_read() {
    let mut folder = Folder::new();
    folder.settings.max_bytes = 20;
    let path = folder.write("users.csv", "email,tier\na@x.co,gold\n");
    assert_snapshot!(folder.show_at(&path), @"error: users.csv: larger than 20 B; check that this is the intended file, or raise source.max_bytes");
    let path = folder.write("users.csv", "email,tier\na@x.co,x\n");
    assert_snapshot!(folder.show_at(&path), @r#"users.csv:2: a@x.co upsert "-" tier='x'"#);
}

#[test]
fn a_file_with_too_many_problems_is_rejected() {
    assert_snapshot!(account(format!("email\n{}", "x\n".repeat(100_001))), @"error: users.csv:2: the roster has more than 100000 problems in its rows, in this file from here on; check that this file is the roster and how it was exported");
}

#[test]
fn workbooks_in_a_folder_are_a_lint() {
    let folder = Folder::new();
    folder.write("users.csv", "email\na@x.co\n");
    for name in [
        "users.XLSX",
        "old.ods",
        "~$users.xlsx",
        ".hidden.ods",
        "notes.txt",
    ] {
        folder.write(name, "PK");
    }
    let read = folder.read().expect("a roster");
    let lints: Vec<_> = read.lints.iter().map(ToString::to_string).collect();
    assert_eq!(
        lints,
        ["old.ods", "users.XLSX"].map(|name| format!(
            "{name}: this workbook is not read; save it as 'CSV UTF-8', or move it elsewhere"
        ))
    );
}

/// As a bind mount of one file shows it after a rename on the host.
#[test]
fn a_file_without_links_is_a_lint() {
    let folder = Folder::new();
    let path = folder.write("users.csv", "email\na@x.co\n");
    let open = std::fs::File::open(&path).expect("there");
    let mounted = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    let lints = || {
        let read = folder.read_at(std::path::Path::new(&mounted));
        read.expect("a roster").lints
    };
    assert_eq!(lints(), []);
    let other = folder.write("other.csv", "email\nb@x.co\n");
    std::fs::rename(other, &path).expect("replaced");
    assert!(lints()[0].message.contains("link count 0"), "{:?}", lints());
}
