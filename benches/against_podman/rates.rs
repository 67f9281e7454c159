//! Small requests, many of them: on eight connections, and while a large image is loaded.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::measure::{Bench, DISK, Kind, in_turn, nanoseconds, warm};
use crate::report::{Required, Row, Unit};
use crate::support::Store;
use crate::support::http::PREFIX;

/// Connections that ask at the same time.
const CONNECTIONS: usize = 8;
/// How long they ask.
const LONG: Duration = Duration::from_secs(2);
/// An image of [`Bench::fill`].
const IMAGE: &str = "localhost/many/image-7:1";

/// Time for each request of three kinds, and the slowest hundredth of them while `archive` is loaded.
pub(crate) fn rates(bench: &Bench, archive: &Path) -> Vec<Row> {
    let disk = Disk::new(&bench.parent, DISK);
    let store = Store::new_in(disk.path());
    bench.fill(&store);
    let kinds = [("inspect", "json"), ("exists", "exists"), ("history", "history")];
    let mut rows = kinds.map(|(name, _)| Row::new(name, Unit::Time, Required::Ratio(20.0)));
    for round in 0..bench.rounds {
        for kind in in_turn(round, [Kind::Imaged, Kind::Podman]) {
            eprintln!("round {round}: small requests, {kind:?}");
            let server = kind.start(&store);
            for (row, (_, route)) in rows.iter_mut().zip(kinds) {
                let route = format!("/images/{IMAGE}/{route}");
                let times = ask(server.socket(), &route, &|elapsed| elapsed < LONG);
                kind.add(row, LONG.as_nanos() as f64 / times.len() as f64);
            }
        }
    }
    let mut rows = rows.to_vec();
    let mut slow =
        Row::new("inspect during a load, 99 of 100 within", Unit::Time, Required::AtMost(5e6));
    for round in 0..bench.rounds {
        for kind in in_turn(round, [Kind::Imaged, Kind::Podman]) {
            eprintln!("round {round}: small requests during a load, {kind:?}");
            let disk = Disk::new(&bench.parent, DISK);
            let store = Store::new_in(disk.path());
            bench.fill(&store);
            let server = kind.start(&store);
            warm(archive);
            let loaded = AtomicBool::new(false);
            let mut times = thread::scope(|scope| {
                scope.spawn(|| {
                    server.client().load(archive);
                    loaded.store(true, Ordering::Relaxed);
                });
                let route = format!("/images/{IMAGE}/json");
                paced(server.socket(), &route, &|| !loaded.load(Ordering::Relaxed))
            });
            times.sort_by(f64::total_cmp);
            kind.add(&mut slow, times[times.len() * 99 / 100]);
        }
    }
    rows.push(slow);
    rows
}

/// Asks on all connections for as long as `goes_on` says; nanoseconds that each request took.
fn ask(socket: &Path, route: &str, goes_on: &(dyn Fn(Duration) -> bool + Sync)) -> Vec<f64> {
    let start = Instant::now();
    thread::scope(|scope| {
        let askers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut connection, mut times) = (Connection::new(socket), Vec::new());
                    while goes_on(start.elapsed()) {
                        let asked = Instant::now();
                        connection.get(route);
                        times.push(nanoseconds(asked));
                    }
                    times
                })
            })
            .collect();
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
    })
}

/// Asks a hundred times a second.
fn paced(socket: &Path, route: &str, goes_on: &dyn Fn() -> bool) -> Vec<f64> {
    let (mut connection, mut times) = (Connection::new(socket), Vec::new());
    while goes_on() {
        let asked = Instant::now();
        connection.get(route);
        times.push(nanoseconds(asked));
        thread::sleep(Duration::from_millis(10));
    }
    times
}

/// A connection that is used again and again.
struct Connection(BufReader<UnixStream>);

impl Connection {
    fn new(socket: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(socket).unwrap()))
    }

    /// One request, and its answer to the end.
    fn get(&mut self, route: &str) {
        let request = format!("GET {PREFIX}{route} HTTP/1.1\r\nHost: d\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut length, mut chunked, mut line) = (0, false, String::new());
        self.line(&mut line);
        assert!(line.starts_with("HTTP/1.1 20"), "{line}");
        while {
            self.line(&mut line);
            !line.is_empty()
        } {
            let field = line.to_ascii_lowercase();
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            chunked |= field.starts_with("transfer-encoding: chunked");
        }
        if !chunked {
            return self.skip(length);
        }
        loop {
            self.line(&mut line);
            let size = usize::from_str_radix(&line, 16).unwrap();
            self.skip(size + 2);
            if size == 0 {
                return;
            }
        }
    }

    fn line(&mut self, line: &mut String) {
        line.clear();
        self.0.read_line(line).unwrap();
        line.truncate(line.trim_end().len());
    }

    fn skip(&mut self, count: usize) {
        self.0.read_exact(&mut vec![0; count]).unwrap();
    }
}
