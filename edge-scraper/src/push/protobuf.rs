//! Families as protobuf (delimited `MetricFamily` messages), which client libraries push by default.

use std::collections::BTreeSet;

use model::{LabelSet, METRIC_NAME, Metadata, Value};
use wire::exposition::protobuf::{self, HistogramChoice};

use super::families::{Families, Family, Unfit, twice};

/// Both forms are kept; which of them is stored is up to the scrape.
const CHOICE: HistogramChoice = HistogramChoice {
    native: true,
    classic_too: true,
};

/// Reads a body.
///
/// # Errors
/// What is wrong with it: not in the format, a timestamp, one series twice, labels that are none.
pub(crate) fn read(body: &[u8]) -> Result<Families, Unfit> {
    let format = |why: String| Unfit::Format(why);
    let mut all = Families::new();
    let mut seen = BTreeSet::new();
    let mut points = Vec::new();
    let mut families = protobuf::Families::new(body);
    while let Some(family) = families
        .next_family()
        .map_err(|error| format(error.to_string()))?
    {
        let mut read = Family {
            about: Metadata {
                kind: family.kind,
                help: family.help.to_owned(),
                unit: family.unit.to_owned(),
            },
            ..Family::default()
        };
        for metric in family.metrics() {
            let metric = metric.map_err(|error| format(error.to_string()))?;
            metric
                .points_into(&family, CHOICE, &mut points)
                .map_err(|error| format(error.to_string()))?;
            for point in points.drain(..) {
                let name = format!("{}{}", family.name, point.suffix);
                if point.timestamp.is_some() {
                    let why = format!("metrics must not have timestamps, and {name} has one");
                    return Err(Unfit::Content(why));
                }
                let bound = point
                    .bound
                    .iter()
                    .map(|(label, value)| (*label, value.as_str()));
                let pairs = metric.labels().chain(bound);
                let labels = LabelSet::from_pairs(pairs.chain([(METRIC_NAME, name.as_str())]))
                    .map_err(|error| format(error.to_string()))?;
                if !seen.insert(labels.clone()) {
                    return Err(Unfit::Content(twice(&labels)));
                }
                match point.value {
                    Value::Float(value) => read.samples.push((labels, value)),
                    Value::Histogram(value) => read.natives.push((labels, value)),
                }
            }
        }
        if all.insert(family.name.to_owned(), read).is_some() {
            return Err(Unfit::Content(format!(
                "family {} comes twice",
                family.name
            )));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Histogram;

    use super::*;

    /// A field with bytes in it.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.len() < 128);
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn double(number: u8, value: f64) -> Vec<u8> {
        [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
    }

    fn family(name: &str, kind: u8, metrics: &[Vec<u8>]) -> Vec<u8> {
        let mut message = [
            field(1, name.as_bytes()),
            field(2, b"of it"),
            vec![3 << 3, kind],
        ]
        .concat();
        metrics
            .iter()
            .for_each(|metric| message.extend(field(4, metric)));
        [&[message.len() as u8][..], &message].concat()
    }

    fn label(name: &str, value: &str) -> Vec<u8> {
        field(
            1,
            &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat(),
        )
    }

    fn shown(body: &[u8]) -> Vec<String> {
        match read(body) {
            Err(error) => vec![error.to_string()],
            Ok(families) => families
                .values()
                .flat_map(|family| {
                    let native = |(labels, value): &(LabelSet, Arc<Histogram>)| {
                        format!(
                            "{labels} native {}/{}/{}",
                            value.count, value.schema, value.zero_count
                        )
                    };
                    let number = |(labels, value): &(LabelSet, f64)| format!("{labels} {value}");
                    let natives = family.natives.iter().map(native);
                    family.samples.iter().map(number).chain(natives)
                })
                .collect(),
        }
    }

    const GAUGE: u8 = 1;
    const HISTOGRAM: u8 = 4;

    #[test]
    fn gauges_and_classic_histograms() {
        let gauge = [label("x", "y"), field(2, &double(1, 1.5))].concat();
        let bucket = field(3, &[&[1 << 3, 2][..], &double(2, 0.5)].concat());
        let histogram = field(7, &[&[1 << 3, 3][..], &double(2, 4.0), &bucket].concat());
        let body = [
            family("g", GAUGE, std::slice::from_ref(&gauge)),
            family("h", HISTOGRAM, &[histogram]),
        ]
        .concat();
        let mut found = shown(&body);
        found.sort();
        assert_eq!(
            found,
            [
                "g{x=\"y\"} 1.5",
                "h_bucket{le=\"+Inf\"} 3",
                "h_bucket{le=\"0.5\"} 2",
                "h_count 3",
                "h_sum 4"
            ]
        );
        assert_eq!(read(&body).unwrap()["g"].about.help, "of it");
        // What is refused.
        let twice = family("g", GAUGE, &[gauge.clone(), gauge.clone()]);
        assert!(shown(&twice)[0].contains("collected before"));
        let again = [
            family("g", GAUGE, std::slice::from_ref(&gauge)),
            family("g", GAUGE, &[field(2, &double(1, 1.0))]),
        ]
        .concat();
        assert!(shown(&again)[0].contains("comes twice"));
        let timed = family("g", GAUGE, &[[gauge, vec![6 << 3, 5]].concat()]);
        assert!(shown(&timed)[0].contains("must not have timestamps"));
        // A zero threshold, a zero bucket, and no classic one.
        let native = [
            &[1 << 3, 3][..],
            &double(2, 4.0),
            &[5 << 3, 2],
            &double(6, 0.1),
            &[7 << 3, 3],
        ]
        .concat();
        let both = [&native[..], &bucket].concat();
        let metrics = [
            field(7, &native),
            [label("x", "y"), field(7, &both)].concat(),
        ];
        assert_eq!(
            shown(&family("n", HISTOGRAM, &metrics)),
            [
                "n_count{x=\"y\"} 3",
                "n_sum{x=\"y\"} 4",
                "n_bucket{le=\"0.5\", x=\"y\"} 2",
                "n_bucket{le=\"+Inf\", x=\"y\"} 3",
                "n native 3/1/3",
                "n{x=\"y\"} native 3/1/3",
            ]
        );
        let again = family("n", HISTOGRAM, &[field(7, &native), field(7, &native)]);
        assert!(shown(&again)[0].contains("collected before"));
        assert!(
            shown(&[9, 1])[0].starts_with("text format parsing error")
                || shown(&[9, 1])[0].contains("protobuf")
        );
    }
}
