//! Everything of a run that only reads: definitions, roster, listing, plan and verdict.

use super::observe::{ObservationCache, ObservationSource, ObserveRequest};
use super::{AppliedChange, Roster, RunError, RunOutcome};
use crate::model::{
    ChangeOutcome, Counts, Desired, Email, Fingerprint, Memory, Observed, Operation, Problem,
    Prune, Schema, UserMatch,
};
use crate::omni::{self, Reader};
use crate::plan::Blocked;
use crate::plan::{Change, Plan, Verdict, rule};
use crate::roster::{self, SourceError};
use crate::settings::{Settings, SettingsError};
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

impl Target {
    /// The roster of `source.path`; `known` is the content that the watcher saw standing still.
    ///
    /// # Errors
    /// When the settings name none.
    pub fn source(settings: &Settings, known: Option<Fingerprint>) -> Result<Self, SettingsError> {
        Ok(Self {
            path: settings.source.path()?.to_owned(),
            is_source: true,
            known,
        })
    }
}

/// What a run would do, and all that it was found from.
#[derive(Debug)]
pub struct Prepared {
    /// The roster.
    pub desired: Desired,
    /// Who is in Omni, and by which definitions.
    pub known: ObservationCache,
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
    /// Whether somebody goes and somebody comes under the same name: it may be one person, whom Omni has under the
    /// new address by now.
    pub has_renames: bool,
    /// Why what the roster asks for is not planned.
    pub withheld: Vec<Blocked>,
    /// What a person should know though nothing is wrong.
    pub warnings: Vec<String>,
}

/// What a run sees before it plans.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The roster.
    pub(super) desired: Desired,
    /// Who is in Omni.
    pub(super) known: ObservationCache,
    warnings: Vec<String>,
}

/// What to look for in Omni.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// Whoever the roster names, by the cheapest way.
    Named,
    /// All users.
    Everybody,
    /// One user, which takes one request. What is planned of others then is of no use.
    One(&'a Email),
}

/// Looks at the roster and at Omni. It has a reader, and so can't write.
pub(super) struct Look<'a> {
    pub(super) reader: Reader,
    pub(super) settings: &'a Settings,
    pub(super) target: &'a Target,
    /// Hears how many requests are still to come.
    pub(super) expect: &'a (dyn Fn(usize) + Sync),
}

impl Look<'_> {
    /// Definitions, roster, and who is in Omni; `kept` is what an earlier run left, if it may be used.
    pub(super) async fn look(
        &self,
        scope: Scope<'_>,
        kept: Option<ObservationCache>,
    ) -> Result<Snapshot, RunError> {
        let everybody = matches!(scope, Scope::Everybody);
        if let Some(mut kept) = kept {
            let desired = self.roster_by(&mut kept.schema).await?;
            let (known, how) = kept.again(self.question(&desired, everybody)).await?;
            return Ok(seen(desired, known, how));
        }
        let schema = self.definitions().await?;
        let desired = self.roster(&schema).await?;
        let (known, how) = match scope {
            Scope::One(email) => {
                let observed = omni::look_up(&self.reader, email).await?;
                (
                    ObservationCache::new(schema, observed),
                    ObservationSource::LookedUp,
                )
            }
            Scope::Named | Scope::Everybody => {
                ObservationCache::anew(schema, self.question(&desired, everybody)).await?
            }
        };
        Ok(seen(desired, known, how))
    }

    /// The roster by definitions that are kept. What is wrong with it by them may be right by those of
    /// now.
    async fn roster_by(&self, kept: &mut Schema) -> Result<Desired, RunError> {
        let read = self.roster(kept).await;
        let is_fine = |desired: &Desired| desired.problems().is_empty();
        let may_be_stale = match &read {
            Ok(desired) => !is_fine(desired),
            Err(error) => matches!(error, RunError::Source(SourceError::Rejected(_))),
        };
        if !may_be_stale {
            return read;
        }
        let now = self.definitions().await?;
        if now == *kept {
            return read;
        }
        *kept = now;
        self.roster(kept).await
    }

    async fn definitions(&self) -> Result<Schema, RunError> {
        Ok(self.reader.definitions().await?.into_schema())
    }

    async fn roster(&self, schema: &Schema) -> Result<Desired, RunError> {
        let Target {
            path,
            is_source,
            known,
        } = self.target;
        let source = &self.settings.source;
        let reading = roster::read_settled(source, path, *is_source, schema, *known);
        Ok(roster::unless_stopped(self.reader.stop(), reading).await?)
    }

    fn question<'q>(&'q self, desired: &'q Desired, everybody: bool) -> ObserveRequest<'q> {
        ObserveRequest {
            reader: &self.reader,
            desired,
            everybody,
            expect: self.expect,
        }
    }
}

fn seen(desired: Desired, known: ObservationCache, how: ObservationSource) -> Snapshot {
    tracing::info!(
        how = how.as_str(),
        users = known.observed.count(),
        age_seconds = known.age().as_secs(),
        "read who is in Omni"
    );
    let warnings = match known.schema.is_known() {
        true => None,
        false => Some(
            "Omni does not show its attribute definitions (403 or 404): columns and types are not \
             checked, and values are compared as texts"
                .to_owned(),
        ),
    };
    Snapshot {
        desired,
        known,
        warnings: warnings.into_iter().collect(),
    }
}

impl Prepared {
    /// Plans and rules on what was seen: no I/O.
    #[must_use]
    pub(super) fn new(seen: Snapshot, memory: Memory, settings: &Settings) -> Self {
        let Snapshot {
            desired,
            known,
            mut warnings,
        } = seen;
        let ObservationCache {
            schema, observed, ..
        } = &known;
        let policy = &settings.policy;
        let mut plan = Plan::new(&desired, observed, schema, &memory, policy);
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
        let renames = plan.renames();
        let has_renames = !renames.is_empty();
        warnings.extend(renames);
        warnings.extend(plan.lost().map(|lost| {
            lost + ": whom no other file names is missing from it now; put it back if that is not meant"
        }));
        if policy.prune == Prune::All && !policy.prune_grace.is_zero() {
            warnings.push(
                "policy.prune = \"all\" with a policy.prune_grace removes managed users alone: of others \
                 it is not remembered since when they are missing"
                    .into(),
            );
        }
        let unnamed = unnamed(&desired, observed, &plan);
        let verdict = rule(plan, observed.count(), desired.rows, &memory, policy);
        warnings.extend(set_apart(&verdict));
        Self {
            desired,
            known,
            memory,
            verdict,
            drift,
            problems,
            ambiguous,
            unchanged,
            unnamed,
            has_renames,
            withheld,
            warnings,
        }
    }
}

/// Whoever is in Omni, is not named by the roster, and is in no change: counted from all, since not
/// everybody needs to have been looked at.
fn unnamed(desired: &Desired, observed: &Observed, plan: &Plan) -> usize {
    let named = desired.users.keys().chain(desired.frozen.keys());
    let there = named.map(|email| match observed.get(email) {
        None => 0,
        Some(UserMatch::One(_)) => 1,
        Some(UserMatch::Several(count)) => *count,
    });
    let pruned = plan.changes.iter().filter(|change| change.place.is_none());
    let told_of = there.sum::<usize>() + pruned.count();
    observed.count().saturating_sub(told_of)
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
        outcome.users = Some(self.known.observed.count());
        outcome.drift = Some(self.drift);
        outcome.held = self
            .verdict
            .held()
            .iter()
            .map(|(held, _)| held.clone())
            .collect();
        outcome.quarantined = self.verdict.quarantined().len();
        outcome.warnings.extend(self.warnings.iter().cloned());
        outcome
            .withheld
            .extend(self.withheld.iter().map(ToString::to_string));
        outcome
            .applied
            .extend(self.ambiguous.iter().map(|email| AppliedChange {
                email: email.clone(),
                kind: Operation::Update,
                outcome: ChangeOutcome::Failed,
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
