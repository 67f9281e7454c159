//! One certain call fails: so does the request, with a clear answer, the store is as it was, and
//! the same daemon goes on.

use std::time::{Duration, Instant};

use crate::operation::Operation;
use crate::scene::{Scene, assert_clean};
use crate::strace::{OWN, Tracer};
use crate::support::check::{assert_sound, check};
use crate::support::remains::{assert_agreed, images};
use crate::support::soak::{figure, soaking};
use crate::support::{Response, Server, Store};

/// Points of each operation that `make test` tries.
const POINTS: usize = 16;

/// Longest time that the end of a failed operation may take.
const PATIENCE: Duration = Duration::from_secs(5);

const ERRORS: [(&str, u16); 5] =
    [("ENOSPC", 507), ("EIO", 500), ("EDQUOT", 507), ("EMFILE", 507), ("ENOMEM", 507)];

fn failing(operation: Operation) {
    let scene = Scene::new(operation, OWN);
    let points = scene.points(POINTS);
    // One error for each call, in a long run all of them.
    let rounds: Vec<_> = if soaking() {
        points.iter().flat_map(|point| ERRORS.map(|error| (*point, error))).collect()
    } else {
        points
            .iter()
            .zip(ERRORS.into_iter().cycle())
            .map(|(point, error)| (*point, error))
            .collect()
    };
    let (mut failed, mut done) = (0, 0);
    for (round, (point, (error, status))) in rounds.iter().enumerate() {
        let what = format!("{operation:?} with {error} at {point:?}");
        let store = scene.store();
        let server = Server::start(&store);
        let client = server.client();
        let tracer = Tracer::fail(server.pid(), point, error);
        let answer = scene.run(&client).unwrap_or_else(|e| panic!("{what}: {e}"));
        tracer.detach();
        let succeeded = answer.status / 100 == 2;
        if !succeeded {
            failed += 1;
            assert_refused(&answer, *status, &what);
            // What cannot be deleted stays until somebody can; the daemon says so.
            if scene.is_untouched(&client) && !server.log().contains("could not") {
                wait_until_clean(&store, &what);
            }
            if !scene.is_done(&images(&client)) {
                let again = scene.run(&client).unwrap_or_else(|e| panic!("{what}, again: {e}"));
                assert_eq!(again.status / 100, 2, "{what}, again: {}", again.text());
            }
        }
        assert!(server.stop().success(), "{what}");
        assert!(scene.judge(&store, &what), "{what}: it was said to be done");
        done += usize::from(succeeded);
        if round % 10 == 0 {
            assert_sound(&store);
            assert_agreed(&store);
        }
    }
    println!("{operation:?}: {} points, failed at {failed}, done in {done}", rounds.len());
    let measured = format!("{}: calls that failed, all passed", operation.title());
    figure("faults", &measured, &rounds.len().to_string());
}

/// Nothing is left of the operation when the threads that were at work have seen that it failed.
#[track_caller]
fn wait_until_clean(store: &Store, what: &str) {
    let start = Instant::now();
    while !check(&store.root(), &store.runroot()).is_empty() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_clean(store, what);
}

/// The status that tells of the error, and Podman's document.
#[track_caller]
fn assert_refused(answer: &Response, status: u16, what: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{what}: {text}");
    let error = answer.json();
    let keys: Vec<_> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["cause", "message", "response"], "{what}");
    assert_eq!(error["response"], status, "{what}");
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
fn while_pulling() {
    failing(Operation::Pull);
}

#[test]
fn while_committing_a_container() {
    failing(Operation::Commit);
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
