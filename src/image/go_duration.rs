//! Durations in the form of Go.

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A duration as Go writes it, such as `1h30m` or `-1.5h`, in nanoseconds. `None` if it is not
/// one, or does not fit into 64 bits.
pub fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: i128 = 0;
    while !rest.is_empty() {
        let whole = take(&mut rest, |c| c.is_ascii_digit());
        let fraction = match rest.strip_prefix('.') {
            Some(after) => {
                rest = after;
                take(&mut rest, |c| c.is_ascii_digit())
            }
            None => "",
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit: i128 = match take(&mut rest, |c| c != '.' && !c.is_ascii_digit()) {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "h" => 3600 * NANOS_PER_SECOND,
            _ => return None,
        };
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        sum += i128::from(whole) * unit;
        // Digits beyond the eighteenth are below a nanosecond for every unit.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
            sum += fraction.parse::<i128>().ok()? * unit / scale;
        }
    }
    i64::try_from(if negative { -sum } else { sum }).ok()
}

fn take<'a>(rest: &mut &'a str, accept: impl Fn(char) -> bool) -> &'a str {
    let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
    let (taken, left) = rest.split_at(end);
    *rest = left;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, expected) in [
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("+2us", Some(2_000)),
            ("2µs3ns", Some(2_003)),
            (".5ms", Some(500_000)),
            ("0", Some(0)),
            ("", None),
            ("-", None),
            ("1", None),
            ("s", None),
            ("1.", None),
            ("1x", None),
            ("99999999h", None),
        ] {
            assert_eq!(go_duration(text), expected, "{text}");
        }
    }
}
