//! Bits that flip in a file at rest, or below a store that is open. The answers are the same, or the damage is said and
//! everything that the hit file did not hold is exact.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use journal::sim::SimDisk;
use model::LabelSet;
use proptest::prelude::*;

use super::{
    history::{History, Map, Written},
    ops, seeds,
    world::{World, answer},
};
use crate::{part, tests::DIR, *};

#[derive(Debug, Clone)]
struct Damage {
    /// Which of the files, as a fraction.
    file: f64,
    /// Where in the file, as fractions.
    bits: Vec<f64>,
    /// Below the open store, before it is opened again.
    open: bool,
    /// Whether maintenance comes across it before a reader.
    maintained: bool,
}

fn damage() -> impl Strategy<Value = Damage> {
    (
        0.0..1.0_f64,
        prop::collection::vec(0.0..1.0_f64, 1..4),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(file, bits, open, maintained)| Damage {
            file,
            bits,
            open,
            maintained,
        })
}

/// What a part holds.
struct Held {
    number: u64,
    series: BTreeSet<LabelSet>,
    times: (i64, i64),
}

/// What must be known beforehand to judge the answers afterwards.
struct Before {
    history: History,
    expected: Map,
    /// Without the last batches: damage at the end of the log cannot be told from a torn write.
    torn: Vec<Map>,
    parts: Vec<Held>,
    sealed_through: u64,
    range: TimeRange,
}

impl Before {
    fn of(world: &World, bits: usize) -> Result<Self, String> {
        let store = world.store.as_ref().ok_or("no store")?;
        let (catalogue, state) = (store.read_catalogue(), store.read_state());
        let held = |part: &Arc<part::Part>| Held {
            number: part.meta.number,
            series: part
                .ids
                .iter()
                .filter_map(|id| catalogue.labels(id))
                .collect(),
            times: (part.meta.first, part.meta.last),
        };
        let range = world.kept();
        let history = History::of(&world.written);
        let mut torn = Vec::new();
        let mut rest = &world.written[..];
        while let (Some((Written::Batch { seq, .. }, before)), true) =
            (rest.split_last(), torn.len() < bits)
        {
            if *seq > state.sealed_through {
                torn.push(History::of(before).answer(range));
            }
            rest = before;
        }
        Ok(Self {
            expected: history.answer(range),
            history,
            torn,
            parts: state.parts.iter().map(held).collect(),
            sealed_through: state.sealed_through,
            range,
        })
    }

    /// Judges an answer that is not as expected, with a file of this path hit.
    fn judge(&self, path: &Path, found: &Map, warnings: &[String]) -> Result<(), String> {
        if *found == self.expected {
            return Ok(());
        }
        let in_folder = |folder: &str| path.starts_with(Path::new(DIR).join(folder));
        if warnings.is_empty() {
            let torn = in_folder("wal") && self.torn.contains(found);
            return match torn {
                true => Ok(()),
                false => Err(format!("not a word of it: {found:?}")),
            };
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let hit = self
            .parts
            .iter()
            .find(|held| name == Some(&*part::file_name(held.number)) && in_folder("parts"));
        let may_differ = |labels: &LabelSet, time: i64| match hit {
            Some(held) => {
                held.series.contains(labels) && (held.times.0..=held.times.1).contains(&time)
            }
            None if in_folder("wal") => {
                self.history
                    .written_after(labels, time, self.sealed_through)
            }
            // A series loses its name, and with it all of its samples.
            None => in_folder("catalogue") && !found.contains_key(labels),
        };
        for (labels, samples) in found {
            for (time, point) in samples {
                let right = self.expected.get(labels).and_then(|e| e.get(time)) == Some(point);
                let was = may_differ(labels, *time) && self.history.had(labels, *time, point);
                if !right && !was {
                    return Err(format!("wrong: {labels} at {time}: {point:?}"));
                }
            }
        }
        for (labels, samples) in &self.expected {
            for time in samples.keys() {
                let there = found.get(labels).is_some_and(|s| s.contains_key(time));
                if !there && !may_differ(labels, *time) {
                    return Err(format!("missing: {labels} at {time}; said: {warnings:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Flips bits of one file; which.
fn flip(disk: &SimDisk, damage: &Damage) -> Option<PathBuf> {
    let files: Vec<(PathBuf, u64)> = disk.files().into_iter().filter(|(_, n)| *n > 0).collect();
    let (path, bytes) = files.get((damage.file * files.len() as f64) as usize)?;
    for bit in &damage.bits {
        let bit = (bit * (bytes * 8) as f64) as u64;
        disk.flip_bit(path, bit.min(bytes * 8 - 1)).ok()?;
    }
    Some(path.clone())
}

fn check(world: &mut World, damage: &Damage) -> Result<(), String> {
    let before = Before::of(world, damage.bits.len())?;
    let now = tests::at(ops::TIME_MS);
    let path = if damage.open {
        let Some(path) = flip(&world.disk, damage) else {
            return Ok(());
        };
        let store = world.store.as_ref().ok_or("no store")?;
        let (found, warnings) = answer(store, before.range)?;
        before
            .judge(&path, &found, &warnings)
            .map_err(|e| format!("{}, open: {e}", path.display()))?;
        world.store = None;
        path
    } else {
        world.store = None;
        match flip(&world.disk, damage) {
            Some(path) => path,
            None => return Ok(()),
        }
    };
    let mut options = world.options.clone();
    options.retention = Retention::default();
    let open = || {
        Store::open(
            Arc::new(world.disk.clone()),
            Path::new(DIR),
            options.clone(),
        )
    };
    let store = match open() {
        Ok(store) => store,
        Err(error) => {
            let dir = Path::new(DIR);
            return match [dir.join("MANIFEST"), dir.join("FORMAT")].contains(&path) {
                true => Ok(()),
                false => Err(format!("{}: refused: {error}", path.display())),
            };
        }
    };
    if damage.maintained {
        store.maintain(now).map_err(|e| format!("maintain: {e}"))?;
    }
    let (found, warnings) = answer(&store, before.range)?;
    before
        .judge(&path, &found, &warnings)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    // Writing goes on, and what is left stays, through a seal and a restart.
    let line = [model::Sample::float(now, 5.0)];
    tests::append_samples(&store, "b03", "afterwards", &line).map_err(|e| e.to_string())?;
    store.close().map_err(|e| format!("close: {e}"))?;
    let mut expected = found;
    let written = std::iter::once((now.millis(), (None, model::Value::Float(5.0)))).collect();
    expected.insert(tests::labels("afterwards")?, written);
    let same = |store: &Store, when: &str| match answer(store, before.range)?.0 == expected {
        true => Ok(()),
        false => Err(format!("{}: another answer {when}", path.display())),
    };
    same(&store, "after sealing")?;
    drop(store);
    let store = open().map_err(|e| format!("second start: {e}"))?;
    same(&store, "after another start")
}

#[test]
fn damage_is_said_and_stays_where_it_is() {
    seeds::check(
        "damage_is_said_and_stays_where_it_is",
        500,
        (ops::setup(), ops::calm_ops(30), damage()),
        |(setup, ops, damage)| {
            let mut world = World::new(&setup);
            world.live(&ops)?;
            check(&mut world, &damage)
        },
    );
}
