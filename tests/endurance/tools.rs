//! The other tools, which get in each other's way: they look a layer up and use it under separate
//! locks, and may wait for each other's locks for ever.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Store;

/// How often something is tried that others may get in the way of.
const ATTEMPTS: usize = 10;
/// A command that takes longer may be waiting for a lock that nobody will give up.
const PATIENCE: Duration = Duration::from_secs(240);
/// What is said of a command that other tools have blocked.
pub(crate) const BLOCKED: &str = "blocked by other tools";
/// The files that everybody locks, below the root.
const LOCKS: [&str; 4] = [
    "storage.lock",
    "overlay-layers/layers.lock",
    "overlay-images/images.lock",
    "overlay-containers/containers.lock",
];

/// Runs `command`, and again when others got in its way; its output.
///
/// # Panics
/// When it fails for another reason, or is kept waiting by a lock that the daemon does not give up.
#[track_caller]
pub(crate) fn run(store: &Store, command: &mut Command) -> String {
    let mut errors = Vec::new();
    for _ in 0..ATTEMPTS {
        match try_run(store, command) {
            Ok(output) => return output.trim_end().to_owned(),
            Err(error) => {
                let lost_race = error.contains("layer not known") || error == BLOCKED;
                assert!(lost_race, "{command:?}: {error}");
                errors.push(error);
            }
        }
    }
    panic!("{command:?}: {errors:#?}");
}

/// Runs `command` once: its output, or its errors.
///
/// # Panics
/// When it is kept waiting by a lock that the daemon does not give up.
#[track_caller]
pub(crate) fn try_run(store: &Store, command: &mut Command) -> Result<String, String> {
    let (output, errors) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(errors.try_clone().unwrap());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > PATIENCE {
            let ours = kept_by_daemon(store);
            let locks = fs::read_to_string("/proc/locks").unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!ours, "{command:?} waits for the daemon:\n{locks}");
            println!("{command:?} was {BLOCKED}:\n{locks}");
            return Err(BLOCKED.to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    };
    if status.success() { Ok(written(output)) } else { Err(written(errors)) }
}

fn written(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether the daemon holds one of the store's locks at each of many looks. Its locks are those of
/// open files; the other tools' belong to processes.
fn kept_by_daemon(store: &Store) -> bool {
    let inode = |path| Some(fs::metadata(store.root().join(path)).ok()?.ino());
    let inodes: Vec<u64> = LOCKS.into_iter().filter_map(inode).collect();
    (0..100).all(|_| {
        thread::sleep(Duration::from_millis(20));
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let mut held = locks.lines().filter(|line| line.contains("OFDLCK"));
        held.any(|line| {
            // The last number of the file's three is that of its inode.
            let file = line.split_whitespace().nth(5).unwrap();
            inodes.contains(&file.rsplit(':').next().unwrap().parse().unwrap())
        })
    })
}
