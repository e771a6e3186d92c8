//! Floats as integers: nearly all that exporters show was an integer in the kernel's unit once. Each rule is proved by
//! exact bits for each value that it is used for; what no rule fits stays a float, whose bits are the integer.

// How an integer becomes the value, by number; the numbers are part of the format.

/// 0 to 15: `m / 10^rule`.
const DECIMALS: u8 = 16;
/// `m * 0.001`: node_exporter's disk seconds.
const TIMES_MILLI: u8 = 16;
/// `m / 1000 / 1000`: its pressure seconds.
const TWICE_MILLI: u8 = 17;
/// `s + n / 10^9` of `m = s * 10^9 + n`: durations of Go programs.
const SECONDS_NANOS: u8 = 18;
/// `m * 10^-6` and `m * 10^-9`.
const TIMES_MICRO: u8 = 19;
const TIMES_NANO: u8 = 20;
/// The bits of the value.
pub(super) const BITS: u8 = 31;

const POWERS: [f64; DECIMALS as usize] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Decimals are tried below this only: beyond it nearly any float looks like some decimal.
const WHOLE_MAX: f64 = 3e16;

/// The value of an integer. Rules that are not there give 0: a reader refuses them before.
pub(super) fn value(rule: u8, whole: i64) -> f64 {
    let float = whole as f64;
    match rule {
        0 => float,
        rule if rule < DECIMALS => float / POWERS[usize::from(rule)],
        TIMES_MILLI => float * 1e-3,
        TWICE_MILLI => float / 1e3 / 1e3,
        SECONDS_NANOS => {
            (whole.div_euclid(1_000_000_000)) as f64 + whole.rem_euclid(1_000_000_000) as f64 / 1e9
        }
        TIMES_MICRO => float * 1e-6,
        TIMES_NANO => float * 1e-9,
        BITS => f64::from_bits(whole as u64),
        _ => 0.0,
    }
}

/// The nearest integer by that rule, whether exact or not.
pub(super) fn nearest(rule: u8, value: f64) -> i64 {
    let power = match rule {
        BITS => return value.to_bits() as i64,
        rule if rule < DECIMALS => POWERS[usize::from(rule)],
        TIMES_MILLI => 1e3,
        TWICE_MILLI | TIMES_MICRO => 1e6,
        SECONDS_NANOS | TIMES_NANO => 1e9,
        _ => return 0,
    };
    let scaled = value * power;
    // As `round`, which is a call where the processor has no instruction that everyone's has.
    let whole = (scaled + 0.5_f64.copysign(scaled)) as i64;
    match scaled.abs() < 9e15 {
        true => whole,
        false => scaled as i64,
    }
}

/// Whether the reader knows a rule.
pub(super) fn is_known(rule: u8) -> bool {
    rule <= TIMES_NANO || rule == BITS
}

/// The integer of a value by that rule, if it is exact to the bit.
#[inline]
pub(super) fn whole(rule: u8, number: f64) -> Option<i64> {
    let whole = nearest(rule, number);
    (value(rule, whole).to_bits() == number.to_bits()).then_some(whole)
}

/// The rule with the smallest integer for a value, and that integer.
pub(super) fn choose(number: f64) -> (u8, i64) {
    let fits = |rule: u8| {
        let scaled = number * POWERS.get(usize::from(rule)).copied().unwrap_or(1.0);
        whole(rule, number).filter(|_| scaled.abs() < WHOLE_MAX)
    };
    // In the order of integers' sizes; a rule of exporters beats many decimals.
    const ORDER: [u8; 20] = [
        0,
        1,
        2,
        3,
        TIMES_MILLI,
        4,
        5,
        6,
        TWICE_MILLI,
        TIMES_MICRO,
        7,
        8,
        9,
        SECONDS_NANOS,
        TIMES_NANO,
        10,
        11,
        12,
        13,
        14,
    ];
    let found = ORDER.iter().find_map(|rule| Some((*rule, fits(*rule)?)));
    found.unwrap_or((BITS, number.to_bits() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_exporters_show_is_an_integer() {
        let check =
            |value: f64, rule: u8, whole: i64| assert_eq!(choose(value), (rule, whole), "{value}");
        check(0.0, 0, 0);
        check(-17.0, 0, -17);
        check(1234.56, 2, 123_456);
        check(
            9.223_372_036_854_776e18,
            BITS,
            9.223_372_036_854_776e18_f64.to_bits() as i64,
        );
        // Not the nearest double of 0.009.
        check(9.0 * 0.001, TIMES_MILLI, 9);
        // Beyond 2^53, where only every second integer is a float.
        check(1_700_000_000.123_456_7, 7, 17_000_000_001_234_568);
        check(f64::NAN, BITS, f64::NAN.to_bits() as i64);
        check(-0.0, BITS, i64::MIN);
        check(1.0 / 3.0, BITS, (1.0_f64 / 3.0).to_bits() as i64);
    }

    proptest! {
        #[test]
        fn exact_or_not_at_all(bits in any::<u64>(), small in -1_000_000_000_000i64..1_000_000_000_000, rule in 0..DECIMALS) {
            for number in [f64::from_bits(bits), value(rule, small)] {
                let (rule, whole) = choose(number);
                prop_assert!(is_known(rule));
                prop_assert_eq!(value(rule, whole).to_bits(), number.to_bits());
            }
        }
    }
}
