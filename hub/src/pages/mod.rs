//! The pages for people: the branches at `/`, and a query form at `/query`. Server-made HTML; a few lines of
//! script fetch it anew or ask the API. No asset comes from elsewhere.

mod home;
mod query;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(crate) use home::{Home, home};
pub(crate) use query::query;

const STYLE: &str = include_str!("style.css");

/// What every page has around its content.
fn page(title: &str, script: &'static str, content: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Branchline" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    a.brand href="/" { "Branchline" }
                    nav {
                        a href="/" { "Branches" }
                        a href="/query" { "Query" }
                        a href="/api/v1/rules" { "Rules" }
                        a href="/api/v1/alerts" { "Alerts" }
                        a href="/metrics" { "Metrics" }
                    }
                }
                main { (content) }
                script { (PreEscaped(script)) }
            }
        }
    };
    (
        [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
        markup.into_string(),
    )
        .into_response()
}
