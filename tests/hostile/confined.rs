//! What a mistake in unpacking could be used for: nothing, as the threads that unpack have no more than
//! their layer, and that which decompresses an archive has nothing at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::Instant;

use crate::scene::Scene;
use crate::strace::Tracer;
use crate::support::server::PATIENCE;
use crate::support::{DockerArchive, Layer};

/// Names of the daemon's threads, and whether they may still gain privileges: a thread gives that up
/// before it may be confined.
fn threads(pid: u32) -> BTreeMap<String, bool> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    // Threads may end meanwhile.
    let facts = tasks.filter_map(|task| status(task.ok()?)).map(|status| {
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim().to_owned()
        };
        (value("Name:"), value("NoNewPrivs:") == "0")
    });
    facts.collect()
}

/// An archive with one layer that cannot be packed.
fn archive() -> Vec<u8> {
    DockerArchive::new(&["localhost/a:1"], &[Layer::random(1, "a", 200, 30_000)]).build()
}

#[test]
fn threads_that_unpack_have_given_up_everything_else() {
    are_confined(&archive(), &["layer-tar", "layer-files"], 1);
}

#[test]
fn threads_that_decompress_an_archive_have_given_up_everything() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&archive()).unwrap();
    let packed = packed.finish().unwrap();
    are_confined(&packed, &["archive-unpack", "layer-tar", "layer-files"], 2);
}

/// Loads an archive, on whose way these threads appear, and threads give up what they do not need as
/// many times.
#[track_caller]
fn are_confined(archive: &[u8], expected: &[&str], times: usize) {
    let scene = Scene::new();
    let log = scene.store.path("tmp/calls");
    let calls = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self";
    let tracer = Tracer::watch(scene.server.pid(), calls, &log);
    let mut load = scene.server.client().start_load().unwrap();
    load.send(&archive[..archive.len() / 2]).unwrap();
    let start = Instant::now();
    let threads = loop {
        let threads = threads(scene.server.pid());
        if expected.iter().all(|name| threads.contains_key(*name)) {
            break threads;
        }
        assert!(start.elapsed() < PATIENCE, "{threads:?}");
    };
    for (name, is_free) in &threads {
        let is_confined = name.starts_with("layer-") || name.starts_with("archive-");
        assert_eq!(*is_free, !is_confined, "{name}: {threads:?}");
    }
    load.send(&archive[archive.len() / 2..]).unwrap();
    assert!(load.finish().unwrap().starts_with("HTTP/1.1 200"));
    tracer.detach();
    let calls = fs::read_to_string(&log).unwrap();
    let succeeded = |name: &str| {
        calls.lines().filter(|line| line.contains(name) && line.ends_with("= 0")).count()
    };
    // The layer's directory, for its first thread. Nothing else is allowed to anybody.
    assert_eq!(succeeded("landlock_add_rule("), 1, "{calls}");
    assert_eq!(succeeded("landlock_restrict_self("), times, "{calls}");
    fs::remove_file(log).unwrap();
    scene.removes_all_but_the_good();
}
