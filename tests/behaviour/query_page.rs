//! The query page in a real browser, as a person uses it: type, complete, run, look at table and graph, share the link, go back.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tests::browser::{Browser, key};
use tests::peers::browser_is_there;
use tests::remote_write::{self, series};
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::{http, wait};
use wire::remote_write::encode;
use wire::remote_write::proto::{MetricMetadata, MetricType, WriteRequest};

const FIELD: &str = ".editor textarea";
const WITHIN: Duration = Duration::from_secs(30);

struct Page {
    hub: Service,
    browser: Browser,
}

impl Page {
    /// A hub with two hours of calls in six offices, and a browser.
    fn open(folder: &Path) -> Self {
        let hub = Service::hub(&folder.join("hub")).start();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs() as i64;
        let points: Vec<(i64, f64)> = (0..480)
            .map(|n| ((now - 7200 + n * 15) * 1000, n as f64))
            .collect();
        let mut timeseries = Vec::new();
        for (branch, site) in [
            ("b01", "Lyon"),
            ("b02", "Porto"),
            ("b03", "Köln (Süd)"),
            ("b04", "Lyon"),
        ] {
            let labels = [
                ("__name__", "office_calls_total"),
                ("branch", branch),
                ("site", site),
            ];
            timeseries.push(series(&labels, &points));
        }
        timeseries.push(series(&[("__name__", "http.requests")], &points));
        let body = encode(&WriteRequest {
            timeseries,
            metadata: vec![MetricMetadata {
                r#type: MetricType::Counter as i32,
                metric_family_name: "office_calls_total".to_owned(),
                help: "Calls that an office has taken.".to_owned(),
                unit: String::new(),
            }],
        });
        let answer = remote_write::send(&hub.url("/api/v1/write"), None, &body);
        assert_eq!(answer.expect("an answer").status, 204);
        let browser = Browser::start(folder);
        // Until the last sample, however slow the test is.
        browser.open(&hub.url(&format!("/query?g0.expr=&g0.end_input={now}")));
        Page { hub, browser }
    }

    fn text(&self) -> String {
        let text = self.browser.script(
            "return document.querySelector(arguments[0]).value",
            &[json!(FIELD)],
        );
        text.as_str().expect("a text").to_owned()
    }

    /// Replaces the expression, without running it.
    fn write(&self, text: &str) {
        let all = format!("{}a{}{}", key::CONTROL, key::RELEASE, key::BACKSPACE);
        self.browser.type_into(FIELD, &format!("{all}{text}"));
    }

    fn run(&self, text: &str) {
        self.write(&format!("{text}{}{}", key::ESCAPE, key::ENTER));
    }

    fn wait_text(&self, expected: &str) {
        wait::until(WITHIN, "the expression", || match self.text() {
            text if text == expected => Ok(()),
            text => Err(text),
        });
    }

    /// Offers for what is typed, once this one is among them.
    fn offers(&self, text: &str, among_them: &str) -> Vec<String> {
        self.write(text);
        self.browser.wait_for(".offers li span", among_them);
        self.browser.texts(".offers li span")
    }

    /// How many dots of the graph have a colour of their own: those of lines.
    fn coloured_dots(&self) -> u64 {
        let dots = self.browser.script(
            "const c = document.querySelector('canvas');
             if (!c) return null;
             const {data} = c.getContext('2d').getImageData(0, 0, c.width, c.height);
             let dots = 0;
             for (let i = 0; i < data.length; i += 4) {
               const [r, g, b, a] = data.slice(i, i + 4);
               if (a > 100 && Math.max(r, g, b) - Math.min(r, g, b) > 80) dots++;
             }
             return dots;",
            &[],
        );
        dots.as_u64().expect("a number")
    }

    /// Nothing was forbidden, missing or thrown, but for what the hub refused on purpose.
    fn no_complaints(&self, refused: bool) {
        let mut complaints = self.browser.complaints();
        complaints.retain(|text| !(refused && text.contains("status of 4")));
        // That is this test, which reads the graph's dots.
        complaints.retain(|text| !text.contains("getImageData"));
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

#[test]
fn type_complete_run_and_share() {
    if !browser_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let page = Page::open(folder.path());
    let browser = &page.browser;
    // Examples stand there for a start.
    browser.wait_for(".example", "up == 0");
    page.offers("sum by (site) (rate(office_ca", "office_calls_total");
    browser.wait_for(".offers .help", "Calls that an office has taken.");
    browser.type_into(FIELD, key::ENTER);
    page.wait_text("sum by (site) (rate(office_calls_total");
    browser.type_into(FIELD, &format!("[5m])){}", key::ENTER));
    // The graph: three sites, 1 call in 15 seconds each, two offices in Lyon.
    browser.wait_for(".legend button", "Köln (Süd)");
    assert_eq!(browser.texts(".legend button").len(), 3);
    browser.wait_for(".legend .last", "0.1333");
    wait::until_true(WITHIN, "lines in the graph", || page.coloured_dots() > 500);
    let shown = browser.script(
        "return document.querySelector('canvas').ariaLabel ?? document.querySelector('canvas').getAttribute('aria-label')",
        &[],
    );
    assert!(
        shown
            .as_str()
            .is_some_and(|text| text.starts_with("3 series from"))
    );
    // One line alone, and all again.
    let all = page.coloured_dots();
    browser.click(".legend button");
    wait::until_true(WITHIN, "one line", || page.coloured_dots() < all);
    // The table.
    browser.click("[data-tab=table]");
    browser.wait_for("table.result td", "Porto");
    assert_eq!(browser.texts("table.result tbody tr").len(), 3);
    let first = || browser.texts("table.result tbody tr").first().cloned();
    browser.click("table.result th.number button");
    wait::until_true(WITHIN, "the largest first", || {
        first().is_some_and(|row| row.contains("Lyon"))
    });
    // The link, in another window.
    let link = browser.address();
    browser.new_window();
    browser.open(&link);
    browser.wait_for("table.result td", "Porto");
    page.wait_text("sum by (site) (rate(office_calls_total[5m]))");
    // Prometheus's form of links, as alerts carry it.
    browser.open(&page.hub.url("/graph?g0.expr=office_calls_total&g0.tab=1"));
    browser.wait_for("table.result td", "b04");
    page.no_complaints(false);
}

#[test]
fn completion_knows_where_it_is() {
    if !browser_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let page = Page::open(folder.path());
    let browser = &page.browser;
    let labels = page.offers("office_calls_total{", "branch");
    assert_eq!(labels, ["branch", "site"]);
    // Values of the series that fit so far, and no others.
    let values = page.offers("office_calls_total{site=\"Lyon\",branch=\"", "b01");
    assert_eq!(values, ["b01", "b04"]);
    browser.type_into(FIELD, &format!("{}{}", key::DOWN, key::ENTER));
    page.wait_text("office_calls_total{site=\"Lyon\",branch=\"b04\"");
    // In a regular expression a value's signs mean themselves.
    page.offers("office_calls_total{site=~\"K", "Köln (Süd)");
    browser.type_into(FIELD, key::ENTER);
    page.wait_text("office_calls_total{site=~\"Köln \\\\(Süd\\\\)\"");
    let labels = page.offers("sum(office_calls_total) by (", "site");
    assert_eq!(labels, ["branch", "site"]);
    assert!(
        page.offers("rate(office_calls_total[", "5m")
            .contains(&"1h".to_owned())
    );
    // Functions, with their signatures.
    page.offers("rat", "rate");
    browser.wait_for(".offers .help code", "rate(range vector) → instant vector");
    browser.type_into(FIELD, key::ENTER);
    page.wait_text("rate()");
    // Names that only quotes can write.
    page.offers("http.req", "http.requests");
    browser.type_into(FIELD, key::ENTER);
    page.wait_text("{\"http.requests\"}");
    // A whole word runs at once, and Escape closes the list.
    page.offers("office_calls_total", "office_calls_total");
    browser.type_into(FIELD, key::ENTER);
    browser.wait_for(".legend button", "b01");
    page.offers("office", "office_calls_total");
    browser.type_into(FIELD, key::ESCAPE);
    assert!(browser.texts(".offers").is_empty());
    // Asked for where anything may stand.
    page.write(&format!("{}{} {}", key::ESCAPE, key::CONTROL, key::RELEASE));
    browser.wait_for(".offers li span", "office_calls_total");
    page.no_complaints(true);
}

#[test]
fn mistakes_and_warnings_are_marked_where_they_are() {
    if !browser_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let page = Page::open(folder.path());
    let browser = &page.browser;
    // Columns count bytes: ö and ü are two each.
    page.run("office_calls_total{site=\"Köln (Süd)\"} oops");
    let error = browser.wait_for(".box.error", "parse error");
    assert!(
        error.contains("1:41: parse error: unexpected identifier \"oops\""),
        "{error}"
    );
    assert_eq!(browser.texts(".copy .marked-error"), ["oops"]);
    assert_eq!(browser.texts(".box.error .marked-error"), ["oops"]);
    // The mark goes with the mistake, and a second line has its own columns.
    page.run("office_calls_total");
    browser.wait_for(".legend button", "b01");
    assert!(browser.texts(".marked-error").is_empty());
    let lines = format!("sum(\u{e008}{}\u{e008}  nothing oops)", key::ENTER);
    page.run(&lines);
    browser.wait_for(".box.error", "2:11: parse error");
    assert_eq!(browser.texts(".copy .marked-error"), ["oops"]);
    // A warning comes with the answer, and says which part it is about.
    page.run("histogram_quantile(0.9, office_calls_total)");
    let warning = browser.wait_for(".box.warning", "bucket label");
    assert!(warning.contains("\"le\""), "{warning}");
    assert_eq!(
        browser.texts(".copy .marked-warning"),
        ["office_calls_total"]
    );
    // So does an info; the answer is there all the same.
    page.run("rate(http_gauge[5m]) or rate({\"http.requests\"}[5m])");
    browser.wait_for(".box.info", "might not be a counter");
    browser.wait_for(".legend button", "{}");
    // What cannot be drawn over time says so.
    page.run("office_calls_total[5m]");
    browser.wait_for(".box.error", "invalid expression type");
    page.no_complaints(true);
}

#[test]
fn back_in_both_histories() {
    if !browser_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let page = Page::open(folder.path());
    let browser = &page.browser;
    page.run("count(office_calls_total)");
    browser.wait_for(".legend .last", "4");
    page.run("sum(office_calls_total)");
    browser.wait_for(".legend .last", "1916");
    // The browser's: the page as it was.
    browser.back();
    page.wait_text("count(office_calls_total)");
    browser.wait_for(".legend .last", "4");
    // The expressions': from the last one on, and back to what was being written.
    page.write(&format!("draft{}{}{}", key::ESCAPE, key::UP, key::UP));
    page.wait_text("count(office_calls_total)");
    browser.type_into(FIELD, &format!("{}{}", key::DOWN, key::DOWN));
    page.wait_text("draft");
    // They are kept in the browser, and found.
    browser.open(&page.hub.url("/query"));
    browser.click(".history summary");
    browser.wait_for(".history li", "sum(office_calls_total)");
    browser.type_into(".history input", "COUNT");
    wait::until_true(WITHIN, "one found", || {
        browser.texts(".history li").len() == 2
    });
    browser.click(".history li button");
    browser.wait_for(".legend .last", "4");
    page.no_complaints(false);
}

#[test]
fn panels_share_a_time_that_can_be_chosen() {
    if !browser_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut page = Page::open(folder.path());
    let browser = &page.browser;
    page.run("office_calls_total");
    browser.wait_for(".stats", "4 series · step 15s");
    browser.type_into(
        FIELD,
        &format!("{}{}{}", key::ALT, key::ENTER, key::RELEASE),
    );
    let second = ".panel:nth-child(2) textarea";
    browser.type_into(second, &format!("sum(office_calls_total){}", key::ENTER));
    browser.wait_for(".panel:nth-child(2) .stats", "1 series");
    // Both follow the range and the step.
    browser.type_into(
        "#range",
        &format!("{}a{}2h{}", key::CONTROL, key::RELEASE, key::ENTER),
    );
    browser.type_into("#step", &format!("2m{}", key::ENTER));
    browser.wait_for(".panel:nth-child(1) .stats", "step 2m");
    browser.wait_for(".panel:nth-child(2) .stats", "step 2m");
    // What cannot be read changes nothing.
    let before = browser.address();
    browser.type_into("#end", &format!("soon{}", key::ENTER));
    let refused = browser.script(
        "return document.querySelector('#end').validationMessage",
        &[],
    );
    assert!(
        refused
            .as_str()
            .is_some_and(|text| text.contains("2026-11-30")),
        "{refused}"
    );
    assert_eq!(browser.address(), before);
    browser.type_into(
        "#end",
        &format!(
            "{}a{}{}{}",
            key::CONTROL,
            key::RELEASE,
            key::BACKSPACE,
            key::ENTER
        ),
    );
    // A part of the graph becomes the time: about a third of two hours, until about two thirds of them.
    browser.drag("canvas", 0.4, 0.7);
    wait::until_true(WITHIN, "a shorter range", || {
        browser.address().contains("g0.end_input=")
    });
    let address = browser.address();
    let range = address
        .split("g0.range_input=")
        .nth(1)
        .and_then(|rest| rest.split('s').next());
    let range: f64 = range.and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1800.0..2700.0).contains(&range), "{range} s in {address}");
    // The link has it all.
    browser.new_window();
    browser.open(&address);
    browser.wait_for(".panel:nth-child(2) .stats", "step 2m");
    assert_eq!(browser.texts(".panel").len(), 2);
    page.no_complaints(false);
    // A hub that is gone is said.
    page.hub.kill_9();
    page.browser.click(".run");
    page.browser
        .wait_for(".box.error", "the hub does not answer");
}

#[test]
fn light_dark_and_nothing_from_elsewhere() {
    if !browser_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let page = Page::open(folder.path());
    let browser = &page.browser;
    let paper = || {
        let colour = browser.script(
            "return getComputedStyle(document.body).backgroundColor",
            &[],
        );
        colour.as_str().expect("a colour").to_owned()
    };
    page.run("office_calls_total");
    browser.wait_for(".legend button", "b01");
    browser.click("#theme");
    browser.wait_for("#theme", "Light");
    let light = paper();
    browser.click("#theme");
    browser.wait_for("#theme", "Dark");
    let dark = paper();
    assert_ne!(light, dark);
    // Kept, and the same on the front page, which leads here.
    browser.open(&page.hub.url("/"));
    browser.wait_for("#theme", "Dark");
    assert_eq!(paper(), dark);
    browser.click("#branches a");
    browser.wait_for(".panel", "No data");
    assert!(page.text().starts_with("up{branch=\"b0"), "{}", page.text());
    page.no_complaints(false);
    // All came from the hub; and what is put into the page from outside does not run.
    let elsewhere = browser.script(
        "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin + '/'))",
        &[],
    );
    assert_eq!(elsewhere, json!([]));
    let ran = browser.script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.body.append(s); return window.ran ?? false",
        &[],
    );
    assert_eq!(ran, json!(false));
}

/// The hub behind a proxy below a path, where the ledger knows that an hour of b03 is pending: what the hub says of a branch's outage, without one.
fn with_an_outage(hub: &Service) -> Server {
    let base = hub.url("");
    Server::start(move |request| {
        let path = request.path.strip_prefix("/hub").unwrap_or("/none");
        if path.starts_with("/api/v1/federation/ledger") {
            assert!(
                path.contains("state=pending") && path.contains("end=1800000000"),
                "{path}"
            );
            let interval = |state: &str, start: &str, end: &str| json!({"state": state, "start": start, "end": end, "samples": 9, "reasons": []});
            let branches = json!([
                {"branch": "b03", "intervals": [interval("pending", "2027-01-15T07:00:00Z", "2027-01-15T07:30:00Z")]},
                {"branch": "b04", "intervals": [interval("lost", "2027-01-15T07:30:00Z", "2027-01-15T07:45:00Z")]},
            ]);
            let body = json!({"status": "success", "data": {"branches": branches}});
            return Answer {
                status: 200,
                content_type: "application/json",
                headers: Vec::new(),
                body: body.to_string(),
            };
        }
        let kind = request
            .header("content-type")
            .unwrap_or("text/plain")
            .to_owned();
        let headers = [("Content-Type", kind.as_str())];
        let url = format!("{base}{path}");
        let answer = http::send(&request.method, &url, &headers, &request.body).expect("an answer");
        let content_type = match answer.header("content-type").unwrap_or_default() {
            kind if kind.starts_with("text/html") => "text/html; charset=utf-8",
            kind if kind.starts_with("text/javascript") => "text/javascript; charset=utf-8",
            kind if kind.starts_with("text/css") => "text/css; charset=utf-8",
            kind if kind.starts_with("image/svg") => "image/svg+xml",
            _ => "application/json",
        };
        let mut body = answer.text();
        if path.starts_with("/api/v1/query_range") {
            let mut envelope: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            envelope["warnings"] = json!([
                "not all data of the branches in this range is there: b03 pending from 2027-01-15T07:00:00Z \
                to 2027-01-15T07:30:00Z (9 samples); all of it: /api/v1/federation/ledger?start=1799996400&end=1800000000"
            ]);
            body = envelope.to_string();
        }
        Answer {
            status: answer.status,
            content_type,
            headers: Vec::new(),
            body,
        }
    })
}

#[test]
fn an_outage_is_seen_where_it_was() {
    if !browser_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let page = Page::open(folder.path());
    let browser = &page.browser;
    let proxy = with_an_outage(&page.hub);
    let shown = "g0.range_input=3600s&g0.end_input=2027-01-15+08:00:00";
    // Dots of a state's colour on the line of the times, as parts of its width: from where to where.
    let ribbon = |colour: [u8; 3]| {
        let found = browser.script(
            "const c = document.querySelector('canvas');
             if (!c) return null;
             const {data} = c.getContext('2d').getImageData(0, c.height - Math.round(26 * devicePixelRatio), c.width, 1);
             const at = [];
             for (let x = 0; x < c.width; x++) if (arguments[0].every((part, n) => data[4 * x + n] === part)) at.push(x / c.width);
             return at.length ? [at[0], at.at(-1)] : null;",
            &[json!(colour)],
        );
        found.as_array().map(|ends| {
            (
                ends[0].as_f64().unwrap_or(-1.0),
                ends[1].as_f64().unwrap_or(-1.0),
            )
        })
    };
    const PENDING: [u8; 3] = [0xd9, 0xa5, 0x14];
    const LOST: [u8; 3] = [0xd1, 0x34, 0x3c];
    // vector(1), so that there is a graph whatever the time.
    browser.open(&proxy.url(&format!("/hub/query?g0.expr=vector(1)&{shown}")));
    let warning = browser.wait_for(".box.warning", "b03 pending from");
    assert!(warning.ends_with("end=1800000000"), "{warning}");
    let link = browser.script(
        "return document.querySelector('.box.warning a').pathname",
        &[],
    );
    assert_eq!(link, json!("/hub/api/v1/federation/ledger"));
    let (from, to) = wait::until(WITHIN, "a ribbon", || {
        ribbon(PENDING).ok_or("none".to_owned())
    });
    assert!(
        from < 0.1 && (0.45..0.55).contains(&to),
        "the first half of the hour: {from} to {to}"
    );
    let (from, to) = ribbon(LOST).expect("what was lost");
    assert!(
        (0.45..0.6).contains(&from) && (0.7..0.8).contains(&to),
        "{from} to {to}"
    );
    // Where the pointer is, the branch is named.
    browser.drag("canvas", 0.3, 0.3);
    browser.wait_for(".tip", "b03: pending");
    // An expression about one branch shows that one's.
    browser.open(&proxy.url(&format!(
        "/hub/query?g0.expr=vector(1)+unless+up{{branch=\"b04\"}}&{shown}"
    )));
    wait::until(WITHIN, "a ribbon", || ribbon(LOST).ok_or("none".to_owned()));
    assert_eq!(ribbon(PENDING), None);
}
