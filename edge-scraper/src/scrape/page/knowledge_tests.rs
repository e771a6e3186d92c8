//! A page is read alike by who knows the pages before it and by who does not.

use std::collections::{BTreeMap, HashMap};

use model::{Metadata, MetricType, Value};
use proptest::prelude::*;
use wire::exposition::Format;

use super::tests::Target;
use super::*;

/// Lines of pages. Some fit to each other, some do not, and a few make the page fail.
const LINES: [&str; 20] = [
    "# TYPE a counter",
    "# TYPE a gauge",
    "# TYPE h histogram",
    "# HELP a one thing",
    "# HELP a another thing",
    "# HELP h waiting",
    "# a comment",
    "#",
    "",
    "  # with blanks before it",
    "a{x=\"1\"} 1",
    "a{x=\"1\"} 2",
    "a{x=\"2\"} 3",
    "a 4 5000",
    "b 5",
    "h_bucket{le=\"1\"} 6",
    "h_bucket{le=\"+Inf\"} 7",
    "h_sum 8",
    "h{le=\"1\"} 9",
    "# TYPE a nothing",
];

type Samples = Vec<(String, i64, u64)>;

fn samples(scrape: &Scrape) -> Samples {
    let stored = scrape.series.iter().filter_map(|(series, sample)| {
        let labels = series.labels.as_ref()?.to_string();
        let Value::Float(value) = sample.value else {
            return None;
        };
        let is_report = labels.starts_with("scrape_") || model::is_stale(value);
        (!is_report).then(|| (labels, sample.at.millis(), value.to_bits()))
    });
    stored.collect()
}

fn metadata_of(format: Format, page: &[u8]) -> HashMap<String, Metadata> {
    let families = text::families(format, page).unwrap_or_default();
    families.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whoever_knows_the_pages_before_reads_the_same(
        first in proptest::collection::vec(0..LINES.len() - 1, 0..14),
        changes in proptest::collection::vec(
            proptest::collection::vec((0..20_usize, 0..LINES.len(), 0..3), 0..3), 1..6),
        last_line_ends in any::<bool>(),
        open_metrics in any::<bool>(),
    ) {
        let format = if open_metrics { Format::OpenMetrics } else { Format::Classic };
        let (mut lines, mut knows) = (first, Target::new(""));
        let mut handed_over: BTreeMap<String, Metadata> = BTreeMap::new();
        for (at, changes) in (1..).zip(changes) {
            let mut page = lines.iter().map(|line| LINES[*line]).collect::<Vec<_>>().join("\n");
            page.push_str(match (open_metrics, last_line_ends) {
                (true, _) => "\n# EOF\n",
                (_, true) => "\n",
                _ => "",
            });
            let page = page.as_bytes();
            let known = knows.scrape_as(at, PageFormat::Text(format), page);
            let new = Target::new("").scrape_as(at, PageFormat::Text(format), page);
            prop_assert_eq!(samples(&known), samples(&new));
            let is_good = samples(&known).iter().any(|(labels, _, value)| {
                labels.starts_with("up") && *value == 1_f64.to_bits()
            });
            handed_over.extend(known.metadata.iter().cloned());
            if !is_good {
                handed_over.clear();
            }
            for (family, metadata) in metadata_of(format, page).into_iter().filter(|_| is_good) {
                prop_assert_eq!(handed_over.get(&family), Some(&metadata), "{}", family);
            }
            for (place, line, how) in changes {
                let place = place.min(lines.len());
                match how {
                    0 => lines.insert(place, line),
                    _ if place == lines.len() => {}
                    1 => drop(lines.remove(place)),
                    _ => lines[place] = line,
                }
            }
        }
    }
}

#[test]
fn comments_that_stay_are_not_read_again() {
    let mut target = Target::new("");
    let mut page = |at, page: &str| {
        let page = page.as_bytes();
        let scrape = target.scrape_as(at, PageFormat::Text(Format::Classic), page);
        let kinds = scrape.metadata.into_iter();
        kinds
            .map(|(family, metadata)| (family, metadata.kind, metadata.help))
            .collect::<Vec<_>>()
    };
    let told = |family: &str, kind, help: &str| (family.to_owned(), kind, help.to_owned());
    let before = "# HELP a one\n# TYPE a gauge\na 1\n# TYPE b counter\nb 1\n";
    assert_eq!(
        page(1, before),
        [
            told("a", MetricType::Gauge, "one"),
            told("b", MetricType::Counter, "")
        ]
    );
    assert_eq!(page(2, before), []);
    let helps_more = before.replace("a one", "a more");
    assert_eq!(page(3, &helps_more), [told("a", MetricType::Gauge, "more")]);
    let other_order = "# TYPE b counter\nb 1\n# HELP a more\n# TYPE a gauge\na 1\n";
    assert_eq!(page(4, other_order), []);
    // The last line need not end.
    let ends_in_help = format!("{other_order}# HELP b late");
    assert_eq!(
        page(5, &ends_in_help),
        [told("b", MetricType::Counter, "late")]
    );
    assert_eq!(page(6, &ends_in_help), []);
}
