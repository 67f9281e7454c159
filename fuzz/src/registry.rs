//! Registries that answer anything.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use crate::service::Service;

/// How a client begins that tries TLS first. There is none here.
const TLS: u8 = 0x16;

/// What is still to be answered, the last first.
type Answers = Arc<Mutex<Vec<Vec<u8>>>>;

/// A registry, and who pulls from it.
struct Scene {
    service: Service,
    answers: Answers,
    port: u16,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answers = Answers::default();
    let given = Arc::clone(&answers);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One connection at a time is enough, and an order that does not change.
            answer(stream, &given);
        }
    });
    Scene { service: Service::new(), answers, port }
});

/// Reads one request and sends the next answer as it is, head and all; then the connection ends. A
/// registry that has nothing more to say answers 404.
fn answer(mut stream: TcpStream, answers: &Answers) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&chunk[..length]),
        }
        if request.first() == Some(&TLS) {
            return;
        }
    }
    let next = answers.lock().expect("nobody panics").pop();
    let next =
        next.unwrap_or_else(|| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into());
    let _ = stream.write_all(&next);
}

/// A pull ends, whatever a registry, its tokens, manifests, indexes, configs and blobs are.
pub fn registry(input: &[u8]) {
    let Scene { service, answers, port } = &*SCENE;
    let named = |part: &[u8]| with_port(part, &port.to_string());
    let mut parts: Vec<Vec<u8>> = input.split(|byte| *byte == 0).take(12).map(named).collect();
    parts.reverse();
    *answers.lock().expect("nobody panics") = parts;
    let target = format!(
        "/v5.0.0/libpod/images/pull?reference=127.0.0.1:{port}/a:1&tlsVerify=false&quiet=true&retry=0"
    );
    service.ask("POST", target.as_bytes());
}

/// An answer that can name this registry: `{PORT}` in it stands for the port.
fn with_port(answer: &[u8], port: &str) -> Vec<u8> {
    const HERE: &[u8] = b"{PORT}";
    let mut rest = answer;
    let mut named = Vec::new();
    while let Some(at) = rest.windows(HERE.len()).position(|window| window == HERE) {
        named.extend_from_slice(&rest[..at]);
        named.extend_from_slice(port.as_bytes());
        rest = &rest[at + HERE.len()..];
    }
    named.extend_from_slice(rest);
    named
}
