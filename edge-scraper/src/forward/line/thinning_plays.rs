//! The plays of [`super::tests`] with a buffer that thins scrapes and keeps some series longest: what is counted, what arrives, and what a power
//! cut in the middle of it leaves.

use std::collections::BTreeSet;

use model::{LabelSet, Sample, Series, Value};
use wire::remote_write::convert::put_label_bytes;

use super::tests::{PLAIN, Plot, World, play, seeds};
use crate::planted::{self, Planted};
use crate::scrape::Scrape;

const FULL: Plot = Plot {
    bytes_max: 256 << 10,
    thin_to_every: Some(4),
    keeps: true,
    power_fails: true,
    ..PLAIN
};

/// A marker in every scrape, of a series of its own.
pub(super) fn some_series_end(scrape: &mut Scrape) {
    let name = format!("ended_{}", scrape.target);
    let labels = LabelSet::from_pairs([("__name__", name)]).unwrap();
    scrape
        .series
        .push((labels.into(), Sample::stale(scrape.at)));
}

fn labels(series: &Series) -> &LabelSet {
    series.labels.as_ref().expect("made with labels")
}

type Fact = (Vec<u8>, i64, u64);

fn fact((series, sample): &(Series, Sample)) -> Fact {
    let mut bytes = Vec::new();
    put_label_bytes(labels(series), &mut bytes);
    let Value::Float(value) = sample.value else {
        unreachable!("the plays have floats");
    };
    (bytes, sample.at.millis(), value.to_bits())
}

/// After the play: nothing arrived that was not scraped, and as long as nothing went whole, all kept series and all markers did.
fn arrived(world: &World) -> Result<(), String> {
    let (hub, books) = (&world.hub.disk, world.books()?);
    let all: BTreeSet<Fact> = (world.scrapes.iter())
        .flat_map(|scrape| scrape.series.iter().map(fact))
        .collect();
    if let Some(other) = hub
        .stored
        .iter()
        .chain(&hub.markers)
        .find(|fact| !all.contains(*fact))
    {
        return Err(format!("the hub has what was not scraped: {other:?}"));
    }
    // A hub that comes back from a backup may lack what it had acknowledged, and what went whole since.
    let may_lack = books.quarantined.samples > 0 || world.restores > 0;
    if books.evicted != books.thinned || may_lack {
        return Ok(());
    }
    for series in world.scrapes.iter().flat_map(|scrape| &scrape.series) {
        let stays = series.1.value.is_stale()
            || world.plot.keeps && labels(&series.0).get("n") == Some("0");
        let fact = fact(series);
        if stays && !hub.stored.contains(&fact) && !hub.markers.contains(&fact) {
            return Err(format!("{series:?} should have stayed, {books:?}"));
        }
    }
    Ok(())
}

fn check(plot: Plot, seed: u64) -> Result<World, String> {
    let world = play(plot, seed, 600)?;
    arrived(&world).map_err(|error| format!("seed {seed}: {error}"))?;
    Ok(world)
}

#[test]
fn thinned_and_kept_the_books_add_up() {
    let (mut thinned, mut whole, mut only_thinned) = (0, 0, 0);
    for seed in seeds(12) {
        let plot = Plot {
            keeps: seed % 3 > 0,
            refuses: seed % 4 == 0,
            backups: seed % 5 == 0,
            ..FULL
        };
        let books = check(plot, seed).unwrap().books().unwrap();
        thinned += books.thinned.samples;
        whole += books.evicted.samples - books.thinned.samples;
        only_thinned += u32::from(books.thinned.samples > 0 && books.thinned == books.evicted);
    }
    assert!(
        thinned > 0 && whole > 0 && only_thinned > 1,
        "{thinned} {whole} {only_thinned}"
    );
}

#[test]
fn on_a_full_disk_the_books_add_up() {
    let mut thinned = 0;
    for seed in seeds(6) {
        let plot = Plot {
            bytes_max: 1 << 20,
            capacity: Some(400 << 10),
            ..FULL
        };
        thinned += check(plot, seed).unwrap().books().unwrap().thinned.samples;
    }
    assert!(thinned > 0);
}

#[test]
fn others_fill_the_disk_and_the_books_add_up() {
    let mut evicted = 0;
    for seed in seeds(6) {
        let plot = Plot {
            others_fill: true,
            ..FULL
        };
        evicted += check(plot, seed).unwrap().books().unwrap().evicted.samples;
    }
    assert!(evicted > 0);
}

#[test]
fn planted_faults_are_found() {
    use Planted::*;
    let faults = [
        ThinsInSilence,
        ThinsBeforeSaving,
        CountsThinningAnyway,
        ThinsMarkers,
        ThinsKeptSeries,
    ];
    let missed: Vec<Planted> = faults
        .into_iter()
        .filter(|fault| {
            let found = |seed| planted::while_planted(*fault, || check(FULL, seed).is_err());
            !(1..=12).any(found)
        })
        .collect();
    assert_eq!(missed, []);
}
