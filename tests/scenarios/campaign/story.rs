//! Random stories: who is in Omni, the rosters that come one after the other, and what goes wrong
//! meanwhile. The same seed tells the same story.

use super::limits::Limits;
use super::roster::{COLUMNS, File, Flaw, LIST, NUMBER, Op, Row, Sheet};
use fastrand::Rng;
use omni_user_sync::model::Trigger;
use omni_user_sync::sandbox::{Filter, PatchAnswer, What, When};
use serde_json::{Value, json};
use std::time::Duration;

/// An address that the settings protect.
pub const BOSS: &str = "boss@x.co";
/// A key that is only used once the others are revoked.
pub const SPARE: &str = "spare-key";

#[derive(Clone, Debug)]
pub struct Story {
    pub settings: Vec<(&'static str, String)>,
    pub stand_in: StandIn,
    pub policy: Policy,
    pub users: Vec<Value>,
    pub rounds: Vec<Round>,
}

#[derive(Clone, Debug)]
pub struct StandIn {
    pub per_minute: u32,
    pub keys: Vec<String>,
    pub page_size: usize,
    pub filter: Filter,
    pub patch_answer: PatchAnswer,
}

/// The settings that say who may be changed how.
#[derive(Clone, Debug)]
pub struct Policy {
    pub prune: &'static str,
    pub deactivates: bool,
    pub reactivates: bool,
    pub keeps_blanks: bool,
    pub puts: bool,
    pub limits: Limits,
}

/// A roster, and what happens while it is the one.
#[derive(Clone, Debug)]
pub struct Round {
    pub file: File,
    pub runs: Vec<Run>,
    pub troubles: Vec<Trouble>,
    /// Whether somebody approves what is held.
    pub approves: bool,
    /// By how many minutes the wall clock is found to be elsewhere after this.
    pub wall_jump: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub trigger: Trigger,
    /// A new process.
    pub restart: bool,
    /// Somebody looks at the plan before.
    pub plan: bool,
}

/// Something that goes wrong at a request of a round, counted from 1.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub at: u64,
    pub what: Wrong,
}

#[derive(Clone, Debug)]
pub enum Wrong {
    Fault {
        what: What,
        when: When,
        times: usize,
    },
    Outside(Outside),
    Revoked(usize),
    /// The machine stood still, or slept.
    Pause(Duration),
    Killed,
    Stopped,
    Superseded,
}

/// What somebody else does in Omni.
#[derive(Clone, Debug)]
pub enum Outside {
    Attribute(String, &'static str, Value),
    Name(String, String),
    Active(String, bool),
    Remove(String),
    Remake(String),
    Add(String),
}

const NAMES: [&str; 6] = ["Ada", "Boris", "Chidi", "Dana", "Emre", "Zoë, Dr."];

fn pick<'a, T>(random: &mut Rng, of: &'a [T]) -> &'a T {
    &of[random.usize(..of.len())]
}

fn chance(random: &mut Rng, of_100: u32) -> bool {
    random.u32(..100) < of_100
}

impl Story {
    pub fn new(seed: u64) -> Self {
        let random = &mut Rng::with_seed(seed);
        let policy = policy(random);
        let emails = emails(random);
        let stand_in = stand_in(random);
        let settings = settings(random, &policy, &stand_in);
        let users = users(random, &emails);
        let mut sheet = sheet(random, &emails);
        let count = random.usize(1..=3);
        let rounds = (0..count)
            .map(|at| {
                change(random, &mut sheet, &emails);
                let is_last = at + 1 == count;
                round(random, &sheet, &emails, &policy, &stand_in, is_last)
            })
            .collect();
        Self {
            settings,
            stand_in,
            policy,
            users,
            rounds,
        }
    }

    /// The same with one thing less, in each way: what a failure does not need is left out.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for at in 0..self.rounds.len() {
            if self.rounds.len() > 1 && at + 1 < self.rounds.len() {
                let mut less = self.clone();
                less.rounds.remove(at);
                all.push(less);
            }
            for trouble in 0..self.rounds[at].troubles.len() {
                let mut less = self.clone();
                less.rounds[at].troubles.remove(trouble);
                all.push(less);
            }
            for run in 1..self.rounds[at].runs.len() {
                let mut less = self.clone();
                less.rounds[at].runs.remove(run);
                all.push(less);
            }
            if let File::Sheet(sheet) = &self.rounds[at].file {
                for row in (0..sheet.rows.len()).rev() {
                    let mut less = self.clone();
                    if let File::Sheet(sheet) = &mut less.rounds[at].file {
                        sheet.rows.remove(row);
                    }
                    if sheet.rows.len() > 1 {
                        all.push(less);
                    }
                }
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

fn policy(random: &mut Rng) -> Policy {
    let prune = *pick(random, &["never", "managed", "all"]);
    Policy {
        prune,
        deactivates: chance(random, 30),
        reactivates: chance(random, 30),
        keeps_blanks: chance(random, 30),
        puts: chance(random, 15),
        limits: Limits::new(random),
    }
}

fn stand_in(random: &mut Rng) -> StandIn {
    let keys = random.usize(1..=3);
    StandIn {
        per_minute: if chance(random, 25) { 60 } else { 10_000 },
        keys: (0..keys).map(|key| format!("key-{key}")).collect(),
        page_size: *pick(random, &[3, 5, 8, 100]),
        filter: *pick(
            random,
            &[
                Filter::AnyCase,
                Filter::AnyCase,
                Filter::ExactCase,
                Filter::Ignored,
            ],
        ),
        patch_answer: *pick(random, &[PatchAnswer::User, PatchAnswer::Empty]),
    }
}

fn settings(random: &mut Rng, policy: &Policy, stand_in: &StandIn) -> Vec<(&'static str, String)> {
    let word = |yes: bool, a: &str, b: &str| if yes { a } else { b }.to_owned();
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
        ("policy.protect", BOSS.to_owned()),
        (
            "omni.max_in_flight",
            pick(random, &["1", "2", "4", "8"]).to_string(),
        ),
        ("omni.requests_per_minute", stand_in.per_minute.to_string()),
        ("source.reports", String::new()),
    ];
    settings.extend(policy.limits.settings());
    settings
}

fn emails(random: &mut Rng) -> Vec<String> {
    let mut emails: Vec<_> = (0..random.usize(4..=16))
        .map(|n| format!("u{n:02}@x.co"))
        .collect();
    emails.push(BOSS.to_owned());
    emails
}

fn value(random: &mut Rng, column: usize) -> Value {
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

fn users(random: &mut Rng, emails: &[String]) -> Vec<Value> {
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
        if chance(random, 2) {
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
        "groups": [{ "display": "Analysts", "value": "g1" }],
        "urn:omni:params:1.0:UserAttribute": attributes,
    })
}

fn row(random: &mut Rng, email: &str, columns: &[usize], flawed: bool) -> Row {
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
        flaw,
        loud: chance(random, 8),
    }
}

fn sheet(random: &mut Rng, emails: &[String]) -> Sheet {
    let columns: Vec<_> = (0..COLUMNS.len()).filter(|_| chance(random, 55)).collect();
    let mut rows = Vec::new();
    for email in emails {
        if chance(random, 75) {
            rows.push(row(random, email, &columns, false));
        }
    }
    if rows.is_empty() {
        rows.push(row(random, &emails[0], &columns, false));
    }
    Sheet { columns, rows }
}

/// Another roster of the same people: some rows are other ones, come, go, or are bad.
fn change(random: &mut Rng, sheet: &mut Sheet, emails: &[String]) {
    let flawed = chance(random, 30);
    let leaves = if chance(random, 15) { 60 } else { 8 };
    let mut rows = Vec::new();
    for email in emails {
        let before = sheet.rows.iter().find(|row| row.email == *email);
        match before {
            Some(_) if chance(random, leaves) => {}
            Some(row) if row.flaw.is_none() && !chance(random, 30) => rows.push(row.clone()),
            None if !chance(random, 20) => {}
            _ => rows.push(row(random, email, &sheet.columns, flawed)),
        }
    }
    if rows.is_empty() {
        rows.push(row(random, &emails[0], &sheet.columns, false));
    }
    sheet.rows = rows;
}

fn round(
    random: &mut Rng,
    sheet: &Sheet,
    emails: &[String],
    policy: &Policy,
    stand_in: &StandIn,
    is_last: bool,
) -> Round {
    let file = match random.u32(..40) {
        0 if !is_last => File::Gone,
        1 if !is_last => File::Empty,
        2 if !is_last => File::Header,
        3 if !is_last => File::Column(sheet.clone()),
        4 if !is_last => File::Quote(sheet.clone()),
        _ => File::Sheet(sheet.clone()),
    };
    let triggers = [
        Trigger::Schedule,
        Trigger::Schedule,
        Trigger::File,
        Trigger::Command,
    ];
    let runs = (0..random.usize(1..=2))
        .map(|_| Run {
            trigger: *pick(random, &triggers),
            restart: chance(random, 35),
            plan: chance(random, 10),
        })
        .collect();
    let troubles = (0..random.usize(..=7))
        .map(|_| Trouble {
            at: random.u64(1..=30).min(random.u64(1..=20)),
            what: wrong(random, emails, policy, stand_in),
        })
        .collect();
    Round {
        file,
        runs,
        troubles,
        approves: chance(random, 30),
        wall_jump: if chance(random, 10) {
            random.i64(-120..=120)
        } else {
            0
        },
    }
}

fn wrong(random: &mut Rng, emails: &[String], policy: &Policy, stand_in: &StandIn) -> Wrong {
    match random.u32(..100) {
        0..60 => fault(random),
        60..88 => Wrong::Outside(outside(random, emails, policy)),
        88..91 => Wrong::Revoked(random.usize(..stand_in.keys.len())),
        91..93 => Wrong::Pause(Duration::from_secs(random.u64(1..600))),
        93..97 => Wrong::Killed,
        97..98 => Wrong::Stopped,
        _ => Wrong::Superseded,
    }
}

/// What a fault may be for any request.
fn fault(random: &mut Rng) -> Wrong {
    let long = Duration::from_secs(*pick(random, &[1, 20, 45]));
    let retry_after = *pick(random, &[None, None, Some(0), Some(1), Some(7)]);
    let status = |code| What::Status {
        code,
        retry_after,
        body: None,
    };
    let any = [
        status(429),
        status(*pick(random, &[500, 502, 503, 504, 408])),
        What::Html {
            code: *pick(random, &[200, 502, 403]),
        },
        What::Redirect {
            to: "https://elsewhere.example/".to_owned(),
        },
        What::Reset,
        What::LostReply,
        What::CutJson,
        What::Hang(long),
        What::Late(long),
        What::SlowBody(long),
        What::IgnoreWrite,
        What::SkipUser,
        What::RepeatUser,
        What::TotalOff(random.i64(-3..=3)),
    ];
    let writes = ["POST", "PATCH", "PUT", "DELETE"];
    let method = random.bool().then(|| pick(random, &writes).to_string());
    let refused = What::Status {
        code: *pick(random, &[400, 403, 409, 422]),
        retry_after: None,
        body: None,
    };
    let (what, method) = match method {
        Some(method) if chance(random, 25) => (refused, Some(method)),
        method => (pick(random, &any).clone(), method),
    };
    Wrong::Fault {
        what,
        when: When {
            method,
            ..When::default()
        },
        times: *pick(random, &[1, 1, 1, 2, 3, 6, 25]),
    }
}

fn outside(random: &mut Rng, emails: &[String], policy: &Policy) -> Outside {
    let email = pick(random, emails).clone();
    let column = random.usize(..COLUMNS.len());
    // A PUT sends the user as read right before: what changes in between is put back, which is why
    // updates are PATCHes unless told otherwise (docs/omni.md).
    match random.u32(if policy.puts { 60 } else { 0 }..100) {
        0..35 => Outside::Attribute(email, COLUMNS[column], value(random, column)),
        35..45 => Outside::Name(email, (*pick(random, &NAMES)).to_owned()),
        45..60 => Outside::Active(email, random.bool()),
        60..75 => Outside::Remove(email),
        75..90 => Outside::Remake(email),
        _ => Outside::Add(format!("new{}@y.co", random.u32(..9))),
    }
}
