//! Files that are not read because of a file dated in the future. The times of files say what is newest, so a wrong one
//! can hide each later file; the order in which runs first saw the files can't be wrong.

use crate::model::{Desired, FileRead, Location, Problem, ProblemKind, RunNumber};
use std::collections::HashMap;
use std::time::SystemTime;

/// The maximum number of hidden files in a message.
const MAX_SHOWN: usize = 3;

/// The problem of a newest file that is dated in the future and hides files that arrived later. `seen` has the run that
/// first saw each file.
#[must_use]
pub fn shadowed_files(
    desired: &Desired,
    seen: &HashMap<FileRead, RunNumber>,
    now: SystemTime,
) -> Option<Problem> {
    let newest = desired
        .files
        .first()
        .filter(|file| file.is_in_future(now))?;
    let later = desired
        .folder
        .iter()
        .filter(|file| is_later(file, newest, seen));
    let names: Vec<_> = later.map(|file| file.name.as_ref()).collect();
    let shown = names.iter().take(MAX_SHOWN).copied();
    let mut hidden = shown.collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => return None,
        count if count > MAX_SHOWN => hidden += &format!(" and {} more", count - MAX_SHOWN),
        _ => {}
    }
    Some(Problem {
        kind: ProblemKind::ShadowedFiles,
        location: Location::line(&newest.name, 0),
        message: format!("dated in the future, so files that arrived later are not read: {hidden}"),
        remedy: "remove this file, or give it its real date (`touch -d`)".into(),
        email: None,
    })
}

/// Whether a file was first seen after another one. A file that no run has seen arrived after those that one has.
pub(crate) fn is_later(
    file: &FileRead,
    than: &FileRead,
    seen: &HashMap<FileRead, RunNumber>,
) -> bool {
    let Some(before) = seen.get(than) else {
        return false;
    };
    seen.get(file).is_none_or(|run| run > before)
}
