//! OTLP's decoders: what they give is fit to be stored, whatever the bytes.

use model::Value;
use wire::{
    otlp::{self, Promoted, Settings, proto::metric::Data, proto::*},
    remote_write::Limits,
};

pub(crate) fn message(bytes: &[u8]) {
    let limits = Limits {
        decompressed_bytes_max: bytes.len(),
        ..Limits::default()
    };
    let every = Settings {
        convert_to_nhcb: true,
        promoted: Promoted::AllBut(Default::default()),
        promote_scope: true,
        keep_identifying: true,
        native_delta: true,
        type_and_unit_labels: true,
        ..Settings::default()
    };
    for settings in [Settings::default(), every] {
        let _ = otlp::translate(bytes, &settings, &limits, &mut |taken| {
            assert!(taken.labels.name().is_some(), "{}", taken.labels);
            if let Value::Histogram(histogram) = &taken.sample.value
                && !taken.sample.value.is_stale()
            {
                histogram.validate().expect("checked before");
            }
            assert!(taken.exemplars.iter().flatten().all(|e| e.is_short()));
        });
    }
}

pub(crate) fn json(bytes: &[u8]) {
    if let Ok(made) = otlp::json::to_message(bytes) {
        message(&made);
    }
}

/// All kinds of points, each with all that it may have.
pub(crate) fn messages() -> Vec<Vec<u8>> {
    let time = 1_700_000_000_000_000_000;
    let attribute = |key: &str, value: any_value::Value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    };
    let attributes = vec![
        attribute("service.name", any_value::Value::String("s".to_owned())),
        attribute("a.b", any_value::Value::Double(0.5)),
        attribute(
            "list",
            any_value::Value::Array(ArrayValue {
                values: vec![AnyValue::default()],
            }),
        ),
    ];
    let exemplars = vec![Exemplar {
        time_unix_nano: time,
        value: Some(ExemplarValue::Double(1.0)),
        span_id: vec![1; 8],
        trace_id: vec![2; 16],
        filtered_attributes: attributes.clone(),
    }];
    let number = NumberPoint {
        start_time_unix_nano: time,
        time_unix_nano: time,
        value: Some(Number::Int(5)),
        exemplars: exemplars.clone(),
        attributes: attributes.clone(),
        flags: 0,
    };
    let cumulative = Temporality::Cumulative as i32;
    let kinds = [
        Data::Gauge(Gauge {
            data_points: vec![number.clone()],
        }),
        Data::Sum(Sum {
            data_points: vec![number],
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Data::Histogram(Histogram {
            data_points: vec![HistogramPoint {
                time_unix_nano: time,
                count: 3,
                sum: Some(1.0),
                bucket_counts: vec![1, 2],
                explicit_bounds: vec![0.5],
                exemplars: exemplars.clone(),
                attributes: attributes.clone(),
                ..Default::default()
            }],
            aggregation_temporality: cumulative,
        }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialPoint {
                time_unix_nano: time,
                count: 4,
                scale: 9,
                zero_count: 1,
                positive: Some(ExponentialBuckets {
                    offset: -2,
                    bucket_counts: vec![1, 0, 2],
                }),
                exemplars,
                ..Default::default()
            }],
            aggregation_temporality: cumulative,
        }),
        Data::Summary(Summary {
            data_points: vec![SummaryPoint {
                time_unix_nano: time,
                count: 1,
                sum: 2.0,
                quantile_values: vec![QuantileValue {
                    quantile: 0.5,
                    value: 2.0,
                }],
                ..Default::default()
            }],
        }),
    ];
    let metric = |data: Data| Metric {
        name: "http.calls".to_owned(),
        description: "Help.".to_owned(),
        unit: "By/s".to_owned(),
        data: Some(data),
    };
    let request = |metrics: Vec<Metric>| Request {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes.clone(),
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(Scope {
                    name: "lib".to_owned(),
                    ..Default::default()
                }),
                metrics,
                ..Default::default()
            }],
        }],
    };
    let each = kinds.iter().map(|data| request(vec![metric(data.clone())]));
    let all = request(kinds.iter().cloned().map(metric).collect());
    each.chain([all])
        .map(|request| otlp::encode(&request))
        .collect()
}

pub(crate) const JSON: &[u8] = br#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}},
{"key":"l","value":{"arrayValue":{"values":[{"intValue":"1"},{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"AQ=="}}]}}]}}}]},
"scopeMetrics":[{"scope":{"name":"lib"},"metrics":[
{"name":"c","unit":"s","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"asInt":"7","timeUnixNano":"1700000000000000000",
"exemplars":[{"asDouble":1.5,"traceId":"0102","timeUnixNano":"1700000000000000000"}]}]}},
{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"count":"3","sum":1,"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}},
{"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"count":2,"scale":-1,"positive":{"offset":3,"bucketCounts":["2"]}}]}},
{"name":"s","summary":{"dataPoints":[{"count":1,"quantileValues":[{"quantile":0.5,"value":"NaN"}]}]}}]}]}]}"#;
