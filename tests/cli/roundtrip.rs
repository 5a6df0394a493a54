//! Whatever text a CSV can carry arrives in Omni as it is, apart from the trimming: from the bytes of
//! a roster by reader, planner and client to what the mock server holds; and `export` writes what reads
//! the same again.

use crate::support::{World, assert_converged, cases, command};
use omni_user_sync::model::{nfc, trim};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What one user is given.
#[derive(Clone, Debug)]
struct Given {
    name: String,
    department: String,
    regions: Vec<String>,
}

/// Pieces that something on the way may take for its own.
const PIECES: &[&str] = &[
    "\"",
    "'",
    ",",
    ";",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "[",
    "]",
    "{",
    "}",
    "\\",
    "\\u0041",
    "/",
    "=1+1",
    "null",
    "true",
    "-0",
    "1e5",
    "007",
    "&amp;",
    "%00",
    "<b>",
    "${x}",
    "\u{1}",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{ad}",
    "\u{200b}",
    "\u{200d}",
    "\u{200f}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "é",
    "e\u{301}",
    "ﷺ",
    "שלום",
    "مرحبا",
    "日本",
    "👩\u{200d}💻",
    "🇪🇸",
    "\u{10ffff}",
    " ",
];

/// Any Unicode but NUL, which no text file holds.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        2 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "[a-z ]{1,4}",
    ];
    let pieces = prop::collection::vec(piece, 1..10).prop_map(|pieces| pieces.concat());
    // A cell over several lines with an address in it may be rows that a quote has swallowed.
    pieces.prop_map(|text| text.replace(['\0', '@'], ""))
}

fn given() -> impl Strategy<Value = Given> {
    let item = text().prop_filter("an item is not blank", |item| !trim(item).is_empty());
    let name = text().prop_filter("a new user has a name", |name| !trim(name).is_empty());
    // A bracket says that it is a list.
    let single = text().prop_filter("one value", |text| !trim(text).starts_with('['));
    let regions = prop::collection::vec(item, 0..4);
    (name, single, regions).prop_map(|(name, department, regions)| Given {
        name,
        department,
        regions,
    })
}

/// A roster as the csv crate writes it.
fn roster(users: &[Given], delimiter: u8, ending: csv::Terminator) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .terminator(ending)
        .from_writer(Vec::new());
    let mut write = |row: [&str; 4]| writer.write_record(row).expect("in memory");
    write(["email", "display_name", "department", "region"]);
    for (at, user) in users.iter().enumerate() {
        let regions = serde_json::to_string(&user.regions).expect("texts are JSON");
        write([
            &format!("u{at}@x.co"),
            &user.name,
            &user.department,
            &regions,
        ]);
    }
    writer.into_inner().expect("in memory")
}

/// What Omni is to hold: texts with composed letters; a blank text is no value, and of equal items one counts.
fn held(user: &Given) -> [Value; 3] {
    let user = &Given {
        name: nfc(trim(&user.name)).into(),
        department: nfc(trim(&user.department)).into(),
        regions: user
            .regions
            .iter()
            .map(|item| nfc(trim(item)).into())
            .collect(),
    };
    let department = match trim(&user.department) {
        "" => Value::Null,
        text => json!(text),
    };
    let mut regions: Vec<&str> = Vec::new();
    for item in user.regions.iter().map(|item| trim(item)) {
        if !regions.contains(&item) {
            regions.push(item);
        }
    }
    let regions = if regions.is_empty() {
        Value::Null
    } else {
        json!(regions)
    };
    [json!(trim(&user.name)), department, regions]
}

async fn arrives(users: &[Given], delimiter: u8, ending: csv::Terminator) {
    let world = World::new().await;
    let bytes = roster(users, delimiter, ending);
    std::fs::write(world.roster_path(), &bytes).expect("written");
    assert_converged(&world.apply().await);
    for (at, user) in users.iter().enumerate() {
        let email = format!("u{at}@x.co");
        let has = world
            .org()
            .user(&email)
            .unwrap_or_else(|| panic!("there is no {email}"));
        let attributes = ["department", "region"].map(|name| world.attribute(&email, name));
        let [department, region] = attributes;
        assert_eq!(
            [has["displayName"].clone(), department, region],
            held(user),
            "{user:?}"
        );
    }
    let writes = world.writes().len();
    assert_unchanged(&world).await;
    let ended = command(&world, &["export", "-o", "users.csv", "--force"]).await;
    let said = format!("{} users written to users.csv\n", users.len());
    assert_eq!((ended.code, ended.err), (0, said));
    assert_ne!(std::fs::read(world.roster_path()).expect("exported"), bytes);
    assert_unchanged(&world).await;
    assert_eq!(world.writes().len(), writes);
}

async fn assert_unchanged(world: &World) {
    let plan = world.plan().await.expect("a plan");
    assert!(
        plan.desired.problems().is_empty(),
        "{:?}",
        plan.desired.problems()
    );
    assert!(
        plan.assessment.verdict.passed().is_empty(),
        "{:?}",
        plan.assessment.verdict.passed()
    );
    assert!(plan.assessment.verdict.held().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 60,
        failure_persistence: None,
        ..cases(3)
    })]

    #[test]
    fn any_text_reaches_omni_unchanged(
        users in prop::collection::vec(given(), 60),
        delimiter in prop::sample::select(&b",;\t"[..]),
        ending in prop::sample::select(vec![csv::Terminator::CRLF, csv::Terminator::Any(b'\n'), csv::Terminator::Any(b'\r')]),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(arrives(&users, delimiter, ending));
    }
}

#[tokio::test]
async fn export_reads_attributes_that_lists_omit() {
    let options = omni_user_sync::sandbox::Options {
        lists: omni_user_sync::sandbox::Lists::OmitAttributes,
        ..Default::default()
    };
    let world = World::with(options).await;
    world.user("ann@x.co", "Ann", json!({ "department": "Sales" }));
    let exported = command(&world, &["export"]).await;
    assert!(
        exported.out.contains("ann@x.co,Ann,Sales"),
        "{}",
        exported.out
    );
}
