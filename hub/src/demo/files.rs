//! The demo's folder: every configuration is a file that can be read, copied and used.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

/// The rules that a real head office would start with too.
const RULES: &str = include_str!("../../../dashboards/rules/branches.yml");

/// Quicker ones, so that a short demo has something to show.
const DEMO_RULES: &str = include_str!("rules.yml");

/// A folder, removed at the end when it is a temporary one.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Folder {
    pub(super) fn make(given: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = given else {
            let temporary = tempfile::Builder::new()
                .prefix("branchline-demo-")
                .tempdir()
                .context("cannot make a temporary folder")?;
            return Ok(Folder {
                path: temporary.path().to_owned(),
                _temporary: Some(temporary),
            });
        };
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Folder {
            path: path.to_owned(),
            _temporary: None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The hub's configuration, its rules, and a token for each branch.
    pub(super) fn write_hub(&self, branches: &[String]) -> anyhow::Result<PathBuf> {
        let tokens: String = branches
            .iter()
            .map(|name| format!("    - {{name: {name}, token_file: ../{name}/token}}\n"))
            .collect();
        for name in branches {
            self.write(&format!("{name}/token"), &format!("{}\n", random_token()))?;
        }
        self.write("hub/rules/branches.yml", RULES)?;
        self.write("hub/rules/demo.yml", DEMO_RULES)?;
        self.write(
            "hub/hub.yml",
            &format!(
                "# The hub of the demo. Use it with: hub --config hub.yml --data-dir data\n\
                 global:\n  evaluation_interval: 5s\nrule_files: [rules/*.yml]\nbranchline:\n  branches:\n{tokens}"
            ),
        )
    }

    /// An edge's configuration: Prometheus's form.
    pub(super) fn write_edge(
        &self,
        name: &str,
        hub: SocketAddr,
        business: SocketAddr,
        interval: Duration,
    ) -> anyhow::Result<PathBuf> {
        let interval = model::duration::format(interval);
        self.write(
            &format!("{name}/edge.yml"),
            &format!(
                "# The edge of branch {name}. Use it with: edge-scraper --config edge.yml --data-dir data\n\
                 global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\n  external_labels: {{branch: {name}}}\n\
                 scrape_configs:\n  - job_name: business\n    static_configs: [{{targets: ['{business}']}}]\n\
                 remote_write:\n  # The link: it leads to the hub, and the demo cuts it.\n  - url: http://{hub}/api/v1/write\n    \
                 authorization: {{credentials_file: token}}\n    remote_timeout: 5s\n\
                 branchline:\n  edge: {name}\n  node_collector: {{scrape_interval: {interval}}}\n"
            ),
        )
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let folder = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// 128 bits from the standard library's hash keys, which come from the operating system.
fn random_token() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = || {
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    };
    format!("{:016x}{:016x}", random(), random())
}
