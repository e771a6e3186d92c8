//! What parts cost: CPU time and bytes of a sample, on made-up columns that carry fresh noise in each step (real ones are
//! calmer). Prints; asserts nothing.
//!
//! `cargo run --release -p tsdb --example columns [all|columns|parts] [folder] [only so many series]`

use std::{hint::black_box, io, path::Path, sync::Arc};

use journal::{Disk, RealDisk};
use tsdb::probe::{EncodedColumn, LoosePart};

const INTERVAL_MS: i64 = 15_000;
const TARGET_SERIES: usize = 500;

/// CPU time of this thread.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next();
    first
        .and_then(|number| number.parse().ok())
        .unwrap_or(f64::NAN)
}

/// The least of some runs, because others use the machine as well. A run is long enough for the kernel's clock, which ticks
/// every few milliseconds.
fn measure(runs: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..runs).map(|_| {
        let (start, mut count) = (cpu_ns(), 0.0);
        loop {
            run();
            count += 1.0;
            let elapsed = cpu_ns() - start;
            if elapsed > 1e8 {
                return elapsed / count;
            }
        }
    });
    times.fold(f64::INFINITY, f64::min)
}

/// xorshift: the same numbers each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, end: u64) -> f64 {
        (self.next() % end) as f64
    }
}

/// One series of a kind that `series` picks.
fn column(series: usize, rows: usize) -> Vec<f64> {
    let mut noise = Noise((series as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let kind = noise.next() % 100;
    let mut level = noise.below(1_000_000);
    let values = (0..rows).map(|_| match kind {
        0..23 => level,
        // Counters, slow to fast.
        23..35 => step(&mut level, noise.below(3)),
        35..48 => step(&mut level, noise.below(100)),
        48..58 => step(&mut level, noise.below(2000)),
        // Seconds, as milliseconds.
        58..68 => step(&mut level, noise.below(40)) / 1000.0,
        // Gauges of two decimals, of memory in pages, of few values.
        68..80 => (level + noise.below(200)) / 100.0,
        80..90 => step(&mut level, noise.below(61) - 30.0) * 4096.0,
        90..97 => noise.below(8),
        // True floats.
        _ => (level + noise.below(1 << 40)).sqrt(),
    });
    values.collect()
}

fn step(level: &mut f64, by: f64) -> f64 {
    *level += by;
    *level
}

fn columns() {
    println!(
        "values a column: bytes a value, ns to encode, million values/s to encode and decode (before zstd)"
    );
    for rows in [3, 10, 30, 240, 1440] {
        let columns: Vec<Vec<f64>> = (0..1_500_000 / rows.max(100))
            .map(|series| column(series, rows))
            .collect();
        let mut encoder = EncodedColumn::default();
        let mut bytes = 0;
        let encode = measure(5, || {
            bytes = columns
                .iter()
                .map(|column| encoder.encode(black_box(column)))
                .sum();
        });
        let encoded: Vec<EncodedColumn> = columns
            .iter()
            .map(|column| {
                let mut encoder = EncodedColumn::default();
                encoder.encode(column);
                encoder
            })
            .collect();
        let mut values = Vec::new();
        let decode = measure(5, || {
            for column in &encoded {
                values.clear();
                assert!(column.decode(rows, black_box(&mut values)));
            }
        });
        let count = (columns.len() * rows) as f64;
        println!(
            "{rows:5}: {:.2} B, {:5.1} ns, {:4.0} M/s, {:4.0} M/s",
            bytes as f64 / count,
            encode / count,
            1e3 * count / encode,
            1e3 * count / decode
        );
    }
}

/// Parts of `rows` rows a series each, and their merge. Series of a target share their timestamps.
fn parts(folder: &Path, series: usize, rows: usize, count: usize) -> io::Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir_all(folder)?;
    let all: Vec<Vec<f64>> = (0..series)
        .map(|series| column(series, rows * count))
        .collect();
    let samples = (series * rows) as f64;
    let mut sealed = Vec::new();
    let mut seal = 0.0;
    for number in 0..count {
        let path = folder.join(format!("sealed-{number}"));
        let flat: Vec<f64> = all
            .iter()
            .flat_map(|column| &column[number * rows..(number + 1) * rows])
            .copied()
            .collect();
        let start = cpu_ns();
        let part = LoosePart::write(&disk, &path, number as u64, |add| {
            let mut times = Vec::new();
            for (id, values) in flat.chunks(rows).enumerate() {
                if id % TARGET_SERIES == 0 {
                    let first = 1_700_000_000_000
                        + (number * rows) as i64 * INTERVAL_MS
                        + (id / TARGET_SERIES * 7919 % 15_000) as i64;
                    times.clear();
                    times.extend((0..rows as i64).map(|row| first + row * INTERVAL_MS));
                }
                add(id as u32, &times, values)?;
            }
            Ok(())
        })?;
        seal += cpu_ns() - start;
        sealed.push(part);
    }
    let bytes: u64 = sealed.iter().map(LoosePart::bytes).sum();
    let mut merged = None;
    let merge = measure(3, || {
        merged = LoosePart::merge(&sealed, &disk, &folder.join("merged"), 100).ok();
    });
    let total = samples * count as f64;
    let Some(merged) = merged else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    println!(
        "{count} parts of {series} series x {rows}: seal {:.1} ns a sample, {:.2} B; merge {:.1} ns, {:.2} B",
        seal / total,
        bytes as f64 / total,
        merge / total,
        merged.bytes() as f64 / total
    );
    let mut reopened = None;
    let open = measure(3, || reopened = merged.reopen(&disk, 32 << 20));
    let Some(reopened) = reopened else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let read = measure(3, || {
        black_box(merged.read(0..series as u32));
    });
    let one_in = |part: &LoosePart| {
        measure(3, || {
            for id in 0..100 {
                black_box(part.read([id * (series as u32 / 100)]));
            }
        }) / 100.0
    };
    println!(
        "  open {:.0} us, read all {:.1} ns a sample, read one series {:.0} us, again {:.0} us",
        open / 1e3,
        read / total,
        one_in(&merged) / 1e3,
        one_in(&reopened) / 1e3
    );
    Ok(())
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let part = arguments.first().map_or("", String::as_str);
    if part != "parts" {
        columns();
    }
    if part != "columns" {
        let folder = arguments.get(1).map_or("target/columns", String::as_str);
        let only = arguments
            .get(2)
            .and_then(|series| series.parse::<usize>().ok());
        for (series, rows, count) in [
            (100_000, 10, 8),
            (100_000, 30, 8),
            (1_000_000, 3, 4),
            (10_000, 240, 6),
        ] {
            if only.is_none_or(|only| only == series) {
                parts(Path::new(folder), series, rows, count)?;
            }
        }
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}
