//! Waiting for something to become true, with a deadline and a message that says what never did.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks: short against every deadline, long against the cost of a look.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` answers `Ok`, and returns what it found. `Err` says what is still missing.
///
/// # Panics
/// When `within` has passed: names `what` and what the last look said.
pub fn until<T>(within: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        let missing = match look() {
            Ok(found) => return found,
            Err(missing) => missing,
        };
        assert!(
            began.elapsed() < within,
            "{what}: not within {within:?}; at the last look: {missing}"
        );
        sleep(PAUSE);
    }
}

/// [`until`] for a plain condition.
///
/// # Panics
/// When `within` has passed and `look` still answers `false`.
pub fn until_true(within: Duration, what: &str, mut look: impl FnMut() -> bool) {
    until(within, what, || {
        look().then_some(()).ok_or_else(|| "not yet".to_owned())
    });
}

/// Looks for all of `during` that `look` stays `Ok`: for what must *not* happen.
///
/// # Panics
/// As soon as `look` answers `Err`.
pub fn stays(during: Duration, what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    while began.elapsed() < during {
        if let Err(broken) = look() {
            panic!("{what}: broken after {:?}: {broken}", began.elapsed());
        }
        sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_was_found() {
        let mut looks = 0;
        let found = until(Duration::from_secs(5), "three looks", || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("look {looks}"))
            }
        });
        assert_eq!(found, 3);
    }

    #[test]
    #[should_panic(expected = "the moon: not within 1ms; at the last look: still down")]
    fn says_what_never_came() {
        until(Duration::from_millis(1), "the moon", || {
            Err::<(), _>("still down".to_owned())
        });
    }
}
