//! A hostile roster: its cost, and what is written because of it. How it is read is in `tests/fast/roster`.

use super::child::Location;
use super::world::run;
use crate::support::World;
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// In MiB: a few times the largest roster here.
const MAX_MEMORY: u64 = 100;

fn bad_rows() -> String {
    let rows = (0..100_000).map(|row| format!("upsrt\0,=u{row}@x\u{202e}.co,\u{1b}[2J\n"));
    "op,email,display_name\n".to_owned() + &rows.collect::<String>()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_rosters_have_bounded_memory_and_output() {
    let cells = |count: usize| "x,".repeat(count) + "x\n";
    for (name, roster) in [
        (
            "columns",
            format!("email,{}a@x.co,{}", cells(100_000), cells(100_000)),
        ),
        (
            "a cell",
            format!("email,display_name\na@x.co,{}\n", "x".repeat(20 << 20)),
        ),
        (
            "a header",
            format!("email,{}\na@x.co,\n", "x".repeat(20 << 20)),
        ),
        (
            "a quote",
            format!("email,display_name\na@x.co,\"{}\n", "x,\n".repeat(7 << 20)),
        ),
        (
            "cells in a row",
            format!("email,display_name\na@x.co,{}", cells(100_000)),
        ),
        ("bad rows", bad_rows()),
        ("blanks", "email\n".to_owned() + &"\n".repeat(7 << 20)),
        ("NULs", "email\n".to_owned() + &"\0\n".repeat(1 << 20)),
    ] {
        let location = Location::new("http://127.0.0.1:9", roster);
        for command in [
            &["check", "--offline"][..],
            &["check", "--offline", "--json"],
        ] {
            let ended = location.run(command).await;
            assert_eq!(ended.code, 1, "{name}: {}", ended.err);
            assert!(ended.memory < MAX_MEMORY, "{name}: {} MiB", ended.memory);
            if command.len() == 2 {
                let said = ended.said();
                assert!(said.len() < 60_000, "{name}: it says {} bytes", said.len());
                let is_obeyed = |c: char| c == '\u{1b}' || c == '\u{202e}' || c == '\0';
                assert!(!said.contains(is_obeyed), "{name}");
            }
        }
    }
}

/// Names of files that would lead elsewhere, be an option, or be obeyed by a terminal; the last is no text.
const NAMES: [&[u8]; 11] = [
    b"..csv",
    b"...csv",
    b"x..%2f..%2fx.csv",
    b"x\\..\\..\\x.csv",
    b"..%2f..%2fx.csv",
    b"..\\..\\x.csv",
    b"-rf.csv",
    b"--config=x.csv",
    b"two\nlines.csv",
    b"\x1b]0;title\x07\x1b[2J.csv",
    b"\xff\xe2\x80\xae.csv",
];

/// All paths below a folder, without those that a part of the program writes wherever the roster is.
fn paths(folder: &Path, own: &[&str]) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let entries = entries.map(|entry| entry.expect("an entry").path());
    let is_own = |path: &PathBuf| own.iter().any(|own| path.ends_with(own));
    let mut found = BTreeSet::new();
    for path in entries.filter(|path| !is_own(path)) {
        if path.is_dir() {
            found.extend(paths(&path, own));
        }
        found.insert(path);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_file_names_have_no_effect() {
    let world = World::new().await;
    let drop = world.folder.path().join("drop");
    std::fs::create_dir(&drop).expect("made");
    let world = world.set("source.path", drop.to_str().expect("text"));
    for (at, name) in NAMES.iter().enumerate() {
        let rows = format!("op,email,display_name\nupsert,u{at}@x.co,U\nupsrt,bad{at}@x.co,B\n");
        std::fs::write(drop.join(OsStr::from_bytes(name)), rows).expect("written");
    }
    let own = ["state", "reports"];
    let before = paths(world.folder.path(), &own);
    let mut said = Vec::new();
    for arguments in [
        &["check", "--offline"][..],
        &["plan"],
        &["apply", "--yes"],
        &["explain", "u4@x.co"],
    ] {
        let (captured, _) = run(&world, &[&["--log", "debug"], arguments].concat()).await;
        said.push(captured.text());
    }
    assert_eq!(
        paths(world.folder.path(), &own),
        before,
        "nothing else was written"
    );

    let reports = std::fs::read_dir(drop.join("reports")).expect("reports");
    let reports: Vec<_> = reports
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let [report] = &reports[..] else {
        panic!("one report: {reports:?}");
    };
    let name = report.file_name().and_then(OsStr::to_str).expect("text");
    assert!(
        name.starts_with("drop-") && name.ends_with("-problems.csv"),
        "{name}"
    );
    said.push(std::fs::read_to_string(report).expect("is read"));
    for text in &said {
        let is_obeyed = |c: char| c == '\u{1b}' || c == '\u{7}' || c == '\u{202e}';
        assert!(
            !text.contains(is_obeyed) && !text.contains("two\nlines"),
            "{text:?}"
        );
    }
    // Those that begin with a dot are hidden files, as everywhere.
    for shown in [
        "-rf.csv",
        "--config=x.csv",
        "two\\nlines.csv",
        "\\u{1b}]0;title",
        "\\u{202e}.csv",
    ] {
        assert!(
            said.iter()
                .all(|text| !text.contains("problem") || text.contains(shown)),
            "{shown}: {said:#?}"
        );
    }
    let made = world.org().users();
    let hidden = NAMES.iter().filter(|name| name.starts_with(b"."));
    assert_eq!(made.len(), NAMES.len() - hidden.count(), "{made:?}");
}

/// A spreadsheet runs what begins like a formula.
#[tokio::test(flavor = "multi_thread")]
async fn row_reports_contain_no_formulas() {
    let world = World::new().await;
    world.user("@sum(1)@x.co".trim_start_matches('@'), "Gone", json!({}));
    world.roster(
        "op,email,display_name,region\n\
         upsert,=cmd|'/c'!a@x.co,=1+1,\n\
         upsert,+1@x.co,A,=no-list\n\
         upsert,-1@x.co,A,\n\
         delete,sum(1)@x.co,,\n\
         =1+1,bad@x.co,,\n\
         upsert,=no email,,\n\
         upsert,\"\t=1@x.co\",B,\n",
    );
    run(&world, &["apply", "--yes"]).await;
    let reports = world.reports();
    let (_, report) = reports.first().expect("a report");
    let text = report.trim_start_matches('\u{feff}');
    assert!(
        text.contains("'=cmd|") && text.contains("'+1@x.co"),
        "{text}"
    );
    let mut cells = csv::Reader::from_reader(text.as_bytes());
    for row in cells.records() {
        for cell in &row.expect("a row") {
            assert!(
                !cell.starts_with(['=', '+', '-', '@', '\t', '\r']),
                "{cell:?}"
            );
        }
    }
}
