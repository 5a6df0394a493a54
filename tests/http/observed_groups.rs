//! Groups are read where the roster states memberships or `policy.managed_groups` is set, and kept for later runs.
use crate::kept_observation::{age, roster};
use crate::support::{World, assert_converged, at_any_time, started_by};
use omni_user_sync::model::{
    Email, GroupId, GroupsUnknown, ObservedGroup, ObservedGroups, ReadingTime, RunOptions, Trigger,
    UserId,
};
use omni_user_sync::run::{Effects, Prepared, Reconciler, Stop, Target};
use omni_user_sync::sandbox::{Fault, ListedGroups, Lists, Options, What, When};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EMBED_USER: &str = "00000000-0000-4000-8000-0000000000e1";

/// The number of users, on two pages.
const USERS: usize = 20;

/// An organisation in which some users are in `Sales` and `Support`, and none in `Empty`.
async fn org(listed_groups: ListedGroups) -> World {
    let world = org_of(USERS, listed_groups).await;
    world.set("omni.page_size", "10")
}

async fn org_of(users: usize, listed_groups: ListedGroups) -> World {
    let options = Options {
        users,
        lists: Lists::Full,
        listed_groups,
        ..Options::default()
    };
    let world = World::with(options).await.set("policy.managed_groups", "*");
    let world = world.set("policy.max_updates", "");
    world
        .org()
        .add_group("Sales", &[&user(1), &user(2), &user(users - 1)]);
    world.org().add_group("Support", &[&user(2)]);
    world.org().add_group("Empty", &[]);
    world.org().join_embed_user("Sales", EMBED_USER);
    world.roster(&roster(users, 0));
    world
}

fn user(number: usize) -> String {
    format!("user{number:04}@example.com")
}

fn id_of(world: &World, email: &str) -> UserId {
    let user = world.org().user(email).expect("there");
    UserId::parse(user["id"].as_str().expect("a text")).expect("an id")
}

/// The members by group, by email where there is one.
fn members(prepared: &Prepared) -> BTreeMap<String, Vec<String>> {
    let observed = &prepared.cache.observed;
    let show = |id: &UserId| {
        let user = observed.users().find(|user| user.id == *id);
        user.map_or_else(|| id.to_string(), |user| user.email.as_str().to_owned())
    };
    let show = |group: &ObservedGroup| {
        let members = group.members.as_ref().expect("they are known");
        let mut members: Vec<_> = members.iter().map(show).collect();
        members.sort();
        (group.name.to_string(), members)
    };
    observed.groups().iter().map(show).collect()
}

/// The members in Omni.
fn real_members(world: &World) -> BTreeMap<String, Vec<String>> {
    let groups = world.org().groups();
    let names = groups
        .iter()
        .map(|group| group["displayName"].as_str().expect("a text"));
    names
        .map(|name| (name.to_owned(), world.org().members(name).expect("there")))
        .collect()
}

/// What is stored.
async fn stored(world: &World) -> Prepared {
    let reconciler = world.reconciler();
    let preview = reconciler.observer().preview().await.expect("a preview");
    preview.expect("there is an observation")
}

/// The queries of requests for groups since the last call.
fn group_requests(world: &World) -> Vec<String> {
    let requests = world.org().requests();
    world.org().clear_requests();
    let groups = requests
        .into_iter()
        .filter(|one| one.path.starts_with("/api/scim/v2/Groups"));
    groups
        .map(|one| format!("{} {}", one.path, one.query))
        .collect()
}

fn groups_of(prepared: &Prepared) -> &ObservedGroups {
    prepared.cache.observed.groups()
}

async fn prepared(reconciler: &Reconciler, options: RunOptions) -> Arc<Prepared> {
    let target = Target::source(reconciler.observer().settings(), None);
    let run = reconciler.begin(options, target.expect("a roster")).await;
    let (mut run, stop) = (run.expect("a run"), Stop::default());
    let prepared = reconciler.prepare(&mut run, &stop);
    prepared.await.expect("a plan")
}

#[tokio::test]
async fn a_listing_run_lists_groups_once() {
    for listed_groups in [ListedGroups::Shown, ListedGroups::Omitted] {
        let world = org(listed_groups).await;
        assert_converged(&world.run().await);
        world.take_requests();
        assert_converged(&world.run().await);
        let expected = match listed_groups {
            ListedGroups::Shown => {
                "/api/scim/v2/Groups count=100&startIndex=1&excludedAttributes=members"
            }
            ListedGroups::Omitted => "/api/scim/v2/Groups count=100&startIndex=1",
        };
        assert_eq!(
            world.org().requests().len(),
            1 + 2 + 1,
            "definitions, users, groups"
        );
        assert_eq!(group_requests(&world), [expected]);
        let (plan, mut expected) = (world.plan().await.expect("a plan"), real_members(&world));
        if listed_groups == ListedGroups::Shown {
            // Lists of users show no embed users.
            expected
                .values_mut()
                .for_each(|members| members.retain(|one| one != EMBED_USER));
        }
        assert_eq!(members(&plan), expected, "{listed_groups:?}");
        assert_eq!(
            members(&stored(&world).await),
            expected,
            "{listed_groups:?}"
        );
    }
}

#[tokio::test]
async fn a_file_event_costs_no_list_of_groups() {
    for listed_groups in [ListedGroups::Shown, ListedGroups::Omitted] {
        let world = org(listed_groups).await;
        let reconciler = world.reconciler();
        assert_converged(&started_by(Trigger::Schedule, &reconciler).await);
        world.take_requests();
        assert_converged(&started_by(Trigger::File, &reconciler).await);
        drop(reconciler);
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(world.take_requests(), (0, 0), "{listed_groups:?}");
    }
}

#[tokio::test]
async fn groups_are_not_read_without_need() {
    let world = org(ListedGroups::Omitted)
        .await
        .set("policy.managed_groups", "");
    assert_converged(&world.run().await);
    assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
    assert_eq!(group_requests(&world), [""; 0]);
    let world = world.set("policy.managed_groups", "Sales");
    assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
    assert_eq!(group_requests(&world).len(), 1, "none are known yet");
    assert_eq!(members(&stored(&world).await), real_members(&world));
    let world = world.set("policy.managed_groups", "");
    assert_converged(&world.run().await);
    assert_eq!(
        groups_of(&stored(&world).await).why_unknown(),
        Some(&GroupsUnknown::NotRead)
    );
}

#[tokio::test]
async fn old_groups_are_listed_again() {
    let world = org(ListedGroups::Shown).await;
    assert_converged(&world.run().await);
    age(&world, 1);
    let db = Connection::open(world.state_db().path()).expect("the database");
    let sql = "UPDATE observation SET groups_read = groups_read - 3600000";
    assert_eq!(db.execute(sql, []), Ok(1));
    drop(db);
    world.org().leave("Sales", &user(1));
    world.take_requests();
    assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
    assert_eq!(
        group_requests(&world),
        ["/api/scim/v2/Groups count=100&startIndex=1"]
    );
    assert_eq!(members(&stored(&world).await), real_members(&world));
}

fn on_groups(what: What, times: usize) -> Fault {
    let when = When {
        path: Some("/api/scim/v2/Groups".into()),
        ..When::default()
    };
    Fault { when, what, times }
}

fn status(code: u16) -> What {
    What::Status {
        code,
        retry_after: None,
        body: None,
    }
}

#[tokio::test]
async fn refused_groups_are_unknown() {
    for code in [403, 404] {
        let world = org(ListedGroups::Shown).await;
        assert_converged(&world.run().await);
        world.org().fault(on_groups(status(code), 1));
        assert_converged(&world.run().await);
        let why = GroupsUnknown::Refused(code);
        assert_eq!(groups_of(&stored(&world).await).why_unknown(), Some(&why));
        world.take_requests();
        assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
        assert_eq!(group_requests(&world), [""; 0], "it is remembered");
        assert_converged(&world.run().await);
        assert!(groups_of(&stored(&world).await).is_known());
    }
}

#[tokio::test]
async fn an_unreliable_list_is_read_twice() {
    let world = org(ListedGroups::Omitted).await;
    let group = |number: usize| format!("Group {number}");
    for number in 1..150 {
        world.org().add_group(&group(number), &[]);
    }
    // The first listing: definitions, two pages of users, two pages of groups.
    world
        .org()
        .before(5, move |org| org.remove_group(&group(1)));
    assert_converged(&world.run().await);
    assert_eq!(members(&stored(&world).await), real_members(&world));
    let at = world.org().requests().len() as u64;
    for (number, at) in [(2, at + 5), (3, at + 7)] {
        world
            .org()
            .before(at, move |org| org.remove_group(&group(number)));
    }
    let reconciler = world.reconciler();
    let outcome = started_by(Trigger::File, &reconciler).await;
    let one = prepared(&reconciler, at_any_time(Trigger::Schedule)).await;
    let why = groups_of(&one).why_unknown();
    let expected = GroupsUnknown::Unreliable {
        listed: 100,
        total: 150,
    };
    assert_eq!(why, Some(&expected));
    reconciler.keep(one, Effects::default(), &outcome).await;
    drop(reconciler);
    let one = stored(&world).await;
    let why = groups_of(&one).why_unknown();
    assert_eq!(why, Some(&GroupsUnknown::NotRead), "it is not remembered");
    world.take_requests();
    assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
    assert_eq!(group_requests(&world).len(), 2);
    assert_eq!(members(&stored(&world).await), real_members(&world));
}

#[tokio::test]
async fn a_doubtful_list_of_users_shows_no_memberships() {
    let world = org(ListedGroups::Shown).await;
    let world = world.set("policy.prune", "managed");
    assert_converged(&world.run().await);
    let when = When {
        path: Some("/api/scim/v2/Users".into()),
        query: Some("startIndex".into()),
        ..When::default()
    };
    let fault = Fault {
        when,
        what: What::SkipUser,
        times: 100,
    };
    world.org().fault(fault);
    world.take_requests();
    world.run().await;
    let requests = group_requests(&world);
    assert_eq!(requests, ["/api/scim/v2/Groups count=100&startIndex=1"]);
    assert_eq!(members(&stored(&world).await), real_members(&world));
}

#[tokio::test]
async fn own_changes_of_memberships_are_kept() {
    let world = org(ListedGroups::Omitted).await;
    let reconciler = world.reconciler();
    let options = at_any_time(Trigger::Schedule);
    let outcome = started_by(Trigger::Schedule, &reconciler).await;
    let mut one = Arc::unwrap_or_clone(prepared(&reconciler, options).await);
    let groups = world.org().groups();
    let id = |index: usize| {
        GroupId::parse(groups[index]["id"].as_str().expect("a text")).expect("an id")
    };
    let (sales, support, empty) = (id(0), id(1), id(2));
    let (first, third) = (id_of(&world, &user(1)), id_of(&world, &user(3)));
    one.cache.member_changed(&sales, &first, false);
    one.cache.member_changed(&empty, &third, true);
    one.cache.group_unknown(&support);
    let board = GroupId::parse("board").expect("an id");
    one.cache.group_seen(ObservedGroup {
        id: board.clone(),
        name: "Board".into(),
        members: Some([first.clone()].into_iter().collect()),
    });
    reconciler
        .keep(Arc::new(one), Effects::default(), &outcome)
        .await;
    drop(reconciler);

    let check = |prepared: &Prepared, support_has_first: Option<bool>| {
        let groups = groups_of(prepared);
        assert_eq!(groups.has_member(&sales, &first), Some(false));
        assert_eq!(groups.has_member(&empty, &third), Some(true));
        assert_eq!(groups.has_member(&board, &first), Some(true));
        assert_eq!(groups.has_member(&support, &first), support_has_first);
    };
    check(&stored(&world).await, None);
    world.take_requests();
    assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
    let by_id = format!("/api/scim/v2/Groups/{} ", support.as_str());
    assert_eq!(group_requests(&world), [by_id]);
    check(&stored(&world).await, Some(false));

    let reconciler = world.reconciler();
    let options = at_any_time(Trigger::File);
    let mut one = Arc::unwrap_or_clone(prepared(&reconciler, options).await);
    one.cache.group_gone(&board);
    reconciler
        .keep(Arc::new(one), Effects::default(), &outcome)
        .await;
    drop(reconciler);
    assert_eq!(groups_of(&stored(&world).await).get(&board), None);
}

/// A run of a new process with a budget of 16 requests: 1% of those of one second.
async fn run_in_part(world: &World) {
    let options = RunOptions {
        reading_time: ReadingTime::Within(Duration::from_secs(1)),
        ..Trigger::Schedule.into()
    };
    let reconciler = world.reconciler();
    assert_converged(&reconciler.run(options, None, &Stop::default()).await);
}

#[tokio::test]
async fn a_part_of_the_list_keeps_other_memberships() {
    let world = org_of(150, ListedGroups::Shown)
        .await
        .set("omni.page_size", "5");
    let world = world.set("omni.requests_per_minute", "100000");
    assert_converged(&world.apply().await);
    let world = world.set("observe.budget", "1%");
    world.org().leave("Sales", &user(1));
    world.org().leave("Sales", &user(149));
    world.org().join("Support", &user(3));
    let new = world.org().add_group("New", &[&user(149)]);
    world.org().rename_group("Empty", "Still empty");
    world.take_requests();
    run_in_part(&world).await;
    let requests = group_requests(&world);
    let names = "/api/scim/v2/Groups count=100&startIndex=1&excludedAttributes=members";
    assert_eq!(
        requests,
        [names.to_owned(), format!("/api/scim/v2/Groups/{new} ")]
    );
    let now = members(&stored(&world).await);
    assert_eq!(
        now["Sales"],
        [user(2), user(149)],
        "this part does not show the last user"
    );
    assert_eq!(now["Support"], [user(2), user(3)]);
    assert_eq!(now["New"], [user(149)]);
    assert_eq!(now["Still empty"], [""; 0]);
    for _ in 0..3 {
        run_in_part(&world).await;
    }
    assert_eq!(members(&stored(&world).await)["Sales"], [user(2)]);
}

/// A roster whose cells state the memberships in Omni, and those of the third user.
fn roster_with_groups(third: &str) -> String {
    let text = roster(USERS, 0);
    let rows = text.lines().enumerate().map(|(number, row)| {
        let cell = match number {
            0 => "groups",
            1 | 19 => "[Sales]",
            2 => "\"[Sales,Support]\"",
            3 => third,
            _ => "",
        };
        format!("{row},{cell}\n")
    });
    rows.collect()
}

#[tokio::test]
async fn cells_need_groups_and_unknown_names_a_list() {
    let world = org(ListedGroups::Omitted)
        .await
        .set("policy.managed_groups", "");
    world.roster(&roster_with_groups(""));
    assert_converged(&world.run().await);
    assert_eq!(group_requests(&world).len(), 1);
    assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
    assert_eq!(world.take_requests(), (0, 0));

    world.org().add_group("New", &[&user(3)]);
    world.roster(&roster_with_groups("[new]"));
    assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
    assert_eq!(world.take_requests(), (1, 0), "one list of groups");
    assert_converged(&started_by(Trigger::File, &world.reconciler()).await);
    assert_eq!(world.take_requests(), (0, 0));
}

#[tokio::test]
async fn a_run_about_one_user_lists_groups_if_stated() {
    let world = org(ListedGroups::Omitted)
        .await
        .set("source.blank_cells", "keep");
    let world = world.set("policy.managed_groups", "");
    world.roster(&roster_with_groups(""));
    assert_converged(&world.apply().await);
    world.take_requests();
    let reconciler = world.reconciler();
    for (number, requests) in [(2, 3), (3, 2)] {
        let target = Target {
            only: Some(Email::parse(&user(number)).expect("an email")),
            ..world.target()
        };
        let run = reconciler.begin(Trigger::Command, target).await;
        let (mut run, stop) = (run.expect("a run"), Stop::default());
        let one = reconciler.prepare(&mut run, &stop).await.expect("a plan");
        assert_eq!(one.assessment.pending.total(), 0);
        assert!(
            one.assessment.problems.is_empty(),
            "{:?}",
            one.assessment.problems
        );
        assert_eq!(groups_of(&one).is_known(), number == 2);
        assert_eq!(world.take_requests(), (requests, 0), "{number}");
        let email = Email::parse(&user(number)).expect("an email");
        let stop = CancellationToken::new();
        let explained = reconciler
            .observer()
            .explain(&email, &stop)
            .await
            .expect("explained");
        assert_eq!(explained.next.to_string(), "nothing to do");
        // And what the user owns: schedules, tokens, documents.
        assert_eq!(world.take_requests(), (requests + 3, 0), "{number}");
    }
}

/// Omni may refuse to show one group.
#[tokio::test]
async fn a_refused_group_ends_no_run() {
    for code in [403, 404] {
        let world = org(ListedGroups::Omitted)
            .await
            .set("policy.managed_groups", "");
        world.roster(&roster_with_groups(""));
        let reconciler = world.reconciler();
        let outcome = started_by(Trigger::Schedule, &reconciler).await;
        let options = at_any_time(Trigger::File);
        let mut one = Arc::unwrap_or_clone(prepared(&reconciler, options).await);
        let groups = world.org().groups();
        let support = groups[1]["id"].as_str().expect("a text");
        one.cache
            .group_unknown(&GroupId::parse(support).expect("an id"));
        reconciler
            .keep(Arc::new(one), Effects::default(), &outcome)
            .await;
        let refused = When {
            path: Some(format!("/api/scim/v2/Groups/{support}")),
            ..When::default()
        };
        world.org().fault(Fault {
            when: refused,
            what: status(code),
            times: 1,
        });
        let outcome = started_by(Trigger::File, &reconciler).await;
        assert_eq!(outcome.result().as_str(), "partial", "{code}: {outcome:#?}");
        assert_converged(&started_by(Trigger::File, &reconciler).await);
    }
}
