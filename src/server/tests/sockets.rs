//! Sockets in the file system, and on TCP.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use axum::body::Body;

use super::*;
use crate::server::Error;

fn bind(path: &Path, mode: u32) -> Result<Listeners, Error> {
    Listeners::bind(&[Address::Unix(path.to_owned())], mode)
}

#[tokio::test]
async fn permissions_are_exact() {
    let dir = TempDir::new().unwrap();
    for mode in [0o600, 0o660, 0o666] {
        let path = dir.path().join(format!("{mode:o}/deep/s"));
        let listeners = bind(&path, mode).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        for made in [path.parent().unwrap(), path.parent().unwrap().parent().unwrap()] {
            assert_eq!(std::fs::metadata(made).unwrap().mode() & 0o7777, 0o700);
        }
        assert_eq!(listeners.addresses(), [Address::Unix(path.clone())]);
        drop(listeners);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn directories_that_exist_are_left_as_they_are() {
    let dir = TempDir::new().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let _listeners = bind(&dir.path().join("s"), 0o600).unwrap();
    assert_eq!(std::fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());

    let _listeners = bind(&path, 0o600).unwrap();
    let Err(error) = bind(&path, 0o600) else { panic!("two services on one socket") };
    assert_eq!(error.to_string(), format!("{} is in use by another process", path.display()));
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
}

#[tokio::test]
async fn other_files_are_not_replaced() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path, 0o600), Err(Error::NotSocket(found)) if found == path));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_successor_keeps_its_socket() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s");
    let old = bind(&path, 0o600).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _new = bind(&path, 0o600).unwrap();
    drop(old);
    assert!(path.exists());
}

#[tokio::test]
async fn a_path_that_does_not_fit_is_an_error() {
    let path = std::env::temp_dir().join("x".repeat(120));
    assert!(matches!(bind(&path, 0o600), Err(Error::Listen { .. })));
}

#[tokio::test]
async fn several_sockets_at_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s");
    let any = Address::Tcp("127.0.0.1:0".parse().unwrap());
    let listeners = Listeners::bind(&[any, Address::Unix(path.clone())], 0o600).unwrap();
    let addresses = listeners.addresses();
    let [Address::Tcp(tcp), Address::Unix(_)] = addresses[..] else { panic!("{addresses:?}") };
    let shutdown = Shutdown::new();
    let service = tower::service_fn(async |_| Ok(Response::new(Body::from("hello"))));
    let task = tokio::spawn(serve(listeners, service, Options::default(), shutdown.clone()));

    let mut unix = UnixStream::connect(&path).await.unwrap();
    send(&mut unix, GET).await;
    assert!(read_until(&mut unix, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    let mut tcp = tokio::net::TcpStream::connect(tcp).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut tcp).await.ends_with("hello"));

    shutdown.stop();
    timeout(LONG, task).await.unwrap().unwrap();
    assert!(!path.exists());
}
