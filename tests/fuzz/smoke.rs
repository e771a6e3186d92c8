//! Do the decoders survive any bytes? Each gets valid bytes, and some thousands of spoiled ones, always the same; it must
//! neither panic nor allocate more than it says. With BRANCHLINE_TESTS_ALL=true a hundred times as many.

mod decoders;
mod edge;
mod line;
mod otlp;
mod remote;
mod store;
mod texts;

use std::panic::{AssertUnwindSafe, catch_unwind};

use allocation_counter::measure;
use decoders::{TARGETS, Target};

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Numbers that break things: varints of 4 GiB and of 64 bits, and the ends of fixed widths.
const NUMBERS: [&[u8]; 6] = [
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    &[0xff; 4],
    &[0, 0, 0, 0, 0, 0, 0, 0x80],
    &[0xff, 0x1f],
];

fn spoil(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.below(bytes.len());
    let end = at + rng.below(bytes.len().saturating_sub(at).min(40) + 1);
    match rng.below(9) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
        1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
        2 if !bytes.is_empty() => bytes[at] = rng.next() as u8,
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        6 => {
            let number = NUMBERS[rng.below(NUMBERS.len())];
            let to = (at + rng.below(2) * number.len()).min(bytes.len());
            bytes.splice(at..to, number.iter().copied());
        }
        7 => {
            let from = rng.below(other.len());
            bytes.splice(at.., other[from..].iter().copied());
        }
        _ => bytes.insert(at, rng.next() as u8),
    }
    bytes.truncate(1 << 16);
}

fn run(target: &Target, bytes: &[u8]) -> usize {
    let mut outcome = Ok(());
    let read = || outcome = catch_unwind(AssertUnwindSafe(|| (target.read)(bytes)));
    let most = measure(read).bytes_max as usize;
    assert!(outcome.is_ok(), "{} panics on {bytes:02x?}", target.name);
    let (each, free) = target.bound;
    assert!(
        most <= each * bytes.len() + free,
        "{} allocates {most} bytes for these {}: {bytes:02x?}",
        target.name,
        bytes.len()
    );
    most
}

fn check(name: &str) {
    let all = std::env::var("BRANCHLINE_TESTS_ALL").is_ok_and(|all| all == "true");
    let rounds = if all { 300_000 } else { 3_000 };
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        panic!("no target {name}");
    };
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name}: nothing valid to start from");
    run(target, &[]);
    let mut most = 0;
    for seed in &seeds {
        most = most.max(run(target, seed));
    }
    for round in 0..rounds {
        let mut rng = Rng(round);
        let mut bytes = seeds[rng.below(seeds.len())].clone();
        if round % 16 == 0 {
            let len = rng.below(200);
            bytes = (0..len).map(|_| rng.next() as u8).collect();
        }
        let other = &seeds[rng.below(seeds.len())];
        for _ in 0..=rng.below(6) {
            spoil(&mut rng, &mut bytes, other);
        }
        most = most.max(run(target, &bytes));
    }
    println!(
        "{name}: {} seeds, {rounds} rounds, at most {most} bytes allocated",
        seeds.len()
    );
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($name)),*];
            assert!(TARGETS.iter().map(|target| target.name).eq(tested));
        }
    };
}

tests! {
    remote_write_body remote_write_message remote_write_v2 remote_write_first_to_second remote_read_request remote_read_chunk remote_read_frame
    otlp_message otlp_json exposition openmetrics exposition_protobuf edge_headers line_batch alertmanager promql journal_segment store_record store_chunk part_block part_index
    catalogue_segment catalogue_metadata store_exemplars manifest push_path push_text push_protobuf push_group kept_targets kept_configuration
    ledger_record
}

#[test]
fn a_small_body_that_claims_four_gibibytes_costs_nothing() {
    let limits = wire::remote_write::Limits::default();
    for claim in [
        &[0xff, 0xff, 0xff, 0xff, 0x0f][..],
        &[0x80, 0x80, 0x80, 0x10],
    ] {
        let mut body = claim.to_vec();
        body.resize(30, 0);
        let mut message = Vec::new();
        let mut refused = false;
        let info = measure(|| {
            refused = wire::remote_write::decompress_into(&body, &limits, &mut message).is_err()
        });
        assert!(refused);
        assert!(info.bytes_max < 4096, "{} bytes allocated", info.bytes_max);
    }
}
