//! `demo`: runs the daemon on an embedded mock server, in a temporary folder.

use super::{Exit, organisation, out};
use crate::roster::export::{self, ExportFormat};
use crate::sandbox::{Options, Sandbox};
use crate::settings::{KeySource, RawSettings, Settings};
use crate::util::http;
use crate::{daemon, telemetry};
use anyhow::Context;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

const USERS: usize = 200;
const REQUESTS_PER_MINUTE: u32 = 600;

pub(super) async fn run(log: Option<&str>) -> anyhow::Result<Exit> {
    let options = Options {
        users: USERS,
        requests_per_minute: REQUESTS_PER_MINUTE,
        ..Options::with_full_lists()
    };
    let keys = KeySource::from_text(&options.keys.join("\n"));
    let sandbox = Sandbox::start(options)
        .await
        .context("can't start the mock server")?;
    let folder = tempfile::Builder::new()
        .prefix("omni-user-sync-demo-")
        .tempdir()?;
    let roster = folder.path().join("users.csv");
    let settings = settings(&sandbox.url(), &roster, folder.path(), keys)?;
    telemetry::init(&settings.log, log)?;

    std::fs::write(&roster, sample_roster(&settings).await?)?;
    let address = settings
        .serve
        .listen
        .map(|listen| format!("http://{listen}"))
        .unwrap_or_default();
    out::note(&format!(
        "demo: a mock Omni server with {USERS} users, and a roster with changes for some of them"
    ));
    tokio::select! {
        ended = daemon::run(settings.clone(), || Ok(settings.clone())) => ended?,
        never = guide(&address, &roster) => match never {},
    }
    sandbox.stop().await;
    folder.close().context("can't remove the demo's folder")?;
    out::note("demo: stopped, all its files are removed");
    Ok(Exit::Ok)
}

fn settings(url: &str, roster: &Path, folder: &Path, keys: KeySource) -> anyhow::Result<Settings> {
    let mut raw = RawSettings::default();
    raw.set("omni.base_url", url);
    // Slightly below the limit of the key, like the default settings.
    raw.set("omni.requests_per_minute", REQUESTS_PER_MINUTE * 9 / 10);
    raw.set("source.path", roster.display());
    raw.set("source.poll_interval", "1s");
    raw.set("source.settle", "500ms");
    raw.set("state.dir", folder.join("state").display());
    raw.set("serve.listen", free_address()?);
    Ok(Settings::check(raw, keys)?)
}

/// The daemon's default address, or a free port if that is in use.
fn free_address() -> anyhow::Result<String> {
    let default = TcpListener::bind("127.0.0.1:8080");
    let listener = default.or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(listener.local_addr()?.to_string())
}

/// The current users, with some of them changed, some deleted, and some new ones.
async fn sample_roster(settings: &Settings) -> anyhow::Result<String> {
    let (definitions, observed) = organisation::fetch(settings).await?;
    let exported = export::export(
        observed.users().map(AsRef::as_ref),
        &definitions.into_schema(),
        ExportFormat::default(),
    );
    edit(&exported.csv)
}

fn edit(csv: &str) -> anyhow::Result<String> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = reader.headers()?.clone();
    writer.write_record(&header)?;
    for (number, row) in reader.records().enumerate() {
        let row = row?;
        let cell = |(column, text): (usize, &str)| match (number % 40, column) {
            (7, 0) => "delete".to_owned(),
            (3, 2) => format!("{text} (renamed)"),
            _ => text.to_owned(),
        };
        writer.write_record(row.iter().enumerate().map(cell))?;
    }
    for number in 1..=3 {
        let new = [
            "upsert".into(),
            format!("new{number}@example.com"),
            format!("New {number}"),
        ];
        let blank = std::iter::repeat_n(String::new(), header.len().saturating_sub(new.len()));
        writer.write_record(new.into_iter().chain(blank))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Waits until a run has converged, prints the next steps, and never returns.
async fn guide(address: &str, roster: &Path) -> std::convert::Infallible {
    let http = http::client_builder(Duration::from_secs(5), true).build();
    while let Ok(http) = &http {
        if has_converged(http, address).await {
            out::result(&format!(
                "\nOmni is in sync with the roster. Next steps:\n  \
                   edit    {}\n          (save it, and the daemon applies just the difference)\n  \
                   open    {address}/ (status page), {address}/metrics or {address}/readyz\n  \
                   stop    with Ctrl-C, which removes all files of the demo\n\n",
                roster.display()
            ));
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::future::pending().await
}

async fn has_converged(http: &reqwest::Client, address: &str) -> bool {
    let Ok(response) = http.get(format!("{address}/metrics")).send().await else {
        return false;
    };
    let metrics = response.text().await.unwrap_or_default();
    let converged = r#"omni_user_sync_runs_total{result="converged""#;
    // The counter of each trigger exists from the start, with value 0.
    metrics
        .lines()
        .any(|line| line.starts_with(converged) && !line.ends_with(" 0"))
}
