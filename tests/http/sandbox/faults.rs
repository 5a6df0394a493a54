//! Fault injection.

use std::time::Duration;

use omni_user_sync::sandbox::{Fault, Options, What, When};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ATTRIBUTES, Lab, USERS, answer, emails};

const LONG: Duration = Duration::from_secs(3600);

fn ann() -> Value {
    json!({"userName": "ann@b.co", "displayName": "Ann"})
}

#[tokio::test]
async fn injected_answers() {
    let lab = Lab::new().await;
    let status = |code, retry_after, body: Option<&str>| What::Status {
        code,
        retry_after,
        body: body.map(str::to_owned),
    };
    for (what, code, header, body) in [
        (
            status(503, Some(7), None),
            503,
            ("retry-after", Some("7")),
            "injected fault",
        ),
        (
            status(429, None, None),
            429,
            ("retry-after", None),
            "injected fault",
        ),
        (
            status(200, None, Some("{\"a\"")),
            200,
            ("retry-after", None),
            "{\"a\"",
        ),
        (
            What::Html { code: 502 },
            502,
            ("content-type", Some("text/html; charset=utf-8")),
            "<p>",
        ),
        (
            What::Redirect { to: "/x".into() },
            307,
            ("location", Some("/x")),
            "",
        ),
    ] {
        lab.org().fault(Fault::next(what.clone()));
        let got = lab.post(&ann()).await;
        assert_eq!(got.status, code, "{what:?}");
        assert_eq!(got.header(header.0), header.1, "{what:?}");
        assert!(
            got.body.to_string().contains(&body.replace('"', "\\\"")),
            "{}",
            got.body
        );
    }
    assert_eq!(lab.org().users(), Vec::<Value>::new());
    let log = lab.org().requests();
    assert_eq!(
        (log[0].status, log[0].fault.as_deref()),
        (503, Some("status 503"))
    );
    assert!(
        lab.org().too_many().is_empty(),
        "a fault is not the rate limit"
    );
}

#[tokio::test]
async fn broken_connections() {
    let lab = Lab::new().await;
    for (what, done) in [(What::Reset, false), (What::LostReply, true)] {
        for warm in [false, true] {
            if warm {
                lab.get(USERS).await;
            }
            lab.org().fault(Fault::next(what.clone()));
            let error = lab
                .request(Method::POST, USERS)
                .json(&ann())
                .send()
                .await
                .unwrap_err();
            assert!(
                !error.is_connect() && error.status().is_none(),
                "{what:?}: {error:?}"
            );
            assert_eq!(lab.org().user("ann@b.co").is_some(), done, "{what:?}");
            assert_eq!(lab.org().writes().last().unwrap().status, 0, "{what:?}");
            if done {
                lab.org().remove_user("ann@b.co");
            }
        }
    }
    assert_eq!(lab.org().writes().len(), 4, "no one tried again in silence");
}

#[tokio::test]
async fn truncated_bodies() {
    let lab = Lab::new().await;
    lab.org().fault(Fault::next(What::CutJson));
    let mut response = lab
        .request(Method::POST, USERS)
        .json(&ann())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    let promised = response.content_length().unwrap();
    let mut received = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len() as u64,
            Ok(None) => panic!("the body came whole"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert!(
        0 < received && received < promised,
        "{received} of {promised}"
    );
    assert!(lab.org().user("ann@b.co").is_some());

    lab.org().fault(Fault::next(What::CutJson));
    let path = format!("{USERS}/{}", lab.org().users()[0]["id"].as_str().unwrap());
    assert!(
        lab.request(Method::DELETE, &path).send().await.is_err(),
        "no body to cut"
    );
}

#[tokio::test]
async fn clients_that_disconnect() {
    let lab = Lab::new().await;
    for (what, done) in [(What::Hang(LONG), false), (What::Late(LONG), true)] {
        lab.org().fault(Fault::next(what.clone()));
        let request = lab.request(Method::POST, USERS).json(&ann());
        let error = request
            .timeout(Duration::from_millis(300))
            .send()
            .await
            .unwrap_err();
        assert!(error.is_timeout(), "{what:?}: {error:?}");
        assert_eq!(lab.org().user("ann@b.co").is_some(), done, "{what:?}");
        assert_eq!(lab.org().writes().last().unwrap().status, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_answers() {
    let options = Options {
        latency: Duration::from_millis(20),
        ..Options::default()
    };
    let lab = Lab::with(options).await;
    let pause = Duration::from_secs(5);
    for (what, time) in [
        (None, 20),
        (Some(What::Hang(pause)), 5020),
        (Some(What::Late(pause)), 5020),
        (Some(What::SlowBody(pause)), 5020),
    ] {
        if let Some(what) = &what {
            lab.org().fault(Fault::next(what.clone()));
        }
        let start = Instant::now();
        let got = lab.get(USERS).await;
        assert_eq!(
            (got.status, &got.body["totalResults"]),
            (200, &json!(0)),
            "{what:?}"
        );
        // Timers have a resolution of a millisecond, and a slow body uses ten of them.
        let late = start.elapsed().as_millis().abs_diff(time);
        assert!(late <= 12, "{what:?} was {late} ms off");
    }
}

#[tokio::test]
async fn ignored_writes() {
    let lab = Lab::new().await;
    let id = lab.user("a@b.co", json!({"department": "Sales"}));
    let before = lab.org().users();
    let ignore = || lab.org().fault(Fault::next(What::IgnoreWrite));
    ignore();
    lab.get(USERS).await;
    let made = lab.post(&ann()).await;
    assert_eq!(
        (made.status, &made.body["userName"]),
        (201, &json!("ann@b.co"))
    );
    ignore();
    let patched = lab
        .patch(&id, json!({ATTRIBUTES: {"department": "Finance"}}))
        .await;
    assert_eq!(patched.body[ATTRIBUTES]["department"], "Finance");
    ignore();
    assert_eq!(lab.delete(&format!("{USERS}/{id}")).await.status, 204);
    assert_eq!(lab.org().users(), before);
    let again = lab.post(&ann()).await;
    assert_eq!(again.status, 201);
    assert_ne!(
        again.body["id"], made.body["id"],
        "an id is never given twice"
    );
}

#[tokio::test]
async fn wrong_pages() {
    let lab = Lab::with(Options {
        users: 5,
        max_page: 2,
        ..Options::default()
    })
    .await;
    let third = format!("{USERS}?startIndex=3");
    for (what, expected, total) in [
        (What::SkipUser, &[4][..], 5),
        (What::RepeatUser, &[2, 3, 4], 5),
        (What::TotalOff(-2), &[3, 4], 3),
        (What::TotalOff(2), &[3, 4], 7),
        (What::TotalOff(-9), &[3, 4], 0),
    ] {
        lab.org().fault(Fault::next(what.clone()));
        // These faults apply to pages only, not to lookups or writes.
        lab.get(&format!(
            "{USERS}?filter=userName+eq+%22user0001@example.com%22"
        ))
        .await;
        lab.post(&json!({})).await;
        let got = lab.get(&third).await.body;
        let expected: Vec<_> = expected
            .iter()
            .map(|n| format!("user000{n}@example.com"))
            .collect();
        assert_eq!(emails(&got), expected, "{what:?}");
        assert_eq!(
            (&got["totalResults"], &got["itemsPerPage"]),
            (&json!(total), &json!(expected.len()))
        );
        assert_eq!(
            emails(&lab.get(&third).await.body).len(),
            2,
            "{what:?} is over"
        );
    }
}

#[tokio::test]
async fn faults_wait_for_matching_requests() {
    let lab = Lab::new().await;
    let what = What::Status {
        code: 500,
        retry_after: None,
        body: None,
    };
    let when = When {
        method: Some("get".into()),
        path: Some("/api/scim".into()),
        query: Some("count=7".into()),
        from: Some(3),
    };
    lab.org().fault(Fault {
        when,
        what,
        times: 2,
    });
    let fits = format!("{USERS}?count=7");
    let mut got = Vec::new();
    for path in [
        &*fits,
        &fits,
        USERS,
        "/api/v1/user-attributes?count=7",
        &fits,
        &fits,
        &fits,
    ] {
        got.push(lab.get(path).await.status);
    }
    assert_eq!(got, [200, 200, 200, 200, 500, 500, 200]);
}

#[tokio::test]
async fn faults_precede_key_and_limit() {
    let options = Options {
        requests_per_minute: 1,
        ..Options::default()
    };
    let lab = Lab::with(options).await;
    let what = What::Html { code: 502 };
    lab.org().fault(Fault {
        times: 2,
        ..Fault::next(what)
    });
    assert_eq!(answer(lab.bare(Method::GET, USERS)).await.status, 502);
    assert_eq!(lab.get(USERS).await.status, 502);
    assert_eq!(
        lab.get(USERS).await.status,
        200,
        "nothing was counted so far"
    );
    lab.org().fault(Fault {
        times: usize::MAX,
        ..Fault::next(What::Reset)
    });
    lab.org().clear_faults();
    assert_eq!(lab.get(USERS).await.status, 429);
}

#[tokio::test]
async fn stopping_aborts_requests() {
    let lab = Lab::new().await;
    lab.org().fault(Fault::next(What::Hang(LONG)));
    let (url, org) = (lab.sandbox.url(), lab.org().clone());
    let request = lab.request(Method::GET, USERS);
    let waiting = tokio::spawn(async move { request.send().await });
    while org.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    lab.sandbox.stop().await;
    assert!(waiting.await.unwrap().is_err());
    let error = lab.http.get(url).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn dropping_stops_the_server() {
    let Lab { sandbox, http } = Lab::new().await;
    let url = sandbox.url();
    drop(sandbox);
    // The server needs a moment to notice.
    while !matches!(http.get(&url).send().await, Err(error) if error.is_connect()) {
        tokio::task::yield_now().await;
    }
}
