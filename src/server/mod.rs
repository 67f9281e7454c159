//! HTTP/1.1 on Unix and TCP sockets, for any tower service.
//!
//! A connection is one task. It ends when the peer is gone, at once and whatever the handler is
//! waiting for: then the handler's future and the bodies are dropped, which is how work is
//! cancelled in this program. It ends the same way when the peer keeps a body from moving for too
//! long, and when it rests while others wait for its place. When the daemon stops, it stops accepting, lets requests under way
//! finish for a grace period, and then drops them the same way.
//!
//! There is no TLS, no authentication and no HTTP/2 here. Which TCP addresses may be listened on
//! is checked where the configuration is read.

mod connection;
mod listen;
mod resting;
mod serve;
mod shutdown;
mod stall;
mod unix;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use listen::{Address, Listeners};
pub use serve::serve;
pub use shutdown::Shutdown;

/// How to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Return from [`serve()`] after this time without a connection. `None`: never.
    ///
    /// A connection on which no request comes counts until
    /// [`request_timeout`](Self::request_timeout) closes it.
    pub idle_timeout: Option<Duration>,
    /// How long requests under way may take to finish once the service is stopping.
    pub grace: Duration,
    /// How long a connection may take to deliver the head of its next request.
    pub request_timeout: Duration,
    /// How long a client may send nothing of a body that is wanted, or read nothing of an answer
    /// that is there. `None`: for ever.
    pub stall_timeout: Option<Duration>,
    /// Connections served at the same time. When there are more, those without a request are
    /// closed for them; without such they wait in the kernel's queue.
    pub connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            idle_timeout: None,
            grace: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            stall_timeout: Some(Duration::from_secs(120)),
            connections: 512,
        }
    }
}

/// Why the service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process answers on the socket.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket is in the way. It is left alone.
    #[error("{} exists and is not a socket", .0.display())]
    NotSocket(PathBuf),
    /// The directory of the socket cannot be made or locked.
    #[error("directory of socket {}", path.display())]
    Directory {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The kernel refuses to listen.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: Address,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A descriptor that was passed is not a listening stream socket.
    #[error("socket number {index} passed by the service manager")]
    Passed {
        /// Counted from 0.
        index: usize,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Signal handlers cannot be installed.
    #[error("installing signal handlers")]
    Signals(#[source] std::io::Error),
}
