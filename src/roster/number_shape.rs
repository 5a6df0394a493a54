//! Numbers that a spreadsheet may have changed.

/// The shape of a cell that starts like a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberShape {
    /// Digits only.
    Whole,
    Decimal,
    DecimalComma,
    /// A number with an exponent, as a spreadsheet shows a long number.
    Shortened,
    Date,
    Text,
}

impl NumberShape {
    pub(super) fn of(cell: &str) -> Self {
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if is_digits(cell) {
            return Self::Whole;
        }
        if looks_like_date(cell) {
            return Self::Date;
        }
        let (number, exponent) = match cell.split_once("E+") {
            Some((number, exponent)) => (number, Some(exponent)),
            None => (cell, None),
        };
        let number = number.strip_prefix(['+', '-']).unwrap_or(number);
        let (whole, mark, fraction) = match number.find(['.', ',']) {
            Some(at) => (&number[..at], &number[at..=at], &number[at + 1..]),
            None => (number, "", "0"),
        };
        match (is_digits(whole) && is_digits(fraction), exponent, mark) {
            (true, Some(exponent), _) if is_digits(exponent) => Self::Shortened,
            (true, None, ",") => Self::DecimalComma,
            (true, None, _) => Self::Decimal,
            _ => Self::Text,
        }
    }
}

/// Recognises `2024-01-05`, `5.1.2024`, `1/2` and `5-Jan`, with or without a time: spreadsheets turn
/// numbers with separators into dates.
pub(super) fn looks_like_date(text: &str) -> bool {
    const MONTHS: &str = "jan feb mar apr may jun jul aug sep oct nov dec";
    let date = text.split([' ', 'T']).next().unwrap_or_default();
    let Some(mark) = date.chars().find(|c| ['-', '/', '.'].contains(c)) else {
        return false;
    };
    let is_month = |part: &str| {
        part.len() == 3 && part.is_ascii() && MONTHS.contains(&*part.to_ascii_lowercase())
    };
    let known = |part: &&str| {
        is_month(part)
            || (matches!(part.len(), 1 | 2 | 4) && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let parts: Vec<&str> = date.splitn(4, mark).collect();
    let years = parts.iter().filter(|part| part.len() == 4).count();
    let enough = match parts.len() {
        // `1.5` is a number.
        2 => mark != '.' || parts.iter().any(|part| is_month(part)),
        3 => true,
        _ => false,
    };
    enough && years <= 1 && parts.iter().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_shapes_of_numbers() {
        for (text, shape) in [
            ("007", NumberShape::Whole),
            ("7.5", NumberShape::Decimal),
            ("-7", NumberShape::Decimal),
            ("1,5", NumberShape::DecimalComma),
            ("1.2E+05", NumberShape::Shortened),
            ("1,2E+15", NumberShape::Shortened),
            ("4E+11", NumberShape::Shortened),
            ("2024-01-05", NumberShape::Date),
            ("2024-01-05 00:00:00", NumberShape::Date),
            ("5.1.2024", NumberShape::Date),
            ("1/2", NumberShape::Date),
            ("5-Jan", NumberShape::Date),
            ("05. Mai", NumberShape::Text),
            ("1E5", NumberShape::Text),
            ("1.2.3.4", NumberShape::Text),
            ("555-0100-1234", NumberShape::Text),
            ("5550100-1234", NumberShape::Text),
            ("12 Main St", NumberShape::Text),
            ("+", NumberShape::Text),
            ("-", NumberShape::Text),
            ("1,", NumberShape::Text),
        ] {
            assert_eq!(NumberShape::of(text), shape, "{text}");
        }
    }
}
