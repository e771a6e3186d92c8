//! Bytes of released formats stay readable: never change a file here, add the next version's beside it.

use std::path::Path;

use journal::{Disk as _, read_file, sim::SimDisk};
use model::{Buckets, Histogram, Metadata, MetricType, Sample, Span, Value};

use crate::{
    tests::{DIR, append_samples, at, open, options},
    *,
};

/// The files of a store of version 1 in hexadecimal, made by [`make`].
const VERSION_1: &[(&str, &str)] = &[
    ("FORMAT", "6272616e63686c696e652073746f726520310a"),
    (
        "MANIFEST",
        "\
         42524c53544f520a0100000090f1ba0607070707070707070707070707070707e0d403070306010005000201000001070ae0 \
         ce050fe40100020002010790b907c0a309037700000000",
    ),
    (
        "catalogue/0000000000.seg",
        "\
         42524c5345474d0a01000000245f53630000000005000000ea377c8c43baa76067f9081f9f1975318a39a9eefe87970582ea \
         64090b77fc45fce50810b62a3a462852e0a45ca824f9cc6bb2ae270abd40aa851a2fa2c9a627bebc1c979711e8f761a70db7 \
         ed5a09a36a010105030001020003623037085f5f6e616d655f5f010508636f6e7374616e7407646563696d616c076c617465 \
         6e63790672616e646f6d057374616c65066272616e6368010103623037010005030101030201040200010200040200030100 \
         0000000100020003000400",
    ),
    (
        "catalogue/metadata",
        "\
         42524c4d4554410a01000000c0b840b91808636f6e7374616e7407636f756e7465720468656c700173",
    ),
    (
        "parts/00000000000000000001.part",
        "\
         42524c504152540a02000000c4e26dc766898b9f28b52ffd20a235040052c71b28704dd201a0b58aefaaae3e1fa8e85d0059 \
         5f5c06170023e845190e070b51434f41b6040411b2650a2ffeffbd9fac992d640cab5ffc89be29507c40a44b46a271558452 \
         312d28e8082d7313ffcf45190eed1c70094e4fa3524f89f11442939b9001f9d8b5bd31076b0cd66dd5820808004006b8a1d2 \
         06a5b0a9d9be51c28341448027010f0aabe7020f3b3000000100000400010001000400019301a201010400abe702a3000000 \
         00000000210000000000000087b003368af09bbf42524c50454e440a",
    ),
    (
        "parts/00000000000000000002.part",
        "\
         42524c504152540a02000000c4e26dc7a0db9a7e28b52ffd2016b100000a2002010000280205000090b9070890b907987502 \
         0e020390b9079875143a30000001000000000001001000000002000300012316020100987533000000000000002400000000 \
         000000b2952b5cdf610b4542524c50454e440a",
    ),
    (
        "wal/00000000000000000008.seg",
        "\
         42524c4a524e4c0a010000002d1b1501080000000000000008000000000000003a0000001b68815408000000000000000101 \
         d4f4778bb44a872d3b695bde2d96ba32060362303801085f5f6e616d655f5f046c6174650503010c0601d00fb0ea01032202 \
         3ff03ff87ff82000000022becfbe090000000000000001028cacf361df85df9d346176079962a1c403050101060301d00f00 \
         01024020",
    ),
];

fn histogram() -> Histogram {
    Histogram {
        schema: 1,
        zero_threshold: 0.5,
        zero_count: 1.0,
        count: 6.0,
        sum: 9.5,
        positive: Buckets {
            spans: vec![Span {
                offset: -1,
                length: 2,
            }],
            counts: vec![2.0, 3.0],
        },
        ..Histogram::default()
    }
}

/// Every section of every file: two partitions, all forms of a chunk, an alias, metadata, samples only in the log.
fn make(disk: &SimDisk) -> Store {
    let store = open(disk, &options());
    let floats = |values: &[f64]| -> Vec<Sample> {
        values
            .iter()
            .enumerate()
            .map(|(i, value)| Sample::float(at(1000 + 15_000 * i as i64), *value))
            .collect()
    };
    let mut samples = floats(&[0.25, 0.5, -1.75]);
    samples[1].start = Some(at(900));
    append_samples(&store, "b07", "decimal,branch=b07", &samples).unwrap();
    append_samples(&store, "b07", "branch=b07,decimal", &floats(&[0.75])).unwrap();
    append_samples(
        &store,
        "b07",
        "stale",
        &floats(&[1.0, 2.0, 3.0, model::stale_nan(), 4.0]),
    )
    .unwrap();
    append_samples(&store, "", "constant", &floats(&[7.0; 6])).unwrap();
    append_samples(
        &store,
        "",
        "random",
        &floats(&[std::f64::consts::PI, std::f64::consts::E * 1e-9]),
    )
    .unwrap();
    append_samples(
        &store,
        "",
        "latency",
        &[
            Sample::histogram(at(5), histogram()),
            Sample::float(at(6), 1.0),
        ],
    )
    .unwrap();
    let metadata = Metadata {
        kind: MetricType::Counter,
        help: "help".to_owned(),
        unit: "s".to_owned(),
    };
    store
        .append(&Batch {
            scope: "",
            series: vec![],
            metadata: vec![("constant", &metadata)],
        })
        .unwrap();
    store.close().unwrap();
    append_samples(&store, "b08", "late", &floats(&[1.0, 1.5, f64::NAN])).unwrap();
    append_samples(&store, "b08", "constant", &floats(&[8.0])).unwrap();
    store.sync().unwrap();
    store
}

fn everything(store: &Store) -> String {
    let selection = store
        .select(&[], TimeRange::ALL, &SelectLimits::default(), &|| false)
        .unwrap();
    assert_eq!(selection.warnings, [""; 0]);
    let mut text = String::new();
    for series in &selection.series {
        text += &format!("{} {:?}", series.labels, series.starts);
        for (time, value) in series.timestamps.iter().zip(series.values.iter()) {
            text += &match value {
                Value::Float(value) => format!(" {time}:{:016x}", value.to_bits()),
                Value::Histogram(histogram) => format!(" {time}:{histogram:?}"),
            };
        }
        text += "\n";
    }
    format!("{text}{:?}", store.metadata(None))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

#[test]
fn version_1_is_readable() {
    let disk = SimDisk::new(1);
    for (path, hex) in VERSION_1 {
        let path = Path::new(DIR).join(path);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        disk.create(&path).unwrap().append(&bytes_of(hex)).unwrap();
    }
    assert_eq!(
        everything(&open(&disk, &options())),
        everything(&make(&SimDisk::new(2)))
    );
}

/// What is written today is that version, but for zstd's choices inside of the blocks.
#[test]
fn version_1_is_written() {
    let disk = SimDisk::new(1);
    drop(make(&disk));
    let dir = Path::new(DIR);
    let names: Vec<String> = disk
        .files()
        .iter()
        .map(|(path, _)| path.strip_prefix(dir).unwrap().display().to_string())
        .collect();
    let mut listing = String::new();
    for name in &names {
        let bytes = read_file(&disk, &dir.join(name), 1 << 20).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        listing += &format!("    (\"{name}\", \"{hex}\"),\n");
    }
    let golden: Vec<&str> = VERSION_1.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, golden, "\n{listing}");
    for (name, hex) in VERSION_1 {
        // Sizes of parts stand in the manifest, and depend on zstd.
        if !name.starts_with("parts/") && *name != "MANIFEST" {
            assert_eq!(
                read_file(&disk, &dir.join(name), 1 << 20).unwrap(),
                bytes_of(hex),
                "{name}\n{listing}"
            );
        }
    }
}
