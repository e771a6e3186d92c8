use daemon::SimClock;
use journal::sim::SimDisk;

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

    fn push(&self, path: &str, text: &str, how: How) -> Result<(), PushError> {
        self.gateway.push(
            &parse_key(path).unwrap(),
            families::read(text.as_bytes()),
            how,
        )
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
    let page = all.gateway.page();
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
    assert!(!all.gateway.page().contains("\nx{"), "only the times stay");
    assert!(all.gateway.page().contains("push_time_seconds{"));
    all.gateway
        .delete(&parse_key("job/a/host/h").unwrap())
        .unwrap();
    assert_eq!(all.gateway.page(), "");
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
    let page = all.gateway.page();
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
    let page = all.gateway.page();
    all.disk.crash();
    assert_eq!(open(&all.disk, &all.clock).page(), page);
    let file = all.gateway.file(&parse_key("job/a").unwrap());
    all.disk.create(&file).unwrap().append(b"nonsense").unwrap();
    assert_eq!(
        open(&all.disk, &all.clock).page(),
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
    assert!(all.gateway.page().contains("\nx{"), "no expiry, no end");
    all.push("job/b", "x 1\n", How::Replace).unwrap();
    all.gateway.expire_after(hour);
    all.clock.advance(hour / 2);
    let page = all.gateway.page();
    assert!(
        !page.contains("job=\"a\"") && page.contains("job=\"b\""),
        "{page}"
    );
    all.push("job/b", "", How::Update).unwrap();
    all.clock.advance(hour * 3 / 4);
    assert!(
        all.gateway.page().contains("job=\"b\""),
        "pushed again in time"
    );
    all.clock.advance(hour / 2);
    assert_eq!(all.gateway.page(), "");
    assert_eq!(open(&all.disk, &all.clock).page(), "", "the files went too");
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
