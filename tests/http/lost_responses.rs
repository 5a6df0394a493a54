//! One run, whose answers are lost or say no: the real client against the mock server.
use crate::support::{World, assert_converged, on, outcomes_of};
use omni_user_sync::model::ChangeOutcome;
use omni_user_sync::run::{AppliedChange, Completion, RunOutcome};
use omni_user_sync::sandbox::{Fault, Filter, Options, What, When};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_lost_response_causes_no_second_creation() {
    for what in [What::LostReply, What::CutJson, What::Reset] {
        let world = World::new().await;
        world.user("u@x.co", "U", json!({}));
        world.user("d@x.co", "D", json!({}));
        for method in ["POST", "PATCH", "DELETE"] {
            world.org().fault(on(method, what.clone()));
        }
        world.roster("op,email,display_name\nupsert,c@x.co,C\nupsert,u@x.co,New\ndelete,d@x.co,\n");
        let outcome = world.run().await;
        assert_converged(&outcome);
        let emails: Vec<_> = world
            .org()
            .users()
            .iter()
            .map(|user| user["userName"].clone())
            .collect();
        assert_eq!(emails, [json!("u@x.co"), json!("c@x.co")], "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_with_lost_response_is_verified() {
    // The roster spells the address in another case, and this Omni's filter minds it.
    let filter = Filter::ExactCase;
    let world = World::with(Options {
        filter,
        ..Options::default()
    })
    .await;
    world.user("Ann@x.co", "Ann", json!({}));
    world.user("Bob@x.co", "Bob", json!({}));
    let world = world
        .set("omni.max_in_flight", "1")
        .set("policy.max_removals", "100%");
    world.org().fault(Fault {
        times: 2,
        ..on(
            "DELETE",
            What::Status {
                code: 502,
                retry_after: None,
                body: None,
            },
        )
    });
    world.org().fault(on(
        "PATCH",
        What::Status {
            code: 502,
            retry_after: None,
            body: None,
        },
    ));
    world.roster("op,email\ndelete,ann@x.co\ndeactivate,bob@x.co\n");
    assert_converged(&world.run().await);
    assert!(
        world.org().user("ann@x.co").is_none(),
        "she is gone in truth"
    );
    assert!(world.org().user("bob@x.co").is_none(), "so is he");
}

#[tokio::test(start_paused = true)]
async fn the_last_failed_write_is_not_reported_unsent() {
    let world = World::with(Options {
        users: 30,
        ..Options::with_full_lists()
    })
    .await
    .set("policy.max_removals", "100%")
    .set("omni.max_in_flight", "1");
    let rows: String = (1..=30)
        .map(|number| format!("delete,user{number:04}@example.com\n"))
        .collect();
    world.roster(&format!("op,email\n{rows}"));
    let users = When {
        path: Some("/api/scim/v2/Users/".into()),
        ..When::default()
    };
    world.org().fault(Fault {
        when: users,
        what: What::LostReply,
        times: 99,
    });
    let outcome = world.run().await;
    assert!(!outcome.is_success(), "{outcome:?}");
    let gone = 30 - world.org().users().len();
    let unsent = outcome.count(ChangeOutcome::Skipped);
    // The pauses take so long that each removal reads its user first, and some of these reads fail.
    let unread = |one: &&AppliedChange| {
        one.outcome == ChangeOutcome::Failed && one.detail.starts_with("Omni can't be reached")
    };
    let unread = outcome.changes.iter().filter(unread).count();
    assert_eq!(
        unsent + unread + gone,
        30,
        "a removed user is not reported as skipped: {outcome:#?}"
    );
}

/// The mock server's lists and filters show a user only some requests after the creation.
#[tokio::test(start_paused = true)]
async fn a_lost_creation_is_unknown_until_listed() {
    let world = World::with(Options {
        users: 1,
        list_lag: 14,
        ..Options::with_full_lists()
    })
    .await;
    world.org().fault(on("POST", What::LostReply));
    world.roster("email,display_name\nnew@x.co,New\n");
    let first = world.run().await;
    assert_eq!(outcomes_of(&first), ["create new@x.co failed"]);
    assert_eq!(settled_in(&world, &first).await, [None], "unknown");
    let second = world.run().await;
    let detail = &second.changes[0].detail;
    assert!(detail.starts_with("Omni's list lags"), "{second:#?}");
    assert_eq!(settled_in(&world, &first).await, [None], "still unknown");
    while world.org().requests().len() < 18 {
        world.run().await;
    }
    assert_converged(&world.run().await);
    let applied = [Some(ChangeOutcome::Applied)];
    assert_eq!(settled_in(&world, &first).await, applied);
    assert_eq!(world.org().users().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_creation_fails_if_a_later_succeeds() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.roster("email,display_name\na@x.co,A\nnew@x.co,New\n");
    // The creation does not reach Omni, and the key is refused for the lookup after it.
    world.org().fault(on("POST", What::Reset));
    let when = When {
        query: Some("filter".into()),
        ..When::default()
    };
    let what = fails(401);
    world.org().fault(Fault {
        when,
        what,
        times: 9,
    });
    let first = world.run().await;
    assert_eq!(settled_in(&world, &first).await, [None], "unknown");
    world.org().clear_faults();
    assert_converged(&world.run().await);
    let failed = [Some(ChangeOutcome::Failed)];
    assert_eq!(settled_in(&world, &first).await, failed);
}

/// The outcomes in the state database; `None` if unknown.
async fn settled_in(world: &World, run: &RunOutcome) -> Vec<Option<ChangeOutcome>> {
    let number = run.number.expect("a run");
    let changes = world.state_db().changes(number).await.expect("read");
    let settled = changes.into_iter().map(|change| change.settled);
    settled.map(|settled| Some(settled?.outcome)).collect()
}

#[tokio::test]
async fn an_update_after_a_conflict_clears_no_values() {
    let world = World::new().await;
    world.user(
        "ann@x.co",
        "Ann",
        json!({ "department": "x", "tier": "gold" }),
    );
    // The listing does not show her, as when she is made while it is read.
    world.org().fault(Fault::next(What::SkipUser));
    world.roster("email,display_name,department,tier\nann@x.co,Ann Lee,y,\n");
    let outcome = world.run().await;
    assert_eq!(outcomes_of(&outcome), ["update ann@x.co failed"]);
    assert!(
        outcome.changes[0]
            .detail
            .contains("the next run clears some of the values"),
        "{outcome:?}"
    );
    assert_eq!(world.attribute("ann@x.co", "department"), json!("y"));
    assert_eq!(world.attribute("ann@x.co", "tier"), json!("gold"));
    assert_eq!(world.org().users().len(), 1);
}

#[tokio::test]
async fn a_refused_change_does_not_affect_other_users() {
    let world = World::new().await;
    for email in ["a@x.co", "b@x.co", "c@x.co"] {
        world.user(email, "Old", json!({}));
    }
    for code in [400, 403, 404, 409, 422] {
        world.org().fault(on(
            "PATCH",
            What::Status {
                code,
                retry_after: None,
                body: None,
            },
        ));
        world.roster("email,display_name\na@x.co,New\nb@x.co,New\nc@x.co,New\n");
        let outcome = world.run().await;
        assert_eq!(
            outcome.count(ChangeOutcome::Failed),
            1,
            "{code}: {outcome:#?}"
        );
        assert_eq!(outcome.count(ChangeOutcome::Applied), 2, "{code}");
        assert!(outcome.is_success());
        for email in ["a@x.co", "b@x.co", "c@x.co"] {
            world.org().remove_user(email);
            world.user(email, "Old", json!({}));
        }
    }
}

#[tokio::test]
async fn a_rejected_change_counts_as_sent() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\n");
    let says = |code| What::Status {
        code,
        retry_after: None,
        body: None,
    };
    world.org().fault(on("POST", says(409)));
    let unauthorized = When {
        query: Some("filter".into()),
        ..When::default()
    };
    world.org().fault(Fault {
        when: unauthorized,
        what: says(401),
        times: 9,
    });
    let outcome = world.run().await;
    let [create] = &outcome.changes[..] else {
        panic!("{outcome:#?}");
    };
    assert_eq!(create.outcome, ChangeOutcome::Failed, "{create:?}");
    assert!(
        create
            .detail
            .starts_with("the user exists already (409), and"),
        "{create:?}"
    );
    assert!(
        matches!(&outcome.completion, Completion::Failed(error) if error.to_string().contains("401"))
    );
}

#[tokio::test]
async fn a_revoked_key_ends_the_run() {
    let world = World::new().await.set("omni.max_in_flight", "1");
    for email in ["a@x.co", "b@x.co", "c@x.co"] {
        world.user(email, "Old", json!({}));
    }
    let unauthorized = What::Status {
        code: 401,
        retry_after: None,
        body: None,
    };
    world.org().fault(Fault {
        times: 9,
        ..on("PATCH", unauthorized)
    });
    world.roster("email,display_name\na@x.co,New\nb@x.co,New\nc@x.co,New\n");
    let outcome = world.run().await;
    assert_eq!(outcome.count(ChangeOutcome::Skipped), 3, "{outcome:#?}");
    assert_eq!(world.writes().len(), 1, "nothing is sent after a 401");
    assert!(
        matches!(&outcome.completion, Completion::Failed(error) if error.to_string().contains("401"))
    );
}

#[tokio::test]
async fn a_rejected_key_is_disabled_and_others_continue() {
    let keys = vec!["one".to_owned(), "two".to_owned()];
    let mut world = World::with(Options {
        keys,
        ..Options::default()
    })
    .await;
    let keys = world.folder.path().join("keys");
    std::fs::write(&keys, "one\nrevoked\ntwo\n").expect("keys");
    world = world
        .set("omni.api_key_file", &keys.display().to_string())
        .without("OMNI_API_KEY");
    world.roster("email,display_name\na@x.co,A\nb@x.co,B\nc@x.co,C\n");
    assert_converged(&world.run().await);
    assert_eq!(world.org().users().len(), 3);
}

/// An outage of writes alone: that looks are answered between them is no comfort.
#[tokio::test(start_paused = true)]
async fn consecutive_lost_responses_end_the_run() {
    let world = World::with(Options {
        users: 40,
        ..Options::default()
    })
    .await
    .set("omni.max_in_flight", "1")
    .set("policy.max_updates", "")
    .set("omni.requests_per_minute", "10000");
    world.org().fault(Fault {
        times: 999,
        ..on("PATCH", fails(500))
    });
    let rows: String = (1..=40)
        .map(|number| format!("user{number:04}@example.com,New\n"))
        .collect();
    world.roster(&format!("email,display_name\n{rows}"));
    let run = world.run().await;
    let Completion::Failed(error) = &run.completion else {
        panic!("{run:#?}");
    };
    assert!(
        error.to_string().contains("20 consecutive failures"),
        "{error}"
    );
    assert_eq!(run.count(ChangeOutcome::Failed), 20, "{run:#?}");
    assert_eq!(run.count(ChangeOutcome::Skipped), 20, "{run:#?}");
    assert_eq!(world.writes().len(), 20 * 6);
}

/// Omni never responds to one change. In the second run this is known, and delays no other change.
#[tokio::test(start_paused = true)]
async fn two_runs_without_response_quarantine_a_change() {
    let world = World::new().await;
    world.user("a@x.co", "A", json!({}));
    world.roster("email,display_name\na@x.co,New\n");
    world.org().fault(Fault {
        times: 999,
        ..on("PATCH", fails(500))
    });
    for tries in [6, 12] {
        let run = world.run().await;
        assert_eq!(outcomes_of(&run), ["update a@x.co failed"], "{run:#?}");
        assert_eq!(world.writes().len(), tries);
    }
    assert_eq!(outcomes_of(&world.run().await), Vec::<String>::new());
    assert_eq!(world.writes().len(), 12);
}

fn fails(code: u16) -> What {
    What::Status {
        code,
        retry_after: None,
        body: None,
    }
}
