use tracing_subscriber::EnvFilter;

/// Starts logging to standard error: `info` and above, unless the environment variable `BRANCHLINE_LOG` says
/// otherwise (`debug`, `edge_scraper=debug,warn`, …). A second call changes nothing.
pub fn init() {
    start("info");
}

/// As [`init`], but only errors unless the environment says otherwise: for commands that write
/// for people on the terminal.
pub fn init_quiet() {
    start("error");
}

fn start(default: &str) {
    let filter =
        EnvFilter::try_from_env("BRANCHLINE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .try_init();
}
