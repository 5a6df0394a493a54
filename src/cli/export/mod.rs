//! `export`: writes the organisation as a roster, for which `plan` finds nothing to do. `export --roles` writes roles
//! as a file for `source.roles` instead.

mod roles;

use super::{Exit, organisation, out};
use crate::model::{ObservedGroups, Schema};
use crate::omni::{Available, Definitions};
use crate::roster::export::{self, Exported};
use crate::settings::Settings;
use anyhow::{Context, bail};
use roles::RolesOf;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// File to write, with mode 600, or `-` [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite FILE if it exists
    #[arg(long)]
    force: bool,
    /// Add a column with the groups of each user, which makes these groups managed
    #[arg(long)]
    groups: bool,
    /// Write the roles of groups as a file for source.roles instead, with --roles=users also those of users
    #[arg(
        long, value_name = "OF", num_args = 0..=1, require_equals = true, default_missing_value = "groups",
        conflicts_with = "groups"
    )]
    roles: Option<RolesOf>,
}

/// A file to write.
struct ExportedFile {
    text: String,
    /// The content for people: `12 users`.
    content: String,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let output = arguments.output.filter(|path| path.as_os_str() != "-");
    if let Some(path) = output
        .as_deref()
        .filter(|path| !arguments.force && is_file(path))
    {
        bail!("{} exists; add --force to overwrite it", path.display());
    }
    let file = match arguments.roles {
        Some(of) => roles::file(&settings, of).await?,
        None => roster(&settings, arguments.groups).await?,
    };
    match output {
        Some(path) => write(&path, &file)?,
        None => out::result(&file.text),
    }
    Ok(Exit::Ok)
}

/// Exports to a file.
pub(super) async fn to_file(settings: &Settings, path: &Path) -> anyhow::Result<()> {
    write(path, &roster(settings, false).await?)
}

fn write(path: &Path, file: &ExportedFile) -> anyhow::Result<()> {
    let ExportedFile { text, content } = file;
    write_atomically(path, text).with_context(|| format!("can't write {}", path.display()))?;
    out::note(&format!("{content} written to {}", path.display()));
    Ok(())
}

/// The organisation as a roster.
async fn roster(settings: &Settings, with_groups: bool) -> anyhow::Result<ExportedFile> {
    let (definitions, observed) = organisation::fetch(settings).await?;
    let groups = match with_groups {
        true => Some(groups(settings, observed.count()).await?),
        false => None,
    };
    let schema = match definitions {
        Definitions::Known(schema) => schema,
        Definitions::Rejected(status) => {
            out::warning(&format!(
                "this key can't read the attribute definitions (Omni responded with {status})"
            ));
            Schema::unknown()
        }
    };
    if let Some(doubt) = observed.doubt() {
        out::warning(&format!("the list of users may be incomplete: {doubt}"));
    }
    let Exported {
        csv,
        users,
        left_out,
    } = export::export(
        observed.users().map(AsRef::as_ref),
        &schema,
        groups.as_ref(),
        (&settings.source).into(),
    );
    left_out.iter().for_each(|reason| out::warning(reason));
    if users < observed.count() {
        let missing = observed.count() - users;
        out::warning(&format!(
            "{missing} users are not exported: their userName is not an email, or several users share it"
        ));
    }
    Ok(ExportedFile {
        text: csv,
        content: format!("{users} users"),
    })
}

/// The groups of an organisation with this many users.
async fn groups(settings: &Settings, users: usize) -> anyhow::Result<ObservedGroups> {
    match organisation::reader(settings)?.groups(users).await? {
        Available::Known(groups) => Ok(ObservedGroups::new(groups)),
        Available::Rejected(status) => bail!(
            "this key can't read groups (Omni responded with {status}); leave out --groups, or use an organisation key"
        ),
    }
}

/// Whether a path names something that would be overwritten, and not a device or pipe.
fn is_file(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(metadata) => metadata.is_file(),
        // A link to a file that is gone is followed when it is written.
        Err(_) => false,
    }
}

/// Writes a temporary file and renames it, so that a watcher of the folder never sees a partial file.
/// Links are followed. A device or pipe is written directly.
pub(super) fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return std::fs::write(path, text);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".omni-user-sync-")
        .suffix(".tmp")
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
