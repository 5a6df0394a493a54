//! `completions` and `man`: the command line, told to shells and to `man`.

use super::{Exit, out};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints what a shell is to load.
pub(super) fn completions(mut command: Command, arguments: &Arguments) -> anyhow::Result<Exit> {
    let (mut script, name) = (Vec::new(), command.get_name().to_owned());
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    out::result(&String::from_utf8(script)?);
    Ok(Exit::Ok)
}

/// Prints the manual: one page, with a chapter for each command.
pub(super) fn man(command: &Command) -> anyhow::Result<Exit> {
    out::result(&page(command)?);
    Ok(Exit::Ok)
}

fn page(command: &Command) -> anyhow::Result<String> {
    let mut text = rendered(command)?;
    let commands = command.get_subcommands().filter(|it| !it.is_hide_set());
    for command in commands {
        let name = format!("omni-user-sync {}", command.get_name());
        // Without what all have: that stands at the beginning.
        let own = command
            .clone()
            .bin_name(name.as_str())
            .disable_help_flag(true);
        let (_, own) = rendered(&own)?.split_once(".SH SYNOPSIS").map_or_else(
            || (String::new(), String::new()),
            |(head, own)| (head.to_owned(), format!(".SH SYNOPSIS{own}")),
        );
        text.push_str(&format!(".SH \"{}\"\n", name.to_uppercase()));
        text.push_str(&own.replace(".SH ", ".SS "));
    }
    Ok(text)
}

fn rendered(command: &Command) -> anyhow::Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(String::from_utf8(page)?.replace(".SH EXTRA", ".SH EXAMPLES"))
}
