//! The measurements themselves. Every one runs on both servers in turn, round by round, so that a
//! busy minute of the machine meets both.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::commit::{self, Changes};
use crate::disk::Disk;
use crate::forms;
use crate::image::{self, Image, NAME};
use crate::process;
use crate::rates;
use crate::registry;
use crate::removals;
use crate::report::{Report, Required, Row, Unit};
use crate::support::server::{imaged, podman_service};
use crate::support::tool::run;
use crate::support::{DockerArchive, Layer, Server, Store, tree};

pub(crate) const MIB: f64 = 1_048_576.0;
/// Bytes of a store's disk: the image, and Podman's temporary copy of the archive.
pub(crate) const DISK: u64 = 6 << 30;
/// Lists and starts are quick: more of them per round.
const REPEATS: usize = 8;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it is by default.
    Imaged,
    /// Without waiting for the disk, as Podman does.
    ImagedNoSync,
    Podman,
}

impl Kind {
    fn command(self, store: &Store, socket: &Path) -> Command {
        match self {
            Self::Imaged => imaged(store, socket),
            Self::ImagedNoSync => {
                let mut command = imaged(store, socket);
                command.args(["--sync", "none"]);
                command
            }
            Self::Podman => podman_service(store, socket),
        }
    }

    pub(crate) fn start(self, store: &Store) -> Server {
        let socket = store.path("api.sock");
        Server::spawn(store, &mut self.command(store, &socket), &socket)
    }

    pub(crate) fn add(self, row: &mut Row, value: f64) {
        if self == Self::Podman { row.podman.push(value) } else { row.imaged.push(value) }
    }
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Load and export of a large image.
    Transfers,
    /// Commit of a container with many changes.
    Commits,
    /// Push of a large image to a registry.
    Pushes,
    /// Pull of a large image from a registry.
    Pulls,
    /// Loads and exports of packed archives, and an import.
    Forms,
    /// Removal of a large image and of many.
    Removals,
    /// Lists, starts and idle memory on a store of many images.
    Lists,
    /// Small requests on many connections.
    Rates,
}

/// The rules of one run.
pub(crate) struct Bench {
    pub(crate) parent: PathBuf,
    /// Size of image and changes, in percent.
    pub(crate) percent: u64,
    pub(crate) rounds: usize,
    pub(crate) images: usize,
}

impl Bench {
    /// Measures these parts.
    pub(crate) fn run(&self, parts: &[Part]) -> Report {
        let dir = tempfile::Builder::new().prefix("imaged-bench-").tempdir_in(&self.parent);
        let dir = dir.unwrap();
        let mut setting = json!({
            "podman": run(Command::new("podman").arg("--version")),
            "processors": thread::available_parallelism().unwrap().get(),
            "rounds": self.rounds,
        });
        let mut rows = Vec::new();
        for part in parts {
            match part {
                Part::Commits => {
                    let changes = Changes::new(&dir.path().join("changes.tar"), self.percent);
                    setting["changed"] = changes.length().into();
                    rows.extend(commit::commits(&self.parent, &changes, self.rounds));
                }
                Part::Lists => {
                    setting["images"] = self.images.into();
                    rows.extend(self.many_images());
                    rows.push(self.ten_thousand());
                    rows.push(size());
                }
                _ => {
                    let archive = dir.path().join("image.tar");
                    eprintln!("making the image");
                    let image = image::write(&archive, self.percent);
                    eprintln!("{} files, {} bytes unpacked", image.files, image.unpacked);
                    setting["files"] = image.files.into();
                    setting["unpacked"] = image.unpacked.into();
                    let (parent, rounds) = (&self.parent, self.rounds);
                    rows.extend(match part {
                        Part::Pushes => registry::pushes(parent, &archive, &image, rounds),
                        Part::Pulls => registry::pulls(parent, &archive, &image, rounds),
                        Part::Forms => forms::forms(parent, &archive, &image, rounds),
                        Part::Removals => removals::removals(self, &archive),
                        Part::Rates => rates::rates(self, &archive),
                        _ => self.transfers(&archive, &image),
                    });
                    fs::remove_file(&archive).unwrap();
                }
            }
        }
        Report { setting, rows }
    }

    /// Load and export of the whole image, on a fresh disk each.
    fn transfers(&self, archive: &Path, image: &Image) -> Vec<Row> {
        let mut load = Row::new("load, docker-archive", Unit::Time, Required::Ratio(5.0));
        let mut no_sync = Row::new("  with --sync none", Unit::Time, Required::Ratio(6.0));
        let mut durable = Row::new("  until all is on disk", Unit::Time, Required::Nothing);
        // Two at a time on as many processors, written back: what the file system allows.
        let mut untar =
            Row::new("  tar -x of the layers / load", Unit::Share, Required::AtLeast(0.8));
        let mut export = Row::new("export, docker-archive", Unit::Time, Required::Ratio(8.0));
        let mut first = Row::new("  its first byte", Unit::Time, Required::AtMost(20e6));
        let mut exported = Row::new("  written by it", Unit::Memory, Required::AtMost(MIB));
        let mut peak =
            Row::new("memory, most while loading", Unit::Memory, Required::AtMost(64.0 * MIB));
        let mut after = Row::new("memory, after the load", Unit::Memory, Required::Nothing);
        // Files take whole blocks, and directories and inodes take some too: what is unpacked is
        // larger than the tars. Both are shown; what the disk then holds is the measure.
        let mut written =
            Row::new("written by a load / unpacked on disk", Unit::Share, Required::AtMost(1.1));
        let mut of_tars = Row::new("  / length of the tars", Unit::Share, Required::Nothing);
        let layers = Layers::new(&self.parent, self.percent);
        for round in 0..self.rounds {
            let unpacked = layers.unpack(&self.parent);
            for kind in in_turn(round, [Kind::Imaged, Kind::ImagedNoSync, Kind::Podman]) {
                eprintln!("round {round}: load and export, {kind:?}");
                let disk = Disk::new(&self.parent, DISK);
                let store = Store::new_in(disk.path());
                let server = kind.start(&store);
                disk.sync();
                warm(archive);
                let (before, empty) = (disk.written(), disk.used());
                let start = Instant::now();
                let (names, most) = process::peak(server.pid(), || server.client().load(archive));
                let answered = nanoseconds(start);
                disk.sync();
                let synced = nanoseconds(start);
                assert_eq!(names, [NAME]);
                assert_eq!(store.diff_ids(NAME), image.diff_ids);
                if kind == Kind::ImagedNoSync {
                    no_sync.imaged.push(answered);
                    continue;
                }
                kind.add(&mut load, answered);
                if kind == Kind::Podman {
                    no_sync.podman.push(answered);
                } else {
                    untar.imaged.push(unpacked / answered);
                }
                kind.add(&mut durable, synced);
                kind.add(&mut peak, most as f64);
                let bytes = (disk.written() - before) as f64;
                kind.add(&mut written, bytes / (disk.used() - empty) as f64);
                kind.add(&mut of_tars, bytes / image.unpacked as f64);
                thread::sleep(Duration::from_secs(1));
                kind.add(&mut after, process::resident(server.pid()) as f64);

                let before = disk.written();
                let route = format!("/images/{NAME}/get?format=docker-archive");
                let (beginning, end, length) = fetch(server.socket(), &route);
                disk.sync();
                kind.add(&mut exported, (disk.written() - before) as f64);
                assert!(length > image.unpacked, "{length}");
                kind.add(&mut first, beginning);
                kind.add(&mut export, end);
            }
        }
        vec![load, no_sync, durable, untar, export, first, exported, peak, after, written, of_tars]
    }

    /// Lists, starts and idle memory on a store of many images.
    fn many_images(&self) -> Vec<Row> {
        let mut list = Row::new("list", Unit::Time, Required::Ratio(2000.0));
        let mut first_list = Row::new("  the first one", Unit::Time, Required::Ratio(300.0));
        let mut changed_list =
            Row::new("  right after another tool wrote", Unit::Time, Required::Ratio(100.0));
        let mut start = Row::new("first answer after start", Unit::Time, Required::Ratio(15.0));
        let mut cpu = Row::new("  processor time", Unit::Time, Required::AtMost(12e6));
        let mut idle =
            Row::new("memory, idle after lists", Unit::Memory, Required::AtMost(12.0 * MIB));
        eprintln!("making a store of {} images", self.images);
        let disk = Disk::new(&self.parent, DISK);
        let store = Store::new_in(disk.path());
        self.fill(&store);
        for round in 0..self.rounds {
            for kind in in_turn(round, [Kind::Imaged, Kind::Podman]) {
                eprintln!("round {round}: starts and lists, {kind:?}");
                for _ in 0..REPEATS {
                    let started = Started::new(kind, &store);
                    kind.add(&mut start, started.answered);
                    kind.add(&mut cpu, started.processor_time);
                }
                let started = Started::new(kind, &store);
                let (_, time, _) = fetch(&started.socket, "/images/json");
                kind.add(&mut first_list, time);
                for _ in 0..2 {
                    let target = "localhost/many/image-0:another";
                    store.podman(["tag", "localhost/many/image-0:1", target]);
                    kind.add(&mut changed_list, fetch(&started.socket, "/images/json").1);
                    store.podman(["untag", "localhost/many/image-0:1", target]);
                }
                // Not the first after that.
                let (_, _, length) = fetch(&started.socket, "/images/json");
                // Podman's lists take seconds each.
                let repeats = if kind == Kind::Podman { 2 } else { REPEATS };
                for _ in 0..repeats {
                    let (_, time, again) = fetch(&started.socket, "/images/json");
                    assert_eq!(again, length);
                    kind.add(&mut list, time);
                }
                thread::sleep(Duration::from_secs(1));
                kind.add(&mut idle, process::resident(started.child.id()) as f64);
            }
        }
        vec![list, first_list, changed_list, start, cpu, idle]
    }

    /// Small images in a store.
    pub(crate) fn fill(&self, store: &Store) {
        fill(store, self.images);
    }

    /// A list of very many images.
    fn ten_thousand(&self) -> Row {
        let mut list = Row::new("list of 10,000 images", Unit::Time, Required::AtMost(50e6));
        let disk = Disk::new(&self.parent, DISK);
        let store = Store::new_in(disk.path());
        fill(&store, 10_000);
        let server = Kind::Imaged.start(&store);
        // The first one reads the store.
        fetch(server.socket(), "/images/json");
        for _ in 0..REPEATS {
            list.imaged.push(fetch(server.socket(), "/images/json").1);
        }
        list
    }
}

/// Length of the program.
fn size() -> Row {
    let mut row = Row::new("length of the program", Unit::Memory, Required::AtMost(15.0 * MIB));
    row.imaged.push(fs::metadata(env!("CARGO_BIN_EXE_imaged")).unwrap().len() as f64);
    row
}

/// Small images with a common base, a name and a label each.
fn fill(store: &Store, images: usize) {
    /// Of one archive.
    const AT_ONCE: usize = 500;
    let server = Kind::ImagedNoSync.start(store);
    let base = Layer::random(51, "base", 20, 500);
    let mut number = 0;
    while number < images {
        let mut archive = DockerArchive::default();
        for _ in 0..AT_ONCE.min(images - number) {
            let name = format!("localhost/many/image-{number}:1");
            let own = Layer::files(&[("own", name.as_bytes())]);
            archive = archive.and(&[&name], &[base.clone(), own]);
            number += 1;
        }
        server.client().load_bytes(archive.build()).expect(200);
    }
    let list = server.client().get("/images/json").expect(200).json();
    assert_eq!(list.as_array().unwrap().len(), images);
    assert!(server.stop().success());
}

/// The layers of the image as tars.
struct Layers {
    directory: TempDir,
}

impl Layers {
    fn new(parent: &Path, percent: u64) -> Self {
        let directory = tempfile::Builder::new().prefix("imaged-tars-").tempdir_in(parent).unwrap();
        for layer in 0..image::LAYERS.len() {
            let file = File::create(directory.path().join(layer.to_string())).unwrap();
            let mut out = BufWriter::with_capacity(1 << 20, file);
            image::write_layer(layer, percent, &mut out).unwrap();
            out.flush().unwrap();
        }
        Self { directory }
    }

    /// Unpacks them with GNU tar on a disk of its own, and writes that back; nanoseconds.
    fn unpack(&self, parent: &Path) -> f64 {
        let disk = Disk::new(parent, DISK);
        let tars =
            (0..image::LAYERS.len()).map(|layer| self.directory.path().join(layer.to_string()));
        let tars: Vec<PathBuf> = tars.inspect(|tar| warm(tar)).collect();
        let next = AtomicUsize::new(0);
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(tar) = tars.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let tree = disk.path().join(tar.file_name().unwrap());
                        fs::create_dir(&tree).unwrap();
                        run(Command::new("tar").arg("-x").arg("-C").arg(&tree).arg("-f").arg(tar));
                    }
                });
            }
        });
        disk.sync();
        nanoseconds(start)
    }
}

/// A server started with a stop-watch.
struct Started {
    child: Child,
    socket: PathBuf,
    answered: f64,
    processor_time: f64,
}

impl Started {
    fn new(kind: Kind, store: &Store) -> Self {
        let socket = store.path("timed.sock");
        // A stale socket would cost one of them a look at it.
        drop(fs::remove_file(&socket));
        let mut command = kind.command(store, &socket);
        let log = File::create(store.path("timed.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let start = Instant::now();
        let child = command.spawn().unwrap();
        let mut started = Self { child, socket, answered: 0.0, processor_time: 0.0 };
        while !started.answers() {
            assert!(start.elapsed() < Duration::from_secs(30), "no answer");
            thread::sleep(Duration::from_micros(100));
        }
        started.answered = nanoseconds(start);
        started.processor_time = process::processor_time(started.child.id()) as f64;
        started
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(&self.socket) else { return false };
        let request = b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        stream.write_all(request).is_ok()
            && stream.read_to_end(&mut answer).is_ok()
            && answer.starts_with(b"HTTP/1.1 200")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One `GET` on a connection of its own, without a library in between: nanoseconds to the first
/// byte and to the end, and the length of the answer.
pub(crate) fn fetch(socket: &Path, route: &str) -> (f64, f64, u64) {
    let mut buffer = vec![0; 1 << 20];
    let start = Instant::now();
    let mut stream = UnixStream::connect(socket).unwrap();
    let prefix = crate::support::http::PREFIX;
    let request = format!("GET {prefix}{route} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut length = stream.read(&mut buffer).unwrap() as u64;
    let first = nanoseconds(start);
    assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", buffer[..64].escape_ascii());
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return (first, nanoseconds(start), length),
            count => length += count as u64,
        }
    }
}

/// Both servers begin a round equally often.
pub(crate) fn in_turn<const N: usize>(round: usize, mut kinds: [Kind; N]) -> [Kind; N] {
    kinds.rotate_left(round % N);
    kinds
}

/// Reads the archive, so that both find it in the page cache.
pub(crate) fn warm(archive: &Path) {
    tree::digest(archive);
}

pub(crate) fn nanoseconds(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64
}
