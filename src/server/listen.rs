//! The sockets that connections come from.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::task::{Context, Poll};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Error;
use super::unix::{self, SocketFile};

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Sockets that are listening. Dropping them stops that, and removes the Unix sockets that were
/// made here.
#[derive(Debug)]
pub struct Listeners(Vec<Listener>);

#[derive(Debug)]
enum Listener {
    Unix { listener: UnixListener, address: Option<PathBuf>, _file: Option<SocketFile> },
    Tcp(TcpListener),
}

/// A connection.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Listeners {
    /// Listens on every one of `addresses`. Unix sockets get the permission bits `mode`.
    ///
    /// Blocks for a moment, and must be called inside a Tokio runtime.
    pub fn bind(addresses: &[Address], mode: u32) -> Result<Self, Error> {
        addresses.iter().map(|address| bind(address, mode)).collect::<Result<_, _>>().map(Self)
    }

    /// The sockets that the service manager passed (`LISTEN_FDS`), or `None` if it passed none.
    ///
    /// Must be called inside a Tokio runtime, and only once in a process.
    pub fn passed() -> Result<Option<Self>, Error> {
        let mut sockets = ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..sockets.len() {
            let listener =
                take(&mut sockets, index).map_err(|source| Error::Passed { index, source })?;
            listeners.push(listener);
        }
        Ok((!listeners.is_empty()).then_some(Self(listeners)))
    }

    /// Where these sockets are.
    pub fn addresses(&self) -> Vec<Address> {
        self.0.iter().filter_map(Listener::address).collect()
    }

    /// The next connection on any of the sockets. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        poll_fn(|cx| {
            for listener in &self.0 {
                if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match self {
            Self::Unix { listener, .. } => {
                listener.poll_accept(cx).map_ok(|(stream, _)| Stream::Unix(stream))
            }
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| {
                // Answers are written in few large pieces; waiting to fill packets only delays.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "setting TCP_NODELAY");
                }
                Stream::Tcp(stream)
            }),
        }
    }

    fn address(&self) -> Option<Address> {
        match self {
            Self::Unix { address, .. } => address.clone().map(Address::Unix),
            Self::Tcp(listener) => listener.local_addr().ok().map(Address::Tcp),
        }
    }

    fn unix(
        listener: std::os::unix::net::UnixListener,
        file: Option<SocketFile>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.as_pathname().map(ToOwned::to_owned);
        Ok(Self::Unix { listener: UnixListener::from_std(listener)?, address, _file: file })
    }

    fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpListener::from_std(listener)?))
    }
}

fn bind(address: &Address, mode: u32) -> Result<Listener, Error> {
    let failed = |source| Error::Listen { address: address.clone(), source };
    match address {
        Address::Unix(path) => {
            let (listener, file) = unix::listen(path, mode)?;
            Listener::unix(listener, Some(file)).map_err(failed)
        }
        // The standard library sets SO_REUSEADDR, so a restart does not wait for old connections.
        Address::Tcp(address) => {
            std::net::TcpListener::bind(address).and_then(Listener::tcp).map_err(failed)
        }
    }
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Listener> {
    if let Ok(Some(listener)) = sockets.take_unix_listener(index) {
        return Listener::unix(listener, None);
    }
    match sockets.take_tcp_listener(index)? {
        Some(listener) => Listener::tcp(listener),
        None => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}
