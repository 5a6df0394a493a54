//! Groups and memberships.

use omni_user_sync::sandbox::{
    Fault, Filter, Ids, ListedGroups, Options, OtherIds, PatchAnswer, Repeated, What,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Lab, PATCH_OP, USERS};

const GROUPS: &str = "/api/scim/v2/Groups";
const EMBED_USER: &str = "00000000-0000-4000-8000-0000000000e1";

impl Lab {
    /// Three users, and a group `Sales` with the first of them.
    async fn with_sales(options: Options) -> (Self, [String; 3], String) {
        let lab = Self::with(Options {
            requests_per_minute: u32::MAX,
            ..options
        })
        .await;
        let users = ["a@x.co", "b@x.co", "c@x.co"].map(|email| lab.user(email, json!({})));
        let group = lab.org().add_group("Sales", &["a@x.co"]);
        (lab, users, group)
    }

    async fn patch_group(&self, id: &str, operations: Value) -> Answer {
        let body = json!({"schemas": [PATCH_OP], "Operations": operations});
        let path = format!("{GROUPS}/{id}");
        self.send(Method::PATCH, &path, &body).await
    }

    fn sales(&self) -> Vec<String> {
        self.org().members("sales").expect("the group exists")
    }
}

fn add(ids: &[&String]) -> Value {
    let members: Vec<_> = ids.iter().map(|id| json!({ "value": id })).collect();
    json!({"op": "add", "path": "members", "value": members})
}

fn remove(id: &str) -> Value {
    json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")})
}

fn names<'a>(page: &'a Value) -> Vec<&'a str> {
    let groups = page["Resources"].as_array().expect("a list");
    let name = |group: &'a Value| group["displayName"].as_str().expect("a name");
    groups.iter().map(name).collect()
}

#[tokio::test]
async fn members_join_and_leave_in_one_request() {
    let (lab, [a, b, c], sales) = Lab::with_sales(Options::default()).await;
    let got = lab
        .patch_group(&sales, json!([add(&[&b, &c]), remove(&a)]))
        .await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(got.body["members"].as_array().map(Vec::len), Some(2));
    assert_eq!(lab.sales(), ["b@x.co", "c@x.co"]);
    assert_eq!(lab.org().unexpected(), [""; 0]);
}

#[tokio::test]
async fn a_rejected_patch_changes_no_member() {
    let (lab, [a, b, _], sales) = Lab::with_sales(Options::default()).await;
    let unknown = "550e8400-e29b-41d4-a716-446655440000".to_owned();
    for operations in [
        json!([add(&[&b]), add(&[&a])]),
        json!([add(&[&b]), remove(&unknown)]),
        json!([add(&[&b, &unknown])]),
        json!([add(&[&b, &b])]),
        json!([add(&[&b]), remove("short")]),
        json!([add(&[&b]), {"op": "remove", "path": "members"}]),
        json!([add(&[&b]), {"op": "add", "value": []}]),
        json!([]),
    ] {
        let got = lab.patch_group(&sales, operations.clone()).await;
        got.refused(400, &operations.to_string());
        assert_eq!(lab.sales(), ["a@x.co"], "{operations}");
    }
    let gone = lab.patch_group("none", json!([add(&[&b])])).await;
    gone.refused(404, "unknown group");
}

#[tokio::test]
async fn repeated_members_can_be_accepted() {
    let (lab, [a, b, c], sales) = Lab::with_sales(Options {
        repeated: Repeated::Accepted,
        ..Options::default()
    })
    .await;
    let got = lab
        .patch_group(&sales, json!([add(&[&a, &b]), remove(&c)]))
        .await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(lab.sales(), ["a@x.co", "b@x.co"]);
}

#[tokio::test]
async fn group_names_are_unique_and_short() {
    let (lab, [_, b, _], sales) = Lab::with_sales(Options::default()).await;
    for (name, status) in [
        ("Board", 201),
        ("sALES", 409),
        (" ", 400),
        (&"x".repeat(64), 201),
        (&"x".repeat(65), 400),
    ] {
        let body = json!({"displayName": name, "members": [{"value": b}]});
        let got = lab.send(Method::POST, GROUPS, &body).await;
        assert_eq!(got.status, status, "{name}: {}", got.body);
    }
    assert_eq!(lab.org().members("board"), Some(vec!["b@x.co".to_owned()]));
    let renamed = json!([{"op": "replace", "path": "displayName", "value": "BOARD"}]);
    lab.patch_group(&sales, renamed).await.refused(409, "taken");
    let renamed = json!([{"op": "replace", "value": {"displayName": "SALES"}}]);
    assert_eq!(lab.patch_group(&sales, renamed).await.status, 200);
    assert_eq!(lab.sales(), ["a@x.co"]);
}

#[tokio::test]
async fn a_put_overwrites_the_members() {
    let (lab, [_, b, _], sales) = Lab::with_sales(Options::default()).await;
    let path = format!("{GROUPS}/{sales}");
    let without_display = json!({"displayName": "Sales", "members": [{"value": b}]});
    let got = lab.send(Method::PUT, &path, &without_display).await;
    got.refused(400, "`display` is required");
    let body = json!({"displayName": "Sales", "members": [{"value": b, "display": ""}]});
    assert_eq!(lab.send(Method::PUT, &path, &body).await.status, 200);
    assert_eq!(lab.sales(), ["b@x.co"]);
    assert_eq!(lab.delete(&path).await.status, 204);
    lab.get(&path).await.refused(404, "removed");
    assert_eq!(lab.org().groups(), [json!(null); 0]);
}

#[tokio::test]
async fn pages_of_groups_and_their_filter() {
    let (lab, _, sales) = Lab::with_sales(Options::default()).await;
    for number in 0..120 {
        lab.org().add_group(&format!("Group {number}"), &[]);
    }
    let page = async |query: &str| lab.get(&format!("{GROUPS}?{query}")).await.body;
    let first = page("").await;
    assert_eq!(
        (names(&first).len(), &first["totalResults"]),
        (100, &json!(121))
    );
    assert_eq!(names(&page("count=2&startIndex=121").await), ["Group 119"]);
    let found = page("filter=displayName%20eq%20%22Sales%22").await;
    assert_eq!(names(&found), ["Sales"]);
    assert_eq!(
        found["Resources"][0]["members"].as_array().map(Vec::len),
        Some(1)
    );
    let short = page("excludedAttributes=members&count=1").await;
    assert_eq!(short["Resources"][0].get("members"), None);
    let one = lab
        .get(&format!("{GROUPS}/{sales}?excludedAttributes=members"))
        .await;
    assert_eq!((one.status, one.body.get("members")), (200, None));
    lab.get(&format!("{GROUPS}?filter=name%20eq%20%22Sales%22"))
        .await
        .refused(400, "filter");
}

#[tokio::test]
async fn the_filter_of_groups_may_ignore_case() {
    for (group_filter, expected) in [
        (Filter::ExactCase, vec![]),
        (Filter::AnyCase, vec!["Sales"]),
        (Filter::Ignored, vec!["Sales", "Board"]),
    ] {
        let (lab, ..) = Lab::with_sales(Options {
            group_filter,
            ..Options::default()
        })
        .await;
        lab.org().add_group("Board", &[]);
        let query = "filter=displayName%20eq%20%22SALES%22";
        let found = lab.get(&format!("{GROUPS}?{query}")).await.body;
        assert_eq!(names(&found), expected, "{group_filter:?}");
    }
}

#[tokio::test]
async fn one_kind_of_repeated_member_can_be_accepted() {
    for (repeated, statuses) in [
        (Repeated::Refused, [400, 400]),
        (Repeated::Added, [200, 400]),
        (Repeated::Removed, [400, 200]),
        (Repeated::Accepted, [200, 200]),
    ] {
        let (lab, [a, b, _], sales) = Lab::with_sales(Options {
            repeated,
            ..Options::default()
        })
        .await;
        let added = lab.patch_group(&sales, json!([add(&[&a])])).await.status;
        let removed = lab.patch_group(&sales, json!([remove(&b)])).await.status;
        assert_eq!([added, removed], statuses, "{repeated:?}");
        assert_eq!(lab.sales(), ["a@x.co"]);
    }
}

#[tokio::test]
async fn a_request_changes_a_limited_number_of_members() {
    let (lab, [a, b, c], sales) = Lab::with_sales(Options {
        max_members: 2,
        ..Options::default()
    })
    .await;
    let three = json!([add(&[&b, &c]), remove(&a)]);
    lab.patch_group(&sales, three).await.refused(400, "three");
    assert_eq!(lab.sales(), ["a@x.co"]);
    let two = json!([add(&[&b]), remove(&a)]);
    assert_eq!(lab.patch_group(&sales, two).await.status, 200);
    assert_eq!(lab.sales(), ["b@x.co"]);
}

#[tokio::test]
async fn members_with_short_ids_may_be_removed() {
    for (other_ids, status, left) in [
        (OtherIds::Refused, 400, vec!["a@x.co"]),
        (OtherIds::Ignored, 200, vec!["a@x.co"]),
        (OtherIds::Removed, 200, vec![]),
    ] {
        let (lab, [a, ..], sales) = Lab::with_sales(Options {
            ids: Ids::Short,
            other_ids,
            ..Options::default()
        })
        .await;
        assert_eq!(a.len(), 16);
        let removed = lab.patch_group(&sales, json!([remove(&a)])).await;
        assert_eq!(removed.status, status, "{other_ids:?}");
        assert_eq!(lab.sales(), left, "{other_ids:?}");
        assert_eq!(lab.org().unexpected(), [""; 0]);
    }
}

#[tokio::test]
async fn users_show_their_groups() {
    for (listed_groups, in_list) in [
        (ListedGroups::Shown, Some(1)),
        (ListedGroups::Omitted, None),
    ] {
        let (lab, [a, ..], sales) = Lab::with_sales(Options {
            listed_groups,
            ..Options::default()
        })
        .await;
        let one = lab.get(&format!("{USERS}/{a}")).await.body;
        assert_eq!(one["groups"], json!([{"display": "Sales", "value": sales}]));
        let page = lab.get(USERS).await.body;
        let groups = page["Resources"][0].get("groups");
        assert_eq!(groups.and_then(Value::as_array).map(Vec::len), in_list);
    }
}

#[tokio::test]
async fn embed_users_are_members_that_no_list_shows() {
    let (lab, [a, ..], sales) = Lab::with_sales(Options::default()).await;
    lab.org().join_embed_user("Sales", EMBED_USER);
    let page = lab.get(USERS).await.body;
    assert_eq!(page["totalResults"], 3);
    let group = lab.get(&format!("{GROUPS}/{sales}")).await.body;
    assert_eq!(
        group["members"][0],
        json!({"value": EMBED_USER, "display": "Embed user"})
    );
    // A client that returns the members it was shown keeps them.
    let body = json!({"displayName": "Sales", "members": group["members"]});
    let path = format!("{GROUPS}/{sales}");
    assert_eq!(lab.send(Method::PUT, &path, &body).await.status, 200);
    assert_eq!(lab.sales(), [EMBED_USER, "a@x.co"]);
    // A removed user is no member any more.
    lab.delete(&format!("{USERS}/{a}")).await;
    assert_eq!(lab.sales(), [EMBED_USER]);
}

#[tokio::test]
async fn faults_and_history_cover_groups() {
    let (lab, [_, b, c], sales) = Lab::with_sales(Options {
        history: true,
        patch_answer: PatchAnswer::Partial,
        ..Options::default()
    })
    .await;
    let before = lab.org().history().len();
    lab.org().fault(Fault::next(What::IgnoreWrite));
    let ignored = lab.patch_group(&sales, json!([add(&[&b])])).await;
    assert_eq!((ignored.status, ignored.body.get("members")), (200, None));
    assert_eq!(lab.sales(), ["a@x.co"]);
    lab.org().fault(Fault::next(What::StaleAnswer));
    let stale = lab.patch_group(&sales, json!([add(&[&c])])).await.body;
    assert_eq!(stale["members"].as_array().map(Vec::len), Some(1));
    assert_eq!(lab.sales(), ["a@x.co", "c@x.co"]);
    let history = lab.org().history();
    let [change] = &history[before..] else {
        panic!("one change: {history:?}");
    };
    let count = |group: &Option<Value>| {
        group
            .as_ref()
            .map(|group| group["members"].as_array().map(Vec::len))
    };
    assert_eq!(
        (count(&change.before), count(&change.after)),
        (Some(Some(1)), Some(Some(2)))
    );
}
