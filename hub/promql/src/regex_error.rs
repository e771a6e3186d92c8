//! Why a regular expression does not parse, in the words of Go's RE2 parser, which people know from Prometheus.

use regex_syntax::ast::ErrorKind;
use regex_syntax::ast::parse::Parser;

/// `error parsing regexp: missing closing ): …`, or None when the pattern parses or Go has no such error.
pub(crate) fn go_regex_error(pattern: &str) -> Option<String> {
    let error = Parser::new().parse(pattern).err()?;
    let range = error.span().start.offset..error.span().end.offset;
    let part = pattern.get(range.clone()).unwrap_or(pattern);
    let from = pattern.get(range.start..).unwrap_or(pattern);
    let (what, shown) = match error.kind() {
        ErrorKind::GroupUnclosed => ("missing closing )", pattern),
        ErrorKind::GroupUnopened => ("unexpected )", pattern),
        ErrorKind::ClassUnclosed => ("missing closing ]", from),
        ErrorKind::ClassRangeInvalid => ("invalid character class range", part),
        ErrorKind::RepetitionMissing => ("missing argument to repetition operator", part),
        ErrorKind::RepetitionCountInvalid => ("invalid repeat count", part),
        ErrorKind::EscapeUnexpectedEof => ("trailing backslash at end of expression", ""),
        ErrorKind::EscapeUnrecognized => ("invalid escape sequence", part),
        ErrorKind::UnsupportedLookAround => ("invalid or unsupported Perl syntax", part),
        ErrorKind::GroupNameInvalid
        | ErrorKind::GroupNameEmpty
        | ErrorKind::GroupNameUnexpectedEof => ("invalid named capture", part),
        _ => return None,
    };
    Some(format!("error parsing regexp: {what}: `{shown}`"))
}
