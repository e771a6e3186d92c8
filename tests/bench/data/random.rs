//! Random numbers that are the same in every run: one cheap stream a target, so that the order in which targets are asked does
//! not matter.

/// A splitmix64 stream.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of that number.
    pub(crate) fn stream(number: u64) -> Self {
        Self(number.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from `0..bound`; 0 for a bound of 0. The bias is below 2⁻³² for the bounds used here.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let four = |number| {
            let mut random = Random::stream(number);
            [(); 4].map(|()| random.below(1000))
        };
        assert_eq!(four(7), four(7));
        assert_ne!(four(7), four(8));
        assert!(four(9).iter().all(|value| *value < 1000));
    }
}
