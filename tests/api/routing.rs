//! Which requests reach which handler, and what all answers have in common.

use std::sync::Arc;

use crate::fake::{Fake, ID};
use crate::{call, request};

const IMAGES: &str = "/v5.0.0/libpod/images";

/// What the engine was asked for a request.
async fn asked(method: &str, target: &str) -> (u16, Vec<String>) {
    let document = serde_json::json!({"Tree": "", "Names": null});
    let engine = Arc::new(Fake::answering(document));
    let answer = call(engine.clone(), request(method, target)).await;
    (answer.status, engine.calls())
}

#[tokio::test]
async fn names_reach_the_engine_decoded_once() {
    for (path, name) in [
        ("quay.io/a/b:c", "quay.io/a/b:c"),
        ("localhost/x", "localhost/x"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a+b", "a+b"),
        ("%61", "a"),
        ("json", "json"),
        ("load", "load"),
        ("a/exists", "a/exists"),
        ("%ff", "\u{fffd}"),
        ("127.0.0.1:5000/a@sha256:12", "127.0.0.1:5000/a@sha256:12"),
        (ID, ID),
    ] {
        for (method, action, call) in [
            ("GET", "/exists", format!("exists {name}")),
            ("GET", "/tree", format!("tree {name} false")),
            ("POST", "/tag?repo=r", format!("tag {name} \"r\" \"\"")),
            ("POST", "/untag", format!("untag {name} \"\" \"\"")),
        ] {
            let (status, calls) = asked(method, &format!("{IMAGES}/{path}{action}")).await;
            assert!(matches!(status, 200 | 201 | 204), "{path}{action}: {status}");
            assert_eq!(calls, [call]);
        }
        let (status, calls) = asked("DELETE", &format!("{IMAGES}/{path}")).await;
        assert_eq!(status, 200);
        assert!(calls[0].starts_with(&format!("remove [{name:?}] ")), "{calls:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_text_is_no_reference() {
    let lookup = |name: &str| {
        use imaged::engine::{Error, ErrorKind};
        imaged::image::Reference::parse(name).err().map(|error| {
            Error::from_source(ErrorKind::BadReference, &error).context(format!("parsing {name}"))
        })
    };
    for (action, status) in [("json", 404), ("exists", 404), ("tree", 500), ("history", 500)] {
        let engine = Arc::new(Fake::default().with_lookup(lookup));
        let answer = call(engine, request("GET", &format!("{IMAGES}/a%ff/{action}"))).await;
        assert_eq!(answer.status, status, "{action}");
        assert_eq!(answer.json()["cause"], "invalid reference format", "{action}");
    }
}

#[tokio::test]
async fn router_answers() {
    for (method, target, status) in [
        ("GET", "/", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v5.0.0", 404),
        ("GET", "/v5.0.0/", 404),
        ("GET", "/vx/libpod/info", 404),
        ("GET", "/libpod/info", 404),
        ("GET", "/libpod/version", 404),
        ("GET", "/libpod/images/json", 404),
        ("GET", "/images/json", 404),
        ("GET", "/v5.0.0/images/json", 404),
        ("GET", "/v5.0.0/libpod/images", 404),
        ("GET", "/libpod/containers/json", 404),
        ("GET", "/v5.0.0/containers/json", 404),
        ("GET", "/v5.0.0/libpod/images/", 405),
        ("GET", "/v5.0.0/libpod/images/foo", 405),
        ("GET", "/v5.0.0/libpod/images/load", 405),
        ("GET", "/v5.0.0/libpod/images/json/", 405),
        ("GET", "/v5.0.0/libpod/images/a/b/changes", 405),
        ("GET", "/v5.0.0/libpod/images/a/%65xists", 405),
        ("POST", "/v5.0.0/libpod/images/foo/bogus", 405),
        ("POST", "/v5.0.0/libpod/images/a/exists", 405),
        ("POST", "/v5.0.0/libpod/images/remove", 405),
        ("PUT", "/v5.0.0/libpod/images/json", 405),
        ("PATCH", "/v5.0.0/libpod/images/a/b/c", 405),
        ("POST", "/v5.0.0/libpod/info", 405),
        ("POST", "/_ping", 405),
        ("HEAD", "/version", 405),
        ("HEAD", "/v5.0.0/libpod/images/a/json", 405),
        ("HEAD", "/v5.0.0/libpod/images/load", 405),
        ("HEAD", "/v5.0.0/libpod/nothing", 404),
    ] {
        let answer = call(Fake::failing(|| unreachable!()), request(method, target)).await;
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        for header in ["api-version", "libpod-api-version", "server", "x-reference-id", "allow"] {
            assert_eq!(answer.header(header), None, "{method} {target}: {header}");
        }
        let text = if status == 404 { "Not Found\n" } else { "Method Not Allowed\n" };
        assert!(method == "HEAD" || answer.text() == text, "{method} {target}: {}", answer.text());
    }
}

#[tokio::test]
async fn other_families_are_refused_politely() {
    for (method, path) in [
        ("GET", "/v5.0.0/libpod/containers/json"),
        ("POST", "/v4.3.1/libpod/containers/a%2Fb/start"),
        ("GET", "/v5.0.0/libpod/pods/json"),
        ("DELETE", "/v5.0.0/libpod/volumes/v"),
        ("GET", "/v5.0.0/libpod/networks/json"),
        ("POST", "/v5.0.0/libpod/secrets/create?name=a"),
        ("PUT", "/v5.0.0/libpod/manifests/m"),
        ("POST", "/v5.0.0/libpod/play/kube"),
        ("POST", "/v5.0.0/libpod/build"),
        ("POST", "/v5.0.0/libpod/system/prune"),
    ] {
        let answer = call(Fake::failing(|| unreachable!()), request(method, path)).await;
        assert_eq!(answer.status, 501, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("libpod-api-version"), Some("6.0.0"));
        let body = answer.json();
        assert_eq!(body["cause"], "not implemented");
        assert_eq!(body["response"], 501);
        let text = body["message"].as_str().unwrap();
        assert!(text.ends_with(" is not served, only images are: not implemented"), "{text}");
    }
}

#[tokio::test]
async fn redirects() {
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
        let target = "/v5.0.0/libpod//images/./json?filters=%7B%7D&a=//";
        let answer = call(Fake::failing(|| unreachable!()), request(method, target)).await;
        assert_eq!(answer.status, 301);
        let location = "/v5.0.0/libpod/images/json?filters=%7B%7D&a=//";
        assert_eq!(answer.header("location"), Some(location));
        assert_eq!(answer.header("content-type"), None);
        assert_eq!(answer.header("x-reference-id"), None);
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn any_version_is_served() {
    for version in ["v0", "v1.41", "v4.0.0", "v99.1.2-rc1", "v5.0.0-dev"] {
        let target = format!("/{version}/libpod/images/json");
        assert_eq!(asked("GET", &target).await.0, 200, "{version}");
        for target in ["_ping", "version", "libpod/_ping", "libpod/version"] {
            assert_eq!(asked("GET", &format!("/{version}/{target}")).await.0, 200, "{target}");
        }
    }
}

#[tokio::test]
async fn answers_name_their_request() {
    let engine = || Arc::new(Fake::default());
    let own = request("GET", "/_ping");
    let mut named = request("GET", "/_ping");
    named.headers_mut().insert("X-Reference-Id", "my request".parse().unwrap());
    let named = call(engine(), named).await;
    assert_eq!(named.header("x-reference-id"), Some("my request"));
    assert_eq!(named.header("libpod-api-version"), Some("6.0.0"));
    assert_eq!(named.header("api-version"), Some("1.44"));
    assert_eq!(named.header("server"), Some("Libpod/6.0.0 (linux)"));
    let first = call(engine(), own).await;
    let second = call(engine(), request("GET", "/_ping")).await;
    assert_ne!(first.header("x-reference-id"), second.header("x-reference-id"));
}
