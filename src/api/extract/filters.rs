//! The `filters` parameter: JSON, in one of two forms.
//!
//! `{"label":["a=b"]}`, or the older `{"label":{"a=b":true}}`, where only true values count. A
//! name that ends in `!` negates. What is made of several values of a name differs by route.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::query::parse_bool;
use super::{ApiVersion, RequestTarget, go_json, pairs};
use crate::api::error::ApiError;
use crate::engine::{Filter, SearchFilters};

/// The filters of a list request, in the order they came.
///
/// A bad value answers 500 with the bare text, as the list route of Podman does.
#[derive(Debug, PartialEq)]
pub(crate) struct Filters(pub(crate) Vec<Filter>);

impl<S: Send + Sync> FromRequestParts<S> for Filters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ok(version) = ApiVersion::from_request_parts(parts, state).await;
        let pairs = pairs(parts.uri.query().unwrap_or_default());
        let value = |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        match value("filters").or_else(|| value("Filters")) {
            Some(json) => parse(json, version)
                .map(Self)
                .map_err(|text| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text)),
            None => Ok(Self(Vec::new())),
        }
    }
}

/// The filters of a prune request: of each name the first value counts.
///
/// Two names mean something else to Podman there: `dangling` is dropped, and `all` decides like
/// the parameter, but is then refused as the filter that it is not.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PruneFilters {
    /// The filters.
    pub(crate) filters: Vec<Filter>,
    /// The value of `all`.
    pub(crate) all: Option<bool>,
}

impl<S: Send + Sync> FromRequestParts<S> for PruneFilters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let failed = |text| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text);
        let pairs = pairs(parts.uri.query().unwrap_or_default());
        let Some((_, json)) = pairs.iter().find(|(key, _)| key == "filters") else {
            return Ok(Self::default());
        };
        let groups = groups(json, false).map_err(|text| {
            let target = parts.extensions.get::<RequestTarget>().map_or("", |target| &target.0);
            failed(text).context(format!("failed to decode filter parameters for {target}"))
        })?;
        Self::new(&groups).map_err(|value| {
            failed("invalid syntax".to_owned())
                .context(format_args!("strconv.ParseBool: parsing {value:?}"))
        })
    }
}

impl PruneFilters {
    /// Fails with the value of `all` if it is no boolean.
    fn new(groups: &[Group]) -> Result<Self, String> {
        let mut all = None;
        let mut filters = Vec::new();
        for (key, values) in groups {
            let Some(value) = values.first().filter(|_| key != "dangling") else { continue };
            if key == "all" {
                let parsed = parse_bool(value).filter(|_| value != "on");
                all = Some(parsed.ok_or_else(|| value.clone())?);
            }
            filters.push(filter(key, value));
        }
        Ok(Self { filters, all })
    }
}

/// The filters of a search, or what is wrong with them: of each name the first value counts. What
/// is not the newer form says nothing at all.
pub(crate) fn search_filters(json: &str) -> Result<SearchFilters, ApiError> {
    let failed = |text: &str| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text);
    let groups: BTreeMap<String, Vec<String>> = serde_json::from_str(json).unwrap_or_default();
    let mut filters = SearchFilters::default();
    for (key, values) in &groups {
        let Some(value) = values.first() else { continue };
        match &**key {
            "stars" => {
                filters.stars = value.parse().map_err(|_| {
                    failed("invalid syntax")
                        .context(format_args!("strconv.Atoi: parsing {value:?}"))
                        .context("incorrect value type for stars filter")
                })?;
            }
            "is-official" => filters.official = Some(value != "false"),
            "is-automated" => filters.automated = Some(value != "false"),
            _ => {
                return Err(failed(&format!("invalid filter type {:?}", format!("{key}={value}"))));
            }
        }
    }
    Ok(filters)
}

/// The filters of a request for events. Podman takes them apart at the first `=`, and an
/// exclamation mark has no meaning.
///
/// A bad value answers 400.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct EventFilters(pub(crate) Vec<Filter>);

impl<S: Send + Sync> FromRequestParts<S> for EventFilters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = pairs(parts.uri.query().unwrap_or_default());
        let value = |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let Some(json) = value("filters").or_else(|| value("Filters")) else {
            return Ok(Self::default());
        };
        Self::parse(json).map_err(|text| {
            let target = parts.extensions.get::<RequestTarget>().map_or("", |target| &target.0);
            ApiError::new(StatusCode::BAD_REQUEST, text)
                .context(format!("failed to parse filters for {target}"))
        })
    }
}

impl EventFilters {
    fn parse(json: &str) -> Result<Self, String> {
        let filter = |(key, value): (&str, &str)| Filter {
            key: key.to_owned(),
            negated: false,
            value: value.to_owned(),
        };
        let mut filters = Vec::new();
        for (key, values) in groups(json, false)? {
            for value in values {
                let joined = format!("{key}={value}");
                filters.extend(joined.split_once('=').map(filter));
            }
        }
        Ok(Self(filters))
    }
}

fn parse(json: &str, version: ApiVersion) -> Result<Vec<Filter>, String> {
    let groups = groups(json, version.splits_filters())?;
    let filters = groups.iter().flat_map(|(key, values)| values.iter().map(|it| filter(key, it)));
    Ok(filters.collect())
}

/// A name and its values.
type Group = (String, Vec<String>);

/// Reads either form. With `join`, several values of a name in the newer one are one, joined by
/// `=`.
fn groups(json: &str, join: bool) -> Result<Vec<Group>, String> {
    if let Some(error) = go_json::syntax_error(json) {
        return Err(error);
    }
    let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let map = match value {
        Value::Null => Map::new(),
        Value::Object(map) => map,
        other => return Err(mismatch(&other, "map[string][]string")),
    };
    if let Some(older) = older_form(&map) {
        let group = |(key, values): (&str, _)| (key.to_owned(), Iterator::collect(values));
        return Ok(older.map(group).collect());
    }
    let group = |(key, values): (&String, &Value)| {
        let mut values = strings(values)?;
        if join && !values.is_empty() {
            values = vec![values.join("=")];
        }
        Ok((key.clone(), values))
    };
    map.iter().map(group).collect()
}

fn filter(key: &str, value: &str) -> Filter {
    let (key, negated) = match key.strip_suffix('!') {
        Some(key) => (key, true),
        None => (key, false),
    };
    Filter { key: key.to_owned(), negated, value: value.to_owned() }
}

/// The names and their true values, if every value is an object of booleans.
fn older_form(
    map: &Map<String, Value>,
) -> Option<impl Iterator<Item = (&str, impl Iterator<Item = String>)>> {
    let fits = |value: &Value| match value {
        Value::Null => true,
        Value::Object(flags) => flags.values().all(|flag| flag.is_boolean() || flag.is_null()),
        _ => false,
    };
    map.values().all(fits).then(|| {
        map.iter().map(|(key, value)| {
            let flags = value.as_object().into_iter().flatten();
            let on = flags.filter(|(_, flag)| flag.as_bool() == Some(true));
            (key.as_str(), on.map(|(value, _)| value.clone()))
        })
    })
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => return Err(mismatch(other, "[]string")),
    };
    let text = |item: &Value| match item {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        other => Err(mismatch(other, "string")),
    };
    items.iter().map(text).collect()
}

/// Go's text for a value of the wrong kind.
fn mismatch(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &str, version: &str) -> Result<Vec<String>, String> {
        let filters = parse(json, ApiVersion::parse(version))?;
        let text = |f: Filter| format!("{}{}={}", f.key, if f.negated { "!" } else { "" }, f.value);
        Ok(filters.into_iter().map(text).collect())
    }

    #[test]
    fn both_forms() {
        for (json, version, expected) in [
            ("{}", "6.0.0", &[][..]),
            ("null", "6.0.0", &[]),
            (r#"{"label":["v","1.0"]}"#, "5.0.0", &["label=v", "label=1.0"]),
            (r#"{"label":["v","1.0"]}"#, "4.9.3", &["label=v=1.0"]),
            (r#"{"label":[],"id":null}"#, "4.3.1", &[]),
            (r#"{"label!":["k"],"id":["a"]}"#, "4.3.1", &["label!=k", "id=a"]),
            (r#"{"dangling":{"true":true,"false":false}}"#, "6.0.0", &["dangling=true"]),
            (r#"{"label":{"a":true,"b=c":true}}"#, "4.3.1", &["label=a", "label=b=c"]),
        ] {
            assert_eq!(texts(json, version).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn filters_of_a_prune() {
        for (json, all, expected) in [
            ("{}", None, &[][..]),
            (r#"{"label":["v","1.0"]}"#, None, &["label=v"]),
            (r#"{"label!":{"v":true,"w":true}}"#, None, &["label!=v"]),
            (r#"{"dangling":["false"],"until":["1h"]}"#, None, &["until=1h"]),
            (r#"{"id":[],"label":["k"]}"#, None, &["label=k"]),
            (r#"{"all":["T"]}"#, Some(true), &["all=T"]),
        ] {
            let parsed = PruneFilters::new(&groups(json, false).unwrap()).unwrap();
            let text =
                |f: Filter| format!("{}{}={}", f.key, if f.negated { "!" } else { "" }, f.value);
            assert_eq!(parsed.all, all, "{json}");
            let filters: Vec<_> = parsed.filters.into_iter().map(text).collect();
            assert_eq!(filters, expected, "{json}");
        }
        for value in ["", "on", "zz"] {
            let groups = [("all".to_owned(), vec![value.to_owned()])];
            assert_eq!(PruneFilters::new(&groups).unwrap_err(), value);
        }
    }

    #[test]
    fn filters_of_a_search() {
        for (json, stars, official, automated) in [
            ("", 0, None, None),
            ("{bad", 0, None, None),
            (r#"{"stars":{"3":true}}"#, 0, None, None),
            (
                r#"{"stars":["3","4"],"is-official":["false"],"is-automated":["x"]}"#,
                3,
                Some(false),
                Some(true),
            ),
            (r#"{"is-official":[]}"#, 0, None, None),
        ] {
            let expected = SearchFilters { stars, official, automated };
            assert_eq!(search_filters(json).ok(), Some(expected), "{json}");
        }
        for json in [r#"{"foo":["1"]}"#, r#"{"stars":["x"]}"#] {
            assert!(search_filters(json).is_err(), "{json}");
        }
    }

    #[test]
    fn filters_of_events() {
        for (json, expected) in [
            ("{}", &[][..]),
            (r#"{"label":["a=b","c"]}"#, &[("label", "a=b"), ("label", "c")]),
            (r#"{"label!":{"a":true,"b":false}}"#, &[("label!", "a")]),
            (r#"{"label=a":["b"]}"#, &[("label", "a=b")]),
        ] {
            let filters = EventFilters::parse(json).unwrap().0;
            let pairs: Vec<_> = filters.iter().map(|f| (&*f.key, &*f.value)).collect();
            assert_eq!(pairs, expected, "{json}");
            assert!(filters.iter().all(|filter| !filter.negated));
        }
        assert_eq!(EventFilters::parse("").unwrap_err(), "unexpected end of JSON input");
    }

    #[test]
    fn errors() {
        for (json, error) in [
            ("", "unexpected end of JSON input"),
            ("{bad", "invalid character 'b' looking for beginning of object key string"),
            (r#"["a"]"#, "json: cannot unmarshal array into Go value of type map[string][]string"),
            (r#"{"a":"b"}"#, "json: cannot unmarshal string into Go value of type []string"),
            (r#"{"a":[1]}"#, "json: cannot unmarshal number into Go value of type string"),
            (
                r#"{"a":["b"],"c":{"d":true}}"#,
                "json: cannot unmarshal object into Go value of type []string",
            ),
        ] {
            assert_eq!(texts(json, "6.0.0").unwrap_err(), error, "{json}");
        }
    }
}
