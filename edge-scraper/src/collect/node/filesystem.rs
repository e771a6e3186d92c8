//! Mounted filesystems: `/proc/1/mounts` and statvfs(2).
//!
//! statvfs on a dead NFS server can block for ever. So the calls run on a thread [aside](super::aside): a mount that has not answered
//! within [`WITHIN`] is *stuck*, is reported as `device_error` 1 at once and without being asked again until its call returns, and
//! the others go on. At most [`STUCK_MAX`] threads can hang.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::aside::{Aside, Hanging, Task, Within};
use super::options::{Filter, Patterns};
use super::page::Page;
use super::roots::{PartError, Roots, Text};

/// Far above any answer of a live disk, and a scrape with mounts that are newly dead still ends within the usual timeout of 10 s:
/// those of one server come together, and eight of them must not cost more than the scrape has.
const WITHIN: Within = Within {
    first: Duration::from_secs(2),
    then: Duration::from_millis(250),
};

/// Threads that may hang at the same time; beyond it every mount not yet asked counts as stuck.
const STUCK_MAX: usize = 8;

/// What statvfs says, in bytes and inodes.
#[derive(Debug, Clone, Copy)]
struct Usage {
    size: f64,
    free: f64,
    available: f64,
    files: f64,
    files_free: f64,
}

type StatFn = Arc<dyn Fn(&Path) -> io::Result<Usage> + Send + Sync>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device: String,
    point: String,
    kind: String,
    read_only: bool,
}

pub(super) struct Filesystem {
    points: Filter,
    types: Filter,
    stat: StatFn,
    within: Within,
    aside: Aside<Option<Usage>>,
    /// Mount points with a call that has not returned; shared with the threads that wait for it.
    stuck: Arc<Mutex<BTreeSet<String>>>,
}

impl Filesystem {
    pub(super) fn new(patterns: &Patterns) -> Filesystem {
        Filesystem::with(patterns, Arc::new(statvfs), WITHIN)
    }

    fn with(patterns: &Patterns, stat: StatFn, within: Within) -> Filesystem {
        Filesystem {
            points: patterns.filter("filesystem.mount-points"),
            types: patterns.filter("filesystem.fs-types"),
            stat,
            within,
            aside: Aside::new("statvfs"),
            stuck: Arc::default(),
        }
    }

    pub(super) fn read(&self, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
        // The mounts of process 1 are the machine's, also when this process has a private view (systemd's sandboxing).
        let text = match Text::read(roots.proc.join("1/mounts")) {
            Ok(text) => text,
            Err(_) => Text::read(roots.proc.join("mounts"))?,
        };
        let mut mounts = parse(&text)?;
        mounts.retain(|mount| self.points.takes(&mount.point) && self.types.takes(&mount.kind));
        let usages = self.ask(&roots.root, &mounts);
        for (mount, usage) in mounts.iter().zip(usages) {
            print(mount, usage, page);
        }
        Ok(())
    }

    /// The usage of every mount in order; `None` where the call failed or did not return.
    fn ask(&self, root: &Path, mounts: &[Mount]) -> Vec<Option<Usage>> {
        let mut usages = vec![None; mounts.len()];
        let mut asked = Vec::with_capacity(mounts.len());
        {
            let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
            if stuck.len() >= STUCK_MAX {
                return usages;
            }
            let rest = mounts.iter().enumerate();
            asked.extend(rest.filter(|(_, mount)| !stuck.contains(&mount.point)));
        }
        let tasks = asked.iter().map(|(_, mount)| {
            let (stat, stuck) = (Arc::clone(&self.stat), Arc::clone(&self.stuck));
            let path = under(root, &mount.point);
            Box::new(move || {
                let enough =
                    stuck.lock().unwrap_or_else(PoisonError::into_inner).len() >= STUCK_MAX;
                if enough { None } else { stat(&path).ok() }
            }) as Task<Option<Usage>>
        });
        let tasks = tasks.collect();
        let hanging: Arc<dyn Hanging> = Arc::new(Points {
            points: asked.iter().map(|(_, mount)| mount.point.clone()).collect(),
            stuck: Arc::clone(&self.stuck),
        });
        let found = self.aside.run(tasks, self.within, &hanging);
        for ((place, _), usage) in asked.into_iter().zip(found) {
            usages[place] = usage.flatten();
        }
        usages
    }
}

/// The mount points of one round of questions, in its order.
struct Points {
    points: Vec<String>,
    stuck: Arc<Mutex<BTreeSet<String>>>,
}

impl Hanging for Points {
    fn hangs(&self, task: usize) {
        let point = &self.points[task];
        tracing::warn!(mount_point = %point, "filesystem does not answer, left alone until it does");
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.insert(point.clone());
    }

    fn is_back(&self, task: usize) {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.remove(&self.points[task]);
    }
}

fn under(root: &Path, point: &str) -> PathBuf {
    root.join(point.trim_start_matches('/'))
}

fn statvfs(path: &Path) -> io::Result<Usage> {
    let stat = rustix::fs::statvfs(path)?;
    // statfs counts in f_bsize, which statvfs calls f_frsize.
    let block = stat.f_frsize as f64;
    Ok(Usage {
        size: stat.f_blocks as f64 * block,
        free: stat.f_bfree as f64 * block,
        available: stat.f_bavail as f64 * block,
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
    })
}

fn parse(text: &Text) -> Result<Vec<Mount>, PartError> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(device), Some(point), Some(kind), Some(options)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(text.malformed("device, mount point, type and options", line));
        };
        let point = point.replace("\\040", " ").replace("\\011", "\t");
        // The same device mounted on the same point twice is one series, that of the first.
        if seen.insert((device.to_owned(), point.clone(), kind.to_owned())) {
            mounts.push(Mount {
                device: device.to_owned(),
                point,
                kind: kind.to_owned(),
                read_only: options.split(',').any(|option| option == "ro"),
            });
        }
    }
    Ok(mounts)
}

fn print(mount: &Mount, usage: Option<Usage>, page: &mut Page) {
    let labels = [
        ("device", mount.device.as_str()),
        ("mountpoint", &mount.point),
        ("fstype", &mount.kind),
    ];
    let error = if usage.is_none() { 1.0 } else { 0.0 };
    page.gauge(
        "node_filesystem_device_error",
        "Whether an error occurred while getting statistics for the given device.",
    )
    .row(&labels, error);
    let Some(usage) = usage else {
        return;
    };
    let read_only = if mount.read_only { 1.0 } else { 0.0 };
    for (name, help, value) in [
        ("size_bytes", "Filesystem size in bytes.", usage.size),
        ("free_bytes", "Filesystem free space in bytes.", usage.free),
        (
            "avail_bytes",
            "Filesystem space available to non-root users in bytes.",
            usage.available,
        ),
        ("files", "Filesystem total file nodes.", usage.files),
        (
            "files_free",
            "Filesystem total free file nodes.",
            usage.files_free,
        ),
        ("readonly", "Filesystem read-only status.", read_only),
    ] {
        page.gauge(&format!("node_filesystem_{name}"), help)
            .row(&labels, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::super::fixture::{Fixture, check};
    use super::*;

    fn usage(size: f64) -> Usage {
        Usage {
            size,
            free: 1.0,
            available: 2.0,
            files: 3.0,
            files_free: 4.0,
        }
    }

    #[test]
    fn mounts_worth_a_series() {
        let filesystem = Filesystem::with(
            &Patterns::default(),
            Arc::new(|path: &Path| match path.file_name() {
                Some(name) if name == "bad disk" => Err(io::Error::other("gone")),
                _ => Ok(usage(path.as_os_str().len() as f64)),
            }),
            WITHIN,
        );
        check(
            move |roots: &Roots, page: &mut Page| {
                let roots = Roots {
                    root: "/".into(),
                    ..roots.clone()
                };
                filesystem.read(&roots, page)
            },
            &[(
                "proc/1/mounts",
                "proc /proc proc rw 0 0\n/dev/vda / ext4 rw,relatime 0 0\n/dev/vda / ext4 ro 0 0\n\
                 overlay /x overlay rw 0 0\n/dev/sdb /bad\\040disk xfs ro,noatime 0 0\ntmpfs /run/user/0 tmpfs rw 0 0\n",
            )],
            "node_filesystem_avail_bytes{device=\"/dev/vda\",mountpoint=\"/\",fstype=\"ext4\"} 2\n\
             node_filesystem_device_error{device=\"/dev/sdb\",mountpoint=\"/bad disk\",fstype=\"xfs\"} 1\n\
             node_filesystem_device_error{device=\"/dev/vda\",mountpoint=\"/\",fstype=\"ext4\"} 0\n\
             node_filesystem_files{device=\"/dev/vda\",mountpoint=\"/\",fstype=\"ext4\"} 3\n\
             node_filesystem_files_free{device=\"/dev/vda\",mountpoint=\"/\",fstype=\"ext4\"} 4\n\
             node_filesystem_free_bytes{device=\"/dev/vda\",mountpoint=\"/\",fstype=\"ext4\"} 1\n\
             node_filesystem_readonly{device=\"/dev/vda\",mountpoint=\"/\",fstype=\"ext4\"} 0\n\
             node_filesystem_size_bytes{device=\"/dev/vda\",mountpoint=\"/\",fstype=\"ext4\"} 1\n",
        );
    }

    /// A dead NFS mount must cost one bounded wait, not the scrape, and must come back by itself.
    #[test]
    fn a_mount_that_hangs_is_left_alone_until_it_answers() {
        let (release, wait) = sync_channel::<()>(0);
        let wait = Mutex::new(wait);
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        let filesystem = Filesystem::with(
            &Patterns::default(),
            Arc::new(move |path: &Path| {
                seen.lock().unwrap().push(path.display().to_string());
                if path.ends_with("nfs") {
                    let _ = wait.lock().unwrap().recv();
                }
                Ok(usage(1.0))
            }),
            Within {
                first: Duration::from_millis(300),
                then: Duration::from_millis(300),
            },
        );
        let fixture = Fixture::new(&[(
            "proc/mounts",
            "a /a ext4 rw 0 0\nnas:/x /nfs nfs rw 0 0\nb /b ext4 rw 0 0\n",
        )]);
        let roots = Roots {
            root: "/".into(),
            ..fixture.roots()
        };
        let errors = || {
            let mut page = Page::default();
            filesystem.read(&roots, &mut page).unwrap();
            let page = page.text();
            let errors = page
                .lines()
                .filter(|l| l.starts_with("node_filesystem_device_error") && l.ends_with(" 1"));
            (
                errors.count(),
                page.lines()
                    .filter(|l| l.starts_with("node_filesystem_size"))
                    .count(),
            )
        };
        assert_eq!(errors(), (1, 2), "the two live mounts are reported");
        assert_eq!(errors(), (1, 2));
        assert_eq!(
            *calls.lock().unwrap(),
            ["/a", "/nfs", "/b", "/a", "/b"],
            "the stuck mount is not asked again"
        );
        drop(release);
        while !filesystem.stuck.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(errors(), (0, 3), "it is back");
    }
}
