//! Which series of the walked messages are wanted: labels are looked at once for each series, and known by a keyed hash from
//! then on.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use model::{LabelSet, Matcher};
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use wire::remote_write::SeriesView;

use super::LocalError;

/// Series that a walk may meet: each costs about 40 bytes, wanted or not.
const SERIES_MAX: usize = 500_000;
/// Bytes of labels of the wanted ones.
const LABEL_BYTES_MAX: usize = 8 << 20;

/// What is known of the series so far.
pub(super) struct Selection<'m> {
    selectors: &'m [Vec<Matcher>],
    key: [u8; 16],
    /// The number of a wanted series, by the hash of its label bytes.
    known: HashMap<u128, Option<u32>>,
    labels: Vec<LabelSet>,
    label_bytes: usize,
}

impl<'m> Selection<'m> {
    /// Wants what one of the selectors fits.
    pub(super) fn new(selectors: &'m [Vec<Matcher>]) -> Selection<'m> {
        let mut key = [0; 16];
        let (low, high) = (RandomState::new(), RandomState::new());
        key[..8].copy_from_slice(&low.hash_one(0).to_le_bytes());
        key[8..].copy_from_slice(&high.hash_one(1).to_le_bytes());
        Selection {
            selectors,
            key,
            known: HashMap::new(),
            labels: Vec::new(),
            label_bytes: 0,
        }
    }

    /// The number of a series, if it is wanted: 0 for the first that was met, and so on.
    pub(super) fn find(&mut self, view: &SeriesView<'_>) -> Result<Option<u32>, LocalError> {
        use std::hash::Hasher as _;
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(view.label_bytes());
        let hash = hasher.finish128().as_u128();
        if let Some(known) = self.known.get(&hash) {
            return Ok(*known);
        }
        // What is in the buffer has labels.
        let labels = view.labels().unwrap_or_default();
        let fits = |matchers: &Vec<Matcher>| matchers.iter().all(|m| m.matches_labels(&labels));
        let wanted = self.selectors.iter().any(fits);
        let number = wanted.then_some(self.labels.len() as u32);
        if wanted {
            self.label_bytes += labels.as_bytes().len();
            self.labels.push(labels);
        }
        self.known.insert(hash, number);
        match self.known.len() > SERIES_MAX || self.label_bytes > LABEL_BYTES_MAX {
            true => Err(LocalError::TooManySeries {
                max: SERIES_MAX,
                bytes_max: LABEL_BYTES_MAX,
            }),
            false => Ok(number),
        }
    }

    /// Labels by number.
    pub(super) fn labels(&self) -> &[LabelSet] {
        &self.labels
    }
}
