//! What stops a query, and that nothing makes it run over.

use std::time::Duration;

use model::{LabelSet, Timestamp};
use promql::script::{Command, MemoryTarget, Target, parse as parse_script};
use promql::{
    Budget, Cancel, Engine, EngineOptions, ParseOptions, QueryError, QueryOptions, QueryResult,
    ResultValue, Select, Selection, SeriesColumns, SeriesSet, SeriesView, Storage, StorageError,
    parse,
};

fn loaded() -> MemoryTarget {
    let mut target = MemoryTarget::default();
    let script = "load 15s\n a{n=\"1\"} 0+1x240\n a{n=\"2\"} 0+2x240\n";
    for command in parse_script(script).unwrap() {
        if let Command::Load(load) = command {
            target.load(&load).unwrap();
        }
    }
    target
}

fn range(
    storage: &dyn Storage,
    engine: &Engine,
    text: &str,
    options: &QueryOptions,
) -> Result<QueryResult, QueryError> {
    let expr = parse(text, &ParseOptions::all())?;
    let hour = Timestamp::from_millis(3_600_000);
    let step = Duration::from_secs(15);
    engine.range(
        storage,
        &expr,
        Timestamp::from_millis(0),
        hour,
        step,
        options,
    )
}

#[test]
fn samples_are_limited() {
    let target = loaded();
    let check = |text: &str, samples_max: u64, fits: bool| {
        let engine = Engine::new(EngineOptions {
            samples_max,
            ..EngineOptions::default()
        });
        let result = range(&target, &engine, text, &QueryOptions::default());
        match result {
            Ok(result) => {
                assert!(fits && result.stats.peak_samples <= samples_max, "{text}");
            }
            Err(error) => {
                let expected =
                    "query processing would load too many samples into memory in query execution";
                assert!(!fits && error.to_string() == expected, "{text}: {error}");
            }
        }
    };
    check("a", 1_000, true);
    check("a", 400, false);
    check("rate(a[1m])", 1_000, true);
    check("a + a", 2_000, true);
    check("a + a", 800, false);
    check("vector(1)", 300, true);
    check("quantile(0.5, a)", 1_000, true);
    check("quantile(0.5, a)", 800, false);
    check("sum(a)", 800, true);
    check("sum(a)", 600, false);
    // Nothing to see at most steps, and still no room for them.
    check("max_over_time((a > 1e9)[1h:10ms])", 10_000, false);
    check("max_over_time(a[1h:1s])", 3_000, false);
}

/// A storage that stops the query while it is asked.
struct Stopping(Cancel, fn(&Cancel));

impl Storage for Stopping {
    fn select(
        &self,
        _: &Select<'_>,
        _: &Budget,
        cancel: &Cancel,
    ) -> Result<Selection, StorageError> {
        (self.1)(&self.0);
        cancel.check()?;
        Ok(Selection::default())
    }
}

#[test]
fn queries_can_be_stopped() {
    let check = |stop: fn(&Cancel), expected: QueryError, text: &str| {
        let options = QueryOptions::default();
        let storage = Stopping(options.cancel.clone(), stop);
        let result = range(&storage, &Engine::default(), "sum(rate(a[5m]))", &options);
        let error = result.map(|result| result.value).unwrap_err();
        assert_eq!(error, expected);
        assert_eq!(error.to_string(), text);
    };
    check(
        Cancel::cancel,
        QueryError::Canceled,
        "query was canceled in expression evaluation",
    );
    check(
        Cancel::time_out,
        QueryError::Timeout,
        "query timed out in expression evaluation",
    );
    let options = QueryOptions::default();
    options.cancel.cancel();
    let result = range(&loaded(), &Engine::default(), "1 + 1", &options);
    assert_eq!(result.map(|result| result.value), Err(QueryError::Canceled));
}

/// A storage with something to say.
struct Warning;

impl Storage for Warning {
    fn select(&self, _: &Select<'_>, _: &Budget, _: &Cancel) -> Result<Selection, StorageError> {
        Ok(Selection {
            series: Vec::<SeriesColumns>::new(),
            warnings: vec!["branch b07 is missing since 12:00".to_owned()],
        })
    }
}

/// A storage that fails.
struct Failing;

impl Storage for Failing {
    fn select(&self, _: &Select<'_>, _: &Budget, _: &Cancel) -> Result<Selection, StorageError> {
        Err(StorageError::Failed("part 17 is damaged".to_owned()))
    }
}

#[test]
fn storage_is_heard() {
    let engine = Engine::default();
    let result = range(&Warning, &engine, "a + b", &QueryOptions::default()).unwrap();
    assert_eq!(result.warnings, ["branch b07 is missing since 12:00"]);
    let error = range(&Failing, &engine, "a", &QueryOptions::default());
    let error = error.map(|result| result.value).unwrap_err();
    assert_eq!(error.to_string(), "expanding series: part 17 is damaged");
}

/// The deepest expressions that parse are evaluated on the small stack of a worker thread, and times far beyond any
/// calendar are times as any other.
#[test]
fn extremes_have_answers() {
    let run = || {
        let target = loaded();
        let engine = Engine::default();
        let options = QueryOptions::default();
        let n = 990;
        let deep = [
            "1+".repeat(n) + "1",
            "a or ".repeat(n) + "a",
            "abs(".repeat(n) + "a" + &")".repeat(n),
            "(".repeat(n) + "a" + &")".repeat(n),
            "-(".repeat(n / 2) + "a" + &")".repeat(n / 2),
            "sum(".repeat(n) + "a" + &")".repeat(n),
            "max_over_time(".repeat(200) + "a" + &"[1m:])".repeat(200),
            "a[".to_owned() + &"1s+".repeat(n) + "1s]",
        ];
        for text in &deep {
            let expr = parse(text, &ParseOptions::all()).unwrap_or_else(|e| panic!("{e}"));
            let at = Timestamp::from_millis(600_000);
            engine.instant(&target, &expr, at, &options).unwrap();
        }
        let far = [
            i64::MIN,
            i64::MIN / 2,
            -1,
            253_402_300_800_000,
            i64::MAX / 2,
            i64::MAX,
        ];
        let texts = [
            "a",
            "rate(a[5m])",
            "a offset 100y",
            "a @ 9e15",
            "predict_linear(a[1h] @ 3600, 1)",
            "time()",
            "year()",
            "max_over_time(a[1d:1h])",
            "rate(a[292y])",
            "timestamp(a)",
            "absent(a)",
            "rate(a[0.0001])",
            "a offset -292y",
            "sum_over_time(a[1h:1m] @ -9e15 offset 200y)",
        ];
        for at in far.map(Timestamp::from_millis) {
            for text in texts {
                let expr = parse(text, &ParseOptions::all()).unwrap();
                let _ = engine.instant(&target, &expr, at, &options);
                let end = at.saturating_add(Duration::from_secs(120));
                let _ = engine.range(&target, &expr, at, end, Duration::from_secs(60), &options);
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    thread.unwrap().join().unwrap();
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    let check = |text: &str, start: i64, end: i64, step_ms: u64, expected: &str| {
        let expr = parse(text, &ParseOptions::all()).unwrap();
        let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        let step = Duration::from_millis(step_ms);
        let result =
            Engine::default().range(&loaded(), &expr, start, end, step, &QueryOptions::default());
        let error = result.map(|result| result.value).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("a", 1, 0, 1, "end timestamp must not be before start time");
    check("a", 0, 1, 0, "at least one millisecond");
    check("a", i64::MIN, i64::MAX, 1, "too long");
    check("a", 0, i64::MAX, 1, "steps");
    check(
        "a[5m]",
        0,
        1,
        1,
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
    );
    check("\"x\"", 0, 1, 1, "invalid expression type \"string\"");
    check("max_over_time(a[200y:1ms])", 0, 1, 1, "at most");
}

#[test]
fn a_scalar_over_a_range_is_one_series() {
    let result = range(
        &loaded(),
        &Engine::default(),
        "scalar(a{n=\"2\"}) / 2",
        &QueryOptions::default(),
    );
    let ResultValue::Matrix(series) = result.unwrap().value else {
        panic!("a range vector");
    };
    assert_eq!(series.len(), 1);
    assert!(series[0].labels.is_empty());
    assert_eq!(series[0].floats.len(), 241);
    assert_eq!(series[0].floats[10].1, 10.0);
}

/// A storage that wants its series folded in stretches of a hundred.
struct InStretches(MemoryTarget);

struct Hundreds(Selection);

impl Storage for InStretches {
    fn open<'s>(
        &'s self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Box<dyn SeriesSet + 's>, StorageError> {
        Ok(Box::new(Hundreds(self.select(select, budget, cancel)?)))
    }

    fn select(
        &self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Selection, StorageError> {
        self.0.select(select, budget, cancel)
    }
}

impl SeriesSet for Hundreds {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, place: usize) -> Option<LabelSet> {
        self.0.labels(place)
    }

    fn read(
        &self,
        places: std::ops::Range<usize>,
        cancel: &Cancel,
        visit: &mut dyn FnMut(usize, SeriesView<'_>) -> bool,
    ) -> Result<(), StorageError> {
        self.0.read(places, cancel, visit)
    }

    fn stretch(&self, place: usize) -> u32 {
        place as u32 / 100
    }

    fn warnings(&self) -> &[String] {
        self.0.warnings()
    }

    fn holds_samples(&self) -> bool {
        true
    }
}

/// Many series at many steps, some of them worth an annotation: one thread or several give the same bits and say the
/// same.
#[test]
fn threads_do_not_show() {
    let mut script = "load 15s\n".to_owned();
    for n in 0..1_500 {
        script += &format!(" odd{{n=\"{n}\"}} 0+{}.1x20 3+0.7x19\n", n % 7);
        if n % 10 == 0 {
            script +=
                &format!(" hist_total{{n=\"{n}\"}} {{{{sum:1 count:2 buckets:[1 1]}}}}x10 1x10\n");
        }
    }
    let mut target = MemoryTarget::default();
    for command in parse_script(&script).unwrap() {
        if let Command::Load(load) = command {
            target.load(&load).unwrap();
        }
    }
    let target = InStretches(target);
    let texts = [
        "sum by (n) (rate({n!=\"\"}[5m]))",
        "sum(rate(odd[2m]))",
        "avg(odd)",
        "stddev without (n) (odd)",
        "quantile(0.3, increase(odd[2m]))",
        "max by (__name__) (last_over_time(odd[2m]))",
        "count(avg_over_time(odd[2m]))",
        "stddev_over_time({__name__=~\"odd|hist_total\"}[5m])",
        "double_exponential_smoothing(odd[5m], 2, 0.5)",
    ];
    let by_step = QueryOptions {
        count_by_step: true,
        ..QueryOptions::default()
    };
    for text in texts {
        let answer = |threads: usize| {
            let engine = Engine::new(EngineOptions {
                threads,
                delayed_name_removal: true,
                ..EngineOptions::default()
            });
            match range(&target, &engine, text, &by_step) {
                Ok(r) => format!(
                    "{:?} {:?} {:?} {} {} {:?}",
                    r.value,
                    r.warnings,
                    r.infos,
                    r.stats.queryable_samples,
                    r.stats.samples_read,
                    r.stats.samples_by_step
                ),
                Err(error) => error.to_string(),
            }
        };
        let alone = answer(1);
        assert!(alone == answer(3) && alone == answer(8), "{text}");
    }
}
