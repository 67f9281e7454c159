//! How long the daemon keeps others from the store.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::memory_disk::MemoryDisk;
use crate::process::Process;
use crate::support::archive::Numbers;
use crate::support::check::assert_sound;
use crate::support::soak::{figure, soaking};
use crate::support::tool::{command, run};
use crate::support::tree::hex;
use crate::support::{Client, DockerArchive, Layer, Server, Store};

/// The longest that anybody may have to wait for us.
const PROMISE: Duration = Duration::from_millis(100);
/// How often somebody wants a lock.
const PAUSE: Duration = Duration::from_millis(2);
/// How long it may take to delete a large image.
const DELETION: Duration = Duration::from_secs(60);

/// Takes the lock of all writers, as containers/storage does, again and again until `ended`. The
/// longest time that it took, without that for which the waiting thread could have gone on, and
/// others had the processors.
fn contend(file: &Path, ended: &AtomicBool) -> Duration {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let own = Process(std::process::id());
    let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    let mut longest = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        let before = own.thread(thread).delayed;
        let start = Instant::now();
        fcntl_lock(&file, FlockOperation::LockExclusive).unwrap();
        let waited = start.elapsed();
        fcntl_lock(&file, FlockOperation::Unlock).unwrap();
        let delayed = own.thread(thread).delayed.saturating_sub(before);
        longest = longest.max(waited.saturating_sub(delayed));
        thread::sleep(PAUSE);
    }
    longest
}

/// The disk is memory, so that it is ours alone: what others do to a disk, everybody waits for.
#[test]
fn nobody_waits_longer_for_a_lock_because_a_large_image_is_loaded() {
    let (megabytes, loads) = if soaking() { (1024, 10) } else { (256, 2) };
    let archive = tempfile::NamedTempFile::new().unwrap();
    write_large(archive.path(), megabytes);
    let disk = MemoryDisk::new(16 << 30);
    let on_memory = Longest::of(&Store::new_in(disk.path()), archive.path(), loads);
    on_memory.report(&format!("{megabytes} MB, disk in memory"));
    if soaking() {
        let on_disk = Longest::of(&Store::new(), archive.path(), loads);
        on_disk.report(&format!("{megabytes} MB, disk of the machine"));
    }
    // A machine on which somebody else's unpacking makes a sync of a record take long has such waits
    // in any case.
    let bound = PROMISE.max(on_memory.beside_tar * 2);
    assert!(on_memory.beside_load <= bound, "{on_memory:?}");
}

/// The longest waits for any of the locks that somebody else has lived to see, while small images are
/// loaded and removed, and names given and taken.
#[derive(Clone, Copy, Debug, Default)]
struct Longest {
    /// While `tar` unpacks the files of a large image on the same disk, which has nothing to do with
    /// the store.
    beside_tar: Duration,
    /// While the large image is loaded.
    beside_load: Duration,
}

impl Longest {
    fn of(store: &Store, archive: &Path, loads: usize) -> Self {
        let server = Server::start(store);
        let client = server.client();
        client.load_bytes(small("localhost/small:1")).expect(200);
        let mut longest = Self::default();
        for _ in 0..loads {
            let wait = longest_wait(store, &client, || unpack(archive, &store.path("unpacked")));
            longest.beside_tar = longest.beside_tar.max(wait);
            let wait = longest_wait(store, &client, || drop(client.load(archive)));
            longest.beside_load = longest.beside_load.max(wait);
            client.delete("/images/localhost/large:1").expect(200);
        }
        // Nobody waits for the deletion of so much.
        let start = Instant::now();
        while has_trash(store) && start.elapsed() < DELETION {
            thread::sleep(Duration::from_millis(100));
        }
        assert_sound(store);
        longest
    }

    fn report(self, of: &str) {
        for (measured, wait) in [
            ("while a large image is loaded", self.beside_load),
            ("while tar unpacks its files", self.beside_tar),
        ] {
            let measured = format!("longest wait for a lock {measured} ({of})");
            figure("many writers", &measured, &format!("{wait:.1?}"));
        }
    }
}

/// Whether something that was removed is still being deleted.
fn has_trash(store: &Store) -> bool {
    let trash = store.root().join("overlay/tempdirs");
    std::fs::read_dir(trash).is_ok_and(|mut entries| entries.next().is_some())
}

/// Lets `work` be done while others use the store, too, and somebody else wants its locks.
fn longest_wait(store: &Store, client: &Client, work: impl FnOnce()) -> Duration {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let contenders = ["overlay-layers/layers.lock", "overlay-images/images.lock"].map(|lock| {
            let (file, ended) = (store.root().join(lock), &ended);
            scope.spawn(move || contend(&file, ended))
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                client.post("/images/small:1/tag?repo=localhost/tag&tag=1").expect(201);
                client.get("/images/json").expect(200);
                client.post("/images/small:1/untag?repo=localhost/tag&tag=1").expect(201);
                client.load_bytes(small("localhost/other:1")).expect(200);
                client.delete("/images/localhost/other:1").expect(200);
            }
        });
        work();
        ended.store(true, Ordering::Relaxed);
        contenders.map(|contender| contender.join().unwrap()).into_iter().max().unwrap()
    })
}

/// Unpacks the layer of an archive with `tar`, brings it to the disk, and removes it.
fn unpack(archive: &Path, directory: &Path) {
    const SCRIPT: &str =
        r#"mkdir "$2" && tar -xOf "$1" layer.tar | tar -xC "$2" && sync -f "$2" && rm -rf "$2""#;
    run(command("sh", ["-c", SCRIPT, "unpack"]).arg(archive).arg(directory));
}

fn small(name: &str) -> Vec<u8> {
    DockerArchive::new(&[name], &[Layer::files(&[("name", name.as_bytes())])]).build()
}

/// Writes a docker archive of one layer with files of 64 KiB that no compression makes smaller.
fn write_large(path: &Path, megabytes: usize) {
    const FILE: usize = 64 << 10;
    let files = (megabytes << 20) / FILE;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut content = vec![0; FILE];
    Numbers::new(1).fill(&mut content);
    let mut hash = Sha256::new();
    let length = files * (512 + FILE) + 1024;
    out.write_all(header("layer.tar", length).as_bytes()).unwrap();
    for number in 0..files {
        content[..8].copy_from_slice(&number.to_le_bytes());
        for part in [header(&format!("{}/{number}", number / 100), FILE).as_bytes(), &content[..]] {
            hash.update(part);
            out.write_all(part).unwrap();
        }
    }
    hash.update([0; 1024]);
    out.write_all(&[0; 1024]).unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2024-05-01T10:00:00Z", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&hash.finalize()))] },
    });
    let manifest = json!([{
        "Config": "config.json", "RepoTags": ["localhost/large:1"], "Layers": ["layer.tar"],
    }]);
    for (name, document) in [("config.json", config), ("manifest.json", manifest)] {
        let document = document.to_string();
        out.write_all(header(name, document.len()).as_bytes()).unwrap();
        out.write_all(document.as_bytes()).unwrap();
        out.write_all(&vec![0; document.len().next_multiple_of(512) - document.len()]).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.flush().unwrap();
}

fn header(name: &str, length: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(length as u64);
    header.set_mode(0o644);
    header.set_cksum();
    header
}
