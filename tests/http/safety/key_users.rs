//! The users of the API keys are protected, whoever asked Omni about the keys first.
use super::status;
use crate::support::{WHOAMI, World, outcomes_of};
use omni_user_sync::model::UserId;
use omni_user_sync::run::{KeyAnswers, RunOutcome};
use omni_user_sync::sandbox::{Fault, What, When};
use omni_user_sync::settings::KeyHash;
use omni_user_sync::state::KeyUsers;
use serde_json::json;
use std::collections::HashSet;
use tokio_util::sync::CancellationToken;

/// A world whose key belongs to key@x.co, and whose roster removes this user and another one.
async fn world() -> World {
    let world = World::new().await.set("policy.max_removals", "100%");
    world.user("key@x.co", "Key", json!({}));
    world.user("ann@x.co", "Ann", json!({}));
    world.roster("op,email\ndelete,key@x.co\ndelete,ann@x.co\n");
    world
}

fn own_id(world: &World) -> String {
    let user = world.org().user("key@x.co").expect("there");
    user["id"].as_str().expect("a text").into()
}

fn answer(world: &World, what: What) {
    world.org().fault(Fault {
        when: When {
            path: Some(WHOAMI.into()),
            ..When::default()
        },
        what,
        times: 99,
    });
}

/// `whoami` names the user, who is not shown as an admin.
fn name_the_user(world: &World) {
    let user = json!({ "id": "elsewhere", "membershipId": own_id(world) });
    let answers = json!({ "keyScope": "organization", "orgRole": "MEMBER", "user": user });
    let body = Some(answers.to_string());
    let what = What::Status {
        code: 200,
        retry_after: None,
        body,
    };
    answer(world, what);
}

fn asked(world: &World) -> usize {
    let requests = world.org().requests();
    let asked = requests.iter().filter(|request| request.path == WHOAMI);
    asked.count()
}

fn warns(outcome: &RunOutcome) -> bool {
    let mut warnings = outcome.warnings.iter();
    warnings.any(|warning| warning.starts_with("Omni names no user of 1 API key"))
}

#[tokio::test]
async fn a_first_run_protects_the_keys_user() {
    let world = world().await;
    name_the_user(&world);
    let planned = world.plan().await.expect("a plan");
    assert_eq!(planned.assessment.verdict.passed().len(), 1);
    world.org().clear_requests();
    let outcome = world.apply().await;
    assert_eq!(outcomes_of(&outcome), ["delete ann@x.co applied"]);
    assert_eq!(asked(&world), 1);
    let all = world.org().requests().len() as u64;
    assert_eq!(outcome.requests, all - 1, "not one of the run's requests");
    world.apply().await;
    assert_eq!(asked(&world), 1, "the answer is kept");
    assert!(world.org().user("key@x.co").is_some());
}

#[tokio::test]
async fn runs_that_protect_no_admins_ask_nothing() {
    let world = world().await.set("policy.protect_admins", "false");
    name_the_user(&world);
    world.apply().await;
    assert_eq!((world.org().users().len(), asked(&world)), (0, 0));
}

#[tokio::test]
async fn runs_without_removals_ask_nothing() {
    let world = world().await;
    world.roster("email,display_name\nann@x.co,Ann Lee\n");
    assert_eq!(outcomes_of(&world.apply().await).len(), 1);
    assert_eq!(asked(&world), 0);
}

/// The former key's user may be removed then.
#[tokio::test]
async fn a_new_key_is_asked_about() {
    let world = world().await;
    let other = KeyHash::of(&"another-key".into());
    let id = UserId::parse(&own_id(&world)).expect("an id");
    let reconciler = world.reconciler();
    let known = KeyUsers::from([(other, HashSet::from([id]))]);
    let recorded = reconciler.observer().state().record_key_users(known);
    recorded.await.expect("recorded");
    drop(reconciler);
    world.apply().await;
    assert_eq!((world.org().users().len(), asked(&world)), (0, 1));
}

#[tokio::test]
async fn a_run_without_a_name_warns() {
    for code in [403, 404, 501] {
        let world = world().await;
        answer(&world, status(code));
        let outcome = world.apply().await;
        assert!(warns(&outcome), "{code}: {outcome:#?}");
        assert_eq!(world.org().users().len(), 0, "{code}");
        assert_eq!(asked(&world), 1, "{code}: it is not retried");
    }
    let world = world().await;
    assert!(!warns(&world.apply().await));
}

/// The user to be removed may be the user of the key.
#[tokio::test(start_paused = true)]
async fn a_run_without_an_answer_removes_none() {
    for (what, cause) in [
        (status(500), "HTTP 500"),
        (What::Reset, "Omni can't be reached"),
        (status(429), "429"),
    ] {
        let world = world().await;
        world.roster(
            "op,email,display_name\ndelete,key@x.co,\ndelete,ann@x.co,\nupsert,bob@x.co,Bob\n",
        );
        answer(&world, what);
        let outcome = world.apply().await;
        let expected = [
            "create bob@x.co applied",
            "delete ann@x.co failed",
            "delete key@x.co failed",
        ];
        assert_eq!(outcomes_of(&outcome), expected, "{cause}");
        assert_eq!(outcome.result().as_str(), "partial");
        let says_so =
            |text: &String| text.contains("policy.protect_admins") && text.contains(cause);
        let details = outcome.changes.iter().map(|change| &change.detail);
        let failed = details.filter(|detail| says_so(detail));
        assert_eq!(failed.count(), 2, "{outcome:#?}");
        assert!(outcome.warnings.iter().any(says_so), "{outcome:#?}");
        assert!(!warns(&outcome), "{outcome:#?}");
        world.org().clear_faults();
        name_the_user(&world);
        let outcome = world.apply().await;
        assert_eq!(outcomes_of(&outcome), ["delete ann@x.co applied"]);
    }
}

/// The answer of one key counts, although the other key gets none.
#[tokio::test(start_paused = true)]
async fn one_failing_key_hides_no_other_keys_user() {
    let world = world()
        .await
        .with_variable("OMNI_API_KEY", "sandbox-key\nother-key");
    let user = json!({ "id": "elsewhere", "membershipId": own_id(&world) });
    let answers = json!({ "keyScope": "organization", "orgRole": "MEMBER", "user": user });
    let of_first_key = What::Status {
        code: 200,
        retry_after: None,
        body: Some(answers.to_string()),
    };
    world.org().fault(Fault {
        when: When {
            path: Some(WHOAMI.into()),
            ..When::default()
        },
        ..Fault::next(of_first_key)
    });
    answer(&world, status(500));
    let outcome = world.apply().await;
    let of_other_key = ["delete ann@x.co failed"];
    assert_eq!(outcomes_of(&outcome), of_other_key, "{outcome:#?}");
}

/// The daemon asks once a day about keys that it knows.
#[tokio::test]
async fn users_without_a_later_answer_stay_protected() {
    let world = world().await;
    name_the_user(&world);
    world.apply().await;
    world.org().clear_faults();
    answer(&world, status(404));
    let (settings, stop) = (world.settings(), CancellationToken::new());
    let answers = KeyAnswers::ask(&settings, &world.metrics, &stop).await;
    let reconciler = world.reconciler();
    let kept = answers
        .expect("answers")
        .keep(reconciler.observer().state());
    kept.await.expect("kept");
    drop(reconciler);
    assert!(!warns(&world.apply().await));
    assert!(world.org().user("key@x.co").is_some());
}

/// A world whose rows of `source.groups` and `source.roles` take access from the user of the key and another one.
async fn world_of_access() -> World {
    let world = world().await;
    let at = |name| world.roster_path().with_file_name(name);
    let (groups, roles) = (at("groups.csv"), at("roles.csv"));
    let rows = "op,email,group_name\n-,key@x.co,Board\n-,ann@x.co,Board\n+,bob@x.co,Board\n";
    std::fs::write(&groups, rows).expect("written");
    let rows = "subject,connection,model,role\nkey@x.co,Warehouse,Sales,VIEWER\nann@x.co,Warehouse,Sales,VIEWER\n";
    std::fs::write(&roles, rows).expect("written");
    world.roster("email,display_name\nbob@x.co,Bob\n");
    let org = world.org();
    org.add_group("Board", &["key@x.co", "ann@x.co"]);
    let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
    let sales = org.add_model(&warehouse, "Sales", "SHARED");
    for email in ["key@x.co", "ann@x.co"] {
        org.set_role(email, &sales, "MODELER");
    }
    world
        .set("source.groups", &groups.to_string_lossy())
        .set("source.roles", &roles.to_string_lossy())
}

#[tokio::test]
async fn a_first_run_keeps_the_key_users_access() {
    let world = world_of_access().await;
    name_the_user(&world);
    let outcome = world.apply().await;
    let expected = [
        "assign ann@x.co applied",
        "create bob@x.co applied",
        "join bob@x.co applied",
        "leave ann@x.co applied",
    ];
    assert_eq!(outcomes_of(&outcome), expected, "{outcome:#?}");
    assert_eq!(asked(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_an_answer_takes_no_access() {
    let world = world_of_access().await;
    answer(&world, status(500));
    let outcome = world.apply().await;
    let expected = [
        "assign ann@x.co failed",
        "assign key@x.co failed",
        "create bob@x.co applied",
        "join bob@x.co applied",
        "leave ann@x.co failed",
        "leave key@x.co failed",
    ];
    assert_eq!(outcomes_of(&outcome), expected, "{outcome:#?}");
    assert_eq!(outcome.result().as_str(), "partial");
    let says_so =
        |text: &String| text.contains("policy.protect_admins") && text.contains("HTTP 500");
    assert!(outcome.warnings.iter().any(says_so), "{outcome:#?}");
    world.org().clear_faults();
    let outcome = world.apply().await;
    assert_eq!(outcomes_of(&outcome).len(), 4, "{outcome:#?}");
}
