//! The users in order of creation, with an index by id and by email. A page of a million users costs
//! no more than a page of a hundred, with and without removals.

use std::collections::HashMap;

use super::options::Ids;
use super::user::{Id, User, fold};

/// The position of a user in order of creation. Never reused.
pub(super) type Seq = u64;

#[derive(Debug, Default)]
pub(super) struct Store {
    users: HashMap<Seq, User>,
    order: Order,
    by_id: HashMap<Id, Seq>,
    /// Several only if a test created them: the rules reject a duplicate email.
    by_email: HashMap<String, Vec<Seq>>,
    made: Seq,
    ids: Ids,
}

impl Store {
    pub(super) fn new(ids: Ids) -> Self {
        Self {
            ids,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// The id of the next user.
    pub(super) fn next_id(&self) -> Id {
        match self.ids {
            Ids::Uuid => Id::nth(self.made + 1),
            Ids::Short => Id::nth_short(self.made + 1),
        }
    }

    /// Skips an id.
    pub(super) fn skip_id(&mut self) {
        self.made += 1;
    }

    pub(super) fn insert(&mut self, user: User) {
        self.made += 1;
        let seq = self.made;
        self.order.push(seq);
        self.by_id.insert(user.id, seq);
        self.by_email
            .entry(fold(&user.user_name))
            .or_default()
            .push(seq);
        self.users.insert(seq, user);
    }

    /// Replaces a user with the same id.
    pub(super) fn replace(&mut self, user: User) {
        let Some(&seq) = self.by_id.get(&user.id) else {
            return;
        };
        let email = fold(&user.user_name);
        let Some(before) = self.users.insert(seq, user) else {
            return;
        };
        let former = fold(&before.user_name);
        if former != email {
            self.forget_email(&former, seq);
            self.by_email.entry(email).or_default().push(seq);
        }
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some(seq) = self.by_id.remove(&id) else {
            return;
        };
        self.order.remove(seq);
        let Some(user) = self.users.remove(&seq) else {
            return;
        };
        self.forget_email(&fold(&user.user_name), seq);
    }

    fn forget_email(&mut self, email: &str, seq: Seq) {
        if let Some(namesakes) = self.by_email.get_mut(email) {
            namesakes.retain(|&other| other != seq);
            if namesakes.is_empty() {
                self.by_email.remove(email);
            }
        }
    }

    pub(super) fn get(&self, id: Id) -> Option<&User> {
        self.users.get(self.by_id.get(&id)?)
    }

    /// The users with this email, ignoring case.
    pub(super) fn named(&self, email: &str) -> impl Iterator<Item = &User> {
        let seqs = self
            .by_email
            .get(&fold(email))
            .map_or(&[][..], Vec::as_slice);
        seqs.iter().filter_map(|seq| self.users.get(seq))
    }

    /// The users after the first `skip` users.
    pub(super) fn after(&self, skip: usize) -> impl Iterator<Item = &User> {
        self.order
            .after(skip)
            .filter_map(|seq| self.users.get(&seq))
    }
}

/// Sequence numbers in ascending order, in blocks: the nth is found by skipping whole blocks, and a
/// removal moves entries of one block only.
#[derive(Debug, Default)]
struct Order(Vec<Vec<Seq>>);

/// With a million users there are about as many blocks as entries in a block.
const BLOCK: usize = 1024;

impl Order {
    fn push(&mut self, seq: Seq) {
        match self.0.last_mut() {
            Some(block) if block.len() < BLOCK => block.push(seq),
            _ => self.0.push(vec![seq]),
        }
    }

    fn remove(&mut self, seq: Seq) {
        let at = self
            .0
            .partition_point(|block| block.last().is_some_and(|&last| last < seq));
        let Some(block) = self.0.get_mut(at) else {
            return;
        };
        if let Ok(index) = block.binary_search(&seq) {
            block.remove(index);
        }
        if block.is_empty() {
            self.0.remove(at);
        }
    }

    fn after(&self, mut skip: usize) -> impl Iterator<Item = Seq> {
        let mut first = 0;
        while let Some(block) = self.0.get(first).filter(|block| block.len() <= skip) {
            skip -= block.len();
            first += 1;
        }
        self.0[first..].iter().flatten().skip(skip).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Order, Seq};

    #[test]
    fn order_matches_a_plain_list() {
        let mut order = Order::default();
        let mut plain: Vec<Seq> = (1..=3 * BLOCK as Seq + 7).collect();
        plain.iter().for_each(|&seq| order.push(seq));
        let random = &mut fastrand::Rng::with_seed(1);
        while !plain.is_empty() {
            let skip = random.usize(..plain.len() + 2);
            let expected: Vec<Seq> = plain.iter().skip(skip).take(3).copied().collect();
            assert_eq!(order.after(skip).take(3).collect::<Vec<_>>(), expected);
            let gone = plain.remove(random.usize(..plain.len()));
            order.remove(gone);
            order.remove(gone);
        }
        assert_eq!(order.after(0).count(), 0);
        assert!(order.0.is_empty(), "empty blocks go");
    }
}
