//! `config`: shows the settings in force.

use super::{Exit, out};
use crate::settings::{AMBIGUOUS_KEY, SettingInForce, Settings};
use std::fmt::Write;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show where each setting comes from: a file, an environment variable, or the default
    #[arg(long)]
    origin: bool,
}

pub(super) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<Exit> {
    let keys = &settings.omni.keys;
    if keys.is_ambiguous() {
        out::warning(AMBIGUOUS_KEY);
    }
    let has_key = keys.is_in_variable();
    out::result(&text(&settings.in_force, has_key, arguments.origin)?);
    Ok(Exit::Ok)
}

/// The settings as a settings file.
fn text(
    settings: &[SettingInForce],
    has_key: bool,
    with_origin: bool,
) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let mut section = "";
    for one in settings {
        if one.section != section {
            let line = if section.is_empty() { "" } else { "\n" };
            section = &one.section;
            writeln!(text, "{line}[{section}]")?;
            if section == "omni" && has_key {
                writeln!(text, "# The API key is in OMNI_API_KEY (not shown).")?;
            }
        }
        write!(text, "{} = {}", one.key, one.toml())?;
        match &one.origin {
            _ if !with_origin => writeln!(text)?,
            Some(origin) => writeln!(text, " # {}", origin.escape_debug())?,
            None => writeln!(text, " # default")?,
        }
    }
    Ok(text)
}
