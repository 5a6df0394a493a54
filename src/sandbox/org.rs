//! The organisation: the interface for tests, and the only place that applies changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::{Refusal, Reply};
use super::attributes::ATTRIBUTES;
use super::call::Call;
use super::faults::{Fault, Faults, What};
use super::history::{Changed, History};
use super::key::Key;
use super::log::{Log, Request};
use super::options::{BadKey, Options};
use super::rules;
use super::scheduled::Scheduled;
use super::signals::{Moment, PlannedSignal, Signals};
use super::user::{Id, User};
use super::world::{Change, World};

/// The state of the mock server. Clones are handles to the same organisation.
///
/// Changes by tests bypass the rules. They represent changes that others make in Omni, and errors of
/// Omni.
#[derive(Debug, Clone)]
pub struct Org(Arc<Mutex<State>>);

/// A test's action on the organisation.
type Action = Box<dyn FnOnce(&Org) + Send>;

#[derive(Debug)]
pub(super) struct State {
    pub(super) world: World,
    keys: Vec<Key>,
    bad_key: BadKey,
    retry_after: bool,
    faults: Faults,
    log: Log,
    signals: Signals,
    actions: Scheduled<Action>,
    history: History,
    started: Instant,
}

/// A request after fault injection, key check and rate limit.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) number: u64,
    pub(super) fault: Option<What>,
    /// The answer, if the request is not executed.
    pub(super) early_reply: Option<Reply>,
}

impl Org {
    pub(super) fn new(options: &Options) -> Self {
        let keys = options.keys.iter().chain(&options.personal_keys);
        Self(Arc::new(Mutex::new(State {
            world: World::new(options),
            keys: keys.map(|secret| Key::new(secret, options)).collect(),
            bad_key: options.bad_key,
            retry_after: options.retry_after,
            faults: Faults::default(),
            log: Log::default(),
            signals: Signals::default(),
            actions: Scheduled::default(),
            history: History::new(options.history),
            started: Instant::now(),
        })))
    }

    /// All users, in order of creation.
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

    /// The user with this email, ignoring case; the oldest if there are several.
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

    /// Creates a user and returns the id. `userName` is required. The defaults are the email for
    /// `displayName`, true for `active`, and the next id for `id` (also if it is not a UUID). Attributes
    /// and other fields are stored as given.
    pub fn add_user(&self, user: Value) -> String {
        let mut state = self.lock();
        let user = from_json(state.world.users.next_id(), user);
        let id = user.id.to_string();
        state.change(None, Change::Insert(Box::new(user)));
        id
    }

    /// Sets an attribute of a user; `null` clears it.
    ///
    /// # Panics
    /// If there is no such user.
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
    /// If there is no such user.
    #[track_caller]
    pub fn set_active(&self, email: &str, active: bool) {
        let found = self.edit(email, |user| user.active = active);
        assert!(found, "the sandbox has no user {email}");
    }

    /// Changes the display name of a user.
    ///
    /// # Panics
    /// If there is no such user.
    #[track_caller]
    pub fn set_display_name(&self, email: &str, name: &str) {
        let found = self.edit(email, |user| name.clone_into(&mut user.display_name));
        assert!(found, "the sandbox has no user {email}");
    }

    /// Changes the email of a user, which no request can.
    ///
    /// # Panics
    /// If there is no such user.
    #[track_caller]
    pub fn set_email(&self, email: &str, new: &str) {
        let found = self.edit(email, |user| new.clone_into(&mut user.user_name));
        assert!(found, "the sandbox has no user {email}");
    }

    /// Shows a field of a user in another form, as an error of Omni: `userName` null, `active` as text.
    ///
    /// # Panics
    /// If there is no such user.
    #[track_caller]
    pub fn show_field(&self, email: &str, name: &str, value: Value) {
        let found = self.edit(email, |user| {
            drop(user.extra.insert(name.to_owned(), value))
        });
        assert!(found, "the sandbox has no user {email}");
    }

    /// Removes a user.
    ///
    /// # Panics
    /// If there is no such user.
    #[track_caller]
    pub fn remove_user(&self, email: &str) {
        assert!(self.remove(email), "the sandbox has no user {email}");
    }

    /// Adds or replaces an attribute definition. By default `type` is `String`, `multiple_values` and
    /// `system` are false, and other fields are null or generated.
    pub fn define(&self, definition: Value) {
        self.lock().world.definitions.define(&definition);
    }

    /// The attribute definitions, as returned by the endpoint.
    #[must_use]
    pub fn definitions(&self) -> Vec<Value> {
        self.lock().world.definitions.records()
    }

    /// The requests since the start or the last [`Org::clear_requests`].
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests_where(|_| true)
    }

    /// The requests that are not `GET`.
    #[must_use]
    pub fn writes(&self) -> Vec<Request> {
        self.requests_where(|request| request.method != "GET")
    }

    /// The requests that the rate limit rejected.
    #[must_use]
    pub fn too_many(&self) -> Vec<Request> {
        self.requests_where(|request| request.over_limit)
    }

    /// Requests that a correct client never sends: with unknown fields or parameters, without a key,
    /// with invalid JSON, with a dotted `path` in a `PATCH`, … Clearing the requests keeps these.
    #[must_use]
    pub fn unexpected(&self) -> Vec<String> {
        self.lock().log.unexpected().to_vec()
    }

    /// Clears the requests. Their numbering continues.
    pub fn clear_requests(&self) {
        self.lock().log.clear();
    }

    /// Adds a fault to the end of the queue.
    pub fn fault(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// Clears the queue of faults.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Schedules an action right before the request with this number (see [`Org::requests`]), such as a
    /// concurrent change by another client.
    pub fn before(&self, number: u64, action: impl FnOnce(&Self) + Send + 'static) {
        self.lock().actions.add(number, Box::new(action));
    }

    /// Clears the scheduled actions.
    pub fn clear_actions(&self) {
        self.lock().actions.clear();
    }

    /// All changes of users and groups in order, by requests (answered or not) and by tests. Empty unless
    /// [`Options::history`] is set.
    #[must_use]
    pub fn history(&self) -> Vec<Changed> {
        self.lock().history.all().to_vec()
    }

    /// Revokes a key: its requests get 401.
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

    /// Returns whether the user exists.
    pub(super) fn edit(&self, email: &str, edit: impl FnOnce(&mut User)) -> bool {
        let mut state = self.lock();
        let Some(mut user) = state.world.users.named(email).next().cloned() else {
            return false;
        };
        let before = user.clone();
        edit(&mut user);
        state.world.touch(&before, &mut user);
        state.change(None, Change::Replace(Box::new(user)));
        true
    }

    /// Returns whether the user exists.
    pub(super) fn remove(&self, email: &str) -> bool {
        let mut state = self.lock();
        let id = state.world.users.named(email).next().map(|user| user.id);
        id.map(|id| state.change(None, Change::Remove(id)))
            .is_some()
    }

    pub(super) fn plan_signal(&self, signal: PlannedSignal) {
        self.lock().signals.add(signal);
    }

    pub(super) fn send_signals(&self, number: u64, moment: Moment) {
        self.lock().signals.send_due(number, moment);
    }

    /// Runs the actions due before the next request, without the lock, since they may take it.
    pub(super) fn run_due_actions(&self) {
        let due = {
            let mut state = self.lock();
            let next = state.log.next_number();
            state.actions.take_due(next)
        };
        for action in due {
            action(self);
        }
    }

    /// Accepts a request: log, fault, key, rate limit.
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
        let early_reply = instead.or_else(|| state.admit(call, number, now, fault.as_ref()).err());
        Arrival {
            number,
            fault,
            early_reply,
        }
    }

    /// Executes a request and applies its change.
    pub(super) fn execute(&self, call: &Call, number: u64, fault: Option<&What>) -> Reply {
        let mut state = self.lock();
        if rules::is_whoami(call) {
            return state.whoami(call);
        }
        for name in rules::stray_parameters(call) {
            state
                .log
                .note_unexpected(number, call, &format!("unknown parameter `{name}`"));
        }
        state.world.request = number;
        let done = match rules::evaluate(&state.world, call) {
            Ok(done) => done,
            Err(refusal) => return state.refuse(call, number, &refusal),
        };
        state.world.delay_listing(done.change.as_ref());
        let stale = done
            .change
            .as_ref()
            .filter(|_| fault == Some(&What::StaleAnswer));
        let stale = stale.and_then(|change| state.world.show_before(change));
        match done.change {
            Some(change) if fault == Some(&What::IgnoreWrite) => state.world.ignore(&change),
            Some(change) => state.change(Some(number), change),
            None => {}
        }
        let mut reply = stale.map_or(done.reply, |user| Reply::json(200, user));
        if let Some(fault) = fault {
            fault.falsify(&state.world, &mut reply);
        }
        reply
    }

    pub(super) fn answered(&self, number: u64, status: u16) {
        self.lock().log.amend(number, |entry| entry.status = status);
    }

    /// A panic can't leave the state inconsistent, so a poisoned lock is still usable.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The only place where a user, group or schedule changes, by a request or a test.
    pub(super) fn change(&mut self, request: Option<u64>, change: Change) {
        let next_request = self.log.next_number();
        let Self { world, history, .. } = self;
        history.apply(request, next_request, world, change);
    }

    /// Checks the key, then the rate limit.
    fn admit(
        &mut self,
        call: &Call,
        number: u64,
        now: Duration,
        fault: Option<&What>,
    ) -> Result<(), Reply> {
        let Some(header) = &call.authorization else {
            let refusal = Refusal::misuse(401, "missing Authorization header");
            return Err(self.refuse(call, number, &refusal));
        };
        let (bad, detail) = self.bad_key.answer();
        let Some(secret) = header.strip_prefix("Bearer ") else {
            return Err(Reply::error(400, "malformed Authorization header"));
        };
        let Some(index) = self.keys.iter().position(|key| key.secret == secret) else {
            return Err(Reply::error(bad, detail));
        };
        self.log.amend(number, |entry| entry.key = Some(index));
        let key = &mut self.keys[index];
        if key.revoked {
            return Err(Reply::error(bad, detail));
        }
        if key.is_personal && rules::is_scim(call) {
            let detail = "User-scoped API keys are not allowed to access the SCIM API";
            return Err(Reply::error(403, detail));
        }
        let Err(wait) = key.meter(now) else {
            return Ok(());
        };
        self.log.amend(number, |entry| entry.over_limit = true);
        let reply = Reply::error(429, "rate limit of this key exceeded");
        if fault == Some(&What::NoRetryAfter) || !self.retry_after {
            return Err(reply);
        }
        Err(reply.with("retry-after", whole_seconds(wait).to_string()))
    }

    /// The owner of the key: the first user that is an organisation admin.
    fn whoami(&self, call: &Call) -> Reply {
        let header = call.authorization.as_deref().unwrap_or_default();
        let is_own = |key: &&Key| header.strip_prefix("Bearer ") == Some(&key.secret);
        let is_personal = self
            .keys
            .iter()
            .find(is_own)
            .is_some_and(|key| key.is_personal);
        if !self.world.whoami {
            return Reply::error(404, "no such endpoint");
        }
        let id = self
            .world
            .users
            .after(0)
            .find(|user| user.is_admin())
            .map(|user| user.id.to_string());
        Reply::json(
            200,
            json!({
                "keyScope": if is_personal { "user" } else { "organization" },
                "orgRole": "ORG_ADMIN",
                "rolesByModel": {},
                "user": {"id": "00000000-0000-4000-8000-000000000000", "membershipId": id},
            }),
        )
    }

    fn refuse(&mut self, call: &Call, number: u64, refusal: &Refusal) -> Reply {
        if refusal.misuse {
            self.log.note_unexpected(number, call, &refusal.detail);
        }
        refusal.reply()
    }
}

/// Rounded up, so that a client that waits this long can pass.
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
