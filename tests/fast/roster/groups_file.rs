//! `source.groups`: its rows, and files that can't be read.

use super::support::{Folder, schema, settings, show};
use insta::assert_snapshot;
use omni_user_sync::model::{
    ChangeKey, Desired, DesiredMemberships, Email, GroupName, MembershipChange,
};
use omni_user_sync::roster::{self, fingerprint, snippets, stamp};
use omni_user_sync::settings::SourceSettings;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const HEADER: &str = "op,email,group_name\n";

/// A folder with a roster of one user, and the file.
fn folder(groups: impl AsRef<[u8]>) -> Folder {
    let mut folder = Folder::new();
    folder.write("users.csv", "email\nok@x.co\n");
    folder.settings.groups = Some(folder.write("groups.csv", groups));
    folder
}

fn read(groups: impl AsRef<[u8]>) -> Desired {
    folder(groups).read().expect("a roster")
}

/// The summary, without the user of the roster.
fn account(groups: impl AsRef<[u8]>) -> String {
    let shown = show(&Ok(read(groups)));
    shown.replace("users.csv:2: ok@x.co upsert \"-\"\n", "")
}

/// The summary of rows below the usual header.
fn rows(rows: &str) -> String {
    account(format!("{HEADER}{rows}"))
}

#[test]
fn the_file_of_omnis_sdk_is_read() {
    assert_snapshot!(rows("+,ann@x.co,Sales\n-,bob@x.co,\"Sales, EMEA\"\n+,Ann@x.co,Board\n"), @r#"
    groups.csv:2: ann@x.co join "Sales"
    groups.csv:3: bob@x.co leave "Sales, EMEA"
    groups.csv:4: Ann@x.co join "Board"
    "#);
}

#[test]
fn ops_and_header_ignore_case() {
    assert_snapshot!(rows("Add,a@x.co,Sales\nREMOVE,b@x.co,Sales\n\n + , c@x.co , Sales \n"), @r#"
    groups.csv:2: a@x.co join "Sales"
    groups.csv:3: b@x.co leave "Sales"
    groups.csv:5: c@x.co join "Sales"
    "#);
    assert_snapshot!(account("group_name;op;email\nSales;-;a@x.co\n"), @r#"groups.csv:2: a@x.co leave "Sales""#);
    assert_snapshot!(account("OP,Email,Group_Name\n+,a@x.co,Sales\n"), @r#"groups.csv:2: a@x.co join "Sales""#);
}

#[test]
fn an_invalid_row_freezes_its_membership() {
    let long = "x".repeat(65);
    assert_snapshot!(rows(&format!(
        "++,a@x.co,Sales\n\
         ,b@x.co,Sales\n\
         delete,c@x.co,Sales\n\
         +,d@x.co,\n\
         +,e@x.co,{long}\n\
         +,,Sales\n\
         +,nobody,Sales\n\
         x,nobody,\n\
         +,f@x.co\n\
         +,<g@x.co> Gil,Sales\n\
         +,h@x.co;i@x.co,Sales\n\
         +,ok@x.co,Sales\n"
    )), @r#"
    groups.csv:13: ok@x.co join "Sales"
    frozen: a@x.co in "Sales"
    frozen: b@x.co in "Sales"
    frozen: c@x.co in "Sales"
    frozen: d@x.co in all groups
    frozen: e@x.co in all groups
    frozen: f@x.co in all groups
    frozen: g@x.co in "Sales"
    frozen: h@x.co in "Sales"
    frozen: i@x.co in "Sales"
    about any user: 3
    bad: groups.csv:2:1 (op): unknown op '++' (did you mean '+'?); write + or add to put the user in the group, - or remove to take the user out
    bad: groups.csv:3:1 (op): the op is blank; write + or add to put the user in the group, - or remove to take the user out
    bad: groups.csv:4:1 (op): unknown op 'delete'; write + or add to put the user in the group, - or remove to take the user out
    bad: groups.csv:5:3 (group_name): the name of the group is blank; write the name as Omni shows it
    bad: groups.csv:6:3 (group_name): 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…': the name of a group has at most 64 characters; write the name as Omni shows it
    bad: groups.csv:7:2 (email): the email is blank; write one email address
    bad: groups.csv:8:2 (email): 'nobody': an email has the form local@domain, with one @; write one email address
    bad: groups.csv:9:1 (op): unknown op 'x'; write + or add to put the user in the group, - or remove to take the user out
    bad: groups.csv:9:2 (email): 'nobody': an email has the form local@domain, with one @; write one email address
    bad: groups.csv:9:3 (group_name): the name of the group is blank; write the name as Omni shows it
    bad: groups.csv:10: this row has 2 cells, the header has 3; write every cell, also blank ones, and quote cells that contain the delimiter
    bad: groups.csv:11:2 (email): '<g@x.co> Gil': an email can't contain spaces, control characters or invisible characters; write only the address, such as 'g@x.co'
    bad: groups.csv:12:2 (email): 'h@x.co;i@x.co': an email has the form local@domain, with one @; write only the address, such as 'h@x.co'
    "#);
}

/// A user whose row can't be read must not leave a group by the cell.
#[test]
fn unreadable_rows_freeze_their_users() {
    assert_snapshot!(rows(
        "+,mailto:ann@x.co,\n\
         +,\"bob@x.co, cy@x.co\",\n\
         +,dan@x.co,Sales, EMEA\n\
         +,eve@x.co\n\
         +,fay@x.co,\"Sales\n-,gus@x.co,Board\"\n\
         +,Ann@x.co,Board\n\
         -,dan@x.co,Board\n"
    ), @r#"
    frozen: ann@x.co in all groups
    frozen: bob@x.co in all groups
    frozen: cy@x.co in all groups
    frozen: dan@x.co in all groups
    frozen: eve@x.co in all groups
    frozen: fay@x.co in all groups
    frozen: gus@x.co in all groups
    frozen: mailto:ann@x.co in all groups
    about any user: 1
    bad: groups.csv:2:2 (email): 'mailto:ann@x.co': not exactly one email address (RFC 5321); write only the address, such as 'ann@x.co'
    bad: groups.csv:2:3 (group_name): the name of the group is blank; write the name as Omni shows it
    bad: groups.csv:3:2 (email): 'bob@x.co, cy@x.co': an email can't contain spaces, control characters or invisible characters; write only the address, such as 'bob@x.co'
    bad: groups.csv:3:3 (group_name): the name of the group is blank; write the name as Omni shows it
    bad: groups.csv:4: this row has 4 cells, the header has 3; write every cell, also blank ones, and quote cells that contain the delimiter
    bad: groups.csv:5: this row has 2 cells, the header has 3; write every cell, also blank ones, and quote cells that contain the delimiter
    bad: groups.csv:6:3 (group_name): this cell contains a line break, so a quote is missing or misplaced; close the quote where the cell ends; inside a quoted cell, write each quote twice ("")
    note: groups.csv:8: this row is skipped, because groups.csv:2 is about the same and is invalid; correct that row
    note: groups.csv:9: this row is skipped, because groups.csv:4 is about the same and is invalid; correct that row
    "#);
    assert_snapshot!(rows("+,Sales\n"), @"
    about any user: 1
    bad: groups.csv:2: this row has 2 cells, the header has 3; write every cell, also blank ones, and quote cells that contain the delimiter
    ");
}

#[test]
fn rows_of_one_membership_agree() {
    assert_snapshot!(rows(
        "+,a@x.co,Sales\n\
         +,A@x.co,Sales\n\
         +,b@x.co,Sales\n\
         -,b@x.co,Board\n\
         -,b@x.co,Sales\n\
         +,b@x.co,Sales\n\
         +,c@x.co,Sales\n\
         ?,c@x.co,Sales\n\
         +,d@x.co,Sales\n\
         -,d@x.co,SALES\n"
    ), @r#"
    groups.csv:2: a@x.co join "Sales"
    groups.csv:5: b@x.co leave "Board"
    groups.csv:10: d@x.co join "Sales"
    groups.csv:11: d@x.co leave "SALES"
    frozen: b@x.co in "Sales"
    frozen: c@x.co in "Sales"
    bad: groups.csv:4: conflicts with groups.csv:6, which has the opposite op for 'b@x.co' and the group 'Sales'; keep only the correct row; until then this membership is not changed
    bad: groups.csv:6: conflicts with groups.csv:4, which has the opposite op for 'b@x.co' and the group 'Sales'; keep only the correct row; until then this membership is not changed
    bad: groups.csv:7: conflicts with groups.csv:6, which has the opposite op for 'b@x.co' and the group 'Sales'; keep only the correct row; until then this membership is not changed
    bad: groups.csv:9:1 (op): unknown op '?'; write + or add to put the user in the group, - or remove to take the user out
    note: groups.csv:3: repeats groups.csv:2 for 'A@x.co' and the group 'Sales'; remove one of the two rows
    note: groups.csv:8: this row is skipped, because groups.csv:9 is about the same and is invalid; correct that row
    "#);
}

/// An organisation may have an address that the rule for new users refuses.
#[test]
fn existing_addresses_are_accepted_letter_for_letter() {
    let file = format!("{HEADER}+,ann@localhost,Sales\n+,bob@localhost,Sales\n-,<cy@x.co>,Sales\n");
    let mut desired = read(&file);
    assert!(desired.memberships.rows.is_empty());
    assert_eq!(desired.problems().len(), 3);
    desired.settle_doubtful(&schema(), |known| known.as_str() == "ann@localhost");
    assert_snapshot!(show(&Ok(desired)), @r#"
    users.csv:2: ok@x.co upsert "-"
    groups.csv:2: ann@localhost join "Sales"
    frozen: cy@x.co in "Sales"
    about any user: 1
    bad: groups.csv:3:2 (email): 'bob@localhost': the domain of an email must have a dot; write one email address
    bad: groups.csv:4:2 (email): '<cy@x.co>': not exactly one email address (RFC 5321); write only the address, such as 'cy@x.co'
    "#);
}

#[test]
fn rows_of_frozen_users_are_skipped() {
    let folder = folder(format!(
        "{HEADER}+,ann@x.co,Sales\n+,bob@x.co,Sales\n+,bob@localhost,Sales\n"
    ));
    folder.write("users.csv", "email,seats\nann@x.co,many\nbob@localhost,1\n");
    let mut desired = folder.read().expect("a roster");
    desired.settle_doubtful(&schema(), |_| true);
    assert_snapshot!(show(&Ok(desired)), @r#"
    users.csv:3: bob@localhost upsert "-" seats='1'
    groups.csv:3: bob@x.co join "Sales"
    groups.csv:4: bob@localhost join "Sales"
    frozen: ann@x.co (users.csv:2)
    bad: users.csv:2:2 (seats): expected a decimal number, found 'many'; write only digits and a decimal point, or leave the cell blank for no value
    note: groups.csv:2: this row is skipped: 'ann@x.co' is frozen because of users.csv:2; correct that row
    "#);
}

#[test]
fn an_unreadable_file_leaves_the_roster_usable() {
    for (file, expected) in [
        (
            &b""[..],
            "the file is empty; begin it with the header op,email,group_name",
        ),
        (HEADER.as_bytes(), "the file has a header and no rows"),
        (
            b"+,ann@x.co,Sales\n",
            "is not a header: it has no column 'op'",
        ),
        (
            b"op,email,display_name\nupsert,ann@x.co,Ann\n",
            "there is no column 'display_name'",
        ),
        (
            b"op,email\n+,ann@x.co\n",
            "the column 'group_name' is missing",
        ),
        (
            b"op,email,group_name\n+,\"ann@x.co,Sales\n",
            "is never closed",
        ),
        (b"op,email,group_name\n+,ann@x.co,\xff\n", "not valid UTF-8"),
        (b"PK\x03\x04", "this is a workbook"),
    ] {
        let desired = read(file);
        assert_eq!(desired.users.len(), 1, "{expected}");
        assert!(desired.removals_allowed().is_ok() && desired.bad_rows.is_empty());
        let memberships = &desired.memberships;
        assert!(memberships.is_empty() && memberships.frozen.is_empty());
        let problem = memberships.unreadable.as_ref().expect(expected);
        assert!(problem.to_string().contains(expected), "{problem}");
        assert_eq!(desired.problems(), [problem]);
    }
    let folder = folder("");
    let missing = |settings: SourceSettings| {
        let read = roster::read(&settings, folder.path(), true, &schema());
        let problem = read.expect("a roster").memberships.unreadable;
        problem.expect("a problem").to_string()
    };
    let at = |groups| SourceSettings {
        groups: Some(folder.path().join(groups)),
        ..folder.settings.clone()
    };
    assert_snapshot!(missing(at("missing.csv")), @"missing.csv: there is no such file; put the file there, or correct source.groups");
    std::fs::remove_file(folder.path().join("groups.csv")).expect("it is there");
    std::fs::create_dir(folder.path().join("groups")).expect("the folder is writable");
    assert_snapshot!(missing(at("groups")), @"groups: this is a folder; put the CSV file itself here");
}

#[test]
fn problems_and_lints_are_limited() {
    let desired = read(format!("{HEADER}{}", "x,a@x.co,Sales\n".repeat(100_001)));
    assert!(desired.bad_rows.is_empty() && desired.memberships.frozen.is_empty());
    assert_snapshot!(desired.memberships.unreadable.expect("a problem"), @"groups.csv:100002: the file has more than 100000 problems in its rows up to here; check that this is the intended file");
    let pair = "+,a@x.co,Sales\n-,a@x.co,Sales\n";
    let desired = read(format!("{HEADER}{}", pair.repeat(50_001)));
    assert_snapshot!(desired.memberships.unreadable.expect("a problem"), @"groups.csv: the file has more than 100000 problems in its rows; check that this is the intended file");
    let desired = read(format!("{HEADER}{}", "+,a@x.co,Sales\n".repeat(1_101)));
    assert_eq!(
        (desired.memberships.rows.len(), desired.lints.len()),
        (1, 1_001)
    );
    assert_snapshot!(desired.lints[1_000], @"groups.csv: 100 more rows, in this file or others, are repeated or skipped; write one row per user");
}

/// The file belongs to the roster of `source.path`.
#[test]
fn other_rosters_ignore_the_file() {
    let folder = folder(format!("{HEADER}+,ann@x.co,Sales\n"));
    let path = folder.path().join("users.csv");
    let read = roster::read(&folder.settings, &path, false, &schema()).expect("a roster");
    assert_eq!(read.memberships, DesiredMemberships::default());
    let memory = roster::read_memory(&folder.settings, "a.csv", b"email\na@x.co\n", &schema());
    assert_eq!(
        memory.expect("a roster").memberships,
        DesiredMemberships::default()
    );
}

#[test]
fn a_file_named_as_the_roster_has_its_path() {
    let mut folder = Folder::new();
    std::fs::create_dir(folder.path().join("groups")).expect("the folder is writable");
    let groups = folder.write("groups/users.csv", format!("{HEADER}x,ann@x.co,Sales\n"));
    folder.settings.groups = Some(groups);
    let path = folder.write("users.csv", "email,seats\nok@x.co,many\n");
    folder.settings.path = Some(path.clone());
    assert_snapshot!(folder.show_at(&path), @r#"
    frozen: ann@x.co in "Sales"
    frozen: ok@x.co (users.csv:2)
    bad: DIR/groups/users.csv:2:1 (op): unknown op 'x'; write + or add to put the user in the group, - or remove to take the user out
    bad: users.csv:2:2 (seats): expected a decimal number, found 'many'; write only digits and a decimal point, or leave the cell blank for no value
    "#);
    let desired = folder.read_at(&path).expect("a roster");
    let found = snippets(&folder.settings, &path, &desired.problems());
    let found = found.iter().flatten();
    let marked: Vec<_> = found.map(|one| &one.text[one.mark.clone()]).collect();
    assert_eq!(marked, ["x", "many"]);
}

#[test]
fn the_fingerprint_covers_the_file() {
    let mut folder = folder(format!("{HEADER}+,ann@x.co,Sales\n"));
    let now = |folder: &Folder| {
        let (settings, path) = (&folder.settings, folder.path());
        let content = fingerprint(settings, path).expect("a roster");
        assert_eq!(folder.read().expect("a roster").fingerprint, content);
        (stamp(settings, path).expect("a roster"), content)
    };
    let (first_stamp, first) = now(&folder);
    folder.write("groups.csv", format!("{HEADER}-,ann@x.co,Sales\n"));
    let (other_stamp, other) = now(&folder);
    assert!(first_stamp != other_stamp && first != other);
    std::fs::remove_file(folder.path().join("groups.csv")).expect("it is there");
    let (gone_stamp, gone) = now(&folder);
    assert!(gone_stamp != other_stamp && gone != other);
    folder.settings.groups = None;
    let (none_stamp, none) = now(&folder);
    assert!(none_stamp != gone_stamp && none != gone);
    let foreign = roster::read(&folder.settings, folder.path(), false, &schema());
    assert_eq!(foreign.expect("a roster").fingerprint, none);
    assert_eq!(settings().groups, None);
}

/// A row: the number of its user, of its group, and its op.
type Row = (u8, u8, &'static str);

proptest! {
    /// Each membership is stated by rows that agree, or frozen.
    #[test]
    fn each_membership_is_stated_once(
        all in prop::collection::vec((0..3_u8, 0..3_u8, prop::sample::select(vec!["+", "-", "ADD", "remove", "x"])), 1..14)
    ) {
        let line = |(user, group, op): &Row| format!("{op},u{user}@x.co,Group {group}\n");
        let text: String = all.iter().map(line).collect();
        let desired = read(format!("{HEADER}{text}"));
        let mut expected: BTreeMap<(u8, u8), BTreeSet<Option<MembershipChange>>> = BTreeMap::new();
        for (user, group, op) in &all {
            let change = match *op {
                "+" | "ADD" => Some(MembershipChange::Join),
                "-" | "remove" => Some(MembershipChange::Leave),
                _ => None,
            };
            expected.entry((*user, *group)).or_default().insert(change);
        }
        let memberships = &desired.memberships;
        prop_assert!(memberships.unreadable.is_none() && memberships.doubtful.is_empty());
        for ((user, group), changes) in &expected {
            let email = Email::parse(&format!("u{user}@x.co")).expect("an email");
            let name = GroupName::parse(&format!("Group {group}")).expect("a name");
            let rows = memberships.rows.iter();
            let rows: Vec<_> = rows.filter(|row| row.email == email && row.group == name).collect();
            let key = ChangeKey { subject: email.into(), group: Some(name), scope: None, schedule: None };
            let is_frozen = memberships.frozen.contains(&key);
            match (changes.len(), changes.first()) {
                (1, Some(Some(change))) => {
                    prop_assert!(!is_frozen && rows.len() == 1);
                    prop_assert_eq!(rows[0].change, *change);
                }
                _ => prop_assert!(is_frozen && rows.is_empty()),
            }
        }
        let problems = desired.problems();
        prop_assert_eq!(problems.is_empty(), memberships.frozen.is_empty());
        prop_assert!(problems.iter().all(|problem| problem.email.is_some()));
        // Each row is used, or there is a problem or a lint about it.
        let used = memberships.rows.iter().map(|row| row.location.line);
        let noted = problems.iter().copied().chain(&desired.lints).map(|one| one.location.line);
        let lines: BTreeSet<_> = used.chain(noted).collect();
        prop_assert_eq!(lines.len(), all.len());
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }

    #[test]
    fn text_like_the_file_never_panics(text in "(op,email,group_name\n)?([+a@x.,;\"\r\n-]{0,20}(\r\n|\n)?){0,6}") {
        read(&text);
    }
}
