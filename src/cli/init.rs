//! `init`: asks for address, key and roster, tests them, and writes a settings file and a key file. It overwrites
//! nothing.

use super::check::{self, ConnectionCheck};
use super::{Exit, export, out};
use crate::model::Schema;
use crate::roster;
use crate::settings::{
    BaseUrl, DEFAULT_FILE, Environment, KeySource, LogFormat, LogSettings, RawSettings, Settings,
    toml_text,
};
use crate::telemetry;
use crate::util::text::plural;
use anyhow::{Context, bail};
use rustix::process::getuid;
use secrecy::{ExposeSecret, SecretString};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf, absolute};
use tokio_util::sync::CancellationToken;

/// How often each question is asked.
const MAX_TRIES: usize = 3;

/// What was answered and tested.
struct Answers {
    url: BaseUrl,
    key: SecretString,
    roster: PathBuf,
    /// The email of the key's user, who must never be removed.
    own: Option<String>,
}

pub(super) async fn run(
    file: Option<PathBuf>,
    environment: &Environment,
    log: Option<&str>,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    if !out::can_ask() {
        out::problem("error: `init` asks questions: run it on a terminal");
        return Ok(Exit::Usage);
    }
    let settings = LogSettings {
        format: LogFormat::Text,
        filter: "warn".into(),
    };
    telemetry::init(&settings, log)?;
    let named = environment.settings_file();
    let is_found = file.is_none() && named.is_some();
    let places = Places::of(file.or(named), is_found)?;
    let answers = tokio::select! {
        answers = ask(environment, &places) => answers?,
        () = stop.cancelled() => {
            // The line of the question.
            out::note("");
            None
        }
    };
    let Some(answers) = answers else {
        out::note("nothing was written");
        return Ok(Exit::Failed);
    };
    places.write(&answers)?;
    out::note(&places.next_steps(&answers));
    Ok(Exit::Ok)
}

/// The files that are written, by whole paths.
struct Places {
    settings: PathBuf,
    key: PathBuf,
    state: PathBuf,
    /// Whether commands find the settings file without --config.
    is_found: bool,
}

impl Places {
    /// The given file, or that of the service for root, or one in the working folder.
    fn of(file: Option<PathBuf>, is_found: bool) -> anyhow::Result<Self> {
        let default = match getuid().is_root() {
            true => DEFAULT_FILE,
            false => "omni-user-sync.toml",
        };
        let settings = absolute(file.unwrap_or_else(|| default.into()))?;
        let folder = settings
            .parent()
            .context("the settings file has no folder")?;
        let is_system = settings == Path::new(DEFAULT_FILE);
        let state = match is_system {
            true => "/var/lib/omni-user-sync".into(),
            false => folder.join("state"),
        };
        let key = folder.join("api-key");
        for path in [&settings, &key] {
            if path.symlink_metadata().is_ok() {
                bail!(
                    "{} exists, and `init` never overwrites; remove it, or name another file with --config",
                    path.display()
                );
            }
        }
        Ok(Self {
            settings,
            key,
            state,
            is_found: is_found || is_system,
        })
    }

    fn write(&self, answers: &Answers) -> anyhow::Result<()> {
        if let Some(folder) = self.settings.parent() {
            let created = std::fs::create_dir_all(folder);
            created.with_context(|| format!("can't create {}", folder.display()))?;
        }
        create(
            &self.key,
            0o600,
            &format!("{}\n", answers.key.expose_secret()),
        )?;
        let written = create(&self.settings, 0o644, &self.settings_text(answers));
        if written.is_err() {
            // Otherwise the next `init` would not begin.
            let _ = std::fs::remove_file(&self.key);
        }
        written
    }

    fn settings_text(&self, answers: &Answers) -> String {
        let path = |path: &Path| toml_text(&path.display().to_string());
        let protect: Vec<_> = answers.own.iter().map(|own| toml_text(own)).collect();
        format!(
            "# `omni-user-sync config` shows all settings.\n\n\
             [omni]\nbase_url = {}\napi_key_file = {}\n\n\
             [source]\npath = {}\n\n\
             [policy]\n# Users that are never removed. Add all accounts that must stay.\nprotect = [{}]\n\n\
             [state]\ndir = {}\n",
            toml_text(&answers.url.to_string()),
            path(&self.key),
            path(&answers.roster),
            protect.join(", "),
            path(&self.state),
        )
    }

    fn next_steps(&self, answers: &Answers) -> String {
        let program = match self.is_found {
            true => super::program(),
            false => format!("{} --config {}", super::program(), self.settings.display()),
        };
        let warning = match answers.own {
            Some(_) => "",
            None => "In policy.protect, list the accounts that must never be removed.\n",
        };
        format!(
            "\nWritten: {} and {} (readable by you only).\n{warning}Next:\n  {program} plan    # what would change\n  \
             {program} apply   # applies the changes after asking\n  {program} run     # the daemon",
            self.settings.display(),
            self.key.display(),
        )
    }
}

/// Writes a file that must not exist.
pub(super) fn create(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("can't write {}", path.display()))
}

/// Asks until the connection works; `None` if it never does, or there are no answers.
async fn ask(environment: &Environment, places: &Places) -> anyhow::Result<Option<Answers>> {
    for _ in 0..MAX_TRIES {
        let Some(url) = ask_url(environment).await else {
            return Ok(None);
        };
        let Some(key) = ask_key(environment).await else {
            return Ok(None);
        };
        let settings = trial(&url, &key, places)?;
        match check::connect(&settings).await {
            Ok((schema, connection)) => {
                out::note(&connected(&connection));
                let own = connection.own_email().map(|email| email.to_string());
                let roster = ask_roster(environment, &settings, &schema).await?;
                return Ok(roster.map(|roster| Answers {
                    url,
                    key,
                    roster,
                    own,
                }));
            }
            Err(error) => out::problem(&format!("error: {error}")),
        }
    }
    Ok(None)
}

async fn ask_url(environment: &Environment) -> Option<BaseUrl> {
    let default = environment.get("OMNI_BASE_URL");
    let hint = match default {
        Some(default) => format!("[{default}]"),
        None => "(such as https://acme.omniapp.co)".to_owned(),
    };
    for _ in 0..MAX_TRIES {
        let answer = out::ask_line(format!("Address of the organisation {hint}:")).await?;
        let text = match (&*answer, default) {
            ("", Some(default)) => default.to_owned(),
            // The host alone.
            (text, _) if !text.contains("://") && text.starts_with("127.0.0.1") => {
                format!("http://{text}")
            }
            (text, _) if !text.contains("://") && text.contains('.') => format!("https://{text}"),
            (text, _) => text.to_owned(),
        };
        match BaseUrl::parse(&text) {
            Ok(url) => return Some(url),
            Err(expected) => out::problem(&format!("expected {expected}")),
        }
    }
    None
}

async fn ask_key(environment: &Environment) -> Option<SecretString> {
    if let Some(key) = environment.get("OMNI_API_KEY") {
        out::note("API key: from OMNI_API_KEY");
        return Some(key.into());
    }
    for _ in 0..MAX_TRIES {
        let key = out::ask_secret("API key (not shown):".into()).await?;
        match KeySource::from_text(key.expose_secret()).read() {
            Ok(_) => return Some(key),
            // It names the variable, which was not asked for.
            Err(error) => {
                let error = error.to_string();
                out::problem(error.trim_start_matches("OMNI_API_KEY: "));
            }
        }
    }
    None
}

/// The settings of the answers, for the test.
fn trial(url: &BaseUrl, key: &SecretString, places: &Places) -> anyhow::Result<Settings> {
    let mut raw = RawSettings::default();
    raw.set("omni.base_url", url);
    raw.set("state.dir", places.state.display());
    let keys = KeySource::from_text(key.expose_secret());
    Ok(Settings::check(raw, keys)?)
}

fn connected(connection: &ConnectionCheck) -> String {
    let ConnectionCheck {
        users, attributes, ..
    } = connection;
    let attributes = attributes.map_or_else(
        || "attribute definitions can't be read".into(),
        |count| plural(count, "attribute"),
    );
    format!("Connected: {}, {attributes}.", plural(*users, "user"))
}

/// Asks for the roster. One that does not exist is written, if that is wanted.
async fn ask_roster(
    environment: &Environment,
    settings: &Settings,
    schema: &Schema,
) -> anyhow::Result<Option<PathBuf>> {
    let question = "Roster, a CSV file or a folder of them [users.csv]:";
    let Some(answer) = out::ask_line(question.into()).await else {
        return Ok(None);
    };
    let path = match &*answer {
        "" => "users.csv",
        path => path,
    };
    let path = absolute(environment.expand(path))?;
    if !path.exists() {
        let question = format!(
            "{} does not exist. Write the users of Omni to it?",
            path.display()
        );
        let is_wanted = out::answer(move || out::ask(&question)).await;
        if is_wanted == Some(true)
            && let Err(error) = export::to_file(settings, &path).await
        {
            out::warning(&format!("{error:#}"));
        }
        return Ok(Some(path));
    }
    match roster::read_stable(&settings.source, &path, true, schema, None).await {
        Ok(desired) => {
            let rows = plural(desired.rows, "row");
            let problems = plural(desired.problems().len(), "problem");
            out::note(&format!("Roster: {rows}, {problems}."));
        }
        Err(error) => out::warning(&error.to_string()),
    }
    Ok(Some(path))
}
