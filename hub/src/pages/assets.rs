//! Scripts and styles of the pages. They are compiled in, and stand below a folder that is named after their contents:
//! a browser keeps them for good, and a new hub's page never runs with an old hub's scripts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// (name, text).
type Asset = (&'static str, &'static str);

macro_rules! assets {
    ($($name:literal from $path:literal),* $(,)?) => {
        &[$(($name, include_str!($path))),*]
    };
}

const ASSETS: &[Asset] = assets![
    "style.css" from "style.css",
    "query.css" from "query/style.css",
    "theme.js" from "theme.js",
    "home.js" from "home.js",
    "icon.svg" from "icon.svg",
    "api.js" from "query/api.js",
    "chart.js" from "query/chart.js",
    "clock.js" from "query/clock.js",
    "colours.js" from "query/colours.js",
    "complete.js" from "query/complete.js",
    "dom.js" from "query/dom.js",
    "editor.js" from "query/editor.js",
    "history.js" from "query/history.js",
    "legend.js" from "query/legend.js",
    "missing.js" from "query/missing.js",
    "main.js" from "query/main.js",
    "notes.js" from "query/notes.js",
    "numbers.js" from "query/numbers.js",
    "panel.js" from "query/panel.js",
    "promql.js" from "query/promql.js",
    "state.js" from "query/state.js",
    "suggestions.js" from "query/suggestions.js",
    "table.js" from "query/table.js",
    "time.js" from "query/time.js",
];

/// Changes with any of them.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    ASSETS.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});

/// Where the page finds an asset: relative, so that a proxy may serve the hub below a path.
pub(super) fn address(name: &str) -> String {
    format!("assets/{}/{name}", *VERSION)
}

/// The modules that a script needs: all that stand in the folder of the query page, which are loaded at once.
pub(super) fn query_modules() -> impl Iterator<Item = &'static str> {
    let pages_own = ["theme.js", "home.js"];
    ASSETS
        .iter()
        .map(|(name, _)| *name)
        .filter(move |name| name.ends_with(".js") && !pages_own.contains(name))
}

/// `/assets/VERSION/NAME`.
pub(crate) async fn asset(Path((version, name)): Path<(String, String)>) -> Response {
    let found = ASSETS.iter().find(|(known, _)| *known == name);
    let Some((_, text)) = found.filter(|_| version == *VERSION) else {
        let why = "no such file: this hub has another version of its pages, load the page anew\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        // For this browser alone: the hub may ask for a password.
        (
            header::CACHE_CONTROL,
            "private, max-age=31536000, immutable",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, *text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `from './x.js'` of a module.
    fn imports(text: &str) -> Vec<&str> {
        text.lines()
            .filter(|line| line.starts_with("import "))
            .filter_map(|line| line.split("'./").nth(1)?.split('\'').next())
            .collect()
    }

    #[test]
    fn every_module_that_is_imported_is_there() {
        let there: Vec<&str> = query_modules().collect();
        let mut seen = 0;
        for (name, text) in ASSETS {
            for import in imports(text) {
                assert!(there.contains(&import), "{name} imports {import}");
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen} imports found");
    }

    #[test]
    fn every_module_of_the_query_page_is_imported() {
        let used: Vec<&str> = ASSETS.iter().flat_map(|(_, text)| imports(text)).collect();
        for name in query_modules().filter(|name| *name != "main.js") {
            assert!(used.contains(&name), "nobody imports {name}");
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (name, text) in ASSETS {
            for (at, _) in text.match_indices("//") {
                let before = text[..at].chars().next_back();
                let namespace = text[at..].starts_with("//www.w3.org/2000/svg");
                assert!(
                    before != Some(':') || namespace,
                    "{name}: an address outside: {}",
                    &text[at..(at + 40).min(text.len())]
                );
            }
        }
    }

    #[test]
    fn all_of_it_is_small() {
        let bytes: usize = ASSETS.iter().map(|(_, text)| text.len()).sum();
        assert!(bytes < 100_000, "{bytes} bytes before compression");
    }
}
