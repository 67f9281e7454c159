//! Making a Unix socket: with the right permissions from its first instant, in place of a socket
//! that nobody listens on, never in place of anything else.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Address, Error};

/// Connections the kernel queues until they are accepted.
const BACKLOG: i32 = 1024;

/// A socket in the file system, removed when dropped unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = identity(&self.path).is_ok_and(|identity| identity == self.identity);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "removing the socket");
        }
    }
}

/// Listens at `path`. Missing directories are made, for this user only.
pub(super) fn listen(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), Error> {
    let directory = |source| Error::Directory { path: path.to_owned(), source };
    let failed = |source| Error::Listen { address: Address::Unix(path.to_owned()), source };

    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(directory)?;
    // Held until the socket listens: of two daemons starting at once, the second must find the
    // first one's socket alive rather than remove it.
    let lock = File::open(parent).map_err(directory)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| directory(e.into()))?;

    let address = SocketAddrUnix::new(path).map_err(|error| failed(error.into()))?;
    remove_stale(path, &address)?;
    let listener = bind(path, &address, Mode::from_raw_mode(mode)).map_err(failed)?;
    let identity = identity(path).map_err(failed)?;
    Ok((listener, SocketFile { path: path.to_owned(), identity }))
}

fn bind(path: &Path, address: &SocketAddrUnix, mode: Mode) -> io::Result<UnixListener> {
    let socket = socket(SocketFlags::CLOEXEC)?;
    // Linux makes the file with the mode of the socket, less the umask.
    rustix::fs::fchmod(&socket, mode)?;
    rustix::net::bind(&socket, address)?;
    rustix::fs::chmod(path, mode)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Removes a socket that refuses connections.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed = |source| Error::Listen { address: Address::Unix(path.to_owned()), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NotSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    // Not blocking, so that a process with a full queue counts as alive.
    let probe = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).map_err(failed)?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {
            tracing::info!(path = %path.display(), "replacing a socket that nobody listens on");
            std::fs::remove_file(path).map_err(failed)
        }
        Ok(()) | Err(Errno::AGAIN) => Err(Error::InUse(path.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

fn socket(flags: SocketFlags) -> io::Result<rustix::fd::OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
