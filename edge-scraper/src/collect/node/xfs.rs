//! `/sys/fs/xfs/*/stats/stats`: what each XFS filesystem did, one line a subject.

use super::page::Page;
use super::roots::{PartError, Roots, Text, names};

/// A line's keyword, the prefix of its metrics after `node_xfs_`, and for each of its first numbers the rest of the name and
/// the help, as node_exporter has them.
type Line = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const LINES: [Line; 8] = [
    (
        "extent_alloc",
        "extent_allocation_",
        &[
            (
                "extents_allocated_total",
                "Number of extents allocated for a filesystem.",
            ),
            (
                "blocks_allocated_total",
                "Number of blocks allocated for a filesystem.",
            ),
            (
                "extents_freed_total",
                "Number of extents freed for a filesystem.",
            ),
            (
                "blocks_freed_total",
                "Number of blocks freed for a filesystem.",
            ),
        ],
    ),
    (
        "abt",
        "allocation_btree_",
        &[
            (
                "lookups_total",
                "Number of allocation B-tree lookups for a filesystem.",
            ),
            (
                "compares_total",
                "Number of allocation B-tree compares for a filesystem.",
            ),
            (
                "records_inserted_total",
                "Number of allocation B-tree records inserted for a filesystem.",
            ),
            (
                "records_deleted_total",
                "Number of allocation B-tree records deleted for a filesystem.",
            ),
        ],
    ),
    (
        "blk_map",
        "block_mapping_",
        &[
            (
                "reads_total",
                "Number of block map for read operations for a filesystem.",
            ),
            (
                "writes_total",
                "Number of block map for write operations for a filesystem.",
            ),
            (
                "unmaps_total",
                "Number of block unmaps (deletes) for a filesystem.",
            ),
            (
                "extent_list_insertions_total",
                "Number of extent list insertions for a filesystem.",
            ),
            (
                "extent_list_deletions_total",
                "Number of extent list deletions for a filesystem.",
            ),
            (
                "extent_list_lookups_total",
                "Number of extent list lookups for a filesystem.",
            ),
            (
                "extent_list_compares_total",
                "Number of extent list compares for a filesystem.",
            ),
        ],
    ),
    (
        "bmbt",
        "block_map_btree_",
        &[
            (
                "lookups_total",
                "Number of block map B-tree lookups for a filesystem.",
            ),
            (
                "compares_total",
                "Number of block map B-tree compares for a filesystem.",
            ),
            (
                "records_inserted_total",
                "Number of block map B-tree records inserted for a filesystem.",
            ),
            (
                "records_deleted_total",
                "Number of block map B-tree records deleted for a filesystem.",
            ),
        ],
    ),
    (
        "dir",
        "directory_operation_",
        &[
            (
                "lookup_total",
                "Number of file name directory lookups which miss the operating systems directory name lookup cache.",
            ),
            (
                "create_total",
                "Number of times a new directory entry was created for a filesystem.",
            ),
            (
                "remove_total",
                "Number of times an existing directory entry was created for a filesystem.",
            ),
            (
                "getdents_total",
                "Number of times the directory getdents operation was performed for a filesystem.",
            ),
        ],
    ),
    (
        "ig",
        "inode_operation_",
        &[
            (
                "attempts_total",
                "Number of times the OS looked for an XFS inode in the inode cache.",
            ),
            (
                "found_total",
                "Number of times the OS looked for and found an XFS inode in the inode cache.",
            ),
            (
                "recycled_total",
                "Number of times the OS found an XFS inode in the cache, but could not use it as it was being recycled.",
            ),
            (
                "missed_total",
                "Number of times the OS looked for an XFS inode in the cache, but did not find it.",
            ),
            (
                "duplicates_total",
                "Number of times the OS tried to add a missing XFS inode to the inode cache, but found it had already been added by another process.",
            ),
            (
                "reclaims_total",
                "Number of times the OS reclaimed an XFS inode from the inode cache to free memory for another purpose.",
            ),
            (
                "attribute_changes_total",
                "Number of times the OS explicitly changed the attributes of an XFS inode.",
            ),
        ],
    ),
    (
        "rw",
        "",
        &[
            (
                "write_calls_total",
                "Number of write(2) system calls made to files in a filesystem.",
            ),
            (
                "read_calls_total",
                "Number of read(2) system calls made to files in a filesystem.",
            ),
        ],
    ),
    (
        "vnodes",
        "vnode_",
        &[
            (
                "active_total",
                "Number of vnodes not on free lists for a filesystem.",
            ),
            (
                "allocate_total",
                "Number of times vn_alloc called for a filesystem.",
            ),
            (
                "get_total",
                "Number of times vn_get called for a filesystem.",
            ),
            (
                "hold_total",
                "Number of times vn_hold called for a filesystem.",
            ),
            (
                "release_total",
                "Number of times vn_rele called for a filesystem.",
            ),
            (
                "reclaim_total",
                "Number of times vn_reclaim called for a filesystem.",
            ),
            (
                "remove_total",
                "Number of times vn_remove called for a filesystem.",
            ),
        ],
    ),
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("fs/xfs");
    for device in names(&folder)? {
        // Beside the filesystems there is one for all of them, and settings.
        let path = folder.join(&device).join("stats/stats");
        if device == "stats" || !path.is_file() {
            continue;
        }
        let text = Text::read(path)?;
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let keyword = fields.next().unwrap_or_default();
            let Some((_, prefix, columns)) = LINES.iter().find(|(known, ..)| *known == keyword)
            else {
                continue;
            };
            for (name, help) in *columns {
                let value = text.number(fields.next())?;
                page.counter(&format!("node_xfs_{prefix}{name}"), help)
                    .row(&[("device", &device)], value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn lines_of_each_filesystem() {
        check(
            super::read,
            &[
                ("sys/fs/xfs/stats/stats", "rw 1 1\n"),
                (
                    "sys/fs/xfs/sda1/stats/stats",
                    "extent_alloc 1 2 3 4\nrw 28 0\nxpc 1 2 3\n",
                ),
                ("sys/fs/xfs/sdb1/stats/stats", "rw 7 8\n"),
            ],
            "node_xfs_extent_allocation_blocks_allocated_total{device=\"sda1\"} 2\n\
             node_xfs_extent_allocation_blocks_freed_total{device=\"sda1\"} 4\n\
             node_xfs_extent_allocation_extents_allocated_total{device=\"sda1\"} 1\n\
             node_xfs_extent_allocation_extents_freed_total{device=\"sda1\"} 3\n\
             node_xfs_read_calls_total{device=\"sda1\"} 0\nnode_xfs_read_calls_total{device=\"sdb1\"} 8\n\
             node_xfs_write_calls_total{device=\"sda1\"} 28\nnode_xfs_write_calls_total{device=\"sdb1\"} 7\n",
        );
        check(super::read, &[], "");
        check(
            super::read,
            &[("sys/fs/xfs/sda1/stats/stats", "abt 1\n")],
            "node_xfs_allocation_btree_lookups_total{device=\"sda1\"} 1\n\
             error sys/fs/xfs/sda1/stats/stats: expected a number, found \"\"\n",
        );
    }
}
