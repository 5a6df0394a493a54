//! `status`: the state of the daemon and of the last runs, from the state database alone.

use super::{Exit, history, out};
use crate::model::{Pause, RunRecord};
use crate::settings::Settings;
use crate::state::render::run_doc;
use crate::state::{HeldIn, Holder, StateDb, StateLock};
use crate::util::text::plural;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use std::fmt::Write;
use std::time::Duration;

/// The number of runs listed.
const MAX_RUNS: usize = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let standing = Standing::read(&settings, Utc::now()).await?;
    match arguments.json {
        true => out::result(&format!("{:#}\n", standing.doc())),
        false => out::result(&standing.text()?),
    }
    Ok(Exit::Ok)
}

/// The state of the daemon and of the last runs, at one moment.
struct Standing {
    now: DateTime<Utc>,
    organisation: String,
    /// The process that writes to the state folder.
    holder: Option<Holder>,
    paused: Option<Pause>,
    /// The last runs, newest first.
    runs: Vec<RunRecord>,
    last_success: Option<DateTime<Utc>>,
    held: Option<HeldIn>,
    quarantined: usize,
    /// When the oldest part of the cache was observed, and the number of users in it.
    cache: Option<(DateTime<Utc>, u64)>,
    next_due: Option<DateTime<Utc>>,
}

impl Standing {
    async fn read(settings: &Settings, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let holder = StateLock::holder(&settings.state.dir)?;
        let state: StateDb = super::readable_state(settings)?;
        let times = settings.schedule.times.as_ref();
        Ok(Self {
            now,
            organisation: settings.omni.base_url()?.to_string(),
            holder,
            paused: state.paused(now).await?,
            runs: state.runs(MAX_RUNS).await?,
            last_success: state.last_success().await?,
            held: state.last_held().await?.filter(|held| held.count() > 0),
            quarantined: state.quarantined(now, 0).await?.0,
            cache: state.observation_age().await?,
            next_due: times.and_then(|times| times.next_after(now)),
        })
    }

    fn has_daemon(&self) -> bool {
        self.holder.as_ref().is_some_and(Holder::is_daemon)
    }

    /// The next scheduled run, if a daemon will start it.
    fn next_run(&self) -> Option<DateTime<Utc>> {
        let is_active = self.has_daemon() && self.paused.is_none();
        self.next_due.filter(|_| is_active)
    }

    /// The number of changes that the last plan contains and that were not applied.
    fn pending(&self) -> Option<usize> {
        let mut ends = self.runs.iter().filter_map(RunRecord::end);
        ends.find_map(|end| Some(end.pending?.total()))
    }

    fn doc(&self) -> serde_json::Value {
        let holder = self.holder.as_ref().and_then(Holder::details);
        json!({
            "organisation": self.organisation,
            "now": self.now,
            "daemon_is_running": self.has_daemon(),
            "process": holder.map(|(command, pid, since)| json!({ "command": command, "pid": pid, "since": since })),
            "paused": self.paused,
            "runs": self.runs.iter().map(run_doc).collect::<Vec<_>>(),
            "last_success": self.last_success,
            "pending": self.pending(),
            "held": self.held.as_ref().map(|held| json!({ "run": held.run.0, "count": held.count() })),
            "quarantined": self.quarantined,
            "cache": self.cache.map(|(observed, users)| json!({ "observed": observed, "users": users })),
            "next_run": self.next_run(),
        })
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let line = format!("{name:<13} {value}");
            writeln!(text, "{}", line.trim_end())
        };
        line("organisation", self.organisation.clone())?;
        line("daemon", self.daemon_text())?;
        if let Some(pause) = &self.paused {
            line("PAUSED", format!("{pause}: the daemon starts no runs"))?;
        }
        line("last success", or_none(self.last_success))?;
        let pending = self.pending();
        line(
            "pending",
            pending.map_or_else(|| "not known".into(), |count| count.to_string()),
        )?;
        line("held", self.held_text())?;
        line("quarantine", plural(self.quarantined, "user"))?;
        line("cache", self.cache_text())?;
        line("next run", or_none(self.next_run()))?;
        match self.runs.is_empty() {
            true => line("last runs", "none".into())?,
            false => line("last runs", String::new())?,
        }
        self.runs
            .iter()
            .for_each(|run| text.push_str(&history::line(run)));
        Ok(text)
    }

    fn daemon_text(&self) -> String {
        match &self.holder {
            Some(holder) if holder.is_daemon() => format!("running: {holder}"),
            Some(holder) => format!("not running; the state folder is in use by {holder}"),
            None => "not running".into(),
        }
    }

    fn held_text(&self) -> String {
        match &self.held {
            None => "0 changes".into(),
            Some(held) => {
                let (changes, run) = (plural(held.count(), "change"), held.run);
                format!("{changes} (run {run}); review with `omni-user-sync history {run}`")
            }
        }
    }

    fn cache_text(&self) -> String {
        let Some((observed, users)) = self.cache else {
            return "none".into();
        };
        let age = (self.now - observed).num_seconds();
        let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
        let age = humantime::format_duration(age);
        format!("{}, {age} old", plural(users, "user"))
    }
}

fn or_none(time: Option<DateTime<Utc>>) -> String {
    let text = time.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
    text.unwrap_or_else(|| "none".into())
}
