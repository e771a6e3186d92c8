//! The configuration through an outage: kept when it is put in force, and looked for again while what was kept is in force.

use std::sync::Arc;
use std::time::Duration;

use daemon::Tasks;

use super::EdgeHandle;
use crate::config::EdgeConfig;
use crate::kept::KeptConfiguration;

/// How often the files are looked at while the configuration in force is not what they say.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Says that a configuration is not what its files say.
pub(super) fn say(config: &EdgeConfig) {
    let Some(from) = &config.from_disk else {
        return;
    };
    let (at, why) = (from.at, &from.why);
    match from.whole {
        true => tracing::error!(
            "the configuration cannot be used: {why}: the one that was put in force at {at} stays, as it was kept on disk; the file is looked at again every {LOOK_EVERY:?}"
        ),
        false => tracing::error!(
            "files of the configuration {why}: they are used as they were kept on disk at {at}, and looked at again every {LOOK_EVERY:?}"
        ),
    }
}

impl EdgeHandle {
    /// Keeps a configuration that has just been put in force, if it is what its files say.
    pub(super) async fn keep(&self, config: EdgeConfig) -> EdgeConfig {
        let whole_from_disk = config.from_disk.as_ref().is_some_and(|from| from.whole);
        if config.files.is_empty() || whole_from_disk {
            return config;
        }
        let (kept, now) = (self.inner.kept.clone(), self.inner.clock.now());
        daemon::blocking(move || {
            let before = kept.configuration();
            let new = KeptConfiguration::gather(now, &config.files, before.as_ref());
            if before.is_none_or(|before| !before.same_files(&new)) {
                kept.keep_configuration(&new);
            }
            config
        })
        .await
    }

    /// While the configuration in force was kept on disk: puts in force what its files say as soon as that can be.
    pub(super) async fn look_again(self, tasks: Tasks) {
        let clock = Arc::clone(&self.inner.clock);
        loop {
            // Only waiting; nothing is lost.
            tokio::select! {
                () = tasks.cancelled() => return,
                () = clock.sleep(LOOK_EVERY) => {}
            }
            let config = self.config();
            let (Some(_), Some(path)) = (&config.from_disk, config.path.clone()) else {
                continue;
            };
            let kept = self.inner.kept.clone();
            let found = daemon::blocking(move || EdgeConfig::load_with(&path, &kept)).await;
            // Still broken, or nothing new: that was said.
            if let Ok(found) = found
                && found.from_disk != config.from_disk
            {
                // The outcome is logged, and what is in force stays if it is a failure.
                let _ = self.reload(found).await;
            }
        }
    }
}
