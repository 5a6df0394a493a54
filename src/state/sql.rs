//! Conversions between our types and SQLite's.

use crate::model::{
    ChangeId, ChangeKey, ChangeOutcome, Email, Fingerprint, GroupId, GroupName, GroupRef,
    GuardRule, Operation, RoleChange, RoleScope, RunNumber, RunResult, RunTime, ScheduleId,
    Subject, Trigger, UserId, fold,
};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time, as milliseconds.
pub(super) struct Time(pub(super) DateTime<Utc>);

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.timestamp_millis().into())
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let millis = value.as_i64()?;
        DateTime::from_timestamp_millis(millis)
            .map(Self)
            .ok_or(FromSqlError::OutOfRange(millis))
    }
}

/// A day, as `YYYY-MM-DD`.
pub(super) struct Day(pub(super) NaiveDate);

impl ToSql for Day {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.to_string().into())
    }
}

impl FromSql for Day {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let day = value.as_str()?.parse();
        day.map(Self).map_err(|_| unknown("a day"))
    }
}

/// A file time in nanoseconds, because two files may be written within one millisecond.
pub(super) struct FileTime(pub(super) SystemTime);

impl ToSql for FileTime {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Ok(match self.0.duration_since(UNIX_EPOCH) {
            Ok(since) => nanos(since),
            Err(before) => -nanos(before.duration()),
        }
        .into())
    }
}

impl FromSql for FileTime {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let nanos = value.as_i64()?;
        let span = Duration::from_nanos(nanos.unsigned_abs());
        let time = if nanos < 0 {
            UNIX_EPOCH.checked_sub(span)
        } else {
            UNIX_EPOCH.checked_add(span)
        };
        time.map(Self).ok_or(FromSqlError::OutOfRange(nanos))
    }
}

/// A count. Counts never exceed SQLite's integers.
pub(super) struct Count(pub(super) u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(i64::try_from(self.0).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let count = value.as_i64()?;
        let count = u64::try_from(count).map_err(|_| FromSqlError::OutOfRange(count))?;
        Ok(Self(count))
    }
}

impl ToSql for RunTime {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.millis().into())
    }
}

impl FromSql for RunTime {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_millis)
    }
}

/// A length of time, as milliseconds.
pub(super) struct Span(pub(super) TimeDelta);

impl ToSql for Span {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.num_milliseconds().into())
    }
}

impl FromSql for Span {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let millis = value.as_i64()?;
        let span = TimeDelta::try_milliseconds(millis);
        span.map(Self).ok_or(FromSqlError::OutOfRange(millis))
    }
}

macro_rules! number {
    ($($type:ident),*) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(i64::try_from(self.0).unwrap_or(i64::MAX).into())
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Count::column_result(value).map(|count| Self(count.0))
            }
        }
    )*};
}

number!(RunNumber, ChangeId);

/// An unknown word means that the file was altered.
fn unknown(what: &str) -> FromSqlError {
    FromSqlError::Other(format!("not {what}").into())
}

macro_rules! word {
    ($($type:ident $what:literal),*) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Self::parse(value.as_str()?).ok_or_else(|| unknown($what))
            }
        }
    )*};
}

word!(Trigger "a trigger", Operation "an operation", ChangeOutcome "an outcome", RunResult "a result", GuardRule "a safety limit");

impl ToSql for Email {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Email {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::stored(value.as_str()?).map_err(|_| unknown("an email"))
    }
}

/// The address of a row, which must match the key of the row: a flipped bit in it would name another person.
pub(super) fn keyed_email(row: &Row<'_>) -> rusqlite::Result<Email> {
    let (key, email): (String, Email) = (row.get("email_key")?, row.get("email")?);
    // The key may have been folded by older rules.
    if fold(&key) == email.folded() {
        return Ok(email);
    }
    let at = row.as_ref().column_index("email")?;
    let problem = "an address differs from its key".into();
    Err(rusqlite::Error::FromSqlConversionFailure(
        at,
        Type::Text,
        problem,
    ))
}

impl ToSql for UserId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for UserId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or_else(|| unknown("a user's id"))
    }
}

impl ToSql for GroupId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for GroupId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or_else(|| unknown("a group's id"))
    }
}

impl ToSql for GroupName {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for GroupName {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).map_err(|_| unknown("a group's name"))
    }
}

/// The email of a subject as stored; empty for a group, whose name is in a column of its own.
pub(super) fn email(subject: &Subject) -> &str {
    subject.email().map_or("", Email::as_str)
}

/// The email of a subject as it is compared; empty for a group.
pub(super) fn email_key(subject: &Subject) -> Cow<'_, str> {
    subject.email().map_or("".into(), Email::folded)
}

/// The subject in a row.
pub(super) fn subject(row: &Row<'_>) -> rusqlite::Result<Subject> {
    match row.get_ref("email")?.as_str()? {
        "" => Ok(Subject::Group(row.get("group_name")?)),
        _ => Ok(Subject::User(row.get("email")?)),
    }
}

/// What the change in a row is about.
pub(super) fn key(row: &Row<'_>) -> rusqlite::Result<ChangeKey> {
    let subject = subject(row)?;
    let group: Option<GroupName> = row.get("group_name")?;
    Ok(ChangeKey {
        group: group.filter(|_| subject.email().is_some()),
        subject,
        scope: role_scope(row)?,
        schedule: schedule(row)?,
    })
}

/// The connection and the model of the role in a row.
pub(super) fn role_scope(row: &Row<'_>) -> rusqlite::Result<Option<RoleScope>> {
    let Some((connection, model)) = (match row.get_ref("role_scope")? {
        ValueRef::Null => None,
        text => text.as_str()?.split_once('/'),
    }) else {
        return Ok(None);
    };
    let model = (!model.is_empty()).then_some(model);
    let scope = RoleScope::parse(connection, model);
    scope.map(Some).ok_or_else(|| unknown("an id").into())
}

/// The start of the column `role_scope` for a transfer, before the id of the schedule. Other ids have no colon.
const SCHEDULE: &str = "schedule:";

/// The schedule of the transfer in a row.
fn schedule(row: &Row<'_>) -> rusqlite::Result<Option<ScheduleId>> {
    let id = match row.get_ref("role_scope")? {
        ValueRef::Null => None,
        text => text.as_str()?.strip_prefix(SCHEDULE),
    };
    let id = id.map(|id| ScheduleId::parse(id).ok_or_else(|| unknown("an id")));
    Ok(id.transpose()?)
}

/// The role of a change as stored: JSON, and its connection and model, or the schedule of a transfer.
pub(super) fn role_columns(
    role: Option<&RoleChange>,
    key: &ChangeKey,
) -> (Option<String>, Option<String>) {
    let schedule = key.schedule.as_ref();
    let schedule = schedule.map(|id| format!("{SCHEDULE}{id}"));
    let scope = key.scope.as_ref().map(RoleScope::text);
    (role.map(to_json), scope.or(schedule))
}

/// The role of the change in a row.
pub(super) fn role(row: &Row<'_>) -> rusqlite::Result<Option<RoleChange>> {
    match row.get_ref("role")? {
        ValueRef::Null => Ok(None),
        json => Ok(from_json(json)?),
    }
}

/// The group of a change as stored: its id and its name.
pub(super) fn group_columns(group: Option<&GroupRef>) -> (Option<&str>, Option<&str>) {
    let id = group.and_then(|group| group.id.as_ref());
    (
        id.map(GroupId::as_str),
        group.map(|group| group.name.as_str()),
    )
}

/// The group in a row: that of a membership, or the one that is changed itself.
pub(super) fn group(row: &Row<'_>) -> rusqlite::Result<Option<GroupRef>> {
    let (id, name): (_, Option<GroupName>) = (row.get("group_id")?, row.get("group_name")?);
    Ok(name.map(|name| GroupRef { id, name }))
}

impl ToSql for Fingerprint {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_slice().into())
    }
}

impl FromSql for Fingerprint {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 32]>::column_result(value).map(Self)
    }
}

/// A value as stored JSON, which people can read too.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts, numbers, lists and maps by text are always JSON")
}

/// Reads stored JSON. The error says nothing about it, since it may contain values of users.
pub(super) fn from_json<T: DeserializeOwned>(json: ValueRef<'_>) -> FromSqlResult<T> {
    serde_json::from_str(json.as_str()?)
        .map_err(|_| FromSqlError::Other("not the expected JSON".into()))
}

/// The last number that a table has given, even if its row was deleted.
pub(super) fn last_number(db: &Connection, table: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?
        .query_row([table], |row| row.get(0))
        .optional()
}
