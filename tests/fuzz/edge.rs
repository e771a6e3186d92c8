//! What an edge keeps on disk, and what is pushed to it.

use edge_scraper::probe;

pub(crate) const TEXT: &[u8] = b"# HELP x of x\n# TYPE x gauge\nx{a=\"b\"} 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\n\
    h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\nplain NaN\n";

pub(crate) const TARGETS: &[u8] =
    br#"{"key":"job/0","targets":[{"__address__":"10.0.0.1:9100","rack":"7"},{}]}"#;

pub(crate) const CONFIGURATION: &[u8] = br#"{"at":1700000000000,"files":[{"path":"/etc/edge.yml","kind":"main","content":"c2NyYXBlX2NvbmZpZ3M6IFtd"},{"path":"/etc/token","kind":"secret","content":"czNjcmV0"}]}"#;

pub(crate) fn paths() -> Vec<Vec<u8>> {
    let paths = [
        "job/backup/host/h%2F1",
        "job@base64/YS9i/path@base64/L3Zhci90bXA=",
    ];
    paths.map(|path| path.as_bytes().to_vec()).to_vec()
}

pub(crate) fn push_path(bytes: &[u8]) {
    if let Ok(path) = std::str::from_utf8(bytes) {
        let _ = probe::read_push_path(path);
    }
}

/// What is taken is read from its file again: else a restart would lose it.
pub(crate) fn pushed(body: &[u8], is_protobuf: bool) {
    if let Some(file) = probe::read_push(body, is_protobuf) {
        assert!(
            probe::read_group(&file).is_some(),
            "a group that was taken is not read again"
        );
    }
}

/// As it comes, and behind a checksum that is right.
pub(crate) fn group(bytes: &[u8]) {
    let _ = probe::read_group(bytes);
    let _ = probe::read_group(&probe::seal_group(bytes));
}

/// Files of groups without their checksums.
pub(crate) fn groups() -> Vec<Vec<u8>> {
    let native = crate::texts::PROTOBUF;
    let files = [
        probe::read_push(TEXT, false),
        probe::read_push(native, true),
    ];
    let end = |file: Vec<u8>| {
        let from = file.windows(9).rposition(|piece| piece == b"# crc32c ");
        file[..from.unwrap_or(0)].to_vec()
    };
    files.into_iter().flatten().map(end).collect()
}

pub(crate) fn kept_targets(content: &[u8]) {
    let _ = probe::read_kept_targets(content);
}

pub(crate) fn kept_configuration(content: &[u8]) {
    let _ = probe::read_kept_configuration(content);
}
