//! How the service ends.

use std::sync::Arc;

use axum::body::Body;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;

/// Answers after `delay`, and tells when a request has come.
fn slow(options: Options, delay: Duration) -> (Running, Arc<Notify>) {
    let come = Arc::new(Notify::new());
    let tell = come.clone();
    let running = start(options, move |_| {
        tell.notify_one();
        async move {
            tokio::time::sleep(delay).await;
            Ok(Response::new(Body::from("done")))
        }
    });
    (running, come)
}

#[tokio::test]
async fn a_request_under_way_is_finished() {
    let (running, come) = slow(Options::default(), Duration::from_millis(500));
    let mut busy = running.connect().await;
    let mut idle = running.connect().await;
    send(&mut busy, GET).await;
    come.notified().await;

    running.shutdown.stop();
    assert_eq!(read_all(&mut idle).await, "");
    assert!(!running.socket().exists());
    assert!(UnixStream::connect(running.socket()).await.is_err());
    assert!(read_all(&mut busy).await.ends_with("done"));
    running.ended().await;
}

#[tokio::test]
async fn but_not_for_ever() {
    let grace = Duration::from_millis(300);
    let (running, come) = slow(Options { grace, ..Options::default() }, LONG);
    let mut busy = running.connect().await;
    send(&mut busy, GET).await;
    come.notified().await;
    let began = Instant::now();
    running.shutdown.stop();
    assert_eq!(read_all(&mut busy).await, "");
    assert!(began.elapsed() >= grace);
    running.ended().await;
}

#[tokio::test]
async fn the_second_request_to_stop_hurries() {
    let (running, come) = slow(Options { grace: LONG * 10, ..Options::default() }, LONG * 10);
    let mut busy = running.connect().await;
    send(&mut busy, GET).await;
    come.notified().await;
    running.shutdown.stop();
    running.shutdown.stop_now();
    assert_eq!(read_all(&mut busy).await, "");
    running.ended().await;
}

#[tokio::test]
async fn without_connections_it_ends() {
    let timeout = Duration::from_secs(1);
    let options = Options { idle_timeout: Some(timeout), ..Options::default() };
    let (running, _) = slow(options, timeout * 2);
    let mut busy = running.connect().await;
    send(&mut busy, GET).await;
    // Longer than the timeout, but there is a connection.
    read_until(&mut busy, "done").await;
    tokio::time::sleep(timeout * 3 / 2).await;
    assert!(running.socket().exists());
    let began = Instant::now();
    drop(busy);
    let socket = running.socket();
    running.ended().await;
    assert!(began.elapsed() >= timeout);
    assert!(!socket.exists());
}

#[tokio::test]
async fn connections_are_limited() {
    let options = Options { connections: 1, ..Options::default() };
    let running = start(options, async |_| Ok(Response::new(Body::from("done"))));
    let mut first = running.connect().await;
    send(&mut first, GET).await;
    read_until(&mut first, "done").await;
    let mut second = running.connect().await;
    send(&mut second, GET).await;
    let mut buf = [0; 1];
    let waiting = timeout(Duration::from_millis(300), second.read(&mut buf)).await;
    assert!(waiting.is_err(), "served beside the first");
    drop(first);
    read_until(&mut second, "done").await;
}
