//! Text files of a folder, for what a host has to say of itself that no collector knows: updates that wait, how disks do, when a backup
//! ran. As node_exporter's collector of that name, and by the same reader as the edge's own folder of business metrics.

use model::{METRIC_NAME, MetricType};

use super::page::{Kind, Page};
use super::roots::{PartError, Roots};
use crate::push::textfile::{ERROR, ERROR_HELP, Families, Found, MTIME, MTIME_HELP, Textfile};

/// What follows a family's name in those of its metrics.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Shows the files; without a folder there are none, and no error.
pub(super) fn read(folder: Option<&Textfile>, _: &Roots, page: &mut Page) -> Result<(), PartError> {
    let found = match folder.map(|folder| (folder, folder.gather())) {
        None => Found::default(),
        Some((_, Ok(found))) => found,
        Some((folder, Err(why))) => {
            folder.unreadable(why);
            Found {
                broken: true,
                ..Found::default()
            }
        }
    };
    put(&found, page);
    for (path, changed) in &found.times {
        let file = path.display().to_string();
        page.gauge(MTIME, MTIME_HELP)
            .row(&[("file", &file)], *changed);
    }
    page.gauge(ERROR, ERROR_HELP)
        .value(f64::from(u8::from(found.broken)));
    Ok(())
}

fn put(found: &Found, page: &mut Page) {
    let families: &Families = &found.families;
    for (name, family) in families {
        let kind = match family.about.kind {
            MetricType::Counter => Kind::Counter,
            MetricType::Gauge => Kind::Gauge,
            MetricType::Histogram => Kind::Histogram,
            MetricType::Summary => Kind::Summary,
            _ => Kind::Untyped,
        };
        let help = match family.about.help.is_empty() {
            false => family.about.help.clone(),
            true => {
                let files = found.files.get(name).map(Vec::as_slice).unwrap_or_default();
                let files: Vec<String> = files
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                format!("Metric read from {}", files.join(", "))
            }
        };
        let rows = page.of(kind, name, &help);
        for (labels, value) in &family.samples {
            let rest = labels
                .name()
                .and_then(|full| full.strip_prefix(name.as_str()));
            let suffix = SUFFIXES.into_iter().find(|suffix| Some(*suffix) == rest);
            let pairs: Vec<(&str, &str)> = labels
                .iter()
                .filter(|(name, _)| *name != METRIC_NAME)
                .collect();
            rows.suffixed(suffix.unwrap_or_default(), &pairs, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::exposition::Format;

    use super::*;

    #[test]
    fn families_of_every_kind_in_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "a.prom",
            "# TYPE apt_upgrades gauge\napt_upgrades{arch=\"all\"} 3\nplain 1\n\
             # HELP runs of the backup\n# TYPE runs counter\nruns 7\n\
             # HELP took of the backup\n# TYPE took histogram\n\
             took_bucket{le=\"0.5\"} 1\ntook_bucket{le=\"+Inf\"} 2\ntook_sum 1.5\ntook_count 2\n",
        );
        let textfile = Textfile::new(String::new(), folder.path().to_owned());
        let show = |format| {
            let mut page = Page::default();
            read(Some(&textfile), &Roots::default(), &mut page).unwrap();
            let path = format!("{}/", folder.path().display());
            let text = page.print(format).replace(&path, "");
            let lines = text.lines().filter(|line| !line.contains("mtime"));
            lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            show(Format::Classic),
            "# HELP apt_upgrades Metric read from a.prom\n# TYPE apt_upgrades gauge\napt_upgrades{arch=\"all\"} 3\n\
             # HELP node_textfile_scrape_error 1 if there was an error opening or reading a file, 0 otherwise\n\
             # TYPE node_textfile_scrape_error gauge\nnode_textfile_scrape_error 0\n\
             # HELP plain Metric read from a.prom\n# TYPE plain untyped\nplain 1\n\
             # HELP runs of the backup\n# TYPE runs counter\nruns 7\n\
             # HELP took of the backup\n# TYPE took histogram\n\
             took_bucket{le=\"0.5\"} 1\ntook_bucket{le=\"+Inf\"} 2\ntook_sum 1.5\ntook_count 2"
        );
        let modern = show(Format::OpenMetrics);
        assert!(
            modern.contains("# TYPE runs counter\nruns_total 7\n"),
            "{modern}"
        );
        assert!(modern.contains("took_bucket{le=\"+Inf\"} 2\n"), "{modern}");
        write("b.prom", "broken{\n");
        assert!(show(Format::Classic).contains("\nnode_textfile_scrape_error 1\n"));
    }

    #[test]
    fn no_folder_is_no_error_and_one_that_is_gone_is() {
        let error = |folder: Option<&Textfile>| {
            let mut page = Page::default();
            read(folder, &Roots::default(), &mut page).unwrap();
            page.text().lines().last().map(str::to_owned)
        };
        assert_eq!(error(None).as_deref(), Some("node_textfile_scrape_error 0"));
        let gone = Textfile::new(String::new(), "/nonexistent".into());
        assert_eq!(
            error(Some(&gone)).as_deref(),
            Some("node_textfile_scrape_error 1")
        );
    }
}
