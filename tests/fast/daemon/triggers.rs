//! Which trigger starts the next run, if several are pending.

use super::cycle::{Act, HOUR, QUICK, Rig};
use omni_user_sync::model::Trigger;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn known_content_starts_no_run() {
    let mut rig = Rig::new([QUICK]);
    rig.wake.wake(Trigger::Start);
    rig.run().await;
    rig.publish(1);
    assert!(rig.is_quiet_for(HOUR).await, "the start read it");
    rig.publish(2);
    assert_eq!(rig.run().await.0, Trigger::File);
    rig.wake.wake(Trigger::Schedule);
    assert_eq!(
        rig.run().await.0,
        Trigger::Schedule,
        "the schedule always runs"
    );
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_roster_precedes_a_due_time() {
    let mut rig = Rig::new([QUICK]);
    rig.wake.wake(Trigger::Start);
    rig.run().await;
    rig.publish(2);
    rig.wake.wake(Trigger::Schedule);
    assert_eq!(rig.run().await.0, Trigger::File);
    assert_eq!(rig.run().await.0, Trigger::Schedule, "it lists afterwards");
    rig.wake.wake(Trigger::Schedule);
    rig.wake.wake(Trigger::Approval);
    assert_eq!(rig.run().await.0, Trigger::Approval);
    assert_eq!(rig.run().await.0, Trigger::Schedule);
    rig.publish(3);
    rig.wake.wake(Trigger::Schedule);
    rig.wake.wake(Trigger::Request);
    assert_eq!(rig.run().await.0, Trigger::File);
    assert_eq!(rig.run().await.0, Trigger::Request, "for both");
    assert!(rig.is_quiet_for(HOUR).await);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_uses_the_cache_before_a_listing() {
    let mut rig = Rig::new([QUICK]);
    rig.wake.wake(Trigger::Schedule);
    rig.wake.wake(Trigger::Start);
    rig.publish(1);
    assert_eq!(rig.run().await.0, Trigger::Start, "reads the roster too");
    assert_eq!(rig.run().await.0, Trigger::Schedule);
    assert!(rig.is_quiet_for(HOUR).await);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_changing_roster_postpones_a_due_time_briefly() {
    let takes = Act {
        takes: Duration::from_secs(5),
        ..QUICK
    };
    let mut rig = Rig::new([takes; 30]);
    rig.publish(0);
    let (_, began) = rig.run().await;
    rig.wake.wake(Trigger::Schedule);
    for byte in 1.. {
        rig.publish(byte);
        let (trigger, at) = rig.run().await;
        if trigger == Trigger::Schedule {
            assert!(at - began < Duration::from_secs(75), "{:?}", at - began);
            break;
        }
        assert_eq!(trigger, Trigger::File);
    }
    rig.publish(100);
    rig.wake.wake(Trigger::Schedule);
    assert_eq!(rig.run().await.0, Trigger::File, "it waits again");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_hidden_file_starts_a_run() {
    let mut rig = Rig::new([QUICK]);
    rig.publish(1);
    rig.run().await;
    rig.wake.wake_for_hidden();
    assert_eq!(rig.run().await.0, Trigger::File, "for the same content");
    rig.wake.wake(Trigger::File);
    assert!(rig.is_quiet_for(HOUR).await);
    rig.end().await;
}
