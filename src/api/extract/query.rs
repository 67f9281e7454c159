//! Query parameters, by the rules of the decoder Podman uses (gorilla/schema).
//!
//! Names are matched without regard to case, and unknown ones are ignored. Of a repeated scalar
//! the last value counts, also for validity; an empty value leaves the default. Lists are given by
//! repeating the name; empty items are dropped. All bad values are counted, one is reported.

use std::cell::RefCell;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::value::{Error, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{RequestTarget, pairs};
use crate::api::error::ApiError;

/// The query of a request, as a struct of `bool`, `i64`, `u64`, `String` and `Vec<String>` fields, and of
/// `Option`s, which are `None` when the value is empty. The struct must have a serde default for every
/// field.
#[derive(Debug)]
pub(crate) struct Query<T> {
    /// The parameters.
    pub(crate) params: T,
    /// The names as the caller spelled them.
    names: Vec<String>,
}

impl<T> Query<T> {
    /// Whether a parameter is there in exactly this spelling. Podman looks at some this way.
    pub(crate) fn spelled(&self, name: &str) -> bool {
        self.names.iter().any(|spelled| spelled == name)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = pairs(parts.uri.query().unwrap_or_default());
        let params = decode(&pairs).map_err(|cause| {
            let target = parts.extensions.get::<RequestTarget>().map_or("", |target| &target.0);
            ApiError::new(StatusCode::BAD_REQUEST, cause)
                .context(format!("failed to parse parameters for {target}"))
        })?;
        Ok(Self { params, names: pairs.into_iter().map(|(name, _)| name).collect() })
    }
}

/// Decodes `pairs`, or says which value is bad.
fn decode<T: DeserializeOwned>(pairs: &[(String, String)]) -> Result<T, String> {
    let bad = RefCell::new(Vec::new());
    let decoded = T::deserialize(Parameters { pairs, bad: &bad });
    let bad = bad.into_inner();
    let more = match bad.len() {
        0 | 1 => String::new(),
        2 => " (and 1 other error)".to_owned(),
        n => format!(" (and {} other errors)", n - 1),
    };
    match bad.first() {
        Some(name) => Err(format!("schema: error converting value for \"{name}\"{more}")),
        None => decoded.map_err(|error| error.to_string()),
    }
}

/// Go's spellings of a boolean, and the `on` of HTML forms.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "on" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// All parameters, about to become a struct. Names of bad values go to `bad`.
struct Parameters<'a> {
    pairs: &'a [(String, String)],
    bad: &'a RefCell<Vec<String>>,
}

impl<'de> Deserializer<'de> for Parameters<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { fields: fields.iter(), all: self, values: None })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("parameters are a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Visits the fields of the struct that have a value, in the struct's order.
struct Fields<'a> {
    fields: std::slice::Iter<'static, &'static str>,
    all: Parameters<'a>,
    values: Option<Values<'a>>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        for field in self.fields.by_ref() {
            let pairs = self.all.pairs.iter().filter(|(name, _)| name.eq_ignore_ascii_case(field));
            let Some((name, last)) = pairs.clone().next_back() else { continue };
            let values = pairs.map(|(_, value)| value.as_str()).collect();
            self.values = Some(Values { name, last, values, bad: self.all.bad });
            return seed.deserialize(serde::de::value::StrDeserializer::new(field)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Error> {
        match self.values.take() {
            Some(values) => seed.deserialize(values),
            None => Err(serde::de::Error::custom("a value is asked for once per name")),
        }
    }
}

/// All values of one parameter.
struct Values<'a> {
    name: &'a str,
    last: &'a str,
    values: Vec<&'a str>,
    bad: &'a RefCell<Vec<String>>,
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Error;

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = match parse_bool(self.last) {
            Some(value) => value,
            // Booleans are false by default; one that is not has to be an `Option`.
            None if self.last.is_empty() => false,
            None => {
                self.bad.borrow_mut().push(self.name.to_owned());
                false
            }
        };
        visitor.visit_bool(value)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = match self.last.parse() {
            Ok(value) => value,
            // Every number of these routes is 0 by default.
            Err(_) if self.last.is_empty() => 0,
            Err(_) => {
                self.bad.borrow_mut().push(self.name.to_owned());
                0
            }
        };
        visitor.visit_i64(value)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.last.parse().unwrap_or_else(|_| {
            self.bad.borrow_mut().push(self.name.to_owned());
            0
        });
        visitor.visit_u64(value)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.last.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = self.values.into_iter().filter(|value| !value.is_empty());
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.last)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 u8 u16 u32 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Sample {
        all: bool,
        lookup_manifest: bool,
        references: Vec<String>,
        format: String,
        limit: i64,
        tls_verify: Option<bool>,
        stream: Option<bool>,
    }

    fn sample(query: &str) -> Result<Sample, String> {
        decode(&pairs(query))
    }

    #[test]
    fn values() {
        let sample = |query| sample(query).unwrap();
        for (query, all) in [
            ("", false),
            ("all=1", true),
            ("ALL=on", true),
            ("all=True&All=F", false),
            ("all=bad&all=true", true),
            ("all=bad&all=", false),
            ("all", false),
            ("unknown=x&all=t", true),
        ] {
            assert_eq!(sample(query), Sample { all, ..Sample::default() }, "{query}");
        }
        for (query, stream) in
            [("stream=", None), ("stream=0&x", Some(false)), ("stream=&stream=1", Some(true))]
        {
            assert_eq!(sample(query), Sample { stream, ..Sample::default() }, "{query}");
        }
        assert_eq!(
            sample("references=a,b&lookupmanifest=true&References=&references=c&format=x&format=y"),
            Sample {
                all: false,
                lookup_manifest: true,
                references: vec!["a,b".into(), "c".into()],
                format: "y".into(),
                ..Sample::default()
            }
        );
    }

    #[test]
    fn numbers_and_what_may_be_absent() {
        for (query, limit, tls_verify) in [
            ("limit=7&tlsverify=F", 7, Some(false)),
            ("Limit=-1&TLSVERIFY=on", -1, Some(true)),
            ("limit=&tlsVerify=", 0, None),
        ] {
            let expected = Sample { limit, tls_verify, ..Sample::default() };
            assert_eq!(sample(query), Ok(expected), "{query}");
        }
        for name in ["limit", "tlsVerify"] {
            let error = format!("schema: error converting value for {name:?}");
            assert_eq!(sample(&format!("{name}=1.5")), Err(error));
        }
    }

    #[test]
    fn errors() {
        for (query, error) in [
            ("all=yes", r#"schema: error converting value for "all""#),
            ("aLL=true&aLL=bad", r#"schema: error converting value for "aLL""#),
            ("stream=maybe", r#"schema: error converting value for "stream""#),
            (
                "all=x&lookupmanifest=x",
                r#"schema: error converting value for "all" (and 1 other error)"#,
            ),
        ] {
            assert_eq!(sample(query).unwrap_err(), error, "{query}");
        }
    }
}
