//! `accepted.toml`: every difference that may be there, with its reason.

use std::cell::Cell;
use std::path::Path;

use serde::Deserialize;

use crate::compare::Difference;

/// Kinds of differences, each with the requests where they may be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    accepted: Vec<Entry>,
}

/// Patterns, in which `*` stands for any text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Method and target as in the report.
    requests: Vec<String>,
    /// See [`Difference::place`].
    places: Vec<String>,
    #[serde(default = "anything")]
    ours: String,
    #[serde(default = "anything")]
    theirs: String,
    /// One of these patterns is in ours in addition to theirs, which is equal without it.
    #[serde(default)]
    adds: Vec<String>,
    /// The same with theirs and ours exchanged.
    #[serde(default)]
    omits: Vec<String>,
    /// What an answer of the newest Podman to compare with is called in `tests/data/samples`.
    sample: Option<String>,
    /// Words of the row in `api-spec/README.md` that explains it.
    deliberate: Option<String>,
    /// What neither shows.
    reason: Option<String>,
    #[serde(skip)]
    used: Cell<bool>,
}

fn anything() -> String {
    "*".to_owned()
}

/// The list.
pub(crate) struct Accepted {
    entries: Vec<Entry>,
}

impl Accepted {
    /// Reads the list, and looks up the reasons.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join("tests/differential/accepted.toml")).unwrap();
        let File { accepted } = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
        let notes = std::fs::read_to_string(root.join("api-spec/README.md")).unwrap();
        for entry in &accepted {
            let sample = entry.sample.as_ref();
            let found = sample.is_none_or(|it| root.join("tests/data/samples").join(it).is_file());
            assert!(found, "no such sample: {entry:#?}");
            let note = entry.deliberate.as_ref();
            assert!(note.is_none_or(|it| notes.contains(it)), "not explained: {entry:#?}");
            let reasons = [&entry.sample, &entry.deliberate, &entry.reason];
            assert!(reasons.iter().any(|it| it.is_some()), "no reason: {entry:#?}");
        }
        Self { entries: accepted }
    }

    /// Whether `difference` may be there in answers to `request`.
    pub(crate) fn explains(&self, request: &str, difference: &Difference) -> bool {
        let any = |patterns: &[String], text: &str| patterns.iter().any(|it| matches(it, text));
        let fitting = self.entries.iter().filter(|entry| {
            any(&entry.requests, request)
                && any(&entry.places, &difference.place)
                && matches(&entry.ours, &difference.ours)
                && matches(&entry.theirs, &difference.theirs)
                && has_more(&entry.adds, &difference.ours, &difference.theirs)
                && has_more(&entry.omits, &difference.theirs, &difference.ours)
        });
        fitting.fold(false, |_, entry| {
            entry.used.set(true);
            true
        })
    }

    /// Entries that no request has used.
    pub(crate) fn unused(&self) -> Vec<String> {
        let unused = self.entries.iter().filter(|entry| !entry.used.get());
        unused.map(|entry| format!("{entry:#?}")).collect()
    }
}

/// Whether `more` is `less` with something put in that matches one of the patterns, if there are
/// any.
fn has_more(patterns: &[String], more: &str, less: &str) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let Some(length) = more.len().checked_sub(less.len()) else { return false };
    let places = more.char_indices().filter(|(at, _)| {
        let rest = more.get(at + length..);
        rest.is_some_and(|rest| less.starts_with(&more[..*at]) && less.ends_with(rest))
    });
    let put_in: Vec<&str> = places.map(|(at, _)| &more[at..at + length]).collect();
    patterns.iter().any(|pattern| put_in.iter().any(|text| matches(pattern, text)))
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[test]
fn what_is_put_in_is_found() {
    for (pattern, ours, theirs, expected) in [
        ("xy*z", "a xy1z b", "a  b", true),
        ("xy*z", "a xy1z b", "a b", false),
        ("xy*z", "a xy1z b", "a  c", false),
        ("(*)", "a (b) (c)", "a (b) ", true),
        ("ab", "aab", "a", true),
        ("ab", "a", "aab", false),
    ] {
        assert_eq!(has_more(&[pattern.to_owned()], ours, theirs), expected, "{ours} {theirs}");
    }
}

#[test]
fn stars_stand_for_any_text() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*", "ab", true),
        ("*b", "ab", true),
        ("a*a", "a", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
