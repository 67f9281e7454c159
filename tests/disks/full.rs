//! The disk is full: the request fails with 507 and Podman's document, nothing of it is left,
//! images can be removed, and then there is room again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::mounted::{FileSystem, Mounted};
use crate::rack::Rack;
use crate::support::check::{assert_sound, check};
use crate::support::http::escape;
use crate::support::remains::{Images, assert_whole, images};
use crate::support::soak::figure;
use crate::support::{Client, DockerArchive, Faulty, Layer, OciArchive, Response, Server, Store};

/// What is left of each disk, in bytes.
const ROOM: u64 = 24 << 20;
const STEP: u64 = 1 << 20;
/// Bytes of the images that fill it: the smaller ones take what the greater ones leave.
const SIZES: [usize; 3] = [4 << 20, 300 << 10, 8 << 10];
/// Longest time that the end of a failed request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What fills the disk.
#[derive(Clone, Copy, Debug)]
enum Filling {
    Load,
    Import,
    Pull,
    Commit,
}

/// A store on a disk without much room.
struct Scene {
    filling: Filling,
    client: Client,
    registry: Faulty,
    /// Of the container that is committed.
    changed: PathBuf,
    /// Counts the images, so that none is like another.
    count: u64,
    server: Server,
    store: Store,
    mounted: Mounted,
    _rack: Rack,
}

impl Scene {
    fn new(kind: FileSystem, filling: Filling) -> Self {
        let rack = Rack::new();
        let mounted = Mounted::make(&rack, kind);
        let store = Store::new_in(mounted.path());
        let server = Server::start(&store);
        let client = server.client();
        let base = Layer::files(&[("base", b"base")]);
        client.load_bytes(DockerArchive::new(&["localhost/base:1"], &[base]).build()).expect(200);
        store.buildah(["from", "--name", "one", "localhost/base:1"]);
        let container = &store.records("overlay-containers/containers.json")[0];
        let layer = container["layer"].as_str().unwrap();
        let changed = store.root().join("overlay").join(layer).join("diff/changed");
        let registry = Faulty::start();
        let scene = Self {
            filling,
            client,
            registry,
            changed,
            count: 0,
            server,
            store,
            mounted,
            _rack: rack,
        };
        // The largest change, so that commits need no room but for their images.
        fs::write(&scene.changed, vec![1; SIZES[0]]).unwrap();
        scene.take_room();
        scene
    }

    /// Leaves only [`ROOM`], in blocks.
    fn take_room(&self) {
        let root = File::open(self.mounted.path()).unwrap();
        rustix::fs::syncfs(&root).unwrap();
        let ballast = File::create(self.mounted.path().join("ballast")).unwrap();
        let mut taken = 0;
        while fallocate(&ballast, FallocateFlags::empty(), taken, STEP).is_ok() {
            taken += STEP;
        }
        ballast.set_len(taken.checked_sub(ROOM).unwrap()).unwrap();
        rustix::fs::syncfs(&root).unwrap();
    }

    /// Asks for one more image, of about so many bytes in so many files.
    fn add(&mut self, size: usize, files: usize) -> Response {
        self.count += 1;
        let number = self.count;
        let layer = Layer::random(number, "files", files, size / files);
        let name = format!("localhost/filling:{number}");
        match self.filling {
            Filling::Load => self.client.load_bytes(DockerArchive::new(&[&name], &[layer]).build()),
            Filling::Import => {
                self.client.import(&format!("?reference={}", escape(&name)), layer.tar)
            }
            Filling::Pull => {
                let tag = number.to_string();
                self.registry.put("app", &tag, &OciArchive::new(&name, &[layer]));
                let name = escape(&format!("{}/app:{tag}", self.registry.host()));
                self.client
                    .post(&format!("/images/pull?reference={name}&tlsVerify=false&quiet=true"))
            }
            Filling::Commit => {
                // What differs takes no room.
                let file = File::options().write(true).open(&self.changed).unwrap();
                file.set_len(size as u64).unwrap();
                file.set_modified(UNIX_EPOCH + Duration::from_secs(number)).unwrap();
                self.client
                    .post(&format!("/commit?container=one&repo=localhost/filling&tag={number}"))
            }
        }
    }

    /// Adds images until there is no room; the refusal.
    fn fill(&mut self, size: usize, files: usize) -> Response {
        loop {
            let before = images(&self.client);
            let answer = self.add(size, files);
            if answer.status / 100 != 2 {
                assert_refused(&answer);
                self.assert_nothing_left(&before);
                return answer;
            }
            assert_eq!(images(&self.client).len(), before.len() + 1);
        }
    }

    /// What was there before is there, whole, and nothing else.
    fn assert_nothing_left(&self, before: &Images) {
        assert_eq!(images(&self.client), *before);
        let problems = || check(&self.store.root(), &self.store.runroot());
        let start = Instant::now();
        while !problems().is_empty() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let problems = problems();
        assert!(problems.is_empty(), "left behind:\n{}", problems.join("\n"));
    }

    /// Removes all images that were added.
    fn empty(&self) {
        for (id, names) in images(&self.client) {
            if !names.contains("localhost/base:1") {
                self.client.delete(&format!("/images/{id}")).expect(200);
            }
        }
    }
}

/// The full status, in Podman's words.
#[track_caller]
fn assert_refused(answer: &Response) {
    assert_eq!(answer.status, 507, "{}", answer.text());
    let error = answer.json();
    let keys: Vec<_> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["cause", "message", "response"]);
    assert_eq!(error["response"], 507);
}

fn free_bytes(path: &Path) -> u64 {
    let free = statvfs(path).unwrap();
    free.f_bfree * free.f_frsize
}

fn full(kind: FileSystem) {
    let fillings = [Filling::Load, Filling::Import, Filling::Pull, Filling::Commit];
    for filling in fillings {
        println!("{kind:?}, {filling:?}");
        let mut scene = Scene::new(kind, filling);
        for size in SIZES {
            let refusal = scene.fill(size, 1);
            println!(
                "{size}: {} images, {} bytes free: {}",
                scene.count,
                free_bytes(scene.mounted.path()),
                refusal.text()
            );
        }
        // Archives do not fit there any more.
        let archive = tempfile::NamedTempFile::new().unwrap();
        assert_whole(&scene.client, &images(&scene.client), archive.path(), "on the full disk");
        scene.empty();
        scene.add(SIZES[0], 1).expect(200);
        assert!(scene.server.stop().success());
        assert_sound(&scene.store);
    }
    figure("full disks", &format!("{}: ways to fill it", kind.name()), &fillings.len().to_string());
}

/// Not the blocks but the files that it has room for are used up.
#[test]
fn without_room_for_files_it_is_as_with_blocks() {
    let mut scene = Scene::new(FileSystem::Ext4FewFiles, Filling::Load);
    for files in [80, 1] {
        let refusal = scene.fill(8 << 10, files);
        println!("{} images: {}", scene.count, refusal.text());
    }
    scene.empty();
    scene.add(8 << 10, 80).expect(200);
    assert!(scene.server.stop().success());
    assert_sound(&scene.store);
}

#[test]
fn ext4_full_refuses_and_recovers() {
    full(FileSystem::Ext4);
}

#[test]
fn xfs_full_refuses_and_recovers() {
    full(FileSystem::Xfs);
}

#[test]
fn btrfs_full_refuses_and_recovers() {
    full(FileSystem::Btrfs);
}
