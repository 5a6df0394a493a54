//! `explain`: explains one user.

use super::{Exit, history, out};
use crate::metrics::Metrics;
use crate::model::{ChangeRecord, Email, Escaped, OwnedDetails};
use crate::run::{Explanation, Observer};
use crate::settings::Settings;
use crate::state::Managed;
use crate::state::render::change_doc;
use chrono::SecondsFormat;
use serde_json::json;
use std::fmt::Write;
use tokio_util::sync::CancellationToken;

/// The number of changes shown.
const MAX_CHANGES: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Email of the user; write `--` before an email that begins with `-`
    #[arg(value_parser = Email::known)]
    email: Email,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let state = super::readable_state(&settings)?;
    let observer = Observer::new(settings.into(), Metrics::new(), state)?;
    let explanation = observer
        .explain(&arguments.email, &CancellationToken::new())
        .await?;
    let managed = observer.state().user(&arguments.email).await?.managed;
    let last = observer
        .state()
        .changes_of(&arguments.email, MAX_CHANGES)
        .await?;
    if arguments.json {
        let mut doc = explanation.doc();
        doc["managed"] = json!(managed.is_some());
        doc["changes"] = last.iter().map(change_doc).collect();
        out::result(&format!("{doc:#}\n"));
    } else {
        out::result(&text(&explanation, managed.as_ref(), &last)?);
    }
    Ok(Exit::Ok)
}

fn text(
    explanation: &Explanation,
    managed: Option<&Managed>,
    last: &[ChangeRecord],
) -> Result<String, std::fmt::Error> {
    let Explanation {
        email,
        roster,
        leaving: _,
        found: _,
        next,
        transfers,
        memberships,
        roles,
        stated,
        groups,
        present_roles,
        owned,
    } = explanation;
    let mut text = format!("{email}\n");
    match roster.is_empty() {
        true => writeln!(text, "roster: no row")?,
        false => roster
            .iter()
            .try_for_each(|line| writeln!(text, "roster: {line}"))?,
    }
    for line in stated {
        writeln!(text, "{line}")?;
    }
    match explanation.user() {
        Err(clause) => writeln!(text, "omni: {clause}")?,
        Ok(user) => {
            let name = Escaped(&user.display_name);
            writeln!(
                text,
                "omni: '{name}', {}, id {}",
                user.state_text(),
                user.id
            )?;
            for (name, value) in user.values() {
                writeln!(text, "    {name}: {value}")?;
            }
        }
    }
    if !groups.is_empty() {
        let names: Vec<_> = groups
            .iter()
            .map(|name| Escaped(name).to_string())
            .collect();
        writeln!(text, "groups: {}", names.join(", "))?;
    }
    for role in present_roles {
        writeln!(text, "role: {role}")?;
    }
    for (things, names) in owned.iter().flat_map(OwnedDetails::texts) {
        writeln!(text, "{things}: {}", Escaped(&names))?;
    }
    if let Some(managed) = managed {
        writeln!(text, "state: {}", since(managed))?;
    }
    writeln!(text, "next: {next}")?;
    for access in transfers.iter().chain(memberships).chain(roles) {
        writeln!(text, "{access}")?;
    }
    let none = if last.is_empty() { ": none" } else { "" };
    writeln!(text, "last changes{none}")?;
    last.iter()
        .for_each(|change| text.push_str(&history::change_text(change)));
    Ok(text)
}

fn since(managed: &Managed) -> String {
    let since = managed.since.to_rfc3339_opts(SecondsFormat::Secs, true);
    match managed.missing_since {
        None => format!("managed since {since}"),
        Some(missing) => format!(
            "managed since {since}, missing from the roster since {}",
            missing.to_rfc3339_opts(SecondsFormat::Secs, true)
        ),
    }
}
