//! The mock server over HTTP: its rules, limits and faults.

#![allow(clippy::unwrap_used, missing_docs)]

mod admin;
mod faults;
mod groups;
mod history;
mod limits;
mod listing;
mod owned;
mod reading;
mod readings;
mod roles;
mod writing;

use omni_user_sync::sandbox::{Options, Org, Sandbox};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const USERS: &str = "/api/scim/v2/Users";
const ATTRIBUTES: &str = "urn:omni:params:1.0:UserAttribute";
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A mock server and a client.
struct Lab {
    sandbox: Sandbox,
    http: reqwest::Client,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Lab {
    /// With a very high rate limit.
    async fn new() -> Self {
        Self::with(Options {
            requests_per_minute: u32::MAX,
            ..Options::default()
        })
        .await
    }

    async fn with_users(users: usize) -> Self {
        let options = Options {
            users,
            requests_per_minute: u32::MAX,
            ..Options::default()
        };
        Self::with(options).await
    }

    async fn with(options: Options) -> Self {
        // No idle timer: paused time would jump to its end. No silent retries.
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_idle_timeout(None)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            sandbox: Sandbox::start(options).await.unwrap(),
            http,
        }
    }

    fn org(&self) -> &Org {
        self.sandbox.org()
    }

    /// A request with a valid key.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth("sandbox-key")
    }

    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.sandbox.url()))
    }

    async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        answer(self.request(method, path).json(body)).await
    }

    async fn post(&self, body: &Value) -> Answer {
        self.send(Method::POST, USERS, body).await
    }

    async fn put(&self, id: &str, body: &Value) -> Answer {
        self.send(Method::PUT, &format!("{USERS}/{id}"), body).await
    }

    /// A `PATCH` with one `replace` of this value.
    async fn patch(&self, id: &str, value: Value) -> Answer {
        let body =
            json!({"schemas": [PATCH_OP], "Operations": [{"op": "replace", "value": value}]});
        self.send(Method::PATCH, &format!("{USERS}/{id}"), &body)
            .await
    }

    /// Creates a user, bypassing the rules.
    fn user(&self, email: &str, attributes: Value) -> String {
        self.org()
            .add_user(json!({"userName": email, "displayName": "A", ATTRIBUTES: attributes}))
    }

    fn attributes(&self, email: &str) -> Value {
        self.org().user(email).unwrap()[ATTRIBUTES].clone()
    }
}

async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        headers,
        body,
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts a SCIM error with this status.
    #[track_caller]
    fn refused(&self, status: u16, case: &str) {
        assert_eq!(self.status, status, "{case}: {}", self.body);
        assert_eq!(self.body["status"], status.to_string(), "{case}");
        let schema = "urn:ietf:params:scim:api:messages:2.0:Error";
        assert_eq!(self.body["schemas"], json!([schema]), "{case}");
        assert!(!self.body["detail"].as_str().unwrap().is_empty(), "{case}");
    }
}

/// The emails of a page.
fn emails(page: &Value) -> Vec<&str> {
    let users = page["Resources"].as_array().unwrap();
    users
        .iter()
        .map(|user| user["userName"].as_str().unwrap())
        .collect()
}
