//! Row reports: what became of each row, beside the roster.
use crate::support::paused::HeldClock;
use crate::support::{World, assert_converged, at_any_time};
use chrono::{TimeDelta, Utc};
use omni_user_sync::model::Trigger;
use omni_user_sync::report::{ReportFolder, RowReport};
use omni_user_sync::run::{RunEvent, Stop};
use omni_user_sync::sandbox::{Fault, Options, What, When};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn each_row_is_reported_without_formulas() {
    let world = World::new()
        .await
        .set("policy.protect", "boss@x.co")
        .set("policy.max_clears", "0");
    for email in [
        "boss@x.co",
        "old@x.co",
        "same@x.co",
        "late@x.co",
        "bad@x.co",
    ] {
        world.user(email, "N", json!({ "department": "d" }));
    }
    world.roster(
        "op,email,display_name,department\nupsert,=new@x.co,New,d\nupsert,same@x.co,N,d\n\
         delete,old@x.co,,\ndelete,boss@x.co,,\nupsert,late@x.co,N,\nupsrt,bad@x.co,N,d\n",
    );
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "held");
    let reports = world.reports();
    assert_eq!(reports.len(), 1);
    assert!(
        reports[0].0.starts_with("users-") && reports[0].0.ends_with("-held.csv"),
        "{reports:?}"
    );
    let text = reports[0].1.trim_start_matches('\u{feff}');
    let rows: Vec<_> = text.lines().collect();
    let begin = [
        "file,line,email,op,outcome,detail",
        "users.csv,2,'=new@x.co,upsert,created",
        "users.csv,3,same@x.co,upsert,unchanged",
        "users.csv,4,old@x.co,delete,removed",
        "users.csv,5,boss@x.co,delete,protected",
        "users.csv,6,late@x.co,upsert,held",
        "users.csv,7,bad@x.co,,frozen",
    ];
    for (row, begin) in rows.iter().zip(begin) {
        assert!(row.starts_with(begin), "{row}");
    }
    assert_eq!(rows.len(), begin.len());

    world.run().await;
    assert_eq!(
        world.reports().len(),
        1,
        "the same roster is reported on once"
    );
    world.roster("email,nonsense\na@x.co,x\n");
    world.run().await;
    let reports = world.reports();
    assert!(
        reports
            .iter()
            .any(|(name, _)| name.ends_with("-rejected.csv")),
        "{reports:?}"
    );
}

/// `source.groups` is a file of its own: what the roster says of users is applied without it.
#[tokio::test]
async fn an_unreadable_groups_file_is_reported() {
    let world = World::new().await;
    let groups = world.roster_path().with_file_name("groups.csv");
    let world = world.set("source.groups", &groups.to_string_lossy());
    world.user("old@x.co", "N", json!({}));
    world.roster("op,email,display_name\nupsert,new@x.co,New\ndelete,old@x.co,\n");
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "partial");
    let problem = run.roster().and_then(|roster| roster.groups.as_ref());
    let problem = problem.expect("a problem").to_string();
    assert_eq!(
        problem,
        "groups.csv: there is no such file; put the file there, or correct source.groups"
    );
    let (name, text) = &world.reports()[0];
    assert!(name.ends_with("-rejected.csv"), "{name}");
    for row in [
        "groups.csv,,,,rejected,\"there is no such file",
        "users.csv,2,new@x.co,upsert,created",
        "users.csv,3,old@x.co,delete,removed",
    ] {
        assert!(text.contains(row), "{text}");
    }
    std::fs::write(
        &groups,
        "op,email,group_name\nx,new@x.co,Sales\n+,nobody,Sales\n",
    )
    .expect("the folder is writable");
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "partial");
    let reports = world.reports();
    let is_new = |(name, _): &&(String, String)| name.ends_with("-problems.csv");
    let (_, text) = reports.iter().find(is_new).expect("a second report");
    for row in [
        "groups.csv,2,new@x.co,,rejected,",
        "groups.csv,3,,,rejected,",
        "users.csv,2,new@x.co,upsert,unchanged",
    ] {
        assert!(text.contains(row), "{text}");
    }
}

#[tokio::test]
async fn rows_beside_the_roster_have_a_place() {
    let world = World::with(Options::with_full_lists()).await;
    let at = |name| world.roster_path().with_file_name(name);
    let (groups, roles) = (at("groups.csv"), at("roles.csv"));
    let world = world
        .set("source.groups", &groups.to_string_lossy())
        .set("source.roles", &roles.to_string_lossy());
    for email in ["ann@x.co", "bob@x.co", "cy@x.co"] {
        world.user(email, "N", json!({}));
    }
    let org = world.org();
    org.add_group("Sales", &[]);
    let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
    org.add_model(&warehouse, "Orders", "SHARED");
    world.roster("op,email,display_name\nupsert,ann@x.co,N\n");
    let rows = "op,email,group_name\n+,ann@x.co,Sales\n+,bob@x.co,Sales\n";
    std::fs::write(&groups, rows).expect("the folder is writable");
    let rows = "subject,connection,model,role\n\
                group:Sales,Warehouse,Orders,VIEWER\n\
                cy@x.co,Warehouse,Orders,VIEWER\n\
                bob@x.co,Warehouse,Orders,VIEWER\n";
    std::fs::write(&roles, rows).expect("the folder is writable");
    assert_converged(&world.run().await);
    let (_, text) = &world.reports()[0];
    for row in [
        "users.csv,2,ann@x.co,upsert,updated,joined Sales",
        "groups.csv,3,bob@x.co,(not in the roster),updated,",
        "roles.csv,3,cy@x.co,(not in the roster),updated,",
        "roles.csv,2,group:Sales,(not in the roster),updated,",
    ] {
        assert!(text.contains(row), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_run_writes_interim_reports() {
    let world = World::with(Options {
        requests_per_minute: 6,
        ..Options::default()
    })
    .await;
    let rows: String = (0..12)
        .map(|number| format!("u{number}@x.co,U\n"))
        .collect();
    world.roster(&format!("email,display_name\n{rows}"));
    let changes = Arc::new(AtomicUsize::new(0));
    let counter = changes.clone();
    let reconciler = world.reconciler().with_event_handler(move |event| {
        if let RunEvent::Change(_) = event {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let stop = Stop::default();
    let run = reconciler.run(at_any_time(Trigger::Schedule), None, &stop);
    let interim_report = async {
        let clock = HeldClock::new();
        // Six requests a minute leave some of the twelve users for later.
        clock.until(|| changes.load(Ordering::SeqCst) > 0).await;
        let half_done =
            |text: &String| text.contains("created") && text.contains("pending: create");
        let reported = || world.reports().iter().any(|(_, text)| half_done(text));
        clock.advance(Duration::from_secs(61)).await;
        clock.until(reported).await;
    };
    let (outcome, ()) = tokio::join!(run, interim_report);
    assert_converged(&outcome);
    let last = world.reports();
    assert!(
        last.len() == 1 && !last[0].1.contains("pending: create"),
        "{last:?}"
    );
}

#[tokio::test]
async fn an_unwritable_report_folder_is_a_warning() {
    let world = World::new()
        .await
        .set("source.reports", "users.csv/reports");
    world.roster("email,display_name\na@x.co,A\n");
    let run = world.run().await;
    assert_eq!(run.result().as_str(), "converged");
    assert!(
        run.warnings
            .iter()
            .any(|warning| warning.contains("source.reports")),
        "{run:?}"
    );
}

#[tokio::test]
async fn a_roster_is_reported_again_after_a_failure() {
    let world = World::new().await;
    world.roster("email,display_name\na@x.co,A\n");
    let when = When {
        method: Some("POST".into()),
        ..When::default()
    };
    let what = What::Status {
        code: 401,
        retry_after: None,
        body: None,
    };
    let times = 1;
    world.org().fault(Fault { when, what, times });
    assert!(!world.run().await.is_success());
    assert!(
        world.reports()[0].1.contains("failed"),
        "{:?}",
        world.reports()
    );
    assert_converged(&world.run().await);
    let reports = world.reports();
    assert!(
        reports.iter().any(|(_, text)| text.contains("created")),
        "{reports:?}"
    );
}

/// A name has no slash in it; what else may lead elsewhere is a name like any other.
#[test]
fn report_paths_stay_inside_the_folder() {
    for name in [
        "..csv",
        "...csv",
        "..%2f..%2fx.csv",
        "..\\..\\x.csv",
        "-rf.csv",
        ".csv",
        "a\nb\u{1b}.csv",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        std::fs::create_dir(&home).expect("made");
        std::fs::write(home.join(name), "").expect("written");
        let reports = ReportFolder::new(&home.join(name), Path::new("reports"));
        let written = reports.write(&RowReport::new(Vec::new()), Utc::now());
        let written = written.expect("written");
        assert_eq!(written.parent(), Some(&*home.join("reports")), "{name:?}");
        let there = |path: &Path| std::fs::read_dir(path).expect("a folder").count();
        let all = [folder.path(), &home, &home.join("reports")].map(there);
        assert_eq!(all, [1, 2, 1], "{name:?}");
    }
}

#[test]
fn only_reports_beyond_the_newest_fifty_are_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let roster = folder.path().join("users.csv");
    std::fs::write(&roster, "").expect("written");
    let reports = ReportFolder::new(&roster, Path::new("reports"));
    let own = folder.path().join("reports").join("users-my-own-ok.csv");
    std::fs::create_dir(folder.path().join("reports")).expect("a folder");
    std::fs::write(&own, "mine").expect("written");
    let report = RowReport::new(Vec::new());
    let start = Utc::now();
    for minute in 0..60 {
        reports
            .write(&report, start + TimeDelta::minutes(minute))
            .expect("written");
    }
    let names = std::fs::read_dir(folder.path().join("reports")).expect("there");
    let mut names: Vec<_> = names
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    assert_eq!(names.len(), 51);
    let oldest = (start + TimeDelta::minutes(10))
        .format("users-%Y%m%dT%H%M")
        .to_string();
    assert!(names[0].starts_with(&oldest), "{} {oldest}", names[0]);
    assert_eq!(std::fs::read_to_string(own).expect("there"), "mine");
}

#[test]
fn a_linked_report_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let roster = folder.path().join("users.csv");
    std::fs::write(&roster, "").expect("written");
    let link = folder.path().join("reports");
    std::os::unix::fs::symlink(elsewhere.path(), link).expect("linked");
    let reports = ReportFolder::new(&roster, Path::new("reports"));
    let error = reports.write(&RowReport::new(Vec::new()), Utc::now());
    let error = error.expect_err("it is a link").to_string();
    assert!(error.contains("it is a link"), "{error}");
    assert_eq!(
        std::fs::read_dir(elsewhere.path()).expect("there").count(),
        0
    );
}

#[test]
fn foreign_files_of_the_name_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let roster = folder.path().join("users.csv");
    std::fs::write(&roster, "").expect("written");
    let path = folder.path().join("reports");
    std::fs::create_dir(&path).expect("a folder");
    let start = Utc::now();
    let name = |time: &str| format!("users-{time}-ok.csv");
    let foreign = [
        path.join(name("20200101T000000000Z")),
        path.join(name(&start.format("%Y%m%dT%H%M%S%3fZ").to_string())),
    ];
    for file in &foreign {
        std::fs::write(file, "file,line,email,op,outcome,detail\nmine").expect("written");
    }
    let reports = ReportFolder::new(&roster, Path::new("reports"));
    let held = RowReport::new(Vec::new()).rejected();
    for minute in 0..60 {
        reports
            .write(&held, start + TimeDelta::minutes(minute))
            .expect("written");
    }
    for file in &foreign {
        assert!(file.exists(), "{}", file.display());
    }
}

/// A share that is unmounted while a run is in progress: an empty folder in its place would be taken for it.
#[tokio::test]
async fn a_report_does_not_recreate_a_missing_folder() {
    let world = World::new().await;
    let folder = world.folder.path().join("share");
    let path = folder.join("users.csv");
    std::fs::create_dir(&folder).expect("made");
    std::fs::write(&path, "email,display_name\na@x.co,A\n").expect("written");
    let world = world.set("source.path", path.to_str().expect("text"));
    let away = world.folder.path().join("away");
    let share = folder.clone();
    world.org().before(3, move |_| {
        std::fs::rename(share, away).expect("a file of the test");
    });
    let run = world.run().await;
    assert_eq!(world.writes(), ["POST /api/scim/v2/Users"], "{run:?}");
    assert!(!folder.exists());
    let is_reported = run
        .warnings
        .iter()
        .any(|warning| warning.contains("share/reports"));
    assert!(is_reported, "{:?}", run.warnings);
}
