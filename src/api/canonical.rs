//! Folds a request target into the form the router matches on. A pure function, run before routing.
//!
//! Image names contain slashes and stand in the middle of a path
//! (`/v5.0.0/libpod/images/quay.io/a/b:c/exists`), which no path router has a pattern for. So the
//! name becomes one segment here, and the version prefix a value beside the path. What Podman's
//! router does before matching is done here too: the redirect to the cleaned path, and the demand
//! for a version on everything under `/libpod` but `_ping`.
//!
//! It does not know which routes exist.

use std::borrow::Cow;
use std::fmt::Write as _;

use axum::http::{Method, Uri};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::extract::ApiVersion;

/// Where image names are folded.
pub(crate) const IMAGES: &str = "/libpod/images/";
/// Under [`IMAGES`], the one `DELETE` path that is not a name.
const BATCH_REMOVE: &str = "remove";
/// Under [`IMAGES`], the one prefix of a `POST` path that a name follows.
const COPY: &str = "scp/";
/// Actions of routes that Podman tries before that one.
const BEFORE_COPY: [&str; 3] = ["push", "tag", "untag"];

/// The one action whose names are single segments to Podman: slashes must be escaped.
const CHANGES: &str = "changes";

/// What a request target stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Canonical {
    /// A path to route, without version prefix and with the name as one segment.
    Route {
        /// Path and query.
        target: String,
        /// The version in the URL, if there was one.
        version: Option<ApiVersion>,
    },
    /// The path was not clean; the caller is sent to the clean one.
    Redirect {
        /// Clean path, and the query as it came.
        location: String,
    },
    /// A path that needs a version and has none.
    Unknown,
}

/// Folds `uri`. The method matters because a `DELETE` has no action after the name.
pub(crate) fn canonical(method: &Method, uri: &Uri) -> Canonical {
    let path = uri.path();
    let with_query = |path: &str| match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let clean = clean(path);
    if clean != path {
        return Canonical::Redirect { location: with_query(&clean) };
    }
    let (version, path) = split_version(path);
    if version.is_none() && path.starts_with("/libpod/") && path != "/libpod/_ping" {
        return Canonical::Unknown;
    }
    let folded = match path.strip_prefix(IMAGES) {
        Some(rest) => Cow::Owned(format!("{IMAGES}{}", fold(method, rest))),
        None => Cow::Borrowed(path),
    };
    Canonical::Route { target: with_query(&folded), version }
}

/// Removes empty, `.` and `..` segments. A slash at the end stays.
fn clean(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut clean = String::with_capacity(path.len());
    for segment in &segments {
        clean.push('/');
        clean.push_str(segment);
    }
    if segments.is_empty() || path.ends_with('/') {
        clean.push('/');
    }
    clean
}

/// Takes `/v<digit>[0-9A-Za-z.-]*` off the front.
fn split_version(path: &str) -> (Option<ApiVersion>, &str) {
    let Some((version, rest)) = path
        .strip_prefix("/v")
        .and_then(|text| Some(text.split_at(text.find('/')?)))
        .filter(|(version, _)| {
            version.starts_with(|c: char| c.is_ascii_digit())
                && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        })
    else {
        return (None, path);
    };
    (Some(ApiVersion::parse(version)), rest)
}

/// Makes the name in `rest`, what follows [`IMAGES`], one segment.
fn fold<'a>(method: &Method, rest: &'a str) -> Cow<'a, str> {
    if method == Method::DELETE {
        let is_name = !rest.is_empty() && rest != BATCH_REMOVE;
        return if is_name { segment(rest).into() } else { rest.into() };
    }
    let Some((name, action)) = rest.rsplit_once('/') else { return rest.into() };
    if method == Method::POST
        && !BEFORE_COPY.contains(&action)
        && let Some(name) = rest.strip_prefix(COPY)
    {
        return format!("{COPY}{}", segment(name)).into();
    }
    if action == CHANGES && name.contains('/') {
        return rest.into();
    }
    format!("{}/{action}", segment(name)).into()
}

/// The name as a single path segment from which decoding once gives the name back.
///
/// The first byte is escaped whatever it is, so that no name can equal a word of a route. Bytes
/// that are not UTF-8 become U+FFFD: no reference contains it, so such a name fails like any other
/// that is not a reference, with the status of its route.
fn segment(raw: &str) -> String {
    let name = percent_decode_str(raw).decode_utf8_lossy();
    let mut segment = String::with_capacity(raw.len() + 8);
    let (first, rest) = name.as_bytes().split_at(name.len().min(1));
    for byte in first {
        let _infallible = write!(segment, "%{byte:02X}");
    }
    segment.extend(percent_encode(rest, NON_ALPHANUMERIC));
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold_uri(method: &str, uri: &str) -> Canonical {
        canonical(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    /// The routed path, its names decoded again and set in angle brackets.
    fn routed(method: &str, uri: &str) -> String {
        let Canonical::Route { target, .. } = fold_uri(method, uri) else {
            panic!("{uri} is not routed")
        };
        target
            .split('/')
            .map(|segment| match segment.starts_with('%') {
                true => format!("<{}>", percent_decode_str(segment).decode_utf8().unwrap()),
                false => segment.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("/")
    }

    #[test]
    fn names_become_one_segment() {
        for (method, uri, expected) in [
            ("GET", "quay.io/a/b:c/exists", "<quay.io/a/b:c>/exists"),
            ("GET", "localhost/x/exists", "<localhost/x>/exists"),
            ("GET", "a%2Fb/exists", "<a/b>/exists"),
            ("GET", "a%252Fb/exists", "<a%2Fb>/exists"),
            ("GET", "a+b/exists", "<a+b>/exists"),
            ("GET", "quay.io%2Fa%2Fb:1/json", "<quay.io/a/b:1>/json"),
            ("GET", "a/exists/json", "<a/exists>/json"),
            ("GET", "a%ffb/json", "<a\u{fffd}b>/json"),
            ("GET", "json", "json"),
            ("GET", "json/json", "<json>/json"),
            ("GET", "json/", "<json>/"),
            ("GET", "load/json", "<load>/json"),
            ("POST", "load", "load"),
            ("POST", "load/push", "<load>/push"),
            ("POST", "127.0.0.1:5000/a/push", "<127.0.0.1:5000/a>/push"),
            ("POST", "a/tag?repo=x/y&tag=1", "<a>/tag?repo=x/y&tag=1"),
            ("POST", "scp/a", "scp/<a>"),
            ("POST", "scp/quay.io/a:1", "scp/<quay.io/a:1>"),
            ("POST", "scp/host::a%2Fb", "scp/<host::a/b>"),
            ("POST", "scp/", "scp/"),
            ("POST", "scp", "scp"),
            ("POST", "scp/a/tag", "<scp/a>/tag"),
            ("POST", "scp/push", "<scp>/push"),
            ("GET", "scp/json", "<scp>/json"),
            ("GET", "a/changes", "<a>/changes"),
            ("GET", "a%2Fb/changes", "<a/b>/changes"),
            ("GET", "a/b/changes", "a/b/changes"),
            ("DELETE", "scp/a", "<scp/a>"),
            ("DELETE", "json", "<json>"),
            ("DELETE", "quay.io/a/json", "<quay.io/a/json>"),
            ("DELETE", "remove", "remove"),
            ("DELETE", "remove?images=a", "remove?images=a"),
            ("DELETE", "%72emove", "<remove>"),
            ("DELETE", "a/", "<a/>"),
            ("DELETE", "", ""),
        ] {
            assert_eq!(
                routed(method, &format!("/v5.0.0{IMAGES}{uri}")),
                format!("{IMAGES}{expected}"),
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn versions() {
        let route = |target: &str, version: Option<&str>| Canonical::Route {
            target: target.into(),
            version: version.map(ApiVersion::parse),
        };
        for (uri, expected) in [
            ("/_ping", route("/_ping", None)),
            ("/libpod/_ping", route("/libpod/_ping", None)),
            ("/v1/_ping", route("/_ping", Some("1"))),
            ("/v0/libpod/_ping", route("/libpod/_ping", Some("0"))),
            ("/v99.1.2-rc1/version?a", route("/version?a", Some("99.1.2-rc1"))),
            ("/version", route("/version", None)),
            ("/vx/libpod/info", route("/vx/libpod/info", None)),
            ("/v5_/info", route("/v5_/info", None)),
            ("/5.0.0/libpod/info", route("/5.0.0/libpod/info", None)),
            ("/v5", route("/v5", None)),
            ("/v5/v6/info", route("/v6/info", Some("5"))),
            ("/libpod/images/json", Canonical::Unknown),
            ("/libpod/version", Canonical::Unknown),
            ("http://d/v5.0.0/libpod/info", route("/libpod/info", Some("5.0.0"))),
        ] {
            assert_eq!(fold_uri("GET", uri), expected, "{uri}");
        }
    }

    #[test]
    fn unclean_paths_are_redirected() {
        for (uri, location) in [
            ("/v5.0.0/libpod//images/json", "/v5.0.0/libpod/images/json"),
            ("/v5.0.0/libpod/images//json?all=true", "/v5.0.0/libpod/images/json?all=true"),
            ("/v5.0.0/libpod/./images/a%2Fb/json", "/v5.0.0/libpod/images/a%2Fb/json"),
            ("/v5.0.0/libpod/x/../images/json/", "/v5.0.0/libpod/images/json/"),
            ("/v5.0.0/libpod/images/docker://x/json", "/v5.0.0/libpod/images/docker:/x/json"),
            ("/../../_ping", "/_ping"),
            ("//", "/"),
            ("/a/..", "/"),
        ] {
            for method in ["GET", "POST", "DELETE", "PUT"] {
                assert_eq!(
                    fold_uri(method, uri),
                    Canonical::Redirect { location: location.into() },
                    "{uri}"
                );
            }
        }
    }
}
