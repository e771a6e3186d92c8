//! An edge's end and a hub's end talk, over a link that loses what it likes.

use model::{LabelSet, Metadata, Sample, Series, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::link::Known;
use super::*;
use crate::remote_write::convert::{append_metadata, append_series, put_label_bytes};
use crate::remote_write::{Part, SeriesView, Walk};

/// What the hub's end took: (label bytes, time, bits), in order; and the messages beside it.
#[derive(Debug, Default)]
struct Taken {
    samples: Vec<(Vec<u8>, i64, u64)>,
    described: usize,
    rest: Vec<u8>,
}

impl LineSink for Taken {
    type Key = Vec<u8>;
    fn series(&mut self, labels: &[u8]) -> Vec<u8> {
        self.described += 1;
        labels.to_vec()
    }
    fn sample(&mut self, key: &Vec<u8>, at: i64, value: f64) {
        self.samples.push((key.clone(), at, value.to_bits()));
    }
    fn rest(&mut self, message: Vec<u8>) {
        self.rest.extend(message);
    }
}

type Page = Vec<(Series, Sample)>;

impl Taken {
    /// All samples, those beside the columns too, in one order.
    fn sorted(&self) -> Vec<(Vec<u8>, i64, u64)> {
        let mut all = self.samples.clone();
        all.extend(samples_in(&self.rest));
        all.sort();
        all
    }
}

fn samples_in(message: &[u8]) -> Vec<(Vec<u8>, i64, u64)> {
    let (mut walk, mut view, mut all) = (Walk::new(message), SeriesView::new(), Vec::new());
    while let Some(part) = walk.next_part(&mut view).unwrap() {
        if part != Part::Series {
            continue;
        }
        let labels = view.label_bytes().to_vec();
        let samples = view.samples.iter();
        all.extend(samples.map(|(at, value)| (labels.clone(), *at, value.to_bits())));
    }
    all
}

fn sorted(series: &Page) -> Vec<(Vec<u8>, i64, u64)> {
    let mut message = Vec::new();
    for (series, sample) in series {
        append_series(
            &mut message,
            labels_of(series),
            std::slice::from_ref(sample),
        );
    }
    let mut all = samples_in(&message);
    all.sort();
    all
}

fn labels_of(series: &Series) -> &LabelSet {
    series.labels.as_ref().expect("made with labels")
}

fn series(target: u64, at: i64, values: &[(u16, i64, f64)]) -> Page {
    let one = |(series, late, value): &(u16, i64, f64)| {
        let series = format!("s{series}");
        let target = target.to_string();
        let labels = [
            ("__name__", "metric"),
            ("instance", target.as_str()),
            ("series", series.as_str()),
        ];
        let labels = LabelSet::from_pairs(labels).unwrap();
        (
            Series::from(labels),
            Sample::float(Timestamp::from_millis(at + late), *value),
        )
    };
    values.iter().map(one).collect()
}

fn encoder() -> LineEncoder {
    LineEncoder::new(7, "b07", 99)
}

/// Labels go along where they have to.
fn encode(encoder: &mut LineEncoder, target: u64, seq: u64, at: i64, series: &Page) -> Vec<u8> {
    encode_with(encoder, target, seq, at, series, &[])
}

fn encode_with(
    encoder: &mut LineEncoder,
    target: u64,
    seq: u64,
    at: i64,
    series: &Page,
    beside: &[u8],
) -> Vec<u8> {
    let mut bare = series.clone();
    bare.iter_mut().for_each(|(series, _)| series.labels = None);
    let scrape = |series| LineScrape {
        target,
        part: 0,
        seq,
        at,
        series,
        beside,
    };
    let series = match encoder.lacks_labels(&scrape(&bare)) {
        true => series,
        false => &bare,
    };
    encoder.encode(&scrape(series)).unwrap()
}

fn decode(
    decoder: &mut LineDecoder<Vec<u8>>,
    bytes: &[u8],
) -> Result<(LineDecoded, Taken), LineError> {
    let limits = LineLimits::default();
    let mut taken = Taken::default();
    let frame = Frame::read(bytes, &limits)?;
    let decoded = decoder.decode(&frame, &limits, &mut taken)?;
    Ok((decoded, taken))
}

fn is_unknown(decoder: &mut LineDecoder<Vec<u8>>, bytes: &[u8]) -> bool {
    decode(decoder, bytes).is_err_and(|error| error.is_session_unknown())
}

fn known(session: u32, described: u64, series: u64) -> Known {
    Known {
        session,
        next: 0,
        described,
        series,
        live: true,
    }
}

/// A page whose counters run on.
fn page(step: i64) -> Page {
    let values: Vec<(u16, i64, f64)> = (0..100_u16)
        .map(|series| {
            let by = i64::from(series) * (step * 100 + step * step % 7);
            (series, 0, by as f64 / 100.0)
        })
        .collect();
    series(1, page_at(step), &values)
}

fn page_at(step: i64) -> i64 {
    1_700_000_000_000 + step * 15_000
}

fn page_frame(encoder: &mut LineEncoder, step: i64) -> Vec<u8> {
    encode(encoder, 1, 10 + step as u64, page_at(step), &page(step))
}

#[test]
fn a_session_tells_once_what_the_series_are() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for step in 0..20 {
        let bytes = page_frame(&mut encoder, step);
        let (decoded, taken) = decode(&mut decoder, &bytes).unwrap();
        assert_eq!(taken.sorted(), sorted(&page(step)));
        assert_eq!(taken.described, if step == 0 { 100 } else { 0 });
        assert!(
            step < 10 || bytes.len() < 120,
            "{} bytes of step {step}",
            bytes.len()
        );
        let expected = LineDecoded {
            edge: "b07".into(),
            epoch: 99,
            seq: 10 + step as u64,
            at: page_at(step),
            samples: 100,
        };
        assert_eq!(decoded, expected);
    }
    assert_eq!((decoder.session(), decoder.next()), (Some(7), 20));
    assert_eq!((decoder.series(), decoder.described()), (100, 100));
    let page = page(0);
    let text = page
        .iter()
        .map(|(series, _)| usize::from(series.text_bytes) + 10);
    assert_eq!(encoder.descriptions_bytes(), text.sum::<usize>() / 10);
}

#[test]
fn a_session_keeps_the_room_of_the_one_before_until_it_is_asked_for() {
    let mut encoder = encoder();
    page_frame(&mut encoder, 0);
    let room = encoder.room();
    assert!(room > 0);
    encoder.give_back_room();
    assert_eq!(encoder.room(), room, "it is in use");
    encoder.begin(7);
    assert_eq!(encoder.room(), room);
    page_frame(&mut encoder, 1);
    assert_eq!(encoder.room(), room);
    encoder.begin(8);
    encoder.give_back_room();
    assert_eq!(encoder.room(), 0);
    let mut decoder = LineDecoder::new();
    let frame = page_frame(&mut encoder, 2);
    let (_, taken) = decode(&mut decoder, &frame).unwrap();
    assert_eq!(taken.sorted(), sorted(&page(2)));
}

#[test]
fn a_frame_says_how_much_it_describes_before_it_is_read() {
    let values: Vec<_> = (0..100).map(|n| (n, 0, 1.0)).collect();
    let page = series(1, 0, &values);
    let mut encoder = encoder();
    let first = encode(&mut encoder, 1, 1, 0, &page);
    let labels: usize = sorted(&page).iter().map(|(labels, ..)| labels.len()).sum();
    let described = Frame::described_bytes(&first) as usize;
    assert!((labels..labels + 1_000).contains(&described), "{described}");
    let second = encode(&mut encoder, 1, 2, 15_000, &series(1, 15_000, &values));
    assert_eq!(Frame::described_bytes(&second), 0);
    let other = encode(
        &mut encoder,
        2,
        3,
        15_000,
        &series(2, 15_000, &values[..10]),
    );
    let described = Frame::described_bytes(&other) as usize;
    assert!(
        (labels / 10..labels / 5).contains(&described),
        "{described}"
    );
    // Nothing of it was checked, and nothing is believed.
    for cut in 0..first.len() {
        Frame::described_bytes(&first[..cut]);
    }
    assert_eq!(Frame::described_bytes(&[7; 100]), 0);
}

#[test]
fn targets_take_turns_and_pages_change() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for scrape in 0..60_i64 {
        for target in 1..4_u64 {
            // The third target's page grows, shrinks and turns round.
            let count = if target == 3 { 5 + scrape % 4 } else { 20 };
            let mut values: Vec<_> = (0..count).map(|n| (n as u16, 0, scrape as f64)).collect();
            if target == 3 && scrape % 5 == 0 {
                values.reverse();
            }
            let sent = series(target, 1_000 * scrape, &values);
            let seq = scrape as u64 * 4 + target;
            let bytes = encode(&mut encoder, target, seq, 1_000 * scrape, &sent);
            let (decoded, taken) = decode(&mut decoder, &bytes).unwrap();
            assert_eq!(taken.sorted(), sorted(&sent));
            assert_eq!((decoded.seq, decoded.samples), (seq, sent.len() as u64));
        }
    }
    assert_eq!(decoder.series(), 20 + 20 + 8);
}

#[test]
fn what_is_in_no_column_comes_beside_it() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    let at = Timestamp::from_millis(5_000);
    let labels = LabelSet::from_pairs([("__name__", "h")]).unwrap();
    let mut beside = Vec::new();
    append_metadata(&mut beside, "h", &Metadata::default());
    // One with a time of its own, one twice, a native histogram.
    let mut sent = series(1, 5_000, &[(1, 0, 1.0), (2, -70, 2.0), (1, 0, 3.0)]);
    sent.push((labels.into(), Sample::histogram(at, Default::default())));
    for seq in 1..4 {
        let bytes = encode_with(&mut encoder, 1, seq, 5_000, &sent, &beside);
        let (_, taken) = decode(&mut decoder, &bytes).unwrap();
        assert_eq!((taken.samples.len(), samples_in(&taken.rest).len()), (2, 1));
        assert_eq!(taken.sorted(), sorted(&sent));
        let (mut walk, mut view) = (Walk::new(&taken.rest), SeriesView::new());
        let (mut histograms, mut metadata) = (0, 0);
        while let Some(part) = walk.next_part(&mut view).unwrap() {
            match part {
                Part::Series => histograms += view.histogram_count(),
                Part::Metadata(_) => metadata += 1,
            }
        }
        assert_eq!((histograms, metadata), (1, 1));
    }
}

/// A frame that described something was not kept: whoever read all that there is does not know it.
#[test]
fn nobody_follows_over_a_frame_that_was_lost() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    decode(&mut decoder, &page_frame(&mut encoder, 0)).unwrap();
    encoder.begin(8);
    assert!(encoder.known_by_follower(false).is_some());
    encode(&mut encoder, 2, 90, 1, &series(2, 1, &[(1, 0, 1.0)]));
    encoder.begin_after_loss(9);
    assert_eq!(encoder.known_by_follower(false), None);
    assert_eq!(encoder.known_by_follower(true), None);
    // Those who say what they know can go on.
    let takeover = encoder.takeover(&decoder.known(true).unwrap()).unwrap();
    assert!(!takeover.descriptions.is_empty() && !takeover.carries);
}

fn bare(mut page: Page) -> Page {
    page.iter_mut().for_each(|(series, _)| series.labels = None);
    page
}

#[test]
fn labels_are_wanted_once() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    let (mut seq, mut unknown) = (0, 0);
    let mut ship = |encoder: &mut LineEncoder, part: u32, range: std::ops::Range<u16>| {
        seq += 1;
        let at = seq as i64 * 1000;
        let values: Vec<_> = range.map(|n| (n, 0, seq as f64 + f64::from(n))).collect();
        let whole = series(1, at, &values);
        let bare = bare(whole.clone());
        let mut scrape = LineScrape {
            target: 1,
            part,
            seq,
            at,
            series: &bare,
            beside: &[],
        };
        let lacks = encoder.lacks_labels(&scrape);
        if lacks {
            unknown += 1;
            // Nothing is lost by asking for what cannot be had.
            if unknown == 1 {
                assert_eq!(encoder.encode(&scrape), Err(LabelsWanted));
                encoder.begin(900);
            }
            scrape.series = &whole;
        }
        let bytes = encoder.encode(&scrape).unwrap();
        let (_, taken) = decode(&mut decoder, &bytes).unwrap();
        assert_eq!(taken.sorted(), sorted(&whole));
        lacks
    };
    assert!(ship(&mut encoder, 0, 0..300));
    assert!(!ship(&mut encoder, 0, 5..300));
    // The page has grown by one, and its second part begins earlier.
    assert!(ship(&mut encoder, 1, 300..350));
    assert!(!ship(&mut encoder, 1, 290..350));
    assert!(!ship(&mut encoder, 0, 0..290));
    // Mostly series that are gone: described anew without them, by what is known.
    assert!(ship(&mut encoder, 0, 600..610));
    let before = encoder.descriptions_bytes();
    assert!(!ship(&mut encoder, 0, 600..610));
    assert!(encoder.descriptions_bytes() < before / 2);
    assert!(!ship(&mut encoder, 0, 600..610));
    assert!(ship(&mut encoder, 0, 0..10), "retired for one scrape");
    encoder.begin(901);
    assert!(!ship(&mut encoder, 0, 0..10));
    // A target that nobody has heard of.
    let page = bare(page(1));
    let scrape = LineScrape {
        target: 2,
        part: 0,
        seq: 1000,
        at: page_at(1),
        series: &page,
        beside: &[],
    };
    assert!(encoder.lacks_labels(&scrape));
}

#[test]
fn frames_in_another_order_are_refused() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    let frames: Vec<_> = (0..4).map(|step| page_frame(&mut encoder, step)).collect();
    assert!(is_unknown(&mut decoder, &frames[1]));
    decode(&mut decoder, &frames[0]).unwrap();
    assert!(is_unknown(&mut decoder, &frames[2]));
    assert!(is_unknown(&mut decoder, &frames[3]));
    // A refusal of that kind changes nothing.
    decode(&mut decoder, &frames[1]).unwrap();
    assert!(is_unknown(&mut decoder, &frames[1]));
    decode(&mut decoder, &frames[2]).unwrap();
    decode(&mut decoder, &frames[3]).unwrap();
    // From its beginning it can always be read.
    for (step, frame) in frames.iter().enumerate() {
        let (_, taken) = decode(&mut decoder, frame).unwrap();
        assert_eq!(taken.sorted(), sorted(&page(step as i64)));
    }
}

#[test]
fn another_session_needs_nothing_from_before() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for step in 0..3 {
        decode(&mut decoder, &page_frame(&mut encoder, step)).unwrap();
    }
    encoder.begin(8);
    let frames: Vec<_> = (3..6).map(|step| page_frame(&mut encoder, step)).collect();
    for mut reader in [decoder, LineDecoder::new()] {
        for (step, frame) in frames.iter().enumerate() {
            let (_, taken) = decode(&mut reader, frame).unwrap();
            assert_eq!(taken.sorted(), sorted(&page(3 + step as i64)));
        }
        assert_eq!((reader.session(), reader.described()), (Some(8), 100));
    }
}

#[test]
fn a_hub_takes_over_what_it_knows() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for step in 0..3 {
        decode(&mut decoder, &page_frame(&mut encoder, step)).unwrap();
    }
    // While the link is down another target comes, and the first one's page grows.
    let second = series(2, 5, &[(1, 0, 1.0), (2, 9, 1.0)]);
    let mut more = page(4);
    more.extend(series(1, page_at(4), &[(777, 0, 1.0)]));
    encode(&mut encoder, 2, 90, 5, &second);
    encode(&mut encoder, 1, 91, page_at(4), &more);
    encoder.begin(8);
    // In the new session a third one comes.
    let third = series(3, 6, &[(1, 0, 4.0)]);
    let sent = [
        (1, page_at(4), more),
        (2, 5, second),
        (3, 6, third),
        (1, page_at(5), page(5)),
    ];
    let mut seq = 91;
    let mut frames = Vec::new();
    for (target, at, sent) in &sent {
        seq += 1;
        frames.push(encode(&mut encoder, *target, seq, *at, sent));
    }
    let takeover = encoder.takeover(&decoder.known(true).unwrap()).unwrap();
    assert_eq!(encoder.takeover(&known(7, 300, 100)), None);
    assert_eq!(encoder.takeover(&known(5, 100, 100)), None);
    assert_eq!(encoder.takeover(&known(7, 100, 99)), None);
    let mut takeover = Some(&takeover);
    for (frame, (_, _, sent)) in frames.iter().zip(&sent) {
        let short = Frame::taking_over(frame, takeover.take(), None).unwrap();
        let (_, taken) = decode(&mut decoder, &short).unwrap();
        assert_eq!(taken.sorted(), sorted(sent));
        assert!(taken.described < 5 && short.len() < 400, "{}", short.len());
    }
    assert_eq!((decoder.session(), decoder.described()), (Some(8), 104));
    // To somebody who knows less it is as unknown as any other.
    let mut stranger = LineDecoder::new();
    let short = Frame::taking_over(
        &frames[0],
        encoder.takeover(&known(7, 100, 100)).as_ref(),
        None,
    )
    .unwrap();
    assert!(is_unknown(&mut stranger, &short));
    decode(&mut stranger, &frames[0]).unwrap();
}

/// How a session stood before its frame number `next`.
fn replayed(frames: &[Vec<u8>], next: u64) -> Option<LineState> {
    let mut decoder = LineDecoder::new();
    for frame in frames.get(..next as usize)? {
        decode(&mut decoder, frame).unwrap();
    }
    decoder.into_state()
}

#[test]
fn values_go_on_for_who_knows_them() {
    let pages = |encoder: &mut LineEncoder, decoder: &mut LineDecoder<Vec<u8>>, steps| {
        let mut frames = Vec::new();
        for step in steps {
            frames.push(page_frame(encoder, step));
            decode(decoder, frames.last().unwrap()).unwrap();
        }
        frames
    };
    let (mut encoder, mut hub, mut disk) = (encoder(), LineDecoder::new(), LineDecoder::new());
    let frames = pages(&mut encoder, &mut hub, 0..30);
    pages(&mut encoder, &mut disk.clone(), 30..30);
    // The link is down for some scrapes.
    for step in 30..40 {
        page_frame(&mut encoder, step);
    }
    encoder.begin_after(8, replayed(&frames, 30).unwrap());
    let mut takeover = encoder.takeover(&hub.known(true).unwrap());
    assert!(takeover.as_ref().is_some_and(|takeover| takeover.carries));
    let mut lengths = Vec::new();
    for step in 40..50 {
        let frame = page_frame(&mut encoder, step);
        let columns = encoder.columns_for_followers(encoder.next() - 1);
        let short = Frame::taking_over(&frame, takeover.take().as_ref(), columns).unwrap();
        lengths.push(short.len());
        let (_, taken) = decode(&mut hub, &short).unwrap();
        assert_eq!(taken.sorted(), sorted(&page(step)));
        // Whoever has nothing from before reads the same from the disk.
        let (_, taken) = decode(&mut disk, &frame).unwrap();
        assert_eq!(taken.sorted(), sorted(&page(step)));
    }
    let plain = Frame::taking_over(
        &page_frame(
            &mut {
                let mut new = self::encoder();
                pages(&mut new, &mut LineDecoder::new(), 0..1);
                new.begin(9);
                new
            },
            1,
        ),
        None,
        None,
    )
    .unwrap();
    assert!(lengths[0] * 2 < plain.len(), "{lengths:?} {}", plain.len());
}

#[test]
fn who_followed_a_session_to_its_end_takes_over() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    let second = series(2, 5, &[(1, 0, 1.0), (2, 9, 1.0)]);
    decode(&mut decoder, &page_frame(&mut encoder, 0)).unwrap();
    decode(&mut decoder, &encode(&mut encoder, 2, 90, 5, &second)).unwrap();
    encoder.begin(8);
    assert_eq!(encoder.known_by_follower(false), decoder.known(true));
    let known = encoder.known_by_follower(false).unwrap();
    let frame = page_frame(&mut encoder, 1);
    let takeover = encoder.takeover(&known).unwrap();
    let short = Frame::taking_over(&frame, Some(&takeover), None).unwrap();
    decode(&mut decoder, &short).unwrap();
    // Session 8 had nothing of the second target: only who took over knows it.
    encoder.begin(9);
    assert_eq!(encoder.known_by_follower(false), None);
    assert_eq!(encoder.known_by_follower(true), decoder.known(true));
}

#[test]
fn nothing_is_taken_over_across_what_was_forgotten() {
    let mut encoder = encoder();
    let old = series(1, 0, &[(1, 0, 1.0)]);
    encode(&mut encoder, 1, 1, 0, &old);
    let new = series(2, 9_000_000, &[(1, 0, 1.0)]);
    encode(&mut encoder, 2, 2, 9_000_000, &new);
    encoder.begin(8);
    assert!(encoder.takeover(&known(7, 2, 2)).is_some());
    // Only with the frame after it is the first target forgotten.
    encode(&mut encoder, 2, 3, 9_000_001, &new);
    assert_eq!(encoder.takeover(&known(7, 2, 2)), None);
    encoder.begin(9);
    assert_eq!(encoder.takeover(&known(7, 2, 2)), None);
    assert!(encoder.takeover(&known(8, 3, 1)).is_some());
}

#[test]
fn layouts_of_churning_series_do_not_grow_for_ever() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for step in 0..200_i64 {
        let values: Vec<_> = (0..60).map(|n| (n + 20 * step as u16, 0, 1.0)).collect();
        let sent = series(1, step, &values);
        let bytes = encode(&mut encoder, 1, step as u64, step, &sent);
        let (_, taken) = decode(&mut decoder, &bytes).unwrap();
        assert_eq!(taken.sorted(), sorted(&sent));
        assert!(decoder.series() <= 3 * 60 + 64 + 60, "{}", decoder.series());
    }
}

#[test]
fn targets_that_are_gone_are_forgotten() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    for hour in 0..30_i64 {
        let at = hour * 1_900_000;
        let sent = series(hour as u64, at, &[(1, 0, 1.0), (2, 0, 2.0)]);
        let bytes = encode(&mut encoder, hour as u64, hour as u64, at, &sent);
        decode(&mut decoder, &bytes).unwrap();
    }
    assert!(decoder.series() <= 8, "{}", decoder.series());
}

#[test]
fn limits_come_before_memory() {
    let bytes = page_frame(&mut encoder(), 1);
    let usual = LineLimits::default();
    let check = |limits: LineLimits, text: &str| {
        let frame = Frame::read(&bytes, &limits);
        let read = frame
            .and_then(|frame| LineDecoder::new().decode(&frame, &limits, &mut Taken::default()));
        assert!(read.unwrap_err().to_string().contains(text), "{text}");
    };
    check(
        LineLimits {
            frame_bytes_max: 100,
            ..usual.clone()
        },
        "bytes of a frame",
    );
    check(
        LineLimits {
            section_bytes_max: 100,
            ..usual.clone()
        },
        "bytes of descriptions",
    );
    check(
        LineLimits {
            samples_max: 99,
            ..usual.clone()
        },
        "samples of a frame",
    );
    check(
        LineLimits {
            series_max: 99,
            ..usual.clone()
        },
        "series of a session: 100, the limit is 99",
    );
    check(
        LineLimits {
            layouts_max: 0,
            ..usual.clone()
        },
        "layouts of a session",
    );
    // A few bytes that claim much: descriptions of 60 MB in 31 bytes.
    let mut claim = vec![VERSION, frame::DESCRIBES | frame::STARTS, 1, 0, 0, 0, 0];
    claim.extend([0; 8]);
    claim.extend(*b"\x01e\x00");
    frame::put_number(&mut claim, 60_000_000);
    claim.extend([3, 1, 2, 3]);
    let claim = frame::seal(claim);
    assert_eq!(claim.len(), 30);
    let error = decode(&mut LineDecoder::new(), &claim).unwrap_err();
    assert!(error.to_string().contains("256 to 1"), "{error}");
}

#[test]
fn refusals_say_what_and_where() {
    let check = |bytes: &[u8], text: &str| {
        let error = decode(&mut LineDecoder::new(), bytes)
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    };
    check(&[], "frame at byte 0: expected a version");
    check(&[2; 30], "version 2, this release reads version 1");
    let mut bytes = page_frame(&mut encoder(), 0);
    let length = bytes.len();
    bytes[20] ^= 1;
    check(&bytes, &format!("frame of {length} bytes: checksum is"));
    check(&frame::seal(vec![1, 64, 0, 0, 0, 0]), "flags of version 1");
    check(
        &frame::seal(vec![1, 0, 5, 0, 0, 0, 3]),
        "frame 3 of session 00000005 does not follow",
    );
    let head = [&[1, 1, 5, 0, 0, 0, 0][..], &[0; 8], b"\x01e\x00"].concat();
    let with = |body: &[u8]| frame::seal([&head[..], body].concat());
    check(&with(&[0]), "columns and a digest");
    check(&with(&[0, 0, 0, 0, 0, 0]), "layout was not described");
}

/// What a target shows: how its series move, by number.
fn value(kind: u8, step: i64, noise: u64) -> f64 {
    let small = (noise % 1000) as f64;
    match kind % 9 {
        0 => 5.0,
        1 => (step * 4096 * 3) as f64,
        2 => step as f64 * 1.25 + small / 100.0,
        3 => small / 1e9,
        4 => (step * 15 + (noise % 3) as i64) as f64 * 0.001,
        5 => f64::from_bits(noise),
        6 => model::stale_nan(),
        7 => 1.0 / (small + 1.0),
        _ => [f64::NAN, f64::INFINITY, -0.0, f64::MAX, 5e-324, 1e300][(noise % 6) as usize],
    }
}

/// What happens before the next scrape.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    /// The link breaks; the edge begins another session for what comes live.
    Cut,
    /// The hub forgets everything.
    HubRestarts,
    /// The edge cannot keep a frame.
    FrameLost,
    Spoiled(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Nothing),
        2 => Just(Event::Cut),
        1 => Just(Event::HubRestarts),
        1 => Just(Event::FrameLost),
        1 => any::<u16>().prop_map(Event::Spoiled),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens to frames, what the hub reads is what was scraped, bit by bit: at once, taking over what it
    /// knows, and later, from the stored frames.
    #[test]
    fn random_scrapes_over_a_bad_link(
        kinds in vec(vec((any::<u8>(), prop_oneof![3 => Just(0_i64), 1 => -50_000..50_000_i64]), 0..12), 1..4),
        steps in vec((event(), vec(any::<u64>(), 12), 0..12_usize, 0..4_usize, any::<bool>()), 1..40),
    ) {
        let (mut encoder, mut live) = (encoder(), LineDecoder::new());
        let (mut seq, mut at, mut session) = (0, 1_700_000_000_000_i64, 100);
        // What the buffer holds.
        let mut stored: Vec<(Page, Vec<u8>)> = Vec::new();
        // The same by session.
        let mut held: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
        let (mut follows, mut carries) = (false, false);
        let mut up = true;
        for (step, (event, noise, gone, target, comes_back)) in steps.iter().enumerate() {
            session += 1;
            match event {
                Event::Cut => up = false,
                Event::HubRestarts => { live = LineDecoder::new(); up = false }
                _ => {}
            }
            let mut known = None;
            if !up && *comes_back {
                up = true;
                known = live.known(true);
                // What the buffer holds of the session that the hub knows, up to where it is.
                let held = held.iter().find(|(held, _)| Some(*held) == live.session());
                match held.and_then(|(_, frames)| replayed(frames, live.next())) {
                    Some(state) => encoder.begin_after(session, state),
                    None => encoder.begin_after_this(session),
                }
                (follows, carries) = (false, false);
            }
            let mut rolled = None;
            if up && known.is_none() && noise[2] % 8 == 0 {
                // A segment is full.
                encoder.begin_after_this(session);
                rolled = encoder.known_by_follower(false).filter(|_| follows);
                (follows, carries) = (false, false);
            }
            at += 15_000 + (noise[0] % 3) as i64 + if noise[1] % 40 == 0 { 4_000_000 } else { 0 };
            let target = target % kinds.len();
            let present = kinds[target].iter().enumerate().filter(|(place, _)| place % 12 != *gone);
            let values: Vec<_> = present.map(|(place, (kind, late))| {
                (place as u16, *late, value(*kind, step as i64, noise[place]))
            }).collect();
            seq += 1 + noise[1] % 2;
            let sent = series(target as u64, at, &values);
            let frame = encode(&mut encoder, target as u64, seq, at, &sent);
            if let Event::FrameLost = event {
                encoder.begin(session + 1_000);
                up = false;
                continue;
            }
            stored.push((sent.clone(), frame.clone()));
            match held.iter_mut().find(|(held, _)| *held == encoder.session()) {
                Some((_, frames)) => frames.push(frame.clone()),
                None => held.push((encoder.session(), vec![frame.clone()])),
            }
            if !up {
                continue;
            }
            let takeover = known.or(rolled).and_then(|known| encoder.takeover(&known));
            follows |= takeover.is_some();
            carries |= takeover.as_ref().is_some_and(|takeover| takeover.carries);
            let columns = encoder.columns_for_followers(encoder.next() - 1).filter(|_| carries);
            let mut wire = match follows {
                true => Frame::taking_over(&frame, takeover.as_ref(), columns).unwrap(),
                false => frame,
            };
            if let Event::Spoiled(bit) = event {
                let bit = usize::from(*bit) % (wire.len() * 8);
                wire[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(decode(&mut live, &wire).is_err());
                up = false;
                continue;
            }
            let (decoded, taken) = decode(&mut live, &wire).unwrap();
            prop_assert_eq!(taken.sorted(), sorted(&sent));
            prop_assert_eq!(decoded.seq, seq);
        }
        let mut backlog = LineDecoder::new();
        for (sent, frame) in &stored {
            let (_, taken) = decode(&mut backlog, frame).unwrap();
            prop_assert_eq!(taken.sorted(), sorted(sent));
        }
    }

    /// Bytes behind a right checksum, with and without a session.
    #[test]
    fn spoiled_frames_do_no_harm(at in any::<u16>(), with in vec(any::<u8>(), 0..9), follows in any::<bool>()) {
        let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
        let first = page_frame(&mut encoder, 0);
        let bytes = match follows {
            true => {
                decode(&mut decoder, &first).unwrap();
                page_frame(&mut encoder, 1)
            }
            false => first,
        };
        let mut body = bytes[..bytes.len() - 4].to_vec();
        let at = usize::from(at) % body.len();
        let end = (at + with.len()).min(body.len());
        body.splice(at..end, with);
        let spoiled = frame::seal(body);
        if let Ok((_, taken)) = decode(&mut decoder, &spoiled) {
            // Only what is in no column can have changed: the edge's name, the epoch, the session, labels.
            let columns = |samples: &[(Vec<u8>, i64, u64)]| -> Vec<(i64, u64)> {
                let mut columns: Vec<_> = samples.iter().map(|(_, at, bits)| (*at, *bits)).collect();
                columns.sort();
                columns
            };
            prop_assert_eq!(columns(&taken.samples), columns(&sorted(&page(i64::from(follows)))));
        }
        let _ = Frame::taking_over(&spoiled, encoder.takeover(&known(7, 100, 100)).as_ref(), Some(b"columns"));
    }
}

#[test]
fn labels_are_described_as_remote_write_has_them() {
    let (mut encoder, mut decoder) = (encoder(), LineDecoder::new());
    let sent = series(1, 5, &[(1, 0, 1.0)]);
    let bytes = encode(&mut encoder, 1, 1, 5, &sent);
    let (_, taken) = decode(&mut decoder, &bytes).unwrap();
    let mut expected = Vec::new();
    put_label_bytes(labels_of(&sent[0].0), &mut expected);
    assert_eq!(taken.samples[0].0, expected);
}
