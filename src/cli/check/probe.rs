//! `check --probe`: learns how the organisation answers.

use crate::cli::{Exit, export, out, writable_state};
use crate::metrics::Metrics;
use crate::model::{ClearForm, Email, PatchForm, Readings};
use crate::omni::WriteClient;
use crate::probe::{self, MAX_REQUESTS, Probed, Steps, UnfinishedProbe};
use crate::settings::Settings;
use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// The report in the state folder.
const REPORT: &str = "probe-report.json";

pub(super) async fn run(
    settings: Settings,
    email: Email,
    yes: bool,
    json: bool,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    if !yes && !out::can_ask() {
        out::problem("error: a probe needs confirmation: run it on a terminal, or add --yes");
        return Ok(Exit::Usage);
    }
    let base_url = settings.omni.base_url()?.to_string();
    let state = writable_state(&settings, "check --probe")?;
    let client = WriteClient::new(&settings.omni, &settings.state.dir, Metrics::new())?;
    client.client().begin(&settings.omni.keys.read()?);
    if !yes && !confirm(&email, &base_url, &stop).await {
        out::note("no changes were made");
        return Ok(Exit::Failed);
    }
    let now = Utc::now();
    let probed = probe::probe(&client, &state, &email, now, &stop).await;
    show_unfinished(&probed);
    let mut report = None;
    if !probed.steps.is_empty() {
        let path = settings.state.dir.join(REPORT);
        write_report(&path, &probed, now)?;
        report = Some(path);
    }
    match &report {
        _ if json => {
            let doc = serde_json::to_string_pretty(&doc(&probed, report.as_deref()))?;
            out::result(&(doc + "\n"));
        }
        Some(report) => show(&probed, report),
        None => {}
    }
    if let Some(error) = &probed.error {
        out::problem(&format!("error: {error}"));
    }
    Ok(match probed.error {
        None => Exit::Ok,
        Some(_) => Exit::Failed,
    })
}

async fn confirm(email: &Email, base_url: &str, stop: &CancellationToken) -> bool {
    let question = format!(
        "The probe creates the user {email} and a group with this user alone at {base_url}, changes and deletes them, \
         with at most {MAX_REQUESTS} requests. Omni may send an invitation to this address. Continue?"
    );
    tokio::select! {
        answer = out::answer(move || out::ask(&question)) => answer.unwrap_or(false),
        () = stop.cancelled() => false,
    }
}

/// The JSON document of `check --probe --json`.
#[derive(Serialize)]
struct Doc<'a> {
    ok: bool,
    probe: ProbeDoc<'a>,
}

#[derive(Serialize)]
struct ProbeDoc<'a> {
    readings: &'a Readings,
    requests: u64,
    /// Null if nothing was sent for the readings.
    report: Option<&'a Path>,
    error: Option<String>,
}

fn doc<'a>(probed: &'a Probed, report: Option<&'a Path>) -> Doc<'a> {
    Doc {
        ok: probed.error.is_none(),
        probe: ProbeDoc {
            readings: &probed.readings,
            requests: probed.requests,
            report,
            error: probed.error.as_ref().map(ToString::to_string),
        },
    }
}

/// The report, which names no user, attribute or organisation.
#[derive(Serialize)]
struct ReportDoc<'a> {
    version: &'static str,
    time: String,
    readings: &'a Readings,
    requests: u64,
    is_complete: bool,
    steps: &'a Steps,
}

fn write_report(path: &Path, probed: &Probed, now: DateTime<Utc>) -> anyhow::Result<()> {
    let report = ReportDoc {
        version: crate::version::VERSION,
        time: now.to_rfc3339_opts(SecondsFormat::Secs, true),
        readings: &probed.readings,
        requests: probed.requests,
        is_complete: probed.error.is_none(),
        steps: &probed.steps,
    };
    let text = serde_json::to_string_pretty(&report)? + "\n";
    export::write_atomically(path, &text).with_context(|| format!("can't write {}", path.display()))
}

fn show_unfinished(probed: &Probed) {
    if let Some(unfinished) = &probed.unfinished {
        out::note(&match unfinished {
            UnfinishedProbe::Deleted(email) => {
                format!("deleted {email}, which an interrupted probe had created")
            }
            UnfinishedProbe::Gone(email) => {
                format!("{email}, the user of an interrupted probe, does not exist")
            }
            UnfinishedProbe::Another(email) => {
                format!("{email} is not the user of the interrupted probe; it is unchanged")
            }
        });
    }
    if probed.deleted_group {
        out::note("deleted the group that an interrupted probe had created");
    }
}

fn show(probed: &Probed, report: &Path) {
    let mut text = text(&probed.readings);
    let requests = probed.requests;
    let _ = writeln!(text, "{requests} requests; report: {}", report.display());
    out::result(&text);
}

/// The readings, one per line.
pub(super) fn text(readings: &Readings) -> String {
    lines(readings)
        .iter()
        .fold(String::new(), |mut text, (reading, value)| {
            let _ = writeln!(text, "{reading:<42}{value}");
            text
        })
}

fn lines(readings: &Readings) -> [(&'static str, String); 14] {
    let Readings {
        lists_carry_attributes,
        put_replaces,
        inactive_revokes,
        filter_ignores_case,
        last_modified_moves,
        max_page,
        clears_by,
        patch_forms,
        lists_carry_groups,
        adds_present_member,
        removes_absent_member,
        removes_by_any_id,
        max_members_per_request,
        group_filter_ignores_case,
    } = readings;
    let unknown = || "unknown".to_owned();
    let flag = |flag: &Option<bool>| match flag {
        Some(true) => "yes".into(),
        Some(false) => "no".into(),
        None => unknown(),
    };
    let number = |number: &Option<u32>| number.map_or_else(unknown, |number| number.to_string());
    [
        ("lists show attributes:", flag(lists_carry_attributes)),
        ("PUT resets missing fields:", flag(put_replaces)),
        ("deactivation can't be reversed:", flag(inactive_revokes)),
        ("the email filter ignores case:", flag(filter_ignores_case)),
        (
            "changing an attribute moves lastModified:",
            flag(last_modified_moves),
        ),
        ("maximum users per page:", number(max_page)),
        (
            "attributes are cleared by:",
            words(clears_by.as_deref(), clear_word),
        ),
        (
            "attributes are set by:",
            words(patch_forms.as_deref(), patch_word),
        ),
        ("lists show groups:", flag(lists_carry_groups)),
        ("a member can be added again:", flag(adds_present_member)),
        (
            "an absent member can be removed:",
            flag(removes_absent_member),
        ),
        (
            "members with other ids can be removed:",
            flag(removes_by_any_id),
        ),
        ("members per request:", number(max_members_per_request)),
        (
            "the group filter ignores case:",
            flag(group_filter_ignores_case),
        ),
    ]
}

fn words<T: Copy>(forms: Option<&[T]>, word: fn(T) -> &'static str) -> String {
    match forms {
        None => "unknown".into(),
        Some([]) => "no form worked".into(),
        Some(forms) => {
            let words: Vec<_> = forms.iter().map(|form| word(*form)).collect();
            words.join(", ")
        }
    }
}

fn clear_word(form: ClearForm) -> &'static str {
    match form {
        ClearForm::Null => "null",
        ClearForm::Empty => "an empty value",
        ClearForm::Remove => "remove",
    }
}

fn patch_word(form: PatchForm) -> &'static str {
    match form {
        PatchForm::NoPath => "PATCH without a path",
        PatchForm::Path => "PATCH with a path",
    }
}
