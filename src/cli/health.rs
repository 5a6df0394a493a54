//! `health`: asks the daemon's `/readyz`, for container checks.

use super::{Exit, out};
use crate::settings::{Settings, SettingsError};
use crate::util::http;
use anyhow::Context;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The daemon's address [default: http://<serve.listen>]
    #[arg(value_parser = url)]
    url: Option<String>,
}

/// What can be asked over HTTP.
fn url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(text.into()),
        _ => Err("write an address such as http://127.0.0.1:8080".into()),
    }
}

pub(super) async fn run(
    load: impl FnOnce() -> Result<Settings, SettingsError>,
    arguments: Arguments,
) -> anyhow::Result<Exit> {
    let base = match arguments.url {
        Some(url) => url,
        None => address(
            load()?
                .serve
                .listen
                .context("serve.listen is \"\": no server to ask")?,
        ),
    };
    let base = base.trim_end_matches('/');
    let url = if base.ends_with("/readyz") {
        base.into()
    } else {
        format!("{base}/readyz")
    };
    let http = http::client_builder(Duration::from_secs(5), true)
        .build()
        .context("the HTTP client can't be made")?;
    let answer = http
        .get(&url)
        .send()
        .await
        .with_context(|| format!("no answer from {url}"))?;
    let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
    out::result(&format!("{}\n", body.trim_end()));
    Ok(if status.is_success() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// Where to ask a server that listens so: one that listens everywhere is asked on loopback.
fn address(listen: SocketAddr) -> String {
    let mut asked = listen;
    if listen.ip().is_unspecified() {
        match listen {
            SocketAddr::V4(_) => asked.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => asked.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        }
    }
    format!("http://{asked}")
}
