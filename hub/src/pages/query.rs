use axum::response::Response;
use maud::html;
use model::Timestamp;

use super::{Page, assets};

/// (keys, what they do).
const KEYS: [(&str, &str); 10] = [
    ("Enter", "Run the query; Shift+Enter begins a new line"),
    ("Ctrl+Space", "What may stand here; Enter or Tab takes it"),
    ("↑ ↓", "Earlier and later expressions"),
    ("Esc", "Close the list"),
    ("Alt+Enter", "Add a query"),
    ("Alt+PageUp, Alt+PageDown", "Earlier, later"),
    ("/", "To the expression"),
    ("?", "This list"),
    (
        "Drag in a graph",
        "Zoom into that time; a double click shows twice as much",
    ),
    (
        "Click in the legend",
        "This line alone; with Ctrl, without it",
    ),
];

/// The query page: the scripts of `query/` do the work, with the hub's API.
/// `now` is the hub's clock, which the page goes by.
pub(crate) fn query(now: Timestamp) -> Response {
    let content = html! {
        div #query data-now=(now.millis() as f64 / 1000.0) {}
        noscript { p.box.error { "This page asks the API by script, which this browser has switched off. " code { "/api/v1/query" } " answers without." } }
        dialog #keys {
            form method="dialog" {
                h2 { "Keys" }
                dl { @for (keys, meaning) in KEYS { dt { kbd { (keys) } } dd { (meaning) } } }
                button { "Close" }
            }
        }
    };
    let page = Page {
        title: "Query",
        script: "main.js",
        style: Some("query.css"),
        modules: assets::query_modules().collect(),
    };
    page.response(&content)
}
