use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const VARIABLE: &str = "BRANCHLINE_LOG";

/// Starts logging to standard error: `info` and above, unless the environment variable `BRANCHLINE_LOG` says
/// otherwise (`debug`, `edge_scraper=debug,warn`, …). A second call changes nothing.
pub fn init() {
    start(LevelFilter::INFO);
}

/// As [`init`], but only errors unless the environment says otherwise: for commands that write
/// for people on the terminal.
pub fn init_quiet() {
    start(LevelFilter::ERROR);
}

fn start(default: LevelFilter) {
    let said = std::env::var(VARIABLE).ok().filter(|said| !said.is_empty());
    let filter = said.as_deref().map(str::parse::<Targets>);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let is_first = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .finish()
        .with(match &filter {
            Some(Ok(filter)) => filter.clone(),
            _ => Targets::new().with_default(default),
        })
        .try_init()
        .is_ok();
    if let (true, Some(Err(error))) = (is_first, filter) {
        tracing::warn!(%error, "{VARIABLE} is not understood and counts for nothing: write a level like debug, or levels of parts like edge_scraper=debug,warn");
    }
}
