//! A roster that means harm. What reading makes of it is in `tests/roster`; here is what it costs, and what
//! is written because of it.

use crate::child::Place;
use crate::support::World;
use crate::world::run;
use serde_json::json;

/// In MiB: some times the largest roster here.
const MOST_MEMORY: u64 = 300;

fn bad_rows() -> String {
    let rows = (0..100_000).map(|row| format!("upsrt\0,=u{row}@x\u{202e}.co,\u{1b}[2J\n"));
    "op,email,display_name\n".to_owned() + &rows.collect::<String>()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_roster_exhausts_memory_or_floods_the_screen() {
    let cells = |count: usize| "x,".repeat(count) + "x\n";
    for (name, roster) in [
        (
            "columns",
            format!("email,{}a@x.co,{}", cells(100_000), cells(100_000)),
        ),
        (
            "a cell",
            format!("email,display_name\na@x.co,{}\n", "x".repeat(30 << 20)),
        ),
        (
            "a header",
            format!("email,{}\na@x.co,\n", "x".repeat(30 << 20)),
        ),
        (
            "a quote",
            format!("email,display_name\na@x.co,\"{}\n", "x,\n".repeat(10 << 20)),
        ),
        (
            "cells in a row",
            format!("email,display_name\na@x.co,{}", cells(400_000)),
        ),
        ("bad rows", bad_rows()),
        ("blanks", "email\n".to_owned() + &"\n".repeat(10 << 20)),
        ("NULs", "email\n".to_owned() + &"\0\n".repeat(1 << 20)),
    ] {
        let place = Place::new("http://127.0.0.1:9", roster);
        for command in [
            &["check", "--offline"][..],
            &["check", "--offline", "--json"],
        ] {
            let ended = place.run(command).await;
            assert_eq!(ended.code, 1, "{name}: {}", ended.err);
            assert!(ended.memory < MOST_MEMORY, "{name}: {} MiB", ended.memory);
            if command.len() == 2 {
                let said = ended.said();
                assert!(said.len() < 60_000, "{name}: it says {} bytes", said.len());
                let is_obeyed = |c: char| c == '\u{1b}' || c == '\u{202e}' || c == '\0';
                assert!(!said.contains(is_obeyed), "{name}");
            }
        }
    }
}

/// A spreadsheet runs what begins like a formula.
#[tokio::test(flavor = "multi_thread")]
async fn no_cell_of_a_row_report_begins_like_a_formula() {
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
