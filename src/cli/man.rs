//! `man`: prints the man page, one page with a section for each command.

use super::{Exit, out};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The sections after those of the commands: a heading, and terms with their explanations.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Success: in sync, or nothing to do."),
            (
                "1",
                "Failed, stopped or declined; or one of several files was rejected and the others were applied.",
            ),
            ("2", "There are changes (plan)."),
            (
                "3",
                "Some rows are invalid, or some users failed, are unread or in quarantine (apply, plan).",
            ),
            ("4", "Changes are held, or would be held (apply, plan)."),
            (
                "64",
                "Invalid usage or settings, or confirmation is needed and there is no terminal.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            (
                "OMNI_BASE_URL",
                "Address of the organisation (omni.base_url).",
            ),
            ("OMNI_API_KEY", "API key; overrides omni.api_key_file."),
            (
                "OMNI_USER_SYNC_CONFIG",
                "Settings file, if --config is not given.",
            ),
            (
                "OMNI_USER_SYNC__SECTION__KEY",
                "A setting; overrides the settings file. Lists are separated by commas.",
            ),
            (
                "HTTPS_PROXY, ALL_PROXY, NO_PROXY",
                "Proxy for requests to Omni and to the webhook.",
            ),
            ("NO_COLOR, CLICOLOR_FORCE", "Turn colours off or on."),
        ],
    ),
    (
        "FILES",
        &[
            (
                "/etc/omni-user-sync/config.toml",
                "Settings file, if there is no other. Every setting has a default.",
            ),
            (
                "/var/lib/omni-user-sync/state.db",
                "State database, in the folder state.dir: history, managed users, approvals, quarantine and the cache.",
            ),
            (
                "reports/",
                "Row reports, beside the roster (source.reports).",
            ),
        ],
    ),
    ("SEE ALSO", &[("systemctl(1), crontab(5)", "")]),
];

pub(super) fn run(command: &Command) -> anyhow::Result<Exit> {
    out::result(&page(command)?);
    Ok(Exit::Ok)
}

fn page(command: &Command) -> anyhow::Result<String> {
    let mut text = command_list(&rendered(command)?);
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
    text.push_str(&sections());
    Ok(text)
}

fn rendered(command: &Command) -> anyhow::Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    let page = String::from_utf8(page)?;
    Ok(match page.split_once(".SH EXTRA\n") {
        Some((page, extra)) => format!("{page}{}", examples(extra)),
        None => page,
    })
}

/// The examples, line by line, and the text after them.
fn examples(extra: &str) -> String {
    let extra = extra.trim_start_matches("Examples:\n");
    let (examples, rest) = extra.split_once("\n\n").unwrap_or((extra.trim_end(), ""));
    let rest = match rest.is_empty() {
        true => String::new(),
        false => format!(".PP\n{rest}"),
    };
    format!(".SH EXAMPLES\n.nf\n{examples}\n.fi\n{rest}")
}

/// Names the commands, which are sections of this page and no pages of their own.
fn command_list(page: &str) -> String {
    let page = page.replace(".SH SUBCOMMANDS", ".SH COMMANDS");
    let lines = page.lines().map(|line| {
        let name = line.strip_prefix("omni\\-user\\-sync\\-");
        match name.and_then(|name| name.strip_suffix("(1)")) {
            Some(name) => format!("\\fB{name}\\fR\n"),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

fn sections() -> String {
    let mut roff = Roff::new();
    for (heading, terms) in SECTIONS {
        roff.control("SH", [heading]);
        for (term, text) in terms {
            if text.is_empty() {
                roff.text([roman(*term)]);
            } else {
                roff.control("TP", []).text([bold(*term)]);
                roff.text([roman(*text)]);
            }
        }
    }
    roff.to_roff()
}
