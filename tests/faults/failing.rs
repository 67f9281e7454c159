//! One certain call fails: so does the request, with a clear answer, and the store stays sound.

use crate::scene::{Operation, Scene};
use crate::strace::Tracer;
use crate::support::Server;
use crate::support::check::assert_sound;

/// Points of each operation that `make test` tries.
const POINTS: usize = 16;

/// The calls that only work on the store makes. Sockets and the runtime's own wake-ups are written
/// to with others, so full disks stand for `write`.
const OWN: &str = "openat,openat2,mkdir,mkdirat,mknodat,symlinkat,linkat,renameat,renameat2,\
    unlinkat,pwrite64,copy_file_range,fallocate,ftruncate,fchmod,fchmodat,fchown,fchownat,\
    utimensat,setxattr,lsetxattr,fsetxattr,fsync,fdatasync,syncfs";

const ERRORS: [(&str, u16); 5] =
    [("ENOSPC", 507), ("EIO", 500), ("EDQUOT", 507), ("EMFILE", 507), ("ENOMEM", 507)];

fn failing(operation: Operation) {
    let scene = Scene::new(operation, OWN);
    let points = scene.points(POINTS);
    let (mut failed, mut done) = (0, 0);
    for (round, point) in points.iter().enumerate() {
        let (error, status) = ERRORS[round % ERRORS.len()];
        let store = scene.store();
        let server = Server::start(&store);
        let tracer = Tracer::fail(server.pid(), point, error);
        let what = format!("{operation:?} with {error} at {point:?}");
        let answer = scene.run(&server.client()).unwrap_or_else(|e| panic!("{what}: {e}"));
        tracer.detach();
        let succeeded = answer.status / 100 == 2;
        if !succeeded {
            failed += 1;
            let text = answer.text();
            assert!(answer.status == status || answer.status == 500, "{what}: {text}");
            let error = answer.json();
            let keys: Vec<_> = error.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["cause", "message", "response"], "{what}");
            assert_eq!(error["response"], answer.status, "{what}");
        }
        // The same daemon goes on.
        server.client().get("/images/json").expect(200);
        assert!(server.stop().success(), "{what}");
        let is_done = scene.judge(&store, &what);
        assert!(is_done || !succeeded, "{what}: it was said to be done");
        done += usize::from(is_done);
        if round % 10 == 0 {
            assert_sound(&store);
        }
    }
    println!("{operation:?}: {} points, failed at {failed}, done in {done}", points.len());
}

#[test]
fn while_loading_a_docker_archive() {
    failing(Operation::LoadDocker);
}

#[test]
fn while_loading_an_oci_archive() {
    failing(Operation::LoadOci);
}

#[test]
fn while_importing() {
    failing(Operation::Import);
}

#[test]
fn while_tagging() {
    failing(Operation::Tag);
}

#[test]
fn while_untagging() {
    failing(Operation::Untag);
}

#[test]
fn while_removing() {
    failing(Operation::Remove);
}

#[test]
fn while_removing_an_image_with_its_containers() {
    failing(Operation::RemoveUsed);
}

#[test]
fn while_pruning() {
    failing(Operation::Prune);
}
