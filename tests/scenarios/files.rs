//! The files of a scenario: the roster, `source.groups` and `source.roles`.

use crate::access::{GroupsFile, GroupsFileState};
use crate::roles::RolesFile;
use crate::roster::{FileState, Roster};
use crate::scenario::Scenario;
use crate::support::World;
use std::path::PathBuf;

/// The present files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) roster: Roster,
    /// Of the roster.
    pub(crate) state: FileState,
    /// `None` if it is not set.
    pub(crate) groups: Option<GroupsFile>,
    /// `None` if it is not set.
    pub(crate) roles: Option<RolesFile>,
}

fn groups_path(world: &World) -> PathBuf {
    world.folder.path().join("groups.csv")
}

fn roles_path(world: &World) -> PathBuf {
    world.folder.path().join("roles.csv")
}

/// The world with the settings of the files that a scenario has.
pub(crate) fn with_files(world: World, scenario: &Scenario) -> World {
    let access = scenario.access.as_ref();
    let groups = access.and_then(|access| access.file.as_ref());
    let groups = groups.map(|_| ("source.groups", groups_path(&world)));
    let roles = scenario.roles.as_ref();
    let roles = roles.map(|_| ("source.roles", roles_path(&world)));
    let set = groups.into_iter().chain(roles).collect::<Vec<_>>();
    set.into_iter().fold(world, |world, (key, path)| {
        world.set(key, &path.display().to_string())
    })
}

fn write(path: PathBuf, text: Option<String>) {
    match text {
        Some(text) => std::fs::write(path, text).expect("the file is written"),
        // There may be none yet.
        None => drop(std::fs::remove_file(path)),
    }
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            roster: Roster::default(),
            state: FileState::Whole,
            groups: None,
            roles: None,
        }
    }

    /// The roster, if the file is readable.
    pub(crate) fn readable(&self) -> Option<&Roster> {
        let is_readable = self.state == FileState::Whole && !self.roster.rows.is_empty();
        is_readable.then_some(&self.roster)
    }

    /// The emails that rows of the other files name.
    pub(crate) fn named(&self) -> impl Iterator<Item = String> {
        let groups = self.groups.iter().filter(|file| file.is_readable());
        let groups = groups.flat_map(|file| &file.rows).map(|row| &row.email);
        let roles = self.roles.iter().flat_map(RolesFile::readable);
        let roles = roles
            .filter(|row| !row.is_invalid())
            .map(|row| &row.subject);
        let users = groups.chain(roles).map(|name| name.to_lowercase());
        users.filter(|name| name.contains('@'))
    }

    /// Makes all files readable.
    pub(crate) fn restore(&mut self) {
        self.state = FileState::Whole;
        if let Some(file) = &mut self.groups {
            file.state = GroupsFileState::Whole;
        }
        if let Some(file) = &mut self.roles {
            file.state = FileState::Whole;
        }
    }

    pub(crate) fn write(&self, world: &World) {
        write(world.roster_path(), self.roster.file(self.state));
        if let Some(file) = &self.groups {
            write(groups_path(world), file.text());
        }
        if let Some(file) = &self.roles {
            write(roles_path(world), file.text());
        }
    }
}
