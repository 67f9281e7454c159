//! The server against raw sockets.

mod connections;
mod sockets;
mod stalls;
mod stopping;

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Address, Listeners, Options, Shutdown, serve};

/// Far longer than anything here takes, also on a machine that is busy with something else.
const LONG: Duration = Duration::from_secs(60);

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: d\r\n\r\n";

/// A service running on a Unix socket.
struct Running {
    dir: TempDir,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Running {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    /// Waits until the service has ended.
    async fn ended(self) {
        timeout(LONG, self.task).await.unwrap().unwrap();
    }
}

/// Serves `handler` on a Unix socket.
fn start<H, F>(options: Options, handler: H) -> Running
where
    H: FnMut(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let dir = TempDir::new().unwrap();
    let listeners = Listeners::bind(&[Address::Unix(dir.path().join("s"))], 0o600).unwrap();
    let shutdown = Shutdown::new();
    let service = tower::service_fn(handler);
    let task = tokio::spawn(serve(listeners, service, options, shutdown.clone()));
    Running { dir, shutdown, task }
}

/// Sends on a channel when dropped: a stand-in for the guard that cancels blocking work.
struct Guard(mpsc::UnboundedSender<&'static str>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _receiver_gone = self.0.send("dropped");
    }
}

/// Everything until the peer closes.
async fn read_all(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    timeout(LONG, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One answer on a connection that stays open, up to the end of `body`.
async fn read_until(stream: &mut UnixStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut buf = [0; 4096];
        let n = timeout(LONG, stream.read(&mut buf)).await.unwrap().unwrap();
        assert_ne!(n, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buf[..n]).unwrap());
    }
    text
}

async fn send(stream: &mut UnixStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}
