//! `SIGKILL` at one certain call: the store opens clean, and every image is whole or absent.

use crate::operation::Operation;
use crate::scene::Scene;
use crate::strace::{CHANGES, Tracer};
use crate::support::Server;
use crate::support::check::assert_sound;
use crate::support::remains::assert_agreed;
use crate::support::soak::figure;

/// Points of each operation that `make test` tries.
const POINTS: usize = 22;

fn killed(operation: Operation) {
    let scene = Scene::new(operation, CHANGES);
    let points = scene.points(POINTS);
    let (mut died, mut done) = (0, 0);
    for (round, point) in points.iter().enumerate() {
        let store = scene.store();
        let server = Server::start(&store);
        let tracer = Tracer::kill(server.pid(), point);
        let answer = scene.run(&server.client());
        // Another thread may have reached its call first, or none this time.
        let alive = server.client().try_get("/_ping").is_ok();
        server.kill();
        tracer.detach();
        died += usize::from(!alive);
        let what = format!("{operation:?} killed at {point:?}");
        let is_done = scene.judge(&store, &what);
        done += usize::from(is_done);
        if answer.is_ok_and(|answer| answer.status / 100 == 2) {
            assert!(is_done, "{what}: it was said to be done");
        }
        if round % 10 == 0 {
            assert_sound(&store);
            assert_agreed(&store);
        }
    }
    println!("{operation:?}: {} points, died at {died}, done in {done}", points.len());
    assert!(died * 2 > points.len(), "the calls are not where they were: {died} deaths");
    let measured = format!("{}: kill points, all passed", operation.title());
    figure("killed anywhere", &measured, &points.len().to_string());
}

#[test]
fn while_loading_a_docker_archive() {
    killed(Operation::LoadDocker);
}

#[test]
fn while_loading_an_oci_archive() {
    killed(Operation::LoadOci);
}

#[test]
fn while_importing() {
    killed(Operation::Import);
}

#[test]
fn while_pulling() {
    killed(Operation::Pull);
}

#[test]
fn while_committing_a_container() {
    killed(Operation::Commit);
}

#[test]
fn while_tagging() {
    killed(Operation::Tag);
}

#[test]
fn while_untagging() {
    killed(Operation::Untag);
}

#[test]
fn while_removing() {
    killed(Operation::Remove);
}

#[test]
fn while_removing_an_image_with_its_containers() {
    killed(Operation::RemoveUsed);
}

#[test]
fn while_pruning() {
    killed(Operation::Prune);
}
