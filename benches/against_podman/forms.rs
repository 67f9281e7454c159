//! The other forms of images: packed archives, one large layer, a bare tar.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::disk::Disk;
use crate::image::{self, Image, NAME};
use crate::measure::{DISK, Kind, MIB, fetch, in_turn, nanoseconds, warm};
use crate::process;
use crate::report::{Required, Row, Unit};
use crate::support::Store;
use crate::support::tool::run;

/// Loads of packed archives, an import, and exports that pack.
pub(crate) fn forms(parent: &Path, archive: &Path, image: &Image, rounds: usize) -> Vec<Row> {
    let dir = tempfile::Builder::new().prefix("imaged-forms-").tempdir_in(parent).unwrap();
    let forms = Forms::new(dir.path(), archive);
    let mut rows = Vec::new();
    for (name, times, file) in [
        ("load, oci-archive packed by gzip", 6.0, &forms.oci),
        ("load, one layer of 700 MB packed by gzip", 4.0, &forms.single),
    ] {
        let mut time = Row::new(name, Unit::Time, Required::Ratio(times));
        let mut peak = Row::new("  most memory", Unit::Memory, Required::AtMost(64.0 * MIB));
        each(parent, rounds, |kind, disk| {
            let store = Store::new_in(disk.path());
            let server = kind.start(&store);
            warm(file);
            let start = Instant::now();
            let (_, most) = process::peak(server.pid(), || server.client().load(file));
            kind.add(&mut time, nanoseconds(start));
            kind.add(&mut peak, most as f64);
        });
        rows.extend([time, peak]);
    }
    rows.push(import(parent, &forms.tar, rounds));
    rows.extend(packed_exports(parent, archive, image, rounds));
    rows
}

/// The files that are sent.
struct Forms {
    /// The image, as Skopeo packs it.
    oci: PathBuf,
    /// An image of one layer, packed in one stream.
    single: PathBuf,
    /// A tree of 120 MB.
    tar: PathBuf,
}

impl Forms {
    fn new(dir: &Path, archive: &Path) -> Self {
        let path = |name: &str| dir.join(name);
        let forms =
            Self { oci: path("oci.tar"), single: path("single.tar"), tar: path("tree.tar") };
        eprintln!("packing");
        run(Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy"])
            .arg("--tmpdir")
            .arg(dir)
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("oci-archive:{}:{NAME}", forms.oci.display())));
        image::write_single(&forms.single);
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&forms.tar).unwrap());
        // Of 500 MB.
        image::write_layer(0, 24, &mut out).unwrap();
        drop(out.into_inner().unwrap());
        forms
    }
}

/// Does `measure` with each server in turn, on a fresh disk each time.
fn each(parent: &Path, rounds: usize, mut measure: impl FnMut(Kind, &Disk)) {
    for round in 0..rounds {
        for kind in in_turn(round, [Kind::Imaged, Kind::Podman]) {
            eprintln!("round {round}: {kind:?}");
            let disk = Disk::new(parent, DISK);
            disk.sync();
            measure(kind, &disk);
        }
    }
}

fn import(parent: &Path, tar: &Path, rounds: usize) -> Row {
    let content = bytes::Bytes::from(std::fs::read(tar).unwrap());
    let mut time = Row::new("import of a tar of 120 MB", Unit::Time, Required::Ratio(5.0));
    each(parent, rounds, |kind, disk| {
        let store = Store::new_in(disk.path());
        let server = kind.start(&store);
        let start = Instant::now();
        server.client().import("?reference=localhost/imported:1", content.clone()).expect(200);
        kind.add(&mut time, nanoseconds(start));
    });
    time
}

fn packed_exports(parent: &Path, archive: &Path, image: &Image, rounds: usize) -> Vec<Row> {
    let mut time = Row::new("export, oci-archive packed by gzip", Unit::Time, Required::Ratio(4.0));
    // Podman's length over ours: 1 / 1.03 is the least.
    let mut length = Row::new("  its length / unpacked", Unit::Share, Required::Ratio(0.971));
    let mut peak = Row::new("  most memory", Unit::Memory, Required::AtMost(64.0 * MIB));
    each(parent, rounds, |kind, disk| {
        let store = Store::new_in(disk.path());
        let loader = Kind::ImagedNoSync.start(&store);
        assert_eq!(loader.client().load(archive), [NAME]);
        assert!(loader.stop().success());
        disk.sync();
        let server = kind.start(&store);
        let route = format!("/images/{NAME}/get?format=oci-archive");
        let ((_, end, bytes), most) =
            process::peak(server.pid(), || fetch(server.socket(), &route));
        kind.add(&mut time, end);
        kind.add(&mut length, bytes as f64 / image.unpacked as f64);
        kind.add(&mut peak, most as f64);
    });
    vec![time, length, peak]
}
