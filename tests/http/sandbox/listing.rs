//! Pages and lookups.

use omni_user_sync::sandbox::{Filter, LargerCount, Options};
use serde_json::{Value, json};

use super::{Answer, Lab, USERS, emails};

async fn ask(lab: &Lab, parameters: &[(&str, &str)]) -> Answer {
    let pairs: Vec<_> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    lab.get(&format!("{USERS}?{}", pairs.join("&"))).await
}

/// Encodes each byte as `%XX`.
fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn page(lab: &Lab, parameters: &[(&str, &str)]) -> Value {
    let got = ask(lab, parameters).await;
    assert_eq!(got.status, 200, "{parameters:?}: {}", got.body);
    got.body
}

#[tokio::test]
async fn a_page_is_the_requested_part() {
    let lab = Lab::with_users(250).await;
    for (count, start, first, shown, reported) in [
        (None, None, Some(1), 100, 1),
        (Some("100"), Some("101"), Some(101), 100, 101),
        (Some("100"), Some("201"), Some(201), 50, 201),
        (Some("100"), Some("251"), None, 0, 251),
        (Some("1000"), None, Some(1), 100, 1),
        (Some("3"), Some("250"), Some(250), 1, 250),
        (Some("3"), Some("0"), Some(1), 3, 1),
        (Some("3"), Some("-9"), Some(1), 3, 1),
        (Some("0"), None, None, 0, 1),
        (Some("-1"), None, None, 0, 1),
    ] {
        let given = [
            count.map(|count| ("count", count)),
            start.map(|start| ("startIndex", start)),
        ];
        let parameters: Vec<_> = given.into_iter().flatten().collect();
        let page = page(&lab, &parameters).await;
        let first = first.map(|n| format!("user{n:04}@example.com"));
        assert_eq!(
            emails(&page).first().copied(),
            first.as_deref(),
            "{parameters:?}"
        );
        assert_eq!(emails(&page).len(), shown, "{parameters:?}");
        assert_eq!(page["itemsPerPage"], shown, "{parameters:?}");
        assert_eq!(page["startIndex"], reported, "{parameters:?}");
        assert_eq!(page["totalResults"], 250, "{parameters:?}");
    }
    assert_eq!(lab.org().unexpected(), [""; 0]);
}

#[tokio::test]
async fn pages_keep_the_order_of_creation() {
    let options = Options {
        users: 9,
        max_page: 2,
        ..Options::default()
    };
    let lab = Lab::with(options).await;
    for n in [1, 4, 5, 9] {
        lab.org().remove_user(&format!("user000{n}@example.com"));
    }
    lab.user("late@b.co", json!({}));
    let mut listed = Vec::new();
    for start in ["1", "3", "5", "7"] {
        let page = page(&lab, &[("startIndex", start)]).await;
        assert_eq!(page["totalResults"], 6);
        listed.extend(emails(&page).into_iter().map(str::to_owned));
    }
    let expected = [2, 3, 6, 7, 8].map(|n| format!("user000{n}@example.com"));
    assert_eq!(listed[..5], expected);
    assert_eq!(listed[5..], ["late@b.co"]);
}

#[tokio::test]
async fn a_larger_count_is_capped_or_refused() {
    for (larger_count, status) in [(LargerCount::Capped, 200), (LargerCount::Refused, 400)] {
        let options = Options {
            users: 300,
            max_page: 200,
            larger_count,
            ..Options::default()
        };
        let lab = Lab::with(options).await;
        assert_eq!(emails(&page(&lab, &[("count", "200")]).await).len(), 200);
        let got = ask(&lab, &[("count", "201")]).await;
        assert_eq!(got.status, status, "{larger_count:?}");
        if status == 200 {
            assert_eq!(emails(&got.body).len(), 200);
        }
        assert_eq!(lab.org().unexpected(), [""; 0]);
    }
}

#[tokio::test]
async fn look_up_by_email() {
    let lab = Lab::with_users(5).await;
    let odd = r#""q\"@b.co"#;
    lab.user(odd, json!({}));
    for (filter, found) in [
        (
            r#"userName eq "USER0003@example.com""#.to_owned(),
            Some("user0003@example.com"),
        ),
        (
            r#"userName eq "\u0075ser0003@example.com""#.to_owned(),
            Some("user0003@example.com"),
        ),
        (r#"userName eq "user000@example.com""#.to_owned(), None),
        (format!("userName eq {}", json!(odd)), Some(odd)),
    ] {
        let page = page(&lab, &[("filter", &filter)]).await;
        assert_eq!(emails(&page), Vec::from_iter(found), "{filter}");
        assert_eq!(
            page["totalResults"],
            usize::from(found.is_some()),
            "{filter}"
        );
    }
    assert_eq!(lab.org().unexpected(), [""; 0]);
}

#[tokio::test]
async fn duplicate_emails_are_all_found() {
    let lab = Lab::new().await;
    let ids = [lab.user("a@b.co", json!({})), lab.user("A@B.co", json!({}))];
    let page = page(&lab, &[("filter", r#"userName eq "a@b.co""#)]).await;
    assert_eq!(page["totalResults"], 2);
    let found = page["Resources"].as_array().unwrap();
    assert_eq!(
        [&found[0]["id"], &found[1]["id"]],
        [&json!(ids[0]), &json!(ids[1])]
    );
    lab.delete(&format!("{USERS}/{}", ids[0])).await;
    let left = lab.org().user("a@b.co").unwrap();
    assert_eq!(left["id"], ids[1], "only one of them went");
}

#[tokio::test]
async fn look_ups_may_respect_case() {
    for (filter, exact, other_case) in [
        (Filter::AnyCase, 1, 1),
        (Filter::ExactCase, 1, 0),
        (Filter::Ignored, 3, 3),
    ] {
        let lab = Lab::with(Options {
            users: 3,
            max_page: 2,
            filter,
            ..Options::default()
        })
        .await;
        for (email, total) in [
            ("user0002@example.com", exact),
            ("User0002@example.com", other_case),
        ] {
            let asked = format!("userName eq {}", json!(email));
            let page = page(&lab, &[("filter", &asked)]).await;
            assert_eq!(page["totalResults"], total, "{filter:?} {email}");
            assert_eq!(emails(&page).len(), total.min(2), "{filter:?} {email}");
        }
    }
}

#[tokio::test]
async fn unexpected_queries() {
    let lab = Lab::with_users(1).await;
    for (name, value) in [
        ("filter", ""),
        ("filter", "userName"),
        ("filter", "userName eq user0001@example.com"),
        ("filter", r#"userName eq "a"b""#),
        ("filter", r#"userName eq "a" or userName eq "b""#),
        ("filter", r#"username eq "a""#),
        ("filter", r#"userName co "a""#),
        ("filter", r#"displayName eq "a""#),
        ("count", "ten"),
        ("count", ""),
        ("startIndex", "1.5"),
    ] {
        let before = lab.org().unexpected().len();
        let got = ask(&lab, &[(name, value)]).await;
        got.refused(400, value);
        assert_eq!(lab.org().unexpected().len(), before + 1, "{name}={value}");
    }
    let before = lab.org().unexpected().len();
    assert_eq!(
        page(&lab, &[("attributes", "userName"), ("count", "1")]).await["itemsPerPage"],
        1
    );
    assert_eq!(lab.get("/api/v1/user-attributes?count=1").await.status, 200);
    let unexpected = lab.org().unexpected();
    assert_eq!(unexpected.len(), before + 2);
    assert!(
        unexpected[before].contains("`attributes`"),
        "{unexpected:?}"
    );
}
