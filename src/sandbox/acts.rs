//! What others do in Omni while a client is at work: each at a chosen request.

use super::org::Org;

pub(super) type Act = Box<dyn FnOnce(&Org) + Send>;

#[derive(Default)]
pub(super) struct Acts(Vec<(u64, Act)>);

// By hand, since a closure has nothing to show.
impl std::fmt::Debug for Acts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers = self.0.iter().map(|(number, _)| number);
        f.debug_list().entries(numbers).finish()
    }
}

impl Acts {
    pub(super) fn plan(&mut self, number: u64, act: Act) {
        self.0.push((number, act));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes out what is due before the request with this number, in the order of planning.
    pub(super) fn due(&mut self, number: u64) -> Vec<Act> {
        let due = self.0.extract_if(.., |(at, _)| *at <= number);
        due.map(|(_, act)| act).collect()
    }
}
