//! What a request carries, as types: the image name, query parameters, filters, the API version.
//!
//! Everything here answers bad input with Podman's error texts; nothing here calls the engine.

mod container_config;
mod filters;
mod form;
mod go_json;
mod logins;
mod name;
mod own_user;
mod query;
mod version;

pub(crate) use container_config::container_config;
pub(crate) use filters::{EventFilters, Filters, PruneFilters, search_filters};
pub(crate) use form::{Form, RepoTag};
pub(crate) use logins::RegistryLogins;
pub(crate) use name::Name;
pub(crate) use own_user::OwnUser;
pub(crate) use query::Query;
pub(crate) use version::ApiVersion;

/// The request target as it came, before it was folded: path, `?` and raw query. Error texts quote
/// it.
#[derive(Debug, Clone)]
pub(crate) struct RequestTarget(pub(crate) String);

/// The name-value pairs of a query string or a form body, in order.
///
/// As Go's `url.ParseQuery`: `+` is a space, and a pair with a semicolon or a broken escape is
/// left out.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty() && !pair.contains(';'))
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(key)?, unescape(value)?))
        })
        .collect()
}

/// `None` if a `%` is not followed by two hexadecimal digits.
fn unescape(text: &str) -> Option<String> {
    let broken = text.split('%').skip(1).any(|after| {
        !matches!(after.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    });
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy();
    (!broken).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_strings() {
        for (text, expected) in [
            ("", vec![]),
            ("&all=true", vec![("all", "true")]),
            ("a=1&a=2&b", vec![("a", "1"), ("a", "2"), ("b", "")]),
            ("a=x%20y+z%2B", vec![("a", "x y z+")]),
            ("a=b=c&=d", vec![("a", "b=c"), ("", "d")]),
            ("a=%zz&b=%4&c=%&d=1;e=2&f=3", vec![("f", "3")]),
            ("a=%ff", vec![("a", "\u{fffd}")]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            assert_eq!(pairs(text), expected, "{text}");
        }
    }
}
