//! `approve`: lets what a run held through, once.

use super::{Exit, out};
use crate::model::{Mode, RunNumber, RunRef};
use crate::settings::Settings;
use crate::state::{Access, StateDb};
use crate::util::text::plural;
use chrono::{SecondsFormat, Utc};
use std::str::FromStr;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run that held it: its number, or `latest`
    run: RunName,
    /// Only says what would be approved
    #[arg(long)]
    dry: bool,
}

/// How a person names a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunName(pub(super) RunRef);

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(number) => Ok(Self(RunRef::Number(RunNumber(number)))),
            Err(_) if text.eq_ignore_ascii_case("latest") => Ok(Self(RunRef::Latest)),
            Err(_) => Err("write a run's number, or `latest`".into()),
        }
    }
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let base_url = settings.omni.base_url()?.to_string();
    let journal = StateDb::open(&base_url, Access::Approve(&settings.state.dir))?;
    let run = match arguments.run.0 {
        // One that is under way, or could not be done, does not say what is held now; and what was held before
        // the last one that does may be of a roster that was wrong.
        RunRef::Latest => match journal.last_held().await? {
            Some(last) => RunRef::Number(last.run),
            None => RunRef::Latest,
        },
        numbered @ RunRef::Number(_) => numbered,
    };
    let approval = journal
        .approve(run, &who(), Utc::now(), arguments.dry)
        .await?;
    let mut users = approval.users.clone();
    users.sort_by(|a, b| (a.operation, &a.email).cmp(&(b.operation, &b.email)));
    for user in users {
        out::result(&format!(
            "{} {}
",
            user.operation, user.email
        ));
    }
    let changes = plural(approval.users.len(), "change");
    let run = approval.run;
    if arguments.dry {
        out::note(&format!(
            "{changes} of run {run} would be approved; nothing was"
        ));
    } else {
        let until = approval.expires.to_rfc3339_opts(SecondsFormat::Secs, true);
        let then = match settings.policy.mode {
            Mode::Apply => {
                "a running daemon acts on it within 5 s, else run `omni-user-sync apply`"
            }
            Mode::Plan => {
                "nothing is done now, since policy.mode is \"plan\"; once it is \"apply\", they go through"
            }
        };
        out::note(&format!(
            "{changes} of run {run} approved, each once, until {until}; {then}"
        ));
    }
    Ok(Exit::Ok)
}

/// Who approves, for the record: whoever used sudo, else the user.
fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
