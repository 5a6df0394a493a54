//! Schedules, documents and personal tokens, and what a removal does to them.

use omni_user_sync::sandbox::{Endpoint, Fault, Inactive, Options, ScheduleOwners, What};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Lab, USERS};

const SCHEDULES: &str = "/api/v1/schedules";
const UNKNOWN: &str = "550e8400-e29b-41d4-a716-446655440000";

/// Two users. The first owns the schedules `Daily` and `Weekly`, a document and a personal token.
struct Owners {
    lab: Lab,
    ann: String,
    bob: String,
    daily: String,
    weekly: String,
}

impl Owners {
    async fn new(options: Options) -> Self {
        let lab = Lab::with(Options {
            requests_per_minute: u32::MAX,
            ..options
        })
        .await;
        let [ann, bob] = ["ann@x.co", "bob@x.co"].map(|email| lab.user(email, json!({})));
        let org = lab.org();
        let daily = org.add_schedule("ann@x.co", "Daily", Some(3));
        let weekly = org.add_schedule("ann@x.co", "Weekly", None);
        org.add_document("ann@x.co", "Sales");
        org.add_personal_token("ann@x.co", "laptop");
        Self {
            lab,
            ann,
            bob,
            daily,
            weekly,
        }
    }

    async fn transfer(&self, schedule: &str, body: Value) -> Answer {
        let path = format!("{SCHEDULES}/{schedule}/transfer-ownership");
        self.lab.send(Method::PUT, &path, &body).await
    }

    /// The ids of schedules, each with the email of its owner.
    fn owners(&self) -> Vec<(String, String)> {
        let schedules = self.lab.org().schedules().into_iter();
        schedules.map(|(id, _, owner)| (id, owner)).collect()
    }
}

fn names(page: &Value) -> Vec<&str> {
    let records = page["records"].as_array().expect("a list").iter();
    records
        .map(|record| record["name"].as_str().expect("a name"))
        .collect()
}

#[tokio::test]
async fn schedules_are_listed_by_owner() {
    let owners = Owners::new(Options::default()).await;
    owners.lab.org().add_schedule("bob@x.co", "Alert", Some(1));
    let all = owners.lab.get(SCHEDULES).await.body;
    assert_eq!(names(&all), ["Weekly", "Daily", "Alert"]);
    assert_eq!(all["pageInfo"]["totalRecords"], 3);
    let of_ann = format!("{SCHEDULES}?ownerId={}", owners.ann);
    let of_ann = owners.lab.get(&of_ann).await.body;
    let shown = of_ann["records"].as_array().expect("a list").iter();
    let shown: Vec<_> = shown
        .map(|one| (&one["id"], &one["ownerId"], &one["recipientCount"]))
        .collect();
    let (weekly, daily, ann) = (json!(owners.weekly), json!(owners.daily), json!(owners.ann));
    assert_eq!(
        shown,
        [(&weekly, &ann, &json!(-1)), (&daily, &ann, &json!(3))]
    );
    let of_none = format!("{SCHEDULES}?ownerId={UNKNOWN}");
    assert_eq!(names(&owners.lab.get(&of_none).await.body), [""; 0]);
}

#[tokio::test]
async fn pages_of_schedules_have_a_number() {
    let owners = Owners::new(Options::default()).await;
    let first = owners.lab.get(&format!("{SCHEDULES}?pageSize=1")).await;
    let expected =
        json!({"hasNextPage": true, "nextCursor": "2", "pageSize": 1, "totalRecords": 2});
    assert_eq!(first.body["pageInfo"], expected);
    let last = format!("{SCHEDULES}?pageSize=1&cursor=2");
    let last = owners.lab.get(&last).await.body;
    assert_eq!(names(&last), ["Daily"]);
    assert_eq!(last["pageInfo"]["nextCursor"], Value::Null);
    for query in [
        "pageSize=0",
        "pageSize=101",
        "pageSize=x",
        "cursor=0",
        "cursor=x",
        "ownerId=ann",
        "ownerid=1",
        "sortField=lastRun",
    ] {
        let refused = owners.lab.get(&format!("{SCHEDULES}?{query}")).await;
        refused.refused(400, query);
    }
    assert_eq!(owners.lab.org().unexpected().len(), 8);
}

#[tokio::test]
async fn owners_may_be_missing_or_unfiltered() {
    for (schedule_owners, count, has_owner) in [
        (ScheduleOwners::Unnamed, 0, false),
        (ScheduleOwners::Unfiltered, 2, true),
    ] {
        let owners = Owners::new(Options {
            schedule_owners,
            ..Options::default()
        })
        .await;
        let of_bob = format!("{SCHEDULES}?ownerId={}", owners.bob);
        let of_bob = owners.lab.get(&of_bob).await.body;
        assert_eq!(names(&of_bob).len(), count);
        let all = owners.lab.get(SCHEDULES).await.body;
        assert_eq!(all["records"][0].get("ownerId").is_some(), has_owner);
    }
}

#[tokio::test]
async fn a_schedule_is_transferred() {
    let owners = Owners::new(Options {
        history: true,
        ..Options::default()
    })
    .await;
    let body = json!({"userId": owners.bob});
    let got = owners.transfer(&owners.daily, body).await;
    assert_eq!((got.status, got.body), (200, json!({"success": true})));
    let (daily, weekly) = (owners.daily.clone(), owners.weekly.clone());
    let expected = [
        (daily.clone(), "bob@x.co".into()),
        (weekly, "ann@x.co".into()),
    ];
    assert_eq!(owners.owners(), expected);
    let transfers = [(daily, "ann@x.co".into(), "bob@x.co".into())];
    assert_eq!(owners.lab.org().transfers(), transfers);
    let change = owners.lab.org().history().pop().expect("a change");
    let owner = |schedule: Option<Value>| schedule.expect("a schedule")["ownerId"].clone();
    assert_eq!(
        (owner(change.before), owner(change.after)),
        (json!(owners.ann), json!(owners.bob))
    );
}

#[tokio::test]
async fn invalid_transfers_are_rejected() {
    let owners = Owners::new(Options {
        inactive: Inactive::Keep,
        ..Options::default()
    })
    .await;
    let org = owners.lab.org();
    let idle = owners.lab.user("idle@x.co", json!({}));
    org.set_active("idle@x.co", false);
    let blind = owners.lab.user("blind@x.co", json!({}));
    org.hide_schedule(&owners.daily, "blind@x.co");
    for (body, status) in [
        (json!({"userId": owners.bob, "email": "bob@x.co"}), 400),
        (json!({"ownerId": owners.bob}), 400),
        (json!({"userId": "bob"}), 400),
        (json!({"userId": UNKNOWN}), 404),
        (json!({"userId": owners.ann}), 400),
        (json!({"userId": idle}), 400),
        (json!({"userId": blind}), 403),
    ] {
        let got = owners.transfer(&owners.daily, body.clone()).await;
        got.refused(status, &body.to_string());
    }
    for schedule in [UNKNOWN, "daily"] {
        let got = owners
            .transfer(schedule, json!({"userId": owners.bob}))
            .await;
        got.refused(404, schedule);
    }
    let got = owners
        .transfer(&owners.weekly, json!({"userId": blind}))
        .await;
    assert_eq!(got.status, 200, "the other one is visible");
    assert_eq!(org.transfers().len(), 1);
    let path = format!("{SCHEDULES}/{}/transfer-ownership", owners.daily);
    owners.lab.get(&path).await.refused(405, "GET");
}

#[tokio::test]
async fn a_removal_deletes_schedules_and_disables_tokens() {
    for revokes in [false, true] {
        let owners = Owners::new(Options::default()).await;
        let org = owners.lab.org();
        let alert = org.add_schedule("bob@x.co", "Alert", None);
        org.add_personal_token("bob@x.co", "phone");
        let removed = match revokes {
            true => {
                owners
                    .lab
                    .patch(&owners.ann, json!({"active": false}))
                    .await
            }
            false => {
                let path = format!("{USERS}/{}", owners.ann);
                owners.lab.delete(&path).await
            }
        };
        assert!(removed.status < 300, "{}", removed.body);
        let bobs = [(alert, "Alert".into(), "bob@x.co".into())];
        assert_eq!(org.schedules(), bobs);
        let lost = [(&owners.daily, "Daily"), (&owners.weekly, "Weekly")];
        let lost = lost.map(|(id, name)| (id.clone(), name.into(), "ann@x.co".into()));
        assert_eq!(org.lost_schedules(), lost);
        assert_eq!(org.personal_tokens(), [("phone".into(), "bob@x.co".into())]);
        let documents = owners.lab.get("/api/v1/documents").await.body;
        assert_eq!(names(&documents), ["Sales"], "documents stay");
    }
}

#[tokio::test]
async fn a_kept_user_keeps_schedules() {
    let owners = Owners::new(Options {
        inactive: Inactive::Keep,
        ..Options::default()
    })
    .await;
    let got = owners
        .lab
        .patch(&owners.ann, json!({"active": false}))
        .await;
    assert_eq!(got.status, 200);
    let org = owners.lab.org();
    assert_eq!((org.schedules().len(), org.lost_schedules().len()), (2, 0));
    assert_eq!(org.personal_tokens().len(), 1);
}

#[tokio::test]
async fn documents_are_listed_by_creator() {
    let owners = Owners::new(Options::default()).await;
    owners.lab.org().add_document("bob@x.co", "Finance");
    let of_bob = format!("/api/v1/documents?creatorId={}&pageSize=100", owners.bob);
    let of_bob = owners.lab.get(&of_bob).await.body;
    assert_eq!(names(&of_bob), ["Finance"]);
    assert_eq!(of_bob["records"][0]["owner"]["id"], json!(owners.bob));
    let refused = owners.lab.get("/api/v1/documents?ownerId=1").await;
    refused.refused(400, "an unknown parameter");
}

#[tokio::test]
async fn personal_tokens_are_listed_newest_first() {
    let owners = Owners::new(Options::default()).await;
    let phone = owners.lab.org().add_personal_token("bob@x.co", "phone");
    let first = owners
        .lab
        .get("/api/v1/api-keys?type=personal&pageSize=1")
        .await
        .body;
    assert_eq!(names(&first), ["phone"]);
    assert_eq!(first["pageInfo"]["nextCursor"], json!(phone));
    let last = format!("/api/v1/api-keys?type=personal&pageSize=1&cursor={phone}");
    let last = owners.lab.get(&last).await.body;
    let token = &last["records"][0];
    assert_eq!(
        (&token["name"], &token["membershipId"], &token["type"]),
        (&json!("laptop"), &json!(owners.ann), &json!("personal"))
    );
    assert_eq!(last["pageInfo"]["hasNextPage"], false);
    let of_org = owners.lab.get("/api/v1/api-keys?type=organization").await;
    assert_eq!(names(&of_org.body), [""; 0]);
    for query in ["type=person", "cursor=1", "ownerId=1"] {
        let refused = owners.lab.get(&format!("/api/v1/api-keys?{query}")).await;
        refused.refused(400, query);
    }
}

#[tokio::test]
async fn endpoints_may_be_forbidden_or_missing() {
    for (endpoint, status) in [(Endpoint::Forbidden, 403), (Endpoint::Missing, 404)] {
        let owners = Owners::new(Options {
            schedules: endpoint,
            personal_tokens: endpoint,
            ..Options::default()
        })
        .await;
        for path in [SCHEDULES, "/api/v1/api-keys"] {
            owners.lab.get(path).await.refused(status, path);
        }
        let body = json!({"userId": owners.bob});
        let got = owners.transfer(&owners.daily, body).await;
        got.refused(status, "a transfer");
        assert_eq!(owners.lab.org().unexpected(), [""; 0]);
    }
}

#[tokio::test]
async fn faults_apply_to_transfers() {
    let owners = Owners::new(Options::default()).await;
    let org = owners.lab.org();
    org.fault(Fault::next(What::IgnoreWrite));
    let body = json!({"userId": owners.bob});
    let ignored = owners.transfer(&owners.daily, body.clone()).await;
    assert_eq!((ignored.status, org.transfers().len()), (200, 0));
    org.fault(Fault::next(What::LostReply));
    let path = format!("{SCHEDULES}/{}/transfer-ownership", owners.daily);
    let lost = owners.lab.request(Method::PUT, &path).json(&body).send();
    assert!(lost.await.is_err());
    assert_eq!(org.transfers().len(), 1);
}

#[tokio::test]
async fn sample_users_own_sample_schedules() {
    let lab = Lab::with(Options {
        users: 20,
        sample_schedules: 4,
        ..Options::default()
    })
    .await;
    let schedules = lab.org().schedules();
    let owners: Vec<_> = schedules.iter().map(|(_, _, owner)| &owner[..8]).collect();
    assert_eq!(owners, ["user0008", "user0008", "user0013", "user0018"]);
}
