//! The process around the service: sockets, signals, activation, the end when idle.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::check::assert_sound;
use crate::support::server::{PATIENCE, imaged, imaged_on};
use crate::support::tool::{run, run_failing};
use crate::support::{Client, DockerArchive, Layer, Server, Store, tree};

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let store = Store::new();
    let server = Server::start(&store);
    let socket = server.socket().to_owned();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    let error = run_failing(&mut imaged(&store, &socket));
    assert!(error.contains(&socket.display().to_string()), "{error}");
    assert_eq!(server.client().try_get("/_ping").unwrap().status, 200);

    server.kill();
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket(), "it is left behind");
    let server = Server::start_with(&store, &["--socket-mode", "0660"]);
    assert_eq!(mode(&socket), 0o660);
    assert!(server.stop().success());
    assert!(!socket.exists(), "a daemon that ends takes its socket along");

    fs::write(&socket, "not a socket").unwrap();
    run_failing(&mut imaged(&store, &socket));
    assert_eq!(fs::read(&socket).unwrap(), b"not a socket");
}

#[test]
fn signals_let_running_requests_finish() {
    let store = Store::new();
    for (index, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let name = format!("localhost/drained:{index}");
        let archive = archive(&name);
        let mut server = Server::start(&store);
        let mut load = server.client().start_load().unwrap();
        let (first, rest) = archive.split_at(archive.len() / 2);
        load.send(first).unwrap();
        wait_until_staging(&store);
        server.signal(signal);
        let start = Instant::now();
        while UnixStream::connect(server.socket()).is_ok() {
            assert!(start.elapsed() < PATIENCE, "it still accepts");
            thread::sleep(Duration::from_millis(10));
        }
        load.send(rest).unwrap();
        let answer = load.finish().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(server.wait().success());
        assert_eq!(store.inspect(&name)["RepoTags"][0], name.as_str());
    }
    assert_sound(&store);
}

#[test]
fn a_client_that_never_ends_does_not_hold_the_daemon() {
    let store = Store::new();
    let mut server = Server::start(&store);
    server.client().load_bytes(archive("localhost/before:1")).expect(200);
    let before = tree::outline(&store.root());
    let archive = archive("localhost/never:1");
    let mut load = server.client().start_load().unwrap();
    load.send(&archive[..archive.len() / 2]).unwrap();
    wait_until_staging(&store);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    tree::assert_same(&tree::outline(&store.root()), &before);
    assert_sound(&store);
}

#[test]
fn an_idle_daemon_ends_but_not_under_a_request() {
    const IDLE: Duration = Duration::from_secs(2);
    let store = Store::new();
    let archive = archive("localhost/slow:1");
    let (first, rest) = archive.split_at(archive.len() / 2);
    let mut server = Server::start_with(&store, &["--idle-timeout", "2"]);
    let mut load = server.client().start_load().unwrap();
    load.send(first).unwrap();
    thread::sleep(IDLE + IDLE / 4);
    let busy = Instant::now();
    load.send(rest).unwrap();
    assert!(load.finish().unwrap().starts_with("HTTP/1.1 200"));
    assert!(server.wait().success());
    assert!(busy.elapsed() >= IDLE, "{:?}", busy.elapsed());
    assert_sound(&store);
}

/// As systemd starts it: two listening sockets from descriptor 3 on, and a place to report to.
#[test]
fn sockets_may_be_inherited() {
    let store = Store::new();
    let paths = [store.path("first.sock"), store.path("second.sock")];
    let sockets = paths.each_ref().map(|path| UnixListener::bind(path).unwrap());
    let notify = store.path("notify.sock");
    let reports = UnixDatagram::bind(&notify).unwrap();
    reports.set_read_timeout(Some(PATIENCE)).unwrap();

    let daemon = imaged_on(&store);
    let mut command = Command::new("sh");
    // The shell gives the descriptors their numbers, and itself becomes the process they are for.
    command.args(["-c", r#"LISTEN_PID=$$ exec "$0" "$@" 3<&0 4<&1 0</dev/null 1>&2"#]);
    command.arg(daemon.get_program()).args(daemon.get_args()).arg("serve");
    command.env("LISTEN_FDS", "2").env("NOTIFY_SOCKET", &notify);
    let [first, second] = sockets;
    command.stdin(Stdio::from(OwnedFd::from(first))).stdout(Stdio::from(OwnedFd::from(second)));
    command.stderr(fs::File::create(store.path("activated.log")).unwrap());
    let mut child = command.spawn().unwrap();

    // A connection waits in the socket until the daemon is there.
    for path in &paths {
        assert_eq!(Client::new(path).get("/images/json").expect(200).text(), "[]\n");
    }
    let report = || {
        let mut buffer = [0; 256];
        let length = reports.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let ready = report();
    assert!(ready.lines().any(|line| line == "READY=1"), "{ready}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let stopping = report();
    assert!(stopping.lines().any(|line| line == "STOPPING=1"), "{stopping}");
    assert!(child.wait().unwrap().success());
    for path in &paths {
        assert!(path.exists(), "an inherited socket belongs to who made it");
    }
}

#[test]
fn the_loopback_address_is_served_and_others_are_refused() {
    let store = Store::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("tcp://127.0.0.1:{port}");
    let _server = Server::start_with(&store, &["--listen", &address]);
    let mut client = Command::new("podman");
    client.args(["--remote", "--url", &address, "images", "--quiet"]).env("HOME", store.dir());
    assert_eq!(run(&mut client), "");
    let mut open = imaged_on(&store);
    open.args(["serve", "--listen", "tcp://0.0.0.0:1"]);
    let error = run_failing(&mut open);
    assert!(error.contains("unauthenticated"), "{error}");
}

/// A layer being unpacked shows that a request has arrived.
#[track_caller]
fn wait_until_staging(store: &Store) {
    let start = Instant::now();
    while !store.root().join("overlay/tempdirs").exists() {
        assert!(start.elapsed() < PATIENCE, "no layer is staged");
        thread::sleep(Duration::from_millis(5));
    }
}

fn archive(name: &str) -> Vec<u8> {
    let own = Layer::files(&[("name", name.as_bytes())]);
    DockerArchive::new(&[name], &[Layer::random(41, "data", 30, 20_000), own]).build()
}
