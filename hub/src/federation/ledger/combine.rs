//! The time of a branch, from those of its edges: where several speak, the worst holds.

use super::book::Section;

/// Sections of each edge, in order and without gaps, as one list of the same kind.
pub(crate) fn combine(mut edges: Vec<Vec<Section>>) -> Vec<Section> {
    if edges.len() <= 1 {
        return edges.pop().unwrap_or_default();
    }
    let all = || edges.iter().flatten();
    let mut times: Vec<i64> = all().flat_map(|s| [s.start, s.end]).collect();
    times.sort_unstable();
    times.dedup();
    let mut places = vec![0; edges.len()];
    let mut combined: Vec<Section> = Vec::new();
    for two in times.windows(2) {
        let (start, end) = (two[0], two[1]);
        let mut worst: Option<Section> = None;
        for (sections, place) in edges.iter().zip(&mut places) {
            while sections
                .get(*place)
                .is_some_and(|section| section.end <= start)
            {
                *place += 1;
            }
            let Some(section) = sections
                .get(*place)
                .filter(|section| section.start <= start)
            else {
                continue;
            };
            // Its samples count where it begins.
            let samples = if section.start == start {
                section.samples
            } else {
                0
            };
            match &mut worst {
                Some(worst) if worst.state == section.state => {
                    worst.samples = worst.samples.saturating_add(samples);
                    add_reasons(worst, section);
                }
                Some(worst) if worst.state > section.state => {}
                _ => {
                    worst = Some(Section {
                        start,
                        end,
                        samples,
                        ..section.clone()
                    })
                }
            }
        }
        let Some(section) = worst else { continue };
        match combined.last_mut() {
            Some(last) if last.state == section.state && last.end == start => {
                last.end = end;
                last.samples = last.samples.saturating_add(section.samples);
                add_reasons(last, &section);
            }
            _ => combined.push(section),
        }
    }
    combined
}

fn add_reasons(to: &mut Section, from: &Section) {
    for reason in &from.reasons {
        if !to.reasons.contains(reason) {
            to.reasons.push(reason.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::State;
    use super::*;

    fn section(start: i64, end: i64, state: State, samples: u64) -> Section {
        Section {
            start,
            end,
            state,
            samples,
            reasons: Vec::new(),
        }
    }

    #[test]
    fn the_worst_of_several_edges_holds() {
        use State::{Complete, Lost, Pending};
        let one = vec![
            section(0, 50, Complete, 0),
            section(50, 80, Pending, 7),
            section(80, 100, Complete, 0),
        ];
        let two = vec![section(20, 60, Lost, 3), section(60, 90, Complete, 0)];
        let expected = [
            section(0, 20, Complete, 0),
            section(20, 60, Lost, 3),
            section(60, 80, Pending, 0),
            section(80, 100, Complete, 0),
        ];
        assert_eq!(combine(vec![one.clone(), two]), expected);
        assert_eq!(
            combine(vec![one.clone(), one.clone()])[1],
            section(50, 80, Pending, 14)
        );
        assert_eq!(combine(vec![one.clone()]), one);
        assert_eq!(combine(Vec::new()), []);
    }
}
