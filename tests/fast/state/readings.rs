//! What probes learn and leave behind.

use super::support::{State, at, email, id};
use omni_user_sync::model::{ClearForm, PatchForm, ProbeUser, Readings};

#[tokio::test]
async fn readings_outlast_probes_that_show_nothing() {
    let state = State::new();
    let db = state.open();
    assert_eq!(db.readings().await.expect("read"), Readings::default());
    let first = Readings {
        lists_carry_attributes: Some(false),
        max_page: Some(250),
        clears_by: Some(vec![ClearForm::Null, ClearForm::Remove]),
        patch_forms: Some(vec![PatchForm::NoPath]),
        lists_carry_groups: Some(true),
        max_members_per_request: Some(50),
        ..Readings::default()
    };
    db.record_readings(&first, at(1)).await.expect("written");
    let second = Readings {
        max_page: Some(100),
        put_replaces: Some(true),
        ..Readings::default()
    };
    db.record_readings(&second, at(2)).await.expect("written");
    let both = Readings {
        max_page: Some(100),
        put_replaces: Some(true),
        ..first
    };
    assert_eq!(state.read().readings().await.expect("read"), both);
}

#[tokio::test]
async fn one_probe_user_is_remembered() {
    let state = State::new();
    let db = state.open();
    let mut user = ProbeUser {
        email: email("Probe"),
        display_name: "probe 1".into(),
        id: None,
    };
    db.begin_probe(&user).await.expect("written");
    let begun = db.probe_user().await.expect("read");
    assert_eq!(begun.as_ref(), Some(&user));
    db.begin_probe(&user).await.expect_err("there is one");
    db.record_probe_id(&id("probe")).await.expect("written");
    user.id = Some(id("probe"));
    drop(db);
    let db = state.open();
    assert_eq!(db.probe_user().await.expect("read"), Some(user));
    db.end_probe().await.expect("written");
    assert_eq!(db.probe_user().await.expect("read"), None);
}
