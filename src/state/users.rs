//! Lists of users by state, and the search for users by the beginning of the email. A list is in the order of the
//! emails as they are compared.

use super::managed::user_state;
use super::sql::{Count, from_json, keyed_email};
use super::{StateDb, StateError, UserState, observation, readings};
use crate::model::{Email, ObservedUser, Policy, Protection, UserFilter, fold, trim};
use chrono::{DateTime, Utc};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

/// Selects users.
#[derive(Clone, Debug)]
pub struct UserQuery {
    /// Their state.
    pub filter: UserFilter,
    /// The beginning of their emails, compared like emails.
    pub prefix: String,
    /// The email after which the list begins; blank for its beginning.
    pub after: String,
    /// The maximum number of users.
    pub limit: usize,
}

/// A user in a list.
#[derive(Clone, Debug)]
pub struct ListedUser {
    /// The email.
    pub email: Email,
    /// What is known about the user.
    pub state: UserState,
    /// Whether the user is never removed.
    pub is_protected: bool,
}

/// A part of a list of users.
#[derive(Clone, Debug)]
pub struct UserList {
    /// The users.
    pub users: Vec<ListedUser>,
    /// The email after which the list goes on.
    pub next: Option<Email>,
    /// The number of users with this prefix in each state.
    pub counts: Vec<(UserFilter, usize)>,
}

impl StateDb {
    /// Lists users.
    pub async fn users(
        &self,
        query: UserQuery,
        policy: &Policy,
        now: DateTime<Utc>,
    ) -> Result<UserList, StateError> {
        let policy = policy.clone();
        self.read(move |db| {
            let key_users = readings::key_user_ids(db)?;
            let protection = Protection { policy, key_users };
            list(db, &query, &protection, now)
        })
        .await
    }

    /// Whether a user is protected.
    pub async fn is_protected(&self, email: &Email, policy: &Policy) -> Result<bool, StateError> {
        let (email, policy) = (email.clone(), policy.clone());
        self.read(move |db| {
            let key_users = readings::key_user_ids(db)?;
            let user = observation::observed(db, &email)?;
            Ok(Protection { policy, key_users }.covers(&email, user.as_deref()))
        })
        .await
    }

    /// The first known emails that match, by their form in which they are compared.
    pub async fn emails_where(
        &self,
        is_wanted: impl Fn(&str) -> bool + Send + 'static,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<Email>, StateError> {
        self.read(move |db| {
            let all = Prefix::new("");
            let mut query = db.prepare(&keys_of(UserFilter::All, now))?;
            let mut rows = query.query((&all.first, &all.end, ""))?;
            let mut emails = Vec::new();
            while let Some(row) = rows.next()?
                && emails.len() < limit
            {
                let key = row.get_ref("email_key")?.as_str()?;
                if is_wanted(key) {
                    emails.push(email(db, key)?);
                }
            }
            Ok(emails)
        })
        .await
    }
}

/// A query of the keys of users between ?1 and ?2, after ?3. Which users are protected is not a matter of the database:
/// for these, it yields all. Each part has the range, so that it reads no more of its index.
fn keys_of(filter: UserFilter, now: DateTime<Utc>) -> String {
    let now = now.timestamp_millis();
    let part = |table: &str, condition: &str| {
        format!(
            "SELECT DISTINCT email_key FROM {table}
             WHERE email_key >= ?1 AND email_key < ?2 AND email_key > ?3 AND {condition}"
        )
    };
    let managed = || part("managed", "removed_id IS NULL");
    let deactivated = || part("deactivated", "true");
    let quarantined = || part("quarantine", &format!("until > {now}"));
    match filter {
        UserFilter::Managed => managed(),
        UserFilter::Missing => part(
            "managed",
            "missing_since IS NOT NULL AND removed_id IS NULL",
        ),
        UserFilter::Deactivated => deactivated(),
        UserFilter::Quarantined => quarantined(),
        UserFilter::All | UserFilter::Protected => {
            let observed = part("observed_users", "users IS NOT 0");
            [observed, managed(), deactivated(), quarantined()].join(" UNION ")
        }
    }
}

/// The keys with a prefix.
struct Prefix {
    first: String,
    /// The first key after them.
    end: String,
}

impl Prefix {
    fn new(prefix: &str) -> Self {
        let first = fold(trim(prefix)).into_owned();
        let end = format!("{first}{}", char::MAX);
        Self { first, end }
    }
}

fn list(
    db: &Connection,
    query: &UserQuery,
    protection: &Protection,
    now: DateTime<Utc>,
) -> rusqlite::Result<UserList> {
    let prefix = Prefix::new(&query.prefix);
    let after = fold(trim(&query.after)).into_owned();
    // One more shows whether the list goes on.
    let wanted = query.limit.saturating_add(1);
    let mut counts = Vec::new();
    let mut keys = Vec::new();
    for filter in UserFilter::ALL {
        let is_listed = filter == query.filter;
        let wanted = if is_listed { wanted } else { 0 };
        let (count, found) = match filter {
            UserFilter::Protected => protected(db, &prefix, &after, wanted, protection, now)?,
            _ => (
                count(db, filter, &prefix, now)?,
                page(db, filter, &prefix, &after, wanted, now)?,
            ),
        };
        counts.push((filter, count));
        if is_listed {
            keys = found;
        }
    }
    let goes_on = keys.len() > query.limit;
    keys.truncate(query.limit);
    let users = keys.iter().map(|key| listed(db, key, protection));
    let users = users.collect::<rusqlite::Result<Vec<_>>>()?;
    let last = users.last().filter(|_| goes_on);
    Ok(UserList {
        next: last.map(|user| user.email.clone()),
        users,
        counts,
    })
}

fn count(
    db: &Connection,
    filter: UserFilter,
    prefix: &Prefix,
    now: DateTime<Utc>,
) -> rusqlite::Result<usize> {
    let sql = format!("SELECT count(*) FROM ({})", keys_of(filter, now));
    let Count(count) = db
        .prepare(&sql)?
        .query_row((&prefix.first, &prefix.end, ""), |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn page(
    db: &Connection,
    filter: UserFilter,
    prefix: &Prefix,
    after: &str,
    limit: usize,
    now: DateTime<Utc>,
) -> rusqlite::Result<Vec<String>> {
    let sql = format!("{} ORDER BY email_key LIMIT ?4", keys_of(filter, now));
    let limit = Count(limit as u64);
    db.prepare(&sql)?
        .query_map((&prefix.first, &prefix.end, after, limit), |row| row.get(0))?
        .collect()
}

/// The number of protected users, and the keys of some of them.
fn protected(
    db: &Connection,
    prefix: &Prefix,
    after: &str,
    limit: usize,
    protection: &Protection,
    now: DateTime<Utc>,
) -> rusqlite::Result<(usize, Vec<String>)> {
    let sql = format!(
        "SELECT email_key, iif(users = 1, user, NULL) AS user
         FROM ({}) LEFT JOIN observed_users USING (email_key) ORDER BY email_key",
        keys_of(UserFilter::Protected, now)
    );
    let mut query = db.prepare(&sql)?;
    let mut rows = query.query((&prefix.first, &prefix.end, ""))?;
    let (mut count, mut keys) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        if !is_protected(row, protection)? {
            continue;
        }
        count += 1;
        let key = row.get_ref("email_key")?.as_str()?;
        if keys.len() < limit && key > after {
            keys.push(key.to_owned());
        }
    }
    Ok((count, keys))
}

fn is_protected(row: &Row<'_>, protection: &Protection) -> rusqlite::Result<bool> {
    let email: Email = row.get("email_key")?;
    let user = row.get_ref("user")?;
    // Most users are recognised without reading them.
    let needs_user = protection.policy.protect_admins && user != ValueRef::Null;
    if !needs_user || protection.covers(&email, None) {
        return Ok(protection.covers(&email, None));
    }
    let user: ObservedUser = from_json(user)?;
    Ok(protection.covers(&email, Some(&user)))
}

fn listed(db: &Connection, key: &str, protection: &Protection) -> rusqlite::Result<ListedUser> {
    let email = email(db, key)?;
    let state = user_state(db, &email)?;
    Ok(ListedUser {
        is_protected: protection.covers(&email, state.observed.as_deref()),
        email,
        state,
    })
}

/// The email as written, in Omni if the user was seen there.
fn email(db: &Connection, key: &str) -> rusqlite::Result<Email> {
    let tables = ["observed_users", "managed", "deactivated", "quarantine"];
    let parts =
        tables.map(|table| format!("SELECT email_key, email FROM {table} WHERE email_key = ?1"));
    db.prepare_cached(&format!("{} LIMIT 1", parts.join(" UNION ALL ")))?
        .query_row([key], keyed_email)
}
