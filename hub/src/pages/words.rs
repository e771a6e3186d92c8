//! `/query/words`: the words of PromQL that the editor offers, each with its signature and what it does. Of the
//! engine's own table, so that none is missing and none is offered that this hub would refuse.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use promql::{Function, FunctionId, ValueType};
use serde_json::{Value, json};

use crate::features::Features;

/// Aggregations and what they do; those that are experimental last.
const AGGREGATIONS: [(&str, &str, bool); 14] = [
    ("sum", "Sum over the series of each group.", false),
    ("avg", "Mean over the series of each group.", false),
    ("min", "Smallest value of each group.", false),
    ("max", "Largest value of each group.", false),
    ("count", "How many series each group has.", false),
    ("group", "1 for each group that has series.", false),
    (
        "stddev",
        "Standard deviation over the series of each group.",
        false,
    ),
    ("stdvar", "Variance over the series of each group.", false),
    (
        "topk",
        "The k series with the largest values: topk(5, …).",
        false,
    ),
    (
        "bottomk",
        "The k series with the smallest values: bottomk(5, …).",
        false,
    ),
    (
        "quantile",
        "Quantile over the series of each group: quantile(0.9, …).",
        false,
    ),
    (
        "count_values",
        "How many series have each value, which becomes a label: count_values(\"version\", …).",
        false,
    ),
    ("limitk", "Any k series of each group: limitk(5, …).", true),
    (
        "limit_ratio",
        "About this share of the series, always the same ones: limit_ratio(0.1, …).",
        true,
    ),
];

const KEYWORDS: [(&str, &str); 12] = [
    ("by", "Group by these labels only: sum by (branch) (…)."),
    (
        "without",
        "Group by all labels but these: sum without (instance) (…).",
    ),
    ("on", "Match the two sides on these labels only."),
    ("ignoring", "Match the two sides on all labels but these."),
    (
        "group_left",
        "Many series on the left match one on the right, whose labels in the brackets are taken over.",
    ),
    (
        "group_right",
        "One series on the left matches many on the right.",
    ),
    (
        "and",
        "Series of the left side that the right side has too.",
    ),
    (
        "or",
        "Series of the left side, and those of the right side that the left side has not.",
    ),
    (
        "unless",
        "Series of the left side that the right side has not.",
    ),
    ("bool", "A comparison answers 0 or 1 and keeps all series."),
    ("offset", "As it was so long ago: up offset 1d."),
    ("atan2", "Angle of the two sides, in radians."),
];

/// Everything that is switched on, as the API answers.
pub(crate) fn words(features: &Features) -> Response {
    let body = json!({"status": "success", "data": list(features)}).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn list(features: &Features) -> Vec<Value> {
    let experimental = features.parse.experimental_functions;
    let functions = promql::FUNCTIONS
        .iter()
        .filter(|function| experimental || !function.experimental)
        .map(|function| {
            json!({
                "text": format!("{}(", function.name), "label": function.name, "after": ")", "kind": "function",
                "signature": signature(function), "help": help(function.id),
            })
        });
    let aggregations = AGGREGATIONS
        .iter()
        .filter(|(_, _, is_experimental)| experimental || !is_experimental)
        .map(|(name, help, _)| json!({"text": name, "kind": "aggregation", "help": help}));
    let keywords = KEYWORDS
        .iter()
        .map(|(name, help)| json!({"text": name, "kind": "keyword", "help": help}));
    functions.chain(aggregations).chain(keywords).collect()
}

/// `round(instant vector, [scalar])`.
fn signature(function: &Function) -> String {
    let word = |value_type: &ValueType| match value_type {
        ValueType::Matrix => "range vector",
        ValueType::Vector => "instant vector",
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
    };
    let required = match function.variadic {
        0 => function.args.len(),
        _ => function.args.len().saturating_sub(1),
    };
    let mut args: Vec<String> = function
        .args
        .iter()
        .map(|arg| word(arg).to_owned())
        .collect();
    for arg in args.iter_mut().skip(required) {
        *arg = format!("[{arg}]");
    }
    if function.variadic < 0 || function.variadic > 1 {
        args.push("…".to_owned());
    }
    let returns = word(&function.returns);
    format!("{}({}) → {returns}", function.name, args.join(", "))
}

/// One line of help. No `_` arm: a function that the engine learns wants one too.
fn help(function: FunctionId) -> &'static str {
    use FunctionId as F;
    match function {
        F::Abs => "Values without their sign.",
        F::Absent => {
            "1 when there is no such series, nothing otherwise: for alerts on missing data."
        }
        F::AbsentOverTime => "1 when no such series had a sample in the range, nothing otherwise.",
        F::Acos => "Arc cosine, in radians.",
        F::Acosh => "Inverse hyperbolic cosine.",
        F::Asin => "Arc sine, in radians.",
        F::Asinh => "Inverse hyperbolic sine.",
        F::Atan => "Arc tangent, in radians.",
        F::Atanh => "Inverse hyperbolic tangent.",
        F::AvgOverTime => "Mean of each series over the range.",
        F::Ceil => "Rounded up to the next whole number.",
        F::Changes => "How often the value changed in the range.",
        F::Clamp => "Values kept between a least and a greatest.",
        F::ClampMax => "Values cut off at a greatest.",
        F::ClampMin => "Values raised to a least.",
        F::Cos => "Cosine of radians.",
        F::Cosh => "Hyperbolic cosine.",
        F::CountOverTime => "How many samples each series has in the range.",
        F::DayOfMonth => {
            "Day of the month, 1 to 31, in UTC, of times in seconds; of now without an argument."
        }
        F::DayOfWeek => {
            "Day of the week, 0 for Sunday, in UTC, of times in seconds; of now without an argument."
        }
        F::DayOfYear => {
            "Day of the year, 1 to 366, in UTC, of times in seconds; of now without an argument."
        }
        F::DaysInMonth => {
            "Days of the month, 28 to 31, of times in seconds; of now without an argument."
        }
        F::Deg => "Degrees of radians.",
        F::Delta => {
            "How much a gauge changed over the range, extrapolated to its ends. For counters: increase."
        }
        F::Deriv => "Change of a gauge per second, by linear regression over the range.",
        F::DoubleExponentialSmoothing => {
            "A smoothed value of a gauge: smoothing factor, then trend factor, each between 0 and 1."
        }
        F::End => "End of the query's range, in seconds.",
        F::Exp => "e to the power of the value.",
        F::FirstOverTime => "The first sample of each series in the range.",
        F::Floor => "Rounded down to the next whole number.",
        F::HistogramAvg => "Mean of the observations of a native histogram.",
        F::HistogramCount => "How many observations a native histogram has.",
        F::HistogramFraction => "Share of observations between a lower and an upper bound.",
        F::HistogramQuantile => {
            "Quantile of a histogram: histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m]))), or of a native one without le."
        }
        F::HistogramQuantiles => {
            "Several quantiles of a histogram at once, told apart by the label that the string names."
        }
        F::HistogramStddev => "Standard deviation of the observations of a native histogram.",
        F::HistogramStdvar => "Variance of the observations of a native histogram.",
        F::HistogramSum => "Sum of the observations of a native histogram.",
        F::Hour => {
            "Hour of the day, 0 to 23, in UTC, of times in seconds; of now without an argument."
        }
        F::Idelta => "Difference between the last two samples of a gauge.",
        F::Increase => "How much a counter grew over the range; restarts are seen through.",
        F::Info => {
            "Adds labels of the info series that belongs to each series, target_info by default."
        }
        F::Irate => {
            "Growth of a counter per second between its last two samples: for graphs of what moves fast."
        }
        F::LabelJoin => {
            "Joins the values of labels into a new one: label_join(v, \"new\", \"-\", \"a\", \"b\")."
        }
        F::LabelReplace => {
            "Makes a label out of another by a regular expression: label_replace(v, \"new\", \"$1\", \"old\", \"(.*):.*\")."
        }
        F::LastOverTime => "The last sample of each series in the range.",
        F::Ln => "Natural logarithm.",
        F::Log10 => "Logarithm to base 10.",
        F::Log2 => "Logarithm to base 2.",
        F::MadOverTime => "Median absolute deviation of each series over the range.",
        F::MaxOf => "The larger of two numbers.",
        F::MaxOverTime => "Largest value of each series in the range.",
        F::MinOf => "The smaller of two numbers.",
        F::MinOverTime => "Smallest value of each series in the range.",
        F::Minute => {
            "Minute of the hour, 0 to 59, in UTC, of times in seconds; of now without an argument."
        }
        F::Month => "Month, 1 to 12, in UTC, of times in seconds; of now without an argument.",
        F::Pi => "π.",
        F::PredictLinear => {
            "Value of a gauge in so many seconds, if it goes on as over the range: for disks that fill up."
        }
        F::PresentOverTime => "1 for each series that has a sample in the range.",
        F::QuantileOverTime => {
            "Quantile of each series over the range: quantile_over_time(0.9, x[1h])."
        }
        F::Rad => "Radians of degrees.",
        F::Range => "Length of the query's range, in seconds.",
        F::Rate => {
            "Growth of a counter per second, averaged over the range; restarts are seen through."
        }
        F::Resets => "How often a counter began anew in the range.",
        F::Round => {
            "Rounded to the nearest whole number, or to the nearest multiple of a second argument."
        }
        F::Scalar => "The value of the only series as a number; NaN unless there is exactly one.",
        F::Sgn => "Sign of the value: -1, 0 or 1.",
        F::Sin => "Sine of radians.",
        F::Sinh => "Hyperbolic sine.",
        F::Sort => "Sorted by value, the smallest first. In tables only.",
        F::SortByLabel => "Sorted by these labels. In tables only.",
        F::SortByLabelDesc => "Sorted by these labels, the last first. In tables only.",
        F::SortDesc => "Sorted by value, the largest first. In tables only.",
        F::Sqrt => "Square root.",
        F::Start => "Start of the query's range, in seconds.",
        F::StartTimestamp => "When each series' counter began, in seconds, where that is known.",
        F::StddevOverTime => "Standard deviation of each series over the range.",
        F::StdvarOverTime => "Variance of each series over the range.",
        F::Step => "Step of the query, in seconds.",
        F::SumOverTime => "Sum of each series' samples in the range.",
        F::Tan => "Tangent of radians.",
        F::Tanh => "Hyperbolic tangent.",
        F::Time => "The evaluation's time, in seconds since 1970.",
        F::Timestamp => "When each series' sample was taken, in seconds since 1970.",
        F::TsOfFirstOverTime => "When the first sample of each series in the range was taken.",
        F::TsOfLastOverTime => "When the last sample of each series in the range was taken.",
        F::TsOfMaxOverTime => "When each series was largest in the range.",
        F::TsOfMinOverTime => "When each series was smallest in the range.",
        F::Vector => "A number as a series without labels.",
        F::Year => "Year, in UTC, of times in seconds; of now without an argument.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        let function = promql::function(name).expect("a function");
        assert_eq!(signature(function), expected);
    }

    #[test]
    fn signatures() {
        check("rate", "rate(range vector) → instant vector");
        check("time", "time() → scalar");
        check("round", "round(instant vector, [scalar]) → instant vector");
        check(
            "label_join",
            "label_join(instant vector, string, string, [string], …) → instant vector",
        );
    }

    #[test]
    fn what_is_switched_off_is_not_offered() {
        let named = |features: &Features, name: &str| {
            list(features)
                .iter()
                .any(|word| word["text"] == name || word["label"] == name)
        };
        let mut features = Features::default();
        for experimental in [false, true] {
            features.parse.experimental_functions = experimental;
            assert_eq!(named(&features, "mad_over_time"), experimental);
            assert_eq!(named(&features, "limitk"), experimental);
            assert!(named(&features, "rate") && named(&features, "sum") && named(&features, "by"));
        }
    }
}
