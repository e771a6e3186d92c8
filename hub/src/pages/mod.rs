//! The pages for people: the branches at `/`, and the query page at `/query`. Server-made HTML with scripts and styles
//! of the hub's own; no asset comes from elsewhere, and no page may run anything else.

mod assets;
mod home;
mod query;
mod words;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

pub(crate) use assets::asset;
pub(crate) use home::{Home, home};
pub(crate) use query::query;
pub(crate) use words::words;

/// Only what the hub itself serves, no script within a page, no page within another's.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What one page has that others have not.
struct Page<'a> {
    title: &'a str,
    /// Its script, a module.
    script: &'a str,
    /// Beside the one that all have.
    style: Option<&'a str>,
    /// Modules that the script will ask for: fetched with it, not one after the other.
    modules: Vec<&'static str>,
}

impl Page<'_> {
    /// What every page has around its content. Addresses are relative, so that a proxy may serve the hub below a path.
    fn response(&self, content: &Markup) -> Response {
        let nav = [
            ("./", "Branches", self.title == "Branches"),
            ("query", "Query", self.title == "Query"),
            ("api/v1/rules", "Rules", false),
            ("api/v1/alerts", "Alerts", false),
            ("metrics", "Metrics", false),
        ];
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) " · Branchline" }
                    link rel="icon" href=(assets::address("icon.svg")) type="image/svg+xml";
                    link rel="stylesheet" href=(assets::address("style.css"));
                    @if let Some(style) = self.style { link rel="stylesheet" href=(assets::address(style)); }
                    // Not a module: it runs before the page is painted, or a dark page would flash.
                    script src=(assets::address("theme.js")) {}
                    @for module in &self.modules { link rel="modulepreload" href=(assets::address(module)); }
                    script type="module" src=(assets::address(self.script)) {}
                }
                body {
                    header {
                        a.brand href="./" { "Branchline" }
                        nav {
                            @for (address, name, here) in nav {
                                a href=(address) aria-current=[here.then_some("page")] { (name) }
                            }
                        }
                        button.quiet #theme title="Light or dark" { "Theme" }
                    }
                    main { (content) }
                }
            }
        };
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // Addresses hold expressions: nobody else's business.
            (header::REFERRER_POLICY, "same-origin"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, markup.into_string()).into_response()
    }
}
