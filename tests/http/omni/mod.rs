//! The client against a mock server with faults. Time is paused, so that back-off takes none.

mod errors;
mod groups;
mod owned;
mod requests;
mod retries;
mod roles;

use crate::support::World;
use omni_user_sync::model::{Attributes, Email, ObservedUser, UserId, UserSpec};
use omni_user_sync::omni::{WriteClient, Writer};
use omni_user_sync::sandbox::{Fault, What};
use tokio_util::sync::CancellationToken;

fn writer(world: &World) -> Writer {
    let settings = world.settings();
    let metrics = world.metrics.clone();
    let client = WriteClient::new(&settings.omni, &settings.state.dir, metrics);
    let client = client.expect("a client");
    let keys = settings.omni.keys.read().expect("keys");
    client.client().begin(&keys);
    client.writer(&CancellationToken::new())
}

fn email(text: &str) -> Email {
    Email::known(text).expect("an email")
}

fn spec(name: &str) -> UserSpec {
    UserSpec {
        display_name: Some(name.into()),
        attributes: Attributes::default(),
    }
}

fn times(times: usize, what: What) -> Fault {
    Fault {
        times,
        ..Fault::next(what)
    }
}

fn status(code: u16, retry_after: Option<u64>) -> What {
    What::Status {
        code,
        retry_after,
        body: None,
    }
}

fn says(code: u16, body: &str) -> What {
    What::Status {
        code,
        retry_after: None,
        body: Some(body.into()),
    }
}

/// A user without any known field.
fn known_user(id: &str) -> ObservedUser {
    ObservedUser {
        id: UserId::parse(id).expect("an id"),
        email: Email::parse("ann@x.co").expect("an email"),
        display_name: "Ann".into(),
        active: None,
        attributes: None,
        modified: None,
        owned: None,
    }
}
