//! Many short lists in two flat columns: 4 bytes a list and nothing else beside its items.

/// Lists by number.
pub(super) struct Lists<T> {
    ends: Box<[u32]>,
    items: Box<[T]>,
}

impl<T: Copy + Default> Lists<T> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Empty when there is no such list.
    pub(super) fn get(&self, list: usize) -> &[T] {
        let from = match list {
            0 => 0,
            _ => self.ends.get(list - 1).map_or(0, |end| *end as usize),
        };
        let to = self.ends.get(list).map_or(from, |end| *end as usize);
        self.items.get(from..to).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[T]> {
        (0..self.len()).map(|list| self.get(list))
    }

    /// Sorts items into `lists` lists, each in the order of coming; runs through `items` of (list, item) twice.
    pub(super) fn group(lists: usize, items: impl Iterator<Item = (usize, T)> + Clone) -> Self {
        let mut places = vec![0_u32; lists];
        for (list, _) in items.clone() {
            places[list] += 1;
        }
        let mut total = 0;
        for place in &mut places {
            total += std::mem::replace(place, total);
        }
        let mut sorted = vec![T::default(); total as usize];
        for (list, item) in items {
            sorted[places[list] as usize] = item;
            places[list] += 1;
        }
        // Where the next item would go is now where each list ends.
        Self {
            ends: places.into(),
            items: sorted.into(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.ends) + size_of_val(&*self.items)
    }
}

/// Lists that are still being written.
pub(super) struct ListsBuilder<T> {
    ends: Vec<u32>,
    items: Vec<T>,
}

impl<T: Copy> ListsBuilder<T> {
    pub(super) fn new() -> Self {
        Self {
            ends: Vec::new(),
            items: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn push(&mut self, list: &[T]) {
        self.items.extend_from_slice(list);
        self.ends.push(self.items.len() as u32);
    }

    pub(super) fn get(&self, list: usize) -> &[T] {
        let from = list.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.items[from as usize..self.ends[list] as usize]
    }

    pub(super) fn finish(self) -> Lists<T> {
        Lists {
            ends: self.ends.into(),
            items: self.items.into(),
        }
    }
}

/// Writes rising numbers, each as its distance from the one before: mostly one byte.
pub(super) fn put_rising(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>) {
    let mut least = 0;
    for number in numbers {
        crate::codec::put_varint(out, u64::from(number - least));
        least = number + 1;
    }
}

/// Reads what [`put_rising`] wrote.
#[derive(Clone)]
pub(super) struct Rising<'a> {
    bytes: std::slice::Iter<'a, u8>,
    least: u32,
}

impl<'a> Rising<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            least: 0,
        }
    }
}

impl Iterator for Rising<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let mut byte = *self.bytes.next()?;
        let mut distance = u32::from(byte & 0x7f);
        let mut shift = 7;
        while byte >= 0x80 {
            byte = *self.bytes.next()?;
            distance |= u32::from(byte & 0x7f) << (shift & 31);
            shift += 7;
        }
        let number = self.least.wrapping_add(distance);
        self.least = number.wrapping_add(1);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn grouped_items_are_found_in_their_lists(items in prop::collection::vec((0..5_usize, any::<u16>()), 0..30)) {
            let lists = Lists::group(5, items.iter().copied());
            for list in 0..6 {
                let expected: Vec<u16> = items.iter().filter(|(of, _)| *of == list).map(|(_, item)| *item).collect();
                prop_assert_eq!(lists.get(list), expected);
            }
        }

        #[test]
        fn rising_numbers_are_read_back(numbers in prop::collection::btree_set(0..u32::MAX, 0..10)) {
            let mut bytes = Vec::new();
            put_rising(&mut bytes, numbers.iter().copied());
            prop_assert_eq!(Rising::new(&bytes).collect::<BTreeSet<u32>>(), numbers);
        }

        #[test]
        fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let _ = Rising::new(&bytes).count();
        }
    }
}
