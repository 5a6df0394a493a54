//! Items scheduled for a chosen request.

pub(super) struct Scheduled<T>(Vec<(u64, T)>);

impl<T> Default for Scheduled<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

// Manual, because `T` may be a closure.
impl<T> std::fmt::Debug for Scheduled<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers = self.0.iter().map(|(number, _)| number);
        f.debug_list().entries(numbers).finish()
    }
}

impl<T> Scheduled<T> {
    pub(super) fn add(&mut self, number: u64, item: T) {
        self.0.push((number, item));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes and returns the items due before the request with this number, in the order of their
    /// addition.
    pub(super) fn take_due(&mut self, number: u64) -> Vec<T> {
        let due = self.0.extract_if(.., |(at, _)| *at <= number);
        due.map(|(_, item)| item).collect()
    }
}
