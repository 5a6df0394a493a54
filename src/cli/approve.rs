//! `approve`: approves the changes that a run held.

use super::{Exit, out};
use crate::model::{Mode, RunNumber, RunRef};
use crate::settings::Settings;
use crate::state::{Access, StateDb};
use crate::util::text::plural;
use chrono::{SecondsFormat, Utc};
use std::str::FromStr;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Run that held the changes: its number, or `latest`
    run: RunName,
    /// List the changes without approving them
    #[arg(long)]
    dry: bool,
    /// End the approval of changes that are not applied yet
    #[arg(long, conflicts_with = "dry")]
    revoke: bool,
}

/// A run on the command line.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunName(pub(super) RunRef);

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(number) => Ok(Self(RunRef::Number(RunNumber(number)))),
            Err(_) if text.eq_ignore_ascii_case("latest") => Ok(Self(RunRef::Latest)),
            Err(_) => Err("expected a run number or `latest`".into()),
        }
    }
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let base_url = settings.omni.base_url()?.to_string();
    let state = StateDb::open(&base_url, Access::Approve(&settings.state.dir))?;
    let run = match arguments.run.0 {
        // The last run with a plan: a running or failed run does not say what is held now, and changes
        // that an earlier run held may come from a roster that was wrong.
        RunRef::Latest => match state.last_held().await? {
            Some(last) => RunRef::Number(last.run),
            None => RunRef::Latest,
        },
        numbered @ RunRef::Number(_) => numbered,
    };
    if arguments.revoke {
        let (run, revoked) = state.revoke(run, Utc::now()).await?;
        let changes = plural(revoked, "change");
        out::note(&format!("Approval of {changes} of run {run} revoked."));
        return Ok(Exit::Ok);
    }
    let approval = state
        .approve(run, &approver(), Utc::now(), arguments.dry)
        .await?;
    if let Some(place) = &approval.place {
        out::note(&match arguments.dry {
            true => format!("Dry run: the roster on {place} would be accepted."),
            false => format!("The roster on {place} is accepted from now on."),
        });
        return Ok(Exit::Ok);
    }
    let mut changes = approval.changes.clone();
    changes.sort_by(|a, b| (a.operation, &a.email).cmp(&(b.operation, &b.email)));
    for change in changes {
        out::result(&format!("{} {}\n", change.operation, change.email));
    }
    let changes = plural(approval.changes.len(), "change");
    let run = approval.run;
    if arguments.dry {
        out::note(&format!(
            "Dry run: {changes} of run {run} would be approved."
        ));
    } else {
        let until = approval.expires.to_rfc3339_opts(SecondsFormat::Secs, true);
        let next = match settings.policy.mode {
            Mode::Apply => {
                "A running daemon applies them within 5 s; without a daemon, run `omni-user-sync apply` again with the same roster."
            }
            Mode::Plan => {
                "policy.mode is \"plan\" (dry run), so they are applied only after you change it to \"apply\"."
            }
        };
        out::note(&format!(
            "{changes} of run {run} approved once, until {until}. {next}"
        ));
    }
    Ok(Exit::Ok)
}

/// The approver for the history: the user behind sudo, else the user.
fn approver() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
