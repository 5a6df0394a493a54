//! Everything of a run that only reads: definitions, roster, listing, plan and verdict.

use super::plan::Withheld;
use super::{
    Applied, Change, Counts, Kind, Memory, Outcome, Plan, Roster, RunError, RunOutcome, Verdict,
    rule,
};
use crate::desired::{self, Desired, Fingerprint, Problem};
use crate::omni::{self, Definitions, Observed, Reader};
use crate::settings::{Prune, Settings};
use crate::user::{Email, Schema};
use std::path::PathBuf;

/// Which roster a run is about.
#[derive(Clone, Debug)]
pub struct Target {
    /// A CSV file, or a folder of them.
    pub path: PathBuf,
    /// Whether it is `source.path`; another one never prunes and makes nobody managed.
    pub is_source: bool,
    /// The content that the watcher saw standing still.
    pub known: Option<Fingerprint>,
}

/// What a run would do, and all that it was found from.
#[derive(Debug)]
pub struct Prepared {
    /// Omni's attribute definitions, or that they can't be had.
    pub schema: Schema,
    /// The roster.
    pub desired: Desired,
    /// Who is in Omni.
    pub observed: Observed,
    /// What is known of earlier runs.
    pub memory: Memory,
    /// What may be carried out, and what not.
    pub verdict: Verdict,
    /// What was needed, before the guard.
    pub drift: Counts,
    /// Rows that are fine and can't be carried out as Omni is now.
    pub problems: Vec<Problem>,
    /// Emails that several users answer to.
    pub ambiguous: Vec<Email>,
    /// Users named by the roster for whom nothing is to be done.
    pub unchanged: usize,
    /// Users in Omni whom the roster does not name and whom no change is about.
    pub unnamed: usize,
    /// Why what the roster asks for is not planned.
    pub withheld: Vec<Withheld>,
    /// What a person should know though nothing is wrong.
    pub warnings: Vec<String>,
}

/// What a run sees before it plans.
#[derive(Debug)]
pub struct Seen {
    /// Omni's attribute definitions, or that they can't be had.
    pub schema: Schema,
    /// The roster.
    pub desired: Desired,
    /// Who is in Omni.
    pub observed: Observed,
    warnings: Vec<String>,
}

/// Whom to look for in Omni.
#[derive(Clone, Copy, Debug)]
pub enum Whom<'a> {
    /// All users.
    Everybody,
    /// One user, which takes one request. What is planned of others then is of no use.
    One(&'a Email),
}

/// Reads definitions, roster, and who is in Omni. It is given a reader, and so can't write.
///
/// # Errors
/// When the roster or the users can't be had.
pub async fn look(
    reader: &Reader,
    settings: &Settings,
    target: &Target,
    whom: Whom<'_>,
) -> Result<Seen, RunError> {
    let mut warnings = Vec::new();
    let schema = match reader.definitions().await? {
        Definitions::Known(schema) => schema,
        Definitions::Refused(status) => {
            warnings.push(format!(
                "Omni does not show its attribute definitions ({status}): columns and types are not \
                 checked, and values are compared as texts"
            ));
            Schema::unknown()
        }
    };
    let Target {
        path,
        is_source,
        known,
    } = target;
    let desired =
        desired::read_settled(&settings.source, path, *is_source, &schema, *known).await?;
    let observed = match whom {
        Whom::Everybody => omni::list(reader).await?,
        Whom::One(email) => omni::look_up(reader, email).await?,
    };
    Ok(Seen {
        schema,
        desired,
        observed,
        warnings,
    })
}

impl Prepared {
    /// Plans and rules on what was seen: no I/O.
    #[must_use]
    pub fn new(seen: Seen, memory: Memory, settings: &Settings) -> Self {
        let Seen {
            schema,
            desired,
            observed,
            mut warnings,
        } = seen;
        let policy = &settings.policy;
        let mut plan = Plan::new(&desired, &observed, &schema, &memory, policy);
        let problems = std::mem::take(&mut plan.problems);
        let ambiguous = std::mem::take(&mut plan.ambiguous);
        let withheld = std::mem::take(&mut plan.withheld);
        let unchanged = plan.unchanged;
        let drift = Counts::of(plan.changes.iter().map(Change::kind));
        warnings.extend(desired.notes.iter().map(ToString::to_string));
        warnings.extend(
            observed
                .doubt()
                .map(|why| format!("the listing does not add up: {why}")),
        );
        warnings.extend(left_inactive(&plan.left_inactive));
        warnings.extend(plan.renames());
        if policy.prune == Prune::All && !policy.prune_grace.is_zero() {
            warnings.push(
                "policy.prune = \"all\" with a policy.prune_grace removes managed users alone: of others \
                 it is not remembered since when they are missing"
                    .into(),
            );
        }
        let unnamed = unnamed(&desired, &observed, &plan);
        let verdict = rule(plan, observed.count(), desired.rows, &memory, policy);
        warnings.extend(set_apart(&verdict));
        Self {
            schema,
            desired,
            observed,
            memory,
            verdict,
            drift,
            problems,
            ambiguous,
            unchanged,
            unnamed,
            withheld,
            warnings,
        }
    }
}

fn unnamed(desired: &Desired, observed: &Observed, plan: &Plan) -> usize {
    let is_named = |email| desired.users.contains_key(email) || desired.frozen.contains_key(email);
    let users = observed
        .users()
        .filter(|user| !is_named(&user.email))
        .count();
    users
        - plan
            .changes
            .iter()
            .filter(|change| change.place.is_none())
            .count()
}

fn left_inactive(emails: &[Email]) -> Option<String> {
    (!emails.is_empty()).then(|| {
        format!(
            "{} upserted by the roster, inactive in Omni, and left so (policy.reactivate): {}",
            people(emails.len()),
            some(emails)
        )
    })
}

fn set_apart(verdict: &Verdict) -> impl Iterator<Item = String> {
    let said = |changes: &[Change], why: &str| {
        let emails: Vec<_> = changes.iter().map(|change| change.email.clone()).collect();
        (!emails.is_empty()).then(|| format!("{} {why}: {}", people(emails.len()), some(&emails)))
    };
    let protected = said(
        verdict.protected(),
        "protected by policy.protect and not removed",
    );
    let quarantined = said(
        verdict.quarantined(),
        "in quarantine, since what they need failed before, and tried again later",
    );
    protected.into_iter().chain(quarantined)
}

impl Prepared {
    /// Tells a run's outcome what was found.
    pub fn tell(&self, outcome: &mut RunOutcome) {
        outcome.roster = Some(Roster {
            rows: self.desired.rows,
            fingerprint: self.desired.fingerprint,
            bad_rows: self
                .desired
                .bad_rows
                .iter()
                .chain(&self.problems)
                .cloned()
                .collect(),
            rejected: self.desired.rejected.clone(),
        });
        outcome.users = Some(self.observed.count());
        outcome.drift = Some(self.drift);
        outcome.held = self
            .verdict
            .held()
            .iter()
            .map(|(held, _)| held.clone())
            .collect();
        outcome.warnings.extend(self.warnings.iter().cloned());
        outcome
            .withheld
            .extend(self.withheld.iter().map(ToString::to_string));
        outcome
            .applied
            .extend(self.ambiguous.iter().map(|email| Applied {
                email: email.clone(),
                kind: Kind::Update,
                outcome: Outcome::Failed,
                detail:
                    "several users in Omni answer to this email; none of them is touched".into(),
                refused: false,
            }));
    }
}

fn people(count: usize) -> String {
    if count == 1 {
        "1 user is".into()
    } else {
        format!("{count} users are")
    }
}

/// The first few, and how many more.
fn some(emails: &[Email]) -> String {
    const SHOWN: usize = 5;
    let mut text = emails
        .iter()
        .take(SHOWN)
        .map(Email::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if emails.len() > SHOWN {
        text.push_str(&format!(" and {} more", emails.len() - SHOWN));
    }
    text
}
