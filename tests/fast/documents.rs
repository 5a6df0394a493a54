//! Checks the documents: the tests and settings that they name, and the order of the modules.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the bottom, as in `src/lib.rs` and `docs/architecture.md`.
const MODULES: [&str; 17] = [
    "model", "util", "settings", "roster", "metrics", "omni", "plan", "state", "report", "run",
    "probe", "trigger", "status", "notify", "serve", "daemon", "cli",
];

/// The documents whose links are checked.
const DOCUMENTS: [&str; 18] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benches/README.md",
    "deploy/README.md",
    "deploy/kubernetes/README.md",
    "deploy/systemd/README.md",
    "docs/alerts.md",
    "docs/api.md",
    "docs/architecture.md",
    "docs/groups.md",
    "docs/metrics.md",
    "docs/omni.md",
    "docs/operation.md",
    "docs/roster.md",
    "docs/safety.md",
    "docs/settings.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// The Rust files of a module: a folder, or one file.
fn files(module: &str) -> Vec<PathBuf> {
    let mut folders = vec![root().join("src").join(module)];
    let mut files = vec![root().join(format!("src/{module}.rs"))];
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

/// The modules that a file names in its code.
fn named(path: &Path) -> Vec<&'static str> {
    let text = fs::read_to_string(path).expect("a file of the test");
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<_> = code.collect();
    let code = code.join("\n");
    let names = |module: &&str| {
        let path = format!("crate::{module}");
        code.match_indices(&path).any(|(at, _)| {
            let next = code[at + path.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    MODULES.into_iter().filter(names).collect()
}

#[test]
fn modules_use_only_lower_modules() {
    for (position, module) in MODULES.iter().enumerate() {
        let files = files(module);
        assert!(!files.is_empty(), "{module} is a module");
        for file in files {
            let above: Vec<_> = named(&file)
                .into_iter()
                .filter(|other| MODULES[position + 1..].contains(other))
                .collect();
            assert!(above.is_empty(), "{} uses {above:?}", file.display());
        }
    }
}

/// The modules in the first column of a table: `` | `a`, [`b`] | … | ``.
fn modules_of_table<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines
        .skip_while(|line| !line.starts_with("| module |"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| ")?.split_once(" | "))
        .flat_map(|(first, _)| first.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn modules_are_listed_in_their_order() {
    let (lib, architecture) = (text("src/lib.rs"), text("docs/architecture.md"));
    assert_eq!(modules_of_table(architecture.lines()), MODULES);
    let header = lib.lines().filter_map(|line| line.strip_prefix("//! "));
    assert_eq!(modules_of_table(header), MODULES);
}

/// The lines between the first line `begin` and the next line `end`.
fn block<'a>(lines: impl Iterator<Item = &'a str>, begin: &str, end: &str) -> Vec<&'a str> {
    let lines = lines.skip_while(|line| *line != begin).skip(1);
    lines.take_while(|line| *line != end).collect()
}

#[test]
fn the_data_flow_is_the_same_everywhere() {
    let (lib, architecture) = (text("src/lib.rs"), text("docs/architecture.md"));
    let header = lib.lines().filter_map(|line| line.strip_prefix("//! "));
    let picture = block(header, "```text", "```");
    assert!(picture.len() > 3, "{picture:?}");
    assert_eq!(picture, block(architecture.lines(), "```", "```"));
    let all = picture.join("\n").to_lowercase();
    for module in MODULES {
        // These modules are around every run or below all of them, so they are no step of it.
        let is_step = ![
            "cli", "daemon", "probe", "status", "settings", "util", "model",
        ]
        .contains(&module);
        assert!(
            !is_step || all.contains(module),
            "{module} is in the picture"
        );
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
fn every_named_test_exists() {
    for (document, minimum) in [("docs/architecture.md", 20)] {
        let named = tests_named(&text(document));
        assert!(named.len() >= minimum, "{document}: {} tests", named.len());
        for (file, test) in named {
            let exists = text(&file).contains(&format!("fn {test}("));
            assert!(
                exists,
                "{document} names {test}, which {file} does not have"
            );
        }
    }
}

/// SECURITY.md names tests by their file: `` `http/safety/guard` `` is `tests/http/safety/guard.rs`.
#[test]
fn every_named_test_file_exists() {
    let security = text("SECURITY.md");
    let words = security.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| {
        ["fast/", "http/", "cli/"]
            .iter()
            .any(|one| word.starts_with(one))
    };
    let named: Vec<_> = words.filter(is_test).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let path = root().join(format!("tests/{name}.rs"));
        assert!(path.exists(), "SECURITY.md: tests/{name}.rs");
    }
}

/// docs/settings.md lists the settings of the example, in its order and with its defaults.
#[test]
fn settings_are_listed_with_their_defaults() {
    let (example, page) = (text("config/example.toml"), text("docs/settings.md"));
    let mut section = "";
    let mut expected = Vec::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, default)) = line.split_once(" = ")
            && !key.starts_with('#')
        {
            expected.push(format!("| `{section}.{key}` | `{default}` | "));
        }
    }
    assert!(expected.len() > 30, "{expected:?}");
    let rows: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(rows.len(), expected.len());
    for (row, begin) in rows.iter().zip(&expected) {
        assert!(row.starts_with(begin), "{row} does not begin with {begin}");
    }
}

/// A file or an anchor of this repository that a document links to.
fn links(document: &str) -> Vec<String> {
    let targets = document.split("](").skip(1);
    targets
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The anchor that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter_map(|char| match char {
        ' ' | '-' => Some('-'),
        char if char.is_alphanumeric() || char == '_' => Some(char),
        _ => None,
    });
    kept.collect()
}

#[test]
fn links_between_documents_are_valid() {
    let mut count = 0;
    for path in DOCUMENTS {
        let folder = Path::new(path).parent().expect("a folder");
        for link in links(&text(path)) {
            count += 1;
            let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => PathBuf::from(path),
                file => folder.join(file),
            };
            assert!(root().join(&target).exists(), "{path}: {link}");
            if !fragment.is_empty() {
                let target = text(target.to_str().expect("UTF-8"));
                let mut headings = target.lines().filter(|line| line.starts_with('#'));
                let exists = headings.any(|heading| anchor(heading) == fragment);
                assert!(exists, "{path}: {link} has no such heading");
            }
        }
    }
    assert!(count > 50, "{count}");
}

/// Following the README in a clone puts keys and personal data there.
#[test]
fn files_created_by_readers_are_ignored() {
    let pages = [
        "README.md",
        "deploy/README.md",
        "docs/operation.md",
        "docs/roster.md",
    ];
    let readers = pages.map(text).concat();
    let (git, docker) = (text(".gitignore"), text(".dockerignore"));
    for (name, pattern) in [
        ("> api-key", "api-key"),
        ("> token", "token"),
        ("=$PWD/config.toml", "config.toml"),
        ("-o users.csv", "*.csv"),
        ("$PWD/roster", "roster"),
        ("$PWD/secrets", "secrets"),
        ("to `reports/`", "reports"),
        ("> completion.bash", "completion.bash"),
        ("> omni-user-sync.1", "omni-user-sync.1"),
    ] {
        assert!(readers.contains(name), "{name}: no document writes it");
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
fn the_image_has_the_version_as_label() {
    let label = concat!("\nARG VERSION=", env!("CARGO_PKG_VERSION"), "\n");
    assert!(text("Dockerfile").contains(label), "Dockerfile: {label}");
}

/// Without its commit, an image can't be compared with the source.
#[test]
fn documented_image_builds_set_the_commit() {
    let mut commands = 0;
    for path in [
        "Dockerfile",
        "deploy/README.md",
        "deploy/kubernetes/README.md",
    ] {
        // Continued lines are one command; commands in comments count too.
        let text = text(path).replace("\\\n", " ");
        for line in text.lines().filter(|line| line.contains("docker build ")) {
            commands += 1;
            let is_sandbox = line.contains("--target sandbox");
            let sets_commit = line.contains("--build-arg REVISION=\"$(git rev-parse");
            assert!(is_sandbox || sets_commit, "{path}: {line}");
        }
    }
    assert!(commands > 3, "{commands}");
    let compose = text("deploy/compose.yaml");
    assert!(compose.contains("REVISION: ${REVISION:-}"), "{compose}");
}

/// Each alert names a paragraph that exists.
#[test]
fn each_alert_has_a_runbook() {
    let rules = text("deploy/prometheus/rules.yml");
    let page = text("docs/alerts.md");
    let values = |key: &str| -> Vec<_> {
        let lines = rules.lines().map(str::trim);
        lines.filter_map(|line| line.strip_prefix(key)).collect()
    };
    let (alerts, runbooks) = (values("- alert: "), values("runbook: "));
    assert!(!alerts.is_empty());
    let expected = alerts
        .iter()
        .map(|alert| format!("docs/alerts.md#{}", alert.to_lowercase()));
    assert_eq!(runbooks, expected.collect::<Vec<_>>());
    for alert in alerts {
        assert!(page.contains(&format!("\n## {alert}\n")), "{alert}");
    }
}
