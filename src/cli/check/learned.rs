//! What the state database adds to the check: what earlier runs have seen of Omni, and probes have learned.

use crate::model::{Desired, ProbeUser, Readings, Removal, Schema};
use crate::plan::{observed_lints, protect_warning, settle_leavers};
use crate::probe;
use crate::run::{ObservationCache, verified_per_run};
use crate::settings::Settings;
use crate::util::text::{about, plural};
use chrono::Utc;

/// What is known from the state database.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// What probes have learned.
    pub(super) readings: Readings,
    pub(super) warnings: Vec<String>,
}

impl Learned {
    /// Loads it, and adds the lints that compare the roster with the users of earlier runs.
    pub(super) async fn load(
        settings: &Settings,
        schema: &Schema,
        roster: Option<&mut Desired>,
    ) -> Self {
        let Some(state) = super::open_state(settings) else {
            return Self::default();
        };
        let readings = state.readings().await.unwrap_or_default();
        let mut warnings: Vec<_> = deactivation_warning(settings, &readings)
            .into_iter()
            .collect();
        if let Ok(Some(user)) = state.probe_user().await {
            warnings.push(probe_warning(&user));
        }
        if let Some(cache) = ObservationCache::stored(&state).await {
            warnings.extend(protect_warning(&cache.observed, &settings.policy));
            if let (Some(roster), Ok(mut memory)) = (roster, state.memory(Utc::now()).await) {
                memory.today = settings.schedule.day_at(memory.now);
                let shows_attributes = readings
                    .lists_carry_attributes
                    .unwrap_or(cache.observed.shows_attributes());
                let moves = readings.last_modified_moves;
                let moves = moves.or(cache.observed.last_modified_moves());
                if moves == Some(false) && !shows_attributes {
                    warnings.extend(verification_warning(settings, roster));
                }
                settle_leavers(roster, &memory);
                let lints =
                    observed_lints(roster, &cache.observed, schema, &memory, &settings.policy);
                roster.lints.extend(lints);
            }
        }
        Self { readings, warnings }
    }
}

/// The warning about the user and the group that an interrupted probe may have left in Omni.
fn probe_warning(user: &ProbeUser) -> String {
    let email = &user.email;
    let group = probe::group_name(user);
    let group = group.map_or_else(String::new, |name| format!(", and the group {name}"));
    format!(
        "an interrupted probe may have left the user {email} in Omni{group}; the next `check --probe EMAIL` deletes \
         them"
    )
}

fn deactivation_warning(settings: &Settings, readings: &Readings) -> Option<String> {
    let is_final = readings.inactive_revokes == Some(true);
    (is_final && settings.policy.removal == Removal::Deactivate).then(|| {
        "policy.removal = \"deactivate\": in this organisation a deactivation can't be reversed; an upsert later \
         creates a new user"
            .to_owned()
    })
}

/// How long it takes until each user of the roster was read again.
fn verification_warning(settings: &Settings, roster: &Desired) -> Option<String> {
    let users = roster.named().count();
    let part = verified_per_run(users).min(users);
    let runs = users.div_ceil(part.max(1));
    let times = settings.schedule.times.as_ref();
    let interval = times.and_then(|times| times.interval_after(Utc::now()));
    let interval = interval.and_then(|interval| interval.to_std().ok());
    let time = interval.and_then(|interval| interval.checked_mul(u32::try_from(runs).ok()?));
    let time = time.map_or_else(String::new, |time| {
        format!(", {} by the schedule", about(time))
    });
    (users > 0).then(|| {
        format!(
            "Omni does not show when attributes change, so runs notice changes that others make only when they read \
             the users again: {part} of {users} in each run; a full verification takes {}{time}",
            plural(runs, "run")
        )
    })
}
