//! The table of errors: every route that asks the engine, and every kind of failure.

use imaged::engine::{Error, ErrorKind};

use crate::fake::Fake;
use crate::{call, request};

const KINDS: [ErrorKind; 12] = [
    ErrorKind::NoSuchImage,
    ErrorKind::BadReference,
    ErrorKind::BadName,
    ErrorKind::BadRequest,
    ErrorKind::BadArchive,
    ErrorKind::Conflict,
    ErrorKind::Denied,
    ErrorKind::Storage,
    ErrorKind::InUse,
    ErrorKind::Unsupported,
    ErrorKind::Canceled,
    ErrorKind::Exhausted,
];

#[tokio::test]
async fn statuses() {
    // Columns in the order of KINDS.
    for (method, route, statuses) in [
        ("GET", "version", [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        ("GET", "info", [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        ("GET", "images/json", [500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 503, 507]),
        ("GET", "images/n/exists", [404, 404, 404, 404, 404, 404, 404, 404, 404, 404, 503, 507]),
        ("GET", "images/n/json", [404, 404, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        ("GET", "images/n/history", [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        ("GET", "images/n/tree", [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        ("GET", "images/n/get", [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        (
            "GET",
            "images/export?references=n",
            [400, 400, 400, 400, 400, 400, 400, 400, 400, 400, 503, 507],
        ),
        ("POST", "images/load", [500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 503, 507]),
        ("POST", "images/import", [500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 503, 507]),
        (
            "POST",
            "images/n/tag?repo=r",
            [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507],
        ),
        ("POST", "images/n/tag", [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        ("POST", "images/n/untag", [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        ("DELETE", "images/n", [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507]),
        (
            "DELETE",
            "images/remove?images=n",
            [404, 500, 500, 500, 500, 500, 500, 500, 409, 501, 503, 507],
        ),
    ] {
        for (kind, status) in KINDS.into_iter().zip(statuses) {
            let engine = Fake::failing(move || Error::new(kind, "inner").context("outer"));
            let target = format!("/v5.0.0/libpod/{route}");
            let answer = call(engine, request(method, &target)).await;
            assert_eq!(answer.status, status, "{method} {route} {kind:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let body = answer.json();
            assert_eq!(body["response"], status, "{route} {kind:?}");
            assert_eq!(body["cause"], "inner", "{route} {kind:?}");
            assert!(answer.message().ends_with("outer: inner"), "{route} {kind:?}");
        }
    }
}

#[tokio::test]
async fn words() {
    use ErrorKind::{BadName, BadReference, NoSuchImage, Storage};
    for (method, route, kind, message) in [
        ("GET", "images/n/exists", BadReference, "failed to find image n: inner"),
        ("GET", "images/n/json", NoSuchImage, "failed to find image n: inner"),
        ("GET", "images/n/json", BadReference, "failed to find image n: inner"),
        ("GET", "images/n/json", Storage, "failed in inspect image n: inner"),
        ("GET", "images/n/history", NoSuchImage, "failed to find image n: inner"),
        ("GET", "images/n/history", Storage, "inner"),
        ("GET", "images/n/tree", NoSuchImage, "failed to find image n: inner"),
        ("GET", "images/n/tree", BadReference, "failed to generate image tree for n: inner"),
        ("GET", "images/n/get", NoSuchImage, "inner"),
        ("GET", "images/export?references=n", NoSuchImage, "inner"),
        ("GET", "images/json", NoSuchImage, "inner"),
        ("POST", "images/load", Storage, "unable to load image: inner"),
        ("POST", "images/import", Storage, "unable to import tarball: inner"),
        ("POST", "images/a/b/tag?repo=r", NoSuchImage, "failed to find image a/b: inner"),
        ("POST", "images/n/tag?repo=r", BadName, "inner"),
        ("POST", "images/n/untag", NoSuchImage, "failed to find image n: inner"),
        ("POST", "images/n/untag", BadReference, "inner"),
        ("POST", "images/n/untag", BadName, "inner"),
    ] {
        let engine = Fake::failing(move || Error::new(kind, "inner"));
        let answer = call(engine, request(method, &format!("/v5.0.0/libpod/{route}"))).await;
        assert_eq!(answer.message(), message, "{method} {route} {kind:?}");
    }
}

#[tokio::test]
async fn bad_parameters_never_reach_the_engine() {
    for (method, target, cause) in [
        ("GET", "/v5.0.0/libpod/images/json?all=maybe", r#""all""#),
        ("GET", "/v5.0.0/libpod/images/json?ALL=yes", r#""ALL""#),
        ("GET", "/v5.0.0/libpod/images/json?&all=1&all=2", r#""all""#),
        ("GET", "/v5.0.0/libpod/images/json?all=x&digests=x", r#""all" (and 1 other error)"#),
        ("GET", "/v5.0.0/libpod/images/a/b/tree?whatrequires=no", r#""whatrequires""#),
        ("GET", "/v4.3.1/libpod/images/a/get?compress=x", r#""compress""#),
        (
            "GET",
            "/v5.0.0/libpod/images/export?references=a&ociacceptuncompressedlayers=x",
            r#""ociacceptuncompressedlayers""#,
        ),
        ("DELETE", "/v5.0.0/libpod/images/a?force=x", r#""force""#),
        (
            "DELETE",
            "/v5.0.0/libpod/images/remove?all=x&force=x&ignore=x&noprune=x&lookupmanifest=x",
            r#""all" (and 4 other errors)"#,
        ),
    ] {
        let answer = call(Fake::failing(|| unreachable!()), request(method, target)).await;
        assert_eq!(answer.status, 400, "{target}");
        let cause = format!("schema: error converting value for {cause}");
        assert_eq!(answer.json()["cause"], cause);
        assert_eq!(answer.message(), format!("failed to parse parameters for {target}: {cause}"));
    }
}
