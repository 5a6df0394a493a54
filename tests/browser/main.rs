//! The status page in a real browser, as a person goes through it: wide and on a phone, in light and in
//! dark. It needs Debian's `chromium` and `chromium-driver`, and the release binary: `bash .ci/full browser` installs,
//! builds and runs all of it.
//! With `SCREENSHOTS=folder` it leaves pictures of what it saw.

#[allow(dead_code)] // the tests of the program use the rest
#[path = "../support/world.rs"]
mod world;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use omni_user_sync::sandbox::Options;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;
use world::World;

/// More than any of this should take.
const GENEROUS: Duration = Duration::from_secs(60);

const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/release/omni-user-sync"
);

const TOKEN: &str = "hunter2-hunter2-hunter2";

/// A window of a person.
#[derive(Clone, Copy)]
struct Window {
    name: &'static str,
    width: u32,
    height: u32,
    is_phone: bool,
    is_dark: bool,
}

const WINDOWS: [Window; 4] = [
    window("wide-light", 1280, 900, false, false),
    window("phone-dark", 390, 844, true, true),
    window("wide-dark", 1280, 900, false, true),
    window("phone-light", 390, 844, true, false),
];

const fn window(
    name: &'static str,
    width: u32,
    height: u32,
    is_phone: bool,
    is_dark: bool,
) -> Window {
    Window {
        name,
        width,
        height,
        is_phone,
        is_dark,
    }
}

/// A program that is killed at the end.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    taken.local_addr().expect("has one").port()
}

/// Waits until something listens there.
async fn listening(port: u16) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let trying = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let there = tokio::time::timeout(GENEROUS, trying).await;
    there.unwrap_or_else(|_| panic!("nothing listens on {address}"));
}

fn start(program: &mut Command) -> Program {
    let child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Program(child.unwrap_or_else(|error| panic!("{program:?}: {error}; is it installed?")))
}

/// What WebDriver itself has no word for: Chromium's own commands.
#[derive(Debug)]
struct Chromium {
    cmd: &'static str,
    params: Value,
}

impl WebDriverCompatibleCommand for Chromium {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.cmd, "params": self.params });
        (Method::POST, Some(body.to_string()))
    }
}

/// A browser with one window.
struct Browser {
    client: Client,
    window: Window,
    base: String,
}

impl Browser {
    async fn open(driver: u16, window: Window, base: &str) -> Self {
        let mut options = json!({
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                format!("--window-size={},{}", window.width, window.height),
            ]
        });
        if window.is_phone {
            let metrics = json!({
                "width": window.width, "height": window.height, "pixelRatio": 1, "touch": true
            });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let Value::Object(capabilities) = json!({ "goog:chromeOptions": options }) else {
            unreachable!("written as an object")
        };
        let client = ClientBuilder::rustls()
            .expect("certificates")
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{driver}"))
            .await
            .expect("a browser");
        let scheme = if window.is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        let browser = Self {
            client,
            window,
            base: base.to_owned(),
        };
        browser.chromium("Emulation.setEmulatedMedia", media).await;
        browser
    }

    async fn chromium(&self, cmd: &'static str, params: Value) -> Value {
        let said = self.client.issue_cmd(Chromium { cmd, params }).await;
        said.unwrap_or_else(|error| panic!("{cmd}: {error}"))
    }

    async fn goto(&self, path: &str) {
        let address = format!("{}{path}", self.base);
        self.client.goto(&address).await.expect("a page");
    }

    /// Waits for something to be there.
    async fn find(&self, css: &str) -> fantoccini::elements::Element {
        let waiting = self.client.wait().at_most(GENEROUS);
        let found = waiting.for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{}: {css}: {error}", self.window.name))
    }

    /// Clicks, also where the script puts a fresh one in its place meanwhile.
    async fn click(&self, css: &str) {
        let clicking = async {
            while self.find(css).await.click().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let clicked = tokio::time::timeout(GENEROUS, clicking).await;
        clicked.unwrap_or_else(|_| panic!("{}: {css} can't be clicked", self.window.name));
    }

    /// Waits until a script says yes.
    async fn until(&self, what: &str, script: &str) {
        let asking = async {
            while self.script(script).await != Value::Bool(true) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(GENEROUS, asking).await;
        found.unwrap_or_else(|_| panic!("{}: never {what}", self.window.name));
    }

    /// Waits until the page shows a text.
    async fn shows(&self, text: &str) {
        let script = format!("return document.body.innerText.includes({})", json!(text));
        self.until(text, &script).await;
    }

    /// What a script in the page says. Between two pages it says nothing.
    async fn script(&self, script: &str) -> Value {
        let said = self.client.execute(script, Vec::new()).await;
        said.unwrap_or(Value::Null)
    }

    /// What must hold for each page: nothing sticks out of the window, everything has a name, and the
    /// browser had nothing to refuse.
    async fn check(&self, page: &str) {
        let name = format!("{} {page}", self.window.name);
        let wide = self
            .script("return document.documentElement.scrollWidth - innerWidth")
            .await;
        assert!(
            wide.as_i64().is_some_and(|over| over <= 0),
            "{name}: {wide} too wide"
        );
        let nameless = self.script(NAMELESS).await;
        assert_eq!(nameless, json!([]), "{name}: without a name");
        let pale = self.script(PALE).await;
        assert_eq!(pale, json!([]), "{name}: hard to read");
        let parts = "return ['header', 'main', 'footer', 'h1']
            .filter((part) => document.querySelectorAll(part).length !== 1)";
        assert_eq!(self.script(parts).await, json!([]), "{name}: one of each");
        self.picture(page).await;
    }

    async fn picture(&self, page: &str) {
        let Some(folder) = std::env::var_os("SCREENSHOTS") else {
            return;
        };
        let picture = self.client.screenshot().await.expect("a picture");
        let file = Path::new(&folder).join(format!("{}-{page}.png", self.window.name));
        std::fs::write(file, picture).expect("written");
    }

    /// Presses a key, wherever the focus is.
    async fn press(&self, key: &str) {
        let pressing = async {
            // Between two pages nothing has the focus.
            loop {
                if let Ok(one) = self.client.active_element().await
                    && one.send_keys(key).await.is_ok()
                {
                    return;
                }
            }
        };
        let pressed = tokio::time::timeout(GENEROUS, pressing).await;
        pressed.unwrap_or_else(|_| panic!("{}: nothing takes a key", self.window.name));
    }

    /// Goes by Tab from control to control, each of them to be seen to have the focus, and presses Enter on the
    /// one that is meant.
    async fn enter_by_keyboard(&self, css: &str) {
        self.find(css).await;
        let is_there = format!("return document.activeElement.matches({})", json!(css));
        for _ in 0..100 {
            self.press("\u{e004}").await;
            if self.script(&is_there).await == json!(true) {
                let outline = "return getComputedStyle(document.activeElement).outlineStyle";
                assert_ne!(self.script(outline).await, json!("none"), "{css}");
                return self.press("\u{e007}").await;
            }
        }
        panic!("{}: no key leads to {css}", self.window.name);
    }

    /// Opens the page by keyboard alone: the first key leads past the head of the page.
    async fn check_keyboard(&self) {
        self.goto("/").await;
        self.find("body")
            .await
            .send_keys("\u{e004}")
            .await
            .expect("a key");
        let first = self.script("return document.activeElement.className").await;
        assert_eq!(first, json!("skip"), "{}", self.window.name);
        let outline = "return getComputedStyle(document.activeElement).outlineStyle !== 'none'";
        assert_eq!(
            self.script(outline).await,
            json!(true),
            "{}",
            self.window.name
        );
    }
}

/// Controls, pictures and tables that a screen reader could not name.
const NAMELESS: &str = r#"
const named = (one) => (one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length
    || one.querySelector("title, caption"));
return [...document.querySelectorAll("a, button, input:not([type=hidden]), select, svg[role=img], table")]
    .filter((one) => !(named(one) || document.getElementById(one.getAttribute("aria-labelledby"))))
    .map((one) => one.outerHTML.slice(0, 120));
"#;

/// Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG AA).
const PALE: &str = r#"
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const rgba = (text) => {
  const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
  return [r, g, b, a];
};
const behind = (one) => {
  for (let at = one; at; at = at.parentElement) {
    const ground = rgba(getComputedStyle(at).backgroundColor);
    if (ground[3] === 1) return ground;
  }
  return [255, 255, 255, 1];
};
const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
return [...document.querySelectorAll("body *")]
  .filter((one) => hasText(one) && one.checkVisibility() && !one.closest("svg"))
  .map((one) => {
    const [a, b] = [light(rgba(getComputedStyle(one).color)), light(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? `${ratio.toFixed(2)}: ${one.outerHTML.slice(0, 100)}` : null;
  })
  .filter((pale) => pale);
"#;

/// A roster over the mock server's users, which removes some of them and has one bad row.
fn roster(going: usize) -> String {
    let mut text = "op,email,display_name,region\n".to_owned();
    for number in 1..=30 {
        let op = if number <= going { "delete" } else { "upsert" };
        let op = if number == 30 { "upsrt" } else { op };
        writeln!(
            text,
            "{op},user{number:04}@example.com,Name {number},[north]"
        )
        .expect("memory");
    }
    text
}

/// A world with a daemon, and where its pages are.
async fn daemon() -> (World, Program, String) {
    let options = Options {
        users: 30,
        ..Options::default()
    };
    let port = free_port();
    let world = World::with(options).await;
    let token = world.folder.path().join("token");
    std::fs::write(&token, TOKEN).expect("written");
    let world = world
        .set("serve.listen", &format!("127.0.0.1:{port}"))
        .set("serve.admin_token_file", token.to_str().expect("text"))
        .set("source.poll_interval", "200ms")
        // The first roster renames all users.
        .set("policy.max_updates", "100%");
    world.roster(&roster(0));
    let daemon = start(
        Command::new(PROGRAM)
            .arg("run")
            .env_clear()
            .envs(world.variables()),
    );
    listening(port).await;
    let base = format!("http://127.0.0.1:{port}");
    (world, daemon, base)
}

/// Page → run → problem → held → log in → approve → converged.
async fn walk(driver: u16, window: Window) {
    let (world, daemon, base) = daemon().await;
    let browser = Browser::open(driver, window, &base).await;

    // The page shows the run of a new roster without a reload.
    browser.goto("/").await;
    browser.shows("In sync except for 1 invalid row.").await;
    world.roster(&roster(10));
    browser
        .shows("10 changes are held and waiting for approval.")
        .await;
    browser.check("overview").await;

    // The picture says what the state database says.
    let bars = browser
        .script(
            "return [...document.querySelectorAll('.bar[data-run]')]
                .map((bar) => ['run', 'applied', 'failed', 'held'].map((name) => +bar.dataset[name]))",
        )
        .await;
    assert_eq!(bars, json!(pictured(&world).await), "{}", window.name);

    // A run.
    browser
        .click("#runs > .scroll tbody tr:first-child a")
        .await;
    browser.shows("No changes.").await;
    browser.check("run").await;
    browser.goto("/runs/1?operation=update&text=user0029").await;
    browser.shows("1 change, in the order sent").await;
    browser.check("filtered").await;

    // The problem, and its user.
    browser.goto("/").await;
    browser.find("#roster").await;
    let location = "return document.querySelector('#roster tbody th').textContent";
    let location = browser.script(location).await;
    assert_eq!(location, "users.csv:31", "{}", window.name);
    let input = browser.find("#find").await;
    input
        .send_keys("user0030@example.com\u{e007}")
        .await
        .expect("keys");
    browser
        .shows("The row in the roster is invalid, so this user is not changed.")
        .await;
    browser.check("user").await;
    browser.click("#ask").await;
    browser
        .shows("No change: frozen because of users.csv:31")
        .await;
    browser.shows("users.csv:31:1 (op)").await;
    browser.check("user-now").await;

    // What is held: logging in leads back to it.
    browser.goto("/").await;
    browser.click("#approve-log-in").await;
    browser
        .find("#token")
        .await
        .send_keys("a guess\u{e007}")
        .await
        .expect("keys");
    browser.shows("Wrong admin token.").await;
    browser.check("log-in").await;
    let token = browser.find("#token").await;
    token
        .send_keys(&format!("{TOKEN}\u{e007}"))
        .await
        .expect("keys");
    browser.find("#approve").await;
    browser.check("held").await;
    preview(&browser, &world).await;
    browser.click("#approve").await;
    browser.find("#confirm").await;
    browser.check("confirm").await;
    browser.click("#confirm").await;
    browser.shows("Approved by web from 127.0.0.1").await;

    // Corrected, it converges; and again after "Run now".
    let mended = roster(10).replace("upsrt", "upsert");
    world.roster(&mended);
    browser.goto("/").await;
    browser.shows("Omni is in sync with the roster.").await;
    assert_eq!(
        world.write_counts().get("DELETE"),
        Some(&10),
        "{}",
        window.name
    );
    browser.check("converged").await;
    browser.click(".hero button").await;
    browser.shows("Run requested.").await;
    browser.goto("/runs").await;
    browser
        .until(
            "a run of this trigger",
            "return document.querySelector('[data-live=runs]').textContent.includes('request')",
        )
        .await;
    browser.check("runs").await;
    runs_and_changes(&browser).await;
    browser.check_keyboard().await;

    let cookies = "return document.cookie";
    assert_eq!(
        browser.script(cookies).await,
        json!(""),
        "no script sees the session"
    );
    browser.click(".account button").await;
    browser.find(".account a").await;

    // An open page says so when the server stops responding.
    drop(daemon);
    browser.shows("This page may be out of date.").await;
    browser.check("no-answer").await;
    browser.client.close().await.expect("it closes");
}

/// From a bar of the chart to its run, the runs of one result, the undo roster of the first run, and the changes of all
/// runs.
async fn runs_and_changes(browser: &Browser) {
    browser.enter_by_keyboard("a.bar").await;
    browser.find("#downloads").await;
    browser.goto("/runs").await;
    browser.click("#result option:nth-of-type(4)").await;
    browser.click(".filter button").await;
    browser.shows("Clear filter").await;
    let results = "const rows = [...document.querySelectorAll('[data-live=runs] > .scroll tbody tr')];
        return rows.length > 0 && rows.every((row) => row.querySelector('.badge').textContent === 'held')";
    browser.until("only runs that held changes", results).await;
    browser.goto("/runs/1").await;
    browser.click("#downloads a[href$='/undo']").await;
    browser.find("#download-undo").await;
    browser.check("undo").await;
    browser.goto("/changes?email=user000").await;
    browser.shows("18 changes, newest first").await;
    browser.check("changes").await;
}

/// What the next run would do, then what a file would do that is dropped onto the page, and one that is chosen. Ends
/// where the changes that are held can be approved.
async fn preview(browser: &Browser, world: &World) {
    browser.goto("/").await;
    browser.click(".hero a[href='/preview']").await;
    browser.shows("Would be held by policy.max_removals").await;
    browser.shows("10 removals exceed the limit").await;
    browser.check("preview").await;
    let dropped = "
        const transfer = new DataTransfer();
        transfer.items.add(new File(['email\\n'], 'dropped.csv'));
        const drop = new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.querySelector('[data-drop]').dispatchEvent(drop);
        return document.querySelector('#upload').files[0]?.name";
    assert_eq!(browser.script(dropped).await, "dropped.csv");
    let file = world.folder.path().join("draft.csv");
    let rows = format!(
        "op,email,display_name\nupsert,user0029@example.com,{}\nupsrt,user0028@example.com,Name\n",
        "a long name ".repeat(50)
    );
    std::fs::write(&file, rows).expect("written");
    let before = world.org().requests().len();
    let field = browser.find("#upload").await;
    let path = file.to_str().expect("text");
    field.send_keys(path).await.expect("a file");
    browser.click("[data-drop] button").await;
    browser.shows("Preview of draft.csv").await;
    browser.shows("draft.csv:3").await;
    browser.shows("a long name a long name").await;
    browser.check("preview-file").await;
    assert_eq!(world.org().requests().len(), before, "no request to Omni");
    browser.goto("/").await;
    browser.find("#approve").await;
}

/// `[run, applied, failed, held]` of each run that has ended.
async fn pictured(world: &World) -> Vec<[u64; 4]> {
    use omni_user_sync::model::RunState;
    let runs = world.state_db().runs(50).await.expect("they are read");
    let ended = runs.iter().rev().filter_map(|run| match &run.state {
        RunState::Ended(end) => Some([run.number.0, end.applied, end.failed, end.held]),
        RunState::Open | RunState::Interrupted => None,
    });
    ended.collect()
}

/// Without the script everything is there, and everything can be done.
async fn walk_without_script(driver: u16) {
    let window = window("no-script", 1280, 900, false, false);
    let (world, _daemon, base) = daemon().await;
    world.roster(&roster(10));
    let browser = Browser::open(driver, window, &base).await;
    let off = json!({ "value": true });
    browser
        .chromium("Emulation.setScriptExecutionDisabled", off)
        .await;
    let asking = async {
        loop {
            browser.goto("/").await;
            let heading = browser.find("#state").await.text().await.expect("text");
            if heading.starts_with("10 changes are held") {
                return;
            }
        }
    };
    tokio::time::timeout(GENEROUS, asking)
        .await
        .expect("it is held");
    browser.click("#approve-log-in").await;
    let token = browser.find("#token").await;
    token
        .send_keys(&format!("{TOKEN}\u{e007}"))
        .await
        .expect("keys");
    browser.click("#approve").await;
    browser.click("#confirm").await;
    let said = browser
        .find(".notice:not([hidden])")
        .await
        .text()
        .await
        .expect("text");
    assert!(said.starts_with("Approved."), "{said}");
    browser.client.close().await.expect("it closes");
}

/// All that can be done, without a mouse.
async fn walk_by_keyboard(driver: u16) {
    let window = window("keyboard", 1280, 900, false, false);
    let (world, _daemon, base) = daemon().await;
    world.roster(&roster(10));
    let browser = Browser::open(driver, window, &base).await;
    browser.goto("/").await;
    browser
        .shows("10 changes are held and waiting for approval.")
        .await;
    browser.enter_by_keyboard("#approve-log-in").await;
    browser.find("#token").await;
    // The field has the focus already.
    browser.press(&format!("{TOKEN}\u{e007}")).await;
    browser.enter_by_keyboard("#approve").await;
    browser.enter_by_keyboard("#confirm").await;
    browser.shows("Approved by web from 127.0.0.1").await;
    browser.goto("/").await;
    browser.enter_by_keyboard(".hero form button").await;
    browser.shows("Run requested.").await;
    browser.goto("/users/user0029@example.com").await;
    browser.enter_by_keyboard("#ask").await;
    browser.shows("In sync: no change needed.").await;
    let gone = async {
        while world.write_counts().get("DELETE") != Some(&10) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(GENEROUS, gone).await;
    gone.expect("what was approved is done");
    browser.client.close().await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_page_in_a_browser() {
    let port = free_port();
    let _driver = start(Command::new("chromedriver").arg(format!("--port={port}")));
    listening(port).await;
    for window in WINDOWS {
        walk(port, window).await;
    }
    walk_without_script(port).await;
    walk_by_keyboard(port).await;
}
