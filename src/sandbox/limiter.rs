//! The rate limit of a key, with each of the three possible meanings of "60 per minute".
//!
//! Under the strictest reading, rejected requests count too. A bucket has no tokens left for them, so
//! only accepted requests count there.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// How requests per minute are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limiter {
    /// At most the limit in any 60 seconds.
    #[default]
    Sliding,
    /// At most the limit in each minute since the start of the server.
    Fixed,
    /// A token bucket with the limit as capacity that refills evenly within a minute.
    Bucket,
}

impl fmt::Display for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sliding => "sliding",
            Self::Fixed => "fixed",
            Self::Bucket => "bucket",
        })
    }
}

/// An unknown limiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown limiter `{0}`; expected sliding, fixed or bucket")]
pub struct UnknownLimiter(String);

impl FromStr for Limiter {
    type Err = UnknownLimiter;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Sliding, Self::Fixed, Self::Bucket]
            .into_iter()
            .find(|limiter| limiter.to_string() == name)
            .ok_or_else(|| UnknownLimiter(name.to_owned()))
    }
}

/// At most this many requests in any such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// The number of requests.
    pub requests: usize,
    /// The time.
    pub span: Duration,
}

/// Not a limit of bursts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected REQUESTS/SECONDS, such as 20/10")]
pub struct InvalidBurst;

impl FromStr for Burst {
    type Err = InvalidBurst;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (requests, seconds) = text.split_once('/').ok_or(InvalidBurst)?;
        let requests = requests.parse().map_err(|_| InvalidBurst)?;
        let seconds = seconds.parse().map_err(|_| InvalidBurst)?;
        let is_valid = requests > 0 && seconds > 0;
        is_valid.then_some(()).ok_or(InvalidBurst)?;
        Ok(Self {
            requests,
            span: Duration::from_secs(seconds),
        })
    }
}

/// The usage of one key. Times are relative to the start of the server.
#[derive(Debug)]
pub(super) enum Meter {
    /// The latest requests, at most the limit: older ones have no effect.
    Sliding {
        limit: usize,
        span: Duration,
        arrivals: VecDeque<Duration>,
    },
    Fixed {
        limit: u64,
        minute: u64,
        used: u64,
    },
    Bucket(Bucket),
}

impl Meter {
    pub(super) fn new(kind: Limiter, per_minute: u32) -> Self {
        match kind {
            Limiter::Sliding => {
                let limit = usize::try_from(per_minute).unwrap_or(usize::MAX);
                Self::burst(Burst {
                    requests: limit,
                    span: MINUTE,
                })
            }
            Limiter::Fixed => Self::Fixed {
                limit: per_minute.into(),
                minute: 0,
                used: 0,
            },
            Limiter::Bucket => Self::Bucket(Bucket::full(per_minute)),
        }
    }

    /// A sliding limit over another time than a minute.
    pub(super) fn burst(burst: Burst) -> Self {
        Self::Sliding {
            limit: burst.requests,
            span: burst.span,
            arrivals: VecDeque::new(),
        }
    }

    /// Counts a request at time `now`.
    ///
    /// # Errors
    /// If the limit is exceeded: the time until the next request can pass.
    pub(super) fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        match self {
            Self::Sliding {
                limit,
                span,
                arrivals,
            } => slide(*limit, *span, arrivals, now),
            Self::Fixed {
                limit,
                minute,
                used,
            } => {
                let current = now.as_secs() / MINUTE.as_secs();
                if current != *minute {
                    (*minute, *used) = (current, 0);
                }
                *used += 1;
                let next = MINUTE.saturating_mul(u32::try_from(current + 1).unwrap_or(u32::MAX));
                if *used > *limit {
                    Err(next.saturating_sub(now))
                } else {
                    Ok(())
                }
            }
            Self::Bucket(bucket) => bucket.take(now),
        }
    }
}

fn slide(
    limit: usize,
    span: Duration,
    arrivals: &mut VecDeque<Duration>,
    now: Duration,
) -> Result<(), Duration> {
    while arrivals
        .front()
        .is_some_and(|&arrival| now.saturating_sub(arrival) >= span)
    {
        arrivals.pop_front();
    }
    let full = arrivals.len() >= limit;
    if full {
        arrivals.pop_front();
    }
    arrivals.push_back(now);
    match arrivals.front() {
        Some(&oldest) if full => Err((oldest + span).saturating_sub(now)),
        _ => Ok(()),
    }
}

/// A token bucket in integers: its level is nanoseconds times requests per minute, so that rounding
/// loses nothing.
#[derive(Debug)]
pub(super) struct Bucket {
    per_minute: u128,
    level: u128,
    filled_at: Duration,
}

/// The cost of one request.
const REQUEST: u128 = MINUTE.as_nanos();

impl Bucket {
    fn full(per_minute: u32) -> Self {
        let per_minute = u128::from(per_minute);
        Self {
            per_minute,
            level: per_minute * REQUEST,
            filled_at: Duration::ZERO,
        }
    }

    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let gained = now.saturating_sub(self.filled_at).as_nanos() * self.per_minute;
        self.level = (self.level + gained).min(self.per_minute * REQUEST);
        self.filled_at = now;
        if self.level >= REQUEST {
            self.level -= REQUEST;
            return Ok(());
        }
        let nanos = (REQUEST - self.level).div_ceil(self.per_minute);
        Err(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }
}
