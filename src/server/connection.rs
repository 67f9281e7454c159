//! One connection: HTTP over it, and noticing that the peer is gone.
//!
//! An HTTP library notices a closed connection when it reads, and it does not read while a handler
//! leaves the request body alone. But a peer that gives up must stop the work at any time. So
//! beside the HTTP machinery, the socket itself is watched.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::UCred;
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::listen::Stream;
use super::resting::Turns;
use super::stall::{Arriving, Stall};

/// The largest head of a request, in bytes, and the most that is read ahead of a body or written
/// ahead of a client. An export of many images has a long query.
const BUFFER_MAX: usize = 128 << 10;
/// How often a peer that will send no more is asked whether it still reads.
const HALF_CLOSED_INTERVAL: Duration = Duration::from_millis(200);

/// What a connection needs to know.
pub(super) struct Connection<S> {
    /// Answers requests.
    pub(super) service: S,
    /// How long the head of the next request may take.
    pub(super) request_timeout: Duration,
    /// How long its peer may keep a body in either direction from moving. `None`: for ever.
    pub(super) stall_timeout: Option<Duration>,
    /// Tells others when it rests.
    pub(super) turns: Turns,
    /// Cancelled when the service stops: the request under way is the last.
    pub(super) stop: CancellationToken,
}

/// Serves `stream` to its end. Requests over a Unix socket carry its peer's `UCred` as an extension.
pub(super) async fn run<S>(stream: Stream, connection: Connection<S>)
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    match stream {
        Stream::Unix(stream) => {
            // Whoever answers may want to know whom. A peer without credentials is nobody.
            let peer = stream.peer_cred().ok();
            let (read, write) = stream.into_split();
            drive(read, write, peer, connection).await;
        }
        Stream::Tcp(stream) => {
            let (read, write) = stream.into_split();
            drive(read, write, None, connection).await;
        }
    }
}

async fn drive<R, W, S>(read: R, write: W, peer: Option<UCred>, connection: Connection<S>)
where
    R: ReadHalf,
    W: AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let Connection { service, request_timeout, stall_timeout, turns, stop } = connection;
    let socket = Arc::new(read);
    let unread = Stall::new(stall_timeout, "read nothing more of the answer");
    let io = Io { read: Arc::clone(&socket), write, unread };
    let requests = turns.clone();
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(request_timeout)
        .max_buf_size(BUFFER_MAX)
        .half_close(R::TELLS_HALF_CLOSED)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let under_way = requests.request();
                let mut request = request.map(|body| Body::new(Arriving::new(body, stall_timeout)));
                if let Some(peer) = peer {
                    request.extensions_mut().insert(peer);
                }
                let answer = service.clone().oneshot(request);
                async move { answer.await.map(|response| under_way.with(response)) }
            }),
        );
    let mut http = pin!(http);
    let mut gone = pin!(peer_gone(&*socket));
    let last = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = turns.leave() => {}
        }
    };
    let mut last = pin!(last);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
                }
                return;
            }
            () = gone.as_mut() => return,
            () = last.as_mut(), if !stopping => {
                http.as_mut().graceful_shutdown();
                stopping = true;
            }
        }
    }
}

/// Waits until the peer has closed its end.
///
/// A peer that has only finished sending is waiting for its answer (`socat` with piped input does
/// that). A Unix socket tells the difference; TCP cannot, and counts as gone.
async fn peer_gone<R: ReadHalf>(socket: &R) {
    // Of the readiness that Tokio reports, this interest includes the end of input but not input.
    while let Ok(ready) = socket.ready(Interest::PRIORITY).await {
        if ready.is_read_closed() {
            break;
        }
        // Urgent data, which HTTP does not have. Forget it.
        socket.clear_urgent();
    }
    while R::TELLS_HALF_CLOSED && !socket.is_hung_up() {
        sleep(HALF_CLOSED_INTERVAL).await;
    }
}

/// The reading half of a socket, shared with [`peer_gone`].
trait ReadHalf {
    /// Whether a peer that has closed differs from one that has only finished sending.
    const TELLS_HALF_CLOSED: bool;

    fn ready(
        &self,
        interest: Interest,
    ) -> impl Future<Output = io::Result<tokio::io::Ready>> + Send;
    fn clear_urgent(&self);
    fn is_hung_up(&self) -> bool;
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize>;
}

macro_rules! read_half {
    ($half:ty, $stream:ty, $tells_half_closed:literal) => {
        impl ReadHalf for $half {
            const TELLS_HALF_CLOSED: bool = $tells_half_closed;

            async fn ready(&self, interest: Interest) -> io::Result<tokio::io::Ready> {
                <$half>::ready(self, interest).await
            }

            fn clear_urgent(&self) {
                let socket: &$stream = self.as_ref();
                // "Would block" is what makes Tokio forget a readiness.
                let _would_block = socket.try_io(Interest::PRIORITY, || {
                    Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock))
                });
            }

            fn is_hung_up(&self) -> bool {
                let socket: &$stream = self.as_ref();
                let mut polled = [PollFd::new(socket, PollFlags::empty())];
                let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
                match rustix::event::poll(&mut polled, Some(&at_once)) {
                    Ok(_) => polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR),
                    Err(_) => false,
                }
            }

            fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let socket: &$stream = self.as_ref();
                socket.poll_read_ready(cx)
            }

            fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
                self.try_read_buf(buf)
            }
        }
    };
}

read_half!(unix::OwnedReadHalf, UnixStream, true);
read_half!(tcp::OwnedReadHalf, TcpStream, false);

/// A socket whose reading half others may look at, and whose peer has to read what is written.
struct Io<R, W> {
    read: Arc<R>,
    write: W,
    unread: Stall,
}

impl<R: ReadHalf, W: Unpin> AsyncRead for Io<R, W> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.read.poll_readable(cx))?;
            match self.read.try_read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl<R, W: AsyncWrite + Unpin> AsyncWrite for Io<R, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.write).poll_write(cx, buf);
        this.unread.watch(cx, written).map(io::Result::flatten)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.write).poll_write_vectored(cx, bufs);
        this.unread.watch(cx, written).map(io::Result::flatten)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}
