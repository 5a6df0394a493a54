//! Numbers and durations as a person reads them.

use std::fmt::Display;
use std::time::Duration;

/// `1 request`, `2 requests`.
#[must_use]
pub(crate) fn plural<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// A rough duration: `a moment`, `about 3m 20s`.
#[must_use]
pub(crate) fn about(duration: Duration) -> String {
    match duration.as_secs() {
        0..=1 => "a moment".into(),
        seconds => format!(
            "about {}",
            humantime::format_duration(Duration::from_secs(seconds))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!(plural(0_usize, "row"), "0 rows");
        assert_eq!(plural(1_u64, "row"), "1 row");
        assert_eq!(plural(2_u32, "row"), "2 rows");
    }

    #[test]
    fn durations_are_whole_seconds() {
        assert_eq!(about(Duration::from_millis(1999)), "a moment");
        assert_eq!(about(Duration::from_millis(200_900)), "about 3m 20s");
    }
}
