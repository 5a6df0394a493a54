//! Who is logged in, and who guesses.

use crate::util::sync::lock;
use crate::util::window::SlidingWindow;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// How long somebody stays logged in.
pub(super) const SESSION_TIME: Duration = Duration::from_secs(8 * 3600);

/// Who is logged in at once; the one who came first goes.
const MOST_SESSIONS: usize = 64;

/// Wrong tokens that one address may give in [`GUESS_TIME`].
const MOST_GUESSES: usize = 5;
const GUESS_TIME: Duration = Duration::from_secs(60);

/// Wrong tokens in [`GUESS_TIME`] from all who connect from this machine, whatever addresses they tell: one
/// that guesses here can tell another each time.
const MOST_LOCAL_GUESSES: usize = 30;

/// Addresses that are remembered for their guesses; the one that began first is forgotten.
const MOST_GUESSERS: usize = 1024;

/// The open sessions, in memory: a restart ends them. What is kept of an id and of a token is a hash, by
/// a key of this process.
#[derive(Debug)]
pub(super) struct Sessions {
    key: [u8; 32],
    open: Mutex<HashMap<blake3::Hash, Session>>,
}

#[derive(Debug)]
struct Session {
    expires: Instant,
    /// The token that opened it: when it is exchanged, the session is over.
    token: blake3::Hash,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            key: random(),
            open: Mutex::default(),
        }
    }

    /// A hash of a secret. Two of them are compared in constant time.
    pub(super) fn hash(&self, secret: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.key, secret.as_bytes())
    }

    /// Opens a session; gives its id.
    pub(super) fn open(&self, token: blake3::Hash) -> String {
        let id = blake3::Hash::from(random()).to_hex().to_string();
        let now = Instant::now();
        let mut open = lock(&self.open);
        open.retain(|_, session| session.expires > now);
        if open.len() >= MOST_SESSIONS {
            let first = open.iter().min_by_key(|(_, session)| session.expires);
            if let Some(first) = first.map(|(id, _)| *id) {
                open.remove(&first);
            }
        }
        let expires = now + SESSION_TIME;
        open.insert(self.hash(&id), Session { expires, token });
        id
    }

    /// Whether a session is open, under the token that is good now.
    pub(super) fn is_open(&self, id: &str, token: blake3::Hash) -> bool {
        let (mut open, id) = (lock(&self.open), self.hash(id));
        let is_good =
            |session: &Session| session.expires > Instant::now() && session.token == token;
        let is_open = open.get(&id).is_some_and(is_good);
        if !is_open {
            // For good, also where the token that opened it comes back.
            open.remove(&id);
        }
        is_open
    }

    /// Closes a session, if it is open.
    pub(super) fn close(&self, id: &str) {
        lock(&self.open).remove(&self.hash(id));
    }
}

/// Whoever gives a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoginSource {
    /// By which they are counted.
    pub(super) address: IpAddr,
    /// Whether they connect from this machine: then the address is what a proxy, or anybody here, says.
    pub(super) is_local: bool,
}

/// The wrong tokens of the last minute.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Guesses>);

#[derive(Debug)]
struct Guesses {
    by_address: HashMap<IpAddr, SlidingWindow>,
    local: SlidingWindow,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            by_address: HashMap::new(),
            local: SlidingWindow::new(GUESS_TIME),
        }
    }
}

impl Attempts {
    /// Whether somebody may give a token now; if not, how long they have to wait.
    pub(super) fn may_guess(&self, who: LoginSource) -> Result<(), Duration> {
        lock(&self.0).let_guess(who, Instant::now())
    }

    /// Says whether a token is right, unless whoever gives it has guessed too often: then it says how long
    /// to wait. Both under one lock, so that guesses at the same time all count.
    pub(super) fn compare(
        &self,
        who: LoginSource,
        given: blake3::Hash,
        right: blake3::Hash,
    ) -> Result<bool, Duration> {
        let now = Instant::now();
        let mut guesses = lock(&self.0);
        guesses.let_guess(who, now)?;
        let is_right = given == right;
        if !is_right {
            guesses.add(who, now);
        }
        Ok(is_right)
    }
}

impl Guesses {
    /// Forgets the guesses of long ago; says how long somebody who has guessed too often has to wait.
    fn let_guess(&mut self, who: LoginSource, now: Instant) -> Result<(), Duration> {
        self.local.expire(now);
        self.by_address.retain(|_, guesses| {
            guesses.expire(now);
            !guesses.is_empty()
        });
        let own = self.by_address.get(&network(who.address));
        let own = own.and_then(|guesses| guesses.wait(MOST_GUESSES, now));
        let local = self.local.wait(MOST_LOCAL_GUESSES, now);
        match own.max(local.filter(|_| who.is_local)) {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }

    fn add(&mut self, who: LoginSource, now: Instant) {
        let address = network(who.address);
        make_room(&mut self.by_address, address);
        let empty = || SlidingWindow::new(GUESS_TIME);
        self.by_address
            .entry(address)
            .or_insert_with(empty)
            .record(now);
        if who.is_local {
            self.local.record(now);
        }
    }
}

/// Forgets who began first, so that many who guess lock out nobody else.
fn make_room(all: &mut HashMap<IpAddr, SlidingWindow>, peer: IpAddr) {
    if all.len() < MOST_GUESSERS || all.contains_key(&peer) {
        return;
    }
    let first = all.iter().min_by_key(|(_, guesses)| guesses.oldest());
    if let Some(first) = first.map(|(peer, _)| *peer) {
        all.remove(&first);
    }
}

/// Whoever has one IPv6 address has 2⁶⁴ of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(prefix.into())
        }
        v4 => v4,
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(error) => panic!("every Linux that is still kept up has getrandom: {error}"),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn from(address: impl Into<IpAddr>) -> LoginSource {
        LoginSource {
            address: address.into(),
            is_local: false,
        }
    }

    fn peer(last: u8) -> LoginSource {
        from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_by_time_by_log_out_and_with_its_token() {
        let sessions = Sessions::new();
        let (old, new) = (sessions.hash("old"), sessions.hash("new"));
        let id = sessions.open(old);
        assert_eq!(id.len(), 64);
        assert!(sessions.is_open(&id, old));
        assert!(!sessions.is_open(&id, new), "the token was exchanged");
        assert!(
            !sessions.is_open(&id, old),
            "also where the old one is back"
        );
        let id = sessions.open(old);
        assert!(!sessions.is_open("", old) && !sessions.is_open(&id[1..], old));
        let second = sessions.open(old);
        sessions.close(&id);
        assert!(!sessions.is_open(&id, old) && sessions.is_open(&second, old));
        advance(SESSION_TIME).await;
        assert!(!sessions.is_open(&second, old));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_kept_than_fit() {
        let sessions = Sessions::new();
        let token = sessions.hash("token");
        let first = sessions.open(token);
        for _ in 0..MOST_SESSIONS {
            advance(Duration::from_secs(1)).await;
            sessions.open(token);
        }
        assert!(!sessions.is_open(&first, token));
        assert_eq!(lock(&sessions.open).len(), MOST_SESSIONS);
    }

    #[tokio::test(start_paused = true)]
    async fn five_guesses_a_minute() {
        let sessions = Sessions::new();
        let (right, wrong) = (sessions.hash("right"), sessions.hash("wrong"));
        let attempts = Attempts::default();
        for _ in 0..5 {
            assert_eq!(attempts.compare(peer(1), wrong, right), Ok(false));
            advance(Duration::from_secs(10)).await;
        }
        let wait = Duration::from_secs(10);
        assert_eq!(attempts.compare(peer(1), right, right), Err(wait));
        assert_eq!(attempts.compare(peer(2), right, right), Ok(true));
        advance(wait).await;
        assert_eq!(attempts.compare(peer(1), wrong, right), Ok(false));
        assert_eq!(attempts.compare(peer(1), right, right), Err(wait));
        advance(Duration::from_secs(120)).await;
        for _ in 0..100 {
            assert_eq!(attempts.compare(peer(1), right, right), Ok(true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_of_one_network_guess_together() {
        let sessions = Sessions::new();
        let (right, wrong) = (sessions.hash("right"), sessions.hash("wrong"));
        let attempts = Attempts::default();
        let address = |last: u16| from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for last in 0..5 {
            assert_eq!(attempts.compare(address(last), wrong, right), Ok(false));
        }
        assert!(attempts.compare(address(9), right, right).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_addresses_are_told_here_they_guess_together_too() {
        let sessions = Sessions::new();
        let (right, wrong) = (sessions.hash("right"), sessions.hash("wrong"));
        let attempts = Attempts::default();
        let told = |last: u8| LoginSource {
            is_local: true,
            ..peer(last)
        };
        for last in 0..30 {
            assert_eq!(attempts.compare(told(last), wrong, right), Ok(false));
            advance(Duration::from_secs(1)).await;
        }
        let wait = Duration::from_secs(30);
        assert_eq!(attempts.may_guess(told(99)), Err(wait));
        assert_eq!(attempts.compare(told(99), right, right), Err(wait));
        assert_eq!(attempts.compare(peer(99), right, right), Ok(true));
        advance(wait).await;
        assert_eq!(attempts.compare(told(99), right, right), Ok(true));
        assert_eq!(attempts.compare(told(99), wrong, right), Ok(false));
        assert!(
            attempts.may_guess(told(99)).is_err(),
            "29 are left of the first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn guessers_take_no_more_memory_than_fits() {
        let sessions = Sessions::new();
        let (right, wrong) = (sessions.hash("right"), sessions.hash("wrong"));
        let attempts = Attempts::default();
        for number in 0..4096_u32 {
            let _ = attempts.compare(from(number.to_be_bytes()), wrong, right);
        }
        assert_eq!(lock(&attempts.0).by_address.len(), MOST_GUESSERS);
        assert_eq!(attempts.compare(peer(1), right, right), Ok(true));
    }
}
