use std::path::PathBuf;

use super::*;

/// How long something may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(120);

fn image() -> ImageId {
    "ab".repeat(32).parse().unwrap()
}

struct Log {
    dir: tempfile::TempDir,
    tasks: Tasks,
}

impl Log {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), tasks: Tasks::new(2) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("events/events.log")
    }

    fn events(&self) -> Events {
        Events::new(EventBackend::File(EventLog::new(self.path(), 0)))
    }

    async fn read(&self, events: &Events, options: EventsOptions) -> EventStream {
        events.read(options, &self.tasks).await.unwrap()
    }
}

fn following() -> EventsOptions {
    EventsOptions { stream: true, ..EventsOptions::default() }
}

/// The name of the next event, or `None` at the end.
async fn next(stream: &mut EventStream) -> Option<String> {
    let event = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an event, or the end");
    event.map(|event| event.name)
}

#[tokio::test]
async fn history_ends() {
    let log = Log::new();
    let events = log.events();
    // The log need not be there.
    assert_eq!(next(&mut log.read(&events, EventsOptions::default()).await).await, None);
    for name in ["a", "b"] {
        events.tell(ImageAction::Tag, &image(), name);
    }
    events.tell(ImageAction::Save, &image(), "c");
    let filter =
        crate::engine::Filter { key: "event".to_owned(), negated: false, value: "tag".to_owned() };
    let tags = EventsOptions { filters: vec![filter], ..EventsOptions::default() };
    let mut tags = log.read(&events, tags).await;
    for expected in [Some("a"), Some("b"), None] {
        assert_eq!(next(&mut tags).await.as_deref(), expected);
    }
}

#[tokio::test]
async fn streams_begin_with_what_happens_next() {
    let log = Log::new();
    let events = log.events();
    events.tell(ImageAction::Tag, &image(), "before");
    let mut live = log.read(&events, following()).await;
    let since = EventsOptions { since: Some("1h".to_owned()), ..following() };
    let mut all = log.read(&events, since).await;
    assert_eq!(next(&mut all).await.as_deref(), Some("before"));
    for name in ["x", "y"] {
        events.tell(ImageAction::Tag, &image(), name);
        assert_eq!(next(&mut live).await.as_deref(), Some(name));
        assert_eq!(next(&mut all).await.as_deref(), Some(name));
    }
    events.end();
    assert_eq!(next(&mut live).await, None);
    assert_eq!(next(&mut all).await, None);
    assert_eq!(next(&mut log.read(&events, following()).await).await, None);
}

/// Another process appends and rotates; a small limit makes that often.
#[tokio::test]
async fn others_write_too() {
    let log = Log::new();
    let events = log.events();
    let mut live = log.read(&events, following()).await;
    let other = EventLog::new(log.path(), 2_000);
    for number in 0..50 {
        let name = format!("{number}");
        let event = Event::of_image(ImageAction::Tag, &image(), &*name);
        other.append(&[event]).unwrap();
        // Marks of rotations come in between.
        while next(&mut live).await.as_ref() != Some(&name) {}
    }
    assert!(std::fs::metadata(log.path()).unwrap().len() < 4_000);
}

#[tokio::test]
async fn a_stream_ends_at_its_time() {
    let log = Log::new();
    let events = log.events();
    events.tell(ImageAction::Tag, &image(), "before");
    for (until, expected) in [
        // What is over is still told, even if the time has come before it was read.
        ("1ms".to_owned(), Some("before")),
        (Timestamp::now().to_string(), Some("before")),
        ("0".to_owned(), None),
    ] {
        let mut stream =
            log.read(&events, EventsOptions { until: Some(until), ..following() }).await;
        if expected.is_some() {
            assert_eq!(next(&mut stream).await.as_deref(), expected);
        }
        assert_eq!(next(&mut stream).await, None);
    }
}

#[tokio::test]
async fn one_watch_serves_all_and_ends_with_the_last() {
    let log = Log::new();
    let events = log.events();
    let taken = || events.changes.is_watching();
    assert!(!taken());
    let mut first = log.read(&events, following()).await;
    let second = log.read(&events, following()).await;
    assert!(taken());
    drop(second);
    events.tell(ImageAction::Tag, &image(), "a");
    assert_eq!(next(&mut first).await.as_deref(), Some("a"));
    drop(first);
    tokio::time::timeout(PATIENCE, async {
        while taken() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("nobody watches any more");
    let mut again = log.read(&events, following()).await;
    events.tell(ImageAction::Tag, &image(), "b");
    assert_eq!(next(&mut again).await.as_deref(), Some("b"));
}

#[tokio::test]
async fn without_a_log() {
    let tasks = Tasks::new(1);
    let live = Events::new(EventBackend::Live);
    live.tell(ImageAction::Tag, &image(), "before");
    let mut stream = live.read(following(), &tasks).await.unwrap();
    live.tell(ImageAction::Tag, &image(), "a");
    assert_eq!(next(&mut stream).await.as_deref(), Some("a"));
    let mut history = live.read(EventsOptions::default(), &tasks).await.unwrap();
    assert_eq!(next(&mut history).await, None);
    let until = EventsOptions { until: Some("1ms".to_owned()), ..following() };
    assert_eq!(next(&mut live.read(until, &tasks).await.unwrap()).await, None);
    live.end();
    assert_eq!(next(&mut stream).await, None);

    let none = Events::new(EventBackend::None);
    none.tell(ImageAction::Tag, &image(), "a");
    let error = none.read(following(), &tasks).await.err().unwrap();
    assert_eq!(error.to_string(), "cannot read events with the \"none\" backend");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_fails_nobody() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("events"), "a file").unwrap();
    let log = EventLog::new(dir.path().join("events/events.log"), 0);
    let events = Events::new(EventBackend::File(log));
    events.tell(ImageAction::Tag, &image(), "a");
    let error = events.read(following(), &Tasks::new(1)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Storage);
}
