//! Sample users and schedules, the same ones every time.

use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};

use super::owned::Owned;
use super::store::Store;
use super::user::User;

const GIVEN_NAMES: [&str; 12] = [
    "Ada", "Boris", "Chidi", "Dana", "Emre", "Fatima", "Grace", "Hiro", "Inés", "Jamal", "Kaisa",
    "Linh",
];
const SURNAMES: [&str; 7] = [
    "Abbott", "Brandt", "Castillo", "Diallo", "Evans", "Fontaine", "Gupta",
];
const REGIONS: [&[&str]; 5] = [
    &["north"],
    &["north", "south"],
    &[],
    &["east"],
    &["west", "east"],
];
const DEPARTMENTS: [&str; 4] = ["Sales", "Finance", "Support", "Engineering"];
const PERIODS: [&str; 3] = ["Daily", "Weekly", "Monthly"];
/// The creation time of the first user: 2024-01-01. The others follow every minute.
const FIRST_DAY: i64 = 1_704_067_200;

/// Fills an empty organisation with `user0001@example.com`, `user0002@example.com`, ….
pub(super) fn fill(store: &mut Store, users: usize) {
    for n in 0..users {
        let email = format!("user{:04}@example.com", n + 1);
        let name = format!(
            "{} {}",
            GIVEN_NAMES[n % GIVEN_NAMES.len()],
            SURNAMES[n % SURNAMES.len()]
        );
        let mut user = User::new(store.next_id(), &email, &name);
        user.attributes = attributes(n)
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let minutes = TimeDelta::minutes(i64::try_from(n).unwrap_or_default());
        user.created = DateTime::from_timestamp(FIRST_DAY, 0).unwrap_or_default() + minutes;
        user.modified = user.created;
        store.insert(user);
    }
}

/// Sample schedules of some users, who own one or two each.
pub(super) fn schedules(users: &Store, schedules: usize) -> Owned {
    let mut owned = Owned::default();
    let owners = (0..schedules).map(|n| 7 + 5 * (2 * n / 3));
    for (n, owner) in owners.enumerate() {
        let owner = owner % users.len().max(1);
        if let Some(user) = users.after(owner).next() {
            let name = format!("{} report {}", PERIODS[n % PERIODS.len()], n + 1);
            let recipients = u32::try_from(n % 4).ok().filter(|count| *count > 0);
            let schedule = owned.new_schedule(user.id, &name, recipients);
            owned.schedules.push(schedule);
        }
    }
    owned
}

/// The values use different strides, so that users differ and each attribute is missing for some
/// (`null`).
fn attributes(n: usize) -> [(&'static str, Value); 5] {
    let regions = REGIONS[n % REGIONS.len()];
    [
        (
            "region",
            if regions.is_empty() {
                Value::Null
            } else {
                json!(regions)
            },
        ),
        (
            "department",
            some_of(n % 7 != 6, || json!(DEPARTMENTS[n % DEPARTMENTS.len()])),
        ),
        (
            "cost_center",
            some_of(n % 3 != 2, || json!((100 + n % 50).to_string())),
        ),
        (
            "quota",
            some_of(n.is_multiple_of(4), || {
                json!([(n % 10).to_string(), format!("{}.50", n % 9)])
            }),
        ),
        ("tier", some_of(n.is_multiple_of(11), || json!("gold"))),
    ]
}

fn some_of(has: bool, value: impl FnOnce() -> Value) -> Value {
    if has { value() } else { Value::Null }
}
