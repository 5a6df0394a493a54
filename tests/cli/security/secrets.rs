//! Canaries for key, admin token and webhook are found nowhere but in their files and headers; attribute
//! values in no log, metric, probe or webhook; emails in no metric, probe or webhook.

use super::canaries::{Captured, EMAIL, HOOK, KEY, NAME, SECRETS, TOKEN, VALUE};
use super::world::{Daemon, EVERYTHING, heard, run, webhook, world, write};
use crate::support::World;
use futures_util::stream::{self, StreamExt};
use omni_user_sync::sandbox::{Fault, What, When};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// All commands that end by themselves, each with what it needs.
const COMMANDS: [&[&str]; 20] = [
    &["plan"],
    &["plan", "--json"],
    &["plan", "--markdown"],
    &["config", "--origin"],
    &["check"],
    &["check", "--json"],
    &["export"],
    &["apply", "--yes"],
    &["apply", "--yes", "--json"],
    &["status"],
    &["status", "--json"],
    &["explain", "emailcanary-present@x.co"],
    &["explain", "emailcanary-present@x.co", "--json"],
    &["history"],
    &["history", "latest"],
    &["history", "latest", "--json"],
    &["history", "latest", "--undo"],
    &["approve", "latest", "--dry-run"],
    &["approve", "latest", "--yes"],
    &["health"],
];

/// A key, values and an email in one text, as from a proxy that repeats a request.
pub(crate) fn echo() -> String {
    let escaped = KEY.replace('/', "%2F").replace('+', "%2b");
    format!("{{\"detail\": \"Bearer {KEY} and {escaped}: {VALUE} {NAME} {EMAIL}@x.co\"}}")
}

pub(crate) fn says(code: u16, body: String) -> What {
    What::Status {
        code,
        retry_after: (code == 429).then_some(0),
        body: Some(body),
    }
}

/// What may go wrong between the two, each with whatever an answer can repeat.
fn failures() -> Vec<(&'static str, What)> {
    let elsewhere = format!("http://127.0.0.1:9/{KEY}?value={VALUE}");
    vec![
        ("400", says(400, echo())),
        ("401", says(401, echo())),
        ("403", says(403, echo())),
        ("404", says(404, echo())),
        ("409", says(409, echo())),
        ("429", says(429, echo())),
        ("500", says(500, echo())),
        ("html", says(200, format!("<p>{KEY} {VALUE} {NAME}</p>"))),
        (
            "no users",
            says(200, format!("{{\"Resources\": \"{KEY} {VALUE}\"}}")),
        ),
        ("reset", What::Reset),
        ("lost", What::LostReply),
        ("cut", What::CutJson),
        ("redirect", What::Redirect { to: elsewhere }),
    ]
}

fn once(what: What, method: &str) -> Fault {
    Fault {
        when: When {
            method: Some(method.into()),
            ..When::default()
        },
        what,
        times: 1,
    }
}

/// Every file but those that hold a secret and the roster itself.
pub(crate) fn left_behind(folder: &Path) -> Vec<Captured> {
    let is_left = |captured: &Captured| {
        let own = ["key", "token", "hook", "users.csv"].map(|name| folder.join(name));
        !own.iter()
            .any(|path| captured.is_at(&path.display().to_string()))
    };
    Captured::files(folder)
        .into_iter()
        .filter(is_left)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_commands_print_no_secrets() {
    for format in ["text", "json"] {
        let world = world().await.set("log.format", format);
        let _hook = webhook(&world).await;
        let mut all = Vec::new();
        for arguments in COMMANDS {
            let arguments = [&["--log", EVERYTHING], arguments].concat();
            all.push(run(&world, &arguments).await.0);
        }
        assert!(
            all.iter().any(|captured| captured.has(VALUE)),
            "a plan shows values"
        );
        all.extend(left_behind(world.folder.path()));
        assert!(all.iter().filter(|captured| captured.has(VALUE)).count() > 3);
        for captured in all {
            captured.assert_without(&SECRETS);
        }
    }
}

/// By default each failure meets one of the commands, and each command several failures; with `SECRETS=all` each meets
/// all.
pub(crate) fn is_chosen(row: usize, column: usize, columns: usize) -> bool {
    row % columns == column || std::env::var("SECRETS").is_ok_and(|chosen| chosen == "all")
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_requests_reveal_no_secret() {
    const COMMANDS: [(&str, &[&str]); 4] = [
        ("GET", &["plan", "--json"]),
        ("GET", &["check"]),
        ("PATCH", &["apply", "--yes"]),
        ("POST", &["apply", "--yes"]),
    ];
    let mut cases = Vec::new();
    for (row, (name, what)) in failures().into_iter().enumerate() {
        for (column, (method, command)) in COMMANDS.into_iter().enumerate() {
            if is_chosen(row, column, COMMANDS.len()) {
                cases.push(failed_request(name, what.clone(), method, command));
            }
        }
    }
    // A few in parallel, because many failures are retried after a pause.
    let mut cases = stream::iter(cases).buffer_unordered(4);
    while cases.next().await.is_some() {}
}

async fn failed_request(name: &str, what: What, method: &str, command: &[&str]) {
    let world = world().await;
    world.org().fault(once(what, method));
    let arguments = [&["--log", EVERYTHING], command].concat();
    let (output, code) = run(&world, &arguments).await;
    output.assert_without(&SECRETS);
    assert!((0..=4).contains(&code), "{name} {method}: {code}");
    // 401 ends every command, and its message quotes the response.
    assert!(name != "401" || output.has("[api key]"), "it was sent");
    let history = run(&world, &["history", "latest", "--json"]).await.0;
    for output in left_behind(world.folder.path()).iter().chain([&history]) {
        output.assert_without(&SECRETS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_logs_no_secrets_and_no_values() {
    for format in ["text", "json"] {
        let world = world().await.set("log.format", format);
        let sent = webhook(&world).await;
        for (_, what) in failures() {
            if matches!(
                &what,
                What::Status {
                    code: 400 | 404 | 500,
                    ..
                } | What::Reset
                    | What::LostReply
            ) {
                world.org().fault(once(what, "PATCH"));
            }
        }
        let daemon = Daemon::start(&world, EVERYTHING).await;
        daemon.until("GET /api/v1/runs/1", "", VALUE).await;
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let fields = format!(
            "token={}&next=%2F",
            TOKEN.replace('/', "%2F").replace('+', "%2B")
        );
        let login = daemon.ask("POST /login", form, &fields).await;
        assert!(login.has("set-cookie"), "the token opens");
        let mut captured = vec![
            login,
            daemon.ask("POST /login", form, "token=guesscanary").await,
            daemon
                .ask("GET /", "Authorization: Bearer guesscanary\r\n", "")
                .await,
            daemon
                .ask(
                    "GET /",
                    "Cookie: omni_user_sync_session=guesscanary\r\n",
                    "",
                )
                .await,
        ];
        for path in [
            "GET /",
            "GET /runs",
            "GET /runs/1",
            "GET /users?email=emailcanary-present@x.co",
            "GET /users/emailcanary-present@x.co",
            "GET /preview",
            "GET /api/v1/preview",
            "GET /users",
            "GET /settings",
            "GET /api/v1/status",
            "GET /api/v1/runs",
            "GET /api/v1/runs/1",
            "GET /api/v1/users/emailcanary-present@x.co",
            "GET /api/v1/users",
            "GET /api/v1/settings",
            "POST /reconcile",
            "POST /api/v1/runs/1/approve",
            "POST /api/v1/reconcile",
            "GET /nothing",
        ] {
            // After five guesses, access is denied.
            for headers in ["", &bearer] {
                captured.push(daemon.ask(path, headers, "").await);
            }
        }
        assert!(
            captured.iter().any(|captured| captured.has(VALUE)),
            "pages show values"
        );
        daemon.until("GET /api/v1/runs", "", "\"run\":2").await;

        let delivered = "notifications_total{outcome=\"delivered\"} 1";
        daemon.until("GET /metrics", "", delivered).await;
        let mut open = Vec::new();
        for path in ["/metrics", "/healthz", "/readyz"] {
            open.push(daemon.ask(&format!("GET {path}"), "", "").await);
        }
        open.push(heard(&sent, "held").await);
        for one in &open {
            one.assert_without(&[VALUE, NAME, EMAIL]);
        }
        let log = daemon.log();
        assert!(
            log.has(EMAIL) && log.has("idle connection"),
            "all is logged"
        );
        log.assert_without(&[VALUE, NAME, "guesscanary"]);
        captured.extend(open);
        captured.push(log);
        captured.extend(["cmdline", "environ", "maps"].map(|file| daemon.proc(file)));
        captured.extend(left_behind(world.folder.path()));
        for one in &captured {
            one.assert_without(&SECRETS);
        }
    }
}

/// Mistakes in files of secrets.
fn mistakes() -> Vec<(&'static str, String)> {
    let hook = format!("https://hooks.example.com/{HOOK}");
    vec![
        ("key", KEY.replace('/', " ")),
        ("key", format!("{KEY}ä")),
        ("key", format!("{KEY}\0")),
        ("key", format!("{KEY}\n{KEY} {KEY}\n")),
        ("key", String::new()),
        ("token", format!("{TOKEN}\n{TOKEN}")),
        ("token", format!("{TOKEN}ä")),
        ("hook", format!("{hook}\n{hook}")),
        ("hook", hook.replace("https", "http")),
        ("hook", HOOK.into()),
        (
            "hook",
            format!("https://keycanary:tokencanary@127.0.0.1:9/{HOOK}"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_secret_files_do_not_quote_them() {
    for (row, (file, text)) in mistakes().into_iter().enumerate() {
        let world = world().await;
        write(&world, "hook", &format!("http://127.0.0.1:9/{HOOK}"));
        write(&world, file, &text);
        let commands = [&["check", "--json"][..], &["plan"], &["apply", "--yes"]];
        for (column, command) in commands.into_iter().enumerate() {
            if is_chosen(row, column, commands.len()) {
                let arguments = [&["--log", EVERYTHING], command].concat();
                run(&world, &arguments).await.0.assert_without(&SECRETS);
            }
        }
        let daemon = Daemon::start(&world, EVERYTHING).await;
        daemon
            .until("GET /metrics", "", "runs_total{result=\"")
            .await;
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        let page = daemon.ask("GET /", &bearer, "").await;
        let ready = daemon.ask("GET /readyz", "", "").await;
        for captured in [daemon.log(), page, ready] {
            captured.assert_without(&SECRETS);
        }
        for captured in left_behind(world.folder.path()) {
            captured.assert_without(&SECRETS);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_settings_do_not_quote_secrets() {
    let toml = |text: &str| text.replace("KEY", KEY);
    let texts = [
        "KEY",
        "api_key = KEY",
        "[omni]\napi_key = \"KEY\"",
        "[omni]\napi_key_file = KEY",
        "[omni]\napi_key_file = \"KEY\"",
        "[omni]\napi_key_file = [\"KEY\"]",
        "[omni]\nrequests_per_minute = \"KEY\"",
        "[omni]\nbase_url = \"KEY\"",
        "[omni]\nbase_url = \"https://acme.omniapp.co/?key=KEY\"",
        "[omni]\nbase_url = \"https://acme.omniapp.co/#KEY\"",
        "[omni]\nbase_url = \"https://me:KEY@acme.omniapp.co\"",
        "[omni]\nca_file = \"KEY\"",
        "omni = \"KEY\"",
        "[serve]\nadmin_token_file = \"KEY\"",
        "[serve]\nadmin_token = \"KEY\"",
        "[notify]\nwebhook_url_file = \"https://hooks.example.com/KEY\"",
        "[notify]\nwebhook_url = \"https://hooks.example.com/KEY\"",
    ];
    for text in texts {
        let world = bare_world().await;
        write(&world, "config.toml", &toml(text));
        mistaken(&world, text).await;
    }
    for (name, value) in [
        ("OMNI_BASE_URL", "KEY"),
        ("OMNI_BASE_URL", "https://acme.omniapp.co/?key=KEY"),
        ("OMNI_API_KEY", "KEY KEY"),
        ("OMNI_USER_SYNC__OMNI__BASE_URL", "KEY"),
        ("OMNI_USER_SYNC__OMNI__API_KEY", "KEY"),
        ("OMNI_USER_SYNC__OMNI__API_KEY_FILE", "KEY"),
        ("OMNI_USER_SYNC__SERVE__ADMIN_TOKEN", "KEY"),
        ("OMNI_USER_SYNC__SERVE__ADMIN_TOKEN_FILE", "KEY"),
        (
            "OMNI_USER_SYNC__NOTIFY__WEBHOOK_URL_FILE",
            "https://hooks.example.com/KEY",
        ),
    ] {
        let world = bare_world().await.with_variable(name, &toml(value));
        write(&world, "config.toml", "");
        mistaken(&world, name).await;
    }
}

/// A world that says nothing of key, token and webhook. Its `health` finds no daemon, also where one runs on the usual
/// port.
async fn bare_world() -> World {
    let world = world().await.set("serve.listen", "127.0.0.1:1");
    ["API_KEY_FILE", "ADMIN_TOKEN_FILE", "WEBHOOK_URL_FILE"]
        .into_iter()
        .zip(["OMNI", "SERVE", "NOTIFY"])
        .fold(world, |world, (key, section)| {
            world.without(&format!("OMNI_USER_SYNC__{section}__{key}"))
        })
        .without("OMNI_BASE_URL")
        // A daemon may serve on the default port of this machine, and would be healthy.
        .set("serve.listen", "127.0.0.1:1")
}

async fn mistaken(world: &World, what: &str) {
    for command in [&["check"][..], &["check", "--json"], &["plan"], &["health"]] {
        let arguments = [&["--config", "config.toml", "--log", EVERYTHING], command].concat();
        let (captured, code) = run(world, &arguments).await;
        assert_ne!(code, 0, "{what}");
        captured.assert_without(&SECRETS);
    }
}

/// A core dump would hold the key.
#[tokio::test]
async fn a_crash_writes_no_core_dump() {
    let all = Resource::Core;
    let most = getrlimit(all).maximum;
    let wide = Rlimit {
        current: most,
        maximum: most,
    };
    // For later child processes; this process does not need it.
    setrlimit(all, wide).expect("up to its maximum");
    let world = world().await;
    let mut daemon = Daemon::start(&world, "info").await;
    assert!(!daemon.crash(), "a core was written");
    let mut left = std::fs::read_dir(world.folder.path()).expect("is read");
    assert!(left.all(|file| {
        !file
            .expect("is read")
            .file_name()
            .to_string_lossy()
            .starts_with("core")
    }));
}

/// Units disable core dumps too, whatever the system's default.
#[test]
fn systemd_units_disable_core_dumps() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    for unit in ["omni-user-sync.service", "omni-user-sync@.service"] {
        let text = std::fs::read_to_string(units.join(unit)).expect("is read");
        assert!(text.lines().any(|line| line == "LimitCORE=0"), "{unit}");
    }
}
