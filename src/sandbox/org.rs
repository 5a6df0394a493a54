//! The organisation as tests see it, and the one place where a request changes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::acts::Acts;
use super::answer::{Refusal, Reply};
use super::attributes::ATTRIBUTES;
use super::call::Call;
use super::faults::{Fault, Faults, What};
use super::history::{Changed, History};
use super::limiter::Meter;
use super::log::{Log, Request};
use super::options::Options;
use super::rules;
use super::signals::{Moment, PlannedSignal, Signals};
use super::user::{Id, User};
use super::world::{Change, World};

/// What a stand-in holds and remembers. Clones are handles to the same organisation.
///
/// What tests do through it bypasses the rules: it is what others do in Omni's own pages, or what
/// went wrong there.
#[derive(Debug, Clone)]
pub struct Org(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    world: World,
    keys: Vec<Key>,
    faults: Faults,
    log: Log,
    signals: Signals,
    acts: Acts,
    history: History,
    started: Instant,
}

struct Key {
    secret: String,
    revoked: bool,
    meter: Meter,
}

// By hand, so that no key ends up in a log by way of `{:?}`.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// What is known of a request once it has passed, or not, what stands before the rules.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) number: u64,
    pub(super) fault: Option<What>,
    /// The answer, if the rules have no say any more.
    pub(super) settled: Option<Reply>,
}

impl Org {
    pub(super) fn new(options: &Options) -> Self {
        let key = |secret: &String| Key {
            secret: secret.clone(),
            revoked: false,
            meter: Meter::new(options.limiter, options.requests_per_minute),
        };
        Self(Arc::new(Mutex::new(State {
            world: World::new(options),
            keys: options.keys.iter().map(key).collect(),
            faults: Faults::default(),
            log: Log::default(),
            signals: Signals::default(),
            acts: Acts::default(),
            history: History::new(options.history),
            started: Instant::now(),
        })))
    }

    /// All users, in the order they were made.
    #[must_use]
    pub fn users(&self) -> Vec<Value> {
        let state = self.lock();
        state
            .world
            .users
            .after(0)
            .map(|user| state.world.show(user))
            .collect()
    }

    /// The user with this email in any case; the oldest if there are several.
    #[must_use]
    pub fn user(&self, email: &str) -> Option<Value> {
        let state = self.lock();
        state
            .world
            .users
            .named(email)
            .next()
            .map(|user| state.world.show(user))
    }

    /// Makes a user and tells its id. `userName` is needed; `displayName` (the email), `active`
    /// (true) and `id` (the next one; also for what is no UUID) have defaults; attributes and
    /// further fields are kept as given.
    pub fn add_user(&self, user: Value) -> String {
        let mut state = self.lock();
        let user = from_json(state.world.users.next_id(), user);
        let id = user.id.to_string();
        state.change(None, Change::Insert(Box::new(user)));
        id
    }

    /// Sets an attribute of a user to just this; `null` clears it.
    ///
    /// # Panics
    /// When there is no such user.
    #[track_caller]
    pub fn set_attribute(&self, email: &str, name: &str, value: Value) {
        let changes = [(
            name.to_owned(),
            Some(value).filter(|value| !value.is_null()),
        )];
        let found = self.edit(email, |user| user.change_attributes(changes.into()));
        assert!(found, "the sandbox has no user {email}");
    }

    /// Activates or deactivates a user.
    ///
    /// # Panics
    /// When there is no such user.
    #[track_caller]
    pub fn set_active(&self, email: &str, active: bool) {
        let found = self.edit(email, |user| user.active = active);
        assert!(found, "the sandbox has no user {email}");
    }

    /// Gives a user another name to show.
    ///
    /// # Panics
    /// When there is no such user.
    #[track_caller]
    pub fn set_display_name(&self, email: &str, name: &str) {
        let found = self.edit(email, |user| name.clone_into(&mut user.display_name));
        assert!(found, "the sandbox has no user {email}");
    }

    /// Gives a user another email, as no request can.
    ///
    /// # Panics
    /// When there is no such user.
    #[track_caller]
    pub fn set_email(&self, email: &str, new: &str) {
        let found = self.edit(email, |user| new.clone_into(&mut user.user_name));
        assert!(found, "the sandbox has no user {email}");
    }

    /// Removes a user.
    ///
    /// # Panics
    /// When there is no such user.
    #[track_caller]
    pub fn remove_user(&self, email: &str) {
        assert!(self.remove(email), "the sandbox has no user {email}");
    }

    /// Adds an attribute definition, or replaces the one of that `name`. Left out: `type` is
    /// `String`, `multiple_values` and `system` are false, the rest is null or made up.
    pub fn define(&self, definition: Value) {
        self.lock().world.definitions.define(&definition);
    }

    /// The attribute definitions, as the endpoint tells them.
    #[must_use]
    pub fn definitions(&self) -> Vec<Value> {
        self.lock().world.definitions.records()
    }

    /// The requests since the start or the last [`Org::clear_requests`].
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests_where(|_| true)
    }

    /// Those of them that are not `GET`.
    #[must_use]
    pub fn writes(&self) -> Vec<Request> {
        self.requests_where(|request| request.method != "GET")
    }

    /// Those of them that the rate limit refused.
    #[must_use]
    pub fn too_many(&self) -> Vec<Request> {
        self.requests_where(|request| request.over_limit)
    }

    /// Whatever came that a correct client never sends: unknown fields and parameters, no key, no
    /// JSON, a `path` in a `PATCH`, … Clearing the requests does not forget these.
    #[must_use]
    pub fn unexpected(&self) -> Vec<String> {
        self.lock().log.unexpected().to_vec()
    }

    /// Forgets the requests. Their numbers go on.
    pub fn clear_requests(&self) {
        self.lock().log.clear();
    }

    /// Puts a fault at the end of the queue.
    pub fn fault(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// Forgets the faults that are still to come.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Does something right before the request with this number is taken in, as somebody else does it
    /// while a client is at work. Its number is the one it has in [`Org::requests`].
    pub fn before(&self, number: u64, act: impl FnOnce(&Self) + Send + 'static) {
        self.lock().acts.plan(number, Box::new(act));
    }

    /// Forgets what was still to be done before a request.
    pub fn clear_acts(&self) {
        self.lock().acts.clear();
    }

    /// Every change of a user, in the order in which they came about, whoever made it: a request that
    /// was answered or not, or a test. Empty unless [`Options::history`] asks for it.
    #[must_use]
    pub fn history(&self) -> Vec<Changed> {
        self.lock().history.all().to_vec()
    }

    /// From now on this key is answered 401.
    pub fn revoke_key(&self, secret: &str) {
        for key in self
            .lock()
            .keys
            .iter_mut()
            .filter(|key| key.secret == secret)
        {
            key.revoked = true;
        }
    }

    fn requests_where(&self, wanted: impl Fn(&Request) -> bool) -> Vec<Request> {
        self.lock()
            .log
            .entries()
            .iter()
            .filter(|request| wanted(request))
            .cloned()
            .collect()
    }

    /// Whether there was such a user.
    pub(super) fn edit(&self, email: &str, edit: impl FnOnce(&mut User)) -> bool {
        let mut state = self.lock();
        let Some(mut user) = state.world.users.named(email).next().cloned() else {
            return false;
        };
        edit(&mut user);
        state.change(None, Change::Replace(Box::new(user)));
        true
    }

    /// Whether there was such a user.
    pub(super) fn remove(&self, email: &str) -> bool {
        let mut state = self.lock();
        let id = state.world.users.named(email).next().map(|user| user.id);
        id.map(|id| state.change(None, Change::Remove(id)))
            .is_some()
    }

    pub(super) fn plan_signal(&self, signal: PlannedSignal) {
        self.lock().signals.plan(signal);
    }

    pub(super) fn send_signals(&self, number: u64, moment: Moment) {
        self.lock().signals.send_due(number, moment);
    }

    /// Does what waits for the next request. It may do anything, so the lock is not held.
    pub(super) fn act(&self) {
        let due = {
            let mut state = self.lock();
            let next = state.log.next_number();
            state.acts.due(next)
        };
        for act in due {
            act(self);
        }
    }

    /// Takes a request in: log, fault, key, rate limit.
    pub(super) fn arrive(&self, call: &Call) -> Arrival {
        let mut state = self.lock();
        let now = state.started.elapsed();
        let number = state
            .log
            .arrived(call, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let fault = state.faults.take(call, number);
        state
            .log
            .amend(number, |entry| entry.fault = fault.as_ref().map(What::name));
        let instead = fault.as_ref().and_then(What::instead);
        let settled = instead.or_else(|| state.admit(call, number, now, fault.as_ref()).err());
        Arrival {
            number,
            fault,
            settled,
        }
    }

    /// Carries out a request that nothing kept from it, and changes what it changes.
    pub(super) fn carry_out(&self, call: &Call, number: u64, fault: Option<&What>) -> Reply {
        let mut state = self.lock();
        for name in rules::stray_parameters(call) {
            state
                .log
                .note_unexpected(number, call, &format!("unknown parameter `{name}`"));
        }
        let done = match rules::act(&state.world, call) {
            Ok(done) => done,
            Err(refusal) => return state.refuse(call, number, &refusal),
        };
        match done.change {
            Some(change) if fault == Some(&What::IgnoreWrite) => state.world.ignore(&change),
            Some(change) => state.change(Some(number), change),
            None => {}
        }
        let mut reply = done.reply;
        if let Some(fault) = fault {
            fault.falsify(&state.world, &mut reply);
        }
        reply
    }

    pub(super) fn answered(&self, number: u64, status: u16) {
        self.lock().log.amend(number, |entry| entry.status = status);
    }

    /// A panic elsewhere leaves nothing half done here, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The one place where a user changes, by a request or not.
    fn change(&mut self, request: Option<u64>, change: Change) {
        let Self { world, history, .. } = self;
        history.watch(request, world, change);
    }

    /// Key, then rate limit.
    fn admit(
        &mut self,
        call: &Call,
        number: u64,
        now: Duration,
        fault: Option<&What>,
    ) -> Result<(), Reply> {
        let Some(header) = &call.authorization else {
            let refusal = Refusal::misuse(401, "there is no Authorization header");
            return Err(self.refuse(call, number, &refusal));
        };
        let secret = header.strip_prefix("Bearer ");
        let known = secret.and_then(|secret| self.keys.iter().position(|key| key.secret == secret));
        let Some(index) = known else {
            return Err(Reply::error(401, "this key is not known"));
        };
        self.log.amend(number, |entry| entry.key = Some(index));
        let key = &mut self.keys[index];
        if key.revoked {
            return Err(Reply::error(401, "this key was revoked"));
        }
        key.meter.admit(now).map_err(|wait| {
            self.log.amend(number, |entry| entry.over_limit = true);
            let reply = Reply::error(429, "more requests in a minute than this key may send");
            if fault == Some(&What::NoRetryAfter) {
                return reply;
            }
            reply.with("retry-after", whole_seconds(wait).to_string())
        })
    }

    fn refuse(&mut self, call: &Call, number: u64, refusal: &Refusal) -> Reply {
        if refusal.misuse {
            self.log.note_unexpected(number, call, &refusal.detail);
        }
        refusal.reply()
    }
}

/// Rounded up: a client that waits for so long is let in.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn from_json(next: Id, given: Value) -> User {
    let Value::Object(mut fields) = given else {
        return from_json(next, Value::Object(Map::new()));
    };
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let user_name = text("userName").unwrap_or_default();
    let display_name = text("displayName").unwrap_or_else(|| user_name.clone());
    let id = text("id").and_then(|id| Id::parse(&id)).unwrap_or(next);
    let mut user = User::new(id, &user_name, &display_name);
    if let Some(Value::Bool(active)) = fields.remove("active") {
        user.active = active;
    }
    if let Some(Value::Object(attributes)) = fields.remove(ATTRIBUTES) {
        user.attributes = attributes.into_iter().collect();
    }
    user.extra = fields;
    user
}
