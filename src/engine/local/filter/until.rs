//! Points in time as callers of Go programs write them: a duration back from now, a date in one of
//! the shortened RFC 3339 forms, or Unix seconds.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

use crate::engine::{Error, ErrorKind, Result};
use crate::image::go_duration;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Reads `value`. Dates without a zone are in the offset of `now`.
pub(super) fn parse(value: &str, now: &ZonedDateTime) -> Result<Timestamp> {
    let unreadable = || {
        let text = format!("failed to parse value as time or duration: {value:?}");
        Error::new(ErrorKind::BadRequest, text)
    };
    if value != "0"
        && let Some(nanoseconds) = go_duration(value)
    {
        let back = SignedDuration::from_nanos(nanoseconds);
        let then = now.timestamp().checked_sub(back).map_err(|_| unreadable())?;
        // Podman passes whole seconds on.
        let second = then.as_nanosecond().div_euclid(NANOS_PER_SECOND);
        return i64::try_from(second)
            .ok()
            .and_then(|second| Timestamp::from_second(second).ok())
            .ok_or_else(unreadable);
    }
    if let Some(time) = date(value, now.offset()) {
        return Ok(time);
    }
    if value.contains('-') {
        let text = format!("parsing time {value:?}: not a valid RFC 3339 date or time");
        return Err(Error::new(ErrorKind::BadRequest, text));
    }
    unix(value).ok_or_else(unreadable)
}

/// A date, with or without time and zone.
pub(in crate::engine::local) fn date(value: &str, local: Offset) -> Option<Timestamp> {
    let (value, offset) = match value.strip_suffix('Z') {
        Some(value) => (value, Offset::UTC),
        None => {
            match value.len().checked_sub("+00:00".len()).and_then(|at| value.split_at_checked(at))
            {
                Some((value, zone)) if is_zone(zone) => (value, zone_offset(zone)?),
                _ => (value, local),
            }
        }
    };
    let (day, time) = match value.split_once('T') {
        Some((day, time)) => (day, Some(time)),
        None => (value, None),
    };
    if day.len() != "2006-01-02".len() {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b':');
    let time = match time {
        None => "00:00:00".to_owned(),
        Some(hour) if hour.len() == 2 && digits(hour) => format!("{hour}:00:00"),
        Some(minute) if minute.len() == 5 && digits(minute) => format!("{minute}:00"),
        Some(full) if full.len() >= 8 => full.to_owned(),
        Some(_) => return None,
    };
    let civil: DateTime = format!("{day}T{time}").parse().ok()?;
    offset.to_timestamp(civil).ok()
}

fn is_zone(zone: &str) -> bool {
    matches!(zone.as_bytes(), [b'+' | b'-', h1, h2, b':', m1, m2]
        if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()))
}

fn zone_offset(zone: &str) -> Option<Offset> {
    let hours: i32 = zone.get(1..3)?.parse().ok()?;
    let minutes: i32 = zone.get(4..6)?.parse().ok()?;
    let seconds = hours * 3600 + minutes * 60;
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    Offset::from_seconds(sign * seconds).ok().filter(|_| hours <= 24 && minutes < 60)
}

/// Seconds since 1970, with or without a fraction.
fn unix(value: &str) -> Option<Timestamp> {
    let (seconds, fraction) = value.split_once('.').unwrap_or((value, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> ZonedDateTime {
        // 2026-11-23T10:00:00.9+02:00
        let offset = Offset::from_seconds(7200).unwrap();
        let zone = jiff::tz::TimeZone::fixed(offset);
        "2026-11-23T08:00:00.9Z".parse::<Timestamp>().unwrap().to_zoned_datetime(zone)
    }

    #[test]
    fn accepted_forms() {
        for (value, expected) in [
            ("1h", "2026-11-23T07:00:00Z"),
            ("1h30m", "2026-11-23T06:30:00Z"),
            ("1.5h", "2026-11-23T06:30:00Z"),
            ("-1h", "2026-11-23T09:00:00Z"),
            ("900ms", "2026-11-23T08:00:00Z"),
            ("901ms", "2026-11-23T07:59:59Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("0s", "2026-11-23T08:00:00Z"),
            ("2024-05-06", "2024-05-05T22:00:00Z"),
            ("2024-05-06Z", "2024-05-06T00:00:00Z"),
            ("2024-05-06+01:00", "2024-05-05T23:00:00Z"),
            ("2024-05-06-01:00", "2024-05-06T01:00:00Z"),
            ("2024-05-06T07", "2024-05-06T05:00:00Z"),
            ("2024-05-06T07:08", "2024-05-06T05:08:00Z"),
            ("2024-05-06T07:08:09", "2024-05-06T05:08:09Z"),
            ("2024-05-06T07:08:09.5", "2024-05-06T05:08:09.5Z"),
            ("2024-05-06T07:08:09.5Z", "2024-05-06T07:08:09.5Z"),
            ("2024-05-06T07:08:09+00:30", "2024-05-06T06:38:09Z"),
            ("2024-05-06T07Z", "2024-05-06T07:00:00Z"),
            ("1795420701", "2026-11-23T07:58:21Z"),
            ("1795420701.25", "2026-11-23T07:58:21.25Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(parse(value, &now()).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn refused_forms() {
        for value in ["abc", "", "1x", "1h2", ".s", "h", "1.", "99999999999999999999", "3000000h"] {
            assert_eq!(
                parse(value, &now()).unwrap_err().to_string(),
                format!("failed to parse value as time or duration: {value:?}"),
            );
        }
        for value in ["2024-13-01", "2024-1-1", "20-01-01T", "2024-05-06T7", "-5"] {
            let error = parse(value, &now()).unwrap_err().to_string();
            assert!(error.starts_with("parsing time"), "{value}: {error}");
        }
    }
}
