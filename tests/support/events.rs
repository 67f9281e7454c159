//! The event log, the answers of the events route, and a client that follows them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::http::{PREFIX, escape};
use super::{Client, Server, Store};

/// How long something may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an event says, without when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) kind: String,
    pub(crate) action: String,
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Seen {
    /// A document of the API.
    #[track_caller]
    pub(crate) fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            kind: text(&event["Type"]),
            action: text(&event["Action"]),
            id: text(&event["Actor"]["ID"]),
            name: text(&event["Actor"]["Attributes"]["name"]),
        }
    }

    /// A line of `podman events --format json`, and of the log.
    #[track_caller]
    pub(crate) fn of_line(line: &str) -> Self {
        let event: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        let text = |key: &str| match event.get(key) {
            Some(value) => value.as_str().unwrap().to_owned(),
            None => String::new(),
        };
        Self { kind: text("Type"), action: text("Status"), id: text("ID"), name: text("Name") }
    }

    pub(crate) fn image(action: &str, id: &str, name: &str) -> Self {
        let [kind, action, id, name] = ["image", action, id, name].map(str::to_owned);
        Self { kind, action, id, name }
    }
}

/// Where Podman, run on `store`, logs its events.
pub(crate) fn log_of_podman(store: &Store) -> PathBuf {
    store.path("libpod").join("events/events.log")
}

/// The server on `store`, with the log that Podman has there.
#[track_caller]
pub(crate) fn sharing_server(store: &Store) -> Server {
    Server::start_with(store, &["--events-log", log_of_podman(store).to_str().unwrap()])
}

/// The filter of events of images, ready for a query.
pub(crate) fn of_images() -> String {
    format!("filters={}", escape(r#"{"type":["image"]}"#))
}

/// All documents of a request for events that ends.
#[track_caller]
pub(crate) fn events(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/events?stream=false&{query}")).expect(200);
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A request for events that does not end by itself. Dropping it hangs up.
pub(crate) struct Follower {
    answer: BufReader<UnixStream>,
}

impl Follower {
    /// Begins to follow. When this returns, the head of the answer is there, so that nothing that
    /// happens from now on is missed.
    #[track_caller]
    pub(crate) fn new(server: &Server, query: &str) -> Self {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {PREFIX}/events?{query} HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
        let mut follower = Self { answer: BufReader::new(stream) };
        let status = follower.line().unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        while !follower.line().unwrap().is_empty() {}
        follower
    }

    /// The next event, or `None` when the answer has ended properly.
    ///
    /// # Panics
    /// When the connection breaks, or nothing comes.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            let line = self.line().expect("the answer must end with its last chunk");
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
            if line == "0" {
                return None;
            }
        }
    }

    /// The next line of the answer, be it of a chunk's frame; `None` at the end of the connection.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.answer.read_line(&mut line).expect("nothing comes");
        (read > 0).then(|| line.trim_end().to_owned())
    }
}
