//! What a connection does to the handler behind it.

use std::io;

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};

use super::*;

/// A handler that never answers, and tells when it is dropped. It leaves the body unread.
fn stuck() -> (Running, mpsc::UnboundedReceiver<&'static str>) {
    let (events, received) = mpsc::unbounded_channel();
    let running = start(Options::default(), move |request: Request| {
        let events = events.clone();
        async move {
            events.send("started").unwrap();
            let _guard = Guard(events);
            let _unread = request;
            std::future::pending().await
        }
    });
    (running, received)
}

async fn next(events: &mut mpsc::UnboundedReceiver<&'static str>) -> &'static str {
    timeout(LONG, events.recv()).await.expect("nothing happened in time").unwrap()
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_handler_along() {
    let (running, mut events) = stuck();
    let without_body = GET.to_vec();
    let mut with_body =
        b"POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    // More than the kernel and the server take without the handler's help.
    let chunk = vec![b'x'; 4 << 20];
    with_body.extend(format!("{:x}\r\n", chunk.len()).bytes());
    with_body.extend(chunk);
    for request in [without_body, with_body] {
        let mut stream = running.connect().await;
        let writing = tokio::spawn(async move {
            // The second request never gets through: the handler does not read.
            let _blocks = timeout(Duration::from_millis(300), stream.write_all(&request)).await;
            stream
        });
        assert_eq!(next(&mut events).await, "started");
        drop(writing.await.unwrap());
        assert_eq!(next(&mut events).await, "dropped");
    }
}

#[tokio::test]
async fn so_does_one_on_tcp() {
    let (events, mut received) = mpsc::unbounded_channel();
    let any = Address::Tcp("127.0.0.1:0".parse().unwrap());
    let listeners = Listeners::bind(&[any], 0o600).unwrap();
    let [Address::Tcp(address)] = listeners.addresses()[..] else { panic!("one address") };
    let service = tower::service_fn(move |request: Request| {
        let guard = Guard(events.clone());
        async move {
            let _held = (guard, request);
            std::future::pending().await
        }
    });
    tokio::spawn(serve(listeners, service, Options::default(), Shutdown::new()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\nx").await.unwrap();
    assert!(timeout(Duration::from_millis(300), received.recv()).await.is_err());
    drop(stream);
    assert_eq!(next(&mut received).await, "dropped");
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_answer_along() {
    let (events, mut received) = mpsc::unbounded_channel();
    let running = start(Options::default(), move |_| {
        let guard = Guard(events.clone());
        async move {
            let first = stream::iter([Ok::<_, io::Error>("first")]);
            let stalled = stream::once(async move {
                let _guard = guard;
                std::future::pending().await
            });
            Ok(Response::new(Body::from_stream(first.chain(stalled))))
        }
    });
    let mut stream = running.connect().await;
    send(&mut stream, GET).await;
    read_until(&mut stream, "first\r\n").await;
    assert!(received.try_recv().is_err());
    drop(stream);
    assert_eq!(next(&mut received).await, "dropped");
}

#[tokio::test]
async fn a_client_that_only_finished_sending_gets_its_answer() {
    let running = start(Options::default(), async |_| {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(Response::new(Body::from("late")))
    });
    let mut stream = running.connect().await;
    send(&mut stream, GET).await;
    stream.shutdown().await.unwrap();
    assert!(read_all(&mut stream).await.ends_with("late"));
}

#[tokio::test]
async fn an_aborted_upload_is_an_error_not_an_end() {
    let (events, mut received) = mpsc::unbounded_channel();
    let running = start(Options::default(), move |request: Request| {
        let events = events.clone();
        async move {
            let mut body = request.into_body().into_data_stream();
            let mut last = "end";
            while let Some(item) = body.next().await {
                last = if item.is_ok() { "data" } else { "error" };
                events.send(last).unwrap();
            }
            events.send(last).unwrap();
            Ok(Response::new(Body::empty()))
        }
    });
    let mut stream = running.connect().await;
    send(&mut stream, b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\nshort").await;
    assert_eq!(next(&mut received).await, "data");
    // Half closed, so that the handler lives to see it.
    stream.shutdown().await.unwrap();
    assert_eq!(next(&mut received).await, "error");
}

#[tokio::test]
async fn an_answer_that_fails_does_not_end_cleanly() {
    let running = start(Options::default(), async |_| {
        let failing = stream::once(async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Err(io::Error::other("disk"))
        });
        Ok(Response::new(Body::from_stream(stream::iter([Ok("part")]).chain(failing))))
    });
    let mut stream = running.connect().await;
    send(&mut stream, GET).await;
    let text = read_all(&mut stream).await;
    assert!(text.contains("transfer-encoding: chunked"), "{text}");
    assert!(text.ends_with("4\r\npart\r\n"), "no final chunk: {text}");
}

#[tokio::test]
async fn heads_have_limits() {
    let options = Options { request_timeout: Duration::from_secs(1), ..Options::default() };
    let running = start(options, async |_| Ok(Response::new(Body::empty())));

    let mut large = running.connect().await;
    let filler = "x".repeat(200 << 10);
    send(&mut large, format!("GET /?{filler} HTTP/1.1\r\nHost: d\r\n\r\n").as_bytes()).await;
    let answer = read_all(&mut large).await;
    let status = StatusCode::from_bytes(&answer.as_bytes()[9..12]).unwrap();
    assert!(matches!(status.as_u16(), 414 | 431), "{status}");

    let mut slow = running.connect().await;
    send(&mut slow, b"GET / HTTP/1.1\r\n").await;
    read_all(&mut slow).await;
    let mut silent = running.connect().await;
    assert_eq!(read_all(&mut silent).await, "");
}

#[tokio::test]
async fn a_panic_costs_one_connection() {
    let running = start(Options::default(), async |request: Request| {
        assert_ne!(request.uri().path(), "/panic");
        Ok(Response::new(Body::from("fine")))
    });
    let mut first = running.connect().await;
    send(&mut first, b"GET /panic HTTP/1.1\r\nHost: d\r\n\r\n").await;
    assert_eq!(read_all(&mut first).await, "");
    let mut second = running.connect().await;
    send(&mut second, GET).await;
    read_until(&mut second, "fine").await;
}
