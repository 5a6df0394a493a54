//! Groups: lists, members, faults.

use super::{says, status, times, writer};
use crate::support::World;
use omni_user_sync::model::{GroupId, GroupName, MembershipChange, ObservedGroup, UserId};
use omni_user_sync::omni::{Groups, OmniError, Reader, Writer};
use omni_user_sync::sandbox::{Fault, Options, PatchAnswer, What, When};
use reqwest::StatusCode;
use serde_json::json;

const EMBED_USER: &str = "00000000-0000-4000-8000-0000000000e1";

/// Three users, and the group `Sales` with the first of them and an embed user.
async fn world(options: Options) -> (World, GroupId, [UserId; 3]) {
    let world = World::with(options).await;
    let users = ["a@x.co", "b@x.co", "c@x.co"].map(|email| {
        world.user(email, "A", json!({}));
        let user = world.org().user(email).expect("just added");
        UserId::parse(user["id"].as_str().expect("a text")).expect("an id")
    });
    let group = world.org().add_group("Sales", &["a@x.co"]);
    world.org().join_embed_user("Sales", EMBED_USER);
    (world, GroupId::parse(&group).expect("an id"), users)
}

async fn known(reader: &Reader) -> Vec<ObservedGroup> {
    match reader.groups(3).await {
        Ok(Groups::Known(groups)) => groups,
        other => panic!("{other:?}"),
    }
}

fn members(group: &ObservedGroup) -> usize {
    group.members.as_ref().expect("members").len()
}

#[tokio::test]
async fn groups_are_listed_with_all_members() {
    let (world, sales, _) = world(Options::default()).await;
    for number in 0..250 {
        world.org().add_group(&format!("Group {number}"), &[]);
    }
    world.org().clear_requests();
    let groups = known(&world.reader()).await;
    assert_eq!((groups.len(), members(&groups[0])), (251, 2));
    assert_eq!((&groups[0].id, groups[0].name.as_str()), (&sales, "Sales"));
    assert_eq!(world.org().requests().len(), 3);
}

#[tokio::test]
async fn names_are_listed_without_members() {
    let (world, sales, _) = world(Options::default()).await;
    let Ok(Groups::Known(groups)) = world.reader().group_names().await else {
        panic!("they are known");
    };
    let expected = ObservedGroup {
        id: sales,
        name: "Sales".into(),
        members: None,
    };
    assert_eq!(groups, [expected]);
    let request = &world.org().requests()[0];
    assert!(
        request.query.contains("excludedAttributes=members"),
        "{request:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shorter_page_of_groups_is_tried() {
    let large = "x".repeat(33 << 20);
    for refused in [
        status(413, None),
        status(400, None),
        says(200, &large),
        says(200, "{"),
    ] {
        let (world, ..) = world(Options::default()).await;
        for number in 1..120 {
            world.org().add_group(&format!("Group {number}"), &[]);
        }
        world.org().fault(Fault::next(refused));
        assert_eq!(known(&world.reader()).await.len(), 120);
        let requests = world.org().requests();
        let queries: Vec<_> = requests
            .iter()
            .map(|request| request.query.as_str())
            .collect();
        let expected = [
            "count=100&startIndex=1",
            "count=50&startIndex=1",
            "count=50&startIndex=51",
            "count=50&startIndex=101",
        ];
        assert_eq!(queries, expected);
    }
}

#[tokio::test]
async fn an_unreadable_group_hides_no_others() {
    let (world, ..) = world(Options::default()).await;
    let body = json!({"totalResults": 4, "Resources": [
        {"id": "a", "displayName": null},
        {"id": "../x", "displayName": "X"},
        {"id": "b", "displayName": "B", "members": [{"value": "1"}, {"value": "../x"}]},
        {"id": "c", "displayName": "C"},
    ]});
    world.org().fault(Fault::next(says(200, &body.to_string())));
    let groups = known(&world.reader()).await;
    let groups: Vec<_> = groups
        .iter()
        .map(|group| (group.name.as_str(), members(group)))
        .collect();
    assert_eq!(
        groups,
        [("B", 1), ("C", 0)],
        "C has no members, since B shows its own"
    );
}

#[tokio::test]
async fn a_group_removed_while_listing_is_an_error() {
    let (world, ..) = world(Options::default()).await;
    for number in 0..150 {
        world.org().add_group(&format!("Group {number}"), &[]);
    }
    // The other groups move, and the next page skips one.
    world.org().before(2, |org| org.remove_group("Sales"));
    let got = world.reader().groups(3).await;
    let Err(OmniError::UnreliableGroups { listed, total }) = got else {
        panic!("{got:?}");
    };
    assert_eq!((listed, total), (100, 151));
}

#[tokio::test]
async fn groups_may_be_unavailable() {
    let (world, ..) = world(Options::default()).await;
    for (code, expected) in [(403, StatusCode::FORBIDDEN), (404, StatusCode::NOT_FOUND)] {
        world.org().fault(Fault::next(status(code, None)));
        let got = world.reader().groups(3).await.expect("an answer");
        assert_eq!(got, Groups::Rejected(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn members_join_and_leave_and_others_stay() {
    for patch_answer in [PatchAnswer::User, PatchAnswer::Partial, PatchAnswer::Empty] {
        let (world, sales, [a, b, c]) = world(Options {
            patch_answer,
            ..Options::default()
        })
        .await;
        let writer = writer(&world);
        let change = async |change, users: &[UserId]| {
            let shown = writer.change_members(&sales, change, users).await;
            shown.expect("it works")
        };
        let shown = change(MembershipChange::Join, &[b.clone(), c]).await;
        let shows = shown.and_then(|group| group.members).map(|all| all.len());
        let expected = (patch_answer == PatchAnswer::User).then_some(4);
        assert_eq!(shows, expected, "{patch_answer:?}");
        change(MembershipChange::Leave, &[a, b]).await;
        let left = world.org().members("Sales").expect("the group exists");
        assert_eq!(left, [EMBED_USER, "c@x.co"]);
        assert_eq!(world.org().unexpected(), [""; 0]);
        assert_eq!(world.org().writes().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_change_of_members_changes_none() {
    let (world, sales, [a, b, _]) = world(Options::default()).await;
    let writer = writer(&world);
    let refused = writer
        .change_members(&sales, MembershipChange::Join, &[b, a])
        .await;
    let Err(OmniError::Rejected { status, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let group = writer.reader().group(&sales).await.expect("an answer");
    assert_eq!(group.map(|group| members(&group)), Some(2));
    world.org().remove_group("Sales");
    assert_eq!(writer.reader().group(&sales).await.expect("none"), None);
}

#[tokio::test(start_paused = true)]
async fn a_lost_member_change_is_unknown() {
    for what in [What::LostReply, What::CutJson] {
        let (world, sales, [_, b, _]) = world(Options::default()).await;
        let writer = writer(&world);
        world.org().fault(Fault {
            when: When {
                method: Some("PATCH".into()),
                ..When::default()
            },
            ..times(1, what)
        });
        let lost = join(&writer, &sales, b.clone()).await;
        assert!(
            matches!(lost, Err(OmniError::OutcomeUnknown(_))),
            "{lost:?}"
        );
        let group = writer.reader().group(&sales).await.expect("an answer");
        let members = group.expect("it exists").members.expect("members");
        assert!(members.contains(&b), "it was applied");
        assert_eq!(world.org().writes().len(), 1, "and not sent again");
    }
}

async fn join(
    writer: &Writer,
    group: &GroupId,
    user: UserId,
) -> Result<Option<ObservedGroup>, OmniError> {
    let change = MembershipChange::Join;
    writer.change_members(group, change, &[user]).await
}

#[tokio::test(start_paused = true)]
async fn a_created_group_is_empty_and_unique() {
    let (world, ..) = world(Options::default()).await;
    let writer = writer(&world);
    let name = |text: &str| GroupName::parse(text).expect("a name");
    let made = writer.create_group(&name(" Board ")).await;
    let made = made.expect("it works").expect("the group");
    assert_eq!((made.name.as_str(), members(&made)), ("Board", 0));
    let taken = writer.create_group(&name("SALES")).await;
    assert!(
        matches!(taken, Err(OmniError::Conflict { .. })),
        "{taken:?}"
    );
}

#[test]
fn names_of_groups() {
    assert!(GroupName::parse(&"ä".repeat(64)).is_ok());
    for (text, problem) in [
        ("  ", "the name of the group is blank"),
        (
            &"x".repeat(65),
            "the name of a group has at most 64 characters",
        ),
        (
            "a\u{7}b",
            "the name of a group can't contain control characters",
        ),
    ] {
        let error = GroupName::parse(text).expect_err("invalid");
        assert_eq!(error.to_string(), problem);
    }
    let name = |text: &str| GroupName::parse(text).expect("a name");
    assert_eq!(name("Zu\u{308}rich"), name("Zürich"), "composed");
    assert!(name("ZÜRICH").is_same_ignoring_case(&name("zürich")));
    assert_ne!(name("ZÜRICH"), name("zürich"));
}
