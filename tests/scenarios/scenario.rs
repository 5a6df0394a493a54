//! Random scenarios: the users in Omni, and a sequence of steps. The same seed gives the same scenario.

use crate::access::{Access, GROUPS, GroupsFile};
use crate::invariants::ATTRIBUTES;
use crate::limits::Limits;
use crate::outside::Outside;
use crate::readings::draw_options;
use crate::roles::{Roles, RolesFile};
use crate::roster::{COLUMNS, FileState, Flaw, LIST, NUMBER, Op, Roster, Row};
use crate::schedules::{OwnedPolicy, Schedules};
use crate::trouble::{Trouble, trouble};
use fastrand::Rng;
use omni_user_sync::model::Trigger;
use omni_user_sync::sandbox::{Endpoint, Ids, Options, OtherIds, ScheduleOwners};
use serde_json::{Value, json};

/// A user that the settings protect.
pub(crate) const PROTECTED: &str = "boss@x.co";
/// A key that is only used once the others are revoked.
pub(crate) const SPARE_KEY: &str = "spare-key";

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    pub(crate) options: Options,
    pub(crate) policy: ScenarioPolicy,
    pub(crate) max_in_flight: usize,
    pub(crate) users: Vec<Value>,
    /// `None` if the scenario has no groups.
    pub(crate) access: Option<Access>,
    /// `None` if the scenario has no roles.
    pub(crate) roles: Option<Roles>,
    /// `None` if the scenario has no schedules.
    pub(crate) schedules: Option<Schedules>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything may go wrong.
    Faults,
    /// Nothing goes wrong but kills, so that the reference knows the result of each run.
    NoFaults,
}

/// The settings that decide which users may be changed, and how.
#[derive(Clone, Debug)]
pub(crate) struct ScenarioPolicy {
    pub(crate) prune: &'static str,
    pub(crate) deactivates: bool,
    pub(crate) reactivates: bool,
    pub(crate) keeps_blanks: bool,
    pub(crate) puts: bool,
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Roster(Roster),
    File(FileState),
    /// `source.groups`.
    GroupsFile(GroupsFile),
    /// `source.roles`.
    RolesFile(RolesFile),
    Outside(Outside),
    /// At the request with this number from here, counted from 1.
    Trouble(u64, Trouble),
    Run(Trigger),
    Plan,
    Restart,
    /// Approves what the last run held.
    Approve,
    /// The wall clock jumps by this number of minutes.
    ClockJump(i64),
}

pub(crate) const NAMES: [&str; 6] = ["Ada", "Boris", "Chidi", "Dana", "Emre", "Zoë, Dr."];

pub(crate) fn pick<'a, T>(random: &mut Rng, of: &'a [T]) -> &'a T {
    &of[random.usize(..of.len())]
}

pub(crate) fn chance(random: &mut Rng, percent: u32) -> bool {
    random.u32(..100) < percent
}

impl Scenario {
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        let random = &mut Rng::with_seed(seed);
        let emails = emails(random);
        let mut scenario = Self {
            kind,
            policy: policy(random, kind),
            options: draw_options(random, kind),
            max_in_flight: *pick(random, &[1, 2, 4, 8]),
            users: users(random, kind, &emails),
            access: chance(random, 60).then(|| Access::drawn(random, &emails)),
            roles: None,
            schedules: None,
            steps: Vec::new(),
        };
        let access = scenario.access.as_ref();
        scenario.roles = chance(random, 50).then(|| Roles::drawn(random, kind, &emails, access));
        // The reference knows no schedules.
        if kind == Kind::Faults && chance(random, 60) {
            scenario.schedules = Some(Schedules::drawn(random, &emails));
            scenario.options = Schedules::draw_options(random, scenario.options);
        }
        let mut roster = roster(random, &emails, &scenario);
        scenario.steps.push(Step::Roster(roster.clone()));
        let groups = scenario.access.as_ref();
        let groups = groups.and_then(|access| access.file.clone());
        let roles = scenario.roles.as_ref().map(|roles| roles.file.clone());
        scenario.steps.extend(groups.map(Step::GroupsFile));
        scenario.steps.extend(roles.map(Step::RolesFile));
        let count = match kind {
            Kind::Faults => random.usize(6..24),
            Kind::NoFaults => random.usize(8..40),
        };
        for _ in 0..count {
            let step = step(random, &scenario, &mut roster, &emails);
            scenario.steps.push(step);
        }
        scenario
    }

    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let policy = &self.policy;
        let word = |yes: bool, a: &str, b: &str| if yes { a } else { b }.to_owned();
        let limit = self.options.requests_per_minute;
        let mut settings = vec![
            ("policy.prune", policy.prune.to_owned()),
            (
                "policy.removal",
                word(policy.deactivates, "deactivate", "delete"),
            ),
            ("policy.reactivate", policy.reactivates.to_string()),
            (
                "source.blank_cells",
                word(policy.keeps_blanks, "keep", "clear"),
            ),
            ("omni.update_method", word(policy.puts, "put", "patch")),
            ("policy.protect", PROTECTED.to_owned()),
            ("omni.max_in_flight", self.max_in_flight.to_string()),
            ("omni.requests_per_minute", limit.to_string()),
            ("source.reports", String::new()),
        ];
        if self.kind == Kind::NoFaults {
            // Shortly before a due time the daemon may hardly read, and this time is real.
            settings.push(("schedule.cron", String::new()));
        }
        settings.extend(policy.limits.settings());
        settings.extend(self.access.iter().flat_map(Access::settings));
        settings.extend(self.roles.iter().flat_map(Roles::settings));
        settings.extend(self.schedules.iter().flat_map(Schedules::settings));
        settings
    }

    pub(crate) fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.steps.iter().filter_map(|step| match step {
            Step::Trouble(_, trouble) => Some(trouble),
            _ => None,
        })
    }

    /// Whether users may be removed. If the list of schedules hides the owners, no user who may own some is removed.
    pub(crate) fn may_remove(&self) -> bool {
        let is_hidden = self.options.schedule_owners == ScheduleOwners::OtherIds;
        let is_served = self.options.schedules == Endpoint::Served;
        let ignores = |one: &Schedules| one.policy == OwnedPolicy::Ignore;
        !is_hidden || !is_served || self.schedules.as_ref().is_none_or(ignores)
    }

    /// Whether Omni removes members from groups.
    pub(crate) fn may_leave(&self) -> bool {
        self.options.ids == Ids::Uuid || self.options.other_ids == OtherIds::Removed
    }

    /// The same scenario with one thing less, in each way.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for at in (1..self.steps.len()).rev() {
            let mut less = self.clone();
            less.steps.remove(at);
            all.push(less);
        }
        for at in 0..self.steps.len() {
            let Step::Roster(roster) = &self.steps[at] else {
                continue;
            };
            for row in (0..roster.rows.len())
                .rev()
                .filter(|_| roster.rows.len() > 1)
            {
                let mut fewer = roster.clone();
                fewer.rows.remove(row);
                let mut less = self.clone();
                less.steps[at] = Step::Roster(fewer);
                all.push(less);
            }
        }
        for at in 0..self.steps.len() {
            let Step::RolesFile(file) = &self.steps[at] else {
                continue;
            };
            for row in (0..file.rows.len()).rev() {
                let mut fewer = file.clone();
                fewer.rows.remove(row);
                let mut less = self.clone();
                less.steps[at] = Step::RolesFile(fewer);
                all.push(less);
            }
        }
        for user in 0..self.users.len() {
            let mut less = self.clone();
            less.users.remove(user);
            all.push(less);
        }
        all
    }
}

fn policy(random: &mut Rng, kind: Kind) -> ScenarioPolicy {
    let prune = *pick(random, &["never", "managed", "managed", "all"]);
    ScenarioPolicy {
        prune,
        deactivates: chance(random, 35),
        reactivates: chance(random, 40),
        keeps_blanks: chance(random, 30),
        puts: chance(random, 15),
        limits: match kind {
            Kind::Faults => Limits::new(random),
            Kind::NoFaults => Limits::new(random).of_removals(),
        },
    }
}

fn emails(random: &mut Rng) -> Vec<String> {
    let mut emails: Vec<_> = (0..random.usize(4..=16))
        .map(|n| format!("u{n:02}@x.co"))
        .collect();
    emails.push(PROTECTED.to_owned());
    emails
}

pub(crate) fn value(random: &mut Rng, column: usize) -> Value {
    match column {
        NUMBER => json!(pick(random, &["7", "7.0", "12.50", "-3"])),
        LIST => pick(
            random,
            &[json!(["north", "south"]), json!(["east"]), json!([])],
        )
        .clone(),
        _ => json!(pick(random, &["Sales", "Finance", "R&D, Labs", "gold"])),
    }
}

fn users(random: &mut Rng, kind: Kind, emails: &[String]) -> Vec<Value> {
    let strangers = (0..random.usize(0..6)).map(|n| format!("stranger{n}@y.co"));
    let all: Vec<_> = emails.iter().cloned().chain(strangers).collect();
    let mut users = Vec::new();
    for email in all {
        if !chance(random, 70) {
            continue;
        }
        let attributes: serde_json::Map<_, _> = COLUMNS
            .iter()
            .enumerate()
            .filter(|_| random.bool())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(at, name)| ((*name).to_owned(), value(random, at)))
            .collect();
        users.push(user(random, &email, attributes));
        // The reference knows one user for each email.
        if kind == Kind::Faults && chance(random, 2) {
            users.push(user(random, &email.to_uppercase(), serde_json::Map::new()));
        }
    }
    users
}

fn user(random: &mut Rng, email: &str, attributes: serde_json::Map<String, Value>) -> Value {
    json!({
        "userName": email,
        "displayName": pick(random, &NAMES),
        "active": !chance(random, 8),
        ATTRIBUTES: attributes,
    })
}

fn row(random: &mut Rng, email: &str, columns: &[usize], flawed: bool, scenario: &Scenario) -> Row {
    let op = *pick(
        random,
        &[
            Op::Upsert,
            Op::Upsert,
            Op::Upsert,
            Op::Upsert,
            Op::Upsert,
            Op::Delete,
            Op::Deactivate,
        ],
    );
    let mut flaw = (flawed && chance(random, 12)).then(|| {
        *pick(
            random,
            &[
                Flaw::Op,
                Flaw::Number,
                Flaw::Short,
                Flaw::Email,
                Flaw::Doubled,
            ],
        )
    });
    if flaw == Some(Flaw::Number) && (op != Op::Upsert || !columns.contains(&NUMBER)) {
        flaw = Some(Flaw::Op);
    }
    let text = |random: &mut Rng| pick(random, &["Sales", "Finance", "gold", "", " "]).to_string();
    let (access, schedules) = (scenario.access.as_ref(), scenario.schedules.as_ref());
    Row {
        op,
        email: email.to_owned(),
        name: pick(random, &["Ada", "Boris", "Chidi", "Dana", ""]).to_string(),
        cells: [
            text(random),
            pick(random, &["7", "7.0", "12.5", "", "0"]).to_string(),
            pick(
                random,
                &["[north,south]", "[south, north]", "[west]", "[]", ""],
            )
            .to_string(),
            text(random),
        ],
        groups: access.and_then(|access| access.cell(random, email)),
        successor: schedules.map_or_else(String::new, |schedules| schedules.cell(random)),
        flaw,
        is_upper_case: chance(random, 8),
    }
}

fn roster(random: &mut Rng, emails: &[String], scenario: &Scenario) -> Roster {
    let columns: Vec<_> = (0..COLUMNS.len()).filter(|_| chance(random, 55)).collect();
    let mut rows = Vec::new();
    for email in emails {
        if chance(random, 75) {
            rows.push(row(random, email, &columns, false, scenario));
        }
    }
    if rows.is_empty() {
        rows.push(row(random, &emails[0], &columns, false, scenario));
    }
    let (access, schedules) = (scenario.access.as_ref(), scenario.schedules.as_ref());
    Roster {
        columns,
        has_groups: access.is_some_and(|access| access.has_column),
        has_successor: schedules.is_some_and(|schedules| schedules.has_column),
        rows,
    }
}

/// Another roster with the same columns: some rows change, come, go, or become invalid.
fn edit(random: &mut Rng, roster: &mut Roster, emails: &[String], scenario: &Scenario) {
    let (changes, comes) = *pick(random, &[(5, 5), (30, 20)]);
    let leaves = *pick(random, &[1, 2, 8, 8, 8, 8, 60]);
    let flawed = chance(random, 30);
    let mut rows = Vec::new();
    for email in emails {
        let before = roster.rows.iter().find(|row| row.email == *email);
        match before {
            Some(_) if chance(random, leaves) => {}
            Some(row) if row.flaw.is_none() && !chance(random, changes) => rows.push(row.clone()),
            None if !chance(random, comes) => {}
            _ => rows.push(row(random, email, &roster.columns, flawed, scenario)),
        }
    }
    if rows.is_empty() {
        rows.push(row(random, &emails[0], &roster.columns, false, scenario));
    }
    if chance(random, 12) {
        // A group that all members leave.
        let group = *pick(random, &GROUPS);
        for cell in rows.iter_mut().filter_map(|row| row.groups.as_mut()) {
            cell.retain(|name| *name != group);
        }
    }
    roster.rows = rows;
}

fn step(random: &mut Rng, scenario: &Scenario, roster: &mut Roster, emails: &[String]) -> Step {
    let access = scenario.access.as_ref();
    if access.is_some() && chance(random, 15) {
        let file = scenario.steps.iter().rev().find_map(|step| match step {
            Step::GroupsFile(file) => Some(file.edited(random, emails)),
            _ => None,
        });
        return match file.filter(|_| random.bool()) {
            Some(file) => Step::GroupsFile(file),
            None => Step::Outside(Outside::Group(Access::outside(random, emails))),
        };
    }
    if let Some(roles) = scenario.roles.as_ref().filter(|_| chance(random, 22)) {
        let mut files = scenario.steps.iter().rev().filter_map(|step| match step {
            Step::RolesFile(file) => Some(file),
            _ => None,
        });
        let file = files.next().unwrap_or(&roles.file);
        return match chance(random, 65) {
            true => Step::RolesFile(file.edited(random, roles)),
            false => Step::Outside(Outside::Role(roles.outside(random, file))),
        };
    }
    if scenario.schedules.is_some() && chance(random, 10) {
        return Step::Outside(Outside::Schedule(Schedules::outside(random, emails)));
    }
    let weights = match scenario.kind {
        Kind::Faults => 165,
        Kind::NoFaults => 95,
    };
    match random.u32(..weights) {
        0..30 => Step::Run(*pick(
            random,
            &[
                Trigger::Schedule,
                Trigger::Schedule,
                Trigger::File,
                Trigger::File,
                Trigger::Command,
            ],
        )),
        30..54 => {
            edit(random, roster, emails, scenario);
            Step::Roster(roster.clone())
        }
        54..60 => Step::File(*pick(
            random,
            &[
                FileState::Whole,
                FileState::Whole,
                FileState::Whole,
                FileState::Gone,
                FileState::Empty,
                FileState::Header,
                FileState::UnknownColumn,
                FileState::OpenQuote,
            ],
        )),
        60..72 => Step::Outside(Outside::drawn(random, emails, &scenario.policy)),
        72..75 => Step::Plan,
        75..80 => Step::Restart,
        80..86 => Step::Approve,
        86..95 => Step::Trouble(random.u64(2..14), Trouble::Killed),
        95..98 => Step::ClockJump(random.i64(-120..=120)),
        _ => {
            let at = random.u64(1..=30).min(random.u64(1..=20));
            Step::Trouble(at, trouble(random, scenario, emails))
        }
    }
}
