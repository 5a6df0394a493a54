//! Omni's JSON in responses. Private to this module: the rest of the crate sees users, not JSON.

use crate::model::{
    AttributeName, Definition, Email, GroupId, ListedMemberships, ObservedUser, Schema, Text,
    UserId, UserSpec, Value, ValueType,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// Attributes as received, numbers with every digit.
type RawAttributes<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// One page of the list.
#[derive(Deserialize)]
struct PageDoc<'a> {
    #[serde(rename = "Resources", borrow, default)]
    resources: Vec<&'a RawValue>,
    #[serde(rename = "totalResults")]
    total: u64,
}

/// The id of an entry that can't be read as a user.
#[derive(Deserialize)]
struct IdDoc<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct UserDoc<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "userName", borrow)]
    user_name: Cow<'a, str>,
    #[serde(rename = "displayName", borrow)]
    display_name: Option<Cow<'a, str>>,
    active: Option<bool>,
    #[serde(rename = "urn:omni:params:1.0:UserAttribute", borrow)]
    attributes: Option<RawAttributes<'a>>,
    #[serde(borrow)]
    groups: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<MetaDoc<'a>>,
}

/// A group of a user.
#[derive(Deserialize)]
struct UserGroupDoc<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

#[derive(Deserialize)]
struct MetaDoc<'a> {
    #[serde(rename = "lastModified", borrow)]
    modified: Option<Cow<'a, str>>,
}

/// One page of the list of users.
#[derive(Debug)]
pub struct UserListPage {
    /// The users with an email as `userName`.
    pub users: Vec<ObservedUser>,
    /// The ids of users with another `userName`.
    pub others: Vec<UserId>,
    /// The entries that can't be read, such as one without `userName`: their ids, or the entries themselves.
    pub(super) unreadable: Vec<String>,
    /// The groups of the users, if they were asked for.
    pub(super) memberships: ListedMemberships,
    /// The number of users in the organisation, according to Omni.
    pub total: u64,
    /// The size of the response in bytes.
    pub(super) bytes: usize,
    /// The number of users that were asked for, once known.
    pub asked: u32,
    /// Whether Omni refused a longer page before.
    pub longer_was_refused: bool,
}

impl UserListPage {
    /// The number of pages after this one, if it is the first.
    #[must_use]
    pub fn pages_left(&self) -> usize {
        let length = self.len().max(1) as u64;
        let left = self.total.saturating_sub(length).div_ceil(length);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Parses the body of one page, without the groups of users.
    ///
    /// # Errors
    /// If the body is not a page.
    pub fn parse(body: &[u8]) -> serde_json::Result<Self> {
        Self::parse_entries(body, false)
    }

    /// Parses the body of one page, with the groups of users.
    ///
    /// # Errors
    /// If the body is not a page.
    pub fn parse_with_groups(body: &[u8]) -> serde_json::Result<Self> {
        Self::parse_entries(body, true)
    }

    fn parse_entries(body: &[u8], with_groups: bool) -> serde_json::Result<Self> {
        let doc: PageDoc<'_> = serde_json::from_slice(body)?;
        let mut page = Self {
            users: Vec::new(),
            others: Vec::new(),
            unreadable: Vec::new(),
            memberships: ListedMemberships::default(),
            total: doc.total,
            bytes: body.len(),
            asked: 0,
            longer_was_refused: false,
        };
        for entry in doc.resources {
            page.add(entry, with_groups);
        }
        Ok(page)
    }

    /// Adds an entry. One that can't be read must not hide the others.
    fn add(&mut self, entry: &RawValue, with_groups: bool) {
        let user: Option<UserDoc<'_>> = serde_json::from_str(entry.get()).ok();
        let user = user.filter(|user| !user.user_name.trim().is_empty());
        match user.and_then(|user| Some((UserId::parse(&user.id)?, user))) {
            Some((id, user)) => {
                let groups = user.groups.filter(|_| with_groups);
                match user.read() {
                    Some(user) => {
                        self.add_groups(&user.id, groups);
                        self.users.push(user);
                    }
                    None => self.others.push(id),
                }
            }
            None => {
                let id: Option<IdDoc<'_>> = serde_json::from_str(entry.get()).ok();
                let id = id.map_or(entry.get().into(), |doc| doc.id.into_owned());
                self.unreadable.push(id);
            }
        }
    }

    fn add_groups(&mut self, user: &UserId, groups: Option<&RawValue>) {
        let Some(groups) = groups else { return };
        match serde_json::from_str::<Vec<UserGroupDoc<'_>>>(groups.get()) {
            Ok(groups) => {
                let groups = groups.iter();
                groups.for_each(|group| self.memberships.add(user, &group.value));
            }
            Err(_) => self.memberships.add_unreadable(),
        }
    }

    /// Whether the page is complete and every user on it has this email.
    pub(super) fn shows_all_of(&self, email: &Email) -> bool {
        self.others.is_empty()
            && self.unreadable.is_empty()
            && self.total == self.len() as u64
            && self.users.iter().all(|user| user.email == *email)
    }

    /// Whether the page shows this user in this group. The groups of users must have been asked for.
    #[must_use]
    pub fn has_member(&self, group: &GroupId, user: &UserId) -> bool {
        self.memberships.has_member(group, user)
    }

    /// The number of users on the page.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len() + self.others.len() + self.unreadable.len()
    }

    /// Whether the list ends with this page, which starts at this user, counted from 1.
    pub(super) fn is_last(&self, start: u64) -> bool {
        start + self.len() as u64 > self.total
    }

    /// Whether there are no users on the page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The user in the response to a read by id, which must have that id. Such a response is complete: what it lacks has no
/// value, and a user is active unless it says otherwise.
pub(super) fn parse_user_with(id: &UserId, body: &[u8]) -> serde_json::Result<ObservedUser> {
    let same = |user: &ObservedUser| user.id.as_str().eq_ignore_ascii_case(id.as_str());
    let unusable = || serde::de::Error::custom("the response has a different user");
    let user = serde_json::from_slice::<UserDoc<'_>>(body)?.read();
    let mut user = user.filter(same).ok_or_else(unusable)?;
    user.active.get_or_insert(true);
    user.attributes.get_or_insert_default();
    Ok(user)
}

/// What the response to a write shows of a user. It may be partial.
#[derive(Debug)]
pub(super) struct WriteAnswer {
    id: UserId,
    email: Email,
    display_name: Option<Text>,
    active: Option<bool>,
    /// `None` as a value says that the attribute has none.
    attributes: Vec<(AttributeName, Option<Value>)>,
    modified: Option<DateTime<Utc>>,
}

impl WriteAnswer {
    /// Parses the body; `None` without a usable id and email.
    pub(super) fn parse(body: &[u8]) -> serde_json::Result<Option<Self>> {
        serde_json::from_slice(body).map(|doc: UserDoc<'_>| doc.answer())
    }

    /// The user after a creation.
    pub(super) fn created(self, spec: &UserSpec) -> ObservedUser {
        let given = spec.attributes.iter();
        let given = given.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        let expected = ObservedUser {
            id: self.id.clone(),
            email: self.email.clone(),
            display_name: spec.display_name.clone().unwrap_or_default(),
            active: Some(true),
            attributes: Some(given.collect()),
            modified: None,
            owned: None,
        };
        self.over(expected)
    }

    /// The user after the write: what was sent, unless the response shows another value. `expected` is the user as
    /// known before, with what was sent.
    pub(super) fn over(self, expected: ObservedUser) -> ObservedUser {
        let shown: HashSet<_> = self.attributes.iter().map(|(name, _)| name).collect();
        let shows_all = expected.values().all(|(name, _)| shown.contains(name));
        let attributes = expected.attributes.map(|known| {
            let mut values: BTreeMap<_, _> = (&known)
                .into_iter()
                .map(|(name, value)| (name.clone(), Some(value.clone())))
                .collect();
            values.extend(self.attributes.iter().cloned());
            let values = values.into_iter();
            values
                .filter_map(|(name, value)| Some((name, value?)))
                .collect()
        });
        ObservedUser {
            id: self.id,
            email: self.email,
            display_name: self.display_name.unwrap_or(expected.display_name),
            active: self.active.or(expected.active),
            attributes,
            // What a partial response does not show may have changed as well.
            modified: self.modified.filter(|_| shows_all),
            owned: None,
        }
    }
}

impl UserDoc<'_> {
    fn read(self) -> Option<ObservedUser> {
        // Names that differ only in surrounding blanks become the same.
        let attributes = self.attributes.as_ref().map(|shown| {
            let values = shown.iter();
            values
                .filter_map(|(name, raw)| Some((AttributeName::new(name), read_value(raw)?)))
                .collect()
        });
        Some(ObservedUser {
            id: UserId::parse(&self.id)?,
            email: Email::known(&self.user_name).ok()?,
            display_name: self.display_name().unwrap_or_default(),
            active: self.active,
            attributes,
            modified: self.modified(),
            owned: None,
        })
    }

    fn answer(self) -> Option<WriteAnswer> {
        let shown = self.attributes.iter().flatten();
        Some(WriteAnswer {
            id: UserId::parse(&self.id)?,
            email: Email::known(&self.user_name).ok()?,
            display_name: self.display_name(),
            active: self.active,
            attributes: shown
                .map(|(name, raw)| (AttributeName::new(name), read_value(raw)))
                .collect(),
            modified: self.modified(),
        })
    }

    fn display_name(&self) -> Option<Text> {
        let name = self.display_name.as_deref();
        name.map(|name| crate::model::trim(name).into())
    }

    fn modified(&self) -> Option<DateTime<Utc>> {
        let text = self.meta.as_ref()?.modified.as_deref()?;
        Some(DateTime::parse_from_rfc3339(text).ok()?.to_utc())
    }
}

fn read_value(raw: &RawValue) -> Option<Value> {
    let text = raw.get();
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        return Value::many(items.into_iter().filter_map(read_text));
    }
    Value::one(&read_text(raw)?)
}

/// A string as it is; anything else as written, numbers with every digit.
fn read_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<Quoted<'_>>(text)
            .ok()
            .map(|text| text.0),
        b'n' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

#[derive(Deserialize)]
struct Quoted<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct DefinitionsDoc {
    records: Vec<DefinitionDoc>,
}

#[derive(Deserialize)]
struct DefinitionDoc {
    name: String,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
    #[serde(default)]
    multiple_values: Option<bool>,
    #[serde(default)]
    system: bool,
    #[serde(default)]
    default_value: Option<Box<RawValue>>,
}

pub(super) fn parse_definitions(body: &[u8]) -> serde_json::Result<Schema> {
    let doc: DefinitionsDoc = serde_json::from_slice(body)?;
    Ok(Schema::new(doc.records.into_iter().map(|record| {
        Definition {
            name: AttributeName::new(&record.name),
            value_type: match record.value_type.as_deref() {
                Some("Number") => ValueType::Number,
                _ => ValueType::String,
            },
            multiple: record.multiple_values.unwrap_or(false),
            system: record.system,
            default: record.default_value.as_deref().and_then(read_value),
        }
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(json: &str) -> ObservedUser {
        let doc: UserDoc<'_> = serde_json::from_str(json).expect("JSON");
        doc.read().expect("a user")
    }

    /// The values of a user, as text.
    fn shown(user: &ObservedUser) -> Vec<String> {
        let values = user.values();
        values
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn optional_fields_of_a_user_may_be_absent() {
        let user = user(r#"{"id":"1-a","userName":"ann@x.co","groups":[{"more":{}}]}"#);
        assert!(!user.is_read() && user.display_name.is_empty());
        let null = r#"{"id":"1","userName":"a@x.co","displayName":null,"active":null,"meta":null,
            "urn:omni:params:1.0:UserAttribute":null}"#;
        assert_eq!(super::tests::user(null).attributes, None);
        let id = UserId::parse("1").expect("an id");
        let read = parse_user_with(&id, null.as_bytes()).expect("a user");
        assert!(read.is_read() && !read.is_inactive() && shown(&read).is_empty());
    }

    #[test]
    fn absent_fields_of_a_write_stay_as_known() {
        let known = user(
            r#"{"id":"1","userName":"a@x.co","displayName":"Ann","active":true,"urn:omni:params:1.0:UserAttribute":
            {"region":"north","tier":"gold","team":"a"}}"#,
        );
        let merged = |answer: &str| {
            let answer = WriteAnswer::parse(answer.as_bytes()).expect("JSON");
            answer.expect("a user").over(known.clone())
        };
        let bare = merged(
            r#"{"id":"1","userName":"a@x.co","meta":{"lastModified":"2026-01-01T00:00:00Z"}}"#,
        );
        assert_eq!(bare, known, "and the time is not taken over");
        let partial = merged(
            r#"{"id":"1","userName":"b@x.co","active":false,"urn:omni:params:1.0:UserAttribute":
            {"region":"south","tier":null}}"#,
        );
        assert_eq!(shown(&partial), ["region='south'", "team='a'"]);
        assert!(partial.is_inactive() && partial.email.as_str() == "b@x.co");
        let unread = ObservedUser {
            attributes: None,
            ..known.clone()
        };
        let answer =
            br#"{"id":"1","userName":"a@x.co","urn:omni:params:1.0:UserAttribute":{"team":"b"}}"#;
        let answer = WriteAnswer::parse(answer).expect("JSON").expect("a user");
        assert_eq!(answer.over(unread).attributes, None);
    }

    #[test]
    fn numbers_keep_digits_and_empty_values_are_dropped() {
        let user = user(
            r#"{"id":"1","userName":"a@x.co","urn:omni:params:1.0:UserAttribute":
            {"big":9007199254740993.10,"text":" a\nb ","list":["x",2.50,null,""],"none":null,
             "blank":"  ","empty":[],"yes":true}}"#,
        );
        assert_eq!(
            shown(&user),
            [
                "big='9007199254740993.10'",
                "list=['x', '2.50']",
                "text='a\\u{a}b'",
                "yes='true'"
            ]
        );
    }

    #[test]
    fn users_without_an_email_are_separated() {
        let page = UserListPage::parse(
            br#"{"totalResults":2,"Resources":[{"id":"2","userName":"service account"},
            {"id":"3","userName":"c@x.co"}]}"#,
        )
        .expect("a page");
        assert_eq!((page.users.len(), page.others.len(), page.len()), (1, 1, 2));
    }

    #[test]
    fn unreadable_entries_hide_no_others() {
        for entry in [
            r#"{"id":"1"}"#,
            r#"{"id":"1","userName":null}"#,
            r#"{"id":"1","userName":" "}"#,
            r#"{"id":"1","userName":["a@x.co"]}"#,
            r#"{"id":"1","userName":"a@x.co","active":"True"}"#,
            r#"{"id":"1","userName":"a@x.co","urn:omni:params:1.0:UserAttribute":[]}"#,
            r#"{"id":"../Groups","userName":"a@x.co"}"#,
            r#"{"id":1,"userName":"a@x.co"}"#,
            r#"{"userName":"a@x.co"}"#,
            "null",
            "[]",
            "7",
        ] {
            let body = format!(
                r#"{{"totalResults":2,"Resources":[{entry},{{"id":"2","userName":"b@x.co"}}]}}"#
            );
            let page = UserListPage::parse(body.as_bytes()).expect("a page");
            let counts = (page.users.len(), page.unreadable.len(), page.len());
            assert_eq!(counts, (1, 1, 2), "{entry}");
            let email = Email::parse("b@x.co").expect("an email");
            assert!(!page.shows_all_of(&email), "{entry}");
        }
    }
}
