//! `demo`: runs the daemon on an embedded mock server, in a temporary folder. Its first run leaves one of each thing
//! that needs attention: held changes, an invalid row, and a user in quarantine.

use super::init::create;
use super::{Exit, organisation, out};
use crate::roster::export::{self, ExportFormat};
use crate::sandbox::{Fault, Options, Sandbox, What, When};
use crate::settings::{self, Environment, Settings, toml_text};
use crate::util::{http, random};
use crate::{daemon, telemetry};
use anyhow::Context;
use std::convert::Infallible;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

const USERS: usize = 200;
const REQUESTS_PER_MINUTE: u32 = 600;

/// The user whose changes the mock server rejects.
const REJECTED: &str = "user0004@example.com";

/// The files of a demo.
struct Files {
    folder: PathBuf,
    /// The admin token of the page. It is printed, since this is a demo on loopback.
    token: String,
}

impl Files {
    fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            token: format!("{:032x}", u128::from_be_bytes(random::bytes())),
        }
    }

    fn roster(&self) -> PathBuf {
        self.folder.join("users.csv")
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// Writes the settings, so that all commands work beside the daemon.
    fn write_settings(&self, sandbox: &str, key: &str) -> anyhow::Result<()> {
        let file = |name| toml_text(&self.folder.join(name).display().to_string());
        let settings = format!(
            "[omni]\nbase_url = {}\napi_key_file = {}\n\
             # Slightly below the limit of the key, like the default.\nrequests_per_minute = {}\n\n\
             [source]\npath = {}\npoll_interval = \"1s\"\nsettle = \"500ms\"\n\n\
             [policy]\nprotect = [\"user0001@example.com\"]\n\n\
             [state]\ndir = {}\n\n\
             [serve]\nlisten = {}\nadmin_token_file = {}\n",
            toml_text(sandbox),
            file("api-key"),
            REQUESTS_PER_MINUTE * 9 / 10,
            file("users.csv"),
            file("state"),
            toml_text(&free_address()?),
            file("admin-token"),
        );
        create(&self.folder.join("api-key"), 0o600, key)?;
        create(&self.folder.join("admin-token"), 0o600, &self.token)?;
        create(&self.settings(), 0o644, &settings)
    }

    /// The settings of the file alone: a demo must never use a real organisation.
    fn load(&self) -> anyhow::Result<Settings> {
        Ok(settings::load(
            Some(&self.settings()),
            &Environment::default(),
        )?)
    }
}

pub(super) async fn run(log: Option<&str>) -> anyhow::Result<Exit> {
    let options = Options {
        users: USERS,
        requests_per_minute: REQUESTS_PER_MINUTE,
        ..Options::with_full_lists()
    };
    let key = options.keys.join("\n");
    let sandbox = Sandbox::start(options)
        .await
        .context("can't start the mock server")?;
    reject_changes(&sandbox, REJECTED);
    let folder = tempfile::Builder::new()
        .prefix("omni-user-sync-demo-")
        .tempdir()?;
    let files = Files::in_folder(folder.path());
    files.write_settings(&sandbox.url(), &key)?;
    let settings = files.load()?;
    telemetry::init(&settings.log, log)?;

    std::fs::write(files.roster(), sample_roster(&settings).await?)?;
    let address = settings
        .serve
        .listen
        .map(|listen| format!("http://{listen}"))
        .unwrap_or_default();
    out::note(&format!(
        "demo: a mock Omni server with {USERS} users, and a roster with changes for some of them"
    ));
    tokio::select! {
        ended = daemon::run(settings, || files.load()) => ended?,
        never = guide(&address, &files) => match never {},
    }
    sandbox.stop().await;
    folder.close().context("can't remove the demo's folder")?;
    out::note("demo: stopped, all its files are removed");
    Ok(Exit::Ok)
}

/// Lets the mock server reject each change of a user, as Omni does for users that an identity provider manages.
fn reject_changes(sandbox: &Sandbox, email: &str) {
    let user = sandbox.org().user(email).unwrap_or_default();
    let id = user["id"].as_str().unwrap_or_default();
    let detail = "the mock server rejects each change of this user";
    sandbox.org().fault(Fault {
        when: When {
            method: Some("PATCH".into()),
            path: Some(format!("/api/scim/v2/Users/{id}")),
            ..When::default()
        },
        what: What::Status {
            code: 400,
            retry_after: None,
            body: Some(serde_json::json!({ "detail": detail }).to_string()),
        },
        times: usize::MAX,
    });
}

/// The daemon's default address, or a free port if that is in use.
fn free_address() -> anyhow::Result<String> {
    let default = TcpListener::bind("127.0.0.1:8080");
    let listener = default.or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(listener.local_addr()?.to_string())
}

/// The current users, with some of them changed, too many of them deleted or without a department, and some new ones.
async fn sample_roster(settings: &Settings) -> anyhow::Result<String> {
    let (definitions, observed) = organisation::fetch(settings).await?;
    let exported = export::export(
        observed.users().map(AsRef::as_ref),
        &definitions.into_schema(),
        None,
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
        let cell = |(column, text): (usize, &str)| match (number, &header[column]) {
            (20, "op") => "upsrt".to_owned(),
            (number, "op") if number % 8 == 7 => "delete".to_owned(),
            (number, "department") if number % 8 == 1 => String::new(),
            (number, "display_name") if number % 40 == 3 => format!("{text} (renamed)"),
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

/// Waits until a run has ended, prints what it shows and the next steps, and never returns.
async fn guide(address: &str, files: &Files) -> Infallible {
    let http = http::client_builder(Duration::from_secs(5), true).build();
    while let Ok(http) = &http {
        if has_run(http, address).await {
            out::result(&next_steps(address, files));
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::future::pending().await
}

fn next_steps(address: &str, files: &Files) -> String {
    format!(
        "\nThe first run has ended. See the result:\n  \
           page        {address}/\n  \
           token       {token}\n              (log in with it to run, approve and pause)\n\
         It has:\n  \
           held        deletions and emptied departments that exceed the safety limits\n  \
           problem     a row of the roster with a misspelt op\n  \
           quarantine  {REJECTED}, whose change the mock server rejects\n\
         Try:\n  \
           approve     {program} --config {settings} approve latest\n              \
                       (in another terminal, or on the page)\n  \
           edit        {roster}\n              (save it, and the daemon applies just the difference)\n  \
           metrics     {address}/metrics\n  \
           stop        with Ctrl-C, which removes all files of the demo\n\n",
        token = files.token,
        program = super::program(),
        settings = files.settings().display(),
        roster = files.roster().display(),
    )
}

async fn has_run(http: &reqwest::Client, address: &str) -> bool {
    let Ok(response) = http.get(format!("{address}/metrics")).send().await else {
        return false;
    };
    let metrics = response.text().await.unwrap_or_default();
    // The counter of each trigger exists from the start, with value 0.
    metrics
        .lines()
        .any(|line| line.starts_with("omni_user_sync_runs_total{") && !line.ends_with(" 0"))
}
