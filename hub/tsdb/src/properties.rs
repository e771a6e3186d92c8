//! Random writes, deletions, seals, merges, retention, restarts, crashes and faults against a plain map. Whatever happens, the
//! store must answer as some prefix of what was done does, one that has all that is acknowledged as durable.
//!
//! [`seeds`] says how many cases are run, and how to run more.

mod boundaries;
mod damage;
mod history;
mod ops;
mod seeds;
mod world;

use model::Sample;
use ops::{Line, Op};
use world::World;

use crate::tests::at;

#[test]
fn the_store_answers_as_a_map_does() {
    seeds::check(
        "the_store_answers_as_a_map_does",
        500,
        (ops::setup(), ops::ops(60)),
        |(setup, ops)| World::new(&setup).run(&ops),
    );
}

fn append(time: i64) -> Op {
    let line = Line {
        series: 0,
        spelling: 0,
        samples: vec![Sample::float(at(time), 1.0)],
    };
    Op::Append("", vec![line])
}

/// The property above is worth something: on a disk whose fsync does nothing it fails.
#[test]
fn a_disk_that_does_not_sync_is_caught() {
    let caught = (0..20).filter(|&seed| {
        let mut world = World::new(&ops::plain(seed));
        world.disk.ignore_syncs(true);
        let ops = [
            append(1),
            Op::Sync,
            append(2),
            Op::Seal,
            append(3),
            Op::Sync,
            Op::Crash,
        ];
        world.run(&ops).is_err()
    });
    assert!(caught.count() >= 10);
}

#[test]
fn the_same_seed_gives_the_same_store() {
    let run = || {
        let mut world = World::new(&ops::plain(42));
        let ops = [
            append(1),
            Op::Seal,
            append(2),
            Op::Sync,
            append(3),
            Op::CrashAfter(7),
            Op::Seal,
            append(4),
            Op::Maintain(0),
        ];
        world.run(&ops).unwrap();
        (world.written, world.disk.files(), world.disk.changes())
    };
    assert_eq!(run(), run());
}
