//! Podman's recorded answers against ours: status, headers and the body to the byte, but for white
//! space between the tokens of JSON.
//!
//! The engine is a fake that gives back the sample's data, or fails with the sample's error less
//! what the route adds to it. So this proves the decoding of requests, the words of errors, and
//! which keys are there, null or missing, in which order.

pub(crate) mod report;

use std::sync::Arc;

use imaged::engine::{Error, ErrorKind};
use imaged::image::{Reference, Refusal};
use serde_json::Value;

use crate::fake::Fake;
use crate::sample::Sample;
use crate::{Answer, call, call_as_own_user, respond};

/// The lookup of the machine where the samples were made, which knew other names too.
fn lookup(name: &str) -> Option<Error> {
    let unknown = |name: &str| Error::image_not_known().context(name);
    let zeros = "0".repeat(64);
    match name {
        "nope" | "nope2" => Some(unknown(name)),
        "empty" => Some(Error::image_not_known().context(
            r#"no image found in manifest list for architecture "amd64", variant "", OS "linux""#,
        )),
        "docker://foo" => Some(Error::new(
            ErrorKind::BadReference,
            r#"unsupported transport "docker" for looking up local images"#,
        )),
        "sha256:ac782ebe8e85" => Some(Error::new(
            ErrorKind::BadReference,
            format!("{name}: invalid format: no 64-byte hexadecimal value"),
        )),
        _ if name.ends_with(&zeros) || name.starts_with("base@sha256:e7e7") => Some(unknown(name)),
        _ => Reference::parse(name).err().map(|error| {
            Error::from_source(ErrorKind::BadReference, &error)
                .context(format!("parsing reference {name:?}"))
        }),
    }
}

/// The error behind a sample that failed for another reason than the lookup of its name.
fn failure(sample: &Sample, prefix: &'static str) -> Option<Box<dyn Fn() -> Error + Send + Sync>> {
    let body = sample.json();
    (sample.status >= 400 && body.is_object()).then(|| -> Box<dyn Fn() -> Error + Send + Sync> {
        Box::new(move || report::error(&body, prefix))
    })
}

async fn replay(sample: &Sample, engine: Fake) -> Answer {
    call(Arc::new(engine), sample.request("archive")).await
}

fn compare_head(sample: &Sample, answer: &Answer) {
    let name = &sample.name;
    assert_eq!(answer.status, sample.status, "{name}: {}", String::from_utf8_lossy(&answer.body));
    for (header, value) in &sample.headers {
        let ours = answer.header(header);
        match header.as_str() {
            "transfer-encoding" => {}
            // Theirs is a development version, or unpredictable.
            "server" | "libpod-api-version" | "x-reference-id" | "libpod-buildah-version" => {
                assert!(ours.is_some(), "{name}: {header}");
            }
            _ => assert_eq!(ours, Some(value.as_str()), "{name}: {header}"),
        }
    }
    for header in ["content-type", "api-version", "server", "x-reference-id", "location"] {
        if !sample.headers.iter().any(|(theirs, _)| theirs == header) {
            assert_eq!(answer.header(header), None, "{name}: {header}");
        }
    }
}

fn compare(sample: &Sample, answer: &Answer) {
    compare_head(sample, answer);
    let ours = match answer.header("content-type") {
        Some("application/json") => {
            assert_eq!(answer.body.last(), Some(&b'\n'), "{}", sample.name);
            serde_json::to_string_pretty(&answer.json()).unwrap()
        }
        _ => answer.text().trim_end_matches('\n').to_owned(),
    };
    assert_eq!(ours, sample.body, "{}", sample.name);
}

/// Replays every sample of a route whose failures are lookups.
async fn replay_route(route: &str) {
    for sample in Sample::all(route) {
        let engine = Fake::answering(sample.json()).with_lookup(lookup);
        compare(&sample, &replay(&sample, engine).await);
    }
}

#[tokio::test]
async fn routing() {
    for sample in Sample::all("routing") {
        // Docker's own API is not served.
        let mut answer = replay(&sample, Fake::answering(Value::Null)).await;
        if sample.name == "routing/compat-list" {
            assert_eq!(answer.status, 404);
            continue;
        }
        if sample.method == "HEAD" {
            // Where the answer becomes bytes, the body is left out.
            answer.body.clear();
        }
        compare(&sample, &answer);
    }
}

#[tokio::test]
async fn ping() {
    replay_route("ping").await;
}

#[tokio::test]
async fn exists() {
    replay_route("exists").await;
}

#[tokio::test]
async fn inspect() {
    replay_route("inspect").await;
}

#[tokio::test]
async fn history() {
    replay_route("history").await;
}

#[tokio::test]
async fn tree() {
    replay_route("tree").await;
}

#[tokio::test]
async fn list() {
    for sample in Sample::all("list") {
        let engine = Fake::answering(sample.json()).with_failure(failure(&sample, ""));
        compare(&sample, &replay(&sample, engine).await);
    }
}

#[tokio::test]
async fn load() {
    for sample in Sample::all("load") {
        let failure = failure(&sample, "unable to load image: ");
        let engine = Fake::answering(sample.json()).with_failure(failure);
        compare(&sample, &replay(&sample, engine).await);
    }
}

#[tokio::test]
async fn local_load() {
    for sample in Sample::all("local-load") {
        let missing = sample.status == 404;
        let prefix = if missing { "" } else { "unable to load image: " };
        let failure = failure(&sample, prefix).map(|error| {
            let kind = if missing { ErrorKind::NoSuchFile } else { ErrorKind::BadArchive };
            Box::new(move || error().of_kind(kind)) as Box<dyn Fn() -> Error + Send + Sync>
        });
        let engine = Fake::answering(sample.json()).with_failure(failure);
        compare(&sample, &call_as_own_user(Arc::new(engine), sample.request("")).await);
    }
}

#[tokio::test]
async fn import() {
    for sample in Sample::all("import") {
        let failure = failure(&sample, "unable to import tarball: ");
        let engine = Fake::answering(sample.json()).with_failure(failure);
        let answer = call_as_own_user(Arc::new(engine), sample.request("archive")).await;
        compare(&sample, &answer);
    }
}

#[tokio::test]
async fn commit() {
    for sample in Sample::all("commit") {
        let failure = failure(&sample, "").map(|error| {
            let missing = sample.status == 404;
            let kind = if missing { ErrorKind::NoSuchContainer } else { ErrorKind::BadRequest };
            Box::new(move || error().of_kind(kind)) as Box<dyn Fn() -> Error + Send + Sync>
        });
        let body = match &*sample.name {
            "commit/body-bad-json" => "{bad",
            "commit/body-config" => r#"{"Env": ["Z=1"], "Labels": {"fromBody": "1"}}"#,
            _ => "",
        };
        let in_band = || Box::new(|| Error::new(ErrorKind::BadRequest, "broken")) as Box<_>;
        let is_stream = sample.name.starts_with("commit/stream");
        let failure = if sample.name == "commit/stream-error" { Some(in_band()) } else { failure };
        let engine = Arc::new(Fake::answering(sample.json()).with_failure(failure));
        let answer = call(engine, sample.request(body)).await;
        if is_stream {
            // The fake makes no progress. Podman's content type is what it guesses.
            let expected = match &*sample.name {
                "commit/stream" => format!("{{\"stream\":\"{}\"}}\n", crate::fake::ID),
                _ => "{\"errorDetail\":{\"message\":\"broken\"}}\n".to_owned(),
            };
            assert_eq!((answer.status, answer.text()), (200, expected.as_str()), "{}", sample.name);
            assert_eq!(answer.header("content-type"), Some("application/json"));
        } else {
            compare(&sample, &answer);
        }
    }
}

#[tokio::test]
async fn tag_and_untag() {
    for sample in Sample::all("tag").into_iter().chain(Sample::all("untag")) {
        let looked_up = sample.body.contains("failed to find image");
        let failure = failure(&sample, "").filter(|_| !looked_up);
        let engine = Fake::default().with_lookup(lookup).with_failure(failure);
        compare(&sample, &replay(&sample, engine).await);
    }
}

#[tokio::test]
async fn remove() {
    for sample in Sample::all("remove-one").into_iter().chain(Sample::all("remove-batch")) {
        let engine = Fake::answering(sample.json());
        let answer = replay(&sample, engine).await;
        if sample.name == "remove-batch/no-names" {
            // Podman tries to remove every image. Here nothing is meant by nothing.
            assert_eq!(answer.text(), "{\"ExitCode\":0,\"Errors\":null}\n");
        } else {
            compare(&sample, &answer);
        }
    }
}

#[tokio::test]
async fn prune() {
    for sample in Sample::all("prune") {
        let engine = Fake::answering(sample.json()).with_failure(failure(&sample, ""));
        compare(&sample, &replay(&sample, engine).await);
    }
}

#[tokio::test]
async fn resolve() {
    for sample in Sample::all("resolve") {
        let failure = failure(&sample, "resolving \"UPPER\": ");
        let engine = Fake::answering(sample.json()).with_failure(failure);
        compare(&sample, &replay(&sample, engine).await);
    }
}

#[tokio::test]
async fn changes() {
    for sample in Sample::all("changes") {
        let engine = Fake::answering(sample.json()).with_failure(failure(&sample, ""));
        compare(&sample, &replay(&sample, engine).await);
    }
}

#[tokio::test]
async fn disk_usage() {
    for sample in Sample::all("system-df") {
        let engine = Fake::answering(sample.json());
        compare(&sample, &replay(&sample, engine).await);
    }
    let engine = Arc::new(Fake::default());
    let answer = call(engine, crate::request("GET", "/v5.0.0/libpod/system/df")).await;
    let empty = "{\"ImagesSize\":0,\"Images\":[],\"Containers\":[],\"Volumes\":[]}\n";
    assert_eq!(answer.text(), empty);
}

#[tokio::test]
async fn events() {
    for sample in Sample::all("events") {
        if sample.status != 200 {
            let engine = Fake::default().with_failure(failure(&sample, ""));
            compare(&sample, &replay(&sample, engine).await);
            continue;
        }
        let theirs = documents(&sample.body);
        let answer = replay(&sample, Fake::answering(Value::Array(theirs.clone()))).await;
        compare_head(&sample, &answer);
        // As text, so that the order of the keys counts.
        let lines: Vec<String> = theirs.iter().map(ToString::to_string).collect();
        assert_eq!(answer.text(), lines.join("\n") + "\n", "{}", sample.name);
    }
}

fn documents(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().map(Result::unwrap).collect()
}

/// The head and each event are sent when they are there; an old client gets what it needs.
#[tokio::test]
async fn a_stream_of_events_is_not_held_back() {
    use http_body_util::BodyExt as _;

    let sample =
        Sample::all("events").into_iter().find(|it| it.name.ends_with("filtered")).unwrap();
    let events = documents(&sample.body);
    for (version, exit_code) in [("v6.0.0", None), ("v5.0.0", None), ("v4.3.1", Some("0"))] {
        let engine = Arc::new(Fake::answering(Value::Array(events.clone())));
        let target =
            format!("/{version}/libpod/events?stream=&filters=%7B%22a%22%3A%5B%22b%22%5D%7D");
        let calls = Arc::clone(&engine);
        let response = respond(engine, crate::request("GET", &target)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(calls.calls(), [r#"events None None true ["a=b"]"#]);
        let mut body = response.into_body();
        for event in &events {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            let ours: Value = serde_json::from_slice(&frame).unwrap();
            let mut theirs = event.clone();
            if let Some(code) = exit_code {
                theirs["Actor"]["Attributes"]["containerExitCode"] = code.into();
            }
            assert_eq!(ours, theirs);
        }
    }
}

#[tokio::test]
async fn scp() {
    for sample in Sample::all("scp") {
        let answer = replay(&sample, Fake::default()).await;
        if sample.name == "scp/unknown-destination" {
            // Podman looks for the connection in its configuration.
            assert_eq!((answer.status, answer.json()["response"].as_u64()), (501, Some(501)));
        } else {
            compare(&sample, &answer);
        }
    }
}

#[tokio::test]
async fn export() {
    for sample in Sample::all("export-one").into_iter().chain(Sample::all("export-many")) {
        let engine = Fake::default().with_lookup(lookup);
        let answer = replay(&sample, engine).await;
        if sample.status == 200 {
            compare_head(&sample, &answer);
            assert_eq!(answer.text(), "archive");
        } else {
            compare(&sample, &answer);
        }
    }
}

#[tokio::test]
async fn a_failing_export_breaks_off() {
    let sample = &Sample::all("export-many")[1];
    let engine = Arc::new(Fake::answering("broken".into()));
    let response = respond(engine, sample.request("")).await;
    assert_eq!(response.status(), 200);
    assert!(axum::body::to_bytes(response.into_body(), 1000).await.is_err());
}

/// These describe the server rather than an image; what matters is that clients find the keys they
/// know, with values they can read.
#[tokio::test]
async fn version_and_info() {
    for sample in Sample::all("version").into_iter().chain(Sample::all("info")) {
        let answer = replay(&sample, Fake::default()).await;
        compare_head(&sample, &answer);
        same_kinds(&sample.name, &answer.json(), &sample.json());
    }
}

/// Every key of ours is one of theirs, and holds the same kind of value.
fn same_kinds(place: &str, ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                let theirs = theirs.get(key).unwrap_or_else(|| panic!("{place}: {key} is new"));
                same_kinds(&format!("{place}.{key}"), value, theirs);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            if let (Some(ours), Some(theirs)) = (ours.first(), theirs.first()) {
                same_kinds(place, ours, theirs);
            }
        }
        (Value::Null, Value::Array(_)) => {}
        _ => assert_eq!(std::mem::discriminant(ours), std::mem::discriminant(theirs), "{place}"),
    }
}

#[tokio::test]
async fn search() {
    for sample in Sample::all("search") {
        let body = sample.json();
        let failure = (sample.status == 500).then(|| -> Box<dyn Fn() -> Error + Send + Sync> {
            let text = |key: &str| body[key].as_str().unwrap().to_owned();
            let (message, cause) = (text("message"), text("cause"));
            Box::new(move || Error::new(ErrorKind::Registry, &*message).with_cause(&*cause))
        });
        let engine = Fake::answering(body.clone()).with_failure(failure);
        compare(&sample, &replay(&sample, engine).await);
    }
}

#[tokio::test]
async fn pull() {
    for sample in Sample::all("pull") {
        if sample.name == "pull/bad-transport" {
            // It is served here, for whom may read the file.
            let answer = replay(&sample, Fake::default()).await;
            assert_eq!(answer.status, 403, "{}", answer.text());
            continue;
        }
        let body = sample.json();
        let failure = (sample.status >= 400).then(|| -> Box<dyn Fn() -> Error + Send + Sync> {
            let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            let (message, cause) = (text("message"), text("cause"));
            // Docker's form has nothing but the cause.
            let cause = if cause.is_empty() { message.clone() } else { cause };
            let kind = match sample.status {
                401 => ErrorKind::Refused(Refusal::Unauthorized),
                403 => ErrorKind::Refused(Refusal::Denied),
                404 => ErrorKind::Refused(Refusal::Unknown),
                _ if cause == "image not known" => ErrorKind::NoSuchImage,
                _ => ErrorKind::Registry,
            };
            Box::new(move || Error::new(kind, &*message).with_cause(&*cause))
        });
        let theirs = documents(&sample.body);
        let one = theirs.len() == 1;
        let document = if one { theirs[0].clone() } else { Value::Array(theirs.clone()) };
        let mut document = document;
        if let (Value::Array(records), "pull/compat-mode") = (&mut document, &*sample.name) {
            // The record before the last one is the end of the config.
            let config = records.len() - 2;
            records[config]["status"] = "success".into();
        }
        let answer = replay(&sample, Fake::answering(document).with_failure(failure)).await;
        if sample.status == 200 && !one {
            compare_head(&sample, &answer);
            let lines: Vec<String> = theirs.iter().map(ToString::to_string).collect();
            assert_eq!(answer.text(), lines.join("\n") + "\n", "{}", sample.name);
        } else {
            compare(&sample, &answer);
        }
    }
}

#[tokio::test]
async fn push() {
    for sample in Sample::all("push") {
        let stream = sample.headers.iter().any(|(name, _)| name == "transfer-encoding");
        let theirs = if stream { documents(&sample.body) } else { Vec::new() };
        let refused = (sample.status >= 400).then(|| sample.json());
        // The route puts the destination in front of what the engine says.
        let failure = refused.as_ref().and_then(|body| {
            let message = body["message"].as_str().unwrap();
            let (_, message) = message.strip_prefix("pushing image \"")?.split_once("\": ")?;
            let (message, cause) = (message.to_owned(), body["cause"].as_str().unwrap().to_owned());
            let make = move || Error::new(ErrorKind::Registry, &*message).with_cause(&*cause);
            Some(Box::new(make) as Box<dyn Fn() -> Error + Send + Sync>)
        });
        let engine = Fake::answering(Value::Array(theirs.clone())).with_failure(failure);
        let answer = replay(&sample, engine).await;
        if sample.name == "push/format-v2s1" {
            // The registry refused what Podman sent; here it is not made.
            let message = "pushing image \"127.0.0.1:5000/p6/s1:v1\": format \"v2s1\" is not \
                           made here, registries take it no more";
            assert_eq!((answer.status, answer.message()), (400, message.to_owned()));
        } else if stream {
            compare_head(&sample, &answer);
            let lines: Vec<String> = theirs.iter().map(ToString::to_string).collect();
            assert_eq!(answer.text(), lines.join("\n") + "\n", "{}", sample.name);
        } else {
            compare(&sample, &answer);
        }
    }
}

/// Clients before 4.6 fail at the last record of a push that succeeded.
#[tokio::test]
async fn old_clients_get_no_digest_of_a_push() {
    let line = serde_json::json!({"stream": "Copying\n"});
    for (version, last) in [
        ("v4.3.1", ""),
        ("v4.5.9", ""),
        ("v4.6.0", "{\"manifestdigest\":\"sha256:ID\"}\n"),
        ("v6.0.0", "{\"manifestdigest\":\"sha256:ID\"}\n"),
    ] {
        let engine = Arc::new(Fake::answering(Value::Array(vec![line.clone()])));
        let target = format!("/{version}/libpod/images/a/b:1/push?quiet=false");
        let answer = call(engine.clone(), crate::request("POST", &target)).await;
        let last = last.replace("ID", crate::fake::ID);
        assert_eq!(answer.text(), format!("{{\"stream\":\"Copying\\n\"}}\n{last}"), "{version}");
        let calls = engine.calls();
        assert!(calls[0].starts_with("push a/b:1 a/b:1 PushOptions {"), "{calls:?}");
    }
}

#[tokio::test]
async fn auth() {
    for sample in Sample::all("auth") {
        let (body, address) = match sample.name.as_str() {
            "auth/ok-or-refused" => (
                r#"{"username": "u", "password": "p", "serveraddress": "localhost:5000"}"#,
                "localhost:5000",
            ),
            "auth/unauthorized" => (
                r#"{"username": "u", "password": "p", "serveraddress": "localhost:5002"}"#,
                "localhost:5002",
            ),
            "auth/bad-json" => ("{bad", ""),
            _ => ("{}", ""),
        };
        let failure = (sample.status == 500).then(|| -> Box<dyn Fn() -> Error + Send + Sync> {
            Box::new(|| Error::new(ErrorKind::Denied, "unauthorized").context("outer"))
        });
        let engine = Arc::new(Fake::default().with_failure(failure));
        let answer = call(engine.clone(), sample.request(body)).await;
        if sample.name == "auth/bad-json" {
            // The words of the parser are not part of the API.
            compare_head(&sample, &answer);
            let message = answer.message();
            assert!(message.starts_with("decoding request body as JSON: "), "{message}");
            assert!(!message.contains("bad"), "{message}");
        } else {
            compare(&sample, &answer);
        }
        let asked = (!address.is_empty()).then(|| format!("check_login {address} u p "));
        assert_eq!(engine.calls(), Vec::from_iter(asked), "{}", sample.name);
    }
}
