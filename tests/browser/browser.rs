//! A browser with one window, driven by WebDriver.

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// More than any of this should take.
pub const GENEROUS: Duration = Duration::from_secs(60);

/// A window of a person.
#[derive(Clone, Copy)]
pub struct Window {
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
    pub is_phone: bool,
    pub is_dark: bool,
}

pub const fn window(
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
pub struct Browser {
    pub client: Client,
    pub window: Window,
    pub base: String,
}

impl Browser {
    pub async fn open(driver: u16, window: Window, base: &str) -> Self {
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
        let zone = json!({ "timezoneId": "Asia/Dubai" });
        browser
            .chromium("Emulation.setTimezoneOverride", zone)
            .await;
        browser
    }

    pub async fn chromium(&self, cmd: &'static str, params: Value) -> Value {
        let said = self.client.issue_cmd(Chromium { cmd, params }).await;
        said.unwrap_or_else(|error| panic!("{cmd}: {error}"))
    }

    pub async fn goto(&self, path: &str) {
        let address = format!("{}{path}", self.base);
        self.client.goto(&address).await.expect("a page");
    }

    /// Waits for something to be there.
    pub async fn find(&self, css: &str) -> fantoccini::elements::Element {
        let waiting = self.client.wait().at_most(GENEROUS);
        let found = waiting.for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{}: {css}: {error}", self.window.name))
    }

    /// Clicks, also where the script puts a fresh one in its place meanwhile.
    pub async fn click(&self, css: &str) {
        let clicking = async {
            while self.find(css).await.click().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let clicked = tokio::time::timeout(GENEROUS, clicking).await;
        clicked.unwrap_or_else(|_| panic!("{}: {css} can't be clicked", self.window.name));
    }

    /// Waits until a script says yes.
    pub async fn until(&self, what: &str, script: &str) {
        let asking = async {
            while self.script(script).await != Value::Bool(true) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(GENEROUS, asking).await.is_err() {
            let shown = self.script("return document.body.innerText").await;
            panic!("{}: never {what}, but {shown}", self.window.name);
        }
    }

    /// Waits until the page shows a text.
    pub async fn shows(&self, text: &str) {
        let script = format!("return document.body.innerText.includes({})", json!(text));
        self.until(text, &script).await;
    }

    /// What a script in the page says. Between two pages it says nothing.
    pub async fn script(&self, script: &str) -> Value {
        let said = self.client.execute(script, Vec::new()).await;
        said.unwrap_or(Value::Null)
    }

    /// What must hold for each page: nothing sticks out of the window, everything has a name, and the
    /// browser had nothing to refuse.
    pub async fn check(&self, page: &str) {
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

    pub async fn picture(&self, page: &str) {
        let Some(folder) = std::env::var_os("SCREENSHOTS") else {
            return;
        };
        let picture = self.client.screenshot().await.expect("a picture");
        let file = Path::new(&folder).join(format!("{}-{page}.png", self.window.name));
        std::fs::write(file, picture).expect("written");
    }

    /// Presses a key, wherever the focus is.
    pub async fn press(&self, key: &str) {
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
    pub async fn enter_by_keyboard(&self, css: &str) {
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
    pub async fn check_keyboard(&self) {
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
