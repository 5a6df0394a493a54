//! `completions`: prints a completion script for a shell.

use super::{Exit, out};
use clap::Command;
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Shell
    shell: Shell,
}

pub(super) fn run(mut command: Command, arguments: &Arguments) -> anyhow::Result<Exit> {
    let (mut script, name) = (Vec::new(), command.get_name().to_owned());
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    out::result(&String::from_utf8(script)?);
    Ok(Exit::Ok)
}
