//! Which metrics can be counted together? `count_over_time` takes the name off a series, and PromQL refuses an answer in which two
//! series are then the same. So the names are dealt into groups in which no two metrics of a target have the same labels.

use std::collections::BTreeSet;

use super::page::Page;

/// Regular expressions that together match every name once.
pub(super) fn groups(pages: &[(&str, &Page)]) -> Vec<String> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (_, page) in pages {
        names.extend(page.entries.iter().map(|entry| entry.name.as_str()));
    }
    let mut groups: Vec<(Vec<&str>, BTreeSet<String>)> = Vec::new();
    for name in names {
        let labels: BTreeSet<String> = pages
            .iter()
            .flat_map(|(job, page)| page.entries.iter().map(move |entry| (job, entry)))
            .filter(|(_, entry)| entry.name == name)
            .map(|(job, entry)| format!("{job} {:?}", entry.labels))
            .collect();
        let free = groups
            .iter_mut()
            .find(|(_, taken)| taken.is_disjoint(&labels));
        match free {
            Some((members, taken)) => {
                members.push(name);
                taken.extend(labels);
            }
            None => groups.push((vec![name], labels)),
        }
    }
    groups
        .into_iter()
        .map(|(members, _)| members.join("|"))
        .collect()
}
