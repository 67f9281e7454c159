//! Records of the store's JSON files.
//!
//! Other tools write these files too, and newer versions add fields. So a record keeps the JSON
//! object it was read from, with every field, the order of keys and the spelling of numbers, and a
//! typed view of the fields we know, to which it dereferences. Unchanged records are written back
//! byte for byte; a change patches only the keys it is about.

mod container;
mod image;
mod layer;

use std::ops::{Deref, Range};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

pub use container::{ContainerFlags, ContainerRecord};
pub use image::ImageRecord;
pub use layer::{LayerFlags, LayerRecord};

/// One record: its original JSON and what we understand of it. Cheap to clone.
#[derive(Debug)]
pub struct Record<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    /// The text of the whole file, or of this record if it was made or changed here.
    text: Arc<str>,
    /// Where in `text` the record is.
    range: Range<usize>,
    view: T,
}

impl<T: Serialize + DeserializeOwned + Clone> Record<T> {
    /// A new record.
    pub fn new(view: T) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(&view)?;
        Ok(Self::from_parts(text.into(), view))
    }

    /// Reads all records of a file, in one pass over its text. An empty file has none, and so has
    /// `null`, which is how Go writes a list that was never set.
    pub(super) fn parse_all(text: &Arc<str>) -> Result<Vec<Self>, serde_json::Error> {
        let wrong = |at: usize, what: &str| {
            serde_json::Error::custom(format_args!("{what} at byte {at} of the file"))
        };
        if matches!(text.trim(), "" | "null") {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        let mut at = skip_space(text, 0);
        if byte(text, at) != Some(b'[') {
            return Err(wrong(at, "expected a list"));
        }
        at = skip_space(text, at + 1);
        while byte(text, at) != Some(b']') {
            if !records.is_empty() {
                if byte(text, at) != Some(b',') {
                    return Err(wrong(at, "expected a comma or the end of the list"));
                }
                at = skip_space(text, at + 1);
            }
            let rest = text.get(at..).unwrap_or_default();
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<T>();
            let view = match values.next() {
                Some(Ok(view)) => view,
                Some(Err(error)) => {
                    let what = format!("record {} ({error}), which starts", records.len() + 1);
                    return Err(wrong(at, &what));
                }
                None => return Err(wrong(at, "unexpected end")),
            };
            let end = at + values.byte_offset();
            records.push(Self(Arc::new(Inner { text: text.clone(), range: at..end, view })));
            at = skip_space(text, end);
        }
        match byte(text, skip_space(text, at + 1)) {
            None => Ok(records),
            Some(_) => Err(wrong(at + 1, "unexpected text after the list")),
        }
    }

    /// The JSON to write.
    pub fn json(&self) -> &str {
        self.0.text.get(self.0.range.clone()).unwrap_or_default()
    }

    /// Changes known fields. Keys whose value did not change, and keys we do not know, keep their
    /// text and place; fields that became empty lose their key.
    pub fn update(&mut self, change: impl FnOnce(&mut T)) -> Result<(), serde_json::Error> {
        let before = as_object(&self.0.view)?;
        let mut view = self.0.view.clone();
        change(&mut view);
        let after = as_object(&view)?;
        let mut object: IndexMap<String, Box<RawValue>> = serde_json::from_str(self.json())?;
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            object.shift_remove(key);
        }
        for (key, value) in after {
            if before.get(&key) != Some(&value) {
                object.insert(key, to_raw_value(&value)?);
            }
        }
        *self = Self::from_parts(serde_json::to_string(&object)?.into(), view);
        Ok(())
    }

    fn from_parts(text: Arc<str>, view: T) -> Self {
        Self(Arc::new(Inner { range: 0..text.len(), text, view }))
    }
}

impl<T> Clone for Record<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Record<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.view
    }
}

fn byte(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at).copied()
}

fn skip_space(text: &str, from: usize) -> usize {
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    from + rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count()
}

fn as_object<T: Serialize>(view: &T) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::to_value(view)? {
        Value::Object(object) => Ok(object),
        _ => Err(serde_json::Error::custom("a record is an object")),
    }
}

/// Go writes lists and maps that were never set as `null` in some versions; both mean empty.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Go's zero time (the first instant of year 1), for records without a creation time.
fn zero_time() -> jiff::Timestamp {
    const YEAR_ONE: i64 = -62_135_596_800;
    jiff::Timestamp::from_second(YEAR_ONE).expect("within jiff's range")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Record<ImageRecord>>, serde_json::Error> {
        Record::parse_all(&text.into())
    }

    #[test]
    fn unknown_fields_order_and_numbers_survive() {
        let id = "a".repeat(64);
        let text = format!(
            r#"{{"future":{{"x":1.50,"y":[1e3]}},"id":"{id}","names":["a"],"created":"2024-01-01T00:00:00Z","zz":18446744073709551616}}"#
        );
        let mut records = parse(&format!(" [{text} ,{text}]\n")).unwrap();
        assert_eq!(records.iter().map(Record::json).collect::<Vec<_>>(), [&text, &text]);
        let record = &mut records[0];
        record.update(|image| image.names = vec!["b".into()]).unwrap();
        assert_eq!(record.json(), text.replace(r#"["a"]"#, r#"["b"]"#));
        record.update(|image| image.names.clear()).unwrap();
        assert_eq!(record.json(), text.replace(r#""names":["a"],"#, ""));
        assert_eq!(records[1].json(), text);
    }

    #[test]
    fn empty_forms() {
        for text in ["", " \n", "null", "[]", "[ ]\n"] {
            assert!(parse(text).unwrap().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        let good = format!(r#"{{"id":"{}"}}"#, "a".repeat(64));
        assert_eq!(parse(&format!("[{good}]")).unwrap().len(), 1);
        for text in [
            r#"[{"id":"../x"}]"#,
            r#"[{"id":5}]"#,
            "[[]]",
            r#"[{"names":[]}]"#,
            "{}",
            "[",
            "[,]",
            &good,
            &format!("[{good}"),
            &format!("[{good},]"),
            &format!("[{good}{good}]"),
            &format!("[,{good}]"),
            &format!("[{good}]]"),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse(&format!("[{good},5]")).unwrap_err().to_string(),
            "record 2 (invalid type: integer `5`, expected struct ImageRecord at line 1 column 1), \
             which starts at byte 75 of the file"
        );
    }
}
