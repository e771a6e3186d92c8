use daemon::SimClock;
use journal::sim::SimDisk;
use model::{Histogram, Metadata, MetricType, Value};
use wire::exposition::protobuf::{self, HistogramChoice};

use super::super::families;
use super::*;

struct Fixture {
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    gateway: Gateway,
}

impl Fixture {
    fn new() -> Fixture {
        let disk = Arc::new(SimDisk::new(1));
        let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let gateway = open(&disk, &clock);
        Fixture {
            disk,
            clock,
            gateway,
        }
    }

    fn page(&self) -> String {
        text(&self.gateway)
    }

    fn push(&self, path: &str, text: &str, how: How) -> Result<(), PushError> {
        self.gateway.push(
            &parse_key(path).unwrap(),
            families::read(text.as_bytes()),
            how,
        )
    }
}

fn text(gateway: &Gateway) -> String {
    match gateway.shown() {
        Page::Text(text) => text,
        Page::Protobuf(bytes) => panic!("{bytes:?}"),
    }
}

fn open(disk: &Arc<SimDisk>, clock: &Arc<SimClock>) -> Gateway {
    Gateway::open(disk.clone(), Path::new("/data/pushgateway"), clock.clone()).unwrap()
}

#[test]
fn put_replaces_post_adds_delete_forgets() {
    let all = Fixture::new();
    all.push(
        "job/a/host/h",
        "# HELP x of x\n# TYPE x gauge\nx 1\ny{instance=\"i\"} 2\n",
        How::Replace,
    )
    .unwrap();
    all.push("job/a/host/h", "y 3\n", How::Update).unwrap();
    let page = all.page();
    assert_eq!(
        page,
        "# HELP push_failure_time_seconds Last Unix time when changing this group in the Pushgateway failed.\n\
         # TYPE push_failure_time_seconds gauge\n\
         push_failure_time_seconds{host=\"h\",job=\"a\",instance=\"\"} 0\n\
         # HELP push_time_seconds Last Unix time when changing this group in the Pushgateway succeeded.\n\
         # TYPE push_time_seconds gauge\n\
         push_time_seconds{host=\"h\",job=\"a\",instance=\"\"} 1.7e+09\n\
         # HELP x of x\n# TYPE x gauge\nx{host=\"h\",job=\"a\",instance=\"\"} 1\n\
         # TYPE y untyped\ny{host=\"h\",job=\"a\",instance=\"\"} 3\n"
    );
    all.push("job/a/host/h", "", How::Replace).unwrap();
    assert!(!all.page().contains("\nx{"), "only the times stay");
    assert!(all.page().contains("push_time_seconds{"));
    all.gateway
        .delete(&parse_key("job/a/host/h").unwrap())
        .unwrap();
    assert_eq!(all.page(), "");
    all.gateway.delete(&parse_key("job/a").unwrap()).unwrap();
}

#[test]
fn what_is_inconsistent_changes_nothing_but_the_time_of_the_failure() {
    let all = Fixture::new();
    all.push("job/a", "# TYPE x gauge\nx 1\n", How::Replace)
        .unwrap();
    all.push(
        "job/h",
        "# TYPE z histogram\nz_bucket{le=\"+Inf\"} 1\nz_sum 1\nz_count 1\n",
        How::Replace,
    )
    .unwrap();
    let check = |path: &str, text: &str, why: &str| {
        let error = all.push(path, text, How::Replace).unwrap_err();
        assert!(matches!(error, PushError::Inconsistent(_)), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    check(
        "job/b",
        "# TYPE x counter\nx 1\n",
        "x is a counter here and a gauge in another group",
    );
    check(
        "job/b",
        "z_count 1\n",
        "z_count is a metric of its own and one of z",
    );
    check(
        "job/b",
        "# TYPE x histogram\nx_sum 1\n",
        "x is a histogram here and a gauge",
    );
    check("job/a", "x 1 5\n", "must not have timestamps");
    check("job/a", "x 1\nx 1\n", "collected before");
    let page = all.page();
    assert!(page.contains("x{job=\"a\",instance=\"\"} 1\n"), "{page}");
    assert!(page.contains("push_failure_time_seconds{job=\"a\",instance=\"\"} 1.7e+09\n"));
    assert!(page.contains("push_time_seconds{job=\"b\",instance=\"\"} 0\n"));
    // The group itself may change its types.
    all.push("job/a", "# TYPE x counter\nx 1\n", How::Replace)
        .unwrap();
}

#[test]
fn what_was_answered_is_there_after_a_crash() {
    let all = Fixture::new();
    all.push("job/a", "x 1\n", How::Replace).unwrap();
    all.push("job/b", "x 2\n", How::Replace).unwrap();
    all.gateway.delete(&parse_key("job/b").unwrap()).unwrap();
    let page = all.page();
    all.disk.crash();
    assert_eq!(text(&open(&all.disk, &all.clock)), page);
    let file = all.gateway.file(&parse_key("job/a").unwrap());
    all.disk.create(&file).unwrap().append(b"nonsense").unwrap();
    assert_eq!(
        text(&open(&all.disk, &all.clock)),
        "",
        "left out, not trusted"
    );
}

#[test]
fn groups_go_by_themselves() {
    let all = Fixture::new();
    all.push("job/a", "x 1\n", How::Replace).unwrap();
    let hour = Duration::from_secs(3600);
    all.clock.advance(100 * hour);
    assert!(all.page().contains("\nx{"), "no expiry, no end");
    all.push("job/b", "x 1\n", How::Replace).unwrap();
    all.gateway.expire_after(hour);
    all.clock.advance(hour / 2);
    let page = all.page();
    assert!(
        !page.contains("job=\"a\"") && page.contains("job=\"b\""),
        "{page}"
    );
    all.push("job/b", "", How::Update).unwrap();
    all.clock.advance(hour * 3 / 4);
    assert!(all.page().contains("job=\"b\""), "pushed again in time");
    all.clock.advance(hour / 2);
    assert_eq!(all.page(), "");
    assert_eq!(text(&open(&all.disk, &all.clock)), "", "the files went too");
}

#[test]
fn there_is_so_much_room_and_no_more() {
    let all = Fixture::new();
    let text = format!("x{{t=\"{}\"}} 1\n", "t".repeat(3 << 20));
    all.push("job/a", &text, How::Replace).unwrap();
    let error = all.push("job/b", &text, How::Replace).unwrap_err();
    assert!(
        matches!(error, PushError::Full(_)) && error.to_string().contains("group_expiry"),
        "{error}"
    );
    all.push("job/a", &text, How::Replace).unwrap();
    all.gateway.delete(&parse_key("job/a").unwrap()).unwrap();
    all.push("job/b", &text, How::Replace).unwrap();
}

/// Series on the page of protobuf: name and value, native histograms as their count.
fn series(page: &Page) -> Vec<String> {
    let Page::Protobuf(bytes) = page else {
        panic!("{page:?}")
    };
    let choice = HistogramChoice {
        native: true,
        classic_too: true,
    };
    let (mut found, mut points) = (Vec::new(), Vec::new());
    let mut families = protobuf::Families::new(bytes);
    while let Some(family) = families.next_family().unwrap() {
        for metric in family.metrics() {
            let metric = metric.unwrap();
            metric.points_into(&family, choice, &mut points).unwrap();
            let job = metric.labels().find(|(name, _)| *name == "job").unwrap().1;
            found.extend(points.iter().map(|point| match &point.value {
                Value::Float(value) => format!("{job} {}{} {value}", family.name, point.suffix),
                Value::Histogram(h) => format!("{job} {} native {}", family.name, h.count),
            }));
        }
    }
    found.retain(|line| !line.contains("push_"));
    found
}

#[test]
fn native_histograms_are_merged_kept_and_shown() {
    let all = Fixture::new();
    let native = |name: &str, count: f64, classic: bool| {
        let labels =
            |suffix: &str| LabelSet::from_pairs([("__name__", format!("{name}{suffix}"))]).unwrap();
        let all = labels("_bucket").builder().set("le", "+Inf").build();
        let family = Family {
            about: Metadata {
                kind: MetricType::Histogram,
                ..Metadata::default()
            },
            samples: match classic {
                true => vec![
                    (all, count),
                    (labels("_count"), count),
                    (labels("_sum"), 1.0),
                ],
                false => Vec::new(),
            },
            natives: vec![(
                labels(""),
                Arc::new(Histogram {
                    count,
                    sum: 1.0,
                    zero_threshold: 0.5,
                    zero_count: count,
                    integer: true,
                    ..Histogram::default()
                }),
            )],
        };
        Families::from([(name.to_owned(), family)])
    };
    let push = |path: &str, families, how| {
        let key = parse_key(path).unwrap();
        all.gateway.push(&key, Ok(families), how).unwrap();
    };
    push("job/a", native("h", 1.0, false), How::Replace);
    push("job/b", native("h", 2.0, false), How::Replace);
    all.push("job/a", "x 5\n", How::Update).unwrap();
    push("job/a", native("both", 3.0, true), How::Update);
    let classic = ["a both_count 3", "a both_sum 1", "a both_bucket 3"];
    let alone = ["a h native 1", "b h native 2", "a x 5"];
    let shown = |gateway: &Gateway| series(&gateway.shown());
    assert_eq!(shown(&all.gateway), [&classic[..], &alone].concat());
    all.gateway.show(Histograms {
        native: true,
        ..Histograms::default()
    });
    let native_both = [&["a both native 3"][..], &alone].concat();
    assert_eq!(shown(&all.gateway), native_both);
    all.gateway.show(Histograms {
        native: true,
        classic_too: true,
        ..Histograms::default()
    });
    let each = [&["a both native 3"][..], &classic, &alone].concat();
    assert_eq!(shown(&all.gateway), each);
    // After a crash too, and replaced like everything else.
    all.disk.crash();
    let again = open(&all.disk, &all.clock);
    assert_eq!(shown(&again), [&classic[..], &alone].concat());
    push("job/a", native("h", 7.0, false), How::Replace);
    assert_eq!(shown(&all.gateway), ["a h native 7", "b h native 2"]);
    all.push("job/a", "x 5\n", How::Replace).unwrap();
    all.push("job/b", "x 6\n", How::Replace).unwrap();
    assert!(
        all.page().contains("x{job=\"b\",instance=\"\"} 6"),
        "text again"
    );
    // One name is of one type everywhere, in whichever form.
    let error = all.push("job/c", "# TYPE x histogram\nx_sum 1\n", How::Replace);
    assert!(
        matches!(error, Err(PushError::Inconsistent(_))),
        "{error:?}"
    );
}
