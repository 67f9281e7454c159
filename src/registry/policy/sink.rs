//! A registry that has everything already: whoever copies an image there sends its manifest and
//! nothing else. It is for one copy by one process, which knows its secret.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::image::{Digest, Login};

/// Longest manifest, bytes: as much as containers/image reads.
const MANIFEST: usize = 4 << 20;
/// What the image is called there.
const NAME: &str = "accepted";
/// Who may write there.
const USER: &str = "imaged";

/// The registry, listening on the loopback interface.
pub(super) struct Sink {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    login: Login,
    /// The value of `Authorization` that goes with it.
    expected: String,
    taken: Mutex<Option<Digest>>,
}

impl Sink {
    /// Begins to listen.
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut secret = [0; 32];
        let mut filled = 0;
        while filled < secret.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut secret[filled..], flags)?;
        }
        let mut password = String::new();
        for byte in secret {
            // Writing to a string does not fail.
            let _ = write!(password, "{byte:02x}");
        }
        let login = Login { username: USER.to_owned(), password, ..Login::default() };
        let expected = format!("Basic {}", super::logins::basic(&login));
        let shared = Shared { login, expected, taken: Mutex::new(None) };
        Ok(Self { address: listener.local_addr()?, listener, shared: Arc::new(shared) })
    }

    /// `127.0.0.1:PORT`.
    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Where to copy to.
    pub(super) fn image(&self) -> String {
        format!("docker://{}/{NAME}:{NAME}", self.address)
    }

    /// Who may.
    pub(super) fn login(&self) -> &Login {
        &self.shared.login
    }

    /// The digest of the manifest that was sent last.
    pub(super) fn taken(&self) -> Option<Digest> {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves as long as it is waited for.
    pub(super) async fn serve(&self) -> Infallible {
        let mut connections = JoinSet::new();
        loop {
            // Without descriptors there is nothing to wait for but the client's patience.
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            let shared = Arc::clone(&self.shared);
            connections.spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // An attempt with TLS ends in an error, and is followed by one without.
                let _ = connection.await;
            });
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    let shown = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    if !shown.is_some_and(|shown| equal(shown, shared.expected.as_bytes())) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let challenge = hyper::header::HeaderValue::from_static("Basic realm=\"imaged\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        return Ok(response);
    }
    let manifests = format!("/v2/{NAME}/manifests/{NAME}");
    let blobs = format!("/v2/{NAME}/blobs/");
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    *response.status_mut() = match method {
        Method::GET if path == "/v2/" => StatusCode::OK,
        Method::HEAD if path.starts_with(&blobs) => StatusCode::OK,
        Method::PUT if path == manifests => {
            match Limited::new(request.into_body(), MANIFEST).collect().await {
                Ok(body) => {
                    let digest = Digest::of(&body.to_bytes());
                    *shared.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
                    StatusCode::CREATED
                }
                Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
            }
        }
        _ => StatusCode::NOT_FOUND,
    };
    Ok(response)
}

/// Equality that takes the same time wherever the difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// The status of the answer to `request`, whose lines end in `\n`; `None` without an answer.
    async fn status(sink: &Sink, request: &str) -> Option<u16> {
        let exchange = async {
            let mut stream = TcpStream::connect(sink.address).await.unwrap();
            let request = request.replace('\n', "\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // An end by force is an end.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap().get(9..12)?.parse().ok()
        };
        tokio::select! {
            never = sink.serve() => match never {},
            status = exchange => status,
        }
    }

    #[tokio::test]
    async fn only_who_knows_the_secret_says_what_is_accepted() {
        let sink = Sink::open().await.unwrap();
        let host = sink.host();
        let head = format!("HTTP/1.1\nHost: {host}\nConnection: close\n");
        let put = format!("PUT /v2/accepted/manifests/accepted {head}Content-Length: 2\n");
        let known = format!("Authorization: Basic {}\n", super::super::logins::basic(sink.login()));
        let forged = "Authorization: Basic aW1hZ2VkOng=\n";
        for (request, expected) in [
            (format!("GET /v2/ {head}\n"), Some(401)),
            (format!("{put}\n{{}}"), Some(401)),
            (format!("{put}{forged}\n{{}}"), Some(401)),
            (format!("HEAD /v2/accepted/blobs/sha256:0 {head}\n"), Some(401)),
            ("\u{16}\u{3}\u{1}\u{2}\u{0}\n".to_owned(), Some(400)),
        ] {
            assert_eq!(status(&sink, &request).await, expected, "{request}");
        }
        assert_eq!(sink.taken(), None);
        for (request, expected) in [
            (format!("GET /v2/ {head}{known}\n"), Some(200)),
            (format!("HEAD /v2/accepted/blobs/sha256:0 {head}{known}\n"), Some(200)),
            (format!("GET /v2/accepted/blobs/sha256:0 {head}{known}\n"), Some(404)),
            (
                format!("PUT /v2/other/manifests/accepted {head}{known}Content-Length: 2\n\n{{}}"),
                Some(404),
            ),
        ] {
            assert_eq!(status(&sink, &request).await, expected, "{request}");
        }
        let long = MANIFEST + 1;
        let request =
            format!("PUT /v2/accepted/manifests/accepted {head}{known}Content-Length: {long}\n\n");
        let body = " ".repeat(long);
        assert_eq!(status(&sink, &(request + &body)).await, Some(413));
        assert_eq!(sink.taken(), None);
        assert_eq!(status(&sink, &format!("{put}{known}\n{{}}")).await, Some(201));
        assert_eq!(sink.taken(), Some(Digest::of(b"{}")));
        assert_ne!(Sink::open().await.unwrap().login(), sink.login());
    }
}
