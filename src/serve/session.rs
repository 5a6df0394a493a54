//! Sessions, and a limit for failed logins.

use crate::util::random;
use crate::util::sync::lock;
use crate::util::window::SlidingWindow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The lifetime of a session.
pub(super) const SESSION_LIFETIME: Duration = Duration::from_secs(8 * 3600);

/// Open sessions; beyond that, the oldest one is closed.
const MAX_SESSIONS: usize = 64;

/// Wrong tokens per address and [`ATTEMPT_WINDOW`].
const MAX_ATTEMPTS: usize = 5;
const ATTEMPT_WINDOW: Duration = Duration::from_secs(60);

/// Wrong tokens per [`ATTEMPT_WINDOW`] from all clients on this machine together, because they can send
/// any address in a proxy header.
const MAX_LOCAL_ATTEMPTS: usize = 30;

/// Addresses that are tracked; beyond that, the one with the oldest attempt is dropped.
const MAX_ADDRESSES: usize = 1024;

/// The open sessions. They are kept in memory, so a restart closes them. Session IDs and tokens are
/// stored as hashes, with a key of this process.
#[derive(Debug)]
pub(super) struct Sessions {
    key: [u8; 32],
    open: Mutex<HashMap<blake3::Hash, Session>>,
}

#[derive(Debug)]
struct Session {
    expires: Instant,
    /// The token at login; the session ends when the token is replaced.
    token: blake3::Hash,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            key: random::bytes(),
            open: Mutex::default(),
        }
    }

    /// The hash of a secret. Hashes are compared in constant time.
    pub(super) fn hash(&self, secret: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.key, secret.as_bytes())
    }

    /// Opens a session and returns its ID.
    pub(super) fn open(&self, token: blake3::Hash) -> String {
        let id = blake3::Hash::from(random::bytes()).to_hex().to_string();
        let now = Instant::now();
        let mut open = lock(&self.open);
        open.retain(|_, session| session.expires > now);
        if open.len() >= MAX_SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| session.expires);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                open.remove(&oldest);
            }
        }
        let expires = now + SESSION_LIFETIME;
        open.insert(self.hash(&id), Session { expires, token });
        id
    }

    /// Whether a session is open, given the current token.
    pub(super) fn is_open(&self, id: &str, token: blake3::Hash) -> bool {
        let (mut open, id) = (lock(&self.open), self.hash(id));
        let is_valid =
            |session: &Session| session.expires > Instant::now() && session.token == token;
        let is_open = open.get(&id).is_some_and(is_valid);
        if !is_open {
            // The session stays closed even if its token is restored.
            open.remove(&id);
        }
        is_open
    }

    /// Closes a session if it is open.
    pub(super) fn close(&self, id: &str) {
        lock(&self.open).remove(&self.hash(id));
    }
}

/// The source of a login attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoginSource {
    /// The address that attempts are counted by.
    pub(super) address: IpAddr,
    /// Whether the connection comes from this machine. Then `address` is from a proxy header, which any
    /// local client can send.
    pub(super) is_local: bool,
}

/// The failed logins of the last minute.
#[derive(Debug)]
pub(super) struct LoginAttempts(Mutex<FailedLogins>);

#[derive(Debug)]
struct FailedLogins {
    by_address: HashMap<IpAddr, SlidingWindow>,
    local: SlidingWindow,
}

impl LoginAttempts {
    pub(super) fn new() -> Self {
        Self(Mutex::new(FailedLogins {
            by_address: HashMap::new(),
            local: SlidingWindow::new(ATTEMPT_WINDOW),
        }))
    }

    /// Checks whether a source may log in; otherwise returns the time to wait.
    pub(super) fn check(&self, source: LoginSource) -> Result<(), Duration> {
        lock(&self.0).check(source, Instant::now())
    }

    /// Compares a token with the expected one, or returns the time to wait. The check and the count
    /// share a lock, so concurrent attempts are all counted.
    pub(super) fn compare(
        &self,
        source: LoginSource,
        given: blake3::Hash,
        expected: blake3::Hash,
    ) -> Result<bool, Duration> {
        let now = Instant::now();
        let mut failed = lock(&self.0);
        failed.check(source, now)?;
        let is_correct = given == expected;
        if !is_correct {
            failed.record(source, now);
        }
        Ok(is_correct)
    }
}

impl FailedLogins {
    fn check(&mut self, source: LoginSource, now: Instant) -> Result<(), Duration> {
        self.local.expire(now);
        self.by_address.retain(|_, attempts| {
            attempts.expire(now);
            !attempts.is_empty()
        });
        let own = self.by_address.get(&network(source.address));
        let own = own.and_then(|attempts| attempts.wait(MAX_ATTEMPTS, now));
        let local = self.local.wait(MAX_LOCAL_ATTEMPTS, now);
        match own.max(local.filter(|_| source.is_local)) {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }

    fn record(&mut self, source: LoginSource, now: Instant) {
        let address = network(source.address);
        self.make_room(address);
        let empty = || SlidingWindow::new(ATTEMPT_WINDOW);
        let attempts = self.by_address.entry(address).or_insert_with(empty);
        attempts.record(now);
        if source.is_local {
            self.local.record(now);
        }
    }

    /// Drops the address with the oldest attempt if there is no room for another one.
    fn make_room(&mut self, address: IpAddr) {
        if self.by_address.len() < MAX_ADDRESSES || self.by_address.contains_key(&address) {
            return;
        }
        let addresses = self.by_address.iter();
        let oldest = addresses.min_by_key(|(_, attempts)| attempts.oldest());
        if let Some(oldest) = oldest.map(|(address, _)| *address) {
            self.by_address.remove(&oldest);
        }
    }
}

/// The /64 network of an IPv6 address, because a client usually controls all of its addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(prefix.into())
        }
        v4 => v4,
    }
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
    async fn sessions_end_by_time_logout_and_token() {
        let sessions = Sessions::new();
        let (old, new) = (sessions.hash("old"), sessions.hash("new"));
        let id = sessions.open(old);
        assert_eq!(id.len(), 64);
        assert!(sessions.is_open(&id, old));
        assert!(!sessions.is_open(&id, new), "the token was replaced");
        assert!(
            !sessions.is_open(&id, old),
            "even if the old token is restored"
        );
        let id = sessions.open(old);
        assert!(!sessions.is_open("", old) && !sessions.is_open(&id[1..], old));
        let second = sessions.open(old);
        sessions.close(&id);
        assert!(!sessions.is_open(&id, old) && sessions.is_open(&second, old));
        advance(SESSION_LIFETIME).await;
        assert!(!sessions.is_open(&second, old));
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_sessions_is_bounded() {
        let sessions = Sessions::new();
        let token = sessions.hash("token");
        let first = sessions.open(token);
        for _ in 0..MAX_SESSIONS {
            advance(Duration::from_secs(1)).await;
            sessions.open(token);
        }
        assert!(!sessions.is_open(&first, token));
        assert_eq!(lock(&sessions.open).len(), MAX_SESSIONS);
    }

    #[tokio::test(start_paused = true)]
    async fn address_has_five_attempts_a_minute() {
        let sessions = Sessions::new();
        let (right, wrong) = (sessions.hash("right"), sessions.hash("wrong"));
        let attempts = LoginAttempts::new();
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
    async fn ipv6_network_shares_attempts() {
        let sessions = Sessions::new();
        let (right, wrong) = (sessions.hash("right"), sessions.hash("wrong"));
        let attempts = LoginAttempts::new();
        let address = |last: u16| from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for last in 0..5 {
            assert_eq!(attempts.compare(address(last), wrong, right), Ok(false));
        }
        assert!(attempts.compare(address(9), right, right).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn local_clients_share_attempts() {
        let sessions = Sessions::new();
        let (right, wrong) = (sessions.hash("right"), sessions.hash("wrong"));
        let attempts = LoginAttempts::new();
        let local = |last: u8| LoginSource {
            is_local: true,
            ..peer(last)
        };
        for last in 0..30 {
            assert_eq!(attempts.compare(local(last), wrong, right), Ok(false));
            advance(Duration::from_secs(1)).await;
        }
        let wait = Duration::from_secs(30);
        assert_eq!(attempts.check(local(99)), Err(wait));
        assert_eq!(attempts.compare(local(99), right, right), Err(wait));
        assert_eq!(attempts.compare(peer(99), right, right), Ok(true));
        advance(wait).await;
        assert_eq!(attempts.compare(local(99), right, right), Ok(true));
        assert_eq!(attempts.compare(local(99), wrong, right), Ok(false));
        assert!(
            attempts.check(local(99)).is_err(),
            "29 of the first attempts still count"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_tracked_addresses_is_bounded() {
        let sessions = Sessions::new();
        let (right, wrong) = (sessions.hash("right"), sessions.hash("wrong"));
        let attempts = LoginAttempts::new();
        for number in 0..4096_u32 {
            let _ = attempts.compare(from(number.to_be_bytes()), wrong, right);
        }
        assert_eq!(lock(&attempts.0).by_address.len(), MAX_ADDRESSES);
        assert_eq!(attempts.compare(peer(1), right, right), Ok(true));
    }
}
