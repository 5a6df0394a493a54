//! Shows problems as text: grouped by kind, each with its line and a mark under the cell, and limited
//! in number.

use crate::model::{Problem, ProblemKind};
use crate::roster::{ProblemSnippet, snippets};
use crate::settings::SourceSettings;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::path::Path;

/// The maximum number of problems shown.
const MAX_SHOWN: usize = 50;

/// Problems of one kind: all are counted, the first are shown.
struct KindGroup<'a> {
    kind: ProblemKind,
    count: usize,
    shown: Vec<&'a Problem>,
}

/// A report on problems or lints; `None` if there are none.
pub(super) fn report(
    level: Level<'static>,
    problems: &[&Problem],
    settings: &SourceSettings,
    path: &Path,
    renderer: &Renderer,
) -> Option<String> {
    let kinds = group_by_kind(problems);
    let texts: Vec<_> = kinds
        .iter()
        .map(|kind| snippets(settings, path, &kind.shown))
        .collect();
    let groups = kinds.iter().zip(&texts);
    let groups: Vec<_> = groups
        .map(|(kind, texts)| renderer.render(&[kind.group(level.clone(), texts)]))
        .collect();
    let shown: usize = kinds.iter().map(|kind| kind.shown.len()).sum();
    let mut text = (shown > 0).then(|| groups.join("\n\n") + "\n")?;
    if shown < problems.len() {
        text += &format!(
            "… and {} more; `--json` lists all\n",
            problems.len() - shown
        );
    }
    Some(text)
}

/// Groups problems by kind, in the order of first appearance. Each kind gets its share of the shown
/// problems, so that a thousand of one kind do not hide a single one of another.
fn group_by_kind<'a>(problems: &[&'a Problem]) -> Vec<KindGroup<'a>> {
    let mut all: Vec<(ProblemKind, Vec<&Problem>)> = Vec::new();
    for problem in problems {
        match all.iter_mut().find(|(kind, _)| *kind == problem.kind) {
            Some((_, others)) => others.push(problem),
            None => all.push((problem.kind, vec![problem])),
        }
    }
    let mut shares = vec![0; all.len()];
    let mut left = MAX_SHOWN.min(problems.len());
    while left > 0 {
        for (share, (_, problems)) in shares.iter_mut().zip(&all) {
            if left > 0 && *share < problems.len() {
                *share += 1;
                left -= 1;
            }
        }
    }
    let shares = all.into_iter().zip(shares);
    shares
        .map(|((kind, mut shown), share)| {
            let count = shown.len();
            shown.truncate(share);
            KindGroup { kind, count, shown }
        })
        .collect()
}

impl KindGroup<'_> {
    fn group<'t>(&'t self, level: Level<'t>, texts: &'t [Option<ProblemSnippet>]) -> Group<'t> {
        let remedy = self.one_remedy();
        let mut group = Group::with_title(level.primary_title(self.title()));
        for (problem, text) in self.shown.iter().zip(texts) {
            let label = self.label(problem, remedy.is_none());
            group = match text {
                Some(excerpt) => group.element(snippet(problem, excerpt, label)),
                None if self.count == 1 => group.element(origin(problem)),
                None => {
                    group.element(Level::NOTE.message(format!("{}: {label}", problem.location)))
                }
            };
        }
        match remedy {
            Some(remedy) => group.element(Level::HELP.message(remedy)),
            None => group,
        }
    }

    /// The message of a single problem, else the kind and the number.
    fn title(&self) -> String {
        let (kind, count, shown) = (self.kind.title(), self.count, self.shown.len());
        match self.shown[..] {
            [one] if count == 1 => one.message.clone(),
            _ if shown < count => format!("{kind}: {count}, the first {shown} shown"),
            _ => format!("{kind}: {count}"),
        }
    }

    /// The label under the mark: only what the title does not contain.
    fn label(&self, problem: &Problem, with_remedy: bool) -> String {
        let column = problem.location.column.as_ref();
        match (self.count, column) {
            (1, Some((number, name))) => format!("cell {number}, {name}"),
            (1, None) => String::new(),
            _ if with_remedy => format!("{}; {}", problem.message, problem.remedy),
            _ => problem.message.clone(),
        }
    }

    /// The remedy, if it is the same for all.
    fn one_remedy(&self) -> Option<&str> {
        let (first, others) = self.shown.split_first()?;
        let same = others.iter().all(|problem| problem.remedy == first.remedy);
        same.then_some(&*first.remedy)
    }
}

fn snippet<'t>(
    problem: &'t Problem,
    excerpt: &'t ProblemSnippet,
    label: String,
) -> Snippet<'t, annotate_snippets::Annotation<'t>> {
    let mark = AnnotationKind::Primary.span(excerpt.mark.clone());
    Snippet::source(&*excerpt.text)
        .line_start(usize::try_from(excerpt.line).unwrap_or(usize::MAX))
        .path(&*problem.location.file)
        .annotation(if label.is_empty() {
            mark
        } else {
            mark.label(label)
        })
}

fn origin(problem: &Problem) -> Origin<'_> {
    let origin = Origin::path(&*problem.location.file);
    match usize::try_from(problem.location.line) {
        Ok(line @ 1..) => origin.line(line),
        _ => origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttributeName, Definition, Schema, ValueType};
    use crate::roster;
    use crate::settings::{Environment, Settings, load};
    use insta::assert_snapshot;

    fn settings() -> Settings {
        let none = Environment::from_iter([("OMNI_USER_SYNC_CONFIG", "/dev/null")]);
        load(None, &none).expect("the defaults")
    }

    fn schema() -> Schema {
        let definition = |name, value_type, multiple| Definition {
            name: AttributeName::new(name),
            value_type,
            multiple,
            system: false,
            default: None,
        };
        Schema::new([
            definition("tier", ValueType::String, false),
            definition("Region", ValueType::String, true),
            definition("seats", ValueType::Number, false),
        ])
    }

    /// The report on a file `users.csv`.
    fn shown(bytes: impl AsRef<[u8]>) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.csv");
        std::fs::write(&path, bytes).expect("a file");
        let source = settings().source;
        let read = roster::read(&source, &path, true, &schema());
        let (problems, lints): (Vec<_>, Vec<_>) = match &read {
            Ok(desired) => (desired.problems(), desired.lints.iter().collect()),
            Err(error) => (error.problems().iter().collect(), Vec::new()),
        };
        let report = |level, problems: &[&Problem]| {
            report(level, problems, &source, &path, &Renderer::plain()).unwrap_or_default()
        };
        report(Level::WARNING, &lints) + &report(Level::ERROR, &problems)
    }

    #[test]
    fn a_single_problem_is_its_title() {
        assert_snapshot!(shown("op,email,seats\nupsert,a@x.co,\"1,5\"\ndelet,b@x.co,\n"), @r#"
        error: expected a decimal number, found '1,5'
         --> users.csv:2:15
          |
        2 | upsert,a@x.co,"1,5"
          |               ^^^^^ cell 3, seats
          |
          = help: write a decimal point (1.5) and no thousands separator

        error: unknown op 'delet' (did you mean 'delete'?)
         --> users.csv:3:1
          |
        3 | delet,b@x.co,
          | ^^^^^ cell 1, op
          |
          = help: write upsert, delete or deactivate
        "#);
    }

    #[test]
    fn groups_problems_by_kind() {
        assert_snapshot!(shown(
            "email;seats;Region\n\
             a@x.co;1,5;north\n\
             b@x.co;7;south\n\
             c@x.co;\"2,5\";\n"
        ), @r#"
        error: invalid numbers: 2
         --> users.csv:2:8
          |
        2 | a@x.co;1,5;north
          |        ^^^ expected a decimal number, found '1,5'
          |
         ::: users.csv:4:8
          |
        4 | c@x.co;"2,5";
          |        ^^^^^ expected a decimal number, found '2,5'
          |
          = help: write a decimal point (1.5) and no thousands separator

        error: cells that don't match the attribute's definition: 2
         --> users.csv:2:12
          |
        2 | a@x.co;1,5;north
          |            ^^^^^ expected a list, found 'north'; write '[north]'
          |
         ::: users.csv:3:10
          |
        3 | b@x.co;7;south
          |          ^^^^^ expected a list, found 'south'; write '[south]'
        "#);
    }

    #[test]
    fn shows_problems_without_a_line() {
        assert_snapshot!(shown("email,tier\n"), @r"
        error: the file has a header and no rows
        --> users.csv
         = help: write one row per user; a roster without rows is treated as a mistake
        ");
        assert_snapshot!(shown(b"PK\x03\x04"), @r"
        error: this is a workbook (.xlsx, .ods) or a zip archive, not a CSV file
        --> users.csv
         = help: open it in a spreadsheet program and save the sheet as 'CSV UTF-8'; renaming the file is not enough
        ");
        assert_snapshot!(shown(b"email,tier\r\na@x.co,gold\r\nz@x.co,Zo\xeb\r\n"), @r#"
        error: not valid UTF-8
         --> users.csv:3:10
          |
        3 | z@x.co,Zo
          |          ^
          |
          = help: save the file as 'CSV UTF-8', or set source.encoding = "windows-1252" if an older spreadsheet program saved it
        "#);
    }

    #[test]
    fn shows_every_kind() {
        let many = "a@x.co,many\n".repeat(1_000);
        let shown = shown(format!("email,seats\n{many}ann,7\nok@x.co\n"));
        let titles: Vec<_> = shown
            .lines()
            .filter(|line| line.starts_with("error"))
            .collect();
        assert_snapshot!(titles.join("\n"), @r"
        error: invalid numbers: 1000, the first 48 shown
        error: 'ann': an email has the form local@domain, with one @
        error: too short: this row has 1 cell, the header has 2
        ");
        assert_eq!(shown.matches("expected a decimal number").count(), 48);
        assert!(shown.ends_with("\n… and 952 more; `--json` lists all\n"));
    }

    #[test]
    fn shortens_and_escapes_lines() {
        let long = "x".repeat(500);
        assert_snapshot!(shown(format!("email,tier,seats\na@x.co,{long},\u{1b}[2J,{long}\nann\u{202e}é😀 b,\u{a0},7\n")), @r"
        error: too long: this row has 4 cells, the header has 3
         --> users.csv:2:1
          |
        2 | a@x.co,xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: quote the cells that contain the delimiter, or remove the extra cells

        error: 'ann\u{202e}é😀 b': an email can't contain spaces, control characters or invisible characters
         --> users.csv:3:1
          |
        3 | ann\u{202e}é😀 b,\u{a0},7
          | ^^^^^^^^^^^^^^^^ cell 1, email
          |
          = help: it contains an invisible character; type the address again
        ");
        assert_snapshot!(shown(format!("tier,seats,email\n{long},many,a@x.co\n")), @r"
        error: expected a decimal number, found 'many'
         --> users.csv:2:32
          |
        2 | …xxxxxxxxxxxxxxxxxxxxxxxxxxxxx,many,a@x.co
          |                                ^^^^ cell 2, seats
          |
          = help: write only digits and a decimal point, or leave the cell blank for no value
        ");
    }

    #[test]
    fn shows_the_start_of_multiline_cells() {
        assert_snapshot!(shown("tier\temail\tseats\r\n\"a\r\nb\"\ta@x.co\t\"x\ry\"\r\n"), @r#"
        error: expected a decimal number, found 'x\ry'
         --> users.csv:3:11
          |
        3 | b"    a@x.co    "x
          |                 ^^ cell 3, seats
          |
          = help: write only digits and a decimal point, or leave the cell blank for no value
        "#);
    }
}
