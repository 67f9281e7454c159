//! Where two documents differ.

use std::fmt;

use serde_json::{Map, Value};

/// One place in which they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The keys that lead there, each with a `/` in front; `order of` the place of an array whose
    /// items are only arranged otherwise.
    pub(crate) place: String,
    /// Our value as JSON, or `absent`.
    pub(crate) ours: String,
    /// Podman's.
    pub(crate) theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, ours, theirs } = self;
        write!(out, "    {place}\n      ours:   {ours}\n      theirs: {theirs}")
    }
}

/// All places in which `ours` and `theirs` differ.
pub(crate) fn differences(ours: &Value, theirs: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", Some(ours), Some(theirs), &mut found);
    found
}

fn walk(place: &str, ours: Option<&Value>, theirs: Option<&Value>, found: &mut Vec<Difference>) {
    if ours == theirs {
        return;
    }
    match (ours, theirs) {
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
            let new = ours.keys().filter(|key| !theirs.contains_key(*key));
            for key in theirs.keys().chain(new) {
                walk(&format!("{place}/{key}"), ours.get(key), theirs.get(key), found);
            }
        }
        (Some(Value::Array(ours)), Some(Value::Array(theirs))) if rearranged(ours, theirs) => {
            found.push(Difference {
                place: format!("order of {place}"),
                ours: Value::from(ours.clone()).to_string(),
                theirs: Value::from(theirs.clone()).to_string(),
            });
        }
        (Some(Value::Array(ours)), Some(Value::Array(theirs))) => {
            if let (Some(ours), Some(theirs)) = (by_id(ours), by_id(theirs)) {
                return walk(place, Some(&ours), Some(&theirs), found);
            }
            for at in 0..ours.len().max(theirs.len()) {
                walk(&format!("{place}/{at}"), ours.get(at), theirs.get(at), found);
            }
        }
        _ => {
            let text = |value: Option<&Value>| {
                value.map_or_else(|| "absent".to_owned(), ToString::to_string)
            };
            let place = place.to_owned();
            found.push(Difference { place, ours: text(ours), theirs: text(theirs) });
        }
    }
}

/// The items by their IDs, if they have some, so that one more does not make all others differ.
fn by_id(items: &[Value]) -> Option<Value> {
    let pairs = items.iter().map(|item| {
        let id = item.get("Id").or_else(|| item.get("id"))?.as_str()?;
        Some((id.to_owned(), item.clone()))
    });
    let map: Map<String, Value> = pairs.collect::<Option<_>>()?;
    (map.len() == items.len()).then_some(Value::Object(map))
}

fn rearranged(ours: &[Value], theirs: &[Value]) -> bool {
    let sorted = |values: &[Value]| {
        let mut texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    };
    sorted(ours) == sorted(theirs)
}
