//! The tables, by version.

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, TransactionBehavior};

/// The steps from each version to the next. A released step is never altered.
pub(super) const STEPS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
    include_str!("schema/10.sql"),
    include_str!("schema/11.sql"),
    include_str!("schema/12.sql"),
    include_str!("schema/13.sql"),
    include_str!("schema/14.sql"),
    include_str!("schema/15.sql"),
    include_str!("schema/16.sql"),
    include_str!("schema/17.sql"),
    include_str!("schema/18.sql"),
    include_str!("schema/19.sql"),
    include_str!("schema/20.sql"),
    include_str!("schema/21.sql"),
    include_str!("schema/22.sql"),
    include_str!("schema/23.sql"),
];

/// Marks a file as our state database (`OUSJ`).
pub(super) const APPLICATION_ID: i64 = 0x4F55_534A;

/// The version after these steps.
pub(super) fn newest(steps: &[&str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

/// The version of a database.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// The application id of a database.
pub(super) fn application_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

/// Creates the tables of an empty database for an organisation.
pub(super) fn create(connection: &mut Connection, base_url: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    take_steps(&transaction, STEPS)?;
    transaction.execute(
        "INSERT INTO organisation (id, base_url) VALUES (1, ?1)",
        [base_url],
    )?;
    transaction.commit()
}

/// Takes all steps that a database has not taken yet, or none.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    take_steps(&transaction, steps)?;
    transaction.commit()
}

fn take_steps(connection: &Connection, steps: &[&str]) -> rusqlite::Result<()> {
    add_email_digest(connection)?;
    let taken = usize::try_from(version(connection)?).unwrap_or(usize::MAX);
    for step in steps.iter().skip(taken) {
        connection.execute_batch(step)?;
    }
    connection.pragma_update(None, "user_version", newest(steps))
}

/// Adds the function `email_digest`, which turns a folded email into the digest of
/// [`Email::digest`](crate::model::Email::digest).
fn add_email_digest(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("email_digest", 1, flags, |context| {
        let folded: String = context.get(0)?;
        Ok(blake3::hash(folded.as_bytes()).as_bytes().to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: &str = "ALTER TABLE managed ADD COLUMN why TEXT; UPDATE managed SET why = 'old';";

    fn first() -> Connection {
        let mut connection = Connection::open_in_memory().expect("a database");
        create(&mut connection, "https://a.example").expect("the tables");
        connection
            .execute(
                "INSERT INTO managed (email_key, email, since) VALUES ('a@x.co', 'A@x.co', 1)",
                [],
            )
            .expect("a row");
        connection
    }

    #[test]
    fn an_older_database_takes_only_the_missing_steps() {
        let mut connection = first();
        let before = version(&connection).expect("a version");
        let steps = [STEPS, &[LATER]].concat();
        for _ in 0..2 {
            migrate(&mut connection, &steps).expect("it is brought up to date");
            assert_eq!(version(&connection), Ok(before + 1));
        }
        let why: String = connection
            .query_row("SELECT why FROM managed", [], |row| row.get(0))
            .expect("the row is still there");
        assert_eq!(why, "old");
    }

    #[test]
    fn a_failed_step_is_rolled_back() {
        let mut connection = first();
        let before = version(&connection);
        let steps = [STEPS, &[LATER, "no SQL"]].concat();
        assert!(migrate(&mut connection, &steps).is_err());
        assert_eq!(version(&connection), before);
        assert!(connection.prepare("SELECT why FROM managed").is_err());
    }
}
