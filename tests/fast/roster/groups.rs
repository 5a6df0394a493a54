//! The `groups` column.

use super::support::{Folder, account, account_unknown, read, read_with, schema, settings};
use insta::assert_snapshot;
use omni_user_sync::model::{
    AttributeName, Definition, Desired, Email, GroupName, Schema, ValueType, trim,
};
use omni_user_sync::settings::{BlankCells, SourceSettings};
use proptest::prelude::*;
use std::collections::HashSet;

fn email(text: &str) -> Email {
    Email::parse(text).expect("an address")
}

fn names(desired: &Desired, user: &str) -> Option<Vec<String>> {
    let cell = desired.memberships.cells.get(&email(user))?;
    Some(cell.names.iter().map(ToString::to_string).collect())
}

#[test]
fn cells_are_lists_of_group_names() {
    assert_snapshot!(account(
        "op,email,tier,Groups\n\
         upsert,a@x.co,gold,\"[Sales, Board ]\"\n\
         upsert,b@x.co,gold,\"[\"\"Sales, EMEA\"\",\"\"Board\"\"]\"\n\
         upsert,c@x.co,gold,[]\n\
         upsert,d@x.co,gold,\n\
         delete,e@x.co,,[Sales]\n\
         deactivate,f@x.co,,no list\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-" tier='gold'
    users.csv:3: b@x.co upsert "-" tier='gold'
    users.csv:4: c@x.co upsert "-" tier='gold'
    users.csv:5: d@x.co upsert "-" tier='gold'
    users.csv:6: e@x.co delete
    users.csv:7: f@x.co deactivate
    users.csv:2:4 (Groups): a@x.co in ["Sales", "Board"]
    users.csv:3:4 (Groups): b@x.co in ["Sales, EMEA", "Board"]
    users.csv:4:4 (Groups): c@x.co in []
    users.csv:5:4 (Groups): d@x.co in []
    "#);
}

#[test]
fn no_column_states_no_memberships() {
    let desired = read("email,tier\na@x.co,gold\n").expect("a roster");
    assert!(desired.memberships.is_empty());
}

#[test]
fn kept_blank_cells_state_no_memberships() {
    let keep = SourceSettings {
        blank_cells: BlankCells::Keep,
        ..settings()
    };
    let text = "email,groups\na@x.co,\nb@x.co,[]\n";
    let desired = read_with(text, keep, schema()).expect("a roster");
    assert_eq!(names(&desired, "a@x.co"), None);
    assert_eq!(names(&desired, "b@x.co"), Some(vec![]));
}

#[test]
fn an_invalid_cell_freezes_its_user() {
    let long = "x".repeat(65);
    assert_snapshot!(account(format!(
        "email,groups\n\
         a@x.co,Sales\n\
         b@x.co,\"Sales; Board\"\n\
         c@x.co,[Sales\n\
         d@x.co,[{long}]\n\
         e@x.co,\"[\"\"a\\nb\"\"]\"\n\
         f@x.co,\"[Sales,,Board]\"\n\
         ok@x.co,[Sales]\n"
    )), @r#"
    users.csv:8: ok@x.co upsert "-"
    users.csv:8:2 (groups): ok@x.co in ["Sales"]
    frozen: a@x.co (users.csv:2)
    frozen: b@x.co (users.csv:3)
    frozen: c@x.co (users.csv:4)
    frozen: d@x.co (users.csv:5)
    frozen: e@x.co (users.csv:6)
    frozen: f@x.co (users.csv:7)
    bad: users.csv:2:2 (groups): expected a list, found 'Sales'; write '[Sales]'
    bad: users.csv:3:2 (groups): expected a list, found 'Sales; Board'; write '[Sales,Board]'
    bad: users.csv:4:2 (groups): the list '[Sales' has no closing bracket; write [a,b], and quote the cell if it contains the delimiter
    bad: users.csv:5:2 (groups): 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…': the name of a group has at most 64 characters; write the name as Omni shows it
    bad: users.csv:6:2 (groups): 'a\nb': the name of a group can't contain control characters; write the name as Omni shows it
    bad: users.csv:7:2 (groups): the list '[Sales,,Board]' has a blank item; remove the extra comma, or write the missing item
    "#);
}

#[test]
fn lints_apply_to_cells() {
    assert_snapshot!(account(
        "email,groups\n\
         a@x.co,\"[Sales,Board,Sales]\"\n\
         b@x.co,\"[sales,Board,SALES]\"\n\
         c@x.co,[Sales;Board]\n\
         d@x.co,['Sales']\n\
         e@x.co,[No\u{a0}break]\n\
         f@x.co,[Ame\u{301}lie]\n\
         g@x.co,[R&amp;D]\n"
    ), @r#"
    users.csv:2: a@x.co upsert "-"
    users.csv:3: b@x.co upsert "-"
    users.csv:4: c@x.co upsert "-"
    users.csv:5: d@x.co upsert "-"
    users.csv:6: e@x.co upsert "-"
    users.csv:7: f@x.co upsert "-"
    users.csv:8: g@x.co upsert "-"
    users.csv:2:2 (groups): a@x.co in ["Sales", "Board"]
    users.csv:3:2 (groups): b@x.co in ["sales", "Board", "SALES"]
    users.csv:4:2 (groups): c@x.co in ["Sales;Board"]
    users.csv:5:2 (groups): d@x.co in ["'Sales'"]
    users.csv:6:2 (groups): e@x.co in ["No\u{a0}break"]
    users.csv:7:2 (groups): f@x.co in ["Amélie"]
    users.csv:8:2 (groups): g@x.co in ["R&amp;D"]
    note: users.csv:2:2 (groups): this list names a group twice; write each group once
    note: users.csv:4:2 (groups): this list is a single item that contains ; or | (2 cells in this column); separate items with commas: [a,b]
    note: users.csv:5:2 (groups): the quotes in this list are part of its items; write [a,b], or ["a","b"] with straight double quotes; in a CSV file, write each quote twice
    note: users.csv:6:2 (groups): contains an invisible character, such as a no-break space; type the text again if it was copied from a web page or a document
    note: users.csv:7:2 (groups): contains decomposed letters (a letter and an accent apart), which are sent composed (NFC); export it in composed form, so that other programs see equal texts as equal
    note: users.csv:8:2 (groups): contains an HTML entity, such as &amp; for &; write the character itself
    "#);
}

#[test]
fn a_column_of_blank_cells_is_noted() {
    assert_snapshot!(account("email,groups\na@x.co,\nb@x.co,\nc@x.co,\n"), @r#"
    users.csv:2: a@x.co upsert "-"
    users.csv:3: b@x.co upsert "-"
    users.csv:4: c@x.co upsert "-"
    users.csv:2:2 (groups): a@x.co in []
    users.csv:3:2 (groups): b@x.co in []
    users.csv:4:2 (groups): c@x.co in []
    note: users.csv:1:2 (groups): every readable cell in this column is blank, which takes all 3 users in this file out of every managed group; fill in the column or remove it; without the column no membership is changed
    "#);
}

#[test]
fn rows_of_one_user_agree_in_groups() {
    assert_snapshot!(account(
        "email,groups\n\
         same@x.co,\"[Sales,Board]\"\n\
         same@x.co,\"[Board,Sales]\"\n\
         other@x.co,[Sales]\n\
         other@x.co,[SALES]\n\
         blank@x.co,[Sales]\n\
         blank@x.co,\n"
    ), @r#"
    users.csv:2: same@x.co upsert "-"
    users.csv:2:2 (groups): same@x.co in ["Sales", "Board"]
    frozen: other@x.co (users.csv:4)
    frozen: blank@x.co (users.csv:6)
    bad: users.csv:4: conflicts with users.csv:5 for 'other@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:5: conflicts with users.csv:4 for 'other@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:6: conflicts with users.csv:7 for 'blank@x.co'; keep only the correct row; until then this user is frozen
    bad: users.csv:7: conflicts with users.csv:6 for 'blank@x.co'; keep only the correct row; until then this user is frozen
    note: users.csv:3: repeats users.csv:2 for 'same@x.co'; remove one of the two rows
    "#);
    let folder = Folder::new();
    folder.write(
        "a.csv",
        "email,groups\nann@x.co,[Sales]\nbob@x.co,[Sales]\n",
    );
    folder.write("b.csv", "email\nann@x.co\n");
    folder.write("c.csv", "email,groups\nbob@x.co,[Sales]\ncy@x.co,[Board]\n");
    assert_snapshot!(folder.show(), @r#"
    a.csv:3: bob@x.co upsert "-"
    c.csv:3: cy@x.co upsert "-"
    a.csv:3:2 (groups): bob@x.co in ["Sales"]
    c.csv:3:2 (groups): cy@x.co in ["Board"]
    frozen: ann@x.co (a.csv:2)
    bad: a.csv:2: conflicts with b.csv:2 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    bad: b.csv:2: conflicts with a.csv:2 for 'ann@x.co'; keep only the correct row; until then this user is frozen
    note: c.csv:2: repeats a.csv:3 for 'bob@x.co'; remove one of the two rows
    "#);
}

#[test]
fn an_attribute_of_that_name_rejects_the_file() {
    let with = |name, system| {
        let attribute = Definition {
            name: AttributeName::new(name),
            value_type: ValueType::String,
            multiple: true,
            system,
            default: None,
        };
        let read = read_with(
            "email,groups\na@x.co,[Sales]\n",
            settings(),
            Schema::new([attribute]),
        );
        super::support::show(&read)
    };
    assert_snapshot!(with("groups", false), @"error: users.csv:1:2 (groups): the column 'groups' may be the groups of each user, or Omni's user attribute 'groups'; rename the attribute in Omni, or remove the column; a later version decides this by source.columns");
    assert_snapshot!(with("Groups", false), @"error: users.csv:1:2 (groups): the column 'groups' may be the groups of each user, or Omni's user attribute 'Groups'; rename the attribute in Omni, or remove the column; a later version decides this by source.columns");
    assert_snapshot!(with("groups", true), @r#"
    users.csv:2: a@x.co upsert "-"
    users.csv:2:2 (groups): a@x.co in ["Sales"]
    "#);
    assert_snapshot!(account_unknown("email,Group_s\na@x.co,[Sales]\n"), @"error: users.csv:1:2 (Group_s): the column 'Group_s' looks like a misspelling of 'groups'; write 'groups'");
}

#[test]
fn a_row_of_an_existing_address_states_groups() {
    let csv = "email,groups\nann@localhost,[Sales]\nbob@localhost,[Sales]\n";
    let mut desired = read(csv).expect("a roster");
    assert!(desired.memberships.is_empty());
    desired.settle_doubtful(&schema(), |known| known.as_str() == "ann@localhost");
    let known = |name| Email::known(name).expect("an address");
    let cells = &desired.memberships.cells;
    assert!(cells.contains_key(&known("ann@localhost")));
    assert!(!cells.contains_key(&known("bob@localhost")));
    let mut desired =
        read("email,groups\nann@localhost,[a]\nann@localhost,[b]\n").expect("a roster");
    desired.settle_doubtful(&schema(), |_| true);
    assert!(desired.memberships.is_empty());
    assert_eq!(desired.bad_rows.len(), 2);
}

proptest! {
    #[test]
    fn any_names_are_read_back(
        items in prop::collection::vec("[\\PC]{1,12}", 0..6),
    ) {
        prop_assume!(items.iter().all(|item| !trim(item).is_empty()));
        let cell = serde_json::to_string(&items).expect("texts are JSON");
        let csv = format!("email,groups\na@x.co,\"{}\"\n", cell.replace('"', "\"\""));
        let desired = read(&csv).expect("a roster");
        let found = names(&desired, "a@x.co").expect("a cell");
        let mut seen = HashSet::new();
        let expected = items.iter().filter_map(|item| {
            let name = GroupName::parse(item).expect("a name");
            seen.insert(name.clone()).then(|| name.to_string())
        });
        let expected: Vec<_> = expected.collect();
        prop_assert_eq!(found.len() == items.len(), desired.lints.iter().all(|lint| lint.kind.as_str() != "repeated_group"));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn memberships_are_of_upserted_users(
        rows in prop::collection::vec(
            ("(upsert|delete|deactivate|x)", "[abc]@x[.]co", "(\\[[gh](;h)?\\]|\\[\\]|g|)", ",{0,1}"),
            1..12,
        )
    ) {
        let folder = Folder::new();
        let mut files = ["op,email,groups\n".to_owned(), "op,email,groups\n".to_owned()];
        for (at, (op, email, groups, rest)) in rows.iter().enumerate() {
            files[at % 2] += &format!("{op},{email},{groups}{rest}\n");
        }
        folder.write("a.csv", &files[0]);
        folder.write("b.csv", &files[1]);
        if let Ok(read) = folder.read() {
            for (email, cell) in &read.memberships.cells {
                prop_assert!(!read.frozen.contains_key(email));
                let entry = &read.users[email];
                prop_assert_eq!(entry.location.line, cell.location.line);
                prop_assert!(matches!(entry.want, omni_user_sync::model::DesiredUser::Upsert(_)));
            }
            let upserts = read.users.iter().filter(|(_, entry)| matches!(entry.want, omni_user_sync::model::DesiredUser::Upsert(_)));
            for (email, _) in upserts {
                prop_assert!(read.memberships.cells.contains_key(email));
            }
        }
    }
}
