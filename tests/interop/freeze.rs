//! Containers whose processes are stopped while they are committed. Containers cannot be run here,
//! so a process is put into a control group that looks like one of a container.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imaged::sys::{FileLock, LockMode};
use rustix::mount::{MountFlags, mount};

use crate::commit::commit;
use crate::support::check::assert_sound;
use crate::support::http::PREFIX;
use crate::support::{Layer, Server, Store};

const PATIENCE: Duration = Duration::from_secs(120);

/// A container with a process that writes the same numbers to two files, first to `a`, then to `z`.
pub(crate) struct Running {
    pub(crate) id: String,
    group: PathBuf,
    process: Child,
}

impl Running {
    pub(crate) fn start(store: &Store, image: &str) -> Self {
        let image = store.inspect(image)["Id"].as_str().unwrap().to_owned();
        let id = store.storage(["create-container", "--name", "running", &image]);
        let id = id.lines().next().unwrap().trim().to_owned();
        let layer = store.records("overlay-containers/containers.json")[0]["layer"].clone();
        let root = store.root().join("overlay").join(layer.as_str().unwrap()).join("diff");
        // Something to read between the two.
        fs::write(root.join("m"), vec![7; 30 << 20]).unwrap();
        let group = hierarchy(store).join(format!("libpod-{id}.scope"));
        fs::create_dir(&group).unwrap();
        let script =
            "read go; n=0; while :; do n=$((n+1)); echo $n >> a; echo $n >> z; sleep 0.001; done";
        let mut process = Command::new("sh")
            .args(["-c", script])
            .current_dir(&root)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
        process.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let userdata = store.runroot().join("overlay-containers").join(&id).join("userdata");
        fs::create_dir_all(&userdata).unwrap();
        fs::write(userdata.join("pidfile"), process.id().to_string()).unwrap();
        until("the process writes", || root.join("z").exists());
        Self { id, group, process }
    }

    /// Puts the process elsewhere; the group stays.
    pub(crate) fn leave_group(&self) {
        let above = self.group.parent().unwrap().join("cgroup.procs");
        fs::write(above, self.process.id().to_string()).unwrap();
    }

    fn is_frozen(&self) -> bool {
        let events = fs::read_to_string(self.group.join("cgroup.events")).unwrap();
        events.lines().any(|line| line == "frozen 1")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join("cgroup.freeze"), "0");
        let _ = fs::write(self.group.join("cgroup.kill"), "1");
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The kernel needs a moment to see that it is empty.
        let start = Instant::now();
        while fs::remove_dir(&self.group).is_err() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where version 2 of control groups is mounted; below the store if it is nowhere.
fn hierarchy(store: &Store) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let found = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let fields: Vec<_> = place.split(' ').collect();
        (kind.starts_with("cgroup2 ") && fields[5].starts_with("rw"))
            .then(|| PathBuf::from(fields[4]))
    });
    found.unwrap_or_else(|| {
        let path = store.path("cgroup");
        fs::create_dir(&path).unwrap();
        mount("cgroup2", &path, "cgroup2", MountFlags::empty(), None).unwrap();
        path
    })
}

#[track_caller]
fn until(what: &str, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn store() -> (Store, Server) {
    let store = Store::new();
    let server = Server::start(&store);
    let tar = Layer::files(&[("etc/file", b"content")]).tar;
    server.client().import("?reference=localhost/base", tar).expect(200);
    (store, server)
}

/// Notes about frozen containers.
fn notes(store: &Store) -> usize {
    fs::read_dir(store.runroot().join("imaged/frozen")).map_or(0, Iterator::count)
}

/// The last number in a file of an image.
fn last(root: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(root.join(name)).unwrap();
    text.lines().last().unwrap().parse().unwrap()
}

#[test]
fn a_paused_container_is_committed_at_one_moment() {
    let (store, server) = store();
    let running = Running::start(&store, "base");
    for number in 0..3 {
        commit(&server, &format!("container=running&pause=true&repo=moment&tag={number}"));
        until("the container goes on", || !running.is_frozen());
        assert_eq!(notes(&store), 0);
        let image = format!("localhost/moment:{number}");
        let root = store.podman(["image", "mount", &image]);
        let (a, z) = (last(Path::new(&root), "a"), last(Path::new(&root), "z"));
        assert!(a == z || a == z + 1, "{a} and {z} are from different moments");
        store.podman(["image", "unmount", &image]);
    }
    // Without a pause it is of no one moment, but whole.
    commit(&server, "container=running&repo=moving");
    // Who stopped it himself finds it stopped.
    fs::write(running.group.join("cgroup.freeze"), "1").unwrap();
    until("the container stops", || running.is_frozen());
    commit(&server, "container=running&pause=true&repo=stopped");
    assert!(running.is_frozen());
    assert_eq!(notes(&store), 0);
    drop(running);
    // Its process is gone; the number in the file means nothing now.
    commit(&server, "container=running&pause=true&repo=gone");
    assert_sound(&store);
}

/// Sends a commit that gets as far as the layer, which somebody else has locked.
fn stuck(store: &Store, server: &Server, running: &Running) -> (FileLock, UnixStream) {
    let lock = store.root().join("overlay-layers/layers.lock");
    let lock = fs::File::options().read(true).write(true).open(lock).unwrap();
    let lock = FileLock::try_lock(lock, LockMode::Exclusive).unwrap().unwrap();
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    let id = &running.id;
    write!(stream, "POST {PREFIX}/commit?container={id}&pause=true HTTP/1.1\r\nHost: d\r\n\r\n")
        .unwrap();
    until("the container is frozen", || running.is_frozen());
    (lock, stream)
}

#[test]
fn a_client_that_leaves_thaws() {
    let (store, server) = store();
    let running = Running::start(&store, "base");
    let (lock, stream) = stuck(&store, &server, &running);
    drop(stream);
    until("the container goes on", || !running.is_frozen());
    drop(lock);
    until("the note is gone", || notes(&store) == 0);
    assert_eq!(store.image_ids().len(), 1);
    drop(running);
    assert_sound(&store);
}

#[test]
fn a_daemon_that_died_thaws_when_it_starts_again() {
    let (store, server) = store();
    let running = Running::start(&store, "base");
    let (lock, mut stream) = stuck(&store, &server, &running);
    server.kill();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    assert!(running.is_frozen());
    drop(lock);
    let server = Server::start(&store);
    until("the container goes on", || !running.is_frozen());
    assert_eq!(notes(&store), 0);
    commit(&server, "container=running&pause=true&repo=after");
    drop(running);
    assert_sound(&store);
}
