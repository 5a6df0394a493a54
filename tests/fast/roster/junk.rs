//! Junk around addresses: no user is removed, created or changed because of it.

use super::support::{account, read, schema};
use chrono::Utc;
use insta::assert_snapshot;
use omni_user_sync::model::{
    Action, Attributes, Desired, Email, Memory, Observed, ObservedUser, Policy, Prune, Schema,
    UserId,
};
use omni_user_sync::plan::Plan;
use omni_user_sync::settings::{Environment, load};
use proptest::prelude::*;

/// Junk around an address, which is `{}`.
const JUNK: [&str; 35] = [
    "mailto:{}",
    "MAILTO:{}?subject=hi",
    "mailto%3A{}",
    "smtp:{}",
    "<{}>",
    "Ann Example <{}>",
    "\"Ann\" <{}>",
    "{} (Ann)",
    "\"{}\"",
    "'{}'",
    "'{}",
    "`{}`",
    "“{}”",
    "“{}",
    "«{}»",
    "({})",
    "[{}]",
    "{}}",
    "{},",
    "{};",
    "{}.",
    "{}...",
    ",{}",
    ".{}",
    "{}/",
    "{}?",
    "{}:",
    "x:{}",
    "i:0#.f|membership|{}",
    "<a href=\"mailto:{}\">",
    "&lt;{}&gt;",
    "{}\u{fe0f}",
    "\u{ad}{}",
    "{} {}",
    "{};{}",
];

/// Junk within an address.
const WITHIN: [(&str, &str); 10] = [
    (".example", "..example"),
    ("@", "@@"),
    ("@", " @"),
    ("@", "@."),
    ("@", "＠"),
    ("@", "%40"),
    ("@", "(at)"),
    ("@", "\u{ad}@"),
    (".com", ",com"),
    ("@", ".@"),
];

fn policy() -> Policy {
    let example = [("OMNI_USER_SYNC_CONFIG", "config/example.toml")];
    let environment: Environment = example.into_iter().collect();
    let policy = load(None, &environment)
        .expect("the example is fine")
        .policy;
    Policy {
        prune: Prune::Managed,
        ..policy
    }
}

fn address(number: usize) -> String {
    [
        "ann@mail.example.com",
        "o'brien@mail.example.com",
        "d.e-f_g+h@mail.example.com",
        "zoë@mail.example.com",
        "Kim@mail.example.com",
    ][number]
        .to_owned()
}

fn observed(emails: &[String]) -> Observed {
    let user = |(number, email): (usize, &String)| ObservedUser {
        id: UserId::parse(&format!("id-{number}")).expect("an id"),
        email: Email::known(email).expect("an email"),
        display_name: "Ann".into(),
        active: Some(true),
        attributes: Some(Attributes::default()),
        modified: None,
        owned: None,
    };
    Observed::new(emails.iter().enumerate().map(user), 0)
}

/// Reads a roster as a run does, and plans with all users managed.
fn plan(csv: &str, emails: &[String]) -> (Desired, Plan) {
    let observed = observed(emails);
    let mut memory = Memory::empty(Utc::now());
    memory.managed = observed.users().map(|user| user.email.clone()).collect();
    let mut desired = read(csv).expect("a roster");
    desired.settle_doubtful(&Schema::unknown(), |email| {
        observed.has_exactly(email) || memory.manages_exactly(email)
    });
    let plan = Plan::new(&desired, &observed, &schema(), &memory, &policy());
    (desired, plan)
}

/// An address, and the same with junk.
fn junk() -> impl Strategy<Value = (String, String)> {
    (0..5usize, 0..JUNK.len() + WITHIN.len()).prop_map(|(number, kind)| {
        let email = address(number);
        let cell = match JUNK.get(kind) {
            Some(junk) => junk.replace("{}", &email),
            None => {
                let (from, to) = WITHIN[kind - JUNK.len()];
                email.replacen(from, to, 1)
            }
        };
        (email, cell)
    })
}

proptest! {
    #[test]
    fn junk_removes_creates_and_changes_nobody(
        (email, cell) in junk(),
        op in prop::sample::select(vec!["upsert", "delete", "deactivate"]),
        has_other_row in any::<bool>(),
    ) {
        let emails: Vec<_> = (0..5).map(address).collect();
        let quoted = format!("\"{}\"", cell.replace('"', "\"\""));
        let mut csv = format!("op,email,display_name\n{op},{quoted},New\n");
        for other in emails.iter().filter(|other| **other != email || has_other_row) {
            csv += &format!("upsert,{other},{}\n", if *other == email { "New" } else { "Ann" });
        }
        let (desired, plan) = plan(&csv, &emails);
        prop_assert_eq!(&plan.changes, &Vec::new(), "{}", cell);
        prop_assert_eq!(desired.bad_rows.len(), 1);
        let named = desired.bad_rows[0].to_string();
        prop_assert!(named.contains(&format!("'{email}'")), "{}", named);
        prop_assert!(desired.frozen.contains_key(&Email::known(&email).expect("an email")));
    }
}

/// An organisation may have an address that the rule for new users refuses.
#[test]
fn existing_addresses_are_accepted_letter_for_letter() {
    let emails = ["ann@localhost".to_owned(), "<bob@x.co>".to_owned()];
    let csv = "op,email,display_name\ndelete,ann@localhost,\nupsert,<bob@x.co>,Bob\n";
    let (desired, plan) = plan(csv, &emails);
    assert!(desired.bad_rows.is_empty() && desired.doubtful.is_empty());
    let changes: Vec<_> = plan
        .changes
        .iter()
        .map(|change| change.subject.to_string())
        .collect();
    assert_eq!(changes, ["ann@localhost", "<bob@x.co>"]);
    let csv =
        "op,email,display_name\ndelete,Ann@localhost,\nupsert,<bob@x.co>.,Bob\nupsert,cy@x.co,Cy\n";
    let (desired, plan) = self::plan(csv, &emails);
    assert_eq!((desired.bad_rows.len(), desired.unnamed), (2, 2));
    let created = |action: &Action| matches!(action, Action::Create(_));
    let changes: Vec<_> = plan
        .changes
        .iter()
        .map(|one| (one.subject.to_string(), created(&one.action)))
        .collect();
    assert_eq!(changes, [("cy@x.co".to_owned(), true)]);
}

#[test]
fn a_row_of_an_existing_address_may_be_repeated() {
    let emails = ["ann@localhost".to_owned()];
    let row = "upsert,ann@localhost,Ann\n";
    let (same, _) = plan(&format!("op,email,display_name\n{row}{row}"), &emails);
    assert_eq!((same.bad_rows.len(), same.lints.len()), (0, 1));
    let other = "upsert,ann@localhost,Bob\n";
    let (conflict, plan) = plan(&format!("op,email,display_name\n{row}{other}"), &emails);
    assert_eq!(conflict.bad_rows.len(), 2);
    assert!(plan.changes.is_empty());
}

#[test]
fn problems_name_the_meant_address() {
    assert_snapshot!(account(
        "op,email,tier\nupsert,<ann@x.co>,\nupsert, \"bob@x.co\",\nupsert,cy@x.co;di@x.co,\nupsert,ed@x,\nupsert,\u{212a}im@x.co,\n"
    ), @r#"
    frozen: cy@x.co (users.csv:4)
    frozen: di@x.co (users.csv:4)
    unnamed: 1
    bad: users.csv:2:2 (email): '<ann@x.co>': not exactly one email address (RFC 5321); write only the address; until the row is corrected, 'ann@x.co' is frozen
    bad: users.csv:3:2 (email): '"bob@x.co"': not exactly one email address (RFC 5321); remove the space before the quote, which makes the quotes part of the cell; until the row is corrected, 'bob@x.co' is frozen
    bad: users.csv:4:2 (email): 'cy@x.co;di@x.co': an email has the form local@domain, with one @; write one row per address; frozen until the row is corrected: 'cy@x.co', 'di@x.co'
    bad: users.csv:5:2 (email): 'ed@x': the domain of an email must have a dot; write one email address
    bad: users.csv:6:2 (email): 'Kim@x.co': an email can't contain a character that only looks like an ASCII one (U+212A, U+037E, U+1FEF); write only the address; until the row is corrected, 'Kim@x.co' is frozen
    note: users.csv:1:3 (tier): every readable cell in this column is blank, which clears the attribute of all 4 users in this file; fill in the column or remove it; an attribute without a column is never changed
    "#);
}
