//! Limits, cancellation, and both bridges with early ends, errors and stalled peers.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::stream;

use super::*;

const SOON: Duration = Duration::from_secs(60);

fn tasks() -> Tasks {
    Tasks::new(2)
}

fn body(items: Vec<io::Result<Bytes>>) -> BoxStream<'static, io::Result<Bytes>> {
    stream::iter(items).boxed()
}

fn chunk(text: &'static str) -> io::Result<Bytes> {
    Ok(Bytes::from_static(text.as_bytes()))
}

/// Waits for the flag, as work between two chunks would notice it.
fn wait_for(cancel: &Cancel) {
    while !cancel.is_canceled() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn bulk_work_does_not_delay_quick_work() {
    let tasks = tasks();
    let waiting = (0..BULK_PERMITS_MIN + 3).map(|_| {
        let tasks = tasks.clone();
        tokio::spawn(async move { tasks.run(Class::Bulk, wait_for).await })
    });
    let waiting: Vec<_> = waiting.collect();
    while tasks.inner.bulk.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let quick = tokio::time::timeout(SOON, tasks.run(Class::Quick, |_| 7)).await;
    assert_eq!(quick.unwrap().unwrap(), 7);
    tasks.stop().await;
    let results: Vec<_> = futures_util::future::join_all(waiting).await;
    let ran = results.iter().filter(|result| matches!(result, Ok(Ok(())))).count();
    assert_eq!(ran, BULK_PERMITS_MIN);
    assert!(matches!(tasks.run(Class::Quick, |_| ()).await, Err(Error::Stopping)));
}

#[tokio::test]
async fn dropping_the_future_cancels_and_frees_the_permit() {
    let tasks = tasks();
    let (started, has_started) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    let mut run = Box::pin(tasks.run(Class::Bulk, move |cancel| {
        started.send(()).unwrap();
        wait_for(cancel);
        ended.send(()).unwrap();
    }));
    assert!(futures_util::poll!(&mut run).is_pending());
    has_started.recv_timeout(SOON).unwrap();
    drop(run);
    has_ended.recv_timeout(SOON).unwrap();
    tasks.stop().await;
    assert_eq!(tasks.inner.bulk.available_permits(), BULK_PERMITS_MIN);
    assert!(tasks.live().flags.is_empty());
}

#[tokio::test]
async fn a_panic_is_an_error() {
    let result: Result<(), _> = tasks().run(Class::Quick, |_| panic!("no {}", "luck")).await;
    assert_eq!(result.unwrap_err().to_string(), "internal error: no luck");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn work_in_place_stops_no_other_task() {
    let tasks = tasks();
    let (tell, told) = mpsc::channel();
    let in_place = tasks.clone();
    let in_place = tokio::spawn(async move {
        in_place.run_in_place(move |_| told.recv_timeout(SOON).unwrap()).await
    });
    while tasks.inner.quick.available_permits() == QUICK_PERMITS {
        tokio::task::yield_now().await;
    }
    // The only worker has to run this as well.
    let other = tokio::spawn(async move { tell.send(7).unwrap() });
    assert_eq!(in_place.await.unwrap().unwrap(), 7);
    other.await.unwrap();
    assert_eq!(tasks.inner.quick.available_permits(), QUICK_PERMITS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn work_in_place_may_panic_and_is_canceled_at_the_end() {
    let tasks = tasks();
    let result: Result<(), _> = tasks.run_in_place(|_| panic!("no {}", "luck")).await;
    assert_eq!(result.unwrap_err().to_string(), "internal error: no luck");
    let waiting = tasks.clone();
    let waiting = tokio::spawn(async move { waiting.run_in_place(wait_for).await });
    while tasks.inner.quick.available_permits() == QUICK_PERMITS {
        tokio::task::yield_now().await;
    }
    tasks.stop().await;
    waiting.await.unwrap().unwrap();
    assert!(matches!(tasks.run_in_place(|_| ()).await, Err(Error::Stopping)));
}

#[tokio::test]
async fn reads_a_body_to_its_end() {
    let items = vec![chunk("ab"), chunk(""), chunk("cde")];
    let tasks = tasks();
    let read = tasks.run_reading(Class::Bulk, body(items), |mut reader, _| {
        let mut all = String::new();
        reader.read_to_string(&mut all)?;
        assert_eq!(reader.fill_buf()?, b"");
        Ok::<_, io::Error>(all)
    });
    assert_eq!(read.await.unwrap().unwrap(), "abcde");
}

#[tokio::test]
async fn what_is_written_whole_keeps_its_place_and_comes_in_pieces() {
    let long: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let (before, after) = (vec![1; 7], vec![2; 9]);
    let expected = [&before[..], &long, &after].concat();
    let mut written = tasks().stream(Class::Export, move |out, _| {
        out.write_all(&before)?;
        out.write_whole(long)?;
        out.write_all(&after)
    });
    let mut read = Vec::new();
    while let Some(chunk) = written.next().await {
        let chunk = chunk.unwrap();
        assert!(!chunk.is_empty() && chunk.len() <= 128 << 10);
        read.extend_from_slice(&chunk);
    }
    assert!(read == expected);
}

#[tokio::test]
async fn an_error_in_the_body_reaches_the_reader() {
    let items = vec![chunk("ab"), Err(io::Error::other("torn")), chunk("c")];
    let tasks = tasks();
    let read = tasks.run_reading(Class::Bulk, body(items), |mut reader, _| {
        let mut all = Vec::new();
        let error = reader.read_to_end(&mut all).unwrap_err();
        (all, error.to_string(), reader.read(&mut [0; 4]).unwrap_err().to_string())
    });
    let torn = || "torn".to_owned();
    assert_eq!(read.await.unwrap(), (b"ab".to_vec(), torn(), torn()));
}

#[tokio::test]
async fn before_its_turn_only_the_first_chunk_is_taken() {
    let tasks = tasks();
    let mut others: Vec<_> =
        (0..BULK_PERMITS_MIN).map(|_| Box::pin(tasks.run(Class::Bulk, wait_for))).collect();
    for other in &mut others {
        assert!(futures_util::poll!(other).is_pending());
    }
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let chunks = stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        chunk("xxxx")
    });
    let mut read =
        Box::pin(tasks.run_reading(Class::Bulk, chunks.take(20).boxed(), |mut reader, _| {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all.len())
        }));
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut read).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(taken.load(Ordering::Relaxed), 1);
    drop(others);
    assert_eq!(read.await.unwrap().unwrap(), 80);
}

/// More of them than there are permits.
#[tokio::test]
async fn others_have_the_permits_of_bulk_work_that_waits_for_its_body() {
    let tasks = tasks();
    let (sends, mut running) = (0..BULK_PERMITS_MIN + 3)
        .map(|_| {
            let (send, more) = tokio::sync::mpsc::channel(1);
            let more = stream::unfold(more, async |mut more| Some((more.recv().await?, more)));
            let (body, tasks) = (stream::iter([chunk("a")]).chain(more).boxed(), tasks.clone());
            let run = tokio::spawn(async move {
                let read = |mut reader: BodyReader, _: &Cancel| io::read_to_string(&mut reader);
                tasks.run_reading(Class::Bulk, body, read).await
            });
            (send, run)
        })
        .collect::<(Vec<_>, Vec<_>)>();
    let other = tasks.run(Class::Bulk, |_| 7);
    assert_eq!(tokio::time::timeout(SOON, other).await.unwrap().unwrap(), 7);
    while tasks.inner.bulk.available_permits() < BULK_PERMITS_MIN {
        tokio::time::sleep(PAUSE / 10).await;
    }
    assert_eq!(tasks.inner.tracker.len(), running.len());
    // While others have them all, nobody gets more.
    let all = tasks.inner.bulk.acquire_many(4).await.unwrap();
    for send in &sends {
        send.send(chunk("b")).await.unwrap();
    }
    drop(sends);
    tokio::time::sleep(PAUSE).await;
    assert!(running.iter().all(|run| !run.is_finished()));
    drop(all);
    for run in &mut running {
        let read = tokio::time::timeout(SOON, run).await.unwrap();
        assert_eq!(read.unwrap().unwrap().unwrap(), "ab");
    }
    assert_eq!(tasks.inner.bulk.available_permits(), BULK_PERMITS_MIN);
}

#[tokio::test]
async fn work_may_leave_the_body_unread() {
    let endless = stream::repeat_with(|| chunk("xxxx")).boxed();
    let tasks = tasks();
    let read = tasks.run_reading(Class::Bulk, endless, |mut reader, _| {
        let mut four = [0; 4];
        reader.read_exact(&mut four).map(|()| four)
    });
    assert_eq!(read.await.unwrap().unwrap(), *b"xxxx");
}

#[tokio::test]
async fn a_reader_of_a_stalled_body_fails_when_the_future_is_dropped() {
    let tasks = tasks();
    let stalled = stream::iter([chunk("ab")]).chain(stream::pending()).boxed();
    let (result, has_result) = mpsc::channel();
    let (started, has_started) = mpsc::channel();
    let mut run = Box::pin(tasks.run_reading(Class::Bulk, stalled, move |mut reader, _| {
        reader.read_exact(&mut [0; 2]).unwrap();
        started.send(()).unwrap();
        result.send(reader.read(&mut [0; 1]).unwrap_err().kind()).unwrap();
    }));
    while has_started.try_recv().is_err() {
        assert!(futures_util::poll!(&mut run).is_pending());
        tokio::task::yield_now().await;
    }
    drop(run);
    assert_eq!(has_result.recv_timeout(SOON).unwrap(), ErrorKind::ConnectionAborted);
    tasks.stop().await;
}

#[tokio::test]
async fn writes_a_body() {
    let mut body = tasks().stream(Class::Bulk, |writer, _| {
        writer.write_all(b"head")?;
        writer.flush()?;
        writer.write_all(&vec![7; CHUNK + 5])
    });
    assert_eq!(body.next().await.unwrap().unwrap(), "head");
    assert_eq!(body.next().await.unwrap().unwrap(), vec![7; CHUNK]);
    assert_eq!(body.next().await.unwrap().unwrap(), vec![7; 5]);
    assert!(body.next().await.is_none());
}

/// As [`body::CHUNK_SIZE`], written out so that a change is noticed.
const CHUNK: usize = 131_072;

#[tokio::test]
async fn a_failing_producer_breaks_the_body() {
    let mut body = tasks().stream(Class::Bulk, |writer, _| {
        writer.write_all(b"lost")?;
        writer.flush()?;
        writer.write_all(b"never sent")?;
        Err(io::Error::other("layer is damaged"))
    });
    assert_eq!(body.next().await.unwrap().unwrap(), "lost");
    assert_eq!(body.next().await.unwrap().unwrap_err().to_string(), "layer is damaged");
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_panicking_producer_breaks_the_body() {
    let mut body = tasks().stream::<io::Error, _>(Class::Bulk, |writer, _| {
        writer.write_all(b"x")?;
        panic!("bug")
    });
    assert_eq!(body.next().await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn dropping_the_body_stops_the_producer() {
    let tasks = tasks();
    let (result, has_result) = mpsc::channel();
    let mut body = tasks.stream(Class::Bulk, move |writer, cancel| {
        let error = loop {
            if let Err(error) = writer.write_all(&[0; 4096]) {
                break error;
            }
        };
        wait_for(cancel);
        result.send(error.kind()).unwrap();
        Err(error)
    });
    assert_eq!(body.next().await.unwrap().unwrap().len(), CHUNK);
    drop(body);
    assert_eq!(has_result.recv_timeout(SOON).unwrap(), ErrorKind::BrokenPipe);
    tasks.stop().await;
}

#[tokio::test]
async fn a_body_nobody_polls_produces_nothing() {
    let tasks = tasks();
    let (started, has_started) = mpsc::channel();
    drop(tasks.stream(Class::Bulk, move |_, _| started.send(())));
    assert!(has_started.recv().is_err());
    assert_eq!(tasks.inner.tracker.len(), 0);
}
