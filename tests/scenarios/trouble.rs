//! Troubles of a scenario: faults of the mock server, changes by others while a run is under way, kills.

use crate::access::Access;
use crate::outside::Outside;
use crate::roles::Roles;
use crate::scenario::{Scenario, chance, pick};
use crate::schedules::Schedules;
use fastrand::Rng;
use omni_user_sync::sandbox::{What, When};
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    Fault {
        what: What,
        when: When,
        times: usize,
    },
    Outside(Outside),
    KeyRevoked(usize),
    /// The machine was suspended.
    Pause(Duration),
    Killed,
    Stopped,
    Superseded,
}

pub(crate) fn trouble(random: &mut Rng, scenario: &Scenario, emails: &[String]) -> Trouble {
    if scenario.access.is_some() && chance(random, 35) {
        let (what, when) = Access::fault(random);
        let times = *pick(random, &[1, 1, 2, 3, 8]);
        return match chance(random, 75) {
            true => Trouble::Fault { what, when, times },
            false => Trouble::Outside(Outside::Group(Access::outside(random, emails))),
        };
    }
    if let Some(roles) = scenario.roles.as_ref().filter(|_| chance(random, 30)) {
        let (what, when) = Roles::fault(random);
        let times = *pick(random, &[1, 1, 2, 3, 8]);
        return match chance(random, 70) {
            true => Trouble::Fault { what, when, times },
            false => Trouble::Outside(Outside::Role(roles.outside(random, &roles.file))),
        };
    }
    if scenario.schedules.is_some() && chance(random, 25) {
        let (what, when) = Schedules::fault(random);
        let times = *pick(random, &[1, 1, 2, 3, 8]);
        return match chance(random, 75) {
            true => Trouble::Fault { what, when, times },
            false => Trouble::Outside(Outside::Schedule(Schedules::outside(random, emails))),
        };
    }
    match random.u32(..96) {
        0..60 => fault(random),
        60..88 => Trouble::Outside(Outside::drawn(random, emails, &scenario.policy)),
        88..91 => Trouble::KeyRevoked(random.usize(..scenario.options.keys.len())),
        91..93 => Trouble::Pause(Duration::from_secs(random.u64(1..600))),
        93..94 => Trouble::Stopped,
        _ => Trouble::Superseded,
    }
}

fn status(code: u16, retry_after: Option<u64>) -> What {
    What::Status {
        code,
        retry_after,
        body: None,
    }
}

/// A fault of one kind of requests: an error with one of these codes, or a 429, each in this percentage of cases, else
/// one of the others.
pub(crate) fn fault_of_kind(
    random: &mut Rng,
    (codes, errors): (&[u16], u32),
    limited: u32,
    others: &[What],
) -> What {
    let error = status(*pick(random, codes), None);
    match random.u32(..100) {
        at if at < errors => error,
        at if at < errors + limited => status(429, *pick(random, &[None, Some(1)])),
        _ => pick(random, others).clone(),
    }
}

/// A fault that may hit any request.
fn fault(random: &mut Rng) -> Trouble {
    let long = Duration::from_secs(*pick(random, &[1, 20, 45]));
    let retry_after = *pick(random, &[None, None, Some(0), Some(1), Some(7)]);
    let any = [
        status(429, retry_after),
        status(*pick(random, &[500, 502, 503, 504, 408]), retry_after),
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
    let refused = status(*pick(random, &[400, 403, 409, 422]), None);
    let (what, method) = match method {
        Some(method) if chance(random, 25) => (refused, Some(method)),
        method => (pick(random, &any).clone(), method),
    };
    Trouble::Fault {
        what,
        when: When {
            method,
            ..When::default()
        },
        times: *pick(random, &[1, 1, 1, 2, 3, 6, 25]),
    }
}
