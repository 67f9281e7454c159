//! Peers that keep things from moving, and those that are kept waiting.

use std::io;

use axum::body::Body;
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

use super::*;

const LIMIT: Duration = Duration::from_millis(400);

fn impatient() -> Options {
    Options { stall_timeout: Some(LIMIT), ..Options::default() }
}

/// Answers with what the body came to.
async fn count(request: Request) -> Result<Response, Infallible> {
    let mut body = request.into_body().into_data_stream();
    let mut bytes = 0;
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => bytes += chunk.len(),
            Err(error) => return Ok(Response::new(Body::from(format!("{error} after {bytes}!")))),
        }
    }
    Ok(Response::new(Body::from(format!("all {bytes}!"))))
}

#[tokio::test]
async fn a_body_that_stops_coming_fails_and_the_client_is_told() {
    let running = start(impatient(), count);
    for head in
        ["Content-Length: 100\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"]
    {
        let mut stream = running.connect().await;
        send(&mut stream, format!("POST / HTTP/1.1\r\nHost: d\r\n{head}").as_bytes()).await;
        let answer = read_all(&mut stream).await;
        let text = "the client has sent nothing more of the request for 0.4 s after 5!";
        assert!(answer.ends_with(text), "{answer}");
    }
}

#[tokio::test]
async fn a_slow_body_may_take_longer_than_any_pause_in_it() {
    let running = start(impatient(), count);
    let mut stream = running.connect().await;
    send(&mut stream, b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 8\r\n\r\n").await;
    for _ in 0..8 {
        sleep(LIMIT / 4).await;
        send(&mut stream, b"x").await;
    }
    read_until(&mut stream, "all 8!").await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_broken_off() {
    let (events, mut received) = mpsc::unbounded_channel();
    let running = start(impatient(), move |_| {
        let guard = Guard(events.clone());
        async move {
            let chunks = stream::repeat_with(move || {
                let _held = &guard;
                Ok::<_, io::Error>(vec![b'x'; 64 << 10])
            });
            Ok(Response::new(Body::from_stream(chunks)))
        }
    });
    let mut stream = running.connect().await;
    send(&mut stream, GET).await;
    assert_eq!(timeout(LONG, received.recv()).await.unwrap(), Some("dropped"));
}

/// Neither a handler that takes its time before it reads and before it answers, nor an answer that
/// pauses, is a client that stalls.
#[tokio::test]
async fn the_time_of_the_server_does_not_count() {
    let running = start(impatient(), async |request: Request| {
        sleep(LIMIT * 3).await;
        let counted = count(request).await?.into_body();
        sleep(LIMIT * 3).await;
        let late = stream::once(async {
            sleep(LIMIT * 3).await;
            Ok("late")
        });
        let counted = counted.into_data_stream();
        Ok(Response::new(Body::from_stream(counted.chain(late.map(|item| item.map(Into::into))))))
    });
    let mut stream = running.connect().await;
    // More than the kernel and the server take ahead.
    let body = vec![b'x'; 2 << 20];
    let head = format!("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n\r\n", body.len());
    send(&mut stream, head.as_bytes()).await;
    send(&mut stream, &body).await;
    let answer = read_until(&mut stream, "late\r\n0\r\n\r\n").await;
    assert!(answer.contains("all 2097152!"), "{answer}");
}

#[tokio::test]
async fn connections_that_rest_make_room() {
    let options = Options { connections: 2, ..Options::default() };
    let running = start(options, async |request: Request| {
        if request.uri().path() == "/slow" {
            sleep(Duration::from_secs(4)).await;
        }
        Ok(Response::new(Body::from("done")))
    });
    let mut busy = running.connect().await;
    send(&mut busy, b"GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await;
    let mut kept = running.connect().await;
    send(&mut kept, GET).await;
    read_until(&mut kept, "done").await;
    for _ in 0..2 {
        let mut next = running.connect().await;
        send(&mut next, GET).await;
        read_until(&mut next, "done").await;
        assert_eq!(read_all(&mut kept).await, "", "it was closed for the next");
        kept = next;
    }
    read_until(&mut busy, "done").await;
}

#[tokio::test]
async fn a_connection_that_is_kept_for_nothing_is_closed() {
    let options = Options { request_timeout: LIMIT, ..Options::default() };
    let running = start(options, async |_| Ok(Response::new(Body::from("done"))));
    let mut stream = running.connect().await;
    send(&mut stream, GET).await;
    read_until(&mut stream, "done").await;
    assert_eq!(read_all(&mut stream).await, "");
}
