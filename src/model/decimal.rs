//! Exact decimal numbers, for comparison.

/// A decimal number in canonical form, so that equal numbers are equal strings: no sign for zero, no
/// leading zeros, no trailing zeros in the fraction. It has any number of digits and never goes through
/// floating point.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

impl Decimal {
    /// Parses `7`, `-7.50`, `+.5` and `5.`. Exponents are rejected, since a spreadsheet that writes
    /// `1.2E+05` has dropped digits, and so are thousands separators and decimal commas.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if whole.is_empty() && fraction.is_empty() {
            return Some(Self("0".into()));
        }
        let sign = if negative { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        let point = if fraction.is_empty() { "" } else { "." };
        Some(Self([sign, whole, point, fraction].concat().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> Option<String> {
        Decimal::parse(text).map(|decimal| decimal.0.into())
    }

    #[test]
    fn equal_numbers_have_the_same_form() {
        for (text, want) in [
            ("7", "7"),
            ("7.0", "7"),
            ("007", "7"),
            ("+7.", "7"),
            ("-0.0", "0"),
            (".50", "0.5"),
            ("-.5", "-0.5"),
            ("12345678901234567890.10", "12345678901234567890.1"),
            ("9007199254740993", "9007199254740993"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(want), "{text}");
        }
        for text in [
            "", "-", ".", "1e5", "1,5", "1 000", "٣", "0x1", "NaN", "1.2.3", "--1",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn leading_and_trailing_zeros_are_ignored(whole in "[0-9]{0,30}", fraction in "[0-9]{0,30}", left in 0usize..5, right in 0usize..5) {
            let plain = format!("{whole}.{fraction}");
            let padded = format!("{}{plain}{}", "0".repeat(left), "0".repeat(right));
            prop_assume!(!whole.is_empty() || !fraction.is_empty());
            prop_assert_eq!(canonical(&plain), canonical(&padded));
        }

        #[test]
        fn agrees_with_integers(a in any::<i64>(), b in any::<i64>()) {
            prop_assert_eq!(canonical(&a.to_string()) == canonical(&format!("{b}.00")), a == b);
        }
    }
}
