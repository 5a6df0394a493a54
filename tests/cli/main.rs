//! The commands as a shell sees them: output, exit code, and what they did to Omni.
mod approve;
mod check;
mod config;
mod daemon;
mod groups;
mod history;
mod init;
mod key_users;
mod kill;
mod kill_leavers;
mod kill_memberships;
mod kill_roles;
mod log;
mod pause;
mod place;
mod probe;
mod proxy;
mod reload;
mod roles;
mod roundtrip;
mod runs;
mod security;
mod state_folder;
mod status;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod undo;
mod usage;

use omni_user_sync::sandbox::Options;
use serde_json::json;
use support::World;

async fn example() -> World {
    let world = World::with(Options::with_full_lists()).await;
    world.user(
        "ann@x.co",
        "Ann",
        json!({ "region": ["north"], "tier": "gold", "department": "a" }),
    );
    world.user("bob@x.co", "Bob", json!({}));
    world.user("same@x.co", "Same", json!({ "region": ["east", "west"] }));
    world.roster(
        "op,email,display_name,region,tier\n\
         upsert,ann@x.co,Ann Lee,\"[north,south]\",\n\
         delete,bob@x.co,,,\n\
         upsert,same@x.co,Same,\"[west, east]\",\n\
         upsert,eve@x.co,Eve,[east],gold\n",
    );
    world
}
