//! Bytes of released formats stay readable: never change a file here, add the next version's beside it.

use std::path::Path;

use journal::{Disk as _, read_file, sim::SimDisk};
use model::{Buckets, Exemplar, Histogram, LabelSet, Metadata, MetricType, Sample, Span, Value};

use crate::{
    tests::{DIR, append_samples, at, labels, open, options},
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

/// The same with exemplars, made by [`make_exemplars`].
const EXEMPLARS_1: &[(&str, &str)] = &[
    ("FORMAT", "6272616e63686c696e652073746f726520310a"),
    (
        "MANIFEST",
        "\
         42524c53544f520a01000000637b3ee107070707070707070707070707070707e0d40302020201000100010100000102d00f \
         d00f016500000000",
    ),
    (
        "exemplars",
        "\
         42524c4558454d0a01000000ebb4b721023202010d000000000000f87f0001960e000000000000d03f010874726163655f69 \
         641034626639326633353737623334646136",
    ),
    (
        "catalogue/0000000000.seg",
        "\
         42524c5345474d0a01000000f7e34546000000000100000044d7c3b57f5ffe867a40a6b3a0ffbe3b2a010101020001010362 \
         3037085f5f6e616d655f5f01010872657175657374730100010200000100000000",
    ),
    (
        "parts/00000000000000000001.part",
        "\
         42524c504152540a02000000c4e26dc732f7facf28b52ffd2009490000052001010000d00f020101d00f00123a3000000100 \
         0000000000001000000001000116090100000026000000000000001f00000000000000487ade2db14e44d642524c50454e44 \
         0a",
    ),
    (
        "wal/00000000000000000003.seg",
        "\
         42524c4a524e4c0a010000004ad77702030000000000000003000000000000000d0000009e65c0a203000000000000000105 \
         0101020301a01f000101402900000007424e0a040000000000000001060101d81d000000000000e03f010874726163655f69 \
         6410303066303637616130626139303262372900000045aac9c5050000000000000001060101da1d9c7500883ce437fe0108 \
         74726163655f69641030306630363761613062613930326238",
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

/// Exemplars in their file and in the log.
fn make_exemplars(disk: &SimDisk) -> Store {
    let store = open(disk, &options());
    let append = |samples: &[(i64, f64)], exemplars: &[(&str, f64, i64)]| {
        let mut columns = Columns::default();
        columns.push_floats(store.series_key("b07", b"requests"), samples.to_vec());
        for (trace, value, millis) in exemplars {
            columns.push_exemplar(Exemplar {
                labels: LabelSet::from_pairs([("trace_id", *trace)]).unwrap(),
                value: *value,
                at: at(*millis),
            });
        }
        let labels = |_: usize| labels("requests");
        let batch = ColumnBatch {
            scope: "b07",
            labels: &labels,
            metadata: &[],
        };
        store.append_columns(&mut columns, batch).unwrap();
    };
    append(
        &[(1000, 1.0)],
        &[("", f64::NAN, -7), ("4bf92f3577b34da6", 0.25, 900)],
    );
    store.close().unwrap();
    append(&[(2000, 2.0)], &[("00f067aa0ba902b7", 0.5, 1900)]);
    append(&[], &[("00f067aa0ba902b8", -1e300, 1901)]);
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
    let exemplars = store.select_exemplars(&[&[]], TimeRange::ALL);
    assert_eq!(exemplars.warnings, [""; 0]);
    for series in exemplars.series {
        for exemplar in series.exemplars {
            let (at, bits) = (exemplar.at.millis(), exemplar.value.to_bits());
            text += &format!("{} {} {at}:{bits:016x}\n", series.labels, exemplar.labels);
        }
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
    check_readable(VERSION_1, make);
    check_readable(EXEMPLARS_1, make_exemplars);
}

fn check_readable(golden: &[(&str, &str)], make: fn(&SimDisk) -> Store) {
    let disk = SimDisk::new(1);
    for (path, hex) in golden {
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
    check_written(VERSION_1, make);
    check_written(EXEMPLARS_1, make_exemplars);
}

fn check_written(golden: &[(&str, &str)], make: fn(&SimDisk) -> Store) {
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
    let expected: Vec<&str> = golden.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected, "\n{listing}");
    for (name, hex) in golden {
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
