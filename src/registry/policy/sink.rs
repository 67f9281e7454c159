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
