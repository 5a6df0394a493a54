//! `source.roles`: its header, its rows, and files that can't be read.

use super::support::{Folder, settings};
use insta::assert_snapshot;
use omni_user_sync::model::{DesiredRoles, Problem, RoleColumn};
use omni_user_sync::roster::{fingerprint, read_roles, snippets};
use omni_user_sync::settings::{Encoding, SourceSettings};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::path::Path;

const HEADER: &str = "subject,connection,model,role\n";

/// The summary of a file `roles.csv`.
fn account(bytes: impl AsRef<[u8]>) -> String {
    let folder = Folder::new();
    let path = folder.write("roles.csv", bytes);
    show(&read_roles(&folder.settings, &path))
}

/// The summary of rows below the usual header.
fn rows(rows: &str) -> String {
    account(format!("{HEADER}{rows}"))
}

fn show(roles: &DesiredRoles) -> String {
    let mut text = String::new();
    for row in &roles.rows {
        let (subject, connection, role) = (&row.subject, &row.connection, &row.role);
        let model = row.model.as_deref().unwrap_or("-");
        let _ = writeln!(
            text,
            "{}: {subject} {connection}/{model} {role}",
            row.location
        );
        if let Some(doubt) = &row.doubt {
            let _ = writeln!(text, "  doubt: {doubt}");
        }
    }
    for problem in roles.problems() {
        let _ = writeln!(text, "bad: {problem}");
    }
    for lint in &roles.lints {
        let _ = writeln!(text, "note: {lint}");
    }
    text
}

#[test]
fn roles_of_users_and_groups_are_read() {
    assert_snapshot!(rows(
        "Ann@x.co,Warehouse,Sales,QUERIER\ngroup:All Analysts, Lake ,Raw data,Auditor\n\nGROUP: Ops ,Warehouse,,CONNECTION_ADMIN\n"
    ), @"
    roles.csv:2: Ann@x.co Warehouse/Sales QUERIER
    roles.csv:3: group:All Analysts Lake/Raw data Auditor
    roles.csv:5: group:Ops Warehouse/- CONNECTION_ADMIN
    ");
}

#[test]
fn columns_may_be_in_any_order() {
    assert_snapshot!(account("\u{feff}role; model ;connection;;subject\r\nVIEWER;Sales;Warehouse;;a@x.co\r\n"), @"roles.csv:2: a@x.co Warehouse/Sales VIEWER");
    assert_snapshot!(account("Subject,CONNECTION,Model,role\na@x.co,Warehouse,Sales,VIEWER\n"), @"roles.csv:2: a@x.co Warehouse/Sales VIEWER");
    let folder = Folder::new();
    let path = folder.write(
        "roles.csv",
        "role,model,connection,subject\nVIEWER,m,c,a@x.co\n",
    );
    let roles = read_roles(&folder.settings, &path);
    let cell = roles.cell(&roles.rows[0], RoleColumn::Connection);
    assert_eq!(cell.to_string(), "roles.csv:2:3 (connection)");
}

#[test]
fn an_unclear_header_rejects_the_file() {
    assert_snapshot!(account("subject,connection,Models,role,Role,depth\na@x.co,c,m,VIEWER,VIEWER,1\n"), @"
    bad: roles.csv:1: the column 'model' is missing; the columns are subject,connection,model,role
    bad: roles.csv:1:3 (Models): there is no column 'Models' (did you mean 'model'?) in this file; the columns are subject,connection,model,role
    bad: roles.csv:1:5 (Role): the column 'Role' appears twice, as columns 4 and 5; keep one of them
    bad: roles.csv:1:6 (depth): there is no column 'depth' in this file; the columns are subject,connection,model,role
    ");
    // No value of the row is shown, since problems of a file are logged.
    assert_snapshot!(account("a@x.co,Warehouse,Sales,VIEWER\n"), @"bad: roles.csv:1: the first row, of 4 cells, is not a header: it has no column 'subject'; begin the file with subject,connection,model,role, separated by commas, semicolons or tabs");
    assert_snapshot!(account("subject,connection,model,role,\na@x.co,c,m,VIEWER,x\n"), @"bad: roles.csv:2:5 (no header): this cell is not blank and its column has no header; name the column in the header, or clear the cell");
}

#[test]
fn an_invalid_row_assigns_nothing() {
    assert_snapshot!(rows(
        ",Warehouse,Sales,VIEWER\n\
         Analysts,Warehouse,Sales,VIEWER\n\
         group:,Warehouse,Sales,VIEWER\n\
         a@x.co,,Sales,VIEWER\n\
         a@x.co,Warehouse,,VIEWER\n\
         a@x.co,Warehouse,Sales,CONNECTION_ADMIN\n\
         a@x.co,Warehouse,Sales,\n\
         b@x.co,Warehouse,Sales,Restricted Querier\n\
         b@x.co,Warehouse,Sales\n\
         c@x.co,Warehouse,\"Sales\nd@x.co\",VIEWER\n\
         e@x.co,Warehouse,Sales,VIEWER\n"
    ), @r#"
    roles.csv:13: e@x.co Warehouse/Sales VIEWER
    bad: roles.csv:2:1 (subject): the subject is blank; write the email of a user, or group:<name>
    bad: roles.csv:3:1 (subject): 'Analysts': an email has the form local@domain, with one @; write the email of a user, or group:<name>
    bad: roles.csv:4:1 (subject): the name of the group is blank; write group: and the name of a group, such as group:Analysts
    bad: roles.csv:5:2 (connection): the connection is blank; name a connection of Omni
    bad: roles.csv:6:3 (model): the model is blank, and only CONNECTION_ADMIN is a role on a whole connection; name a model of the connection
    bad: roles.csv:7:3 (model): CONNECTION_ADMIN is a role on a whole connection, not on a model; leave the model blank
    bad: roles.csv:8:4 (role): the role is blank; write NO_ACCESS, VIEWER, QUERY_TOPICS, QUERIER, MODELER, CONNECTION_ADMIN, or the name of a custom role
    bad: roles.csv:9:4 (role): 'Restricted Querier': not the exact name of the role QUERY_TOPICS; write QUERY_TOPICS
    bad: roles.csv:10: this row has 3 cells, the header has 4; write every cell, also blank ones, and quote cells that contain the delimiter
    bad: roles.csv:11:3 (model): this cell contains a line break, so a quote is missing or misplaced; close the quote where the cell ends; inside a quoted cell, write each quote twice ("")
    "#);
}

#[test]
fn a_doubtful_address_is_kept_with_its_doubt() {
    assert_snapshot!(rows("mailto:ann@x.co,Warehouse,Sales,VIEWER\n"), @"
    roles.csv:2: mailto:ann@x.co Warehouse/Sales VIEWER
      doubt: roles.csv:2:1 (subject): 'mailto:ann@x.co': not exactly one email address (RFC 5321); write only the address, such as 'ann@x.co'
    ");
}

#[test]
fn repeated_rows_are_merged_or_conflict() {
    assert_snapshot!(rows(
        "a@x.co,Warehouse,Sales,VIEWER\n\
         A@x.co,Warehouse,Sales,VIEWER\n\
         a@x.co,Warehouse,Finance,VIEWER\n\
         group:Ops,Warehouse,Sales,VIEWER\n\
         group:OPS,Warehouse,Sales,MODELER\n\
         group:Ops,Warehouse,Sales,VIEWER\n"
    ), @"
    roles.csv:2: a@x.co Warehouse/Sales VIEWER
    roles.csv:4: a@x.co Warehouse/Finance VIEWER
    bad: roles.csv:5: conflicts with roles.csv:6, which has another role for 'group:Ops' on the same model or connection; keep only the correct row; until then neither role is assigned
    bad: roles.csv:6: conflicts with roles.csv:5, which has another role for 'group:OPS' on the same model or connection; keep only the correct row; until then neither role is assigned
    bad: roles.csv:7: conflicts with roles.csv:6, which has another role for 'group:Ops' on the same model or connection; keep only the correct row; until then neither role is assigned
    note: roles.csv:3: repeats roles.csv:2 for 'A@x.co'; remove one of the two rows
    ");
}

#[test]
fn a_row_beside_an_invalid_one_is_skipped() {
    assert_snapshot!(rows(
        "a@x.co,Warehouse,Sales,VIEWER\n\
         a@x.co,Warehouse,Sales,Viewer\n\
         b@x.co,Warehouse,Sales,VIEWER\n"
    ), @"
    roles.csv:4: b@x.co Warehouse/Sales VIEWER
    bad: roles.csv:3:4 (role): 'Viewer': not the exact name of the role VIEWER; write VIEWER
    note: roles.csv:2: this row is skipped, because roles.csv:3 is about the same and is invalid; correct that row
    ");
}

#[test]
fn a_header_alone_states_no_roles() {
    assert_snapshot!(rows(""), @r#"note: roles.csv: the file has a header and no rows, so no role is assigned; write one row for each role, or set source.roles = """#);
    assert_snapshot!(account(""), @"bad: roles.csv: the file is empty; begin it with the header subject,connection,model,role");
}

#[test]
fn broken_files_are_rejected() {
    assert_snapshot!(rows("a@x.co,Warehouse,\"Sales,VIEWER\n"), @r#"bad: roles.csv:2: the quote opened in cell 3 is never closed; add the closing quote; inside a quoted cell, write each quote twice ("")"#);
    assert_snapshot!(account(b"subject,connection,model,role\na@x.co,W\xfc,Sales,VIEWER\n"), @r#"bad: roles.csv:2: not valid UTF-8; save the file as 'CSV UTF-8', or set source.encoding = "windows-1252" if an older spreadsheet program saved it"#);
    assert_snapshot!(account("PK\u{3}\u{4}"), @"bad: roles.csv: this is a workbook (.xlsx, .ods) or a zip archive, not a CSV file; open it in a spreadsheet program and save the sheet as 'CSV UTF-8'; renaming the file is not enough");
    let folder = Folder::new();
    let path = folder.write("roles.csv", HEADER);
    let small = SourceSettings {
        max_bytes: 9,
        ..settings()
    };
    assert_snapshot!(show(&read_roles(&small, &path)), @"bad: roles.csv: larger than 9 B; check that this is the intended file, or raise source.max_bytes");
    let latin = SourceSettings {
        encoding: Encoding::Windows1252,
        ..settings()
    };
    let path = folder.write(
        "roles.csv",
        b"subject,connection,model,role\na@x.co,W\xfc,Sales,VIEWER\n",
    );
    assert_snapshot!(show(&read_roles(&latin, &path)), @"roles.csv:2: a@x.co Wü/Sales VIEWER");
}

#[test]
fn a_file_that_is_missing_is_a_problem() {
    let folder = Folder::new();
    let read = |path: &Path| show(&read_roles(&folder.settings, path));
    assert_snapshot!(read(&folder.path().join("none.csv")), @"bad: none.csv: there is no such file; put the file there, or correct source.roles");
    assert_snapshot!(read(folder.path()).contains("this is a folder; put the CSV file itself here"), @"true");
    assert_snapshot!(read("/dev/null".as_ref()), @"bad: null: this is a pipe or a device, not a file; save the rows to a file");
}

#[test]
fn snippets_show_the_cell() {
    let mut folder = Folder::new();
    let path = folder.write(
        "roles.csv",
        format!("{HEADER}a@x.co,Warehouse,Sales,Viewer\n"),
    );
    folder.settings.roles = Some(path.clone());
    let roles = read_roles(&folder.settings, &path);
    let problems: Vec<&Problem> = roles.problems();
    let shown = snippets(&folder.settings, folder.path(), &problems);
    let snippet = shown[0].as_ref().expect("a snippet");
    assert_eq!(
        (snippet.line, &snippet.text[snippet.mark.clone()]),
        (2, "Viewer")
    );
    // Nothing is shown of a file without the header.
    folder.write("roles.csv", "root:x:0:0\nroot:x:0:0\n");
    assert_eq!(snippets(&folder.settings, folder.path(), &problems), [None]);
}

#[test]
fn the_file_may_lie_in_the_folder_of_the_roster() {
    let mut folder = Folder::new();
    folder.write("users.csv", "email\na@x.co\n");
    let path = folder.write("roles.csv", HEADER);
    let error = folder.read().expect("one good file").rejected;
    assert_eq!(error.len(), 1, "it is no roster");
    let before = fingerprint(&folder.settings, folder.path()).expect("a roster");
    folder.settings.roles = Some(path);
    assert!(folder.read().expect("a roster").rejected.is_empty());
    assert_ne!(
        fingerprint(&folder.settings, folder.path()).expect("a roster"),
        before
    );
    folder.settings.roles = Some(folder.path().join("../roles.csv"));
    assert_eq!(
        folder.read().expect("a roster").rejected.len(),
        1,
        "of another folder"
    );
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), is_file in any::<bool>()) {
        let header = if is_file { HEADER.as_bytes() } else { b"" };
        account([header, &bytes].concat());
    }

    /// Each row is a role, or has a problem or a lint. No two roles are about the same.
    #[test]
    fn every_row_is_accounted_for(
        rows in prop::collection::vec(("(a|A|b)@x[.]co|group:(Ops|ops)|x|", "[cd]?", "[mn]?", "VIEWER|MODELER|CONNECTION_ADMIN|Own|viewer|"), 0..12)
    ) {
        let lines: String = rows.iter().map(|(subject, connection, model, role)| {
            format!("{subject},{connection},{model},{role}\n")
        }).collect();
        let folder = Folder::new();
        let path = folder.write("roles.csv", format!("{HEADER}{lines}"));
        let read = read_roles(&folder.settings, &path);
        prop_assert!(read.rejected.is_empty());
        for (at, (subject, connection, model, role)) in rows.iter().enumerate() {
            let line = at as u64 + 2;
            let is_blank = [subject, connection, model, role].iter().all(|cell| cell.is_empty());
            let of_line = |problem: &Problem| problem.location.line == line;
            let states = read.rows.iter().any(|row| row.location.line == line);
            let explained = read.bad_rows.iter().chain(&read.lints).any(of_line);
            prop_assert_eq!(states || explained, !is_blank, "line {}", line);
            prop_assert!(!(states && explained), "line {}", line);
        }
        for (at, row) in read.rows.iter().enumerate() {
            let same = |other: &&omni_user_sync::model::DesiredRole| {
                other.subject.folded() == row.subject.folded()
                    && (&other.connection, &other.model) == (&row.connection, &row.model)
            };
            prop_assert!(!read.rows[..at].iter().any(|other| same(&other)));
            // An invalid or conflicting row with the same cells would have prevented it.
            let written = |subject: &str| subject.to_lowercase() == row.subject.folded();
            for (subject, connection, model, role) in &rows {
                if written(subject) && *connection == *row.connection && model == row.model.as_deref().unwrap_or("") {
                    prop_assert_eq!(role, row.role.as_str());
                }
            }
        }
    }
}
