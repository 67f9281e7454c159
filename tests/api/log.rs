//! What a request leaves in the log.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, Once};

use imaged::engine::{Error, ErrorKind};
use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;

use crate::fake::Fake;
use crate::{call, request, respond};

thread_local! {
    /// What this thread has logged. Each test has a thread of its own.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes into [`LOGGED`].
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs in memory from now on. One subscriber for all tests: which events are wanted is remembered
/// for the whole process, so subscribers that come and go get in each other's way.
fn begin() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::INFO)
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
    });
}

/// What this thread has logged since the last call.
fn lines() -> Vec<String> {
    let text = String::from_utf8(LOGGED.take()).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

fn assert_has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
}

#[tokio::test]
async fn one_event_for_each_request() {
    begin();
    let mut named = request("POST", "/v5.0.0/libpod/images/a/tag?repo=b&password=secret");
    named.headers_mut().insert("X-Reference-Id", "r-1".parse().unwrap());
    call(Arc::new(Fake::default()), named).await;
    call(Arc::new(Fake::default()), request("GET", "/nothing")).await;
    let logged = lines();
    let [tag, nothing] = &logged[..] else { panic!("{logged:#?}") };
    let fields = [
        "INFO request{id=r-1}",
        "method=\"POST\"",
        "path=\"/v5.0.0/libpod/images/a/tag\"",
        "status=201",
        "duration_ms=",
        "sent_bytes=1",
        "outcome=\"complete\"",
    ];
    assert_has(tag, &fields);
    assert!(!tag.contains("secret"));
    assert_has(nothing, &["status=404", "outcome=\"complete\""]);
}

#[tokio::test]
async fn failures_of_the_server_are_logged_once_with_their_chain() {
    for (kind, level) in [(ErrorKind::Storage, "ERROR"), (ErrorKind::BadRequest, "WARN")] {
        begin();
        let engine = Fake::failing(move || Error::new(kind, "inner").context("outer"));
        call(engine, request("GET", "/v5.0.0/libpod/images/json")).await;
        let logged = lines();
        let [failure, access] = &logged[..] else { panic!("{logged:#?}") };
        assert_has(failure, &[level, "request{id=", "outer: inner"]);
        assert_has(access, &["INFO", "status=500"]);
    }
}

#[tokio::test]
async fn the_end_of_a_body_counts() {
    let target = "/v5.0.0/libpod/images/export?references=a";
    begin();
    let engine = Arc::new(Fake::answering("broken".into()));
    let response = respond(engine, request("GET", target)).await;
    assert!(lines().is_empty(), "the answer is not sent yet");
    drop(axum::body::to_bytes(response.into_body(), 1000).await);
    let logged = lines();
    let [failure, access] = &logged[..] else { panic!("{logged:#?}") };
    assert_has(failure, &["ERROR", "disk"]);
    assert_has(access, &["status=200", "sent_bytes=7", "outcome=\"broken off\""]);

    begin();
    drop(respond(Arc::new(Fake::answering(Value::Null)), request("GET", target)).await);
    let logged = lines();
    let [gone] = &logged[..] else { panic!("{logged:#?}") };
    assert_has(gone, &["status=200", "sent_bytes=0", "outcome=\"caller gone\""]);
}
