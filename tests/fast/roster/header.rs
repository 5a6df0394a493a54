//! The header: an unclear header rejects the file.

use super::support::{account, account_unknown, read};
use insta::assert_snapshot;

#[test]
fn the_delimiter_is_detected_from_the_header() {
    for text in [
        "email,tier\na@x.co,gold\n",
        "email;tier\na@x.co;gold\n",
        "email\ttier\na@x.co\tgold\n",
        "\u{feff}sep=;\r\nemail;tier\r\na@x.co;gold\r\n",
        "\"SEP=;\"\nemail;tier\na@x.co;gold\n",
        "sep=|\nemail|tier\na@x.co|gold\n",
        "sep=\t\nemail\ttier\na@x.co\tgold\n",
        "\n\"tier\";\"Email\"\r\"gold\";a@x.co",
        "email\na@x.co",
    ] {
        let read = read(text).expect(text);
        assert_eq!(read.users.len(), 1, "{text}");
        assert!(read.bad_rows.is_empty(), "{text}");
    }
    assert_snapshot!(account("sep=;\nemail;tier\n\nann;gold\nok@x.co;\n"), @r#"
    users.csv:5: ok@x.co upsert "-" tier=none
    unnamed: 1
    bad: users.csv:4:1 (email): 'ann': an email has the form local@domain, with one @; write one email address
    "#);
}

#[test]
fn the_email_column_is_required() {
    assert_snapshot!(account("op,mail,tier\nupsert,a@x.co,gold\n"), @"error: users.csv:1: there is no column 'email' among the 3 cells of the first row (did you mean cell 2?); name the column of addresses 'email', and separate the columns with commas, semicolons or tabs");
    assert_snapshot!(account("op|email|tier\nupsert|a@x.co|gold\n"), @"error: users.csv:1: there is no column 'email': the first row is a single cell; name the column of addresses 'email', and separate the columns with commas, semicolons or tabs");
    assert_snapshot!(account("upsert,a@x.co,Ann\nupsert,b@x.co,Bob\n"), @"error: users.csv:1: the first row is not a header: cell 2 is an email address; add a header above it: op,email,display_name and the attributes");
}

#[test]
fn files_of_other_settings_are_recognised() {
    let sdk = "op,email,group_name\n+,ann@x.co,Sales\n";
    assert_snapshot!(account(sdk), @"error: users.csv:1: this looks like a file for source.groups, not a roster; set source.groups to its path; a roster has the columns op, email and display_name");
    assert_snapshot!(account("Subject;Connection;Model;Role\nann@x.co;c;m;VIEWER\n"), @"error: users.csv:1: this looks like a file for source.roles, not a roster; set source.roles to its path; a roster has the columns op, email and display_name");
    // Without definitions, `group_name` may be an attribute.
    assert_snapshot!(account_unknown(sdk), @"
    frozen: ann@x.co (users.csv:2)
    bad: users.csv:2:1 (op): unknown op '+'; write upsert, delete or deactivate; a file with + and - belongs in source.groups
    ");
}

/// Problems of a rejected file are logged, and logs contain no values.
#[test]
fn file_errors_contain_no_cell_values() {
    let long = "s3cret,".repeat(160_000);
    let bad = "s3cret\n".repeat(100_001);
    for text in [
        "s3cret,north,gold\n",
        "upsert,boss.s3cret@x.co,s3cret\n",
        "s3cret\n",
        "op|s3cret|tier\n",
        "s3cret-mail,tier\n",
        "email,tier\n\"s3cret,gold\n",
        "email,tier\n\"s3cret\"s3cret,gold\n",
        "email,tier\ns3cret\0,gold\n",
        "email,\ns3cret,s3cret\n",
        &format!("email,tier\n{long}\n"),
        &format!("email\n{bad}"),
    ] {
        let error = super::support::read(text)
            .expect_err("is rejected")
            .to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_file_without_rows_is_rejected() {
    assert_snapshot!(account(""), @"error: users.csv: the file is empty; write a header (op,email,display_name and the attributes) and one row per user");
    assert_snapshot!(account("\u{feff}\r\n\n,,,\n"), @"error: users.csv: the file is empty; write a header (op,email,display_name and the attributes) and one row per user");
    assert_snapshot!(account("email,tier\n"), @"error: users.csv: the file has a header and no rows; write one row per user; a roster without rows is treated as a mistake");
    assert_snapshot!(account("email,tier\n,\n\n"), @"error: users.csv: the file has a header and no rows; write one row per user; a roster without rows is treated as a mistake");
}

#[test]
fn unknown_and_system_attributes_are_refused() {
    assert_snapshot!(account(
        "email,teir,region,omni_user_email,colour,display name\na@x.co,,,,,\n"
    ), @r"
    error: users.csv:1:2 (teir): Omni has no user attribute 'teir' (did you mean 'tier'?); correct the name, remove the column, or define the attribute in Omni first
    users.csv:1:3 (region): Omni has no user attribute 'region', but it has 'Region'; use the same letter case
    users.csv:1:4 (omni_user_email): 'omni_user_email' is set by Omni and can't be changed; remove the column
    users.csv:1:5 (colour): Omni has no user attribute 'colour'; correct the name, remove the column, or define the attribute in Omni first
    users.csv:1:6 (display name): Omni has no user attribute 'display name' (did you mean 'display_name'?); correct the name, remove the column, or define the attribute in Omni first
    ");
    assert_snapshot!(account_unknown(
        "email,anything,omni_user_id,Display Name,e-mail\na@x.co,,,,\n"
    ), @r"
    error: users.csv:1:3 (omni_user_id): 'omni_user_id' is set by Omni and can't be changed; remove the column
    users.csv:1:4 (Display Name): the column 'Display Name' looks like a misspelling of 'display_name'; write 'display_name'
    users.csv:1:5 (e-mail): the column 'e-mail' looks like a misspelling of 'email'; write 'email'
    ");
}

#[test]
fn duplicate_headers_are_rejected() {
    assert_snapshot!(account(
        "email,tier,EMAIL, tier ,Op,op\na@x.co,,,,,\n"
    ), @r"
    error: users.csv:1:3 (EMAIL): the column 'EMAIL' appears twice, as columns 1 and 3; keep one of them
    users.csv:1:4 (tier): the column 'tier' appears twice, as columns 2 and 4; keep one of them
    users.csv:1:6 (op): the column 'op' appears twice, as columns 5 and 6; keep one of them
    ");
    assert_snapshot!(account_unknown("email,a,A,a\na@x.co,,,\n"), @"error: users.csv:1:4 (a): the column 'a' appears twice, as columns 2 and 4; keep one of them");
}

#[test]
fn a_blank_header_needs_blank_cells() {
    assert_snapshot!(account("email,,tier,\na@x.co,,gold, \n"), @r#"users.csv:2: a@x.co upsert "-" tier='gold'"#);
    assert_snapshot!(account("email,,tier\na@x.co,,gold\nb@x.co,what,gold\n"), @"error: users.csv:3:2 (no header): this cell is not blank and its column has no header; name the column in the header, or clear the cell");
}

#[test]
fn many_wrong_columns_are_counted() {
    let header: String = (0..999).map(|at| format!(",c{at}")).collect();
    let shown = account(format!("email{header}\n"));
    assert_eq!(shown.lines().count(), 21);
    assert!(shown.ends_with(
        "users.csv:1: 979 more columns have errors; check that this is the roster's header"
    ));
}

#[test]
fn a_roster_has_at_most_a_thousand_columns() {
    let named = |count: usize| (1..count).map(|at| format!(",c{at}")).collect::<String>();
    let row = |count: usize| format!("a@x.co{}", ",".repeat(count - 1));
    let most = format!("email{}\n{}\n", named(1_000), row(1_000));
    assert!(account_unknown(most).starts_with("users.csv:2: a@x.co upsert"));
    let more = format!("email{}\n{}\n", named(1_001), row(1_001));
    assert_snapshot!(account_unknown(more), @"error: users.csv:1: the header has 1001 columns; the limit is 1000; check that this is the roster's header");
    // Empty columns of a spreadsheet don't count.
    let blank = ",".repeat(16_000);
    assert_snapshot!(account(format!("email,tier{blank}\na@x.co,gold{blank}\n")), @r#"users.csv:2: a@x.co upsert "-" tier='gold'"#);
}

#[test]
fn blanks_before_quotes_are_explained() {
    assert_snapshot!(account("op, \"email\"\nupsert, \"a@x.co\"\n"), @"error: users.csv:1: there is no column 'email': cell 2 has a space before its quote, which makes the quotes part of the name; remove the spaces between delimiters and quotes, in all rows");
    assert_snapshot!(account("email, \"tier\"\na@x.co, \"gold\"\n"), @r#"error: users.csv:1:2 ("tier"): the quotes are part of the name '"tier"', because a space precedes them; remove the spaces between delimiters and quotes, in all rows"#);
    assert_snapshot!(account("email,tier\na@x.co, \"gold, or more\"\n"), @"
    frozen: a@x.co (users.csv:2)
    unnamed: 1
    bad: users.csv:2: too long: this row has 3 cells, the header has 2; remove the blanks before the quotes, which make the quotes part of the cell, so that delimiters within them split it
    ");
}
