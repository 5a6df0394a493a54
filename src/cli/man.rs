//! `man`: prints the man page, one page with a section for each command.

use super::{Exit, out};
use clap::Command;
use clap_mangen::Man;

pub(super) fn run(command: &Command) -> anyhow::Result<Exit> {
    out::result(&page(command)?);
    Ok(Exit::Ok)
}

fn page(command: &Command) -> anyhow::Result<String> {
    let mut text = rendered(command)?;
    let commands = command.get_subcommands().filter(|it| !it.is_hide_set());
    for command in commands {
        let name = format!("omni-user-sync {}", command.get_name());
        // The common options are in the first section.
        let own = command
            .clone()
            .bin_name(name.as_str())
            .disable_help_flag(true);
        let own = rendered(&own)?;
        let own = own.split_once(".SH SYNOPSIS").map_or("", |(_, own)| own);
        text.push_str(&format!(".SH \"{}\"\n", name.to_uppercase()));
        text.push_str(&format!(".SH SYNOPSIS{own}").replace(".SH ", ".SS "));
    }
    Ok(text)
}

fn rendered(command: &Command) -> anyhow::Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(String::from_utf8(page)?.replace(".SH EXTRA", ".SH EXAMPLES"))
}
