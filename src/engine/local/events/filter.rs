//! Which events a caller wants.

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::super::filter::until::date;
use crate::engine::{Error, ErrorKind, Event, EventsOptions, Result};
use crate::image::go_duration;

/// Filters that were understood. Values of one key are alternatives, all keys must match.
#[derive(Debug)]
pub(super) struct EventFilter {
    groups: Vec<Group>,
    /// Only later events.
    since: Option<Timestamp>,
    /// Only earlier events.
    pub(super) until: Option<Timestamp>,
}

#[derive(Debug)]
struct Group {
    /// As the caller wrote it: to Podman `event`, `Event` and `status` are three keys.
    key: String,
    field: Field,
    values: Vec<String>,
}

/// What of an event a key is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Kind,
    Action,
    Label,
    /// Name or ID of something of this kind.
    Of(&'static str),
    Volume,
}

impl Field {
    fn of_key(key: &str) -> Option<Self> {
        const FIELDS: [(&str, Field); 9] = [
            ("type", Field::Kind),
            ("event", Field::Action),
            ("status", Field::Action),
            ("label", Field::Label),
            ("image", Field::Of("image")),
            ("container", Field::Of("container")),
            ("pod", Field::Of("pod")),
            ("artifact", Field::Of("artifact")),
            ("volume", Field::Volume),
        ];
        let known = FIELDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
        known.map(|(_, field)| *field)
    }

    fn matches(self, event: &Event, value: &str) -> bool {
        match self {
            Self::Kind => event.kind == value,
            // Docker's word for it.
            Self::Action if value == "die" => event.action == "died",
            Self::Action => event.action == value,
            Self::Label => match value.split_once('=') {
                Some((key, value)) => event.attributes.get(key).is_some_and(|it| it == value),
                None => event.attributes.contains_key(value),
            },
            Self::Of(kind) => {
                event.kind == kind && (event.name == value || event.id.starts_with(value))
            }
            // They have no ID.
            Self::Volume => event.kind == "volume" && event.name.starts_with(value),
        }
    }
}

impl EventFilter {
    /// Durations count from `now`.
    pub(super) fn compile(options: &EventsOptions, now: Timestamp) -> Result<Self> {
        let mut groups: Vec<Group> = Vec::new();
        for filter in &options.filters {
            let key = format!("{}{}", filter.key, if filter.negated { "!" } else { "" });
            let Some(field) = Field::of_key(&key) else {
                let text = format!("{key} is an invalid filter");
                return Err(Error::new(ErrorKind::BadRequest, text));
            };
            match groups.iter_mut().find(|group| group.key == key) {
                Some(group) => group.values.push(filter.value.clone()),
                None => groups.push(Group { key, field, values: vec![filter.value.clone()] }),
            }
        }
        let time = |name: &str, value: &Option<String>, toward| {
            let Some(value) = value else { return Ok(None) };
            input_time(value, now, toward).map(Some).ok_or_else(|| {
                Error::new(ErrorKind::BadRequest, "unable to interpret time value")
                    .context(format!("unable to convert {name} time of {value}"))
            })
        };
        Ok(Self {
            groups,
            since: time("since", &options.since, Toward::Past)?,
            until: time("until", &options.until, Toward::Future)?,
        })
    }

    pub(super) fn matches(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.time > since)
            && self.until.is_none_or(|until| event.time < until)
            && self.groups.iter().all(|Group { field, values, .. }| {
                values.iter().any(|value| field.matches(event, value))
            })
    }
}

/// Where a duration leads.
#[derive(Debug, Clone, Copy)]
enum Toward {
    Past,
    Future,
}

/// A date with or without time and zone (else UTC), Unix seconds, or a duration as Go writes it.
fn input_time(value: &str, now: Timestamp, toward: Toward) -> Option<Timestamp> {
    let whole = |time: &str| time.get(..8).is_some_and(|time| time.matches(':').count() == 2);
    if value.split_once('T').is_none_or(|(_, time)| whole(time))
        && let Some(time) = date(value, Offset::UTC)
    {
        return Some(time);
    }
    if let Ok(seconds) = value.parse::<f64>() {
        let since_1970 = SignedDuration::try_from_secs_f64(seconds).ok()?;
        return Timestamp::from_duration(since_1970).ok();
    }
    let distance = SignedDuration::from_nanos(go_duration(value)?);
    match toward {
        Toward::Past => now.checked_sub(distance).ok(),
        Toward::Future => now.checked_add(distance).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Filter;

    fn options(filters: &[(&str, &str)]) -> EventsOptions {
        let filter = |(key, value): &(&str, &str)| Filter {
            key: (*key).to_owned(),
            negated: false,
            value: (*value).to_owned(),
        };
        EventsOptions { filters: filters.iter().map(filter).collect(), ..EventsOptions::default() }
    }

    fn event(kind: &str, action: &str, id: &str, name: &str) -> Event {
        Event {
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            ..Event::default()
        }
    }

    #[test]
    fn keys_and_values() {
        let mut died = event("container", "died", "c0ffee", "web");
        died.attributes = [("a".to_owned(), "b=c".to_owned())].into();
        let events = [
            event("image", "tag", "abc123", "localhost/a:1"),
            event("image", "remove", "abc456", ""),
            died,
            event("volume", "create", "", "data-1"),
            event("pod", "create", "f00", "p"),
            event("artifact", "pull", "bad", "localhost/a:1"),
        ];
        for (filters, wanted) in [
            (&[][..], &[0, 1, 2, 3, 4, 5][..]),
            (&[("type", "image")], &[0, 1]),
            (&[("type", "image"), ("type", "pod")], &[0, 1, 4]),
            (&[("type", "image"), ("event", "tag")], &[0]),
            (&[("type", "image"), ("event", "create")], &[]),
            (&[("event", "tag"), ("event", "remove")], &[0, 1]),
            (&[("event", "tag"), ("status", "remove")], &[]),
            (&[("event", "tag"), ("Event", "remove")], &[]),
            (&[("EVENT", "die")], &[2]),
            (&[("status", "died")], &[2]),
            (&[("image", "abc")], &[0, 1]),
            (&[("image", "localhost/a:1")], &[0]),
            (&[("image", "localhost/a")], &[]),
            (&[("image", "")], &[0, 1]),
            (&[("container", "web")], &[2]),
            (&[("container", "c0")], &[2]),
            (&[("pod", "f")], &[4]),
            (&[("artifact", "localhost/a:1")], &[5]),
            (&[("volume", "data")], &[3]),
            (&[("label", "a=b=c")], &[2]),
            (&[("label", "a")], &[2]),
            (&[("label", "a=b")], &[]),
            (&[("label", "b")], &[]),
        ] {
            let filter = EventFilter::compile(&options(filters), Timestamp::UNIX_EPOCH).unwrap();
            let matching: Vec<usize> =
                (0..events.len()).filter(|at| filter.matches(&events[*at])).collect();
            assert_eq!(matching, wanted, "{filters:?}");
        }
    }

    #[test]
    fn times_are_exclusive() {
        let at = |seconds| Event {
            time: Timestamp::from_second(seconds).unwrap(),
            ..event("image", "tag", "", "")
        };
        let between = EventsOptions {
            since: Some("10".to_owned()),
            until: Some("12".to_owned()),
            ..EventsOptions::default()
        };
        let filter = EventFilter::compile(&between, Timestamp::UNIX_EPOCH).unwrap();
        for (seconds, wanted) in [(9, false), (10, false), (11, true), (12, false), (13, false)] {
            assert_eq!(filter.matches(&at(seconds)), wanted, "{seconds}");
        }
    }

    #[test]
    fn times() {
        let now: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        for (value, since, until) in [
            ("2026-11-23T10:00:00+02:00", "2026-11-23T08:00:00Z", "2026-11-23T08:00:00Z"),
            ("2026-11-23T07:08:09.5Z", "2026-11-23T07:08:09.5Z", "2026-11-23T07:08:09.5Z"),
            ("2026-11-23T07:08:09", "2026-11-23T07:08:09Z", "2026-11-23T07:08:09Z"),
            ("2026-11-23T07:08:09.25", "2026-11-23T07:08:09.25Z", "2026-11-23T07:08:09.25Z"),
            ("2026-11-22Z", "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("2026-11-22", "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("1795420701", "2026-11-23T07:58:21Z", "2026-11-23T07:58:21Z"),
            ("1795420701.25", "2026-11-23T07:58:21.25Z", "2026-11-23T07:58:21.25Z"),
            ("0", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("-1", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
            ("1h30m", "2026-11-23T06:30:00Z", "2026-11-23T09:30:00Z"),
            ("-1s", "2026-11-23T08:00:01Z", "2026-11-23T07:59:59Z"),
        ] {
            let expected = |text: &str| Some(text.parse::<Timestamp>().unwrap());
            assert_eq!(input_time(value, now, Toward::Past), expected(since), "{value}");
            assert_eq!(input_time(value, now, Toward::Future), expected(until), "{value}");
        }
        for value in ["abc", "", "2026-11-22T07", "2026-11-22T07:08", "nan", "inf", "1e300", "1x"] {
            assert_eq!(input_time(value, now, Toward::Past), None, "{value}");
        }
    }

    #[test]
    fn errors() {
        let message = |options: &EventsOptions| {
            let error = EventFilter::compile(options, Timestamp::UNIX_EPOCH).unwrap_err();
            (error.to_string(), error.cause().to_owned())
        };
        let unknown = "foo is an invalid filter".to_owned();
        assert_eq!(message(&options(&[("foo", "bar")])), (unknown.clone(), unknown));
        let mut negated = options(&[("label", "bar")]);
        negated.filters[0].negated = true;
        assert_eq!(message(&negated).0, "label! is an invalid filter");
        let cause = "unable to interpret time value".to_owned();
        let since = EventsOptions { since: Some("abc".to_owned()), ..EventsOptions::default() };
        let text = format!("unable to convert since time of abc: {cause}");
        assert_eq!(message(&since), (text, cause.clone()));
        let until = EventsOptions { until: Some("x".to_owned()), ..EventsOptions::default() };
        assert_eq!(message(&until), (format!("unable to convert until time of x: {cause}"), cause));
    }
}
