//! `export`: the organisation as a roster that `plan` finds nothing to do for.

use super::{Exit, out};
use crate::metrics::Metrics;
use crate::model::Schema;
use crate::omni::{self, Client, Definitions};
use crate::roster::export::{self, Exported};
use crate::run::RunError;
use crate::settings::Settings;
use anyhow::Context;
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to write, or `-`; nobody else may read it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let client =
        Client::new(&settings.omni, &settings.state.dir, Metrics::new()).map_err(RunError::from)?;
    client.begin(&settings.omni.keys.read()?);
    let reader = client.reader(&CancellationToken::new());
    let schema = match reader.definitions().await.map_err(RunError::from)? {
        Definitions::Known(schema) => schema,
        Definitions::Refused(status) => {
            out::warning(&format!(
                "Omni does not show its attribute definitions ({status})"
            ));
            Schema::unknown()
        }
    };
    let observed = omni::list(&reader).await.map_err(RunError::from)?;
    if let Some(doubt) = observed.doubt() {
        out::warning(&format!(
            "the listing does not add up, so someone may be missing: {doubt}"
        ));
    }
    let Exported {
        csv,
        users,
        left_out,
    } = export::export(
        observed.users().map(AsRef::as_ref),
        &schema,
        (&settings.source).into(),
    );
    left_out.iter().for_each(|why| out::warning(why));
    if users < observed.count() {
        let missing = observed.count() - users;
        out::warning(&format!(
            "{missing} users are left out: their userName is no email, or several share it"
        ));
    }
    match arguments.output.filter(|path| path.as_os_str() != "-") {
        Some(path) => {
            write_whole(&path, &csv)
                .with_context(|| format!("{} can't be written", path.display()))?;
            out::note(&format!("{users} users written to {}", path.display()));
        }
        None => out::result(&csv),
    }
    Ok(Exit::Ok)
}

/// Writes beside the file and renames, so that a watcher of the folder never sees half of it. A link
/// is followed, and what is no file (a device, a pipe) is written to as it is.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
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
