//! A target: where its page is, how often it is scraped, and the labels that its series get.

use std::time::Duration;

use model::relabel::apply;
use model::{INSTANCE, JOB, LabelSet};
use reqwest::Url;

use crate::config::JobConfig;
use crate::discovery::{ADDRESS_LABEL, Discovered};

const SCHEME_LABEL: &str = "__scheme__";
const METRICS_PATH_LABEL: &str = "__metrics_path__";
const INTERVAL_LABEL: &str = "__scrape_interval__";
const TIMEOUT_LABEL: &str = "__scrape_timeout__";
const PARAM_LABEL_PREFIX: &str = "__param_";
/// Labels that series do not get: they exist for relabelling and for making the URL.
const RESERVED_PREFIX: &str = "__";

/// A target after relabelling.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    /// Its identity: a hash of job, labels and URL.
    pub(crate) id: u64,
    /// As discovered, with the job's defaults filled in: what relabelling started from.
    pub(crate) discovered: LabelSet,
    /// What its series get; `job` and `instance` among them.
    pub(crate) labels: LabelSet,
    pub(crate) url: Url,
    /// Above 0.
    pub(crate) interval: Duration,
    /// Above 0, at most `interval`.
    pub(crate) timeout: Duration,
}

/// What became of a discovered target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Relabelled {
    Target(Box<Target>),
    /// By a rule; the labels as discovered.
    Dropped(LabelSet),
}

impl Target {
    /// A target that is not discovered: a collector of this process.
    pub(crate) fn collector(
        job: &str,
        instance: &str,
        interval: Duration,
        timeout: Duration,
    ) -> Target {
        let labels = LabelSet::from_pairs([(JOB, job), (INSTANCE, instance)])
            .unwrap_or_else(|_| LabelSet::empty());
        // Never asked for over HTTP; it only shows where the page comes from.
        let url = Url::parse("collector://this-process/metrics").expect("a constant");
        Target {
            id: identity(job, &labels, &url),
            discovered: labels.clone(),
            labels,
            url,
            interval,
            timeout,
        }
    }

    /// Whether it is read in this process.
    pub(crate) fn is_collector(&self) -> bool {
        self.url.scheme() == "collector"
    }

    /// Relabels a discovered target.
    ///
    /// # Errors
    ///
    /// Labels that make no target: no or a bad address, a bad interval or timeout.
    pub(crate) fn relabel(job: &JobConfig, discovered: &Discovered) -> Result<Relabelled, String> {
        let discovered = with_defaults(job, discovered)?;
        let Some(labels) = apply(&job.relabel, &discovered) else {
            return Ok(Relabelled::Dropped(discovered));
        };
        let Some(address) = labels.get(ADDRESS_LABEL) else {
            return Err("no address".to_owned());
        };
        if address.contains('/') {
            return Err(format!("{address:?} is not a valid hostname"));
        }
        let duration = |name: &str, what: &str| match model::duration::parse(
            labels.get(name).unwrap_or_default(),
        ) {
            Ok(Duration::ZERO) => Err(format!("scrape {what} cannot be 0")),
            Ok(duration) => Ok(duration),
            Err(error) => Err(format!("error parsing scrape {what}: {error}")),
        };
        let interval = duration(INTERVAL_LABEL, "interval")?;
        let timeout = duration(TIMEOUT_LABEL, "timeout")?;
        if timeout > interval {
            return Err(format!(
                "scrape timeout cannot be greater than scrape interval ({:?} > {:?})",
                labels.get(TIMEOUT_LABEL).unwrap_or_default(),
                labels.get(INTERVAL_LABEL).unwrap_or_default()
            ));
        }
        let url = url(job, &labels, address)?;
        let mut public = labels.retain(|name| !name.starts_with(RESERVED_PREFIX));
        if public.get(INSTANCE).is_none() {
            public = public.builder().set(INSTANCE, address).build();
        }
        Ok(Relabelled::Target(Box::new(Target {
            id: identity(&job.name, &public, &url),
            discovered,
            labels: public,
            url,
            interval,
            timeout,
        })))
    }
}

fn with_defaults(job: &JobConfig, discovered: &Discovered) -> Result<LabelSet, String> {
    let given = LabelSet::from_pairs(discovered).map_err(|error| error.to_string())?;
    let mut labels = given.builder();
    let defaults = &job.target;
    for (name, value) in [
        (JOB, job.name.clone()),
        (INTERVAL_LABEL, model::duration::format(defaults.interval)),
        (TIMEOUT_LABEL, model::duration::format(defaults.timeout)),
        (METRICS_PATH_LABEL, defaults.metrics_path.clone()),
        (SCHEME_LABEL, defaults.scheme.clone()),
    ] {
        if given.get(name).is_none() {
            labels.set(name, value);
        }
    }
    for (name, values) in &defaults.params {
        let name = format!("{PARAM_LABEL_PREFIX}{name}");
        if let Some(first) = values.first()
            && given.get(&name).is_none()
        {
            labels.set(name, first.clone());
        }
    }
    Ok(labels.build())
}

/// The page's address. Of a parameter given more than once, a `__param_` label replaces the first value.
fn url(job: &JobConfig, labels: &LabelSet, address: &str) -> Result<Url, String> {
    let scheme = labels.get(SCHEME_LABEL).unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(format!("{scheme:?} is neither http nor https"));
    }
    let mut url = Url::parse(&format!("{scheme}://{address}/"))
        .map_err(|error| format!("{address:?}: {error}"))?;
    if !url.username().is_empty() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    url.set_path(labels.get(METRICS_PATH_LABEL).unwrap_or_default());
    let mut params = job.target.params.clone();
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix(PARAM_LABEL_PREFIX) {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => *first = value.to_owned(),
                None => values.push(value.to_owned()),
            }
        }
    }
    if params.values().any(|values| !values.is_empty()) {
        let mut query = url.query_pairs_mut();
        for (name, values) in &params {
            for value in values {
                query.append_pair(name, value);
            }
        }
    }
    Ok(url)
}

/// FNV-1a, because it must be the same after a restart and in every release.
fn identity(job: &str, labels: &LabelSet, url: &Url) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [job.as_bytes(), labels.as_bytes(), url.as_str().as_bytes()] {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// Moments of an interval at which targets are scraped. Those of one moment share a wake-up and warm caches: most of what a
/// scrape of a small page costs.
const MOMENTS: u64 = 16;

/// Where in its interval a target is scraped: the same for the same identity and edge. Targets of one edge spread over
/// [`MOMENTS`] of the interval; those of a thousand edges lie at different places.
pub(crate) fn phase(id: u64, edge: &str, interval: Duration) -> Duration {
    let edge = edge.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let interval_ms = (interval.as_millis() as u64).max(1);
    let moment = spread(id ^ edge) % MOMENTS * interval_ms / MOMENTS;
    let place = spread(edge) % (interval_ms / MOMENTS).max(1);
    Duration::from_millis(moment + place)
}

/// FNV's low bits of similar texts are similar; this spreads them (a step of splitmix64).
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EdgeConfig;

    /// The target of a job with these lines and one static target, printed.
    fn target(lines: &str, labels: &str) -> String {
        let text = format!(
            "scrape_configs:\n- job_name: a\n{lines}  static_configs: [{{targets: ['h:1'], labels: {{{labels}}}}}]\n"
        );
        let config = EdgeConfig::parse(&text, std::path::Path::new("x")).unwrap();
        let discovered = crate::discovery::Sources::new(&config.jobs[0].discovery).targets();
        match Target::relabel(&config.jobs[0], &discovered[0]) {
            Ok(Relabelled::Target(t)) => {
                format!("{} {} {:?} {:?}", t.labels, t.url, t.interval, t.timeout)
            }
            Ok(Relabelled::Dropped(labels)) => format!("dropped {labels}"),
            Err(error) => error,
        }
    }

    #[test]
    fn labels_and_address() {
        assert_eq!(
            target("", ""),
            "{instance=\"h:1\", job=\"a\"} http://h:1/metrics 60s 10s"
        );
        assert_eq!(
            target(
                "",
                "x: y, __meta_z: q, instance: me, job: other, __scheme__: https, __scrape_interval__: 5s, __scrape_timeout__: 1s"
            ),
            "{instance=\"me\", job=\"other\", x=\"y\"} https://h:1/metrics 5s 1s"
        );
        assert_eq!(
            target(
                "  params: {b: ['1', '2'], a: [x y]}\n  metrics_path: /probe\n",
                "__param_b: '9', __param_c: '&'"
            ),
            "{instance=\"h:1\", job=\"a\"} http://h:1/probe?a=x+y&b=9&b=2&c=%26 60s 10s"
        );
    }

    #[test]
    fn rules_rewrite_and_drop() {
        assert_eq!(
            target(
                "  relabel_configs: [{source_labels: [__address__], target_label: __address__, replacement: 'proxy:9'}]\n",
                ""
            ),
            "{instance=\"proxy:9\", job=\"a\"} http://proxy:9/metrics 60s 10s"
        );
        let dropped = target(
            "  relabel_configs: [{action: drop, source_labels: [x], regex: y}]\n",
            "x: y",
        );
        assert!(
            dropped.starts_with("dropped {__address__=\"h:1\""),
            "{dropped}"
        );
    }

    #[test]
    fn what_is_no_target() {
        assert_eq!(
            target("", "__scrape_timeout__: 2m"),
            "scrape timeout cannot be greater than scrape interval (\"2m\" > \"1m\")"
        );
        assert_eq!(
            target("", "__scrape_interval__: 0s"),
            "scrape interval cannot be 0"
        );
        let replace = |with: &str| {
            format!("  relabel_configs: [{{target_label: __address__, replacement: '{with}'}}]\n")
        };
        assert_eq!(target(&replace(""), ""), "no address");
        assert_eq!(
            target(&replace("h/x"), ""),
            "\"h/x\" is not a valid hostname"
        );
        assert_eq!(
            target(&replace("h?x"), ""),
            "\"h?x\" is not a valid hostname"
        );
        assert!(target(&replace("h:99999"), "").contains("invalid port"));
        assert_eq!(
            target("", "__scheme__: ftp"),
            "\"ftp\" is neither http nor https"
        );
    }

    #[test]
    fn phases_are_stable_and_spread() {
        let interval = Duration::from_secs(15);
        let target = |n: u32| Target::collector("node", &format!("b{n}"), interval, interval);
        assert_eq!(target(7).id, target(7).id);
        let phases: Vec<u64> = (0..1000)
            .map(|n| phase(target(n).id, "edge", interval).as_millis() as u64)
            .collect();
        let mut moments = std::collections::BTreeMap::new();
        for phase in &phases {
            assert!(*phase < 15_000);
            *moments.entry(*phase).or_insert(0) += 1;
        }
        assert_eq!(moments.len(), 16);
        let even = moments.values().all(|count| (35..=90).contains(count));
        assert!(even, "{moments:?}");
        // Edges lie at different places: of two of them, hardly any two targets are scraped in the same millisecond.
        let places: std::collections::BTreeSet<u64> = (0..1000)
            .map(|n| phase(target(1).id, &format!("b{n}"), interval).as_millis() as u64)
            .collect();
        assert!(places.len() > 900, "{}", places.len());
        // Golden: a release must not move every edge's scrapes, nor start new series of records.
        assert_eq!((target(7).id, phases[7]), (350_500_973_803_771_969, 9_194));
    }
}
