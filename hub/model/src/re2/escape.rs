//! What a backslash begins.

use super::Re2Error;
use super::class::Items;

/// RE2's general categories. `C` is apart: the crate counts the unassigned to it.
const CATEGORIES: &str = " L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So \
                          Z Zl Zp Zs Cc Cf Co ";

/// The scripts whose names have four letters, as the codes of all the others have, which RE2 does not know.
const SHORT_SCRIPTS: &str = " Ahom Cham Kawi Lisu Miao Newa Thai Toto ";

/// Whether it is spelled as RE2 spells scripts; the crate takes other spellings too.
fn is_script_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
        && (name.len() != 4 || SHORT_SCRIPTS.contains(&format!(" {name} ")))
}

/// `\d`, `\s`, `\w` and their opposites, which are of ASCII: the class's items, and the rest of the text.
pub(super) fn perl_class(text: &str) -> Option<(Items, &str)> {
    let letter = text.strip_prefix('\\')?.chars().next()?;
    let members = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\t\n\f\r ",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    let items = Items::new(members, letter.is_ascii_uppercase());
    Some((items, &text[2..]))
}

/// `\pN`, `\p{Greek}`, `\p{^Greek}`, `\PN`: the class's items, and the rest of the text.
pub(super) fn unicode_class(text: &str) -> Result<Option<(Items, &str)>, Re2Error> {
    let (mut negated, after) = if let Some(after) = text.strip_prefix(r"\p") {
        (false, after)
    } else if let Some(after) = text.strip_prefix(r"\P") {
        (true, after)
    } else {
        return Ok(None);
    };
    let bad = |part: &str| Re2Error::at("invalid character class range", part);
    let (mut name, rest) = match after.strip_prefix('{') {
        Some(inner) => inner.split_once('}').ok_or_else(|| bad(text))?,
        None => {
            let length = after.chars().next().map_or(0, char::len_utf8);
            after.split_at(length)
        }
    };
    if let Some(opposite) = name.strip_prefix('^') {
        negated = !negated;
        name = opposite;
    }
    let members = match name {
        "Any" => r"\x00-\x{10FFFF}".to_owned(),
        "C" => r"\p{gc=Cc}\p{gc=Cf}\p{gc=Co}".to_owned(),
        // Surrogates, which no text holds.
        "Cs" => String::new(),
        _ if !name.is_empty() && CATEGORIES.contains(&format!(" {name} ")) => {
            format!(r"\p{{gc={name}}}")
        }
        _ => {
            let script = format!(r"\p{{sc={name}}}");
            let known = is_script_name(name) && regex::Regex::new(&script).is_ok();
            if !known {
                return Err(bad(&text[..text.len() - rest.len()]));
            }
            script
        }
    };
    Ok(Some((Items::new(&members, negated), rest)))
}

/// One character behind a backslash, by its number (a surrogate's as well), and the rest of the text.
pub(super) fn character(text: &str) -> Result<(u32, &str), Re2Error> {
    let mut rest = text[1..].chars();
    let Some(first) = rest.next() else {
        return Err(Re2Error::at("trailing backslash at end of expression", ""));
    };
    let plain = |c: u8| Some(u32::from(c));
    let found = match first {
        // A single digit other than 0 would be a reference to a group.
        '1'..='7' if !rest.clone().next().is_some_and(|c| c.is_digit(8)) => None,
        '0'..='7' => {
            let mut code = first.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                let Some(digit) = rest.clone().next().and_then(|c| c.to_digit(8)) else {
                    break;
                };
                code = code * 8 + digit;
                rest.next();
            }
            Some(code)
        }
        'x' => hexadecimal(&mut rest),
        'a' => plain(7),
        'f' => plain(12),
        'n' => plain(b'\n'),
        'r' => plain(b'\r'),
        't' => plain(b'\t'),
        'v' => plain(11),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    let tail = rest.as_str();
    match found {
        Some(code) => Ok((code, tail)),
        None => Err(Re2Error::at(
            "invalid escape sequence",
            &text[..text.len() - tail.len()],
        )),
    }
}

/// `x41` and `x{10FFFF}`, behind the `x`.
fn hexadecimal(rest: &mut std::str::Chars<'_>) -> Option<u32> {
    let first = rest.next()?;
    if first != '{' {
        let low = rest.next()?;
        return Some(first.to_digit(16)? * 16 + low.to_digit(16)?);
    }
    let (mut code, mut digits) = (0, 0);
    loop {
        match rest.next()? {
            '}' => return (digits > 0).then_some(code),
            c => code = code * 16 + c.to_digit(16)?,
        }
        digits += 1;
        if code > u32::from(char::MAX) {
            return None;
        }
    }
}
