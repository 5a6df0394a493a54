//! `explain`: all about one user.

use super::{Exit, history, out};
use crate::journal::render::change_doc;
use crate::journal::{HeldIn, UserState};
use crate::metrics::Metrics;
use crate::omni::Sighting;
use crate::reconcile::{Change, Memory, Prepared, Reconciler, is_approved_past, render};
use crate::settings::Settings;
use crate::user::{Email, ObservedUser, Visible};
use anyhow::Context;
use chrono::SecondsFormat;
use serde_json::json;
use std::fmt::Write;
use tokio_util::sync::CancellationToken;

/// So many of a user's last changes are told.
const LAST: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The user's address; one that begins with `-` goes after `--`
    email: String,
    /// Prints it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<Exit> {
    let email = Email::parse(&arguments.email).with_context(|| arguments.email.clone())?;
    let target = super::target(&settings, None)?;
    let journal = super::journal_to_read(&settings)?;
    let reconciler = Reconciler::new(settings.into(), Metrics::new(), journal)?;
    let prepared = reconciler
        .plan_one(&target, &email, &CancellationToken::new())
        .await?;
    let state = reconciler.journal().user(&email).await?;
    let last = reconciler.journal().changes_of(&email, LAST).await?;
    let held = reconciler.journal().last_held().await?;
    let findings = Findings::new(&email, &prepared, &state, held.as_ref());
    if arguments.json {
        let doc = json!({
            "email": email.as_str(),
            "roster": findings.roster,
            "omni": findings.user.map(user_doc),
            "next": findings.next,
            "managed": state.managed.is_some(),
            "changes": last.iter().map(change_doc).collect::<Vec<_>>(),
        });
        out::result(&format!("{doc:#}\n"));
    } else {
        let mut text = findings.text()?;
        writeln!(
            text,
            "last changes{}",
            if last.is_empty() { ": none" } else { "" }
        )?;
        last.iter()
            .for_each(|change| text.push_str(&history::change_text(change)));
        out::result(&text);
    }
    Ok(Exit::Ok)
}

/// Which rule held just this change the last time and why, where no approval takes it past that. Whether
/// it would be held now takes a look at everybody's changes, so that is not asked of Omni for one user.
fn held_before(held: &HeldIn, change: &Change, memory: &Memory) -> Option<String> {
    let held_one = held.of(change.user_id()?, change.kind())?;
    (!is_approved_past(&held_one.rule, change, memory)).then(|| held_one.text(held.run))
}

/// What is found of a user, in plain words.
struct Findings<'a> {
    email: &'a Email,
    roster: Vec<String>,
    user: Option<&'a ObservedUser>,
    next: String,
    managed: Option<String>,
}

impl<'a> Findings<'a> {
    fn new(
        email: &'a Email,
        prepared: &'a Prepared,
        state: &UserState,
        held: Option<&HeldIn>,
    ) -> Self {
        let user = match prepared.known.observed.get(email) {
            Some(Sighting::One(user)) => Some(user.as_ref()),
            Some(Sighting::Several(_)) | None => None,
        };
        let managed = state.managed.as_ref().map(|managed| {
            let since = managed.since.to_rfc3339_opts(SecondsFormat::Secs, true);
            match managed.missing_since {
                None => format!("managed since {since}"),
                Some(missing) => format!(
                    "managed since {since}, missing from the roster since {}",
                    missing.to_rfc3339_opts(SecondsFormat::Secs, true)
                ),
            }
        });
        Self {
            email,
            roster: roster(email, prepared),
            user,
            next: next(email, prepared, state, held),
            managed,
        }
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = format!("{}\n", self.email);
        match self.roster.is_empty() {
            true => writeln!(text, "roster: does not name them")?,
            false => self
                .roster
                .iter()
                .try_for_each(|line| writeln!(text, "roster: {line}"))?,
        }
        match self.user {
            None => writeln!(text, "omni: not one user of this email")?,
            Some(user) => {
                let active = if user.active { "active" } else { "inactive" };
                writeln!(
                    text,
                    "omni: '{}', {active}, id {}",
                    Visible(&user.display_name),
                    user.id
                )?;
                for (name, value) in &user.attributes {
                    writeln!(text, "    {name}: {value}")?;
                }
            }
        }
        self.managed
            .iter()
            .try_for_each(|managed| writeln!(text, "journal: {managed}"))?;
        writeln!(text, "next: {}", self.next)?;
        Ok(text)
    }
}

/// Where the roster names a user, and what is wrong there.
fn roster(email: &Email, prepared: &Prepared) -> Vec<String> {
    let desired = &prepared.desired;
    let entry = desired
        .users
        .get(email)
        .map(|entry| entry.place.to_string());
    let about = desired
        .bad_rows
        .iter()
        .chain(&prepared.problems)
        .chain(&desired.notes);
    let about = about.filter(|problem| problem.email.as_ref() == Some(email));
    entry
        .into_iter()
        .chain(about.map(ToString::to_string))
        .collect()
}

/// What would be done, or why not.
fn next(email: &Email, prepared: &Prepared, state: &UserState, held: Option<&HeldIn>) -> String {
    let find = |changes: &'_ [Change]| {
        changes
            .iter()
            .find(|change| change.email == *email)
            .cloned()
    };
    let verdict = &prepared.verdict;
    if prepared.ambiguous.contains(email) {
        return "nothing: several users in Omni answer to this email".into();
    }
    if let Some(place) = prepared.desired.frozen.get(email) {
        return format!("nothing: frozen, because of {place}");
    }
    if prepared
        .problems
        .iter()
        .any(|problem| problem.email.as_ref() == Some(email))
    {
        return "nothing: they can't be made, see above".into();
    }
    if let Some(change) = find(verdict.passed()) {
        let text = render::change_text(&change);
        return match held.and_then(|held| held_before(held, &change, &prepared.memory)) {
            Some(why) => format!("held: {why}\n{}", text.trim_end()),
            None => format!("a run would\n{}", text.trim_end()),
        };
    }
    for (held, changes) in verdict.held() {
        if let Some(change) = find(changes) {
            return format!(
                "held by policy.{} ({}): {}",
                held.rule,
                held.why,
                change.kind()
            );
        }
    }
    if let Some(change) = find(verdict.protected()) {
        return format!(
            "nothing: protected by policy.protect from {}",
            change.kind()
        );
    }
    if find(verdict.quarantined()).is_some() {
        let until = state.quarantined.as_ref().map(|quarantined| {
            let until = quarantined.until.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!(" until {until}, since: {}", quarantined.reason)
        });
        return format!("nothing: in quarantine{}", until.unwrap_or_default());
    }
    let withheld = prepared
        .withheld
        .iter()
        .find(|withheld| withheld.emails.contains(email));
    let named = prepared.desired.users.contains_key(email);
    let otherwise = if named {
        "nothing to do"
    } else {
        "nothing: policy.prune leaves them"
    };
    withheld.map_or_else(|| otherwise.into(), |one| format!("nothing: {}", one.why))
}

fn user_doc(user: &ObservedUser) -> serde_json::Value {
    let values = user
        .attributes
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), json!(value)));
    json!({
        "id": user.id.as_str(),
        "email": user.email.as_str(),
        "display_name": user.display_name,
        "active": user.active,
        "attributes": values.collect::<serde_json::Map<_, _>>(),
    })
}
