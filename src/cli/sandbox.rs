//! `sandbox`: runs the mock server.

use super::{Exit, out};
use crate::sandbox::{
    ADMIN_ROUTES, BadKey, Burst, ClearBy, Endpoint, Filter, Ids, Inactive, LargerCount,
    LastModified, Limiter, ListedGroups, Lists, Options, Origins, OtherIds, PatchAnswer,
    PatchForms, PutMode, REQUESTS, ROUTES, Repeated, Sandbox, ScheduleOwners,
};
use crate::settings::{LogFormat, LogSettings};
use anyhow::Context;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Number of users at the start
    #[arg(long, default_value_t = 0, value_name = "N")]
    users: usize,
    /// Rate limit of each key
    #[arg(long, default_value_t = 60, value_name = "N")]
    requests_per_minute: u32,
    /// Type of the rate limit: sliding, fixed or bucket
    #[arg(long, default_value_t = Limiter::Sliding)]
    limiter: Limiter,
    /// A second limit over a shorter time, such as 20/10: 20 requests in any 10 seconds
    #[arg(long, value_name = "REQUESTS/SECONDS")]
    burst: Option<Burst>,
    /// Send no Retry-After with a 429
    #[arg(long)]
    no_retry_after: bool,
    /// A personal access token, which the SCIM API refuses; may be repeated
    #[arg(long, value_name = "KEY")]
    personal_key: Vec<String>,
    /// Status of the answer to an unknown key: 401 or 403
    #[arg(long, default_value_t = BadKey::Unauthorized, value_parser = bad_key)]
    bad_key: BadKey,
    /// Maximum number of users on a page; a larger `count` gets this many
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_page: usize,
    /// Answer 400 to a `count` above the maximum
    #[arg(long)]
    refuse_larger_count: bool,
    /// Show the attributes of users in lists and filter results
    #[arg(long)]
    lists_carry_attributes: bool,
    /// Show the groups of users in lists and filter results
    #[arg(long)]
    lists_carry_groups: bool,
    /// Answer to a PATCH of a group that adds a present member or removes an absent one
    #[arg(long, value_enum, default_value_t)]
    repeated_members: Repeated,
    /// Maximum number of members that a PATCH of a group changes; more are refused
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_members: usize,
    /// Matching of the name of a group by the filter
    #[arg(long, value_enum, default_value_t = Filter::ExactCase)]
    group_filter: Filter,
    /// Form of the ids of users
    #[arg(long, value_enum, default_value_t)]
    ids: Ids,
    /// Effect of removing a member whose id does not have 36 characters
    #[arg(long, value_enum, default_value_t)]
    other_ids: OtherIds,
    /// Names for the source of a role in responses
    #[arg(long, value_enum, default_value_t)]
    role_origins: Origins,
    /// Number of sample schedules at the start, which some of the users own
    #[arg(long, default_value_t = 0, value_name = "N")]
    sample_schedules: usize,
    /// Whether schedules can be listed and transferred
    #[arg(long, value_enum, default_value_t)]
    schedules: Endpoint,
    /// What the list of schedules shows of owners, and whether it can be filtered by owner
    #[arg(long, value_enum, default_value_t)]
    schedule_owners: ScheduleOwners,
    /// Whether personal tokens can be listed
    #[arg(long, value_enum, default_value_t)]
    personal_tokens: Endpoint,
    /// Effect of a PUT on missing fields
    #[arg(long, value_enum, default_value_t)]
    put: PutMode,
    /// Answer to a successful PATCH
    #[arg(long, value_enum, default_value_t)]
    patch_answer: PatchAnswer,
    /// Forms of a PATCH that set attributes
    #[arg(long, value_enum, default_value_t)]
    patch_forms: PatchForms,
    /// Forms of a PATCH that clear an attribute
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "null,empty,remove"
    )]
    clears_by: Vec<ClearBy>,
    /// Matching of an email by the filter
    #[arg(long, value_enum, default_value_t)]
    filter: Filter,
    /// Effect of `active: false`: the user is gone, or inactive
    #[arg(long, value_enum, default_value_t)]
    inactive: Inactive,
    /// Whether `meta.lastModified` moves when only attributes change
    #[arg(long, value_enum, default_value_t)]
    last_modified: LastModified,
    /// Number of requests after a creation for which lists and filters lack the user
    #[arg(long, default_value_t = 0, value_name = "N")]
    list_lag: u64,
    /// Also serve an admin API under /sandbox/: state, request log, faults, signals
    #[arg(long)]
    admin: bool,
}

/// The log of the mock server, which has its requests.
pub(super) fn log_settings() -> LogSettings {
    LogSettings {
        format: LogFormat::Text,
        filter: format!("info,{REQUESTS}=debug"),
    }
}

fn options(arguments: Arguments) -> Options {
    let Arguments {
        listen,
        users,
        requests_per_minute,
        limiter,
        burst,
        no_retry_after,
        personal_key,
        bad_key,
        max_page,
        refuse_larger_count,
        lists_carry_attributes,
        lists_carry_groups,
        repeated_members,
        max_members,
        group_filter,
        ids,
        other_ids,
        role_origins,
        sample_schedules,
        schedules,
        schedule_owners,
        personal_tokens,
        put,
        patch_answer,
        patch_forms,
        clears_by,
        filter,
        inactive,
        last_modified,
        list_lag,
        admin,
    } = arguments;
    Options {
        listen,
        users,
        requests_per_minute,
        limiter,
        burst,
        retry_after: !no_retry_after,
        personal_keys: personal_key,
        bad_key,
        max_page,
        larger_count: match refuse_larger_count {
            true => LargerCount::Refused,
            false => LargerCount::Capped,
        },
        lists: match lists_carry_attributes {
            true => Lists::Full,
            false => Lists::OmitAttributes,
        },
        listed_groups: match lists_carry_groups {
            true => ListedGroups::Shown,
            false => ListedGroups::Omitted,
        },
        repeated: repeated_members,
        max_members,
        group_filter,
        ids,
        other_ids,
        origins: role_origins,
        sample_schedules,
        schedules,
        schedule_owners,
        personal_tokens,
        put,
        patch_answer,
        patch_forms,
        clears_by,
        filter,
        inactive,
        last_modified,
        list_lag,
        admin,
        ..Options::default()
    }
}

pub(super) async fn run(arguments: Arguments, stop: CancellationToken) -> anyhow::Result<Exit> {
    let (listen, admin) = (arguments.listen, arguments.admin);
    let options = options(arguments);
    let key = options.keys.join(", ");
    let sandbox = Sandbox::start(options)
        .await
        .with_context(|| format!("--listen {listen}"))?;
    out::result(&format!(
        "mock Omni server listening on {url}\n\
         try: OMNI_BASE_URL={url} OMNI_API_KEY={key} omni-user-sync export -o users.csv\n\
         routes:\n{routes}",
        url = sandbox.url(),
        routes = routes(admin)
    ));
    stop.cancelled().await;
    sandbox.stop().await;
    Ok(Exit::Ok)
}

fn routes(admin: bool) -> String {
    let admin = ADMIN_ROUTES.iter().filter(|_| admin);
    let routes = ROUTES.iter().chain(admin);
    routes
        .map(|(methods, path)| format!("  {methods:<24} {path}\n"))
        .collect()
}

fn bad_key(text: &str) -> Result<BadKey, String> {
    match text {
        "401" => Ok(BadKey::Unauthorized),
        "403" => Ok(BadKey::Forbidden),
        _ => Err("expected 401 or 403".into()),
    }
}
