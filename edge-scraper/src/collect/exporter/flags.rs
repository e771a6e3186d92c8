//! The command line of `edge-scraper node`: node_exporter's flags, so that its unit file needs another program name and no more.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use daemon::web::{Web, WebFlags};

use super::ExporterOptions;
use crate::collect::node::{
    COLLECTORS, NodeOptions, OptionError, PATTERNS, Patterns, Roots, Switches,
};

/// What the command line says.
#[derive(Debug, Args)]
pub struct ExporterFlags {
    /// Where to answer
    #[arg(
        long = "listen",
        visible_alias = "web.listen-address",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9100",
        value_parser = address
    )]
    listen: SocketAddr,
    /// Where the page is
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics"
    )]
    path: String,
    /// Pages made at a time; 0 for no limit
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40)]
    requests_max: usize,
    #[command(flatten)]
    web: WebFlags,
    /// Where the machine's /proc is
    #[arg(long = "path.procfs", value_name = "FOLDER", default_value = "/proc")]
    procfs: PathBuf,
    /// Where the machine's /sys is
    #[arg(long = "path.sysfs", value_name = "FOLDER", default_value = "/sys")]
    sysfs: PathBuf,
    /// Where the machine's / is
    #[arg(long = "path.rootfs", value_name = "FOLDER", default_value = "/")]
    rootfs: PathBuf,
    /// Where the text files of the collector textfile are; none are read without it
    #[arg(
        long = "collector.textfile.directory",
        value_name = "FOLDER",
        help_heading = HEADING
    )]
    textfile_directory: Option<String>,
    #[command(flatten)]
    collectors: CollectorFlags,
}

/// `:9100` is every address, as in node_exporter.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    full.parse()
        .map_err(|_| "an address and a port are needed, such as 127.0.0.1:9100".to_owned())
}

/// `--collector.NAME`, `--no-collector.NAME`, `--collector.PATTERN=REGEX`, `--collector.disable-defaults`.
#[derive(Debug, Default)]
struct CollectorFlags {
    disable_defaults: bool,
    /// In the order of the table.
    switched: Vec<(&'static str, bool)>,
    patterns: Vec<(&'static str, String)>,
}

const DISABLE_DEFAULTS: &str = "collector.disable-defaults";
const HEADING: &str = "Collectors";

impl Args for CollectorFlags {
    fn augment_args(mut command: Command) -> Command {
        command = command.arg(
            Arg::new(DISABLE_DEFAULTS)
                .long(DISABLE_DEFAULTS)
                .help("Only the collectors that are switched on run")
                .action(ArgAction::SetTrue)
                .help_heading(HEADING),
        );
        for switch in COLLECTORS {
            let on = Arg::new(switch.flag)
                .long(switch.flag)
                .action(ArgAction::SetTrue)
                .overrides_with(switch.no_flag)
                .help_heading(HEADING)
                .help(match switch.on {
                    true => "On by default; --no-collector... switches it off",
                    false => "Off by default",
                });
            let off = Arg::new(switch.no_flag)
                .long(switch.no_flag)
                .action(ArgAction::SetTrue)
                .overrides_with(switch.flag)
                .hide(true);
            command = command.arg(on).arg(off);
        }
        for pattern in PATTERNS {
            command = command.arg(
                Arg::new(pattern.flag)
                    .long(pattern.flag)
                    .value_name("REGEX")
                    .help(pattern.help)
                    .help_heading(HEADING),
            );
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CollectorFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = CollectorFlags {
            disable_defaults: matches.get_flag(DISABLE_DEFAULTS),
            ..CollectorFlags::default()
        };
        for switch in COLLECTORS {
            if matches.get_flag(switch.flag) {
                flags.switched.push((switch.name, true));
            } else if matches.get_flag(switch.no_flag) {
                flags.switched.push((switch.name, false));
            }
        }
        for pattern in PATTERNS {
            if let Some(regex) = matches.get_one::<String>(pattern.flag) {
                flags.patterns.push((pattern.name, regex.clone()));
            }
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ExporterFlags {
    /// How the port is to be protected.
    pub fn web(&self) -> &WebFlags {
        &self.web
    }

    /// What the flags say, checked; `web` is read from [`ExporterFlags::web`].
    ///
    /// # Errors
    ///
    /// A pattern that is none.
    pub fn options(self, web: Web) -> Result<ExporterOptions, OptionError> {
        let mut collectors = match self.collectors.disable_defaults {
            true => Switches::none(),
            false => Switches::default(),
        };
        for (name, on) in self.collectors.switched {
            collectors.set(name, on)?;
        }
        let patterns = self.collectors.patterns.iter();
        let patterns = Patterns::with(patterns.map(|(name, regex)| (*name, regex.as_str())))?;
        Ok(ExporterOptions {
            node: NodeOptions {
                roots: Roots {
                    proc: self.procfs,
                    sys: self.sysfs,
                    root: self.rootfs,
                },
                collectors,
                patterns,
                // Empty is none, as there.
                textfile_directory: self
                    .textfile_directory
                    .filter(|folder| !folder.is_empty())
                    .map(PathBuf::from),
            },
            listen: self.listen,
            path: self.path,
            requests_max: self.requests_max,
            web,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<ExporterOptions, String> {
        let command = ExporterFlags::augment_args(Command::new("node"));
        let arguments = std::iter::once("node").chain(arguments.iter().copied());
        let matches = command
            .try_get_matches_from(arguments)
            .map_err(|error| error.to_string())?;
        let flags = ExporterFlags::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        flags
            .options(Web::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_of_node_exporter() {
        let options = parse(&[
            "--web.listen-address=:9100",
            "--collector.processes",
            "--no-collector.arp",
            "--collector.netdev.device-exclude=^(lo|veth.*)$",
            "--path.rootfs=/host",
            "--collector.textfile.directory=/var/lib/prometheus/node-exporter",
        ])
        .unwrap();
        assert_eq!(
            options.node.textfile_directory,
            Some(PathBuf::from("/var/lib/prometheus/node-exporter"))
        );
        assert_eq!(options.listen, "0.0.0.0:9100".parse().unwrap());
        let on = |name: &str| options.node.collectors.is_on(name);
        assert!(on("processes") && on("cpu") && !on("arp") && !on("tcpstat"));
        assert_eq!(options.node.roots.root, PathBuf::from("/host"));
        assert_eq!(
            options.node.patterns,
            Patterns::with([("netdev.device-exclude", "^(lo|veth.*)$")]).unwrap()
        );
        let options = parse(&["--collector.textfile.directory="]).unwrap();
        assert_eq!(options.node.textfile_directory, None);
        let options = parse(&["--collector.disable-defaults", "--collector.cpu"]).unwrap();
        assert!(options.node.collectors.is_on("cpu") && !options.node.collectors.is_on("stat"));
        // The last one counts.
        let options = parse(&["--no-collector.cpu", "--collector.cpu"]).unwrap();
        assert!(options.node.collectors.is_on("cpu"));
        assert_eq!(parse(&[]).unwrap().node, NodeOptions::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (argument, expected) in [
            ("--listen=9100", "an address and a port are needed"),
            (
                "--collector.vmstat.fields=(",
                "vmstat.fields: regex parse error",
            ),
            ("--collector.wifi", "--collector.wifi"),
            ("--web.max-requests=many", "many"),
        ] {
            let error = match parse(&[argument]) {
                Ok(_) => panic!("{argument}: accepted"),
                Err(error) => error,
            };
            assert!(error.contains(expected), "{argument}: {error}");
        }
    }
}
