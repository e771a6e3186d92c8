//! Every change of the disk is a moment at which the power may go, and every fsync one that may fail: each of them in turn,
//! where the random faults beside draw some.

use super::{
    ops::{self, Op, Setup},
    seeds,
    world::World,
};

/// How many changes and syncs it takes in all, from the creation of the store on.
fn calm_run(setup: &Setup, ops: &[Op]) -> Result<(u64, u64), String> {
    let mut world = World::new(setup);
    world.live(ops)?;
    Ok((world.disk.changes(), world.disk.syncs()))
}

#[test]
fn the_power_may_go_at_every_change() {
    let name = "the_power_may_go_at_every_change";
    seeds::check(
        name,
        4,
        (ops::setup(), ops::calm_ops(20)),
        |(setup, ops)| {
            let (changes, _) = calm_run(&setup, &ops)?;
            for change in 1..=changes {
                for again in [None, Some(1 + change % 9)] {
                    let mut world = World::new(&setup);
                    world.crash_at(change, again);
                    world.run(&ops).map_err(|e| {
                        format!("change {change} of {changes}, then {again:?}: {e}")
                    })?;
                }
            }
            Ok(())
        },
    );
}

#[test]
fn every_fsync_may_fail() {
    let name = "every_fsync_may_fail";
    seeds::check(
        name,
        12,
        (ops::setup(), ops::calm_ops(20)),
        |(setup, ops)| {
            let (_, syncs) = calm_run(&setup, &ops)?;
            // The first ones create the store, which is refused if that fails.
            let mut created = World::new(&setup);
            created.live(&[])?;
            for sync in 0..syncs - created.disk.syncs() {
                let mut world = World::new(&setup);
                world.live(&[])?;
                world.fail_sync_at(sync);
                world
                    .run(&ops)
                    .map_err(|e| format!("sync {sync} of {syncs}: {e}"))?;
            }
            Ok(())
        },
    );
}
