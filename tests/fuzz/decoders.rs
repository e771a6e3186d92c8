//! Every decoder that reads bytes from outside or from disk, with valid bytes to start from, and the memory it may take for
//! a given number of bytes. A decoder answers or refuses; it never panics. Where two read the same bytes, they agree.

use tsdb::probe;
use wire::{exposition::Format, remote_read, remote_write};

use crate::edge;
use crate::line::{line_batch, line_frames};
use crate::otlp;
use crate::remote::{
    first_to_second, message_v2, messages, read_chunks, read_frames, read_request,
    remote_read_chunk, remote_write_body, remote_write_message, remote_write_v2,
};
use crate::store::{files, journal_segment, parts, split_index, wal};
use crate::texts::{
    CLASSIC, EXPRESSIONS, HEADERS, OPENMETRICS, POSTED, PROTOBUF, WEBHOOK, alertmanager,
    edge_headers, exposition, exposition_protobuf, promql,
};

pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&[u8]),
    /// Valid bytes.
    #[cfg_attr(not(test), expect(dead_code, reason = "libFuzzer finds its own"))]
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes allocated at any one time: so many for each byte read, and so many besides.
    #[cfg_attr(not(test), expect(dead_code, reason = "libFuzzer has its own bound"))]
    pub(crate) bound: (usize, usize),
}

const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "remote_write_body",
        read: remote_write_body,
        seeds: || {
            messages()
                .iter()
                .map(|bytes| remote_write::compress(bytes))
                .collect()
        },
        // Snappy: at most 32 bytes for one; the walk's buffers: 16 bytes for a sample of two.
        bound: (32 + 32 * 24, 4 * KIB),
    },
    Target {
        name: "remote_write_message",
        read: remote_write_message,
        seeds: messages,
        // An empty series is two bytes on the wire and a hundred in memory, here twice, and vectors grow by doubling.
        bound: (600, 16 * KIB),
    },
    Target {
        name: "remote_write_v2",
        read: remote_write_v2,
        seeds: || vec![message_v2()],
        // A symbol of two bytes is sixteen in memory and in the message that prost makes; texts are referred to again and
        // again, within the limit that the target sets.
        bound: (600, 64 * KIB),
    },
    Target {
        name: "remote_write_first_to_second",
        read: first_to_second,
        seeds: messages,
        // Both messages at once, and a symbol of one byte is some forty in the table.
        bound: (600, 64 * KIB),
    },
    Target {
        name: "remote_read_request",
        read: |body| {
            let _ = remote_read::decode(body, &remote_read::Limits::default());
        },
        seeds: || vec![read_request()],
        // Snappy, and regular expressions, each compiled to 10 MiB at most.
        bound: (16 * KIB, 12 * MIB),
    },
    Target {
        name: "remote_read_chunk",
        read: remote_read_chunk,
        seeds: read_chunks,
        // A sample of two bits is forty bytes; of histograms a chunk may hold a million numbers.
        bound: (4 * 8 * 48, 24 * MIB),
    },
    Target {
        name: "remote_read_frame",
        read: |bytes| {
            let mut rest = bytes;
            while let Ok(Some((_, behind))) = remote_read::frame::decode(rest) {
                rest = behind;
            }
            // Behind a checksum that is right.
            let _ = remote_read::frame::decode(&remote_read::frame::of_data(bytes));
        },
        seeds: read_frames,
        // An empty chunk is two bytes on the wire; vectors grow by doubling.
        bound: (256, 4 * KIB),
    },
    Target {
        name: "otlp_message",
        read: otlp::message,
        seeds: otlp::messages,
        // An attribute of two bytes is fifty in memory, and vectors grow by doubling; labels are made for each point.
        bound: (600, 64 * KIB),
    },
    Target {
        name: "otlp_json",
        read: otlp::json,
        seeds: || vec![otlp::JSON.to_vec()],
        // A metric of three bytes is three hundred in memory, and as many again as protobuf's struct.
        bound: (1000, 64 * KIB),
    },
    Target {
        name: "exposition",
        read: |bytes| exposition(Format::Classic, bytes),
        seeds: || vec![CLASSIC.to_vec()],
        bound: (64, 4 * KIB),
    },
    Target {
        name: "openmetrics",
        read: |bytes| exposition(Format::OpenMetrics, bytes),
        seeds: || vec![OPENMETRICS.to_vec()],
        bound: (64, 4 * KIB),
    },
    Target {
        name: "exposition_protobuf",
        read: exposition_protobuf,
        seeds: || vec![PROTOBUF.to_vec()],
        // One metric at a time, of a mebibyte at most: a bucket of two bytes is ninety in memory, and one more as a point; an
        // exemplar in it as much again, and vectors grow by doubling.
        bound: (1000, 64 * KIB),
    },
    Target {
        name: "edge_headers",
        read: edge_headers,
        seeds: || vec![HEADERS.to_vec()],
        bound: (64, 4 * KIB),
    },
    Target {
        name: "line_batch",
        read: line_batch,
        seeds: line_frames,
        // A section shrinks to a 256th at most; an empty series in it takes a byte there and a hundred in memory, and vectors
        // grow by doubling. The limits that the target sets are below that.
        bound: (4 * KIB, 4 * MIB),
    },
    Target {
        name: "alertmanager",
        read: alertmanager,
        seeds: || vec![POSTED.to_vec(), WEBHOOK.to_vec()],
        bound: (256, 16 * KIB),
    },
    Target {
        name: "promql",
        read: promql,
        seeds: || {
            EXPRESSIONS
                .iter()
                .map(|text| text.as_bytes().to_vec())
                .collect()
        },
        // Regular expressions are compiled, each to 10 MiB at most.
        bound: (4 * KIB, 12 * MIB),
    },
    Target {
        name: "journal_segment",
        read: journal_segment,
        seeds: || vec![wal().0],
        // The simulated disk holds the file twice; two cursors read ahead by 256 KiB.
        bound: (8, 2 * MIB),
    },
    Target {
        name: "store_record",
        read: |bytes| {
            let _ = probe::read_record(bytes);
        },
        seeds: || wal().1,
        // A row takes 40 bytes; a constant column has 4,096 of them in fifteen bytes or so.
        bound: (16 * KIB, 256 * KIB),
    },
    Target {
        name: "store_chunk",
        read: |bytes| {
            let _ = probe::read_chunk(bytes);
        },
        seeds: || {
            // In a record: version, section, id of one byte, chunk.
            let is_rows = |record: &Vec<u8>| record.get(1) == Some(&3);
            wal()
                .1
                .into_iter()
                .filter(is_rows)
                .map(|record| record[3..].to_vec())
                .chain([Vec::new()])
                .collect()
        },
        bound: (256, 256 * KIB),
    },
    Target {
        name: "part_block",
        read: |bytes| {
            let _ = probe::read_block(bytes);
        },
        seeds: || parts().into_iter().flat_map(|part| part.blocks).collect(),
        // Eight slots of times and one column.
        bound: (64, MIB),
    },
    Target {
        name: "part_index",
        read: |bytes| {
            let _ = split_index(bytes).and_then(|(end, index)| probe::read_index(index, end));
        },
        seeds: || {
            let joined =
                |part: probe::Pieces| [&part.blocks_end.to_le_bytes(), &part.index[..]].concat();
            parts().into_iter().map(joined).collect()
        },
        // The set of series makes room for 65,536 containers, if that many are said, before it reads them.
        bound: (64, 4 * MIB),
    },
    Target {
        name: "catalogue_segment",
        read: |bytes| {
            let _ = probe::read_catalogue_segment(bytes);
        },
        seeds: || files("catalogue/0000000000.seg"),
        bound: (16 * 24 + 8, 2 * MIB + 64 * KIB * 24),
    },
    Target {
        name: "catalogue_metadata",
        read: |bytes| {
            let _ = probe::read_metadata(bytes);
        },
        seeds: || files("catalogue/metadata"),
        bound: (16 * 64, 64 * KIB * 24),
    },
    Target {
        name: "store_exemplars",
        read: |bytes| {
            let _ = probe::read_exemplars(bytes);
        },
        seeds: || files("exemplars"),
        // Unpacked 16 times the bytes; of those eleven are an exemplar of 60 bytes with its labels, or a label of one
        // byte, here a pair of texts, twice.
        bound: (16 * 80, 64 * KIB * 80),
    },
    Target {
        name: "manifest",
        read: |bytes| {
            let _ = probe::read_manifest(bytes);
        },
        seeds: || files("MANIFEST"),
        bound: (64, 4 * KIB),
    },
    Target {
        name: "push_path",
        read: edge::push_path,
        seeds: || edge::paths(),
        bound: (16, 4 * KIB),
    },
    Target {
        name: "push_text",
        read: |body| edge::pushed(body, false),
        seeds: || vec![edge::TEXT.to_vec()],
        // A series of four bytes is a set of labels of a hundred, in the group, in what has been seen and in what is read again.
        bound: (600, 64 * KIB),
    },
    Target {
        name: "push_protobuf",
        read: |body| edge::pushed(body, true),
        seeds: || vec![PROTOBUF.to_vec()],
        // As a page of protobuf, and its text besides.
        bound: (3000, 64 * KIB),
    },
    Target {
        name: "push_group",
        read: edge::group,
        seeds: edge::groups,
        bound: (600, 64 * KIB),
    },
    Target {
        name: "kept_targets",
        read: edge::kept_targets,
        seeds: || vec![edge::TARGETS.to_vec()],
        // An empty target is two bytes, and vectors grow by doubling.
        bound: (128, 4 * KIB),
    },
    Target {
        name: "kept_configuration",
        read: edge::kept_configuration,
        seeds: || vec![edge::CONFIGURATION.to_vec()],
        bound: (64, 4 * KIB),
    },
    Target {
        name: "ledger_record",
        read: |bytes| {
            let _ = hub::probe::read_ledger_record(bytes);
        },
        seeds: hub::probe::ledger_records,
        // A stretch of thirty bytes is twenty-four in memory, here in the book and in what is asked of it.
        bound: (64, 64 * KIB),
    },
];
