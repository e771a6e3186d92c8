//! A real browser: headless Chromium, driven by WebDriver, which is HTTP and JSON. Each has a new, empty profile, so nothing of an
//! earlier test or of a person is in it; `tests/run` brings the programs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::peers::Chromium;
use crate::process::{Process, free_address};
use crate::wait;

/// For one command: opening a page on a busy machine is the slowest.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
/// For what a page is to show.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// Headless, alone, and quiet: it asks nobody but the server under test.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];

/// What WebDriver calls a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that are no letters, as WebDriver writes them.
pub mod key {
    /// The same keys are in WebDriver's specification, "Keyboard actions".
    pub const ENTER: &str = "\u{e007}";
    /// Ends a list.
    pub const ESCAPE: &str = "\u{e00c}";
    /// Held until [`RELEASE`].
    pub const CONTROL: &str = "\u{e009}";
    /// Held until [`RELEASE`].
    pub const ALT: &str = "\u{e00a}";
    /// Lets go of all that are held.
    pub const RELEASE: &str = "\u{e000}";
    /// One up.
    pub const UP: &str = "\u{e013}";
    /// One down.
    pub const DOWN: &str = "\u{e015}";
    /// Takes the letter before the cursor away.
    pub const BACKSPACE: &str = "\u{e003}";
}

/// A browser with one session. It ends with the test.
pub struct Browser {
    runtime: Runtime,
    client: reqwest::Client,
    /// Of the session.
    base: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; its log lies in `folder`.
    ///
    /// # Panics
    /// When it does not start, or no browser is there: ask [`crate::peers::browser_is_there`] first.
    pub fn start(folder: &Path) -> Self {
        let chromium = Chromium::find().expect("a browser: run tests/run --peers");
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let address = free_address();
        let port = address.rsplit(':').next().unwrap_or_default();
        let mut command = Command::new(&chromium.driver);
        command.arg(format!("--port={port}"));
        if let Some(libraries) = &chromium.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let driver = Process::start("chromedriver", folder, &mut command);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = daemon::http::client(&daemon::http::ClientOptions {
            timeout: Some(COMMAND_WITHIN),
            ..Default::default()
        });
        let mut browser = Browser {
            runtime,
            client: client.expect("a client"),
            base: format!("http://{address}"),
            _driver: driver,
            _profile: profile,
        };
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).to_vec();
        let profile = browser._profile.path().display();
        arguments.push(format!("--user-data-dir={profile}"));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments, "binary": chromium.browser},
        }}});
        let session = wait::until(COMMAND_WITHIN, "a browser", || {
            browser.call("POST", "/session", &wanted)
        });
        let id = session["sessionId"].as_str().expect("a session");
        browser.base = format!("http://{address}/session/{id}");
        browser
    }

    /// One command of WebDriver.
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let method = method.parse().map_err(|_| "no method".to_owned())?;
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if !body.is_null() {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_string());
        }
        let text = self.runtime.block_on(async {
            let answer = request.send().await.map_err(|error| error.to_string())?;
            answer.text().await.map_err(|error| error.to_string())
        })?;
        let mut answer: Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!(
                "{error}: {}",
                value["message"].as_str().unwrap_or("")
            )),
            None => Ok(value),
        }
    }

    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    /// Opens an address.
    ///
    /// # Panics
    /// When it cannot be loaded.
    pub fn open(&self, url: &str) {
        self.must("POST", "/url", &json!({"url": url}));
    }

    /// The address that is shown.
    ///
    /// # Panics
    /// When the browser does not tell.
    pub fn address(&self) -> String {
        let address = self.must("GET", "/url", &Value::Null);
        address.as_str().unwrap_or_default().to_owned()
    }

    /// The browser's own way back.
    ///
    /// # Panics
    /// When it cannot.
    pub fn back(&self) {
        self.must("POST", "/back", &json!({}));
    }

    /// Opens another window and goes on there.
    ///
    /// # Panics
    /// When it cannot.
    pub fn new_window(&self) {
        let window = self.must("POST", "/window/new", &json!({"type": "window"}));
        self.must("POST", "/window", &json!({"handle": window["handle"]}));
    }

    /// Runs a script's body (`arguments` holds the arguments) and gives what it returns, promises awaited.
    ///
    /// # Panics
    /// When it throws.
    pub fn script(&self, body: &str, arguments: &[Value]) -> Value {
        self.must(
            "POST",
            "/execute/sync",
            &json!({"script": body, "args": arguments}),
        )
    }

    fn element(&self, css: &str) -> String {
        let found = wait::until(SHOWN_WITHIN, css, || {
            self.call(
                "POST",
                "/element",
                &json!({"using": "css selector", "value": css}),
            )
        });
        let id = found.as_object().and_then(|object| object.values().next());
        id.and_then(Value::as_str).expect("an element").to_owned()
    }

    /// Clicks the first element that a selector finds, as soon as it can be clicked.
    ///
    /// # Panics
    /// When there is none to click.
    pub fn click(&self, css: &str) {
        wait::until(SHOWN_WITHIN, css, || {
            let path = format!("/element/{}/click", self.element(css));
            self.call("POST", &path, &json!({}))
        });
    }

    /// Types into the first element that a selector finds; [`key`] has those that are no letters.
    ///
    /// # Panics
    /// When there is none.
    pub fn type_into(&self, css: &str, text: &str) {
        let path = format!("/element/{}/value", self.element(css));
        self.must("POST", &path, &json!({"text": text}));
    }

    /// Presses the pointer on an element at one place, moves it to another, and lets go: both are parts of its width, 0 to 1.
    ///
    /// # Panics
    /// When there is no such element.
    pub fn drag(&self, css: &str, from: f64, to: f64) {
        // A page may draw the element anew meanwhile: then once more.
        wait::until(SHOWN_WITHIN, css, || {
            let element = self.element(css);
            let size = self.call("GET", &format!("/element/{element}/rect"), &Value::Null)?;
            let width = size["width"].as_f64().ok_or("no width")?;
            // From the middle of the element.
            let at = |part: f64| {
                let x = ((part - 0.5) * width) as i64;
                json!({"type": "pointerMove", "duration": 50, "x": x, "y": 0, "origin": {ELEMENT: element}})
            };
            let steps = json!([
                at(from), {"type": "pointerDown", "button": 0},
                at((from + to) / 2.0), at(to), {"type": "pointerUp", "button": 0},
            ]);
            let pointer = json!({"type": "pointer", "id": "mouse", "actions": steps});
            self.call("POST", "/actions", &json!({"actions": [pointer]}))
        });
    }

    /// The visible text of every element that a selector finds.
    pub fn texts(&self, css: &str) -> Vec<String> {
        let body = "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).map(e => e.innerText.trim())";
        let texts = self.script(body, &[json!(css)]);
        let texts = texts.as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Waits until one of the elements that a selector finds has this in its visible text, and gives it whole.
    ///
    /// # Panics
    /// When none gets it.
    pub fn wait_for(&self, css: &str, part: &str) -> String {
        wait::until(SHOWN_WITHIN, &format!("{part:?} in {css}"), || {
            let texts = self.texts(css);
            let found = texts.iter().find(|text| text.contains(part)).cloned();
            found.ok_or_else(|| format!("{texts:?}"))
        })
    }

    /// What the page complained of since the last look: errors of scripts, files that were not there, what the policy forbade.
    ///
    /// # Panics
    /// When the browser does not tell.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.must("POST", "/se/log", &json!({"type": "browser"}));
        let log = log.as_array().into_iter().flatten();
        log.filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| entry["message"].as_str().unwrap_or("?").to_owned())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The session's end is what ends the browser's processes; the driver is ended after it.
        let _ = self.call("DELETE", "", &Value::Null);
    }
}
