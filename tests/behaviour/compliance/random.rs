//! PromQL at random: any expression of the grammar whose answer does not hang on the order of equal values.

/// SplitMix64: the same numbers for the same seed, everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const GAUGES: [&str; 4] = [
    "demo_memory_usage_bytes",
    "demo_num_cpus",
    "demo_disk_usage_bytes",
    "demo_intermittent_metric",
];
const COUNTERS: [&str; 4] = [
    "demo_cpu_usage_seconds_total",
    "demo_api_request_duration_seconds_count",
    "demo_api_request_duration_seconds_sum",
    "demo_api_request_duration_seconds_bucket",
];
const LABELS: [&str; 7] = ["instance", "job", "type", "mode", "method", "path", "le"];
const RANGES: [&str; 6] = ["7s", "30s", "1m", "5m", "17m", "30m"];
const OFFSETS: [&str; 4] = ["10s", "1m", "-30s", "12m"];
const NUMBERS: [&str; 9] = ["0", "1", "2", "0.5", "-3", "1e9", "1000", "NaN", "Inf"];

/// The query of a seed.
pub(super) fn query(seed: u64) -> String {
    let mut random = Random::of(seed);
    let depth = 1 + random.below(3);
    vector(&mut random, depth)
}

fn vector(random: &mut Random, depth: usize) -> String {
    if depth == 0 {
        return selector(random);
    }
    match random.below(10) {
        0 => selector(random),
        1 | 2 => aggregation(random, depth - 1),
        3 | 4 => over_range(random, depth - 1),
        5 => function(random, depth - 1),
        6 | 7 => binary(random, depth - 1),
        8 => special(random, depth - 1),
        _ => format!("-({})", vector(random, depth - 1)),
    }
}

fn metric(random: &mut Random) -> &'static str {
    match random.below(2) {
        0 => random.one(&GAUGES),
        _ => random.one(&COUNTERS),
    }
}

fn matchers(random: &mut Random) -> String {
    let one = match random.below(8) {
        0 => r#"instance="demo.promlabs.com:10001""#,
        1 => r#"instance!="demo.promlabs.com:10000""#,
        2 => r#"instance=~".*:1000[02]""#,
        3 => r#"type=~"used|free",job="demo""#,
        4 => r#"mode!~"i.*""#,
        5 => r#"method="GET",status!="500""#,
        _ => return String::new(),
    };
    format!("{{{one}}}")
}

fn modifiers(random: &mut Random) -> String {
    let offset = match random.below(4) {
        0 => format!(" offset {}", random.one(&OFFSETS)),
        _ => String::new(),
    };
    let at = match random.below(12) {
        0 => " @ start()",
        1 => " @ end()",
        _ => "",
    };
    format!("{at}{offset}")
}

fn selector(random: &mut Random) -> String {
    let (metric, matchers) = (metric(random), matchers(random));
    format!("{metric}{matchers}{}", modifiers(random))
}

fn range(random: &mut Random, depth: usize) -> String {
    let length = random.one(&RANGES);
    if depth > 0 && random.below(4) == 0 {
        let step = random.one(&["", "10s", "37s", "1m"]);
        return format!(
            "({})[{length}:{step}]{}",
            vector(random, depth - 1),
            modifiers(random)
        );
    }
    let (metric, matchers) = (metric(random), matchers(random));
    format!("{metric}{matchers}[{length}]{}", modifiers(random))
}

fn over_range(random: &mut Random, depth: usize) -> String {
    let plain = [
        "rate",
        "increase",
        "irate",
        "delta",
        "idelta",
        "deriv",
        "changes",
        "resets",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "sum_over_time",
        "count_over_time",
        "last_over_time",
        "present_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "absent_over_time",
    ];
    match random.below(10) {
        0 => {
            let quantile = random.one(&["0", "0.3", "0.95", "1", "-1", "2"]);
            format!("quantile_over_time({quantile}, {})", range(random, depth))
        }
        1 => {
            let (range, ahead) = (range(random, depth), random.one(&["60", "-30", "3600"]));
            // See the module above.
            let range = range.replace(" @ start()", "").replace(" @ end()", "");
            format!("predict_linear({range}, {ahead})")
        }
        _ => format!("{}({})", random.one(&plain), range(random, depth)),
    }
}

fn labels(random: &mut Random) -> String {
    let count = random.below(4);
    let mut names: Vec<&str> = (0..count).map(|_| random.one(&LABELS)).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn aggregation(random: &mut Random, depth: usize) -> String {
    let inner = vector(random, depth);
    let grouping = match random.below(3) {
        0 => String::new(),
        1 => format!(" by ({})", labels(random)),
        _ => format!(" without ({})", labels(random)),
    };
    match random.below(9) {
        8 => {
            let operator = random.one(&["stddev", "stdvar"]);
            format!("{operator}{grouping} ({})", selector(random))
        }
        0 => {
            let quantile = random.one(&["0", "0.25", "0.9", "1", "1.5"]);
            format!("quantile{grouping} ({quantile}, {inner})")
        }
        1 => format!(
            "count_values{grouping} (\"value\", {})",
            random.one(&GAUGES)
        ),
        // Among equal values any may be chosen; those of memory are never equal.
        2 => {
            let (operator, count) = (random.one(&["topk", "bottomk"]), 1 + random.below(5));
            format!(
                "{operator}{grouping} ({count}, demo_memory_usage_bytes{})",
                modifiers(random)
            )
        }
        _ => {
            let operator = random.one(&["sum", "avg", "min", "max", "count", "group"]);
            format!("{operator}{grouping} ({inner})")
        }
    }
}

fn function(random: &mut Random, depth: usize) -> String {
    let inner = vector(random, depth);
    let plain = [
        "abs",
        "ceil",
        "floor",
        "exp",
        "sqrt",
        "ln",
        "log2",
        "log10",
        "sgn",
        "round",
        "timestamp",
        "absent",
        "hour",
        "minute",
        "day_of_month",
        "day_of_week",
        "days_in_month",
        "month",
        "year",
        "sort",
        "sin",
        "atan",
        "rad",
    ];
    match random.below(6) {
        0 => format!(
            "clamp({inner}, {}, {})",
            random.one(&NUMBERS),
            random.one(&NUMBERS)
        ),
        1 => format!("clamp_min({inner}, {})", random.one(&NUMBERS)),
        2 => format!(
            "round({inner}, {})",
            random.one(&["0.1", "5", "1000", "-2"])
        ),
        _ => format!("{}({inner})", random.one(&plain)),
    }
}

fn scalar(random: &mut Random, depth: usize) -> String {
    match random.below(5) {
        0 => "time()".to_owned(),
        1 => format!("scalar({})", vector(random, depth)),
        2 => format!("({} * {})", random.one(&NUMBERS), random.one(&NUMBERS)),
        _ => random.one(&NUMBERS).to_owned(),
    }
}

fn binary(random: &mut Random, depth: usize) -> String {
    let arithmetic = random.one(&["+", "-", "*", "/", "%", "^"]);
    let comparison = random.one(&["==", "!=", "<", "<=", ">", ">="]);
    let bool = random.one(&["", " bool"]);
    let operator = match random.below(2) {
        0 => arithmetic.to_owned(),
        _ => format!("{comparison}{bool}"),
    };
    let left = vector(random, depth);
    match random.below(6) {
        0 => format!("({left}) {operator} {}", scalar(random, depth)),
        1 => format!("{} {operator} ({left})", scalar(random, depth)),
        2 => {
            let set = random.one(&["and", "or", "unless"]);
            let on = matching(random);
            format!("({left}) {set}{on} ({})", vector(random, depth))
        }
        3 => {
            let (side, label) = (
                random.one(&["group_left", "group_right"]),
                random.one(&["", "type", "job"]),
            );
            format!(
                "({left}) {operator} on (instance) {side} ({label}) ({})",
                vector(random, depth)
            )
        }
        // The same on both sides always matches.
        4 => format!("({left}) {operator} ({left})"),
        _ => {
            let on = matching(random);
            format!("({left}) {operator}{on} ({})", vector(random, depth))
        }
    }
}

fn matching(random: &mut Random) -> String {
    match random.below(3) {
        0 => String::new(),
        1 => format!(" on ({})", labels(random)),
        _ => format!(" ignoring ({})", labels(random)),
    }
}

fn special(random: &mut Random, depth: usize) -> String {
    match random.below(5) {
        0 => {
            let quantile = random.one(&["0", "0.5", "0.99", "1", "-1", "7"]);
            let by = random.one(&["le", "le, instance", "le, method, path"]);
            let length = random.one(&RANGES);
            format!(
                "histogram_quantile({quantile}, sum by ({by}) (rate(demo_api_request_duration_seconds_bucket[{length}])))"
            )
        }
        1 => format!(
            "label_replace({}, \"new\", \"$1-x\", \"{}\", \"(.*).\")",
            vector(random, depth),
            random.one(&LABELS)
        ),
        2 => format!(
            "label_join({}, \"new\", \"/\", \"{}\", \"{}\")",
            vector(random, depth),
            random.one(&LABELS),
            random.one(&LABELS)
        ),
        3 => format!("vector({})", scalar(random, depth)),
        _ => format!(
            "sum by (instance) ({}) or {}",
            vector(random, depth),
            selector(random)
        ),
    }
}
