//! A small HTTP server that answers what a test says, mistakes included.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};

/// A running server. Each connection serves one request and is then closed.
pub(crate) struct Web {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    left: Mutex<mpsc::Receiver<()>>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

/// What is sent back.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    hold: bool,
}

impl Asked {
    /// The value of a header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Reply {
    /// These bytes and nothing else.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), hold: false }
    }

    /// A complete answer. `headers` end in line ends.
    pub(crate) fn new(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        Self::raw([head.as_bytes(), body].concat())
    }

    /// A complete answer with status 200.
    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::new("200 OK", "", body)
    }

    /// A redirect.
    pub(crate) fn to(location: &str) -> Self {
        Self::new("302 Found", &format!("Location: {location}\r\n"), "")
    }

    /// The same, but afterwards the connection stays open until the client closes it.
    pub(crate) fn and_hold(self) -> Self {
        Self { hold: true, ..self }
    }
}

impl Web {
    /// Serves on a port of the loopback interface until the test ends.
    pub(crate) fn serve(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (leave, left) = mpsc::channel();
        let answer = Arc::new(answer);
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log, leave) = (Arc::clone(&answer), Arc::clone(&log), leave.clone());
                std::thread::spawn(move || {
                    let Some(asked) = read(&stream) else { return refuse(stream) };
                    log.lock().unwrap().push(asked.clone());
                    let reply = answer(&asked);
                    // The client may have what it wanted and be gone.
                    let _ = (&stream).write_all(&reply.bytes);
                    if reply.hold {
                        let _ = (&stream).read(&mut [0]);
                        let _ = leave.send(());
                    }
                });
            }
        });
        Self { address, seen, left: Mutex::new(left) }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// A URL here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until a client has closed a connection that was held.
    pub(crate) fn wait_until_left(&self) {
        self.left.lock().unwrap().recv_timeout(super::server::PATIENCE).unwrap();
    }
}

/// Answers what is no request, such as the beginning of TLS, and waits for the client to leave.
fn refuse(mut stream: TcpStream) {
    let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    let _ = stream.shutdown(Shutdown::Write);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    // TLS begins with this byte, and has no lines.
    let mut first = [0];
    if stream.peek(&mut first).ok()? == 0 || first == [0x16] {
        return None;
    }
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    while let Some((name, value)) = line()?.split_once(": ") {
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let mut asked = Asked { method, target, headers, body: String::new() };
    if let Some(length) = asked.header("content-length").and_then(|length| length.parse().ok()) {
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        asked.body = String::from_utf8(body).ok()?;
    } else if asked.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            lines.read_line(&mut size).ok()?;
            let mut chunk = vec![0; usize::from_str_radix(size.trim_end(), 16).ok()? + 2];
            lines.read_exact(&mut chunk).ok()?;
            let end = chunk.len() - 2;
            if end == 0 {
                break;
            }
            asked.body += std::str::from_utf8(&chunk[..end]).ok()?;
        }
    }
    Some(asked)
}
