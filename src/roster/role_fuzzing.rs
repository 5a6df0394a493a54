//! Properties of the reader of `source.roles` that must hold for all bytes.

use super::budget::MAX_LISTED_LINTS;
use super::fuzzing::{check_location, has_secret, settings};
use super::read_roles;
use crate::fuzzing::checks::assert_harmless;
use crate::model::{DesiredRoles, RoleName};
use std::collections::HashSet;
use std::fs;

/// Checks a file of `source.roles`. The first byte selects the settings, the others are the content.
pub fn roles(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("roles.csv");
    fs::write(&path, bytes).expect("the folder is writable");
    let settings = settings(how);
    let stated = read_roles(&settings, &path);
    let again = read_roles(&settings, &path);
    assert_eq!(format!("{stated:?}"), format!("{again:?}"), "deterministic");
    check(&stated, bytes);
}

fn check(stated: &DesiredRoles, bytes: &[u8]) {
    for problem in stated.problems().into_iter().chain(&stated.lints) {
        check_location(bytes, &problem.location);
        assert_harmless(&problem.to_string());
    }
    // Problems of a rejected file are logged.
    for problem in &stated.rejected {
        assert!(!has_secret(problem), "{problem}");
    }
    let is_rejected = !stated.rejected.is_empty();
    assert!(!is_rejected || stated.rows.is_empty() && stated.bad_rows.is_empty());
    assert_eq!(is_rejected, stated.count.is_none());
    let mut seen = HashSet::new();
    for row in &stated.rows {
        check_location(bytes, &row.location);
        let whole = row.role == RoleName::CONNECTION_ADMIN;
        assert!(
            !row.connection.is_empty() && row.model.is_none() == whole,
            "{row:?}"
        );
        assert_eq!(RoleName::parse(row.role.as_str()).as_ref(), Ok(&row.role));
        let key = (row.subject.folded(), &row.connection, &row.model);
        assert!(seen.insert(key), "{row:?}");
    }
    check_rows(stated);
}

/// Every row is accounted for: it is used, or bad, or there is a lint about it.
fn check_rows(stated: &DesiredRoles) {
    if stated.lints.len() >= MAX_LISTED_LINTS {
        return;
    }
    let used = stated.rows.iter().map(|row| row.location.line);
    let problems = stated.bad_rows.iter().chain(&stated.lints);
    let noted = problems.map(|problem| problem.location.line);
    let lines: HashSet<_> = used.chain(noted).filter(|line| *line > 0).collect();
    assert_eq!(lines.len() as u64, stated.count.unwrap_or_default());
    for bad in &stated.bad_rows {
        let mut used = stated.rows.iter();
        assert!(
            !used.any(|row| row.location.line == bad.location.line),
            "{bad}"
        );
    }
}
