//! `health`: requests the daemon's `/readyz` or `/healthz`, for container health checks.

use super::{Exit, out};
use crate::settings::{Settings, SettingsError};
use crate::util::error_chain::root_cause;
use crate::util::http;
use anyhow::{Context, anyhow};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// URL of the daemon [default: http://<serve.listen>]
    #[arg(value_parser = url)]
    url: Option<String>,
    /// Ask whether the daemon is alive (/healthz), not whether it is ready (/readyz)
    #[arg(long)]
    live: bool,
}

/// Accepts HTTP URLs only.
fn url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(text.into()),
        _ => Err("expected a URL such as http://127.0.0.1:8080".into()),
    }
}

pub(super) async fn run(
    load: impl FnOnce() -> Result<Settings, SettingsError>,
    arguments: Arguments,
) -> anyhow::Result<Exit> {
    let base = match arguments.url {
        Some(url) => url,
        None => address(load()?.serve.listen.context(
            "serve.listen is \"\", so the daemon has no server; set serve.listen or give a URL",
        )?),
    };
    let base = base.trim_end_matches('/');
    let endpoint = if arguments.live {
        "/healthz"
    } else {
        "/readyz"
    };
    let url = if base.ends_with(endpoint) {
        base.into()
    } else {
        format!("{base}{endpoint}")
    };
    let http = http::client_builder(Duration::from_secs(5), true)
        .build()
        .context("can't create the HTTP client")?;
    let response = http
        .get(&url)
        .send()
        .await
        .map_err(|error| anyhow!("no response from {url}: {}", root_cause(&error)))?;
    let (status, body) = (response.status(), response.text().await.unwrap_or_default());
    out::result(&format!("{}\n", body.trim_end()));
    Ok(if status.is_success() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// The URL of a server with this listen address. A server that listens on all addresses is requested
/// on loopback.
fn address(listen: SocketAddr) -> String {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        match listen {
            SocketAddr::V4(_) => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        }
    }
    format!("http://{address}")
}
