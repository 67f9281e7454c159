//! Clients that hold up what they have asked for, and clients that ask in odd ways.

use std::fs;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::raw::{Raw, longest_list, wait_until};
use crate::support::check::assert_sound;
use crate::support::http::PREFIX;
use crate::support::soak::figure;
use crate::support::{DockerArchive, Layer, Server, Store};

/// Neither the time of those who stall, nor that of many in a queue.
const SOON: Duration = Duration::from_secs(20);
/// Memory of a load that has begun and waits: its tars, a tar-split being packed, and five threads.
const LOAD_KIB: u64 = 1536;
/// Descriptors of such a load: its directories, with the locks on them, and files.
const LOAD_DESCRIPTORS: usize = 16;
const IMAGE: &str = "localhost/there:1";

/// A store with an image whose export is more than what all buffers on the way take.
fn filled(arguments: &[&str]) -> (Store, Server) {
    let store = Store::new();
    let server = Server::start_with(&store, arguments);
    server.client().load_bytes(archive(IMAGE, 1)).expect(200);
    (store, server)
}

fn archive(name: &str, seed: u64) -> Vec<u8> {
    DockerArchive::new(&[name], &[Layer::random(seed, "data", 400, 16 << 10)]).build()
}

fn is_staging(store: &Store) -> bool {
    let area = fs::read_dir(store.root().join("overlay/tempdirs"));
    area.is_ok_and(|mut area| area.next().is_some())
}

/// How many layers are being unpacked.
fn staged(store: &Store) -> usize {
    let area = fs::read_dir(store.root().join("overlay/tempdirs"));
    let names = area.into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.as_encoded_bytes().starts_with(b"temp-dir-")).count()
}

/// 100 loads whose bodies stop in the middle, and 100 exports that nobody reads.
#[test]
fn nobody_else_waits_for_two_hundred_slow_clients() {
    const EACH: usize = 100;
    let (store, server) = filled(&[]);
    let process = Process(server.pid());
    let quiet = longest_list(&server);
    let (memory, descriptors) = (process.resident(), process.descriptors());
    let archive = archive("localhost/slow:1", 2);
    let half = &archive[..archive.len() / 2];
    let mut slow: Vec<Raw> = (0..EACH)
        .map(|_| Raw::ask(&server, "GET", &format!("/images/{IMAGE}/get?format=docker-archive")))
        .collect();
    for _ in 0..EACH {
        let mut load = Raw::announce(&server, "/images/load", archive.len());
        load.push(half, Duration::from_millis(20));
        slow.push(load);
    }
    let busy = longest_list(&server);
    let client = server.client();
    client.post(&format!("/images/{IMAGE}/tag?repo=other&tag=1")).expect(201);
    client.get(&format!("/images/{IMAGE}/json")).expect(200);
    client.delete("/images/other:1").expect(200);
    let (more_memory, more_descriptors) =
        (process.resident().saturating_sub(memory), process.descriptors() - descriptors);
    let threads = process.threads();
    drop(slow);
    wait_until("something is left of them", || {
        !is_staging(&store) && process.descriptors() <= descriptors
    });
    for (measured, value) in [
        ("longest list, quiet", format!("{} ms", quiet.as_millis())),
        ("longest list beside 200 slow loads and exports", format!("{} ms", busy.as_millis())),
        ("memory for 200 slow loads and exports", format!("{} MiB", more_memory >> 10)),
        ("threads beside 200 slow loads and exports", threads.to_string()),
    ] {
        figure("slow clients", measured, &value);
    }
    // Each has the buffers of its connection in one direction, 128 KiB. Those few exports that have
    // permits have eight chunks of as much besides, the loads what it takes to unpack a layer.
    let most = (2 * EACH as u64 * 128) + (16 << 10) + EACH as u64 * LOAD_KIB;
    assert!(more_memory <= most, "{more_memory} KiB more memory");
    // And each has its socket; exports with permits have up to 160 files open ahead of what they send,
    // loads what they write to.
    let permits = thread::available_parallelism().unwrap().get().max(4);
    let most = 2 * EACH + permits * 200 + EACH * LOAD_DESCRIPTORS;
    assert!(more_descriptors <= most, "{more_descriptors} descriptors more");
    assert_sound(&store);
}

/// A request whose body stops in the middle.
fn stalled(server: &Server, route: &str, body: &[u8]) -> Raw {
    let mut raw = Raw::announce(server, route, body.len());
    raw.push(&body[..body.len() / 2], Duration::from_millis(20));
    raw
}

/// Loads that have begun and will not end before others do.
#[test]
fn two_hundred_stalled_loads_keep_no_load_out() {
    const STALLED: usize = 200;
    let (store, server) = filled(&[]);
    let process = Process(server.pid());
    longest_list(&server);
    let (memory, descriptors) = (process.resident(), process.descriptors());
    let archive = archive("localhost/stalled:1", 2);
    let stalled: Vec<Raw> =
        (0..STALLED).map(|_| stalled(&server, "/images/load", &archive)).collect();
    let load = |name: &str, seed| {
        let archive = self::archive(name, seed);
        let start = Instant::now();
        server.client().load_bytes(archive).expect(200);
        start.elapsed()
    };
    let at_once = load("localhost/good:1", 3);
    wait_until("not all of them begin", || staged(&store) == STALLED);
    let later = load("localhost/good:2", 4);
    let more_memory = process.resident().saturating_sub(memory);
    let more_descriptors = process.descriptors() - descriptors;
    for (measured, value) in [
        ("load right after 200 stalled loads", format!("{} ms", at_once.as_millis())),
        ("load beside 200 stalled loads", format!("{} ms", later.as_millis())),
        ("memory for 200 stalled loads", format!("{} MiB", more_memory >> 10)),
        ("descriptors for 200 stalled loads", more_descriptors.to_string()),
        ("threads beside 200 stalled loads", process.threads().to_string()),
    ] {
        figure("slow clients", measured, &value);
    }
    assert!(at_once.max(later) < SOON, "{at_once:?}, {later:?}");
    let most = STALLED as u64 * (128 + LOAD_KIB) + (16 << 10);
    assert!(more_memory <= most, "{more_memory} KiB more memory");
    assert!(more_descriptors <= STALLED * (1 + LOAD_DESCRIPTORS), "{more_descriptors} descriptors");
    drop(stalled);
    wait_until("something is left of them", || {
        !is_staging(&store) && process.descriptors() <= descriptors
    });
    assert_sound(&store);
}

/// Clients that stall are told so; archives that are damaged are something else.
#[test]
fn clients_that_stall_are_told_and_make_room_for_others() {
    let (store, server) = filled(&["--stall-timeout", "2"]);
    let uploads: Vec<(&str, Raw)> = (0..12)
        .flat_map(|number| {
            let archive = archive(&format!("localhost/stalled:{number}"), 3);
            let packed = zstd::encode_all(&archive[..], 1).unwrap();
            [
                ("load image", stalled(&server, "/images/load", &archive)),
                ("load image", stalled(&server, "/images/load", &packed)),
                ("import tarball", stalled(&server, "/images/import", &archive)),
            ]
        })
        .collect();
    let exports: Vec<Raw> = (0..12)
        .map(|_| Raw::ask(&server, "GET", &format!("/images/{IMAGE}/get?format=docker-archive")))
        .collect();
    server.client().load_bytes(archive("localhost/good:1", 4)).expect(200);
    for (what, upload) in uploads {
        let answer = upload.rest();
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        let text = "the client has sent nothing more of the request for 2 s";
        let message = format!("unable to {what}: {text}");
        let body = format!(r#"{{"cause":"{text}","message":"{message}","response":408}}"#);
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.trim_end(), body);
    }
    let mut damaged = archive("localhost/damaged:1", 3);
    damaged.truncate(damaged.len() / 2);
    server.client().load_bytes(damaged).expect(500);
    let mut broken_off = 0;
    for export in exports {
        let answer = export.rest();
        // Some of it was there before it was broken off, or it never came to that.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 "), "{answer}");
        broken_off += usize::from(!answer.ends_with("\r\n0\r\n\r\n"));
    }
    // The last of them may have begun only when their clients were reading.
    assert!(broken_off > 0, "all of all exports was sent");
    wait_until("something is left of them", || !is_staging(&store));
    assert_sound(&store);
}

/// Events that nobody makes, and a client that waits for them: nobody stalls.
#[test]
fn a_follower_may_wait_longer_than_clients_may_stall() {
    let (_store, server) = filled(&["--stall-timeout", "1"]);
    let mut follower = Raw::ask(&server, "GET", "/events?stream=true");
    follower.read_until("\r\n\r\n");
    thread::sleep(Duration::from_secs(3));
    server.client().post(&format!("/images/{IMAGE}/tag?repo=other&tag=1")).expect(201);
    let event = follower.read_until("\n\r\n");
    assert!(event.contains(r#""Action":"tag""#), "{event}");
}

#[test]
fn two_thousand_idle_connections_keep_nobody_out() {
    const IDLE: usize = 2000;
    const LIMIT: usize = 512;
    let (_store, server) = filled(&[]);
    let process = Process(server.pid());
    longest_list(&server);
    let (before, descriptors) = (process.own(), process.descriptors());
    let more_memory = || process.own().saturating_sub(before);
    let (mut idle, mut at_limit) = (Vec::new(), 0);
    for number in 0..IDLE {
        // Some have had an answer.
        let mut connection = Raw::connect(&server);
        if number % 4 == 0 {
            connection = connection.sent(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n");
            connection.read_until("OK");
        }
        idle.push(connection);
        if idle.len() == LIMIT {
            at_limit = more_memory();
        }
    }
    let list = longest_list(&server);
    let in_the_end = more_memory();
    let more_descriptors = process.descriptors().saturating_sub(descriptors);
    figure("slow clients", "longest list with 2000 idle connections", &format!("{list:.0?}"));
    figure("slow clients", "memory for 512 idle connections", &format!("{at_limit} KiB"));
    figure("slow clients", "the same when 1488 more have come", &format!("{in_the_end} KiB"));
    // One more is held while it waits for a place.
    assert!(more_descriptors <= LIMIT + 1, "{more_descriptors} descriptors more");
    // A task, the state of HTTP and a read buffer of 8 KiB: 13 KiB each.
    assert!(at_limit <= 13 * LIMIT as u64, "{at_limit} KiB more memory");
    // Those that are closed leave gaps between the others.
    assert!(in_the_end <= at_limit * 2, "{in_the_end} KiB after {at_limit} KiB");
    drop(idle);
    wait_until("connections are left", || process.descriptors() <= descriptors);
}

#[test]
fn heads_without_an_end_are_bounded() {
    const HEADS: usize = 400;
    let (_store, server) = filled(&[]);
    let process = Process(server.pid());
    longest_list(&server);
    let memory = process.resident();
    let endless = format!("GET /_ping HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    let mut heads = Vec::new();
    for _ in 0..HEADS {
        let mut head = Raw::connect(&server);
        head.push(&endless.as_bytes()[..100 << 10], Duration::from_secs(60));
        heads.push(head);
    }
    longest_list(&server);
    let more_memory = process.resident().saturating_sub(memory);
    figure(
        "slow clients",
        "memory for 400 heads of 100 KiB",
        &format!("{} MiB", more_memory >> 10),
    );
    // A buffer grows by doubling, up to 128 KiB.
    assert!(more_memory <= HEADS as u64 * 128 + (8 << 10), "{more_memory} KiB more memory");
    drop(heads);
    // One that goes on is refused.
    let mut head = Raw::connect(&server);
    head.push(endless.as_bytes(), Duration::from_secs(1));
    let answer = head.rest();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn broken_requests_are_refused_and_leave_nothing() {
    let (store, server) = filled(&[]);
    let load = format!("POST {PREFIX}/images/load HTTP/1.1\r\nHost: d\r\n");
    let chunked = format!("{load}Transfer-Encoding: chunked\r\n\r\n");
    let many = "X: y\r\n".repeat(5000);
    for request in [
        format!("{chunked}zz\r\nabc\r\n"),
        format!("{chunked}-1\r\nabc\r\n"),
        format!("{chunked}fffffffffffffffff\r\nabc\r\n"),
        format!("{chunked}3\r\nabcdef\r\n"),
        format!("{chunked}3;{}\r\nabc\r\n", "x".repeat(64 << 10)),
        format!("{chunked}3\r\nabc\r\n0\r\n{many}\r\n"),
        format!("{load}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        format!("{load}Content-Length: -5\r\n\r\nhello"),
        format!("{load}Content-Length: 99999999999999999999999\r\n\r\nhello"),
        format!("{load}Transfer-Encoding: gzip\r\n\r\nhello"),
        format!("{load}{many}\r\n"),
        format!("{load}no colon\r\n\r\n"),
        "\0\0\0\0 / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
    ] {
        let mut raw = Raw::connect(&server);
        raw.push(request.as_bytes(), Duration::from_secs(60));
        let answer = raw.rest();
        let short = &request[..request.len().min(200)];
        let status = answer.get(9..10).unwrap_or("");
        assert!(matches!(status, "" | "4" | "5"), "{short:?}: {answer}");
        assert!(!answer.contains("Loaded"), "{short:?}: {answer}");
    }
    longest_list(&server);
    assert!(!is_staging(&store));
    assert_sound(&store);
}

/// A client that has sent all it wants to say still gets its answer.
#[test]
fn a_half_closed_connection_is_answered() {
    let (store, server) = filled(&[]);
    let archive = archive("localhost/half:1", 5);
    let load = Raw::announce(&server, "/images/load", archive.len()).sent(&archive);
    load.0.shutdown(Shutdown::Write).unwrap();
    let answer = load.rest();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let export = Raw::ask(&server, "GET", &format!("/images/{IMAGE}/get?format=docker-archive"));
    export.0.shutdown(Shutdown::Write).unwrap();
    let answer = export.rest();
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "not all of it was sent");
    // But half a body is none.
    let load = Raw::announce(&server, "/images/load", archive.len()).sent(&archive[..100_000]);
    load.0.shutdown(Shutdown::Write).unwrap();
    let answer = load.rest();
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_sound(&store);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let (_store, server) = filled(&[]);
    let routes = ["/images/json", "/images/nobody/json", "/info", "/images/nobody/exists"];
    let mut requests = String::new();
    for number in 0..400 {
        let (route, close) =
            (routes[number % 4], if number == 399 { "close" } else { "keep-alive" });
        requests += &format!(
            "GET {PREFIX}{route} HTTP/1.1\r\nHost: d\r\nX-Reference-Id: n{number}\r\n\
             Connection: {close}\r\n\r\n"
        );
    }
    let answer = Raw::connect(&server).sent(requests.as_bytes()).rest();
    let mut found = 0;
    for line in answer.lines() {
        if let Some(id) = line.strip_prefix("x-reference-id: ") {
            assert_eq!(id, format!("n{found}"));
            found += 1;
        }
    }
    assert_eq!(found, 400, "{answer}");
}
