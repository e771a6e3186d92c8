//! Loading a configuration of which something cannot be read, with the help of what was kept on disk when it was last in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::config::{ConfigError, load_yaml, parse_yaml};
use model::Timestamp;

use super::{Check, EdgeConfig};
use crate::kept::{Kept, KeptConfiguration, KeptKind};

/// A configuration is not, or not wholly, what its files say now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromDisk {
    /// When what was kept was put in force.
    pub at: Timestamp,
    /// What cannot be used as it is now.
    pub why: String,
    /// All of it was kept; else only some of the files that it names.
    pub whole: bool,
}

/// What a configuration takes from disk.
#[derive(Default)]
pub(super) struct Fallback {
    kept: Option<Arc<KeptConfiguration>>,
    /// Not only secrets but the files of `scrape_config_files`, too.
    whole: bool,
    /// Files that cannot be read and were taken from there.
    used: Vec<PathBuf>,
    /// Every file that the configuration depends on.
    pub(super) files: Vec<(PathBuf, KeptKind)>,
}

impl EdgeConfig {
    /// As [`EdgeConfig::load`]; passwords, certificates and the like that cannot be read now are those that were kept when the
    /// configuration was last in force.
    ///
    /// # Errors
    ///
    /// As [`EdgeConfig::load`].
    pub fn load_with(path: &Path, kept: &Kept) -> Result<EdgeConfig, ConfigError> {
        let mut check = Check::new(path);
        check.fallback.kept = kept.configuration().map(Arc::new);
        check.fallback.files.push((path.to_owned(), KeptKind::Main));
        check.file(load_yaml(path)?)
    }

    /// As [`EdgeConfig::load_with`]; where the configuration cannot be read or is wrong, it is the one that was last in force.
    ///
    /// # Errors
    ///
    /// As [`EdgeConfig::load`], if this file was never in force with this data folder.
    pub fn load_or_kept(path: &Path, kept: &Kept) -> Result<EdgeConfig, ConfigError> {
        let error = match EdgeConfig::load_with(path, kept) {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let Some(last) = kept.configuration().map(Arc::new) else {
            return Err(error);
        };
        let Some(text) = last.main(path).map(str::to_owned) else {
            return Err(error);
        };
        let mut check = Check::new(path);
        check.fallback.whole = true;
        check.fallback.kept = Some(Arc::clone(&last));
        // What was in force once is still in force, unless this is another release: then the first error says more.
        let Ok(mut config) = parse_yaml(&text, path).and_then(|file| check.file(file)) else {
            return Err(error);
        };
        config.from_disk = Some(FromDisk {
            at: last.at,
            why: error.to_string(),
            whole: true,
        });
        Ok(config)
    }
}

impl Check {
    /// A check of another file of the same configuration.
    pub(super) fn of_part(&self, path: &Path) -> Check {
        let mut check = Check::new(path);
        check.fallback.kept = self.fallback.kept.clone();
        check.fallback.whole = self.fallback.whole;
        check
    }

    /// Takes over what the check of another file of the same configuration has found.
    pub(super) fn take_part(&mut self, mut part: Check) {
        self.warnings.append(&mut part.warnings);
        self.fallback.files.append(&mut part.fallback.files);
        self.fallback.used.append(&mut part.fallback.used);
    }

    /// The files of `scrape_config_files` that were kept, if they are to be taken.
    pub(super) fn kept_scrape_files(&self) -> Option<Arc<KeptConfiguration>> {
        self.fallback.kept.clone().filter(|_| self.fallback.whole)
    }

    /// A file that will be read later: noted as one that the configuration depends on. If it cannot be read now it is the kept
    /// one, or else warned of.
    pub(super) fn secret_file(&mut self, key: &str, file: PathBuf) -> PathBuf {
        self.fallback.files.push((file.clone(), KeptKind::Secret));
        if std::fs::File::open(&file).is_err()
            && let Some(kept) = self
                .fallback
                .kept
                .as_ref()
                .and_then(|kept| kept.secret(&file))
        {
            self.warnings.push(format!(
                "{key}: {} cannot be read now: as it was when it was last in force",
                file.display()
            ));
            self.fallback.used.push(file);
            return kept;
        }
        self.readable(key, &file);
        file
    }

    /// What was taken from disk, after everything else has been checked.
    pub(super) fn read_from_disk(&self) -> Option<FromDisk> {
        let kept = self
            .fallback
            .kept
            .as_ref()
            .filter(|_| !self.fallback.used.is_empty())?;
        let used: Vec<String> = self
            .fallback
            .used
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        Some(FromDisk {
            at: kept.at,
            why: format!("cannot be read: {}", used.join(", ")),
            whole: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        folder: tempfile::TempDir,
        kept: Kept,
    }

    impl World {
        fn new() -> World {
            let folder = tempfile::tempdir().unwrap();
            let kept = Kept::of(&folder.path().join("data"));
            let world = World { folder, kept };
            let password = world.at("password").display().to_string();
            world.write(
                "edge.yml",
                &format!(
                    "scrape_config_files: ['jobs*.yml']\n\
                     scrape_configs: [{{job_name: a, basic_auth: {{username: u, password_file: '{password}'}}}}]\n"
                ),
            );
            world.write(
                "jobs1.yml",
                "scrape_configs: [{job_name: b, bearer_token_file: token}]\n",
            );
            world.write("password", "secret");
            world.write("token", "t");
            world
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.at(name), text).unwrap();
        }

        fn load(&self) -> Result<EdgeConfig, ConfigError> {
            EdgeConfig::load_or_kept(&self.at("edge.yml"), &self.kept)
        }

        /// What a process does that has put the configuration in force.
        fn keep(&self, config: &EdgeConfig) {
            let now = Timestamp::from_millis(1000);
            let files = KeptConfiguration::gather(now, &config.files, None);
            self.kept.keep_configuration(&files);
        }
    }

    #[test]
    fn a_broken_or_missing_file_is_the_one_that_was_in_force() {
        let world = World::new();
        let good = world.load().unwrap();
        assert_eq!((good.jobs.len(), &good.from_disk), (2, &None));
        world.write("jobs1.yml", "scrape_configs: [{jobname: b}]\n");
        assert!(world.load().is_err(), "nothing is kept yet");
        world.write(
            "jobs1.yml",
            "scrape_configs: [{job_name: b, bearer_token_file: token}]\n",
        );
        world.keep(&good);

        let spoil: [&dyn Fn(); 3] = [
            &|| world.write("edge.yml", "scrape_configs: [\n"),
            &|| world.write("jobs1.yml", "scrape_configs: [{jobname: b}]\n"),
            &|| std::fs::remove_file(world.at("edge.yml")).unwrap(),
        ];
        for spoil in spoil {
            spoil();
            let config = world.load().unwrap();
            assert_eq!(config.jobs, good.jobs);
            let from_disk = config.from_disk.unwrap();
            assert!(from_disk.whole && !from_disk.why.is_empty());
            assert_eq!(from_disk.at.millis(), 1000);
            assert!(EdgeConfig::load_with(&world.at("edge.yml"), &world.kept).is_err());
        }
    }

    #[test]
    fn secrets_that_cannot_be_read_are_those_that_were() {
        let world = World::new();
        world.keep(&world.load().unwrap());
        std::fs::remove_file(world.at("password")).unwrap();
        std::fs::remove_file(world.at("token")).unwrap();
        let config = world.load().unwrap();
        let why = config
            .from_disk
            .as_ref()
            .map(|from| (from.whole, from.why.contains("password")));
        assert_eq!(why, Some((false, true)));
        let read = |job: usize| match &config.jobs[job].http.auth {
            daemon::http::Auth::BasicFromFile {
                password_file: file,
                ..
            }
            | daemon::http::Auth::HeaderFromFile {
                credentials_file: file,
                ..
            } => std::fs::read_to_string(file).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!((read(0).as_str(), read(1).as_str()), ("secret", "t"));
        world.write("password", "new");
        world.write("token", "new");
        assert_eq!(world.load().unwrap().from_disk, None);
    }
}
