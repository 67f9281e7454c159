//! An image of a container with half a gigabyte of changes.

use std::io::BufWriter;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::image;
use crate::measure::{DISK, Kind, MIB, in_turn, nanoseconds};
use crate::process;
use crate::report::{Required, Row, Unit};
use crate::support::tool::{command, run};
use crate::support::{DockerArchive, Layer, Store, tree};

/// The container and the name of its image.
const CONTAINER: &str = "changed";
const COMMITTED: &str = "localhost/committed:1";

/// Commits of a container whose changes are the files in `changes`, on a fresh disk each.
pub(crate) fn commits(parent: &Path, changes: &Changes, rounds: usize) -> Vec<Row> {
    let mut commit = Row::new("commit of 500 MB", Unit::Time, Required::Ratio(3.0));
    let mut no_sync = Row::new("  with --sync none", Unit::Time, Required::Nothing);
    let mut durable = Row::new("  until all is on disk", Unit::Time, Required::Nothing);
    let mut peak =
        Row::new("memory, most while committing", Unit::Memory, Required::AtMost(96.0 * MIB));
    let mut written =
        Row::new("written by a commit / length of the tar", Unit::Share, Required::Nothing);
    for round in 0..rounds {
        for kind in in_turn(round, [Kind::Imaged, Kind::ImagedNoSync, Kind::Podman]) {
            eprintln!("round {round}: commit, {kind:?}");
            let disk = Disk::new(parent, DISK);
            let store = Store::new_in(disk.path());
            changed_container(kind, &store, &changes.tar);
            let server = kind.start(&store);
            disk.sync();
            // Both find the files in the page cache.
            for entry in std::fs::read_dir(store.root().join("overlay")).unwrap() {
                let diff = entry.unwrap().path().join("diff");
                if diff.is_dir() {
                    drop(tree::list(&diff));
                }
            }
            let before = disk.written();
            let start = Instant::now();
            let route = format!("/commit?container={CONTAINER}&repo=localhost/committed&tag=1");
            let (answer, most) = process::peak(server.pid(), || server.client().post(&route));
            let answered = nanoseconds(start);
            disk.sync();
            let synced = nanoseconds(start);
            answer.expect(200);
            assert_eq!(store.diff_ids(COMMITTED).len(), 2);
            if kind == Kind::ImagedNoSync {
                no_sync.imaged.push(answered);
                continue;
            }
            kind.add(&mut commit, answered);
            if kind == Kind::Podman {
                no_sync.podman.push(answered);
            }
            kind.add(&mut durable, synced);
            kind.add(&mut peak, most as f64);
            kind.add(&mut written, (disk.written() - before) as f64 / changes.length as f64);
            thread::sleep(Duration::from_secs(1));
        }
    }
    vec![commit, no_sync, durable, peak, written]
}

/// A container of a small image, into which `tar` is unpacked.
fn changed_container(kind: Kind, store: &Store, tar: &Path) {
    let server = kind.start(store);
    let base = DockerArchive::new(&["localhost/base:1"], &[Layer::files(&[("etc/base", b"base")])]);
    server.client().load_bytes(base.build()).expect(200);
    assert!(server.stop().success());
    store.podman(["create", "--network=none", "--name", CONTAINER, "localhost/base:1", "/x"]);
    let root = store.podman(["mount", CONTAINER]);
    run(command("tar", ["-x", "-C", &root, "-f"]).arg(tar));
    store.podman(["unmount", CONTAINER]);
}

/// What is changed: a tar of the files of the image's largest layer.
pub(crate) struct Changes {
    tar: std::path::PathBuf,
    length: u64,
}

impl Changes {
    /// Length of the tar.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Writes the tar at `path`, with `percent` of 500 MB in it.
    pub(crate) fn new(path: &Path, percent: u64) -> Self {
        let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(path).unwrap());
        image::write_layer(0, percent, &mut out).unwrap();
        drop(out.into_inner().unwrap());
        Self { tar: path.to_owned(), length: std::fs::metadata(path).unwrap().len() }
    }
}
