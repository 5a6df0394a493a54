//! What users own: the cheaper way to read it, lists that can't be trusted, transfers.

use super::{says, status, times, writer};
use crate::support::World;
use omni_user_sync::model::{
    Owned, OwnedDocuments, OwnedPart, OwnedSchedule, OwnedSchedules, OwnedTokens, ScheduleId,
    UserId,
};
use omni_user_sync::omni::{OmniError, read_documents, read_owned};
use omni_user_sync::sandbox::{Endpoint, Fault, Options, Org, ScheduleOwners, What, When};
use serde_json::json;
use std::collections::HashMap;

const SCHEDULES: &str = "/api/v1/schedules";

/// A world with this many users: `user0001@example.com`, …
async fn with_users(users: usize) -> World {
    with(Options {
        users,
        ..Options::default()
    })
    .await
}

async fn with(options: Options) -> World {
    World::with(options).await
}

fn email(number: usize) -> String {
    format!("user{number:04}@example.com")
}

fn id(world: &World, number: usize) -> UserId {
    let user = world.org().user(&email(number)).expect("a sample user");
    UserId::parse(user["id"].as_str().expect("a text")).expect("an id")
}

/// The first users.
fn ids(world: &World, users: usize) -> Vec<UserId> {
    (1..=users).map(|number| id(world, number)).collect()
}

async fn owned(world: &World, owners: &[UserId]) -> HashMap<UserId, Owned> {
    let owned = read_owned(&world.reader(), owners).await;
    owned.expect("no error that ends the run")
}

fn names(schedules: &OwnedSchedules) -> Vec<&str> {
    match schedules {
        OwnedSchedules::Read(schedules) => schedules.iter().map(OwnedSchedule::label).collect(),
        other => panic!("{other:?}"),
    }
}

fn tokens(owned: &Owned) -> &[String] {
    owned.tokens.read().expect("tokens")
}

/// The numbers of requests for schedules and for tokens.
fn requests(world: &World) -> (usize, usize) {
    let requests = world.org().requests();
    let count = |path| requests.iter().filter(|one| one.path == path).count();
    (count(SCHEDULES), count("/api/v1/api-keys"))
}

/// Schedules of one user.
fn add_schedules(org: &Org, owner: usize, count: usize) {
    for number in 0..count {
        org.add_schedule(&email(owner), &format!("Report {number:05}"), Some(1));
    }
}

fn page(records: &serde_json::Value, total: usize) -> What {
    let page = json!({"records": records, "pageInfo":
        {"hasNextPage": false, "nextCursor": null, "pageSize": 100, "totalRecords": total}});
    says(200, &page.to_string())
}

#[tokio::test]
async fn schedules_of_one_user_take_one_request() {
    let world = with_users(2).await;
    let org = world.org();
    org.add_schedule(&email(1), "Weekly", None);
    let daily = org.add_schedule(&email(1), "Daily", Some(3));
    org.add_schedule(&email(2), "Other", Some(1));
    let owner = id(&world, 1);
    let got = owned(&world, std::slice::from_ref(&owner)).await;
    let OwnedSchedules::Read(schedules) = &got[&owner].schedules else {
        panic!("{got:?}");
    };
    let expected = OwnedSchedule {
        id: ScheduleId::parse(&daily).expect("an id"),
        name: "Daily".into(),
        recipients: Some(3),
    };
    assert_eq!(schedules[0], expected);
    assert_eq!(
        (&*schedules[1].name, schedules[1].recipients),
        ("Weekly", None)
    );
    assert_eq!(schedules.len(), 2);
    assert_eq!(requests(&world), (1, 1));
    assert!(owned(&world, &[]).await.is_empty());
    assert_eq!(requests(&world), (1, 1), "nobody was asked for");
}

#[tokio::test]
async fn schedules_on_one_page_take_one_request() {
    let world = with_users(60).await;
    add_schedules(world.org(), 3, 2);
    add_schedules(world.org(), 60, 90);
    world.org().add_personal_token(&email(5), "laptop");
    let owners = ids(&world, 50);
    let got = owned(&world, &owners).await;
    assert_eq!(got.len(), 50);
    assert_eq!(
        names(&got[&owners[2]].schedules),
        ["Report 00000", "Report 00001"]
    );
    assert_eq!(names(&got[&owners[0]].schedules), [""; 0]);
    assert_eq!(tokens(&got[&owners[4]]), ["laptop"]);
    assert_eq!(requests(&world), (1, 1));
}

#[tokio::test]
async fn many_schedules_are_read_by_owner() {
    let world = with_users(60).await;
    add_schedules(world.org(), 3, 90);
    add_schedules(world.org(), 60, 9_910);
    let owners = ids(&world, 50);
    let got = owned(&world, &owners).await;
    assert_eq!(names(&got[&owners[2]].schedules).len(), 90);
    assert_eq!(names(&got[&owners[3]].schedules).len(), 0);
    assert_eq!(requests(&world), (51, 1), "a page of all, and one of each");
}

#[tokio::test]
async fn a_few_pages_of_all_are_read() {
    let world = with_users(5).await;
    for owner in 1..=5 {
        add_schedules(world.org(), owner, 70);
    }
    let owners = ids(&world, 3);
    let got = owned(&world, &owners).await;
    for owner in &owners {
        assert_eq!(names(&got[owner].schedules).len(), 70);
    }
    assert_eq!(requests(&world), (4, 1), "350 schedules");
    world.org().clear_requests();
    owned(&world, &owners[..2]).await;
    assert_eq!(requests(&world), (3, 1), "one page, then by owner");
}

#[tokio::test]
async fn a_list_that_changes_is_read_by_owner() {
    // Sorted by name, descending.
    let removed: fn(&Org) = |org| org.remove_schedule(&org.schedules()[199].0);
    let moved: fn(&Org) = |org| {
        org.remove_schedule(&org.schedules()[0].0);
        org.add_schedule(&email(2), "Z", None);
    };
    for change in [removed, moved] {
        let world = with_users(3).await;
        add_schedules(world.org(), 1, 200);
        let owners = ids(&world, 3);
        world.org().before(2, change);
        let got = owned(&world, &owners).await;
        assert_eq!(names(&got[&owners[0]].schedules).len(), 199);
        assert_eq!(requests(&world), (2 + 4, 1));
    }
}

#[tokio::test]
async fn entries_without_owner_are_read_by_owner() {
    let world = with(Options {
        users: 2,
        schedule_owners: ScheduleOwners::Unnamed,
        ..Options::default()
    })
    .await;
    world.org().add_schedule(&email(1), "Daily", Some(1));
    let owners = ids(&world, 2);
    let got = owned(&world, &owners).await;
    assert_eq!(names(&got[&owners[0]].schedules), ["Daily"]);
    assert_eq!(names(&got[&owners[1]].schedules), [""; 0]);
    assert_eq!(requests(&world), (3, 1));
}

#[tokio::test]
async fn an_ignored_filter_shows_no_others() {
    let world = with(Options {
        users: 3,
        schedule_owners: ScheduleOwners::Unfiltered,
        ..Options::default()
    })
    .await;
    let org = world.org();
    org.add_schedule(&email(1), "Daily", Some(1));
    org.add_schedule(&email(2), "Weekly", Some(1));
    let reader = world.reader();
    for (number, expected) in [(1, &["Daily"][..]), (2, &["Weekly"]), (3, &[])] {
        let got = reader.schedules_of(&id(&world, number)).await;
        assert_eq!(names(&got.expect("an answer")), expected, "{number}");
    }
    org.remove_schedule(&org.schedules()[1].0);
    org.clear_requests();
    let got = world.reader().schedules_of(&id(&world, 3)).await;
    assert_eq!(names(&got.expect("an answer")), [""; 0]);
    assert_eq!(org.requests().len(), 2, "the only owner is looked up");
}

#[tokio::test]
async fn owners_may_have_other_ids() {
    for (schedule_owners, looked_up) in [
        (ScheduleOwners::Known, [1, 0]),
        (ScheduleOwners::OtherIds, [3, 3]),
    ] {
        let world = with(Options {
            users: 4,
            schedule_owners,
            ..Options::default()
        })
        .await;
        world.org().add_schedule(&email(3), "Daily", Some(1));
        let owners = ids(&world, 2);
        let reader = world.reader();
        for looked_up in looked_up {
            world.org().clear_requests();
            let got = read_owned(&reader, &owners).await.expect("an answer");
            assert_eq!(names(&got[&owners[0]].schedules), [""; 0]);
            let requests = world.org().requests().len();
            assert_eq!(requests, 2 + looked_up, "{schedule_owners:?}");
        }
        let leavers = ids(&world, 3);
        let got = read_owned(&reader, &leavers).await.expect("an answer");
        let is_failed = matches!(got[&leavers[2]].schedules, OwnedSchedules::Failed(_));
        assert_eq!(is_failed, schedule_owners == ScheduleOwners::OtherIds);
    }
}

#[tokio::test]
async fn doubtful_schedules_are_never_missed() {
    let world = with_users(2).await;
    let owners = ids(&world, 2);
    let (ann, bob) = (owners[0].as_str(), owners[1].as_str());
    let one = |id: &str, owner: &str| json!({"id": id, "name": "A", "ownerId": owner});
    for records in [
        json!([one("1", ann), null]),
        json!([one("1", ann), {"name": "A", "ownerId": ann}]),
        json!([one("../1", ann)]),
        json!([one("1", ann), one("1", ann)]),
        json!([one("1", ann)]),
    ] {
        world.org().fault(times(1, page(&records, 2)));
        let got = world.reader().schedules_of(&owners[0]).await;
        let is_error = matches!(got, Err(OmniError::UnreliableSchedules { .. }));
        assert!(is_error, "{records}: {got:?}");
        world.org().fault(times(2, page(&records, 2)));
        let got = owned(&world, &owners).await;
        let failed = |owned: &&Owned| matches!(owned.schedules, OwnedSchedules::Failed(_));
        assert_eq!(got.values().filter(failed).count(), 1, "{records}: {got:?}");
    }
    let records = json!([one("2", &ann.to_uppercase()), {"id": "1", "ownerId": 7, "recipientCount": null},
        one("3", bob)]);
    world.org().fault(times(1, page(&records, 3)));
    let got = world.reader().schedules_of(&owners[0]).await;
    assert_eq!(
        names(&got.expect("an answer")),
        ["1", "A"],
        "without owner: theirs"
    );
    let endless = r#"{"records":[],"pageInfo":{"nextCursor":"2"}}"#;
    world.org().fault(times(2, says(200, endless)));
    let got = world.reader().schedules_of(&owners[0]).await;
    assert!(
        matches!(got, Err(OmniError::UnreliableSchedules { .. })),
        "{got:?}"
    );
}

#[tokio::test]
async fn schedules_and_tokens_may_be_unavailable() {
    for endpoint in [Endpoint::Forbidden, Endpoint::Missing] {
        let world = with(Options {
            users: 3,
            schedules: endpoint,
            personal_tokens: endpoint,
            ..Options::default()
        })
        .await;
        let owners = ids(&world, 3);
        for owners in [&owners[..], &owners[..1]] {
            world.org().clear_requests();
            let got = owned(&world, owners).await;
            assert_eq!(got.len(), owners.len());
            for owned in got.values() {
                assert_eq!(owned.schedules, OwnedSchedules::NotShown);
                assert_eq!(owned.tokens, OwnedTokens::NotShown);
            }
            assert_eq!(requests(&world), (1, 1), "one answer is enough");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_an_outcome() {
    let world = with_users(3).await;
    add_schedules(world.org(), 1, 500);
    let owners = ids(&world, 3);
    let broken = |query: String| Fault {
        when: When {
            query: Some(query),
            ..When::default()
        },
        ..times(6, status(503, None))
    };
    world
        .org()
        .fault(broken(format!("ownerId={}", owners[1].as_str())));
    let got = owned(&world, &owners).await;
    assert_eq!(names(&got[&owners[0]].schedules).len(), 500);
    let failed = &got[&owners[1]].schedules;
    assert!(
        matches!(failed, OwnedSchedules::Failed(why) if why.contains("503")),
        "{failed:?}"
    );
    assert_eq!(names(&got[&owners[2]].schedules), [""; 0]);

    world.org().fault(broken("type=personal".into()));
    let got = owned(&world, &owners[..1]).await;
    assert_eq!(
        names(&got[&owners[0]].schedules).len(),
        500,
        "tokens are only shown"
    );
    let failed = &got[&owners[0]].tokens;
    assert!(
        matches!(failed, OwnedTokens::Failed(why) if why.contains("503")),
        "{failed:?}"
    );

    world.org().fault(times(1, status(401, None)));
    let got = read_owned(&world.reader(), &owners).await;
    assert!(
        matches!(got, Err(OmniError::Unauthorized { .. })),
        "{got:?}"
    );
}

#[tokio::test]
async fn every_page_of_tokens_is_read() {
    let world = with_users(2).await;
    let org = world.org();
    for number in 0..150 {
        org.add_personal_token(&email(1), &format!("token {number}"));
    }
    org.add_personal_token(&email(2), "phone");
    let owners = ids(&world, 2);
    let got = owned(&world, &owners).await;
    assert_eq!(tokens(&got[&owners[0]]).len(), 150);
    assert_eq!(tokens(&got[&owners[1]]), ["phone"]);
    assert_eq!(requests(&world), (1, 2));
    org.remove_user(&email(2));
    let got = owned(&world, &owners).await;
    assert_eq!(tokens(&got[&owners[1]]), [""; 0], "disabled ones are none");
}

#[tokio::test]
async fn documents_are_counted_and_named() {
    let world = with_users(2).await;
    for number in 0..12 {
        world
            .org()
            .add_document(&email(1), &format!("Document {number}"));
    }
    let reader = world.reader();
    let got = reader
        .documents_of(&id(&world, 1))
        .await
        .expect("an answer");
    let got = got.read().expect("documents");
    assert_eq!((got.count, got.names.len()), (12, 10));
    assert_eq!(got.names[0], "Document 0");
    assert_eq!(world.org().requests().len(), 1);
    let got = reader
        .documents_of(&id(&world, 2))
        .await
        .expect("an answer");
    assert_eq!(got.read().expect("none").count, 0);
    for code in [403, 404] {
        world.org().fault(times(1, status(code, None)));
        let got = reader.documents_of(&id(&world, 1)).await;
        assert_eq!(got.expect("an answer"), OwnedPart::NotShown, "{code}");
    }
}

#[tokio::test]
async fn documents_take_one_request_each() {
    let world = with_users(4).await;
    world.org().add_document(&email(3), "Sales overview");
    let (reader, creators) = (world.reader(), ids(&world, 4));
    let count = |owned: &OwnedPart<OwnedDocuments>| owned.read().map(|all| all.count);
    let got = read_documents(&reader, &creators).await.expect("answers");
    let counts: Vec<_> = creators.iter().map(|user| count(&got[user])).collect();
    assert_eq!(counts, [Some(0), Some(0), Some(1), Some(0)]);
    assert_eq!(world.org().requests().len(), 4);
    // What fails for one user may work for others.
    world.org().fault(times(1, status(400, None)));
    let got = read_documents(&reader, &creators).await.expect("answers");
    let is_failed = |part: &&OwnedPart<_>| matches!(part, OwnedPart::Failed(_));
    assert_eq!(got.values().filter(is_failed).count(), 1, "{got:?}");
    world.org().clear_requests();
    world.org().fault(times(1, status(403, None)));
    let got = read_documents(&reader, &creators).await.expect("answers");
    assert!(got.values().all(|part| *part == OwnedPart::NotShown));
    assert_eq!((got.len(), world.org().requests().len()), (4, 1));
    assert!(read_documents(&reader, &[]).await.expect("none").is_empty());
}

#[tokio::test]
async fn a_schedule_is_transferred() {
    let world = with_users(3).await;
    let org = world.org();
    let schedule = org.add_schedule(&email(1), "Daily", Some(1));
    let parsed = ScheduleId::parse(&schedule).expect("an id");
    let (writer, [ann, bob, blind]) = (writer(&world), [1, 2, 3].map(|number| id(&world, number)));
    writer
        .transfer_schedule(&parsed, &bob)
        .await
        .expect("transferred");
    assert_eq!(org.transfers(), [(schedule.clone(), email(1), email(2))]);
    let own = writer.transfer_schedule(&parsed, &bob).await;
    assert!(matches!(own, Err(OmniError::Rejected { .. })), "{own:?}");
    org.hide_schedule(&schedule, &email(3));
    let blind = writer.transfer_schedule(&parsed, &blind).await;
    assert!(
        matches!(blind, Err(OmniError::WriteForbidden { .. })),
        "{blind:?}"
    );
    org.remove_schedule(&schedule);
    let gone = writer.transfer_schedule(&parsed, &ann).await;
    assert!(matches!(gone, Err(OmniError::NotFound { .. })), "{gone:?}");
    assert_eq!(org.writes().len(), 4, "each is sent once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_transfer_is_unknown() {
    for what in [
        What::LostReply,
        What::CutJson,
        says(200, r#"{"success":false}"#),
    ] {
        let world = with_users(2).await;
        let schedule = world.org().add_schedule(&email(1), "Daily", Some(1));
        let schedule = ScheduleId::parse(&schedule).expect("an id");
        let writer = writer(&world);
        world.org().fault(times(1, what.clone()));
        let bob = id(&world, 2);
        let lost = writer.transfer_schedule(&schedule, &bob).await;
        assert!(
            matches!(lost, Err(OmniError::OutcomeUnknown(_))),
            "{lost:?}"
        );
        let is_applied = !matches!(what, What::Status { .. });
        let got = writer.reader().schedules_of(&bob).await;
        assert_eq!(
            names(&got.expect("an answer")).len(),
            usize::from(is_applied)
        );
    }
}
