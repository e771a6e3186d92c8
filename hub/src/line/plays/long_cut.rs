//! Three days without a link, with restarts of edges and of the hub in them: then every series is at the hub as it was scraped.

use std::time::Duration;

use daemon::Clock;

use super::edge::EdgePlot;
use super::world::{Plot, World};

const INTERVAL: Duration = Duration::from_secs(30);
const CUT: Duration = Duration::from_secs(72 * 3_600);
/// Live scrapes after the link's return, and how late they may be from ten seconds after it on: an interval, as the promise
/// says, and a round trip with what messages take on this link.
const AFTER: u64 = 20;
const LATE_MAX: Duration = Duration::from_millis(30_000 + 660);

/// Every interval, all targets are scraped, one right after the other.
fn scrape(world: &mut World, plot: &Plot) -> Result<(), String> {
    let mut random = world.random.clone();
    for edge in world.edges() {
        for target in 0..plot.edge.targets {
            edge.scrape_all(target, &mut random)?;
        }
        edge.sync()?;
    }
    world.random = random;
    world.run(INTERVAL)
}

fn three_days(plot: Plot, seed: u64) -> Result<(), String> {
    let mut world = World::new(plot, seed)?;
    for _ in 0..10 {
        scrape(&mut world, &plot)?;
    }
    (0..plot.edges as usize).for_each(|at| world.cut(at));
    let rounds = CUT.as_millis() / INTERVAL.as_millis();
    for round in 0..rounds {
        scrape(&mut world, &plot)?;
        // A day in: power cuts; two days in: orderly ends; and the hub, too.
        if round % (rounds / 8) == rounds / 16 {
            for at in 0..plot.edges as usize {
                world.restart_edge(at, round > rounds / 2)?;
            }
        }
        if round == rounds / 3 || round == rounds / 2 {
            world.restart_hub(round == rounds / 2)?;
        }
    }
    (0..plot.edges as usize).for_each(|at| world.mend(at));
    let back = world.clock.now();
    for _ in 0..AFTER {
        scrape(&mut world, &plot)?;
    }
    world.drain()?;
    let scrapes = world.scrapes();
    let expected = (10 + rounds as u64 + AFTER) * plot.edge.targets * plot.edges;
    if scrapes as u64 != expected {
        return Err(format!("{scrapes} scrapes, not {expected}"));
    }
    let fresh = back.saturating_add(Duration::from_secs(10));
    let latest = world.delays_from(fresh).into_iter().max();
    println!(
        "{scrapes} scrapes, {:?}, fresh ones at most {latest:?} late",
        world.seen
    );
    match latest.is_some_and(|latest| latest <= LATE_MAX) {
        true => Ok(()),
        false => Err(format!("fresh scrapes were {latest:?} late")),
    }
}

#[test]
fn after_three_days_without_a_link_every_series_is_there() {
    let all = std::env::var_os("BRANCHLINE_TESTS_ALL").is_some();
    let (edges, targets, series_max) = if all { (3, 8, 50) } else { (1, 2, 6) };
    let edge = EdgePlot {
        bytes_max: 1 << 30,
        series_max,
        targets,
    };
    let plot = Plot {
        edges,
        edge,
        backups: false,
        long_cuts: false,
        check_one_in: 1_000,
        slow_disk: false,
        full_disks: false,
        refusals: false,
    };
    three_days(plot, 72).unwrap_or_else(|error| panic!("{error}"));
}
