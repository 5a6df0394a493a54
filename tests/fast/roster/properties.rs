//! Properties of all rosters.

use super::support::{Folder, read_with, settings};
use omni_user_sync::model::{DesiredUser, Email, Schema, Value, trim};
use omni_user_sync::settings::SourceSettings;
use proptest::prelude::*;
use std::fs::File;

fn unknown(bytes: impl AsRef<[u8]>) -> Result<omni_user_sync::model::Desired, String> {
    read_with(bytes, settings(), Schema::unknown()).map_err(|error| error.to_string())
}

/// Rows of cells as the csv crate writes them.
fn written(rows: &[Vec<String>], delimiter: u8, ending: csv::Terminator) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .terminator(ending)
        .from_writer(Vec::new());
    writer
        .write_record(["email", "display_name", "x"])
        .expect("in memory");
    for (at, row) in rows.iter().enumerate() {
        let email = format!("u{at}@x.co");
        writer
            .write_record([&email, &row[0], &row[1]])
            .expect("in memory");
    }
    writer.into_inner().expect("in memory")
}

fn ending() -> impl Strategy<Value = csv::Terminator> {
    use csv::Terminator::{Any, CRLF};
    prop::sample::select(vec![CRLF, Any(b'\n'), Any(b'\r')])
}

proptest! {
    #[test]
    fn any_cells_are_read_back_trimmed(
        // No `[`, which makes a list, and no `@`, which may make a swallowed row.
        rows in prop::collection::vec(prop::collection::vec("[a-zé€ ,;\t\"\r\n\\]=-]{0,12}", 2), 1..8),
        delimiter in prop::sample::select(b",;\t".to_vec()),
        ending in ending(),
    ) {
        let read = unknown(written(&rows, delimiter, ending)).map_err(TestCaseError::fail)?;
        prop_assert_eq!(read.users.len(), rows.len());
        for (at, row) in rows.iter().enumerate() {
            let email = Email::parse(&format!("u{at}@x.co")).expect("valid");
            let DesiredUser::Upsert(spec) = &read.users[&email].want else {
                panic!("an upsert");
            };
            prop_assert_eq!(spec.display_name.as_deref().unwrap_or(""), trim(&row[0]));
            let (_, value) = spec.attributes.iter().next().expect("one attribute");
            prop_assert_eq!(value, &Value::one(&row[1]));
        }
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = unknown(&bytes);
    }

    #[test]
    fn roster_like_text_never_panics(
        text in "(op,|sep=;\n)?email(,a|;b|\t)?(\r\n|\r|\n)([\\[\\]a@,;\"\r\n\u{feff} é]{0,30}(\r\n|\r|\n)?){0,6}"
    ) {
        let _ = unknown(&text);
    }

    #[test]
    fn frozen_users_are_not_desired(
        rows in prop::collection::vec(("(upsert|delete|deactivate|x)", "[ab]@x[.]co", "(,[12])?,[12x]{0,1}"), 1..12)
    ) {
        let folder = Folder::new();
        let mut files = ["op,email,seats\n".to_owned(), "op,email,seats\n".to_owned()];
        for (at, (op, email, rest)) in rows.iter().enumerate() {
            files[at % 2] += &format!("{op},{email}{rest}\n");
        }
        folder.write("a.csv", &files[0]);
        folder.write("b.csv", &files[1]);
        if let Ok(read) = folder.read() {
            prop_assert!(read.frozen.keys().all(|email| !read.users.contains_key(email)));
            // Every user named by a readable row is one or the other.
            for (_, email, _) in &rows {
                let email = Email::parse(email).expect("valid");
                let rejected = !read.rejected.is_empty();
                prop_assert!(rejected || read.users.contains_key(&email) || read.frozen.contains_key(&email));
            }
        }
    }
}

/// A sparse file takes no space on the disk. Its NUL bytes end the parsing at once, and the rest is
/// only hashed, in bounded memory.
#[test]
fn a_huge_sparse_file_is_rejected() {
    let mut folder = Folder::new();
    folder.settings = SourceSettings {
        max_bytes: 1 << 40,
        ..settings()
    };
    let path = folder.write("users.csv", "");
    let file = File::options()
        .write(true)
        .open(&path)
        .expect("a file of the test");
    file.set_len(64 << 20).expect("a sparse file");
    let error = folder.read_at(&path).expect_err("no text").to_string();
    assert!(error.contains("NUL"), "{error}");
}
