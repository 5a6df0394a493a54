//! A change does not wait for a listing that goes on beside it.

use crate::support::World;
use omni_user_sync::model::{Email, FieldChange, Schema};
use omni_user_sync::omni::{Lookup, WriteClient, list};
use omni_user_sync::sandbox::Options;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn changes_go_before_the_pages_of_a_listing() {
    let options = Options {
        users: 3_000,
        requests_per_minute: 20,
        ..Options::default()
    };
    let world = World::with_limit(options).await;
    let settings = world.settings();
    let metrics = world.metrics.clone();
    let client = WriteClient::new(&settings.omni, &settings.state.dir, metrics);
    let client = client.expect("a client");
    client
        .client()
        .begin(&settings.omni.keys.read().expect("keys"));
    let writer = client.writer(&CancellationToken::new());
    let (reader, start) = (writer.reader().clone(), Instant::now());
    let listing = tokio::spawn(async move { list(&reader).await });
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.org().requests().len(), 15, "a quarter is left free");

    let email = Email::known("user0001@example.com").expect("an email");
    let found = writer.reader().find(&email).await.expect("a response");
    let Lookup::One(user) = found else {
        panic!("{found:?}");
    };
    let name = FieldChange::display_name(&user.display_name, "Another");
    let updated = writer.update(&user, &[name], &Schema::unknown()).await;
    updated.expect("a response");
    assert_eq!(start.elapsed().as_secs(), 30, "without a wait");
    let observed = listing.await.expect("no panic").expect("a listing");
    assert_eq!(observed.count(), 3_000);
    assert!(world.org().too_many().is_empty());
}
