//! Numbers of Linux signals, as Podman knows them.

/// First and last real-time signal that programs may use.
const RTMIN: i64 = 34;
const RTMAX: i64 = 64;

/// Names with the numbers they have on all architectures we run on.
const NAMES: &[(&str, i64)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", RTMIN),
    ("RTMAX", RTMAX),
];

/// The number of a signal given by number or name, with or without `SIG`, in any case. Any number
/// but 0 is one, as in Podman.
pub(super) fn number(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number).filter(|number| *number != 0);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let from = |offset: &str, last| {
        // Go's table has the names written out, without signs or zeros in front.
        let digits = !offset.starts_with(['0', '+', '-']);
        offset.parse::<i64>().ok().filter(|offset| digits && (1..=last).contains(offset))
    };
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return Some(RTMIN + from(offset, 15)?);
    }
    if let Some(offset) = name.strip_prefix("RTMAX-") {
        return Some(RTMAX - from(offset, 14)?);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("SIGINT", Some(2)),
            ("int", Some(2)),
            ("Sigsegv", Some(11)),
            ("9", Some(9)),
            ("99", Some(99)),
            ("-1", Some(-1)),
            ("0", None),
            ("rtmin+3", Some(37)),
            ("RTMAX-14", Some(50)),
            ("RTMAX-15", None),
            ("RTMIN+016", None),
            ("RTMIN+-1", None),
            ("SIGSIGINT", None),
            ("FOO", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
