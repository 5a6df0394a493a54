//! The schedules of users to be removed, on pages and in the API.

use super::preview::World;
use super::support::{Answer, TOKEN};
use chrono::{TimeDelta, Utc};

/// A request with the admin token.
async fn ask(world: &World, request: &str) -> Answer {
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let headers = ["Host: localhost", &bearer];
    world.server.ask(request, &headers, "").await
}

/// A run has held the deletion of a user with two schedules. Returns the world and the run.
async fn held_removal() -> (World, String) {
    let world = World::observed().await;
    let org = world.org();
    org.add_schedule("u2@x.co", "daily revenue", Some(4));
    org.add_schedule("u2@x.co", "<i>weekly", None);
    org.add_schedule("u3@x.co", "of another user", None);
    world.roster("upsert,u1@x.co,User 1,sales\ndelete,u2@x.co,,\n");
    world.run().await;
    let run = world.server.get("/api/v1/runs/latest").await.json();
    (world, run["run"].to_string())
}

#[tokio::test]
async fn a_held_removal_names_the_schedules() {
    let (world, run) = held_removal().await;
    let owned = "owns 2 schedules: &#60;i&#62;weekly, daily revenue";
    for path in [
        "/".to_owned(),
        format!("/runs/{run}"),
        format!("/runs/{run}/approve"),
        "/users/u2@x.co".to_owned(),
    ] {
        let page = ask(&world, &format!("GET {path}")).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.body.contains(owned), "{path}\n{}", page.body);
        assert!(!page.body.contains("of another user"), "{}", page.body);
    }
    let step = ask(&world, &format!("GET /runs/{run}/approve")).await.body;
    let said = "These users own <b>2 schedules</b>, named below.";
    assert!(step.contains(said), "{step}");
    let reason = "<p>Held by policy.owned_schedules: 1 removal that deletes schedules for good: u2@x.co owns";
    assert!(step.contains(reason), "{step}");
    let user = ask(&world, "GET /api/v1/users/u2@x.co").await.json();
    let fields = user["held"]["fields"].as_array().expect("a list").iter();
    let lost = fields.filter(|field| field["field"].to_string().contains("schedule:"));
    let names: Vec<_> = lost.map(|field| field["from"].as_str()).collect();
    assert_eq!(names, [Some("<i>weekly"), Some("daily revenue")]);
}

#[tokio::test]
async fn pages_approve_the_shown_schedules() {
    let (world, run) = held_removal().await;
    let path = format!("POST /runs/{run}/approve?only=u2%40x.co&confirmed=true");
    assert_eq!(ask(&world, &path).await.status, 303);
    world.org().add_schedule("u2@x.co", "monthly", None);
    world.run().await;
    assert!(world.org().user("u2@x.co").is_some(), "one was not shown");
    let overview = ask(&world, "GET /").await.body;
    let owned = "owns 3 schedules: &#60;i&#62;weekly, daily revenue, monthly";
    assert!(overview.contains(owned), "{overview}");

    let run = world.server.get("/api/v1/runs/latest").await.json();
    let path = format!("POST /runs/{}/approve?confirmed=true", run["run"]);
    assert_eq!(ask(&world, &path).await.status, 303);
    world.run().await;
    assert!(world.org().user("u2@x.co").is_none());
    assert_eq!(world.org().lost_schedules().len(), 3);
}

#[tokio::test]
async fn a_preview_says_that_schedules_are_unknown() {
    let world = World::observed().await;
    world.org().add_schedule("u2@x.co", "daily revenue", None);
    world.roster("upsert,u1@x.co,User 1,sales\ndelete,u2@x.co,,\n");
    let before = world.requests();
    let page = world.server.get("/preview").await.body;
    let note = "The schedules of 1 user to be removed are not known. A run reads them first";
    assert!(page.contains(note), "{page}");
    assert_eq!(world.requests(), before);
}

#[tokio::test]
async fn a_preview_lists_who_leaves_soon() {
    let world = World::observed().await;
    let day = |days| Utc::now().date_naive() + TimeDelta::days(days);
    let (soon, later) = (day(3), day(30));
    world.replace_roster(&format!(
        "op,email,display_name,department,leave_on\nupsert,u1@x.co,User 1,sales,\n\
         delete,u2@x.co,,,{soon}\ndeactivate,u3@x.co,,,{later}\n"
    ));
    let page = world.server.get("/preview").await.body;
    let (_, list) = page.split_once("Leaving within two weeks").expect("a list");
    let (list, _) = list.split_once("</section>").expect("an end");
    let note = format!("u2@x.co</a> <span class=\"soft\">delete, leaves on {soon}</span>");
    assert!(list.contains(&note), "{list}");
    assert!(!list.contains("u3@x.co"), "{list}");
    world.roster("upsert,u1@x.co,User 1,sales\n");
    let page = world.server.get("/preview").await.body;
    assert!(!page.contains("Leaving within"), "{page}");
}
