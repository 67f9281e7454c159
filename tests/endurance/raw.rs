//! Connections whose every byte is the test's.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Server;
use crate::support::http::PREFIX;
use crate::support::server::PATIENCE;

/// A connection to the daemon. Dropping it hangs up.
pub(crate) struct Raw(pub(crate) UnixStream);

impl Raw {
    /// A connection on which nothing has been sent.
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// A request without a body, of a libpod route.
    pub(crate) fn ask(server: &Server, method: &str, route: &str) -> Self {
        let head = format!("{method} {PREFIX}{route} HTTP/1.1\r\nHost: d\r\n\r\n");
        Self::connect(server).sent(head.as_bytes())
    }

    /// The head of a request whose body has `length` bytes, of a libpod route.
    pub(crate) fn announce(server: &Server, route: &str, length: usize) -> Self {
        let head =
            format!("POST {PREFIX}{route} HTTP/1.1\r\nHost: d\r\nContent-Length: {length}\r\n\r\n");
        Self::connect(server).sent(head.as_bytes())
    }

    /// With `bytes` sent.
    pub(crate) fn sent(mut self, bytes: &[u8]) -> Self {
        self.0.write_all(bytes).unwrap();
        self
    }

    /// Sends of `bytes` what the daemon takes within `time`; how many that were.
    pub(crate) fn push(&mut self, bytes: &[u8], time: Duration) -> usize {
        self.0.set_write_timeout(Some(time)).unwrap();
        let mut sent = 0;
        while let Ok(count) = self.0.write(&bytes[sent..])
            && count > 0
        {
            sent += count;
        }
        self.0.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// Everything up to the end of the connection, be it clean or not.
    pub(crate) fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            // What was sent and not read is lost, and the kernel says so.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end: {error}"),
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads up to and with `end`.
    #[track_caller]
    pub(crate) fn read_until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while !bytes.ends_with(end.as_bytes()) {
            let count = self.0.read(&mut buffer).expect("the answer does not come");
            assert!(count > 0, "closed after {}", bytes.escape_ascii());
            bytes.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(bytes).unwrap()
    }
}

/// Lists the images again and again; the longest time that took.
#[track_caller]
pub(crate) fn longest_list(server: &Server) -> Duration {
    let client = server.client();
    let time = || {
        let start = Instant::now();
        client.get("/images/json").expect(200);
        start.elapsed()
    };
    (0..50).map(|_| time()).max().unwrap()
}

/// Waits until `holds`.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}
