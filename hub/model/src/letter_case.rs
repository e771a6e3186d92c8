//! Upper and lower case as Go's `strings.ToUpper` and `ToLower` make them: each character by itself, to one other.
//! `str::to_uppercase` goes by the word: `ß` to `SS`, a `Σ` at the end to `ς`.

/// The text in upper case.
pub fn to_uppercase(text: &str) -> String {
    text.chars().map(upper).collect()
}

/// The text in lower case.
pub fn to_lowercase(text: &str) -> String {
    text.chars().map(lower).collect()
}

fn upper(c: char) -> char {
    let mut all = c.to_uppercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => alone(c),
    }
}

/// Where Unicode's full mapping has several characters: those Greek ones with an iota below have a capital of one
/// character all the same, and no other has.
fn alone(c: char) -> char {
    let further = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(c) + further).unwrap_or(c)
}

/// Only `İ` has several characters, of which the first is its `i`.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn character_by_character() {
        for (text, upper, lower) in [
            ("aZ9-", "AZ9-", "az9-"),
            ("Straße", "STRAßE", "straße"),
            ("ŉǰﬁ", "ŉǰﬁ", "ŉǰﬁ"),
            ("ΟΔΟΣ", "ΟΔΟΣ", "οδοσ"),
            ("İıſ", "İIS", "iıſ"),
            ("ᾳᾀᾧᾈ", "ᾼᾈᾯᾈ", "ᾳᾀᾧᾀ"),
            ("ǆǅ", "ǄǄ", "ǆǆ"),
        ] {
            assert_eq!(to_uppercase(text), upper, "{text}");
            assert_eq!(to_lowercase(text), lower, "{text}");
        }
    }
}
