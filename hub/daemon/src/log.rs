use tracing_subscriber::EnvFilter;

/// Starts logging to standard error: `info` and above, unless the environment variable `BRANCHLINE_LOG` says
/// otherwise (`debug`, `edge_scraper=debug,warn`, …). A second call changes nothing.
pub fn init() {
    let filter =
        EnvFilter::try_from_env("BRANCHLINE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .try_init();
}
