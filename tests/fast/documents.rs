//! The documents say what is so: which test guards what, and that no room uses one above it.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the top, as `src/lib.rs` and `docs/architecture.md` have them.
const ROOMS: [&str; 16] = [
    "model", "util", "settings", "roster", "metrics", "omni", "plan", "state", "report", "run",
    "trigger", "status", "notify", "serve", "daemon", "cli",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// The Rust files of a room: a folder, or one file.
fn files(room: &str) -> Vec<PathBuf> {
    let mut folders = vec![root().join("src").join(room)];
    let mut files = vec![root().join(format!("src/{room}.rs"))];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.retain(|path| path.extension().is_some_and(|is| is == "rs") && path.exists());
    files
}

/// The rooms that a file names in its code.
fn named(path: &Path) -> Vec<&'static str> {
    let text = fs::read_to_string(path).expect("a file of ours");
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<_> = code.collect();
    let code = code.join("\n");
    let names = |room: &&str| {
        let path = format!("crate::{room}");
        code.match_indices(&path).any(|(at, _)| {
            let next = code[at + path.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    ROOMS.into_iter().filter(names).collect()
}

#[test]
fn no_room_uses_one_above_it() {
    for (place, room) in ROOMS.iter().enumerate() {
        let files = files(room);
        assert!(!files.is_empty(), "{room} is a room");
        for file in files {
            let above: Vec<_> = named(&file)
                .into_iter()
                .filter(|other| ROOMS[place + 1..].contains(other))
                .collect();
            assert!(above.is_empty(), "{} uses {above:?}", file.display());
        }
    }
}

#[test]
fn the_rooms_stand_in_their_order_where_they_are_listed() {
    let architecture = text("docs/architecture.md");
    let rows: Vec<_> = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(room, _)| room)
        .collect();
    assert_eq!(rows, ROOMS);
    let lib = text("src/lib.rs");
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | "));
    let rows: Vec<_> = rows
        .filter_map(|row| {
            row.trim_start_matches('[')
                .strip_prefix('`')?
                .split_once('`')
        })
        .map(|(room, _)| room)
        .collect();
    assert_eq!(rows, ROOMS);
}

/// What stands between the first line that is `begin` and the next that is `end`.
fn block<'a>(lines: impl Iterator<Item = &'a str>, begin: &str, end: &str) -> Vec<&'a str> {
    let lines = lines.skip_while(|line| *line != begin).skip(1);
    lines.take_while(|line| *line != end).collect()
}

#[test]
fn the_data_flow_is_drawn_alike_wherever_it_is_drawn() {
    let (lib, architecture) = (text("src/lib.rs"), text("docs/architecture.md"));
    let header = lib.lines().filter_map(|line| line.strip_prefix("//! "));
    let drawn = block(header, "```text", "```");
    assert!(drawn.len() > 3, "{drawn:?}");
    assert_eq!(drawn, block(architecture.lines(), "```", "```"));
    let all = drawn.join("\n");
    for step in [
        "roster", "state", "run", "plan", "guard", "apply", "report", "metrics", "notify",
    ] {
        assert!(all.contains(step), "{step} is in the picture");
    }
}

/// The tests that a document names: `` `tests/a.rs`: `one`, `two`; `tests/b.rs`: … ``.
fn tests_named(document: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    for line in document.lines() {
        let mut file = None;
        for word in line.split('`').skip(1).step_by(2) {
            if word.starts_with("tests/") {
                file = Some(word);
            } else if let Some(file) = file.filter(|file| file.ends_with(".rs"))
                && word.contains('_')
                && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            {
                named.push((file.to_owned(), word.to_owned()));
            }
        }
    }
    named
}

#[test]
fn every_test_that_a_document_names_is_there() {
    for (document, least) in [("docs/architecture.md", 20)] {
        let named = tests_named(&text(document));
        assert!(named.len() >= least, "{document}: {} tests", named.len());
        for (file, test) in named {
            let there = text(&file).contains(&format!("fn {test}("));
            assert!(there, "{document} names {test}, which {file} does not have");
        }
    }
}

/// Somebody who follows the README in a clone has keys and names of people in it.
#[test]
fn what_a_reader_writes_into_a_clone_is_neither_committed_nor_built_in() {
    let readers = text("README.md") + &text("deploy/README.md");
    let (git, docker) = (text(".gitignore"), text(".dockerignore"));
    for (name, pattern) in [
        ("> api-key", "api-key"),
        ("> token", "token"),
        ("=$PWD/config.toml", "config.toml"),
        ("-o users.csv", "*.csv"),
        ("$PWD/roster", "roster"),
        ("$PWD/secrets", "secrets"),
        ("in `reports/`", "reports"),
    ] {
        assert!(readers.contains(name), "{name}: nobody is told to write it");
        let rooted = format!("/{pattern}");
        let is_git = |line: &str| line.trim_end_matches('/') == rooted;
        assert!(git.lines().any(is_git), ".gitignore: {rooted}");
        assert!(
            docker.lines().any(|line| line == pattern),
            ".dockerignore: {pattern}"
        );
    }
}

#[test]
fn the_image_is_labelled_with_the_version_that_is_in_it() {
    let label = concat!("\nARG VERSION=", env!("CARGO_PKG_VERSION"), "\n");
    assert!(text("Dockerfile").contains(label), "Dockerfile: {label}");
}

/// An image of nobody-knows-what can't be compared with the source.
#[test]
fn an_image_that_is_built_as_documented_tells_its_commit() {
    let mut commands = 0;
    for path in [
        "Dockerfile",
        "deploy/README.md",
        "deploy/kubernetes/README.md",
    ] {
        // A command that goes on in the next line is one; so is one in a comment.
        let text = text(path).replace("\\\n", " ");
        for line in text.lines().filter(|line| line.contains("docker build ")) {
            commands += 1;
            let is_sandbox = line.contains("--target sandbox");
            let tells = line.contains("--build-arg REVISION=\"$(git rev-parse");
            assert!(is_sandbox || tells, "{path}: {line}");
        }
    }
    assert!(commands > 3, "{commands}");
    let compose = text("deploy/compose.yaml");
    assert!(compose.contains("REVISION: ${REVISION:-}"), "{compose}");
}
