//! What is said over HTTP: the real client against the mock server, the server and its clients, a webhook.

#[cfg(feature = "sandbox")]
mod absent;
#[cfg(feature = "sandbox")]
mod documents;
#[cfg(feature = "sandbox")]
mod dry_run;
#[cfg(feature = "sandbox")]
mod folder;
#[cfg(feature = "sandbox")]
mod kept_observation;
#[cfg(feature = "sandbox")]
mod leaving;
#[cfg(feature = "sandbox")]
mod limits;
#[cfg(feature = "sandbox")]
mod lost_responses;
#[cfg(feature = "sandbox")]
mod memberships;
mod notify;
#[cfg(feature = "sandbox")]
mod observed_groups;
#[cfg(feature = "sandbox")]
mod omni;
#[cfg(feature = "sandbox")]
mod one_leaver;
#[cfg(feature = "sandbox")]
mod page_size;
#[cfg(feature = "sandbox")]
mod partial_listing;
#[cfg(feature = "sandbox")]
mod probe;
#[cfg(feature = "sandbox")]
mod progress;
#[cfg(feature = "sandbox")]
mod quarantine;
mod rate_limit_files;
#[cfg(feature = "sandbox")]
mod reading_pace;
#[cfg(feature = "sandbox")]
mod reports;
#[cfg(feature = "sandbox")]
mod request_budget;
#[cfg(feature = "sandbox")]
mod roles;
#[cfg(feature = "sandbox")]
mod roster_replacement;
#[cfg(feature = "sandbox")]
mod run;
#[cfg(feature = "sandbox")]
mod safety;
#[cfg(feature = "sandbox")]
mod sandbox;
mod serve;
mod shared_rate_limit;
#[cfg(feature = "sandbox")]
mod stale_cache;
#[cfg(feature = "sandbox")]
mod successors;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "sandbox")]
mod undone;
#[cfg(feature = "sandbox")]
mod urgency;
#[cfg(feature = "sandbox")]
mod verified_ids;
