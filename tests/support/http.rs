//! A small client for the daemon's Unix socket, for tests that look at the wire.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::HOST;
use hyper::http::request::Builder;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// Version prefix of the requests tests make themselves.
pub(crate) const PREFIX: &str = "/v5.0.0/libpod";

/// A client of one socket. Every request opens its own connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status code.
    pub(crate) status: u16,
    /// Header fields.
    pub(crate) headers: HeaderMap,
    /// The whole body.
    pub(crate) body: Bytes,
}

impl Response {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// This answer, whose status must be `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Client {
    /// A client of the socket at `socket`.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// `GET` of a libpod route, `/images/json` for example.
    #[track_caller]
    pub(crate) fn get(&self, route: &str) -> Response {
        self.request(Method::GET, &format!("{PREFIX}{route}"), Empty::new()).unwrap()
    }

    /// `POST` of a libpod route without a body.
    #[track_caller]
    pub(crate) fn post(&self, route: &str) -> Response {
        self.request(Method::POST, &format!("{PREFIX}{route}"), Empty::new()).unwrap()
    }

    /// `GET` of an absolute path with header fields.
    #[track_caller]
    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.send("GET", path, headers, Bytes::new()).unwrap()
    }

    /// `POST` of a document to an absolute path.
    #[track_caller]
    pub(crate) fn post_json(&self, path: &str, document: &Value) -> Response {
        self.send("POST", path, &[], document.to_string().into()).unwrap()
    }

    /// `POST` of an absolute path with a body.
    #[track_caller]
    pub(crate) fn post_bytes(&self, path: &str, body: impl Into<Bytes>) -> Response {
        self.request(Method::POST, path, Full::new(body.into())).unwrap()
    }

    /// `DELETE` of a libpod route.
    #[track_caller]
    pub(crate) fn delete(&self, route: &str) -> Response {
        self.request(Method::DELETE, &format!("{PREFIX}{route}"), Empty::new()).unwrap()
    }

    /// `DELETE` of a libpod route; an error when the connection breaks.
    pub(crate) fn try_delete(&self, route: &str) -> io::Result<Response> {
        self.request(Method::DELETE, &format!("{PREFIX}{route}"), Empty::new())
    }

    /// `POST` to a libpod route without a body; an error when the connection breaks.
    pub(crate) fn try_post(&self, route: &str) -> io::Result<Response> {
        self.request(Method::POST, &format!("{PREFIX}{route}"), Empty::new())
    }

    /// `GET` of an absolute path; an error when nobody answers.
    pub(crate) fn try_get(&self, path: &str) -> io::Result<Response> {
        self.request(Method::GET, path, Empty::new())
    }

    /// Loads the archive in `file`; an error when the connection breaks.
    pub(crate) fn try_load(&self, file: &Path) -> io::Result<Response> {
        let path = format!("{PREFIX}/images/load");
        self.request(Method::POST, &path, StreamBody::new(chunks(File::open(file)?)))
    }

    /// Loads the archive in `file`; the names the server answers.
    #[track_caller]
    pub(crate) fn load(&self, file: &Path) -> Vec<String> {
        let answer = self.try_load(file).unwrap().expect(200);
        super::store::strings(&answer.json()["Names"])
    }

    /// Loads an archive from memory, whatever the answer.
    #[track_caller]
    pub(crate) fn load_bytes(&self, archive: impl Into<Bytes>) -> Response {
        self.try_load_bytes(archive).unwrap()
    }

    /// Loads an archive from memory; an error when the connection breaks.
    pub(crate) fn try_load_bytes(&self, archive: impl Into<Bytes>) -> io::Result<Response> {
        let path = format!("{PREFIX}/images/load");
        self.request(Method::POST, &path, Full::new(archive.into()))
    }

    /// Imports a tar from memory, whatever the answer. `query` begins with `?` or is empty.
    #[track_caller]
    pub(crate) fn import(&self, query: &str, tar: impl Into<Bytes>) -> Response {
        self.try_import(query, tar).unwrap()
    }

    /// Imports a tar from memory; an error when the connection breaks.
    pub(crate) fn try_import(&self, query: &str, tar: impl Into<Bytes>) -> io::Result<Response> {
        let path = format!("{PREFIX}/images/import{query}");
        self.request(Method::POST, &path, Full::new(tar.into()))
    }

    /// Any request to an absolute path; an error when the connection breaks.
    ///
    /// # Errors
    /// Also when `method` or `path` are none that HTTP knows.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> io::Result<Response> {
        let method = Method::from_bytes(method.as_bytes()).map_err(io::Error::other)?;
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut collected = Vec::new();
        let (status, headers) = self.perform(request, Full::new(body), |chunk| {
            collected.extend_from_slice(&chunk);
            Ok(())
        })?;
        Ok(Response { status, headers, body: collected.into() })
    }

    /// Writes the body of a `GET` to `file`.
    ///
    /// # Errors
    /// When the connection breaks before the body's end.
    pub(crate) fn download(&self, route: &str, file: &Path) -> io::Result<u16> {
        let mut file = File::create(file)?;
        let path = format!("{PREFIX}{route}");
        self.exchange(Method::GET, &path, Empty::new(), |chunk| file.write_all(&chunk))
            .map(|(status, _)| status)
    }

    /// Sends the first `bytes` of an archive to the load route, waits for `pause` and hangs up.
    pub(crate) fn abandon_load(&self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        let mut load = self.start_load()?;
        load.send(bytes)?;
        std::thread::sleep(pause);
        Ok(())
    }

    /// Asks for an export, reads its beginning and hangs up.
    pub(crate) fn abandon_download(&self, route: &str) -> io::Result<()> {
        let mut stream = UnixStream::connect(&self.socket)?;
        write!(stream, "GET {PREFIX}{route} HTTP/1.1\r\nHost: d\r\n\r\n")?;
        let mut beginning = [0; 64];
        stream.read_exact(&mut beginning)?;
        assert!(beginning.starts_with(b"HTTP/1.1 200"), "{}", beginning.escape_ascii());
        Ok(())
    }

    /// Opens a load request whose body the caller sends at its own pace.
    pub(crate) fn start_load(&self) -> io::Result<SlowLoad> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let head = format!(
            "POST {PREFIX}/images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        Ok(SlowLoad { stream })
    }

    fn request<B>(&self, method: Method, path: &str, body: B) -> io::Result<Response>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut collected = Vec::new();
        let (status, headers) = self.exchange(method, path, body, |chunk| {
            collected.extend_from_slice(&chunk);
            Ok(())
        })?;
        Ok(Response { status, headers, body: collected.into() })
    }

    fn exchange<B>(
        &self,
        method: Method,
        path: &str,
        body: B,
        sink: impl FnMut(Bytes) -> io::Result<()>,
    ) -> io::Result<(u16, HeaderMap)>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.perform(Request::builder().method(method).uri(path), body, sink)
    }

    fn perform<B>(
        &self,
        request: Builder,
        body: B,
        mut sink: impl FnMut(Bytes) -> io::Result<()>,
    ) -> io::Result<(u16, HeaderMap)>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stream = tokio::net::UnixStream::connect(&self.socket).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
            tokio::spawn(connection);
            let request =
                request.header(HOST, "d").body(Box::pin(body)).map_err(io::Error::other)?;
            let mut response = sender.send_request(request).await.map_err(io::Error::other)?;
            while let Some(frame) = response.frame().await {
                if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                    sink(data)?;
                }
            }
            Ok((response.status().as_u16(), response.headers().clone()))
        })
    }
}

/// A load whose body is sent bit by bit. Dropping it hangs up.
pub(crate) struct SlowLoad {
    stream: UnixStream,
}

impl SlowLoad {
    /// Sends `bytes` as one chunk.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        write!(self.stream, "{:x}\r\n", bytes.len())?;
        self.stream.write_all(bytes)?;
        self.stream.write_all(b"\r\n")
    }

    /// Ends the body and returns the raw answer up to the end of the connection.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        self.stream.write_all(b"0\r\n\r\n")?;
        self.stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        // Both kinds of servers may keep the connection open; the JSON document ends in "}\n".
        while !answer.ends_with(b"}\n") && !answer.ends_with(b"0\r\n\r\n") {
            match self.stream.read(&mut buffer)? {
                0 => break,
                count => answer.extend(buffer.iter().take(count)),
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// The file in chunks, so that nothing of its size is held.
fn chunks(file: File) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, io::Error>> {
    stream::unfold(file, |mut file| async move {
        let mut buffer = vec![0; 256 * 1024];
        match file.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                buffer.truncate(count);
                Some((Ok(Frame::data(Bytes::from(buffer))), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    })
}

/// Percent-encodes a name for a route or a query.
pub(crate) fn escape(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
