//! Letter counts: a cheap filter before many texts are compared.

/// The number of counts. Letters that share one are counted together.
const COUNTS: usize = 16;

/// How often each letter occurs in a text. Different letters may share a count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LetterCounts([u8; COUNTS]);

impl LetterCounts {
    /// Counts the letters of a text.
    pub(crate) fn of(text: &str) -> Self {
        let mut counts = [0_u8; COUNTS];
        for letter in text.chars() {
            let count = &mut counts[letter as usize % COUNTS];
            *count = count.saturating_add(1);
        }
        Self(counts)
    }

    /// Whether the texts may be within this many edits. One edit changes at most two counts by one.
    pub(crate) fn may_be_within(&self, other: &Self, edits: usize) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        let difference: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        difference as usize <= 2 * edits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::text::is_within_edits;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_near_text_is_overlooked(a in "[abé]{0,6}", b in "[abé]{0,6}", edits in 0..3_usize) {
            let may_be = LetterCounts::of(&a).may_be_within(&LetterCounts::of(&b), edits);
            prop_assert!(may_be || !is_within_edits(&a, &b, edits));
        }
    }

    #[test]
    fn far_texts_are_filtered() {
        let [sales, board] = ["sales", "board"].map(LetterCounts::of);
        assert!(!sales.may_be_within(&board, 2));
    }
}
