//! Schedules of a scenario: their owners, the successors, and changes that others make.

use crate::scenario::{PROTECTED, chance, pick};
use crate::trouble::fault_of_kind;
use fastrand::Rng;
use omni_user_sync::sandbox::{Endpoint, Options, Org, ScheduleOwners, What, When};
use std::fmt;

const SCHEDULES_PATH: &str = "/api/v1/schedules";
const TOKENS_PATH: &str = "/api/v1/api-keys";

/// `policy.owned_schedules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnedPolicy {
    Hold,
    Transfer,
    Ignore,
}

/// The schedules at the start, and the settings about them.
#[derive(Clone, Debug)]
pub(crate) struct Schedules {
    pub(crate) policy: OwnedPolicy,
    pub(crate) transfer_to: Option<String>,
    /// Whether the roster has the column `successor`.
    pub(crate) has_column: bool,
    /// The owners at the start, each once for each schedule.
    owners: Vec<String>,
    /// Users who may be successors.
    emails: Vec<String>,
}

/// A change of schedules that others make in Omni.
#[derive(Clone, Debug)]
pub(crate) enum OutsideSchedule {
    Add(String),
    /// The schedule at this position, modulo their number.
    Remove(usize),
    Transfer(usize, String),
}

/// As in the settings.
impl fmt::Display for OwnedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hold => "hold",
            Self::Transfer => "transfer",
            Self::Ignore => "ignore",
        })
    }
}

impl Schedules {
    pub(crate) fn drawn(random: &mut Rng, emails: &[String]) -> Self {
        use OwnedPolicy::{Hold, Ignore, Transfer};
        let owners = emails.iter().flat_map(|email| {
            let count = *pick(random, &[0, 0, 1, 1, 1, 2, 3]);
            std::iter::repeat_n(email.clone(), count)
        });
        Self {
            owners: owners.collect(),
            emails: emails.to_vec(),
            policy: *pick(
                random,
                &[
                    Hold, Hold, Transfer, Transfer, Transfer, Transfer, Transfer, Ignore,
                ],
            ),
            transfer_to: match random.u32(..100) {
                0..40 => Some(PROTECTED.to_owned()),
                40..60 => Some(pick(random, emails).clone()),
                _ => None,
            },
            has_column: chance(random, 70),
        }
    }

    pub(crate) fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("policy.owned_schedules", self.policy.to_string()),
            (
                "policy.transfer_to",
                self.transfer_to.clone().unwrap_or_default(),
            ),
        ]
    }

    /// Draws how Omni shows what users own.
    pub(crate) fn draw_options(random: &mut Rng, options: Options) -> Options {
        use Endpoint::{Forbidden, Missing, Served};
        use ScheduleOwners::{Known, OtherIds, Unfiltered, Unnamed};
        let mostly = [Served, Served, Served, Served, Served, Forbidden, Missing];
        Options {
            schedules: *pick(random, &mostly),
            personal_tokens: *pick(random, &mostly),
            schedule_owners: *pick(random, &[Known, Known, Unfiltered, Unnamed, OtherIds]),
            ..options
        }
    }

    /// Adds the schedules of those owners that exist.
    pub(crate) fn begin(&self, org: &Org) {
        for owner in &self.owners {
            add(org, owner);
        }
    }

    /// A cell of the column `successor`, sometimes blank.
    pub(crate) fn cell(&self, random: &mut Rng) -> String {
        match random.u32(..100) {
            0..40 => pick(random, &self.emails).clone(),
            40..75 => PROTECTED.to_owned(),
            75..80 => "nobody@x.co".to_owned(),
            _ => String::new(),
        }
    }

    pub(crate) fn outside(random: &mut Rng, emails: &[String]) -> OutsideSchedule {
        let email = pick(random, emails).clone();
        match random.u32(..100) {
            0..60 => OutsideSchedule::Add(email),
            60..80 => OutsideSchedule::Remove(random.usize(..100)),
            _ => OutsideSchedule::Transfer(random.usize(..100), email),
        }
    }

    /// A fault of requests about what users own.
    pub(crate) fn fault(random: &mut Rng) -> (What, When) {
        let codes = [400, 403, 404, 409, 422, 500, 503];
        let others = [
            What::LostReply,
            What::CutJson,
            What::Reset,
            What::IgnoreWrite,
            What::Html { code: 200 },
        ];
        let what = fault_of_kind(random, (&codes, 45), 10, &others);
        let paths = [SCHEDULES_PATH, SCHEDULES_PATH, SCHEDULES_PATH, TOKENS_PATH];
        let when = When {
            method: chance(random, 70).then(|| pick(random, &["GET", "PUT"]).to_string()),
            path: Some((*pick(random, &paths)).to_owned()),
            ..When::default()
        };
        (what, when)
    }
}

/// Whether a path is about schedules.
pub(crate) fn is_of_schedules(path: &str) -> bool {
    path.starts_with(SCHEDULES_PATH)
}

/// The id of the schedule that a request transfers.
pub(crate) fn transferred(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(SCHEDULES_PATH)?.strip_prefix('/')?;
    rest.strip_suffix("/transfer-ownership")
}

fn add(org: &Org, owner: &str) {
    if org.user(owner).is_some() {
        let number = org.history().len();
        org.add_schedule(owner, &format!("report {number}"), Some(2));
    }
}

impl OutsideSchedule {
    pub(crate) fn act(&self, org: &Org) {
        let all = org.schedules();
        let nth = |at: usize| all.get(at % all.len().max(1)).map(|one| one.0.as_str());
        match self {
            Self::Add(owner) => add(org, owner),
            Self::Remove(at) => nth(*at).into_iter().for_each(|id| org.remove_schedule(id)),
            Self::Transfer(at, to) if org.user(to).is_some() => {
                nth(*at)
                    .into_iter()
                    .for_each(|id| org.transfer_schedule(id, to));
            }
            Self::Transfer(..) => {}
        }
    }
}
